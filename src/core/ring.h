/* Bus thread → one worker: a ring of references, one producer, one consumer, no locks, never
 * blocks. */
#ifndef TIDEGATE_CORE_RING_H
#define TIDEGATE_CORE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { RING_SLOTS = 32768 };

/* What a slot refers to. The reference belongs to the consumer once popped. */
enum ring_kind {
    RING_MESSAGE,  /* struct message */
    RING_FENCE,    /* struct interest_batch that comes back with the heads */
    RING_HEADS,    /* struct hub_heads: how far the queues are, without traffic */
    RING_CATCH_UP, /* struct hub_catch_up: read the window yourself from here to there */
};

struct ring {
    _Alignas(64) atomic_uint_fast64_t head; /* producer's */
    uint64_t tail_seen;                     /* producer's copy of tail */
    _Alignas(64) atomic_uint_fast64_t tail; /* consumer's */
    uint64_t head_seen;                     /* consumer's copy of head */
    uintptr_t *slots;                       /* the kind in the low two bits */
    uint64_t capacity;                      /* a power of two, at most RING_SLOTS */
};

int ring_init(struct ring *ring, uint64_t capacity);

/* What is still in the ring must have been popped. */
void ring_fini(struct ring *ring);

/* Producer. False when full. */
bool ring_push(struct ring *ring, enum ring_kind kind, void *ptr);

/* Consumer. NULL when empty. */
void *ring_pop(struct ring *ring, enum ring_kind *out_kind);

/* Consumer: how many entries wait. */
static inline uint64_t ring_count(const struct ring *ring)
{
    return atomic_load_explicit(&ring->head, memory_order_acquire) -
           atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

bool ring_is_empty(const struct ring *ring); /* consumer */

#endif
