#include "core/sid.h"

#include <string.h>

#include "core/id_text.h"

enum { PLACE_LEN = 13, RAW_LEN = 21 };

static void put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint32_t get_u32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

void sid_format(char out[SID_LEN + 1], const struct siphash_key *key, const struct sid *sid)
{
    uint8_t raw[RAW_LEN];
    put_u32(raw, sid->node);
    raw[4] = sid->worker;
    put_u32(raw + 5, sid->slot);
    put_u32(raw + 9, sid->generation);
    uint64_t check = siphash(key, raw, PLACE_LEN);
    memcpy(raw + PLACE_LEN, &check, sizeof(check));
    memcpy(out, "s_", 2);
    id_text_encode(out + 2, raw, RAW_LEN);
    out[SID_LEN] = '\0';
}

bool sid_parse(struct sid *out_sid, const struct siphash_key *key, struct str text)
{
    uint8_t raw[RAW_LEN];
    if (text.len != SID_LEN || memcmp(text.ptr, "s_", 2) != 0 ||
        !id_text_decode(raw, RAW_LEN, text.ptr + 2)) {
        return false;
    }
    uint64_t check = siphash(key, raw, PLACE_LEN);
    if (memcmp(raw + PLACE_LEN, &check, sizeof(check)) != 0) {
        return false;
    }
    *out_sid = (struct sid){get_u32(raw), raw[4], get_u32(raw + 5), get_u32(raw + 9)};
    return true;
}
