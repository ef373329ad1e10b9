#include "api/webhook_sign.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/base64.h"
#include "proto/digest.h"

enum { KEY_MIN = 24 }; /* bytes, as the specification asks */

static const struct str prefix = {"whsec_", 6};

/* The key's bytes in *out_memory, which is the caller's to wipe and free. */
static int decode_key(uint8_t **out_memory, size_t *out_len, struct str secret)
{
    struct str text = str_make(secret.ptr + prefix.len, secret.len - prefix.len);
    size_t cap = base64_decoded_max(text.len);
    uint8_t *memory = mem_alloc(cap);
    if (!memory) {
        return ERR_NO_MEMORY;
    }
    int err = base64_decode(memory, cap, out_len, text, BASE64_STANDARD);
    if (err) {
        mem_free(memory);
        return err;
    }
    *out_memory = memory;
    return 0;
}

static void wipe(uint8_t *memory, size_t len)
{
    if (memory) {
        explicit_bzero(memory, len);
        mem_free(memory);
    }
}

bool webhook_secret_is_sound(struct str secret)
{
    uint8_t *key = NULL;
    size_t len = 0;
    if (!str_starts_with(secret, prefix)) {
        return true;
    }
    int err = decode_key(&key, &len, secret);
    wipe(key, len);
    return err == 0 && len >= KEY_MIN;
}

static int sign_with(struct buf *out, struct str content, struct str secret)
{
    uint8_t digest[DIGEST_SHA256_LEN];
    char text[DIGEST_SHA256_LEN * 2];
    uint8_t *decoded = NULL;
    size_t len = 0;
    struct str key = secret;
    if (str_starts_with(secret, prefix)) {
        int err = decode_key(&decoded, &len, secret);
        if (err) {
            return err;
        }
        key = str_make((const char *)decoded, len);
    }
    digest_hmac_sha256(digest, key, content.ptr, content.len);
    wipe(decoded, len);
    buf_append_str(out, STR("v1,"));
    return buf_append(out, text, base64_encode(text, digest, sizeof(digest), BASE64_STANDARD));
}

int webhook_sign(struct buf *out, const struct webhook_signed *what,
                 const struct settings_secret *secrets, size_t secret_count)
{
    struct buf content = {0};
    buf_append_str(&content, what->id);
    buf_append_char(&content, '.');
    buf_append_u64(&content, what->timestamp_s);
    buf_append_char(&content, '.');
    buf_append_str(&content, what->body);
    int err = buf_err(&content);
    for (size_t i = 0; i < secret_count && !err; i++) {
        if (i) {
            buf_append_char(out, ' ');
        }
        err = sign_with(out, buf_str(&content), secrets[i].material);
    }
    buf_fini(&content);
    return err ? err : buf_err(out);
}
