#include "core/interest_table.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/target.h"

enum { FIRST_PLACES = 64, SHRINK_BELOW = 8 };

void interest_table_init(struct interest_table *table, uint32_t worker_count)
{
    ASSERT(worker_count >= 1 && worker_count <= 64);
    uint32_t bytes = 1;
    while (bytes * 8 < worker_count) {
        bytes *= 2;
    }
    *table = (struct interest_table){.mask_bytes = bytes};
}

static void account(const struct interest_table *table, int sign)
{
    mem_account(MEM_TABLES,
                sign * (int64_t)(table->places * (sizeof(*table->keys) + table->mask_bytes)));
}

void interest_table_fini(struct interest_table *table)
{
    account(table, -1);
    mem_free(table->keys);
    mem_free(table->masks);
    *table = (struct interest_table){.mask_bytes = table->mask_bytes};
}

static uint64_t read_mask(const struct interest_table *table, uint64_t place)
{
    uint64_t mask = 0;
    memcpy(&mask, table->masks + place * table->mask_bytes, table->mask_bytes);
    return mask;
}

static void write_mask(struct interest_table *table, uint64_t place, uint64_t mask)
{
    memcpy(table->masks + place * table->mask_bytes, &mask, table->mask_bytes);
}

/* The place of the key, or the free one where it belongs. There always is a free one. */
static uint64_t find_place(const struct interest_table *table, uint64_t key)
{
    uint64_t place = key & (table->places - 1);
    while (table->keys[place] && table->keys[place] != key) {
        place = (place + 1) & (table->places - 1);
    }
    return place;
}

uint64_t interest_table_find(const struct interest_table *table, uint64_t key)
{
    if (!table->places) {
        return 0;
    }
    uint64_t place = find_place(table, key);
    return table->keys[place] ? read_mask(table, place) : 0;
}

static int resize(struct interest_table *table, uint64_t places)
{
    struct interest_table resized = {.places = places, .mask_bytes = table->mask_bytes};
    resized.keys = mem_zalloc(places * sizeof(*resized.keys));
    resized.masks = mem_zalloc(places * table->mask_bytes);
    if (!resized.keys || !resized.masks) {
        mem_free(resized.keys);
        mem_free(resized.masks);
        return ERR_NO_MEMORY;
    }
    for (uint64_t i = 0; i < table->places; i++) {
        if (table->keys[i]) {
            uint64_t place = find_place(&resized, table->keys[i]);
            resized.keys[place] = table->keys[i];
            write_mask(&resized, place, read_mask(table, i));
        }
    }
    resized.count = table->count;
    memcpy(resized.kinds, table->kinds, sizeof(resized.kinds));
    account(&resized, 1);
    interest_table_fini(table);
    *table = resized;
    return 0;
}

int interest_table_add(struct interest_table *table, uint64_t key, uint64_t workers)
{
    bool full = (uint64_t)table->count + 1 > table->places / 8 * 7;
    if (full && resize(table, table->places ? table->places * 2 : FIRST_PLACES)) {
        /* A key that is there already needs no new place. */
        if (!interest_table_find(table, key)) {
            return ERR_NO_MEMORY;
        }
    }
    uint64_t place = find_place(table, key);
    if (!table->keys[place]) {
        table->count++;
        table->kinds[target_key_kind(key)]++;
    }
    table->keys[place] = key;
    write_mask(table, place, read_mask(table, place) | workers);
    return 0;
}

/* Later keys of the run move back into the hole, so that no marker for removed ones is needed. */
static void close_hole(struct interest_table *table, uint64_t hole)
{
    uint64_t wrap = table->places - 1;
    for (uint64_t at = (hole + 1) & wrap; table->keys[at]; at = (at + 1) & wrap) {
        uint64_t home = table->keys[at] & wrap;
        if (((at - home) & wrap) >= ((at - hole) & wrap)) {
            table->keys[hole] = table->keys[at];
            write_mask(table, hole, read_mask(table, at));
            hole = at;
        }
    }
    table->keys[hole] = 0;
    write_mask(table, hole, 0);
}

void interest_table_clear(struct interest_table *table, uint64_t key, uint64_t workers)
{
    if (!interest_table_find(table, key)) {
        return;
    }
    uint64_t place = find_place(table, key);
    uint64_t mask = read_mask(table, place) & ~workers;
    write_mask(table, place, mask);
    if (mask == 0) {
        table->count--;
        table->kinds[target_key_kind(key)]--;
        close_hole(table, place);
    }
}

void interest_table_shrink(struct interest_table *table)
{
    if (table->places > FIRST_PLACES && (uint64_t)table->count * SHRINK_BELOW < table->places) {
        resize(table, table->places / 2);
    }
}
