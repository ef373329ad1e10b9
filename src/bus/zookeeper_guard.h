/* What a server's bytes must look like before the client library may read them. The library takes
 * a frame's length as it comes (and allocates it), believes any time-out that it is told, and stops
 * the process when a reply comes that nobody asked for; so each frame's head is looked at first,
 * where the bytes wait in the socket. Pure.
 *
 * The library reads one frame a call, and says whether it has got all of it; so it is known when
 * the next byte in the socket begins a frame. */
#ifndef TIDEGATE_BUS_ZOOKEEPER_GUARD_H
#define TIDEGATE_BUS_ZOOKEEPER_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ZK_GUARD_PEEK = 40,               /* bytes from a frame's beginning that it wants to see */
    ZK_GUARD_FRAME_MAX = 128 << 20,   /* a listing, or a record, with room */
    ZK_GUARD_TIMEOUT_MAX_MS = 600000, /* a session's, as the server tells it */
};

struct zk_guard {
    bool is_greeted; /* the answer to our greeting was read */
    bool is_inside;  /* of a frame that is good */
};

enum zk_guard_verdict {
    ZK_GUARD_GOOD,
    ZK_GUARD_MORE, /* too few bytes to say */
    ZK_GUARD_BAD,  /* not ZooKeeper, or not as asked: close the connection */
};

/* data: the first bytes that wait. calls: replies that are awaited. Sets is_inside when good. */
enum zk_guard_verdict zk_guard_look(struct zk_guard *guard, const uint8_t *data, size_t len,
                                    uint32_t calls);

/* The library has read the frame to its end. */
void zk_guard_passed(struct zk_guard *guard);

#endif
