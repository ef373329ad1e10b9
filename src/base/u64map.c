#include "base/u64map.h"

#include "base/mem.h"

enum { MIN_SLOTS = 8, SHRINK_FLOOR = 64 };
static const uint32_t max_slots = 1u << 31;

static uint64_t stored_key(uint64_t key)
{
    return key ? key : 1;
}

static uint32_t slot_count(const struct u64map *map)
{
    return map->entries ? map->mask + 1 : 0;
}

/* The slot that holds the key, or the free one where it belongs. The table is never full. */
static uint32_t probe(const struct u64map *map, uint64_t key)
{
    uint32_t at = (uint32_t)key & map->mask;
    while (map->entries[at].key != key && map->entries[at].key != 0) {
        at = (at + 1) & map->mask;
    }
    return at;
}

static int64_t table_bytes(uint32_t slots)
{
    return (int64_t)slots * (int64_t)sizeof(struct u64map_entry);
}

static bool resize(struct u64map *map, uint32_t slots)
{
    struct u64map bigger = {
        .entries = mem_zalloc((size_t)table_bytes(slots)),
        .mask = slots - 1,
        .count = map->count,
    };
    if (!bigger.entries) {
        return false;
    }
    size_t at = 0;
    for (struct u64map_entry *entry; (entry = u64map_next(map, &at));) {
        bigger.entries[probe(&bigger, entry->key)] = *entry;
    }
    mem_account(MEM_TABLES, table_bytes(slots) - table_bytes(slot_count(map)));
    mem_free(map->entries);
    *map = bigger;
    return true;
}

static bool grow(struct u64map *map)
{
    uint32_t slots = slot_count(map);
    if (slots >= max_slots) {
        return false;
    }
    return resize(map, slots ? slots * 2 : MIN_SLOTS);
}

void u64map_init(struct u64map *map)
{
    *map = (struct u64map){0};
}

void u64map_fini(struct u64map *map)
{
    mem_account(MEM_TABLES, -table_bytes(slot_count(map)));
    mem_free(map->entries);
    u64map_init(map);
}

uint64_t *u64map_find(const struct u64map *map, uint64_t key)
{
    if (!map->entries) {
        return NULL;
    }
    struct u64map_entry *entry = &map->entries[probe(map, stored_key(key))];
    return entry->key ? &entry->value : NULL;
}

static bool is_full(const struct u64map *map)
{
    uint32_t slots = slot_count(map);
    return map->count >= slots - slots / 8;
}

uint64_t *u64map_put(struct u64map *map, uint64_t key)
{
    key = stored_key(key);
    if (!map->entries && !grow(map)) {
        return NULL;
    }
    uint32_t at = probe(map, key);
    if (map->entries[at].key == 0) {
        if (is_full(map)) {
            if (!grow(map)) {
                return NULL;
            }
            at = probe(map, key);
        }
        map->entries[at] = (struct u64map_entry){.key = key};
        map->count++;
    }
    return &map->entries[at].value;
}

/* Closes the hole: an entry behind it moves in unless its home lies between the hole and itself.
 * Distances are taken along the ring, so a run that wraps around the end needs no special case. */
static void shift_back(struct u64map *map, uint32_t hole)
{
    uint32_t at = hole;
    for (;;) {
        at = (at + 1) & map->mask;
        uint64_t key = map->entries[at].key;
        if (key == 0) {
            break;
        }
        uint32_t from_home = (at - (uint32_t)key) & map->mask;
        uint32_t from_hole = (at - hole) & map->mask;
        if (from_home >= from_hole) {
            map->entries[hole] = map->entries[at];
            hole = at;
        }
    }
    map->entries[hole] = (struct u64map_entry){0};
}

bool u64map_remove(struct u64map *map, uint64_t key)
{
    if (!map->entries) {
        return false;
    }
    uint32_t at = probe(map, stored_key(key));
    if (map->entries[at].key == 0) {
        return false;
    }
    shift_back(map, at);
    map->count--;
    return true;
}

void u64map_shrink(struct u64map *map)
{
    uint32_t slots = slot_count(map);
    uint32_t target = slots;
    while (target > SHRINK_FLOOR && map->count < target / 8) {
        target /= 2;
    }
    if (target < slots) {
        resize(map, target);
    }
}

struct u64map_entry *u64map_next(const struct u64map *map, size_t *at)
{
    for (uint32_t slots = slot_count(map); *at < slots;) {
        struct u64map_entry *entry = &map->entries[(*at)++];
        if (entry->key) {
            return entry;
        }
    }
    return NULL;
}

size_t u64map_places(const struct u64map *map)
{
    return slot_count(map);
}

const struct u64map_entry *u64map_at(const struct u64map *map, size_t place)
{
    return map->entries[place].key ? &map->entries[place] : NULL;
}

size_t u64map_bytes(const struct u64map *map)
{
    return (size_t)table_bytes(slot_count(map));
}
