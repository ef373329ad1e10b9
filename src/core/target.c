#include "core/target.h"

#include <string.h>

uint32_t target_app_hash(const struct target_space *space, struct str app_name)
{
    return (uint32_t)siphash(&space->open, app_name.ptr, app_name.len);
}

/* Names are short (limits.name), so one pass over a copy beats an incremental hash. */
static uint64_t hash_name(const struct siphash_key *key, uint32_t app_hash, enum target_kind kind,
                          struct str name)
{
    uint8_t prefix[5] = {(uint8_t)kind};
    memcpy(prefix + 1, &app_hash, sizeof(app_hash));
    struct siphash_key mixed = {key->k0 ^ siphash(key, prefix, sizeof(prefix)), key->k1};
    return siphash(&mixed, name.ptr, name.len);
}

uint64_t target_key(const struct target_space *space, uint32_t app_hash, enum target_kind kind,
                    struct str name)
{
    return (hash_name(&space->keys, app_hash, kind, name) & ~(7ull << 29)) | (uint64_t)kind << 29;
}

uint32_t target_queue(const struct target_space *space, uint32_t app_hash, enum target_kind kind,
                      struct str name, uint32_t queues)
{
    return (uint32_t)((hash_name(&space->open, app_hash, kind, name) >> 32) * queues >> 32);
}
