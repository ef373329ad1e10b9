#include "proto/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>

#include "base/err.h"

/* OpenSSL 3 looks an algorithm up by name at each use of EVP_sha256(); once is enough. */
static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

int digest_sha256(uint8_t out[DIGEST_SHA256_LEN], const void *data, size_t len)
{
    pthread_once(&sha256_once, fetch_sha256);
    if (!sha256 || EVP_Digest(data, len, out, NULL, sha256, NULL) != 1) {
        return ERR_NO_MEMORY;
    }
    return 0;
}

int digest_sha256_hex(char out[DIGEST_SHA256_HEX_LEN], const void *data, size_t len)
{
    uint8_t hash[DIGEST_SHA256_LEN];
    int err = digest_sha256(hash, data, len);
    if (!err) {
        hex_encode(out, hash, sizeof(hash));
    }
    return err;
}

int digest_hmac_sha256(uint8_t out[DIGEST_SHA256_LEN], struct str key, const void *data, size_t len)
{
    pthread_once(&sha256_once, fetch_sha256);
    /* HMAC() takes an int, and NULL means "the key of last time". */
    if (!sha256 || key.len > INT32_MAX ||
        !HMAC(sha256, key.ptr ? key.ptr : "", (int)key.len, data, len, out, NULL)) {
        return ERR_NO_MEMORY;
    }
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
