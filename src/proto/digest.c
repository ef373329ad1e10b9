/* EVP allocates for each digest, and OpenSSL's set-up stays failed when memory was out at its first
 * use: every caller would be refused for ever after. These older functions do neither. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "proto/digest.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

enum { SHA256_BLOCK = 64 };

int digest_sha256(uint8_t out[DIGEST_SHA256_LEN], const void *data, size_t len)
{
    SHA256_CTX sha;
    SHA256_Init(&sha);
    SHA256_Update(&sha, data, len);
    SHA256_Final(out, &sha);
    OPENSSL_cleanse(&sha, sizeof(sha));
    return 0;
}

int digest_sha256_hex(char out[DIGEST_SHA256_HEX_LEN], const void *data, size_t len)
{
    uint8_t hash[DIGEST_SHA256_LEN];
    digest_sha256(hash, data, len);
    hex_encode(out, hash, sizeof(hash));
    return 0;
}

/* One pass of RFC 2104: the hash of the key's block, xored with pad, and the data. */
static void hmac_pass(uint8_t out[DIGEST_SHA256_LEN], const uint8_t block[SHA256_BLOCK],
                      uint8_t pad, const void *data, size_t len)
{
    uint8_t padded[SHA256_BLOCK];
    for (size_t i = 0; i < SHA256_BLOCK; i++) {
        padded[i] = block[i] ^ pad;
    }
    SHA256_CTX sha;
    SHA256_Init(&sha);
    SHA256_Update(&sha, padded, sizeof(padded));
    SHA256_Update(&sha, data, len);
    SHA256_Final(out, &sha);
    OPENSSL_cleanse(padded, sizeof(padded));
    OPENSSL_cleanse(&sha, sizeof(sha));
}

int digest_hmac_sha256(uint8_t out[DIGEST_SHA256_LEN], struct str key, const void *data, size_t len)
{
    uint8_t block[SHA256_BLOCK] = {0};
    uint8_t inner[DIGEST_SHA256_LEN];
    if (key.len > SHA256_BLOCK) {
        digest_sha256(block, key.ptr, key.len);
    } else if (key.len > 0) {
        memcpy(block, key.ptr, key.len);
    }
    hmac_pass(inner, block, 0x36, data, len);
    hmac_pass(out, block, 0x5c, inner, sizeof(inner));
    OPENSSL_cleanse(block, sizeof(block));
    return 0;
}

void hex_encode(char *out, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = data;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(uint8_t *out, size_t len, struct str text)
{
    if (text.len % 2 != 0 || text.len / 2 != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(text.ptr[2 * i]);
        int low = hex_value(text.ptr[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
