/* Equal-sized slots addressed by a 32-bit index. Chunks of 1,024 slots come from the system and
 * never move, so a pointer stays good while its slot is in use; wholly free chunks at the end are
 * given back. Free slots are handed out lowest chunk first, so that a shrinking population empties
 * the tail. One thread. Index 0 is never handed out and can mean "none". */
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
    uint32_t chunk_count;
    uint32_t chunk_cap;
    uint32_t slot_size;
    uint32_t used;
    uint32_t first_free_chunk; /* lowest chunk that may have a free slot */
    enum mem_owner owner;
};

/* slot_size: a multiple of 4, at least 4. Bytes held are accounted to owner. */
void slab_init(struct slab *slab, uint32_t slot_size, enum mem_owner owner);
void slab_fini(struct slab *slab);

/* Returns the index of a zeroed slot, 0 when memory is out. */
uint32_t slab_alloc(struct slab *slab);
void slab_free(struct slab *slab, uint32_t index);

/* No check: index must come from slab_alloc and not be freed. */
static inline void *slab_at(const struct slab *slab, uint32_t index)
{
    return slab->chunks[index / SLAB_CHUNK_SLOTS] +
           (size_t)(index % SLAB_CHUNK_SLOTS) * slab->slot_size;
}

/* One past the highest index that may be in use: the bound of a walk over all slots. A slot that is
 * not in use reads as it was left by its last owner or as zeroes: mark your slots. Freed chunks are
 * below the bound only if in memory. */
static inline uint32_t slab_limit(const struct slab *slab)
{
    return slab->chunk_count * SLAB_CHUNK_SLOTS;
}

size_t slab_bytes(const struct slab *slab);

#endif
