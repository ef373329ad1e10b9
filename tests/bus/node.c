#include "node.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"

/* ---- records ---- */

static const char magic[4] = {'\0', 'C', '\r', '\n'};

static uint8_t pattern(uint32_t writer, uint32_t number, size_t i)
{
    return (uint8_t)(writer * 31 + number * 7 + i * 13 + (i >> 8));
}

void node_record_write(uint8_t *out, size_t len, uint32_t writer, uint32_t number)
{
    uint32_t size = (uint32_t)len;
    ASSERT(len >= NODE_RECORD_MIN);
    memcpy(out, magic, 4);
    memcpy(out + 4, &writer, 4);
    memcpy(out + 8, &number, 4);
    memcpy(out + 12, &size, 4);
    for (size_t i = NODE_RECORD_MIN; i < len; i++) {
        out[i] = pattern(writer, number, i);
    }
}

static void record_read(struct seen *seen, struct str record)
{
    uint32_t size;
    const uint8_t *bytes = (const uint8_t *)record.ptr;
    seen->writer = seen->number = NODE_FOREIGN;
    if (record.len < NODE_RECORD_MIN || memcmp(bytes, magic, 4) != 0) {
        return;
    }
    memcpy(&seen->writer, bytes + 4, 4);
    memcpy(&seen->number, bytes + 8, 4);
    memcpy(&size, bytes + 12, 4);
    seen->is_broken = size != record.len;
    for (size_t i = NODE_RECORD_MIN; i < record.len && !seen->is_broken; i++) {
        seen->is_broken = bytes[i] != pattern(seen->writer, seen->number, i);
    }
}

/* ---- the witness ---- */

void node_note_breach(struct node *node, const char *format, ...)
{
    if (node->breach[0]) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(node->breach, sizeof(node->breach), format, args);
    va_end(args);
}

#define CHECK(node, condition, ...)                \
    do {                                           \
        if (!(condition)) {                        \
            node_note_breach((node), __VA_ARGS__); \
        }                                          \
    } while (0)

#define POS "%llu.%llu"
#define POS_ARG(pos) (unsigned long long)(pos).hi, (unsigned long long)(pos).lo

static void check_moment(struct node *node, const char *callback)
{
    CHECK(node, node->bus, "%s before create returned", callback);
    CHECK(node, !node->in_publish, "%s inside bus_publish", callback);
    CHECK(node, !node->is_ended, "%s inside bus_destroy or after it", callback);
}

static struct node_queue *queue_of(struct node *node, uint32_t queue, const char *callback)
{
    check_moment(node, callback);
    CHECK(node, queue < node->queue_count, "%s of queue %u", callback, queue);
    return &node->queues[queue % BUS_MAX_QUEUES];
}

static void on_epoch(void *owner, struct str epoch)
{
    struct node *node = owner;
    check_moment(node, "on_epoch");
    CHECK(node, epoch.len >= 1 && epoch.len <= BUS_EPOCH_MAX, "an epoch of %zu bytes", epoch.len);
    for (size_t i = 0; i < epoch.len; i++) {
        CHECK(node, isprint((unsigned char)epoch.ptr[i]), "an epoch with byte %02x",
              (unsigned char)epoch.ptr[i]);
    }
    size_t len = epoch.len <= BUS_EPOCH_MAX ? epoch.len : BUS_EPOCH_MAX;
    CHECK(node, !str_equal(epoch, str_of(node->epoch)), "the same epoch twice: %s", node->epoch);
    memcpy(node->epoch, epoch.ptr, len);
    node->epoch[len] = '\0';
    node->epochs++;
    for (uint32_t i = 0; i < BUS_MAX_QUEUES; i++) {
        node->queues[i].started = false;
    }
}

static void on_start(void *owner, uint32_t index, struct bus_pos from)
{
    struct node *node = owner;
    struct node_queue *queue = queue_of(node, index, "on_start");
    CHECK(node, node->epochs > 0, "queue %u started before on_epoch", index);
    CHECK(node, !queue->started, "queue %u started twice", index);
    queue->started = queue->was_started = true;
    queue->from = queue->last = from;
    queue->since = queue->seen_count;
    queue->holes_since = queue->hole_count;
}

static struct seen *append_seen(struct node_queue *queue)
{
    if (queue->seen_count == queue->seen_room) {
        queue->seen_room = queue->seen_room ? queue->seen_room * 2 : 256;
        queue->seen = realloc(queue->seen, queue->seen_room * sizeof(*queue->seen));
        ASSERT(queue->seen);
    }
    return &queue->seen[queue->seen_count++];
}

static void on_record(void *owner, uint32_t index, struct bus_pos pos, struct str record,
                      uint64_t wall_ms)
{
    struct node *node = owner;
    struct node_queue *queue = queue_of(node, index, "on_record");
    CHECK(node, queue->started, "a record of queue %u before its start", index);
    CHECK(node, bus_pos_compare(pos, queue->last) > 0,
          "queue %u: record at " POS " behind " POS ", not after it", index, POS_ARG(pos),
          POS_ARG(queue->last));
    struct seen *seen = append_seen(queue);
    *seen = (struct seen){.pos = pos, .len = (uint32_t)record.len, .wall_ms = wall_ms};
    record_read(seen, record);
    *(seen->writer == NODE_FOREIGN ? &node->seen_foreign : &node->seen_ours) += 1;
    CHECK(node, !seen->is_broken, "queue %u: the record at " POS " is not what was written", index,
          POS_ARG(pos));
    queue->last = pos;
}

static void on_hole(void *owner, uint32_t index, struct bus_pos from, struct bus_pos to,
                    enum bus_hole why)
{
    struct node *node = owner;
    struct node_queue *queue = queue_of(node, index, "on_hole");
    CHECK(node, queue->started || (why == BUS_HOLE_EPOCH && queue->was_started),
          "a hole in queue %u before its start", index);
    CHECK(node, queue->hole_count < NODE_MAX_HOLES, "over %d holes", NODE_MAX_HOLES);
    if (queue->hole_count < NODE_MAX_HOLES) {
        queue->holes[queue->hole_count++] = (struct hole){from, to, why, queue->seen_count};
    }
    if (why == BUS_HOLE_EPOCH) {
        queue->from = queue->last = (struct bus_pos){0, 0};
        queue->since = queue->seen_count;
        queue->holes_since = queue->hole_count;
        return;
    }
    CHECK(node, bus_pos_compare(from, to) < 0, "queue %u: a hole from " POS " to " POS, index,
          POS_ARG(from), POS_ARG(to));
    CHECK(node, from.hi >= queue->last.hi, "queue %u: a hole from " POS ", though " POS " was seen",
          index, POS_ARG(from), POS_ARG(queue->last));
}

static void on_queue_state(void *owner, uint32_t index, bool up)
{
    struct node *node = owner;
    struct node_queue *queue = queue_of(node, index, "on_queue_state");
    CHECK(node, !up || queue->started, "queue %u reachable before its start", index);
    CHECK(node, !up || !queue->up, "queue %u became reachable twice", index);
    queue->up = up;
}

static void on_state(void *owner, bool up, const char *reason)
{
    struct node *node = owner;
    check_moment(node, "on_state");
    CHECK(node, reason, "on_state without a reason");
    CHECK(node, up || (reason && reason[0]), "down for an empty reason");
    CHECK(node, !up || !node->up, "up twice");
    CHECK(node, !up || node_queues_up(node) > 0, "up without a queue that is");
    if (up && node->ups == 0) {
        node->seen_when_up = node->seen_ours;
    }
    node->falls += node->up && !up;
    node->up = up;
    node->ups += up;
    node->downs += !up;
    if (!up) {
        snprintf(node->reason, sizeof(node->reason), "%s", reason ? reason : "");
    }
}

static const struct bus_callbacks callbacks = {.on_epoch = on_epoch,
                                               .on_start = on_start,
                                               .on_record = on_record,
                                               .on_hole = on_hole,
                                               .on_queue_state = on_queue_state,
                                               .on_state = on_state};

/* ---- its life ---- */

static void check_options(const struct node *node, const struct bus_engine *engine)
{
    size_t option = 0;
    const char *problem = "";
    if (engine->check && engine->check(&node->options, &option, &problem) != 0) {
        fail_msg("the engine refuses its options: %s: %s",
                 option < engine->option_count ? engine->options[option].name : "", problem);
    }
}

struct node *node_create(struct loop *loop, const struct settings *settings, const char *fresh_name,
                         const struct node_setup *setup)
{
    static uint32_t boots;
    struct node *node = calloc(1, sizeof(*node));
    assert_non_null(node);
    assert_true(settings_fill(settings, fresh_name, &node->values));
    snprintf(node->name, sizeof(node->name), "%s", setup->name);
    node->options = (struct bus_options){
        .queues = setup->queues ? setup->queues : 4,
        .values = node->values.values,
        .window_age_ms = setup->window_age_ms ? setup->window_age_ms : 60000,
        /* Two processes of one run must differ too. */
        .boot = ((uint32_t)getpid() << 12) + ++boots,
        .node = str_of(node->name),
    };
    check_options(node, settings->engine);
    int err = settings->engine->create(&node->bus, loop, &node->options, &callbacks, node);
    if (err) {
        free(node);
        fail_msg("the engine refuses to begin: %s", err_str(err));
    }
    node->queue_count = node->bus->queues;
    return node;
}

void node_end(struct node *node)
{
    node->is_ended = true;
    bus_destroy(node->bus);
    node->bus = NULL;
}

void node_destroy(struct node *node)
{
    if (!node) {
        return;
    }
    node_end(node);
    for (uint32_t i = 0; i < BUS_MAX_QUEUES; i++) {
        free(node->queues[i].seen);
    }
    free(node);
}

int node_publish(struct node *node, struct bus_publish *publish)
{
    node->in_publish = true;
    int err = bus_publish(node->bus, publish);
    node->in_publish = false;
    return err;
}

void node_assert_sound(const struct node *node)
{
    if (node->breach[0]) {
        fail_msg("%s: %s", node->name, node->breach);
    }
}

/* ---- questions ---- */

size_t node_holes(const struct node *node)
{
    size_t count = 0;
    for (uint32_t i = 0; i < BUS_MAX_QUEUES; i++) {
        count += node->queues[i].hole_count;
    }
    return count;
}

uint32_t node_queues_up(const struct node *node)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < BUS_MAX_QUEUES; i++) {
        count += node->queues[i].up;
    }
    return count;
}

const struct seen *node_find(const struct node *node, uint32_t queue, uint32_t writer,
                             uint32_t number)
{
    for (size_t k = node->queues[queue].since; k < node->queues[queue].seen_count; k++) {
        const struct seen *seen = &node->queues[queue].seen[k];
        if (seen->writer == writer && seen->number == number) {
            return seen;
        }
    }
    return NULL;
}
