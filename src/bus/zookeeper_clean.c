/* Takes away what is older than the window. One node does it: the one whose ephemeral node is
 * there. It goes through the queues, and in each through the buckets from the oldest on: the old
 * records of a bucket are found by halving and removed a hundred at a time, and a sealed bucket
 * that is empty goes itself. One request is under way at a time, so that this never gets in the way
 * of records. If two nodes should ever clean at once, one finds removed what it wanted to remove:
 * no harm. */
#include "base/log.h"
#include "base/mem.h"
#include "bus/zookeeper_private.h"

enum { PAUSE_MIN_MS = 100, PAUSE_MAX_MS = 30000, MARGIN_MS = 30000 };

static void next_bucket(struct zk_bus *zk);
static void remove_some(struct zk_bus *zk);

static struct zk_then then_do(struct zk_bus *zk, zk_reply_cb on_reply)
{
    return (struct zk_then){on_reply, zk, zk->clean.round};
}

static bool is_heard(struct zk_bus *zk, uint64_t tag, int rc)
{
    return tag == zk->clean.round && !zk_is_lost(rc);
}

/* A node that begins late, or whose clock is behind, still finds what its window covers. */
static uint64_t keep_ms(const struct zk_bus *zk)
{
    uint64_t age_ms = zk->window_age_ms;
    uint64_t margin_ms = age_ms < MARGIN_MS ? age_ms : MARGIN_MS;
    return age_ms + (age_ms / 10 > margin_ms ? age_ms / 10 : margin_ms);
}

static uint64_t pause_ms(const struct zk_bus *zk)
{
    uint64_t pause = zk->window_age_ms / 10;
    return pause < PAUSE_MIN_MS ? PAUSE_MIN_MS : pause > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause;
}

static void forget_buckets(struct zk_clean *clean)
{
    mem_free(clean->buckets);
    clean->buckets = NULL;
    clean->bucket_count = 0;
    zk_search_fini(&clean->search);
}

static void finish(struct zk_bus *zk)
{
    struct zk_clean *clean = &zk->clean;
    forget_buckets(clean);
    clean->is_running = false;
    clean->next_ms = loop_now_ms(zk->loop) + pause_ms(zk);
    if (clean->removed > 0) {
        log_debug("bus.cleaned", "zookeeper: %llu old nodes removed below %s",
                  (unsigned long long)clean->removed, zk->names.root);
    }
}

/* Nothing that is wrong here stops the bus: it is tried again at the next pass. */
static void fail(struct zk_bus *zk, int rc, const char *what)
{
    log_warn("bus.clean_failed", "zookeeper: can't %s below %s: %s", what, zk->names.root,
             zerror(rc));
    finish(zk);
}

/* ---- a bucket ---- */

static void on_bucket_removed(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_bus *zk = owner;
    if (!is_heard(zk, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZNOTEMPTY) {
        log_warn("bus.clean_failed",
                 "zookeeper: bucket %u of queue %u below %s holds nodes that are "
                 "none of tidegate's",
                 zk->clean.bucket, zk->clean.queue, zk->names.root);
    } else if (reply->rc == ZOK) {
        zk->clean.removed++;
    }
    next_bucket(zk);
}

static void bucket_done(struct zk_bus *zk)
{
    struct zk_clean *clean = &zk->clean;
    bool is_newest = clean->bucket_at == clean->bucket_count;
    bool is_empty = clean->old == clean->search.count;
    if (is_newest || !is_empty) {
        /* What follows is younger. */
        clean->bucket_at = is_empty ? clean->bucket_at : clean->bucket_count;
        next_bucket(zk);
        return;
    }
    char path[ZK_NODE_MAX];
    zoo_op_t op;
    zk_name_bucket(path, &zk->names, clean->queue, clean->bucket);
    zoo_delete_op_init(&op, path, -1);
    zk_multi(&zk->link, &op, 1, then_do(zk, on_bucket_removed));
}

static void on_removed(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_bus *zk = owner;
    struct zk_clean *clean = &zk->clean;
    if (!is_heard(zk, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZNONODE) {
        finish(zk); /* somebody else cleans: the next pass lists anew */
        return;
    }
    if (reply->rc != ZOK) {
        fail(zk, reply->rc, "remove old records");
        return;
    }
    clean->removed += clean->batch;
    clean->done += clean->batch;
    remove_some(zk);
}

static void remove_some(struct zk_bus *zk)
{
    struct zk_clean *clean = &zk->clean;
    char paths[ZK_CLEAN_BATCH][ZK_NODE_MAX];
    zoo_op_t ops[ZK_CLEAN_BATCH];
    size_t left = clean->old - clean->done;
    clean->batch = left < ZK_CLEAN_BATCH ? left : ZK_CLEAN_BATCH;
    if (clean->batch == 0) {
        bucket_done(zk);
        return;
    }
    for (size_t i = 0; i < clean->batch; i++) {
        zk_name_record(paths[i], &zk->names, clean->queue, clean->bucket,
                       clean->search.numbers[clean->done + i]);
        zoo_delete_op_init(&ops[i], paths[i], -1);
    }
    zk_multi(&zk->link, ops, (int)clean->batch, then_do(zk, on_removed));
}

static void on_old_found(struct zk_search *search, int rc, size_t index)
{
    struct zk_bus *zk = (struct zk_bus *)((char *)search - offsetof(struct zk_bus, clean.search));
    if (zk_is_lost(rc)) {
        return;
    }
    if (rc != ZOK) {
        fail(zk, rc, "look at records");
        return;
    }
    zk->clean.old = index;
    zk->clean.done = 0;
    remove_some(zk);
}

static void on_records(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_bus *zk = owner;
    struct zk_clean *clean = &zk->clean;
    struct zk_search *search = &clean->search;
    size_t foreign;
    if (!is_heard(zk, tag, reply->rc)) {
        return;
    }
    zk_search_fini(search);
    if (reply->rc != ZOK ||
        zk_numbers_read(reply->names, 'e', &search->numbers, &search->count, &foreign)) {
        fail(zk, reply->rc, "list records");
        return;
    }
    zk_search_start(search, zk, clean->queue, clean->bucket, keep_ms(zk), on_old_found);
}

/* ---- the queues ---- */

static void on_buckets(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_bus *zk = owner;
    struct zk_clean *clean = &zk->clean;
    size_t foreign;
    if (!is_heard(zk, tag, reply->rc)) {
        return;
    }
    forget_buckets(clean);
    if (reply->rc != ZOK ||
        zk_numbers_read(reply->names, 'b', &clean->buckets, &clean->bucket_count, &foreign)) {
        fail(zk, reply->rc, "list buckets");
        return;
    }
    clean->bucket_at = 0;
    next_bucket(zk);
}

static void list_queue(struct zk_bus *zk)
{
    char path[ZK_NODE_MAX];
    if (zk->clean.queue == zk->bus.queues) {
        finish(zk);
        return;
    }
    zk_name_queue(path, &zk->names, zk->clean.queue);
    zk_children(&zk->link, path, then_do(zk, on_buckets));
}

static void next_bucket(struct zk_bus *zk)
{
    char path[ZK_NODE_MAX];
    struct zk_clean *clean = &zk->clean;
    if (clean->bucket_at == clean->bucket_count) {
        clean->queue++;
        list_queue(zk);
        return;
    }
    clean->bucket = (uint32_t)clean->buckets[clean->bucket_at++];
    zk_name_bucket(path, &zk->names, clean->queue, clean->bucket);
    zk_children(&zk->link, path, then_do(zk, on_records));
}

/* ---- whose turn it is ---- */

static void begin_pass(struct zk_bus *zk)
{
    zk->clean.removed = 0;
    zk->clean.queue = 0;
    list_queue(zk);
}

static void on_owner(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_bus *zk = owner;
    if (!is_heard(zk, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZOK && reply->stat->ephemeralOwner == zk->link.session.client_id) {
        begin_pass(zk);
    } else {
        finish(zk);
    }
}

static void on_claimed(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_bus *zk = owner;
    char path[ZK_NODE_MAX];
    if (!is_heard(zk, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZOK) {
        begin_pass(zk);
    } else if (reply->rc == ZNODEEXISTS) {
        zk_name_cleaner(path, &zk->names);
        zk_exists(&zk->link, path, NULL, NULL, then_do(zk, on_owner));
    } else {
        fail(zk, reply->rc, "become the one that cleans");
    }
}

void zk_clean_tick(struct zk_bus *zk, uint64_t now_ms)
{
    char path[ZK_NODE_MAX];
    struct zk_clean *clean = &zk->clean;
    if (clean->is_running || now_ms < clean->next_ms) {
        return;
    }
    clean->is_running = true;
    zk_name_cleaner(path, &zk->names);
    zk_create(&zk->link, path, zk->node, ZOO_EPHEMERAL, then_do(zk, on_claimed));
}

void zk_clean_stop(struct zk_bus *zk)
{
    zk->clean.round++;
    zk->clean.is_running = false;
    forget_buckets(&zk->clean);
}
