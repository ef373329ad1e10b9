/* OpenSSL's older functions: they allocate nothing (see digest.c). */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "proto/rocketmq_sign.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "proto/base64.h"

enum { SHA1_BLOCK = 64 };

static bool comes_before(struct str a, struct str b)
{
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order < 0 || (order == 0 && a.len < b.len);
}

/* A dozen fields at most, mostly in order already. */
static void sort_fields(struct rocketmq_field *fields, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct rocketmq_field moved = fields[i];
        size_t at = i;
        for (; at > 0 && comes_before(moved.name, fields[at - 1].name); at--) {
            fields[at] = fields[at - 1];
        }
        fields[at] = moved;
    }
}

/* RFC 2104: each of the two passes begins with the key's block, xored with a byte of its own. */
static void begin_pass(SHA_CTX *sha, const uint8_t block[SHA1_BLOCK], uint8_t pad)
{
    uint8_t padded[SHA1_BLOCK];
    for (size_t i = 0; i < SHA1_BLOCK; i++) {
        padded[i] = block[i] ^ pad;
    }
    SHA1_Init(sha);
    SHA1_Update(sha, padded, sizeof(padded));
    OPENSSL_cleanse(padded, sizeof(padded));
}

static void key_block(uint8_t block[SHA1_BLOCK], struct str secret)
{
    memset(block, 0, SHA1_BLOCK);
    if (secret.len > SHA1_BLOCK) {
        SHA1((const uint8_t *)secret.ptr, secret.len, block);
    } else if (secret.len > 0) {
        memcpy(block, secret.ptr, secret.len);
    }
}

void rocketmq_sign(char out[ROCKETMQ_SIGNATURE_LEN], struct str secret,
                   struct rocketmq_field *fields, size_t count, struct str body)
{
    uint8_t block[SHA1_BLOCK];
    uint8_t digest[SHA_DIGEST_LENGTH];
    SHA_CTX sha;
    sort_fields(fields, count);
    key_block(block, secret);
    begin_pass(&sha, block, 0x36);
    for (size_t i = 0; i < count; i++) {
        SHA1_Update(&sha, fields[i].value.ptr, fields[i].value.len);
    }
    SHA1_Update(&sha, body.ptr, body.len);
    SHA1_Final(digest, &sha);
    begin_pass(&sha, block, 0x5c);
    SHA1_Update(&sha, digest, sizeof(digest));
    SHA1_Final(digest, &sha);
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(&sha, sizeof(sha));
    base64_encode(out, digest, sizeof(digest), BASE64_STANDARD);
}
