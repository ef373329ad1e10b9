#include "core/target.h"

#include <string.h>

uint32_t target_app_hash(const struct siphash_key *key, struct str app_name)
{
    return (uint32_t)siphash(key, app_name.ptr, app_name.len);
}

/* Names are short (limits.name), so one pass over a copy beats an incremental hash. */
uint64_t target_key(const struct siphash_key *key, uint32_t app_hash, enum target_kind kind,
                    struct str name)
{
    uint8_t prefix[5] = {(uint8_t)kind};
    memcpy(prefix + 1, &app_hash, sizeof(app_hash));
    struct siphash_key mixed = {key->k0 ^ siphash(key, prefix, sizeof(prefix)), key->k1};
    uint64_t hash = siphash(&mixed, name.ptr, name.len);
    return (hash & ~(7ull << 29)) | (uint64_t)kind << 29;
}
