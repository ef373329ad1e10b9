/* Publishes. A record is created under the newest bucket in one step with a check that the bucket
 * is still open, so that none slips into a bucket that readers have left. A full bucket is sealed,
 * by whoever sees it first, in one step with the making of the next. */
#include "base/err.h"
#include "bus/zookeeper_private.h"

static struct zk_then then_do(struct zk_queue *queue, zk_reply_cb on_reply)
{
    return (struct zk_then){on_reply, queue, queue->sender.round};
}

static void finish(struct zk_queue *queue, int err, struct bus_pos pos)
{
    struct zk_sender *sender = &queue->sender;
    struct bus_publish *publish = sender->publish;
    sender->publish = NULL;
    sender->state = ZK_SEND_IDLE;
    sender->round++;
    publish->on_done(publish, err, pos);
}

void zk_sender_fail(struct zk_queue *queue, int err)
{
    if (queue->sender.publish) {
        finish(queue, err, (struct bus_pos){0, 0});
    }
}

/* ---- buckets ---- */

static void not_busy(struct zk_queue *queue)
{
    queue->sender.is_busy = false;
    zk_sender_send(queue);
}

static bool is_bucket_answer(struct zk_queue *queue, uint64_t tag, int rc)
{
    return queue->sender.is_busy && tag == queue->sender.bucket_round && !zk_is_lost(rc);
}

static struct zk_then then_bucket(struct zk_queue *queue, zk_reply_cb on_reply)
{
    queue->sender.is_busy = true;
    return (struct zk_then){on_reply, queue, ++queue->sender.bucket_round};
}

static void on_buckets(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    uint64_t newest = 0;
    bool found = false;
    if (!is_bucket_answer(queue, tag, reply->rc)) {
        return;
    }
    for (int32_t i = 0; reply->names && i < reply->names->count; i++) {
        uint64_t number;
        if (zk_name_number(str_of(reply->names->data[i]), 'b', &number)) {
            newest = !found || number > newest ? number : newest;
            found = true;
        }
    }
    if (found) {
        queue->sender.bucket = (uint32_t)newest;
        not_busy(queue);
    } else if (reply->rc == ZOK || reply->rc == ZNONODE) {
        queue->sender.is_busy = false;
        zk_open_begin(queue->bus); /* taken away by hand: what is missing is made again */
    } else {
        zk_refused(queue->bus, reply->rc, "read");
    }
}

static void find_newest(struct zk_queue *queue)
{
    char path[ZK_NODE_MAX];
    zk_name_queue(path, &queue->bus->names, queue->index);
    zk_children(&queue->bus->link, path, then_bucket(queue, on_buckets));
}

static void on_sealed(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    if (!is_bucket_answer(queue, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZOK || reply->rc == ZBADVERSION) { /* it was us, or another node */
        queue->sender.bucket++;
        not_busy(queue);
    } else if (reply->rc == ZNONODE || reply->rc == ZNODEEXISTS) {
        find_newest(queue);
    } else {
        zk_refused(queue->bus, reply->rc, "write to");
    }
}

static void seal(struct zk_queue *queue)
{
    char full[ZK_NODE_MAX];
    char next[ZK_NODE_MAX];
    zoo_op_t ops[2];
    struct zk_bus *zk = queue->bus;
    uint32_t bucket = queue->sender.bucket;
    zk_name_bucket(full, &zk->names, queue->index, bucket);
    zk_name_bucket(next, &zk->names, queue->index, bucket + 1);
    zoo_set_op_init(&ops[0], full, "", 0, 0, NULL);
    zoo_create_op_init(&ops[1], next, "", 0, zk->acl, ZOO_PERSISTENT, NULL, 0);
    zk_multi(&zk->link, ops, 2, then_bucket(queue, on_sealed));
}

/* ---- records ---- */

static bool read_created(const char *path, uint64_t *out_number)
{
    struct str name = str_of(path);
    size_t at = name.len;
    while (at > 0 && name.ptr[at - 1] != '/') {
        at--;
    }
    return zk_name_number(str_make(name.ptr + at, name.len - at), 'e', out_number);
}

static void accepted(struct zk_queue *queue, const char *created)
{
    struct zk_bus *zk = queue->bus;
    struct zk_sender *sender = &queue->sender;
    uint64_t number;
    if (!read_created(created, &number)) {
        zk_link_break(&zk->link, "its answer is not ZooKeeper's");
        return;
    }
    struct bus_pos pos = zk_pos(sender->bucket, number);
    sender->last = pos;
    bus_count(&zk->bus.stats.bytes_out, sender->publish->record.len);
    if (number + 1 >= zk->bucket_records) {
        seal(queue);
    }
    finish(queue, 0, pos);
}

static void next_bucket(struct zk_queue *queue)
{
    struct zk_sender *sender = &queue->sender;
    sender->bucket = sender->bucket + 1 > queue->reader.bucket ? sender->bucket + 1
                                                               : queue->reader.bucket;
    zk_sender_send(queue);
}

static void on_created(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    struct zk_sender *sender = &queue->sender;
    if (tag != sender->round || sender->state != ZK_SEND_SENT || zk_is_lost(reply->rc)) {
        return;
    }
    if (reply->rc == ZOK) {
        accepted(queue, reply->created);
        return;
    }
    sender->state = ZK_SEND_WAITS; /* it is not there, that is certain */
    switch (reply->rc) {
    case ZBADVERSION: next_bucket(queue); break;
    case ZNONODE: find_newest(queue); break;
    /* Somebody made a node of the name that ZooKeeper would give: no record can be made here. */
    case ZNODEEXISTS: seal(queue); break;
    case ZNOAUTH:
        zk_sender_fail(queue, ERR_DENIED);
        zk_refused(queue->bus, reply->rc, "write to");
        break;
    default: zk_refused(queue->bus, reply->rc, "write to"); break;
    }
}

/* What a node has written it reads first, before it writes more: where reading is the slower part,
 * records get larger instead of waiting there, ever more of them. */
static bool has_read_own(const struct zk_queue *queue)
{
    return bus_pos_compare(zk_reader_last(queue), queue->sender.last) >= 0;
}

static bool may_send(const struct zk_queue *queue)
{
    const struct zk_sender *sender = &queue->sender;
    return sender->state == ZK_SEND_WAITS && !sender->is_busy && queue->bus->open.is_done &&
           queue->started && has_read_own(queue);
}

void zk_sender_send(struct zk_queue *queue)
{
    char bucket[ZK_NODE_MAX];
    char record[ZK_NODE_MAX];
    zoo_op_t ops[2];
    struct zk_bus *zk = queue->bus;
    struct zk_sender *sender = &queue->sender;
    if (!may_send(queue)) {
        return;
    }
    if (sender->is_unknown) {
        bus_count(&zk->bus.stats.retries, 1);
    }
    struct str data = sender->publish->record;
    zk_name_bucket(bucket, &zk->names, queue->index, sender->bucket);
    zk_name_new_record(record, &zk->names, queue->index, sender->bucket);
    zoo_check_op_init(&ops[0], bucket, 0);
    zoo_create_op_init(&ops[1], record, data.ptr, (int)data.len, zk->acl, ZOO_PERSISTENT_SEQUENTIAL,
                       NULL, 0);
    sender->state = ZK_SEND_SENT;
    zk_multi(&zk->link, ops, 2, then_do(queue, on_created));
}

/* The link is gone, and with it the answer. */
void zk_sender_stop(struct zk_queue *queue)
{
    struct zk_sender *sender = &queue->sender;
    sender->round++;
    sender->is_busy = false;
    if (sender->state == ZK_SEND_SENT) {
        sender->state = ZK_SEND_WAITS;
        sender->is_unknown = true;
    }
}

void zk_sender_tick(struct zk_queue *queue, uint64_t now_ms)
{
    struct zk_sender *sender = &queue->sender;
    struct bus_publish *publish = sender->publish;
    if (publish && publish->deadline_ms && now_ms >= publish->deadline_ms) {
        bool is_unknown = sender->is_unknown || sender->state == ZK_SEND_SENT;
        zk_sender_fail(queue, is_unknown ? ERR_TIMEOUT : ERR_UNAVAILABLE);
    }
}
