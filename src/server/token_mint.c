#include "server/token_mint.h"

#include "base/err.h"
#include "proto/base64.h"
#include "proto/digest.h"
#include "proto/json.h"

static void append_encoded(struct buf *out, const void *data, size_t len)
{
    size_t encoded_len = base64_encoded_len(len, BASE64_URL);
    char *encoded = len > 0 ? (char *)buf_reserve(out, encoded_len) : NULL;
    if (encoded) {
        out->len += base64_encode(encoded, data, len, BASE64_URL);
    }
}

int token_mint_raw(struct buf *out, struct str secret, struct str header, struct str payload)
{
    uint8_t signature[DIGEST_SHA256_LEN];
    size_t start = out->len;
    append_encoded(out, header.ptr, header.len);
    buf_append_char(out, '.');
    append_encoded(out, payload.ptr, payload.len);
    if (buf_err(out)) {
        return buf_err(out);
    }
    int err = digest_hmac_sha256(signature, secret, out->data + start, out->len - start);
    if (err) {
        return err;
    }
    buf_append_char(out, '.');
    append_encoded(out, signature, sizeof(signature));
    return buf_err(out);
}

static void write_text(struct buf *json, struct str name, struct str text)
{
    if (text.len > 0) {
        json_write_string_field(json, name, text);
    }
}

static void write_time(struct buf *json, struct str name, uint64_t seconds)
{
    if (seconds > 0) {
        json_write_u64_field(json, name, seconds);
    }
}

static void write_payload(struct buf *json, const struct token_claims *claims)
{
    buf_append_char(json, '{');
    write_text(json, STR("sub"), claims->sub);
    write_text(json, STR("iss"), claims->iss);
    write_text(json, STR("aud"), claims->aud);
    write_text(json, STR("jti"), claims->jti);
    write_time(json, STR("exp"), claims->exp_s);
    write_time(json, STR("nbf"), claims->nbf_s);
    write_time(json, STR("iat"), claims->iat_s);
    if (claims->groups) {
        json_write_key(json, STR("groups"));
        buf_append_char(json, '[');
        for (size_t i = 0; i < claims->group_count; i++) {
            json_write_comma(json);
            json_write_string(json, claims->groups[i]);
        }
        buf_append_char(json, ']');
    }
    buf_append_char(json, '}');
}

int token_mint(struct buf *out, struct str secret, struct str kid,
               const struct token_claims *claims)
{
    struct buf header = {.data = NULL};
    struct buf payload = {.data = NULL};
    buf_append_str(&header, STR("{\"alg\":\"HS256\",\"typ\":\"JWT\""));
    write_text(&header, STR("kid"), kid);
    buf_append_char(&header, '}');
    write_payload(&payload, claims);
    int err = buf_err(&header) ? buf_err(&header) : buf_err(&payload);
    if (!err) {
        err = token_mint_raw(out, secret, buf_str(&header), buf_str(&payload));
    }
    buf_fini(&header);
    buf_fini(&payload);
    return err;
}
