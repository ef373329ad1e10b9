#include "server/grant.h"

#include "base/err.h"
#include "proto/base64.h"
#include "proto/digest.h"
#include "proto/json.h"

enum { MAC_LEN = DIGEST_SHA256_LEN, CLAIMS_MAX = 8 * 1024 };

static int sign(uint8_t mac[MAC_LEN], const uint8_t key[GRANT_KEY_LEN], struct str text)
{
    return digest_hmac_sha256(mac, str_make(key, GRANT_KEY_LEN), text.ptr, text.len);
}

static void append_base64(struct buf *out, const void *data, size_t len)
{
    uint8_t *to = buf_reserve(out, base64_encoded_len(len, BASE64_URL));
    if (to) {
        out->len += base64_encode((char *)to, data, len, BASE64_URL);
    }
}

int grant_write(struct buf *out, const uint8_t key[GRANT_KEY_LEN], const struct grant *grant)
{
    struct buf claims = {0};
    buf_append_char(&claims, '{');
    json_write_string_field(&claims, STR("a"), grant->app);
    json_write_string_field(&claims, STR("u"), grant->user);
    json_write_string_field(&claims, STR("g"), grant->group);
    json_write_u64_field(&claims, STR("i"), grant->issued_ms);
    json_write_u64_field(&claims, STR("e"), grant->expires_ms);
    buf_append_char(&claims, '}');
    size_t start = out->len;
    append_base64(out, claims.data, claims.len);
    int err = buf_err(&claims) ? buf_err(&claims) : buf_err(out);
    uint8_t mac[MAC_LEN];
    struct str text = str_make(out->data + start, out->len - start);
    err = err ? err : sign(mac, key, text);
    buf_fini(&claims);
    if (err) {
        return err;
    }
    buf_append_char(out, '.');
    append_base64(out, mac, sizeof(mac));
    return buf_err(out);
}

static int check_signature(const uint8_t key[GRANT_KEY_LEN], struct str claims, struct str mac_text)
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

enum field { FIELD_APP, FIELD_USER, FIELD_GROUP, FIELD_ISSUED, FIELD_EXPIRES, FIELDS };

static int read_claims(struct grant *grant, struct str json, char *scratch, size_t cap)
{
    struct json_value object;
    struct json_field fields[FIELDS] = {
        [FIELD_APP] = {.name = STR("a")},     [FIELD_USER] = {.name = STR("u")},
        [FIELD_GROUP] = {.name = STR("g")},   [FIELD_ISSUED] = {.name = STR("i")},
        [FIELD_EXPIRES] = {.name = STR("e")},
    };
    struct str *texts[] = {&grant->app, &grant->user, &grant->group};
    if (json_parse(&object, json, 1, NULL) || json_read_fields(object, fields, FIELDS, NULL)) {
        return ERR_SYNTAX;
    }
    for (int i = FIELD_APP; i <= FIELD_GROUP; i++) {
        if (json_string_text(fields[i].value, scratch, cap, texts[i])) {
            return ERR_SYNTAX;
        }
        if (texts[i]->ptr == scratch) {
            scratch += texts[i]->len;
            cap -= texts[i]->len;
        }
    }
    bool numbers = json_u64(fields[FIELD_ISSUED].value, UINT64_MAX, &grant->issued_ms) &&
                   json_u64(fields[FIELD_EXPIRES].value, UINT64_MAX, &grant->expires_ms);
    return numbers ? 0 : ERR_SYNTAX;
}

int grant_read(struct grant *out_grant, char memory[GRANT_MEMORY], const uint8_t key[GRANT_KEY_LEN],
               struct str text, uint64_t now_ms)
{
    struct str rest = text;
    struct str claims;
    struct str mac;
    if (text.len > GRANT_MAX || !str_split(&rest, '.', &claims) || !str_split(&rest, '.', &mac) ||
        rest.ptr) {
        return ERR_SYNTAX;
    }
    int err = check_signature(key, claims, mac);
    size_t len;
    if (!err && base64_decode((uint8_t *)memory, CLAIMS_MAX, &len, claims, BASE64_URL)) {
        err = ERR_SYNTAX;
    }
    struct grant grant;
    if (!err) {
        err = read_claims(&grant, str_make(memory, len), memory + CLAIMS_MAX,
                          GRANT_MEMORY - CLAIMS_MAX);
    }
    if (!err && grant.expires_ms <= now_ms) {
        err = ERR_EXPIRED;
    }
    if (!err) {
        *out_grant = grant;
    }
    return err;
}
