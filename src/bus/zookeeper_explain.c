/* Why numbers are missing in a bucket: somebody made nodes of his own there, each of which uses one
 * up, or records were taken away. The first loses nothing; the second has to be told. A node of his
 * own is the reason when it was made after the record before the missing numbers and before the one
 * behind them. */
#include <stdio.h>

#include "bus/zookeeper_private.h"

enum { FOREIGN_MAX = 16 }; /* more are not looked at: a hole is told then */

static void finish(struct zk_queue *queue)
{
    struct zk_explain *explain = &queue->explain;
    uint64_t missing = explain->to - queue->reader.next;
    uint64_t made = 0;
    for (uint32_t i = 0; i < explain->count; i++) {
        made += explain->czxids[i] > queue->reader.last_czxid &&
                explain->czxids[i] < explain->czxid_behind;
    }
    zk_explained(queue, explain->to, made == missing);
}

static void on_stat(void *owner, uint64_t tag, const struct zk_reply *reply)
{
    struct zk_queue *queue = owner;
    struct zk_explain *explain = &queue->explain;
    uint32_t part = (uint32_t)tag;
    if (tag >> 32 != queue->reader.round || zk_is_lost(reply->rc)) {
        return;
    }
    if (reply->rc == ZOK && part == FOREIGN_MAX) {
        explain->czxid_behind = reply->stat->czxid;
    } else if (reply->rc == ZOK) {
        explain->czxids[explain->count++] = reply->stat->czxid;
    }
    if (--explain->waits == 0) {
        finish(queue);
    }
}

static void ask(struct zk_queue *queue, const char *path, uint32_t part)
{
    uint64_t tag = (uint64_t)queue->reader.round << 32 | part;
    queue->explain.waits++;
    zk_exists(&queue->bus->link, path, NULL, NULL, (struct zk_then){on_stat, queue, tag});
}

static void ask_foreign(struct zk_queue *queue, const struct String_vector *names)
{
    char bucket[ZK_NODE_MAX];
    char path[2 * ZK_NODE_MAX];
    uint64_t number;
    zk_name_bucket(bucket, &queue->bus->names, queue->index, queue->reader.bucket);
    for (int32_t i = 0; i < names->count; i++) {
        bool fits = snprintf(path, sizeof(path), "%s/%s", bucket, names->data[i]) <
                    (int)sizeof(path);
        if (fits && !zk_name_number(str_of(names->data[i]), 'e', &number)) {
            ask(queue, path, 0);
        }
    }
}

void zk_explain(struct zk_queue *queue, const struct String_vector *names, size_t foreign,
                uint64_t to)
{
    char path[ZK_NODE_MAX];
    struct zk_reader *reader = &queue->reader;
    if (to == reader->next || foreign == 0 || foreign > FOREIGN_MAX || reader->last_czxid == 0) {
        zk_explained(queue, to, false);
        return;
    }
    queue->explain = (struct zk_explain){.to = to, .czxid_behind = INT64_MAX, .waits = 1};
    ask_foreign(queue, names);
    zk_name_record(path, &queue->bus->names, queue->index, reader->bucket, to);
    ask(queue, path, FOREIGN_MAX);
    queue->explain.waits--; /* this function's own: answers come later, but for a broken link */
}
