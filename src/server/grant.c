#include "server/grant.h"

#include "base/err.h"
#include "proto/json.h"

enum { CLAIMS_MAX = 8 * 1024 };

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
    int err = buf_err(&claims) ? buf_err(&claims) : signed_write(out, key, buf_str(&claims));
    buf_fini(&claims);
    return err;
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
    struct str claims;
    struct grant grant;
    int err = text.len > GRANT_MAX ? ERR_SYNTAX
                                   : signed_read(memory, CLAIMS_MAX, &claims, key, text);
    if (!err) {
        err = read_claims(&grant, claims, memory + CLAIMS_MAX, GRANT_MEMORY - CLAIMS_MAX);
    }
    if (!err && grant.expires_ms <= now_ms) {
        err = ERR_EXPIRED;
    }
    if (!err) {
        *out_grant = grant;
    }
    return err;
}
