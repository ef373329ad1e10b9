/* Equal-sized slots addressed by a 32-bit index. Chunks of 1,024 slots come from the system and
 * never move, so a pointer stays good while its slot is in use; wholly free chunks at the end are
 * given back. The lowest free index is handed out first, so that a shrinking population empties the
 * tail; one empty chunk is kept there against swinging. Constant time. One thread. Index 0 is never
 * handed out and can mean "none". */
#ifndef TIDEGATE_BASE_SLAB_H
#define TIDEGATE_BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

enum { SLAB_CHUNK_SLOTS = 1024 };

struct slab_chunk; /* slab.c */

struct slab {
    uint8_t **chunks; /* the slots of chunk i start at chunks[i] */
    struct slab_chunk *meta;
    uint64_t *open; /* bit i: chunk i has a free slot */
    uint32_t chunk_count;
    uint32_t chunk_cap;
    uint32_t slot_size;
    uint32_t used;
    uint32_t first_open_word; /* no word of open before it has a bit */
    enum mem_owner owner;
};

/* slot_size: a multiple of 4, at least 4. Bytes held, the tables' too, are accounted to owner. */
void slab_init(struct slab *slab, uint32_t slot_size, enum mem_owner owner);
void slab_fini(struct slab *slab);

/* Returns the index of a zeroed slot, 0 when memory is out. */
uint32_t slab_alloc(struct slab *slab);

/* index must be in use: anything else is an assertion. */
void slab_free(struct slab *slab, uint32_t index);

/* No check: index must come from slab_alloc and not be freed. */
static inline void *slab_at(const struct slab *slab, uint32_t index)
{
    return slab->chunks[index / SLAB_CHUNK_SLOTS] +
           (size_t)(index % SLAB_CHUNK_SLOTS) * slab->slot_size;
}

/* One past the highest index that may be in use: the bound of a walk from 1. All slots below it are
 * in memory; one that is not in use reads as its last owner left it, or as zeroes: mark your slots.
 * A walk that frees slots asks for the limit anew at each step, since chunks at the end may go. */
static inline uint32_t slab_limit(const struct slab *slab)
{
    return slab->chunk_count * SLAB_CHUNK_SLOTS;
}

/* What the system gave: whole chunks and the tables. */
size_t slab_bytes(const struct slab *slab);

#endif
