/* ZooKeeper as the bus. A queue is a node; records are sequential nodes below it, in buckets, so
 * that a listing stays small and ZooKeeper's counter far from its end. The number that ZooKeeper
 * gives is the order, and the same on every node. docs/decisions/0014-zookeeper.md says why it is
 * so, and docs/bus-zookeeper.md what an operator sees.
 *
 * One link at a time (zookeeper_link). When it is made, zookeeper_open looks which history this is;
 * then every queue starts (zookeeper_start) or goes on from its position (zookeeper_locate). When
 * it is lost, everything stops where it is, and publishes wait for the next. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "bus/engines.h"
#include "bus/zookeeper_private.h"

enum { READER_TICK_MS = 1000 };

/* ---- up and down ---- */

static void tell_queue(struct zk_queue *queue)
{
    struct zk_bus *zk = queue->bus;
    bool up = zk->open.is_done && queue->started;
    if (up != queue->up) {
        queue->up = up;
        zk_callbacks(zk)->on_queue_state(zk->bus.owner, queue->index, up);
    }
}

static bool is_up(const struct zk_bus *zk)
{
    bool all_caught_up = true;
    bool any_up = false;
    for (uint32_t i = 0; i < zk->bus.queues; i++) {
        all_caught_up &= zk->queues[i].up && zk->queues[i].reader.caught_up;
        any_up |= zk->queues[i].up;
    }
    return zk->was_up ? any_up : all_caught_up;
}

void zk_tell(struct zk_bus *zk)
{
    for (uint32_t i = 0; i < zk->bus.queues; i++) {
        tell_queue(&zk->queues[i]);
    }
    bool up = is_up(zk);
    if (up != zk->is_up) {
        zk->is_up = up;
        zk->was_up |= up;
        if (up) {
            memset(zk->told, 0, sizeof(zk->told));
            zk->link.is_told = false;
        }
        zk_callbacks(zk)->on_state(zk->bus.owner, up, up ? "" : zk->reason);
    }
}

bool zk_problem_is_told(const struct zk_bus *zk, const char *problem)
{
    uint64_t hash = siphash(&(struct siphash_key){0}, problem, strlen(problem));
    for (int i = 0; i < ZK_PROBLEMS_MAX; i++) {
        if (zk->told[i] == hash) {
            return true;
        }
    }
    return false;
}

/* While it is down, a new problem is told too; not the same over and over, with each server in
 * turn. */
static void tell_problem(struct zk_bus *zk, const char *peer, const char *problem)
{
    bool was_up = zk->is_up;
    bool is_new = !zk_problem_is_told(zk, problem);
    if (is_new) {
        zk->told[zk->told_next++ % ZK_PROBLEMS_MAX] = siphash(&(struct siphash_key){0}, problem,
                                                              strlen(problem));
    }
    snprintf(zk->reason, sizeof(zk->reason), "%s%s%s", peer, peer[0] ? ": " : "", problem);
    zk_tell(zk);
    if (!was_up && is_new) {
        zk_callbacks(zk)->on_state(zk->bus.owner, false, zk->reason);
    }
}

void zk_lost(struct zk_bus *zk, const char *peer, const char *problem)
{
    zk_open_stop(zk);
    zk_clean_stop(zk);
    for (uint32_t i = 0; i < zk->bus.queues; i++) {
        zk_start_stop(&zk->queues[i]);
        zk_reader_stop(&zk->queues[i]);
        zk_sender_stop(&zk->queues[i]);
    }
    tell_problem(zk, peer, problem);
}

bool zk_is_lost(int rc)
{
    return rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT || rc == ZCLOSING ||
           rc == ZSESSIONEXPIRED || rc == ZSESSIONMOVED || rc == ZINVALIDSTATE ||
           rc == ZAUTHFAILED || rc == ZTHROTTLEDOP;
}

void zk_refused(struct zk_bus *zk, int rc, const char *what)
{
    if (rc == ZNOAUTH) {
        zk_link_break(&zk->link,
                      "no permission to %s %s: its ACL does not allow this user (option auth)",
                      what, zk->names.root);
    } else if (rc == ZNOTREADONLY) {
        zk_link_break(&zk->link, "the server is in read-only mode: it has lost its quorum");
    } else {
        zk_link_break(&zk->link, "can't %s %s: %s", what, zk->names.root, zerror(rc));
    }
}

/* ---- queues ---- */

static void queue_open(struct zk_queue *queue)
{
    if (queue->started) {
        zk_reader_go_on(queue);
        zk_sender_send(queue);
    } else {
        zk_start_begin(queue);
    }
}

void zk_opened(struct zk_bus *zk)
{
    for (uint32_t i = 0; i < zk->bus.queues; i++) {
        queue_open(&zk->queues[i]);
    }
    zk_tell(zk);
}

void zk_queue_restart(struct zk_queue *queue)
{
    struct zk_bus *zk = queue->bus;
    struct bus_pos from = zk_reader_last(queue);
    zk_start_stop(queue);
    zk_reader_stop(queue);
    queue->reader.caught_up = false;
    queue->sender.last = (struct bus_pos){0, 0};
    if (queue->started) {
        queue->started = false;
        zk_callbacks(zk)->on_hole(zk->bus.owner, queue->index, from, (struct bus_pos){0, 0},
                                  BUS_HOLE_EPOCH);
    }
}

void zk_queue_started(struct zk_queue *queue, uint32_t bucket, uint64_t next)
{
    struct zk_bus *zk = queue->bus;
    struct zk_reader *reader = &queue->reader;
    reader->bucket = bucket;
    reader->next = next;
    reader->end = UINT64_MAX;
    reader->last_czxid = 0;
    queue->started = true;
    zk_callbacks(zk)->on_start(zk->bus.owner, queue->index, zk_pos_before(bucket, next));
    zk_tell(zk);
    zk_reader_moved(queue);
    zk_reader_go_on(queue);
    zk_sender_send(queue);
}

/* ---- the engine ---- */

static void on_tick(struct timer *timer)
{
    struct zk_bus *zk = (struct zk_bus *)((char *)timer - offsetof(struct zk_bus, tick));
    uint64_t now_ms = loop_now_ms(zk->loop);
    bool look_around = now_ms - zk->looked_ms >= READER_TICK_MS;
    loop_timer_start(zk->loop, &zk->tick, ZK_TICK_MS);
    zk->looked_ms = look_around ? now_ms : zk->looked_ms;
    for (uint32_t i = 0; i < zk->bus.queues; i++) {
        zk_sender_tick(&zk->queues[i], now_ms);
        if (look_around && zk->open.is_done) {
            zk_reader_tick(&zk->queues[i]);
        }
    }
    if (zk->open.is_done) {
        zk_clean_tick(zk, now_ms);
    }
    zk_link_pump(&zk->link);
}

/* What all nodes must have alike: the path, and into how many queues keys are spread. */
static uint64_t layout_of(const struct zk_bus *zk)
{
    char text[ZK_ROOT_MAX + 32];
    int len = snprintf(text, sizeof(text), "zookeeper %u %s", zk->bus.queues, zk->names.root);
    return siphash(&(struct siphash_key){0}, text, (size_t)len);
}

static void take_options(struct zk_bus *zk, const struct bus_options *options)
{
    const struct bus_value *values = options->values;
    zk->options = options;
    zk->window_age_ms = options->window_age_ms;
    zk->session_timeout_ms = values[ZK_SESSION_TIMEOUT].number;
    zk->bucket_records = values[ZK_BUCKET_RECORDS].number;
    zk->node = options->node;
    struct str auth = values[ZK_AUTH].text;
    struct str scheme;
    if (auth.len > 0 && str_split(&auth, ':', &scheme)) {
        zk->auth = auth;
    }
    zk->acl = zk->auth.len > 0 ? &ZOO_CREATOR_ALL_ACL : &ZOO_OPEN_ACL_UNSAFE;
    snprintf(zk->names.root, sizeof(zk->names.root), "%.*s", STR_ARG(values[ZK_PATH].text));
    zk->bus.queues = options->queues;
    zk->bus.max_record = (uint32_t)values[ZK_MAX_RECORD].number;
    zk->bus.failover_after_ms = UINT64_MAX;
    zk->bus.layout = layout_of(zk);
    zk->bus.is_nameless = true; /* an ensemble that was restored keeps its czxid */
    for (uint32_t i = 0; i < options->queues; i++) {
        zk->queues[i].bus = zk;
        zk->queues[i].index = i;
    }
}

static int zookeeper_engine_create(struct bus **out_bus, struct loop *loop,
                                   const struct bus_options *options,
                                   const struct bus_callbacks *callbacks, void *owner)
{
    ASSERT(options->queues >= 1 && options->queues <= BUS_MAX_QUEUES);
    struct zk_bus *zk = mem_zalloc(sizeof(*zk));
    if (!zk) {
        return ERR_NO_MEMORY;
    }
    zk->bus.engine = &bus_zookeeper_engine;
    zk->bus.callbacks = callbacks;
    zk->bus.owner = owner;
    zk->loop = loop;
    take_options(zk, options);
    zoo_set_debug_level(ZOO_LOG_LEVEL_WARN);
    zk_link_init(&zk->link, zk);
    zk->tick.on_fire = on_tick;
    loop_timer_start(loop, &zk->tick, ZK_TICK_MS);
    zk_link_start(&zk->link);
    *out_bus = &zk->bus;
    return 0;
}

static void zookeeper_engine_destroy(struct bus *bus)
{
    struct zk_bus *zk = (struct zk_bus *)bus;
    loop_timer_stop(zk->loop, &zk->tick);
    zk_link_fini(&zk->link);
    zk_clean_stop(zk);
    for (uint32_t i = 0; i < bus->queues; i++) {
        zk_start_stop(&zk->queues[i]);
        zk_sender_fail(&zk->queues[i], ERR_CANCELED);
    }
    mem_free(zk);
}

static int zookeeper_engine_publish(struct bus *bus, struct bus_publish *publish)
{
    struct zk_bus *zk = (struct zk_bus *)bus;
    ASSERT(publish->queue < bus->queues);
    struct zk_sender *sender = &zk->queues[publish->queue].sender;
    ASSERT(!sender->publish);
    if (publish->record.len > bus->max_record) {
        return ERR_TOO_LARGE;
    }
    sender->publish = publish;
    sender->state = ZK_SEND_WAITS;
    sender->is_unknown = false;
    return 0;
}

static void zookeeper_engine_flush(struct bus *bus)
{
    struct zk_bus *zk = (struct zk_bus *)bus;
    for (uint32_t i = 0; i < bus->queues; i++) {
        zk_sender_send(&zk->queues[i]);
    }
    zk_link_pump(&zk->link);
}

const struct bus_engine bus_zookeeper_engine = {
    .name = "zookeeper",
    .replay = true,
    .lossless = true,
    .nodes = true,
    .broker = true,
    .options = zk_options,
    .option_count = ZK_OPTION_COUNT,
    .check = zk_check,
    .create = zookeeper_engine_create,
    .destroy = zookeeper_engine_destroy,
    .publish = zookeeper_engine_publish,
    .flush = zookeeper_engine_flush,
};
