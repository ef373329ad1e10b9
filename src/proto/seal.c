#include "proto/seal.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include "base/err.h"
#include "proto/digest.h"

enum { SALT_LEN = 16, TAG_LEN = 16, IV_LEN = 12 };

_Static_assert(SALT_LEN + TAG_LEN == SEAL_EXTRA, "salt, then text, then tag");

/* The key serves once, so its nonce may be zero. */
static EVP_CIPHER_CTX *begin(const uint8_t key[SEAL_KEY_LEN], const uint8_t salt[SALT_LEN],
                             struct str about, bool encrypts)
{
    static const uint8_t iv[IV_LEN];
    uint8_t once[DIGEST_SHA256_LEN];
    int len;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    bool good = context && about.len < INT_MAX &&
                digest_hmac_sha256(once, str_make(key, SEAL_KEY_LEN), salt, SALT_LEN) == 0 &&
                EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, once, iv, encrypts) == 1 &&
                EVP_CipherUpdate(context, NULL, &len, (const uint8_t *)about.ptr, (int)about.len) ==
                    1;
    OPENSSL_cleanse(once, sizeof(once));
    if (!good) {
        EVP_CIPHER_CTX_free(context);
        return NULL;
    }
    return context;
}

int seal_write(struct buf *out, const uint8_t key[SEAL_KEY_LEN], struct str about, struct str text)
{
    uint8_t *at = text.len < INT_MAX ? buf_reserve(out, text.len + SEAL_EXTRA) : NULL;
    if (!at) {
        return ERR_NO_MEMORY;
    }
    if (getrandom(at, SALT_LEN, 0) != SALT_LEN) {
        return ERR_UNAVAILABLE;
    }
    EVP_CIPHER_CTX *context = begin(key, at, about, true);
    uint8_t *body = at + SALT_LEN;
    int len;
    int rest;
    bool good = context &&
                EVP_CipherUpdate(context, body, &len, (const uint8_t *)text.ptr, (int)text.len) ==
                    1 &&
                EVP_CipherFinal_ex(context, body + len, &rest) == 1 &&
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_LEN, body + text.len) == 1;
    EVP_CIPHER_CTX_free(context);
    out->len += good ? text.len + SEAL_EXTRA : 0;
    return good ? 0 : ERR_NO_MEMORY;
}

int seal_read(struct buf *out, const uint8_t key[SEAL_KEY_LEN], struct str about, struct str sealed)
{
    if (sealed.len < SEAL_EXTRA || sealed.len >= INT_MAX) {
        return ERR_DENIED;
    }
    size_t text_len = sealed.len - SEAL_EXTRA;
    const uint8_t *from = (const uint8_t *)sealed.ptr;
    uint8_t tag[TAG_LEN];
    memcpy(tag, from + SALT_LEN + text_len, TAG_LEN);
    uint8_t *to = buf_reserve(out, text_len + 1);
    EVP_CIPHER_CTX *context = to ? begin(key, from, about, false) : NULL;
    if (!context) {
        return ERR_NO_MEMORY;
    }
    int len;
    int rest;
    bool good = EVP_CipherUpdate(context, to, &len, from + SALT_LEN, (int)text_len) == 1 &&
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag) == 1 &&
                EVP_CipherFinal_ex(context, to + len, &rest) == 1;
    EVP_CIPHER_CTX_free(context);
    out->len += good ? text_len : 0;
    return good ? 0 : ERR_DENIED;
}
