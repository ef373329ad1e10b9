#include "base/siphash.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate_left(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct state *s)
{
    s->v0 += s->v1;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v2 = rotate_left(s->v2, 32);
}

static inline void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    sip_round(s);
    s->v0 ^= word;
}

static inline uint64_t finish(struct state *s)
{
    s->v2 ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(s);
    }
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len)
{
    struct state s = {
        .v0 = key->k0 ^ 0x736f6d6570736575,
        .v1 = key->k1 ^ 0x646f72616e646f6d,
        .v2 = key->k0 ^ 0x6c7967656e657261,
        .v3 = key->k1 ^ 0x7465646279746573,
    };
    const uint8_t *at = data;
    for (size_t words = len / 8; words > 0; words--, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        absorb(&s, le64toh(word));
    }
    /* The last word is the rest of the bytes with the length's low byte on top. */
    uint64_t last = (uint64_t)len << 56;
    for (size_t i = 0; i < len % 8; i++) {
        last |= (uint64_t)at[i] << (8 * i);
    }
    absorb(&s, last);
    return finish(&s);
}

int siphash_key_random(struct siphash_key *out_key)
{
    struct siphash_key key;
    /* Up to 256 bytes come whole; a signal can still interrupt the wait for the first entropy. */
    while (getrandom(&key, sizeof(key), 0) != (ssize_t)sizeof(key)) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    *out_key = key;
    return 0;
}
