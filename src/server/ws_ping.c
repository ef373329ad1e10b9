#include "server/ws_ping.h"

#include <string.h>

enum { CODE_AT = 4 };

/* A peer has nothing of it: a wrong guess in 2^32 would be one odd observation. */
static uint32_t code_of(const struct siphash_key *key, uint64_t session, uint32_t sent_us)
{
    uint64_t said[2] = {session, sent_us};
    return (uint32_t)siphash(key, said, sizeof(said));
}

void ws_ping_write(char out[WS_PING_BYTES], const struct siphash_key *key, uint64_t session,
                   uint64_t now_us)
{
    uint32_t sent_us = (uint32_t)now_us;
    uint32_t code = code_of(key, session, sent_us);
    memcpy(out, &sent_us, sizeof(sent_us));
    memcpy(out + CODE_AT, &code, sizeof(code));
}

bool ws_ping_read(uint64_t *out_us, struct str payload, const struct siphash_key *key,
                  uint64_t session, uint64_t now_us)
{
    uint32_t sent_us;
    uint32_t code;
    if (payload.len != WS_PING_BYTES) {
        return false;
    }
    memcpy(&sent_us, payload.ptr, sizeof(sent_us));
    memcpy(&code, payload.ptr + CODE_AT, sizeof(code));
    uint32_t took_us = (uint32_t)now_us - sent_us;
    if (took_us > WS_PING_LONGEST_US || code != code_of(key, session, sent_us)) {
        return false;
    }
    *out_us = took_us;
    return true;
}
