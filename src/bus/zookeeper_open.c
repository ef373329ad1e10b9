/* After each connect: a write, which only a majority can answer, brings the server to a state that
 * is no older than anything we have read elsewhere. (A sync does not: a leader that was replaced
 * while it slept, and has not heard of it yet, answers one.) Then the nodes that must be there are
 * made in one step if they are not, and the youngest of path and queues names the history. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "bus/zookeeper_private.h"

enum { MAX_TRIES = 5 };

static void look(struct zk_bus *zk);

static struct zk_then then_do(struct zk_bus *zk, zk_reply_cb on_reply, uint32_t part)
{
    return (struct zk_then){on_reply, zk, (uint64_t)zk->open.round << 32 | part};
}

/* Whether the answer is one of this round, and no failure that has nothing to do with nodes. */
static bool is_heard(struct zk_bus *zk, uint64_t tag, int rc)
{
    return tag >> 32 == zk->open.round && !zk_is_lost(rc);
}

static void announce_epoch(struct zk_bus *zk)
{
    char epoch[BUS_EPOCH_MAX];
    /* The time tells two ensembles apart that were set up by the same steps. */
    snprintf(epoch, sizeof(epoch), "%" PRIx64 "-%" PRIx64, (uint64_t)zk->open.czxid,
             (uint64_t)zk->open.ctime);
    if (strcmp(epoch, zk->epoch) == 0) {
        return;
    }
    if (zk->epoch[0]) {
        log_warn("bus.history_changed",
                 "zookeeper: %s is another one than before: history %s, was %s", zk->names.root,
                 epoch, zk->epoch);
    }
    memcpy(zk->epoch, epoch, sizeof(epoch));
    zk_callbacks(zk)->on_epoch(zk->bus.owner, str_of(zk->epoch));
    for (uint32_t i = 0; i < zk->bus.queues; i++) {
        zk_queue_restart(&zk->queues[i]);
    }
}

static void finish(struct zk_bus *zk)
{
    uint32_t round = zk->open.round;
    announce_epoch(zk);
    if (round == zk->open.round) {
        zk->open.is_done = true;
        zk_opened(zk);
    }
}

static void on_made(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_bus *zk = owner;
    if (!is_heard(zk, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZOK || reply->rc == ZNODEEXISTS || reply->rc == ZNONODE) {
        look(zk); /* somebody else may have been faster, or have taken it away again */
        return;
    }
    zk_refused(zk, reply->rc, "create nodes in");
}

/* All that is missing in one step, so that two nodes that start at once agree on one history. */
static void make_missing(struct zk_bus *zk)
{
    zoo_op_t ops[1 + 2 * BUS_MAX_QUEUES];
    char paths[2 * BUS_MAX_QUEUES][ZK_NODE_MAX];
    int count = 0;
    if (zk->open.root_missing) {
        zoo_create_op_init(&ops[count++], zk->names.root, "", 0, zk->acl, ZOO_PERSISTENT, NULL, 0);
    }
    for (uint32_t i = 0; i < zk->bus.queues; i++) {
        if (zk->open.missing >> i & 1) {
            const char *queue = zk_name_queue(paths[2 * i], &zk->names, i);
            const char *bucket = zk_name_bucket(paths[2 * i + 1], &zk->names, i, 0);
            zoo_create_op_init(&ops[count++], queue, "", 0, zk->acl, ZOO_PERSISTENT, NULL, 0);
            zoo_create_op_init(&ops[count++], bucket, "", 0, zk->acl, ZOO_PERSISTENT, NULL, 0);
        }
    }
    zk_multi(&zk->link, ops, count, then_do(zk, on_made, 0));
}

static void ignore(void *owner, uint64_t tag, const struct zk_reply *reply)
{
}

/* The nodes above the path; what is wrong with them shows when the path is made. */
static void make_parents(struct zk_bus *zk)
{
    char parent[ZK_ROOT_MAX + 1];
    memcpy(parent, zk->names.root, sizeof(parent));
    for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        zk_create(&zk->link, parent, STR(""), ZOO_PERSISTENT, (struct zk_then){ignore, NULL, 0});
        *slash = '/';
    }
}

static void looked(struct zk_bus *zk)
{
    if (!zk->open.root_missing && !zk->open.missing) {
        finish(zk);
        return;
    }
    if (zk->open.tries++ == MAX_TRIES) {
        zk_link_break(&zk->link, "the nodes below %s come and go", zk->names.root);
        return;
    }
    if (zk->open.root_missing) {
        make_parents(zk);
    }
    make_missing(zk);
}

static void note_age(struct zk_open *open, const struct Stat *stat)
{
    if (stat->czxid > open->czxid) {
        open->czxid = stat->czxid;
        open->ctime = stat->ctime;
    }
}

static void on_stat(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_bus *zk = owner;
    uint32_t part = (uint32_t)tag;
    if (!is_heard(zk, tag, reply->rc)) {
        return;
    }
    if (reply->rc == ZOK) {
        note_age(&zk->open, reply->stat);
    } else if (reply->rc != ZNONODE) {
        zk_refused(zk, reply->rc, "look at");
        return;
    } else if (part == BUS_MAX_QUEUES) {
        zk->open.root_missing = true;
    } else {
        zk->open.missing |= 1ull << part;
    }
    if (--zk->open.waits == 0) {
        looked(zk);
    }
}

static void look(struct zk_bus *zk)
{
    char path[ZK_NODE_MAX];
    struct zk_open *open = &zk->open;
    open->missing = 0;
    open->root_missing = false;
    open->czxid = open->ctime = 0;
    open->waits = zk->bus.queues + 1;
    zk_exists(&zk->link, zk->names.root, NULL, NULL, then_do(zk, on_stat, BUS_MAX_QUEUES));
    for (uint32_t i = 0; i < zk->bus.queues; i++) {
        zk_name_queue(path, &zk->names, i);
        zk_exists(&zk->link, path, NULL, NULL, then_do(zk, on_stat, i));
    }
}

/* A path that is not there yet is as good an answer. */
static void on_touched(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_bus *zk = owner;
    if (!is_heard(zk, tag, reply->rc)) {
        return;
    }
    if (reply->rc != ZOK && reply->rc != ZNONODE) {
        zk_refused(zk, reply->rc, "write to");
        return;
    }
    look(zk);
}

void zk_open_stop(struct zk_bus *zk)
{
    zk->open.round++;
    zk->open.is_done = false;
}

void zk_open_begin(struct zk_bus *zk)
{
    zk_open_stop(zk);
    zk->open.tries = 0;
    zk_touch(&zk->link, zk->names.root, then_do(zk, on_touched, 0));
}
