/* What one session has not taken yet: a list of references to frames, and the latest pong. Exists
 * only while there is something; nodes and queues come from a pool of the worker. One thread. */
#ifndef TIDEGATE_SERVER_OUT_QUEUE_H
#define TIDEGATE_SERVER_OUT_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/receipt.h"
#include "server/frame.h"

struct tls_conn;

struct out_node {
    struct out_node *next;
    struct frame *frame;
    uint32_t sent; /* bytes of the frame that the kernel has */
    uint32_t tick; /* when it was queued, in the caller's ticks */
};

_Static_assert(sizeof(struct out_node) == 24, "what a frame in a slow session's queue costs");

struct out_queue {
    struct out_node *first;
    struct out_node **last;
    uint32_t bytes; /* unsent */
    uint32_t frames;
    bool is_held;            /* the owner's: nothing is to leave yet */
    bool has_collapse;       /* of some frame since it was created */
    uint64_t next_expiry_ms; /* no frame expires before; 0: none does */
    struct frame *pong;      /* goes out behind the frame under way; a newer one replaces it */
    struct out_queue *next_free;
};

struct out_pool {
    struct out_node *nodes;
    struct out_queue *queues;
    uint32_t node_count; /* free ones */
    uint32_t queue_count;
    atomic_uint_fast64_t bytes; /* unsent ones of all queues; any thread reads */
};

/* Gives the free ones back to the system. */
void out_pool_fini(struct out_pool *pool);

/* NULL when memory is out. */
struct out_queue *out_queue_create(struct out_pool *pool);

/* Drops what is in it, since the session ends; dropped frames with a receipt say so. NULL is fine.
 */
void out_queue_destroy(struct out_pool *pool, struct out_queue *queue);

/* Drops what is not yet on its way: all but the frames of the first held bytes (link_held) and one
 * that is half out, behind which others may be added. Returns how many frames that were. */
uint32_t out_queue_trim(struct out_pool *pool, struct out_queue *queue, size_t held,
                        enum receipt_drop why);

/* Which frames are taken out, and why. */
struct out_drop {
    bool (*matches)(const struct frame *frame, const struct out_drop *drop);
    uint64_t value;
    uint64_t until_ms; /* see out_queue_is_of_key */
    uint32_t *budget;  /* frames that may still be looked at, from the oldest; NULL: all */
    enum receipt_drop why;
    /* The session is told of each. NULL is fine. */
    void (*on_drop)(void *owner, const struct frame *frame, enum receipt_drop why);
    void *owner;
};

/* Takes these out, but none that is on its way (see out_queue_trim); the others keep their order.
 * Returns how many. It may leave nothing: out_queue_send then returns 1. */
uint32_t out_queue_drop(struct out_pool *pool, struct out_queue *queue, size_t held,
                        const struct out_drop *drop);

/* For struct out_drop: frames of the message with the event.id_hash value; of the collapse key
 * value that don't outlive what comes for them, which expires at until_ms (0: never); that expire
 * at value or before. */
bool out_queue_is_of_message(const struct frame *frame, const struct out_drop *drop);
bool out_queue_is_of_key(const struct frame *frame, const struct out_drop *drop);
bool out_queue_is_expired(const struct frame *frame, const struct out_drop *drop);

/* Takes a reference of its own; sent: bytes of the frame that are already on the wire. 0 or
 * ERR_NO_MEMORY. */
int out_queue_add(struct out_pool *pool, struct out_queue *queue, struct frame *frame,
                  uint32_t sent, uint32_t tick);

struct out_sent {
    uint32_t frames; /* finished */
    uint64_t bytes;
    uint64_t received_us; /* with way_us those of the first that has any; 0: none has */
    uint32_t way_us;
};

/* Sends as much as the socket takes, up to 64 frames a call. tls NULL: plain. Returns 1 when all is
 * out, 0 when the socket is full, or a negative error. */
int out_queue_send(struct out_pool *pool, struct out_queue *queue, int fd, struct tls_conn *tls,
                   struct out_sent *out_sent);

#endif
