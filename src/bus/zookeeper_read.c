/* The next records of a queue. Each is read by its number, several at once while they keep being
 * there; the first that is not there yet is watched. Answers come in the order of the questions,
 * but a record may be made between two of them: what is behind a missing one is therefore thrown
 * away and asked for again. */
#include "bus/zookeeper_private.h"

struct bus_pos zk_reader_last(const struct zk_queue *queue)
{
    return zk_pos_before(queue->reader.bucket, queue->reader.next);
}

void zk_reader_moved(struct zk_queue *queue)
{
    struct zk_reader *reader = &queue->reader;
    if (!reader->caught_up && bus_pos_compare(zk_reader_last(queue), reader->goal) >= 0) {
        reader->caught_up = true;
        zk_tell(queue->bus);
    }
    zk_sender_send(queue);
}

/* Answers to a question of an older round are not heard. */
static struct zk_then then_do(struct zk_queue *queue, zk_reply_cb on_reply, uint64_t number)
{
    return (struct zk_then){on_reply, queue, (uint64_t)queue->reader.round << 32 | number};
}

static bool is_heard(struct zk_queue *queue, uint64_t tag, int rc)
{
    return tag >> 32 == queue->reader.round && !zk_is_lost(rc);
}

/* ---- the next one is not there ---- */

static void take(struct zk_queue *queue);

static void watch_record(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    struct zk_queue *queue = context;
    if (type == ZOO_CREATED_EVENT && queue->reader.state == ZK_READ_AWAIT) {
        take(queue);
    }
}

static void on_armed(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZOK) {
        zk_reader_fetch(queue);
    } else if (reply->rc != ZNONODE) {
        zk_refused(queue->bus, reply->rc, "read");
    } else if (queue->reader.passed) {
        zk_locate(queue);
    } else {
        queue->reader.streak = 0;
        queue->reader.state = ZK_READ_AWAIT;
    }
}

/* Asks to be told of a record; the answer says whether it is there already. */
static void watch_for(struct zk_queue *queue, uint64_t number)
{
    char path[ZK_NODE_MAX];
    queue->reader.state = ZK_READ_ARM;
    zk_name_record(path, &queue->bus->names, queue->index, queue->reader.bucket, number);
    zk_exists(&queue->bus->link, path, watch_record, queue, then_do(queue, on_armed, number));
}

void zk_reader_arm(struct zk_queue *queue)
{
    queue->reader.round++;
    queue->reader.streak = 0;
    watch_for(queue, queue->reader.next);
}

/* ---- reading ---- */

static bool is_record(const struct zk_bus *zk, struct str data)
{
    return data.len > 0 && data.len <= zk->bus.max_record;
}

static void deliver(struct zk_queue *queue, const struct zk_reply *reply)
{
    struct zk_bus *zk = queue->bus;
    struct zk_reader *reader = &queue->reader;
    struct bus_pos pos = zk_pos(reader->bucket, reader->next);
    struct str record = reply->data;
    if (!is_record(zk, record)) {
        bus_count(&zk->bus.stats.skipped, 1);
        record = STR("");
    }
    bus_count(&zk->bus.stats.bytes_in, record.len);
    reader->next++;
    reader->streak++;
    reader->moved = true;
    reader->last_czxid = reply->stat->czxid;
    zk_callbacks(zk)->on_record(zk->bus.owner, queue->index, pos, record,
                                (uint64_t)reply->stat->ctime);
}

/* All that was asked for has been answered, and something ends the run. */
static void on_drained(struct zk_queue *queue)
{
    struct zk_reader *reader = &queue->reader;
    if (reader->missed) {
        zk_reader_arm(queue);
    } else if (reader->next >= reader->end) {
        zk_reader_enter(queue, reader->bucket + 1);
    }
}

static void fetch_more(struct zk_queue *queue);

static void on_record(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    struct zk_reader *reader = &queue->reader;
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    uint32_t round = reader->round;
    reader->in_flight--;
    if (reply->rc == ZOK && !reader->missed) {
        deliver(queue, reply);
        zk_reader_moved(queue);
    } else if (reply->rc == ZOK) {
        reader->passed = true;
    } else if (reply->rc == ZNONODE) {
        reader->missed = true;
    } else {
        zk_refused(queue->bus, reply->rc, "read");
        return;
    }
    if (round == reader->round && (reader->state == ZK_READ_FETCH || reader->missed)) {
        fetch_more(queue);
    }
}

/* One at a time until two in a row were there. */
static uint32_t window_of(const struct zk_reader *reader)
{
    uint32_t streak = reader->streak < 2 ? 1 : reader->streak;
    return streak < ZK_FETCH_MAX ? streak : ZK_FETCH_MAX;
}

static void fetch_more(struct zk_queue *queue)
{
    char path[ZK_NODE_MAX];
    struct zk_bus *zk = queue->bus;
    struct zk_reader *reader = &queue->reader;
    while (!reader->missed && reader->in_flight < window_of(reader) &&
           reader->fetch < reader->end) {
        uint64_t number = reader->fetch++;
        reader->in_flight++;
        zk_name_record(path, &zk->names, queue->index, reader->bucket, number);
        zk_get(&zk->link, path, then_do(queue, on_record, number));
    }
    if (reader->in_flight == 0) {
        on_drained(queue);
    }
}

void zk_reader_fetch(struct zk_queue *queue)
{
    struct zk_reader *reader = &queue->reader;
    reader->round++;
    reader->state = ZK_READ_FETCH;
    reader->fetch = reader->next;
    reader->in_flight = 0;
    reader->missed = reader->passed = false;
    fetch_more(queue);
}

/* The record that was waited for, and at once the watch for the one behind it: when records come
 * one by one, that is all there is to do. */
static void take(struct zk_queue *queue)
{
    char path[ZK_NODE_MAX];
    struct zk_bus *zk = queue->bus;
    struct zk_reader *reader = &queue->reader;
    reader->round++;
    reader->in_flight = 1;
    reader->missed = reader->passed = false;
    zk_name_record(path, &zk->names, queue->index, reader->bucket, reader->next);
    zk_get(&zk->link, path, then_do(queue, on_record, reader->next));
    watch_for(queue, reader->next + 1);
}

/* ---- going on ---- */

void zk_reader_enter(struct zk_queue *queue, uint32_t bucket)
{
    struct zk_reader *reader = &queue->reader;
    reader->bucket = bucket;
    reader->next = 0;
    reader->end = UINT64_MAX;
    if (queue->sender.bucket < bucket) {
        queue->sender.bucket = bucket;
    }
    zk_reader_moved(queue);
    zk_locate(queue);
}

void zk_reader_go_on(struct zk_queue *queue)
{
    queue->reader.streak = 0;
    zk_locate(queue);
}

void zk_reader_stop(struct zk_queue *queue)
{
    queue->reader.round++;
    queue->reader.state = ZK_READ_OFF;
}

/* A number that somebody else used up, and a record that was taken away, are never told by a watch:
 * who waits long looks around. */
void zk_reader_tick(struct zk_queue *queue)
{
    struct zk_reader *reader = &queue->reader;
    if (reader->state == ZK_READ_AWAIT && !reader->moved) {
        zk_locate(queue);
    }
    reader->moved = false;
}
