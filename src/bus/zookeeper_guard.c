#include "bus/zookeeper_guard.h"

enum {
    GREETING_LEN = 37,     /* version, time-out, session id, password, read-only flag */
    OLD_GREETING_LEN = 36, /* of servers before 3.4: without the flag */
    REPLY_HEAD_LEN = 16,   /* xid, zxid, error */
    PASSWORD_LEN = 16,
    FRAME_HEAD = 8, /* length and xid */

    /* xids that answer no call */
    XID_WATCH = -1,
    XID_PING = -2,
    XID_AUTH = -4,
    XID_SET_WATCHES = -8,
};

static int32_t read_i32(const uint8_t *data)
{
    return (int32_t)((uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 |
                     data[3]);
}

/* A session that has expired is told by a time-out of 0. */
static bool is_greeting(const uint8_t *data)
{
    int32_t len = read_i32(data);
    int32_t timeout_ms = read_i32(data + 8);
    return (len == GREETING_LEN || len == OLD_GREETING_LEN) && timeout_ms >= 0 &&
           timeout_ms <= ZK_GUARD_TIMEOUT_MAX_MS && read_i32(data + 20) == PASSWORD_LEN;
}

static bool is_reply(const uint8_t *data, uint32_t calls)
{
    int32_t len = read_i32(data);
    if (len < REPLY_HEAD_LEN || len > ZK_GUARD_FRAME_MAX) {
        return false;
    }
    switch (read_i32(data + 4)) {
    case XID_WATCH:
    case XID_PING:
    case XID_AUTH:
    case XID_SET_WATCHES: return true;
    default: return calls > 0;
    }
}

enum zk_guard_verdict zk_guard_look(struct zk_guard *guard, const uint8_t *data, size_t len,
                                    uint32_t calls)
{
    if (guard->is_inside) {
        return ZK_GUARD_GOOD;
    }
    size_t wanted = guard->is_greeted ? FRAME_HEAD : ZK_GUARD_PEEK;
    if (len < wanted) {
        return ZK_GUARD_MORE;
    }
    if (guard->is_greeted ? !is_reply(data, calls) : !is_greeting(data)) {
        return ZK_GUARD_BAD;
    }
    guard->is_inside = true;
    return ZK_GUARD_GOOD;
}

void zk_guard_passed(struct zk_guard *guard)
{
    guard->is_greeted = true;
    guard->is_inside = false;
}
