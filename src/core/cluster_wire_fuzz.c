/* Any bytes as what a node may say to another: what is read stays inside the bytes, and is written
 * and read again as the same. The first byte chooses what they are taken for. */
#include <stdlib.h>

#include "base/err.h"
#include "core/cluster_wire.h"
#include "core/hll.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A count that is read is written and read again as the same. */
static void try_users(struct str users)
{
    struct cluster_users_item item;
    while (cluster_next_users(&users, &item)) {
        struct hll count = {0};
        struct hll again = {0};
        struct buf out = {0};
        struct buf written_again = {0};
        if (hll_merge_wire(&count, item.count)) {
            ASSERT(hll_write(&out, &count) == 0 && hll_merge_wire(&again, buf_str(&out)));
            ASSERT(hll_write(&written_again, &again) == 0);
            ASSERT(str_equal(buf_str(&out), buf_str(&written_again)));
            ASSERT(hll_count(&count) < UINT64_MAX / 2);
        }
        buf_fini(&written_again);
        buf_fini(&out);
    }
}

static void try_beacon(struct str body)
{
    struct cluster_beacon beacon;
    struct cluster_beacon again;
    struct buf out = {0};
    if (cluster_read_beacon(&beacon, body)) {
        ASSERT(cluster_write_beacon(&out, &beacon) == 0);
        ASSERT(cluster_read_beacon(&again, buf_str(&out)));
        ASSERT(again.seq == beacon.seq && str_equal(again.node, beacon.node));
        ASSERT(beacon.node.len <= CLUSTER_NAME_MAX && beacon.version.len <= CLUSTER_VERSION_MAX);
        ASSERT(again.tells_users == beacon.tells_users &&
               str_equal(again.user_counts, beacon.user_counts));
        try_users(beacon.user_counts);
    }
    buf_fini(&out);
}

static void try_ask(struct str body)
{
    struct cluster_ask_body ask;
    struct cluster_ask_body again;
    struct buf out = {0};
    if (cluster_read_ask(&ask, body)) {
        ASSERT(cluster_write_ask(&out, &ask) == 0);
        ASSERT(cluster_read_ask(&again, buf_str(&out)));
        ASSERT(again.id == ask.id && str_equal(again.payload, ask.payload));
    }
    buf_fini(&out);
}

static void try_reply(struct str body)
{
    struct cluster_reply_body reply;
    struct cluster_reply_body again;
    struct buf out = {0};
    if (cluster_read_reply(&reply, body)) {
        ASSERT(cluster_write_reply(&out, &reply) == 0);
        ASSERT(cluster_read_reply(&again, buf_str(&out)));
        ASSERT(again.id == reply.id && str_equal(again.text, reply.text));
    }
    buf_fini(&out);
}

static void try_report(struct str body)
{
    struct cluster_count_body count;
    struct buf out = {0};
    struct str rest = body;
    if (!cluster_begin_counts(&rest)) {
        return;
    }
    while (cluster_next_count(&rest, &count)) {
        out.len = 0;
        ASSERT(cluster_write_count(&out, &count) == 0);
        struct str again = buf_str(&out);
        struct cluster_count_body same;
        ASSERT(cluster_begin_counts(&again) && cluster_next_count(&again, &same));
        ASSERT(same.counter == count.counter && str_equal(same.online, count.online));
    }
    buf_fini(&out);
}

static void try_presence(struct str body)
{
    struct cluster_presence_item item;
    struct buf out = {0};
    struct str rest = body;
    if (!cluster_begin_presence(&rest)) {
        return;
    }
    while (cluster_next_presence(&rest, &item)) {
        out.len = 0;
        ASSERT(cluster_write_presence(&out, &item) == 0);
        struct str again = buf_str(&out);
        struct cluster_presence_item same;
        ASSERT(cluster_begin_presence(&again) && cluster_next_presence(&again, &same));
        ASSERT(same.serial == item.serial && str_equal(same.user, item.user));
    }
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct str body) = {try_beacon, try_ask, try_reply, try_report,
                                                     try_presence};
    if (size == 0) {
        return 0;
    }
    uint8_t *body = malloc(size); /* exact, so that reading on is noticed */
    memcpy(body, data, size);
    tries[body[0] % 5](str_make(body + 1, size - 1));
    free(body);
    return 0;
}
