/* Which workers have sessions for a target: key → bit mask of workers. The biggest table of an idle
 * node, so it is packed: 8 bytes of key and as many of mask as there are workers to name, in two
 * arrays. Linear probing, no tombstones. One thread. */
#ifndef TIDEGATE_CORE_INTEREST_TABLE_H
#define TIDEGATE_CORE_INTEREST_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct interest_table {
    uint64_t *keys;  /* 0: free. Keys are keyed hashes already, and never 0 */
    uint8_t *masks;  /* mask_bytes each */
    uint64_t places; /* a power of two, or 0 */
    uint32_t count;
    uint32_t mask_bytes; /* 1, 2, 4 or 8 */
    uint32_t kinds[8];   /* how many keys of each target_key_kind */
};

/* worker_count: 1 to 64. */
void interest_table_init(struct interest_table *table, uint32_t worker_count);
void interest_table_fini(struct interest_table *table);

/* 0 when nobody has it. */
uint64_t interest_table_find(const struct interest_table *table, uint64_t key);

/* 0, or ERR_NO_MEMORY: then nothing has changed. */
int interest_table_add(struct interest_table *table, uint64_t key, uint64_t workers);
void interest_table_clear(struct interest_table *table, uint64_t key, uint64_t workers);

/* Gives memory back when the table is nearly empty; failing to do so is harmless. */
void interest_table_shrink(struct interest_table *table);

#endif
