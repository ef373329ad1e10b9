/* Where a queue is read from at first: the first record that is not older than the window. The
 * buckets are listed, the first young one is looked for by halving (the one before it may end with
 * young records), and in it the same with its records. Which number comes next in a bucket is asked
 * before the bucket is listed, so that nothing falls between. */
#include "base/mem.h"
#include "bus/zookeeper_private.h"

static bool is_heard(struct zk_queue *queue, uint64_t tag, int rc)
{
    return tag == queue->start.round && !zk_is_lost(rc);
}

static struct zk_then then_do(struct zk_queue *queue, zk_reply_cb on_reply)
{
    return (struct zk_then){on_reply, queue, queue->start.round};
}

/* What was there a moment ago is gone, or can't be read. */
static void fail(struct zk_queue *queue, int rc)
{
    if (zk_is_lost(rc)) {
        return;
    }
    if (rc == ZNONODE) {
        zk_start_begin(queue); /* cleaned away under our eyes: again */
        return;
    }
    zk_refused(queue->bus, rc, "read");
}

static void take_numbers(struct zk_queue *queue, const struct zk_reply *reply, char prefix)
{
    struct zk_search *search = &queue->start.search;
    size_t foreign;
    zk_search_fini(search);
    if (zk_numbers_read(reply->names, prefix, &search->numbers, &search->count, &foreign)) {
        zk_link_break(&queue->bus->link, "out of memory");
    }
}

static void search_in(struct zk_queue *queue, int64_t bucket,
                      void (*on_found)(struct zk_search *search, int rc, size_t index))
{
    struct zk_bus *zk = queue->bus;
    zk_search_start(&queue->start.search, zk, queue->index, bucket, zk->window_age_ms, on_found);
}

static struct zk_queue *queue_of(struct zk_search *search)
{
    return (struct zk_queue *)((char *)search - offsetof(struct zk_queue, start.search));
}

static void on_record_found(struct zk_search *search, int rc, size_t index)
{
    struct zk_queue *queue = queue_of(search);
    struct zk_start *start = &queue->start;
    if (rc != ZOK) {
        fail(queue, rc);
        return;
    }
    /* A number that ZooKeeper has not given yet is somebody's own making. */
    uint64_t next = start->creates;
    if (index < search->count && search->numbers[index] < next) {
        next = search->numbers[index];
    }
    zk_search_fini(search);
    zk_queue_started(queue, start->bucket, next);
}

static void on_records(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc != ZOK) {
        fail(queue, reply->rc);
        return;
    }
    take_numbers(queue, reply, 'e');
    search_in(queue, queue->start.bucket, on_record_found);
}

static void on_bucket(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    char path[ZK_NODE_MAX];
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc != ZOK) {
        fail(queue, reply->rc);
        return;
    }
    queue->start.creates = zk_creates(reply->stat->cversion, reply->stat->numChildren);
    zk_name_bucket(path, &queue->bus->names, queue->index, queue->start.bucket);
    zk_children(&queue->bus->link, path, then_do(queue, on_records));
}

static void look_at_bucket(struct zk_queue *queue, uint32_t bucket, zk_reply_cb on_reply)
{
    char path[ZK_NODE_MAX];
    zk_name_bucket(path, &queue->bus->names, queue->index, bucket);
    zk_exists(&queue->bus->link, path, NULL, NULL, then_do(queue, on_reply));
}

static void on_bucket_found(struct zk_search *search, int rc, size_t index)
{
    struct zk_queue *queue = queue_of(search);
    if (rc != ZOK) {
        fail(queue, rc);
        return;
    }
    queue->start.bucket = (uint32_t)search->numbers[index > 0 ? index - 1 : 0];
    look_at_bucket(queue, queue->start.bucket, on_bucket);
}

/* Up means read to here: what was there when the node began. */
static void on_last_bucket(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    struct zk_search *search = &queue->start.search;
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc != ZOK) {
        fail(queue, reply->rc);
        return;
    }
    uint32_t last = (uint32_t)search->numbers[search->count - 1];
    queue->sender.bucket = last;
    queue->reader.goal = zk_pos_before(last,
                                       zk_creates(reply->stat->cversion, reply->stat->numChildren));
    search_in(queue, -1, on_bucket_found);
}

static void on_made(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZOK || reply->rc == ZNODEEXISTS) {
        zk_start_begin(queue);
    } else if (reply->rc == ZNONODE) {
        zk_open_begin(queue->bus); /* the queue itself is gone */
    } else {
        zk_refused(queue->bus, reply->rc, "create nodes in");
    }
}

/* Somebody took all buckets away by hand. */
static void make_bucket(struct zk_queue *queue)
{
    char path[ZK_NODE_MAX];
    zk_name_bucket(path, &queue->bus->names, queue->index, 0);
    zk_create(&queue->bus->link, path, STR(""), ZOO_PERSISTENT, then_do(queue, on_made));
}

static void on_buckets(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    struct zk_search *search = &queue->start.search;
    if (!is_heard(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZNONODE) {
        zk_open_begin(queue->bus);
        return;
    }
    if (reply->rc != ZOK) {
        fail(queue, reply->rc);
        return;
    }
    take_numbers(queue, reply, 'b');
    if (search->count == 0) {
        make_bucket(queue);
    } else {
        look_at_bucket(queue, (uint32_t)search->numbers[search->count - 1], on_last_bucket);
    }
}

void zk_start_stop(struct zk_queue *queue)
{
    queue->start.round++;
    zk_search_fini(&queue->start.search);
}

void zk_start_begin(struct zk_queue *queue)
{
    char path[ZK_NODE_MAX];
    zk_start_stop(queue);
    zk_name_queue(path, &queue->bus->names, queue->index);
    zk_children(&queue->bus->link, path, then_do(queue, on_buckets));
}
