#include "server/signed.h"

#include "base/err.h"
#include "proto/base64.h"
#include "proto/digest.h"

enum { MAC_LEN = DIGEST_SHA256_LEN };

static int sign(uint8_t mac[MAC_LEN], const uint8_t key[SIGNED_KEY_LEN], struct str text)
{
    return digest_hmac_sha256(mac, str_make(key, SIGNED_KEY_LEN), text.ptr, text.len);
}

static void append_base64(struct buf *out, const void *data, size_t len)
{
    uint8_t *to = buf_reserve(out, base64_encoded_len(len, BASE64_URL));
    if (to) {
        out->len += base64_encode((char *)to, data, len, BASE64_URL);
    }
}

int signed_write(struct buf *out, const uint8_t key[SIGNED_KEY_LEN], struct str claims)
{
    size_t start = out->len;
    uint8_t mac[MAC_LEN];
    append_base64(out, claims.ptr, claims.len);
    if (buf_err(out)) {
        return buf_err(out);
    }
    int err = sign(mac, key, str_make(out->data + start, out->len - start));
    if (err) {
        return err;
    }
    buf_append_char(out, '.');
    append_base64(out, mac, sizeof(mac));
    return buf_err(out);
}

static int check_signature(const uint8_t key[SIGNED_KEY_LEN], struct str claims,
                           struct str mac_text)
{
    uint8_t expected[MAC_LEN];
    uint8_t shown[MAC_LEN];
    size_t shown_len;
    if (base64_decode(shown, sizeof(shown), &shown_len, mac_text, BASE64_URL) ||
        shown_len != MAC_LEN) {
        return ERR_SYNTAX;
    }
    int err = sign(expected, key, claims);
    if (err) {
        return err;
    }
    return crypto_equal(expected, shown, MAC_LEN) ? 0 : ERR_DENIED;
}

int signed_read(char *memory, size_t cap, struct str *out_claims, const uint8_t key[SIGNED_KEY_LEN],
                struct str text)
{
    struct str rest = text;
    struct str claims;
    struct str mac;
    size_t len;
    if (!str_split(&rest, '.', &claims) || !str_split(&rest, '.', &mac) || rest.ptr) {
        return ERR_SYNTAX;
    }
    int err = check_signature(key, claims, mac);
    if (!err && base64_decode((uint8_t *)memory, cap, &len, claims, BASE64_URL)) {
        err = ERR_SYNTAX;
    }
    if (!err) {
        *out_claims = str_make(memory, len);
    }
    return err;
}
