#include "core/ring.h"

#include "base/err.h"
#include "base/mem.h"

int ring_init(struct ring *ring, uint64_t capacity)
{
    ASSERT(capacity > 0 && (capacity & (capacity - 1)) == 0 && capacity <= RING_SLOTS);
    *ring = (struct ring){.capacity = capacity};
    ring->slots = mem_pages_alloc(capacity * sizeof(*ring->slots));
    return ring->slots ? 0 : ERR_NO_MEMORY;
}

void ring_fini(struct ring *ring)
{
    mem_pages_free(ring->slots, ring->capacity * sizeof(*ring->slots));
    ring->slots = NULL;
}

bool ring_push(struct ring *ring, enum ring_kind kind, void *ptr)
{
    ASSERT(((uintptr_t)ptr & 3) == 0);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (head - ring->tail_seen == ring->capacity) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (head - ring->tail_seen == ring->capacity) {
            return false;
        }
    }
    ring->slots[head & (ring->capacity - 1)] = (uintptr_t)ptr | (uintptr_t)kind;
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return true;
}

void *ring_pop(struct ring *ring, enum ring_kind *out_kind)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail == ring->head_seen) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail == ring->head_seen) {
            return NULL;
        }
    }
    uintptr_t slot = ring->slots[tail & (ring->capacity - 1)];
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    *out_kind = (enum ring_kind)(slot & 3);
    return (void *)(slot & ~(uintptr_t)3);
}

bool ring_is_empty(const struct ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    return tail == atomic_load_explicit(&ring->head, memory_order_acquire);
}
