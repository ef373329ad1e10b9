#include "core/name_table.h"

#include <string.h>

#include "base/mem.h"

enum { FIRST_PLACES = 64 };

void name_table_init(struct name_table *table, uint32_t entry_size)
{
    memset(table, 0, sizeof(*table));
    slab_init(&table->slab, entry_size, MEM_TABLES);
}

static struct name_entry *entry_at(const struct name_table *table, uint32_t index)
{
    return slab_at(&table->slab, index);
}

static void free_name(struct name_entry *entry)
{
    if (entry->len > NAME_INLINE_MAX) {
        mem_account(MEM_TABLES, -(int64_t)entry->len);
        mem_free(entry->name.far);
    }
}

static uint64_t place_count(const struct name_table *table)
{
    return table->places ? (uint64_t)table->mask + 1 : 0;
}

void name_table_fini(struct name_table *table)
{
    for (uint64_t i = 0; i < place_count(table); i++) {
        if (table->places[i]) {
            free_name(entry_at(table, table->places[i]));
        }
    }
    mem_account(MEM_TABLES, -(int64_t)(place_count(table) * sizeof(*table->places)));
    mem_free(table->places);
    slab_fini(&table->slab);
}

/* The place that holds the key, or the free one where it belongs. Keys are keyed hashes already. */
static uint32_t find_place(const struct name_table *table, uint64_t key)
{
    uint32_t place = (uint32_t)key & table->mask;
    while (table->places[place] && entry_at(table, table->places[place])->key != key) {
        place = (place + 1) & table->mask;
    }
    return place;
}

uint32_t name_table_find(const struct name_table *table, uint64_t key)
{
    return table->places ? table->places[find_place(table, key)] : 0;
}

static bool grow(struct name_table *table)
{
    uint64_t old_count = place_count(table);
    uint64_t count = old_count ? old_count * 2 : FIRST_PLACES;
    uint32_t *places = mem_zalloc(count * sizeof(*places));
    if (!places) {
        return false;
    }
    uint32_t *old = table->places;
    table->places = places;
    table->mask = (uint32_t)(count - 1);
    for (uint64_t i = 0; i < old_count; i++) {
        if (old[i]) {
            places[find_place(table, entry_at(table, old[i])->key)] = old[i];
        }
    }
    mem_account(MEM_TABLES, (int64_t)((count - old_count) * sizeof(*places)));
    mem_free(old);
    return true;
}

static bool set_name(struct name_entry *entry, struct str name)
{
    entry->len = (uint16_t)name.len;
    char *to = entry->name.near;
    if (name.len > NAME_INLINE_MAX) {
        to = mem_alloc(name.len);
        if (!to) {
            return false;
        }
        mem_account(MEM_TABLES, (int64_t)name.len);
        entry->name.far = to;
    }
    if (name.len > 0) {
        memcpy(to, name.ptr, name.len);
    }
    return true;
}

uint32_t name_table_add(struct name_table *table, uint64_t key, uint16_t app, struct str name)
{
    bool full = (uint64_t)table->count + 1 > place_count(table) / 8 * 7;
    if (name.len > UINT16_MAX || (full && !grow(table))) {
        return 0;
    }
    uint32_t index = slab_alloc(&table->slab);
    if (!index) {
        return 0;
    }
    struct name_entry *entry = entry_at(table, index);
    if (!set_name(entry, name)) {
        entry->len = 0;
        slab_free(&table->slab, index);
        return 0;
    }
    entry->app = app;
    uint32_t place = find_place(table, key);
    entry->key = key;
    table->places[place] = index;
    table->count++;
    return index;
}

/* Moves later entries of the run back, so that no marker for removed ones is needed. */
static void close_gap(struct name_table *table, uint32_t hole)
{
    uint32_t at = hole;
    for (;;) {
        at = (at + 1) & table->mask;
        if (!table->places[at]) {
            break;
        }
        uint32_t home = (uint32_t)entry_at(table, table->places[at])->key & table->mask;
        if (((at - home) & table->mask) >= ((at - hole) & table->mask)) {
            table->places[hole] = table->places[at];
            hole = at;
        }
    }
    table->places[hole] = 0;
}

void name_table_remove(struct name_table *table, uint32_t index)
{
    struct name_entry *entry = entry_at(table, index);
    close_gap(table, find_place(table, entry->key));
    free_name(entry);
    entry->key = 0;
    entry->len = 0;
    table->count--;
    slab_free(&table->slab, index);
}

struct str name_entry_name(const struct name_entry *entry)
{
    return str_make(entry->len > NAME_INLINE_MAX ? entry->name.far : entry->name.near, entry->len);
}
