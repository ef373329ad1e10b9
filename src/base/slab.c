#include "base/slab.h"

#include <stdbool.h>
#include <string.h>

#include "base/err.h"

enum { WORD_BITS = 64, CHUNK_WORDS = SLAB_CHUNK_SLOTS / WORD_BITS };
enum { MAX_CHUNKS = UINT32_MAX / SLAB_CHUNK_SLOTS };

/* A bitmap beside the chunk, not a list through it: slots keep what their owner left, and a double
 * free is noticed. */
struct slab_chunk {
    uint64_t free_slots[CHUNK_WORDS]; /* bit set: free */
    uint32_t free_words;              /* bit i set: free_slots[i] is not zero */
    uint32_t used;
};

static size_t chunk_bytes(const struct slab *slab)
{
    return (size_t)slab->slot_size * SLAB_CHUNK_SLOTS; /* a multiple of 4096 */
}

static size_t table_bytes(uint32_t cap)
{
    return cap * (sizeof(uint8_t *) + sizeof(struct slab_chunk)) +
           cap / WORD_BITS * sizeof(uint64_t);
}

void slab_init(struct slab *slab, uint32_t slot_size, enum mem_owner owner)
{
    ASSERT(slot_size >= 4 && slot_size % 4 == 0);
    *slab = (struct slab){.slot_size = slot_size, .owner = owner};
}

void slab_fini(struct slab *slab)
{
    mem_account(slab->owner, -(int64_t)slab_bytes(slab));
    for (uint32_t i = 0; i < slab->chunk_count; i++) {
        mem_pages_free(slab->chunks[i], chunk_bytes(slab));
    }
    mem_free(slab->chunks);
    mem_free(slab->meta);
    mem_free(slab->open);
    *slab = (struct slab){.slot_size = slab->slot_size, .owner = slab->owner};
}

static bool resize_array(void *array_ptr, size_t size)
{
    void *array;
    memcpy(&array, array_ptr, sizeof(array));
    array = mem_realloc(array, size);
    if (!array) {
        return false;
    }
    memcpy(array_ptr, &array, sizeof(array));
    return true;
}

/* A table that grew before another failed is only larger than it says. */
static bool grow_tables(struct slab *slab)
{
    uint32_t cap = slab->chunk_cap ? slab->chunk_cap * 2 : WORD_BITS;
    if (!resize_array(&slab->chunks, cap * sizeof(*slab->chunks)) ||
        !resize_array(&slab->meta, cap * sizeof(*slab->meta)) ||
        !resize_array(&slab->open, cap / WORD_BITS * sizeof(*slab->open))) {
        return false;
    }
    uint32_t old_words = slab->chunk_cap / WORD_BITS;
    memset(slab->open + old_words, 0, (cap / WORD_BITS - old_words) * sizeof(*slab->open));
    mem_account(slab->owner, (int64_t)(table_bytes(cap) - table_bytes(slab->chunk_cap)));
    slab->chunk_cap = cap;
    return true;
}

static void mark_open(struct slab *slab, uint32_t chunk, bool open)
{
    uint64_t bit = UINT64_C(1) << chunk % WORD_BITS;
    uint64_t *word = &slab->open[chunk / WORD_BITS];
    *word = open ? *word | bit : *word & ~bit;
}

static void take_slot(struct slab *slab, uint32_t chunk, uint32_t slot)
{
    struct slab_chunk *meta = &slab->meta[chunk];
    uint32_t word = slot / WORD_BITS;
    meta->free_slots[word] &= ~(UINT64_C(1) << slot % WORD_BITS);
    if (meta->free_slots[word] == 0) {
        meta->free_words &= ~(1u << word);
    }
    if (meta->free_words == 0) {
        mark_open(slab, chunk, false);
    }
}

static bool add_chunk(struct slab *slab)
{
    if (slab->chunk_count >= MAX_CHUNKS ||
        (slab->chunk_count == slab->chunk_cap && !grow_tables(slab))) {
        return false;
    }
    uint8_t *slots = mem_pages_alloc(chunk_bytes(slab));
    if (!slots) {
        return false;
    }
    uint32_t chunk = slab->chunk_count++;
    slab->chunks[chunk] = slots;
    struct slab_chunk *meta = &slab->meta[chunk];
    memset(meta->free_slots, 0xff, sizeof(meta->free_slots));
    meta->free_words = (1u << CHUNK_WORDS) - 1;
    meta->used = 0;
    mark_open(slab, chunk, true);
    if (chunk == 0) {
        take_slot(slab, 0, 0); /* index 0 means "none" */
    }
    mem_account(slab->owner, (int64_t)chunk_bytes(slab));
    return true;
}

/* The lowest chunk with a free slot, or a new one. One word speaks for 65,536 slots. */
static bool find_open_chunk(struct slab *slab, uint32_t *out_chunk)
{
    uint32_t words = slab->chunk_cap / WORD_BITS;
    while (slab->first_open_word < words && slab->open[slab->first_open_word] == 0) {
        slab->first_open_word++;
    }
    if (slab->first_open_word == words) {
        if (!add_chunk(slab)) {
            return false;
        }
        slab->first_open_word = (slab->chunk_count - 1) / WORD_BITS;
    }
    uint64_t word = slab->open[slab->first_open_word];
    *out_chunk = slab->first_open_word * WORD_BITS + (uint32_t)__builtin_ctzll(word);
    return true;
}

uint32_t slab_alloc(struct slab *slab)
{
    uint32_t chunk;
    if (!find_open_chunk(slab, &chunk)) {
        return 0;
    }
    struct slab_chunk *meta = &slab->meta[chunk];
    uint32_t word = (uint32_t)__builtin_ctz(meta->free_words);
    uint32_t slot = word * WORD_BITS + (uint32_t)__builtin_ctzll(meta->free_slots[word]);
    take_slot(slab, chunk, slot);
    meta->used++;
    slab->used++;
    uint32_t index = chunk * SLAB_CHUNK_SLOTS + slot;
    memset(slab_at(slab, index), 0, slab->slot_size);
    return index;
}

/* One empty chunk stays at the end, so that a population that swings around a multiple of 1,024
 * does not map and unmap it each time. */
static void give_back_tail(struct slab *slab)
{
    while (slab->chunk_count >= 2 && slab->meta[slab->chunk_count - 1].used == 0 &&
           slab->meta[slab->chunk_count - 2].used == 0) {
        uint32_t chunk = --slab->chunk_count;
        mark_open(slab, chunk, false);
        mem_pages_free(slab->chunks[chunk], chunk_bytes(slab));
        mem_account(slab->owner, -(int64_t)chunk_bytes(slab));
    }
}

void slab_free(struct slab *slab, uint32_t index)
{
    uint32_t chunk = index / SLAB_CHUNK_SLOTS;
    uint32_t slot = index % SLAB_CHUNK_SLOTS;
    uint32_t word = slot / WORD_BITS;
    ASSERT(index != 0 && chunk < slab->chunk_count);
    struct slab_chunk *meta = &slab->meta[chunk];
    uint64_t bit = UINT64_C(1) << slot % WORD_BITS;
    ASSERT(!(meta->free_slots[word] & bit));

    meta->free_slots[word] |= bit;
    meta->free_words |= 1u << word;
    mark_open(slab, chunk, true);
    if (chunk / WORD_BITS < slab->first_open_word) {
        slab->first_open_word = chunk / WORD_BITS;
    }
    slab->used--;
    if (--meta->used == 0) {
        give_back_tail(slab);
    }
}

size_t slab_bytes(const struct slab *slab)
{
    return slab->chunk_count * chunk_bytes(slab) + table_bytes(slab->chunk_cap);
}
