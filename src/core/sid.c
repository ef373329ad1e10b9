#include "core/sid.h"

#include <string.h>

enum { PLACE_LEN = 13, RAW_LEN = 21 };

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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

static void encode(char *out, const uint8_t raw[RAW_LEN])
{
    for (int i = 0; i < RAW_LEN; i += 3, out += 4) {
        uint32_t bits = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];
        for (int k = 0; k < 4; k++) {
            out[k] = letters[bits >> (18 - 6 * k) & 63];
        }
    }
}

static int letter_value(char c)
{
    const char *at = c ? strchr(letters, c) : NULL;
    return at ? (int)(at - letters) : -1;
}

static bool decode(uint8_t raw[RAW_LEN], const char *in)
{
    for (int i = 0; i < RAW_LEN; i += 3, in += 4) {
        uint32_t bits = 0;
        for (int k = 0; k < 4; k++) {
            int value = letter_value(in[k]);
            if (value < 0) {
                return false;
            }
            bits = bits << 6 | (uint32_t)value;
        }
        raw[i] = (uint8_t)(bits >> 16);
        raw[i + 1] = (uint8_t)(bits >> 8);
        raw[i + 2] = (uint8_t)bits;
    }
    return true;
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
    encode(out + 2, raw);
    out[SID_LEN] = '\0';
}

bool sid_parse(struct sid *out_sid, const struct siphash_key *key, struct str text)
{
    uint8_t raw[RAW_LEN];
    if (text.len != SID_LEN || memcmp(text.ptr, "s_", 2) != 0 || !decode(raw, text.ptr + 2)) {
        return false;
    }
    uint64_t check = siphash(key, raw, PLACE_LEN);
    if (memcmp(raw + PLACE_LEN, &check, sizeof(check)) != 0) {
        return false;
    }
    *out_sid = (struct sid){get_u32(raw), raw[4], get_u32(raw + 5), get_u32(raw + 9)};
    return true;
}
