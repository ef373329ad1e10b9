#include "audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/err.h"

#define POS "%llu.%llu"
#define POS_ARG(pos) (unsigned long long)(pos).hi, (unsigned long long)(pos).lo

enum fate { FATE_MISSING, FATE_SEEN, FATE_BEFORE_START, FATE_IN_HOLE };

/* Positions ascend inside one history: only the last one is looked at. */
static const struct seen *find_at(const struct node_queue *queue, struct bus_pos pos)
{
    size_t low = queue->since, high = queue->seen_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bus_pos_compare(queue->seen[middle].pos, pos);
        if (order == 0) {
            return &queue->seen[middle];
        }
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return NULL;
}

static enum fate fate_of(const struct node_queue *queue, struct bus_pos pos)
{
    if (find_at(queue, pos)) {
        return FATE_SEEN;
    }
    if (bus_pos_compare(pos, queue->from) <= 0) {
        return FATE_BEFORE_START;
    }
    for (size_t i = queue->holes_since; i < queue->hole_count; i++) {
        if (bus_pos_compare(queue->holes[i].from, pos) < 0 &&
            bus_pos_compare(pos, queue->holes[i].to) < 0) {
            return FATE_IN_HOLE;
        }
    }
    return FATE_MISSING;
}

static const char *name_of(enum bus_hole why)
{
    return why == BUS_HOLE_LOST ? "lost" : why == BUS_HOLE_EXPIRED ? "expired" : "another epoch";
}

static void assert_answered(const struct writer *writer)
{
    for (size_t i = 0; i < writer->sent_count; i++) {
        if (writer->sent[i].err == WRITER_PENDING) {
            fail_msg("record %zu of writer %u on queue %u was never answered", i, writer->id,
                     writer->queue);
        }
    }
}

static void assert_kept(const struct audit *audit, const struct node *node,
                        const struct writer *writer, size_t number)
{
    struct bus_pos pos = writer->sent[number].pos;
    const struct node_queue *queue = &node->queues[writer->queue];
    const struct seen *seen = find_at(queue, pos);
    if (seen && (seen->writer != writer->id || seen->number != number)) {
        fail_msg("%s, queue %u: %u/%zu was acknowledged at " POS ", where %u/%u is", node->name,
                 writer->queue, writer->id, number, POS_ARG(pos), seen->writer, seen->number);
    }
    enum fate fate = fate_of(queue, pos);
    if (fate == FATE_MISSING || (fate == FATE_IN_HOLE && !audit->may_have_holes)) {
        fail_msg("%s, queue %u: %u/%zu was acknowledged at " POS " and is %s; start " POS
                 ", last " POS,
                 node->name, writer->queue, writer->id, number, POS_ARG(pos),
                 fate == FATE_MISSING ? "not there" : "in a hole", POS_ARG(queue->from),
                 POS_ARG(queue->last));
    }
}

static bool is_final(int err)
{
    return err && err != ERR_TIMEOUT && err != ERR_CANCELED && err != WRITER_PENDING;
}

static void assert_gone(const struct node *node, const struct writer *writer, size_t number)
{
    if (node_find(node, writer->queue, writer->id, (uint32_t)number)) {
        fail_msg("%s, queue %u: %u/%zu failed (%s) and is there all the same", node->name,
                 writer->queue, writer->id, number, err_str(writer->sent[number].err));
    }
}

static void assert_order(const struct node *node, const struct writer *writer)
{
    const struct node_queue *queue = &node->queues[writer->queue];
    size_t next = 0; /* what has a lower number was seen, or can't follow any more */
    for (size_t i = queue->since; i < queue->seen_count; i++) {
        const struct seen *seen = &queue->seen[i];
        if (seen->writer != writer->id || seen->number < next) {
            continue;
        }
        for (size_t skipped = next; skipped < seen->number; skipped++) {
            if (writer->sent[skipped].err == 0 &&
                node_find(node, writer->queue, writer->id, (uint32_t)skipped)) {
                fail_msg("%s, queue %u: %u/%zu came behind %u/%u", node->name, writer->queue,
                         writer->id, skipped, writer->id, seen->number);
            }
        }
        next = (size_t)seen->number + 1;
    }
}

static void assert_writer(const struct audit *audit, const struct writer *writer)
{
    assert_answered(writer);
    for (size_t k = 0; k < audit->node_count; k++) {
        const struct node *node = audit->nodes[k];
        for (size_t number = 0; number < writer->sent_count; number++) {
            if (writer->sent[number].err == 0) {
                assert_kept(audit, node, writer, number);
            } else if (is_final(writer->sent[number].err)) {
                assert_gone(node, writer, number);
            }
        }
        assert_order(node, writer);
    }
}

/* Each record of one is on the other, or the other says why not. Repeats and records of unknown
 * outcome included: they are on all nodes or on none. */
static void assert_same(const struct node *one, const struct node *other, uint32_t index)
{
    const struct node_queue *queue = &one->queues[index];
    for (size_t i = queue->since; i < queue->seen_count; i++) {
        const struct seen *seen = &queue->seen[i];
        const struct seen *twin = find_at(&other->queues[index], seen->pos);
        if (!twin && fate_of(&other->queues[index], seen->pos) == FATE_MISSING &&
            bus_pos_compare(seen->pos, other->queues[index].last) < 0) {
            fail_msg("queue %u: %s has %u/%u at " POS ", %s has nothing there", index, one->name,
                     seen->writer, seen->number, POS_ARG(seen->pos), other->name);
        }
        if (twin && (twin->writer != seen->writer || twin->number != seen->number)) {
            fail_msg("queue %u: at " POS " %s has %u/%u, %s has %u/%u", index, POS_ARG(seen->pos),
                     one->name, seen->writer, seen->number, other->name, twin->writer,
                     twin->number);
        }
    }
}

static void assert_no_holes(const struct node *node)
{
    for (uint32_t i = 0; i < node->queue_count; i++) {
        const struct node_queue *queue = &node->queues[i];
        if (queue->hole_count > queue->holes_since) {
            const struct hole *hole = &queue->holes[queue->holes_since];
            fail_msg("%s, queue %u: a hole (%s) from " POS " to " POS, node->name, i,
                     name_of(hole->why), POS_ARG(hole->from), POS_ARG(hole->to));
        }
    }
}

void audit_run(const struct audit *audit)
{
    for (size_t k = 0; k < audit->node_count; k++) {
        node_assert_sound(audit->nodes[k]);
        if (!audit->may_have_holes) {
            assert_no_holes(audit->nodes[k]);
        }
    }
    for (size_t i = 0; i < audit->writer_count; i++) {
        assert_writer(audit, audit->writers[i]);
    }
    for (size_t a = 0; a < audit->node_count; a++) {
        for (size_t b = 0; b < audit->node_count; b++) {
            for (uint32_t i = 0; i < audit->nodes[a]->queue_count; i++) {
                assert_same(audit->nodes[a], audit->nodes[b], i);
            }
        }
    }
}

/* Queues are read in order: what the last acknowledged one's fate is decides for all before it. */
static bool is_settled_for(const struct node *node, const struct writer *writer)
{
    const struct node_queue *queue = &node->queues[writer->queue];
    for (size_t number = writer->sent_count; number-- > 0;) {
        if (writer->sent[number].err == 0) {
            return fate_of(queue, writer->sent[number].pos) != FATE_MISSING;
        }
    }
    return true;
}

bool audit_is_settled(const struct audit *audit)
{
    for (size_t i = 0; i < audit->writer_count; i++) {
        if (audit->writers[i]->is_busy) {
            return false;
        }
        for (size_t k = 0; k < audit->node_count; k++) {
            if (!is_settled_for(audit->nodes[k], audit->writers[i])) {
                return false;
            }
        }
    }
    return true;
}

void audit_count(const struct audit *audit, const struct node *node, size_t *out_seen,
                 size_t *out_in_holes)
{
    *out_seen = *out_in_holes = 0;
    for (size_t i = 0; i < audit->writer_count; i++) {
        const struct writer *writer = audit->writers[i];
        for (size_t number = 0; number < writer->sent_count; number++) {
            if (writer->sent[number].err == 0) {
                enum fate fate = fate_of(&node->queues[writer->queue], writer->sent[number].pos);
                *out_seen += fate == FATE_SEEN;
                *out_in_holes += fate == FATE_IN_HOLE;
            }
        }
    }
}
