/* Where the reading goes on when the next record is not simply there: on a new link, when a bucket
 * was sealed, when a record is missing though a later one is there, and now and then while nothing
 * comes. The bucket's stat says how many records it has ever had; that is compared with our place.
 */
#include "base/log.h"
#include "base/mem.h"
#include "bus/zookeeper_private.h"

static struct zk_then then_do(struct zk_queue *queue, zk_reply_cb on_reply)
{
    return (struct zk_then){on_reply, queue, queue->reader.round};
}

static bool is_heard(struct zk_queue *queue, uint64_t tag, int rc)
{
    return tag == queue->reader.round && !zk_is_lost(rc);
}

static void watch_bucket(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    struct zk_queue *queue = context;
    char current[ZK_NODE_MAX];
    bool is_change = type == ZOO_CHANGED_EVENT || type == ZOO_DELETED_EVENT ||
                     type == ZOO_CREATED_EVENT;
    zk_name_bucket(current, &queue->bus->names, queue->index, queue->reader.bucket);
    if (is_change && queue->reader.state != ZK_READ_OFF && strcmp(path, current) == 0) {
        zk_locate(queue);
    }
}

static void tell_hole(struct zk_queue *queue, uint32_t bucket, uint64_t number)
{
    struct zk_bus *zk = queue->bus;
    struct bus_pos from = zk_reader_last(queue);
    struct bus_pos to = zk_pos(bucket, number);
    log_warn("bus.hole",
             "zookeeper: records of queue %u are gone before they were read: between "
             "%llx and %llx",
             queue->index, (unsigned long long)from.hi, (unsigned long long)to.hi);
    zk_callbacks(zk)->on_hole(zk->bus.owner, queue->index, from, to, BUS_HOLE_EXPIRED);
}

/* ---- in the bucket, records are missing ---- */

/* The first that is there from our place on, else the number that comes next in the bucket. Higher
 * ones are of somebody's own making. */
static uint64_t first_present(const struct zk_reader *reader, const uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count && numbers[i] < reader->creates; i++) {
        if (numbers[i] >= reader->next) {
            return numbers[i];
        }
    }
    return reader->creates;
}

static void on_children(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    uint64_t *numbers;
    size_t count;
    size_t foreign;
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZNONODE) {
        zk_locate(queue);
    } else if (reply->rc != ZOK) {
        zk_refused(queue->bus, reply->rc, "read");
    } else if (zk_numbers_read(reply->names, 'e', &numbers, &count, &foreign)) {
        zk_link_break(&queue->bus->link, "out of memory");
    } else {
        uint64_t to = first_present(&queue->reader, numbers, count);
        mem_free(numbers);
        zk_explain(queue, reply->names, foreign, to);
    }
}

void zk_explained(struct zk_queue *queue, uint64_t to, bool is_foreign)
{
    struct zk_bus *zk = queue->bus;
    struct zk_reader *reader = &queue->reader;
    uint32_t round = reader->round;
    if (to > reader->next && !is_foreign) {
        tell_hole(queue, reader->bucket, to);
        reader->next = to;
        reader->last_czxid = 0;
    }
    while (reader->next < to) {
        struct bus_pos pos = zk_pos(reader->bucket, reader->next++);
        bus_count(&zk->bus.stats.skipped, 1);
        zk_callbacks(zk)->on_record(zk->bus.owner, queue->index, pos, STR(""), 0);
    }
    zk_reader_moved(queue);
    if (round == reader->round) {
        zk_reader_fetch(queue);
    }
}

static void on_checked(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    char path[ZK_NODE_MAX];
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZOK) {
        zk_reader_fetch(queue);
    } else if (reply->rc == ZNONODE) {
        zk_name_bucket(path, &queue->bus->names, queue->index, queue->reader.bucket);
        zk_children(&queue->bus->link, path, then_do(queue, on_children));
    } else {
        zk_refused(queue->bus, reply->rc, "read");
    }
}

/* The bucket has had a record of our number: is it there? Asked only now: an answer from before the
 * stat would prove nothing. */
static void check_next(struct zk_queue *queue)
{
    char path[ZK_NODE_MAX];
    struct zk_reader *reader = &queue->reader;
    zk_name_record(path, &queue->bus->names, queue->index, reader->bucket, reader->next);
    zk_exists(&queue->bus->link, path, NULL, NULL, then_do(queue, on_checked));
}

/* ---- the bucket is not there ---- */

/* Buckets that follow one another without a break lost no record. */
static void move_on(struct zk_queue *queue, uint32_t bucket)
{
    struct zk_reader *reader = &queue->reader;
    bool is_next = bucket == reader->bucket + 1 && reader->next == reader->end;
    if (!is_next) {
        tell_hole(queue, bucket, 0);
    }
    zk_reader_enter(queue, bucket);
}

static void on_buckets(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    struct zk_reader *reader = &queue->reader;
    uint64_t *numbers;
    size_t count;
    size_t foreign;
    size_t at = 0;
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZNONODE) {
        zk_open_begin(queue->bus);
        return;
    }
    if (reply->rc != ZOK || zk_numbers_read(reply->names, 'b', &numbers, &count, &foreign)) {
        zk_refused(queue->bus, reply->rc, "read");
        return;
    }
    while (at < count && numbers[at] <= reader->bucket) {
        at++;
    }
    if (at < count) {
        move_on(queue, (uint32_t)numbers[at]);
    } else {
        zk_queue_restart(queue);
        zk_start_begin(queue);
    }
    mem_free(numbers);
}

static void list_buckets(struct zk_queue *queue)
{
    char path[ZK_NODE_MAX];
    zk_name_queue(path, &queue->bus->names, queue->index);
    zk_children(&queue->bus->link, path, then_do(queue, on_buckets));
}

/* ---- the bucket ---- */

static void on_bucket(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    struct zk_reader *reader = &queue->reader;
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZNONODE) {
        list_buckets(queue);
        return;
    }
    if (reply->rc != ZOK) {
        zk_refused(queue->bus, reply->rc, "read");
        return;
    }
    reader->creates = zk_creates(reply->stat->cversion, reply->stat->numChildren);
    reader->end = reply->stat->version > 0 ? reader->creates : UINT64_MAX;
    if (reader->next == 0) {
        reader->last_czxid = reply->stat->czxid;
    }
    if (reader->next > reader->creates) {
        zk_queue_restart(queue); /* the servers were set back to an older state */
        zk_start_begin(queue);
    } else if (reader->next < reader->creates) {
        check_next(queue);
    } else if (reader->next == reader->end) {
        zk_reader_enter(queue, reader->bucket + 1);
    } else {
        zk_reader_arm(queue);
    }
}

void zk_locate(struct zk_queue *queue)
{
    char path[ZK_NODE_MAX];
    struct zk_reader *reader = &queue->reader;
    reader->round++;
    reader->state = ZK_READ_LOCATE;
    reader->passed = false;
    zk_name_bucket(path, &queue->bus->names, queue->index, reader->bucket);
    zk_exists(&queue->bus->link, path, watch_bucket, queue, then_do(queue, on_bucket));
}
