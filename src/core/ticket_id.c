#include "core/ticket_id.h"

#include <string.h>

#include "core/id_text.h"

enum { EXPIRY_LEN = 6, SAID_LEN = EXPIRY_LEN + TICKET_ID_CHANCE, RAW_LEN = SAID_LEN + 8 };

static uint64_t check_of(const struct siphash_key *key, uint32_t app_hash,
                         const uint8_t said[SAID_LEN])
{
    struct siphash_key of_app = {key->k0 ^ app_hash, key->k1};
    return siphash(&of_app, said, SAID_LEN);
}

static bool read_raw(uint8_t raw[RAW_LEN], struct str text)
{
    return text.len == TICKET_ID_LEN && memcmp(text.ptr, "t_", 2) == 0 &&
           id_text_decode(raw, RAW_LEN, text.ptr + 2);
}

void ticket_id_format(char out[TICKET_ID_LEN + 1], const struct siphash_key *key, uint32_t app_hash,
                      uint64_t expires_ms, const uint8_t chance[TICKET_ID_CHANCE])
{
    uint8_t raw[RAW_LEN];
    for (int i = 0; i < EXPIRY_LEN; i++) {
        raw[i] = (uint8_t)(expires_ms >> (8 * i));
    }
    memcpy(raw + EXPIRY_LEN, chance, TICKET_ID_CHANCE);
    uint64_t check = check_of(key, app_hash, raw);
    memcpy(raw + SAID_LEN, &check, sizeof(check));
    memcpy(out, "t_", 2);
    id_text_encode(out + 2, raw, RAW_LEN);
    out[TICKET_ID_LEN] = '\0';
}

bool ticket_id_check(const struct siphash_key *key, uint32_t app_hash, struct str text)
{
    uint8_t raw[RAW_LEN];
    if (!read_raw(raw, text)) {
        return false;
    }
    uint64_t check = check_of(key, app_hash, raw);
    uint64_t said;
    memcpy(&said, raw + SAID_LEN, sizeof(said));
    return check == said; /* in one step, wherever they differ */
}

uint64_t ticket_id_expires_ms(struct str text)
{
    uint8_t raw[RAW_LEN];
    uint64_t expires_ms = 0;
    if (!read_raw(raw, text)) {
        return 0;
    }
    for (int i = 0; i < EXPIRY_LEN; i++) {
        expires_ms |= (uint64_t)raw[i] << (8 * i);
    }
    return expires_ms;
}
