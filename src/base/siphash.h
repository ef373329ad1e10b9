/* SipHash-2-4 with a 64-bit result (Aumasson and Bernstein, 2012): a table keyed with it can't be
 * filled with collisions by a peer that does not know the key. Pure. */
#ifndef TIDEGATE_BASE_SIPHASH_H
#define TIDEGATE_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

/* A key from getrandom(2). Returns 0 or -errno. */
int siphash_key_random(struct siphash_key *out_key);

#endif
