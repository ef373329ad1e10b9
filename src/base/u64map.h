/* An open-addressing map from a 64-bit key that is already a keyed hash to a 64-bit value.
 * Linear probing from the key's low bits, backward-shift deletion (no tombstones), grows by
 * doubling at 7/8 full and shrinks only when asked. 16 bytes a slot, accounted to MEM_TABLES. One
 * thread. */
#ifndef TIDEGATE_BASE_U64MAP_H
#define TIDEGATE_BASE_U64MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct u64map_entry {
    uint64_t key; /* 0 marks a free slot; key 0 is the same as 1 and stored so */
    uint64_t value;
};

struct u64map {
    struct u64map_entry *entries;
    uint32_t mask; /* slots - 1 */
    uint32_t count;
};

/* {0} is an empty map too. An empty map holds no memory. */
void u64map_init(struct u64map *map);
void u64map_fini(struct u64map *map);

/* The value's place, valid until the next put or remove; NULL when absent. */
uint64_t *u64map_find(const struct u64map *map, uint64_t key);

/* Finds or adds (value 0) the key. NULL when memory is out; the map is then as before. */
uint64_t *u64map_put(struct u64map *map, uint64_t key);

/* False when it was absent. */
bool u64map_remove(struct u64map *map, uint64_t key);

/* Halves the table while it is under 1/8 full and over 64 slots; moves all entries, so not to be
 * called at each removal. Failure to do so is harmless. */
void u64map_shrink(struct u64map *map);

/* Walks all entries: for (size_t at = 0; (entry = u64map_next(map, &at));). No changes meanwhile.
 */
struct u64map_entry *u64map_next(const struct u64map *map, size_t *at);

/* For a walk in several turns, with changes between them: the number of places, and what is in one
 * of them (NULL: nothing). A removal moves others to lower places, so from the highest place down
 * none is missed but those at the very ends of the ring; if the number is another than before,
 * begin again. */
size_t u64map_places(const struct u64map *map);
const struct u64map_entry *u64map_at(const struct u64map *map, size_t place);

size_t u64map_bytes(const struct u64map *map);

#endif
