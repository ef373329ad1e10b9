/* The users or the groups of one worker: names found by their target key. Entries live in a slab,
 * the index is 4 bytes a place, so a short name costs its slot and little more. One thread. */
#ifndef TIDEGATE_CORE_NAME_TABLE_H
#define TIDEGATE_CORE_NAME_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slab.h"
#include "base/str.h"

enum { NAME_INLINE_MAX = 16 };

/* First in every entry. */
struct name_entry {
    uint64_t key; /* target key; 0: the slot is free */
    uint16_t app;
    uint16_t len;
    uint32_t count; /* the owner's: sessions or members */
    union {
        char near[NAME_INLINE_MAX];
        char *far; /* when len is over NAME_INLINE_MAX */
    } name;
};

struct name_table {
    struct slab slab;
    uint32_t *places; /* slab indices; 0: free */
    uint32_t mask;
    uint32_t count;
};

/* entry_size: of the struct that begins with struct name_entry. */
void name_table_init(struct name_table *table, uint32_t entry_size);
void name_table_fini(struct name_table *table);

/* Slab index, or 0. */
uint32_t name_table_find(const struct name_table *table, uint64_t key);

/* Adds a key that is not there; the rest of the entry is zero. 0 when memory is out. */
uint32_t name_table_add(struct name_table *table, uint64_t key, uint16_t app, struct str name);
void name_table_remove(struct name_table *table, uint32_t index);

static inline void *name_table_at(const struct name_table *table, uint32_t index)
{
    return slab_at(&table->slab, index);
}

struct str name_entry_name(const struct name_entry *entry);

#endif
