/* SHA-256, HMAC-SHA-256, hex, and a comparison that takes the same time wherever the difference is.
 * Any thread. */
#ifndef TIDEGATE_PROTO_DIGEST_H
#define TIDEGATE_PROTO_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum {
    DIGEST_SHA256_LEN = 32,
    DIGEST_SHA256_HEX_LEN = 64,
};

/* All return 0: nothing is allocated. */
int digest_sha256(uint8_t out[DIGEST_SHA256_LEN], const void *data, size_t len);

/* Lower-case hex, no NUL. */
int digest_sha256_hex(char out[DIGEST_SHA256_HEX_LEN], const void *data, size_t len);

int digest_hmac_sha256(uint8_t out[DIGEST_SHA256_LEN], struct str key, const void *data,
                       size_t len);

/* Writes 2 * len lower-case digits, no NUL. */
void hex_encode(char *out, const void *data, size_t len);

/* Reads exactly 2 * len digits of either case; false for any other text. */
bool hex_decode(uint8_t *out, size_t len, struct str text);

/* Equal contents? The time depends on len alone. */
bool crypto_equal(const void *a, const void *b, size_t len);

#endif
