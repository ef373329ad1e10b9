#include "server/token_private.h"

#include "base/err.h"
#include "base/mem.h"
#include "proto/utf8.h"

enum claim {
    CLAIM_ISS,
    CLAIM_SUB,
    CLAIM_AUD,
    CLAIM_EXP,
    CLAIM_NBF,
    CLAIM_IAT,
    CLAIM_JTI,
    CLAIM_GROUPS,
    CLAIMS,
};

/* 2^53 - 1: what every JSON writer can count to. */
static const uint64_t seconds_max = (1ull << 53) - 1;

bool token_name_is_clean(struct str name, size_t max)
{
    if (name.len == 0 || name.len > max) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        unsigned char byte = (unsigned char)name.ptr[i];
        if (byte < 0x20 || byte == 0x7f) {
            return false;
        }
    }
    return utf8_is_valid(name);
}

/* Unescapes a name into *scratch and moves that behind it. */
static bool read_name(struct json_value value, size_t max, char **scratch, struct str *out_name)
{
    if (json_string_text(value, *scratch, max, out_name) || !token_name_is_clean(*out_name, max)) {
        return false;
    }
    if (out_name->ptr == *scratch) {
        *scratch += out_name->len;
    }
    return true;
}

/* RFC 7519 2, NumericDate: seconds, perhaps with a fraction, which is cut off. An absent one is 0.
 */
static bool read_date(struct json_value value, uint64_t *out_ms)
{
    uint64_t seconds;
    *out_ms = 0;
    if (value.type == JSON_TYPE_NONE) {
        return true;
    }
    if (value.type != JSON_TYPE_NUMBER) {
        return false;
    }
    struct str rest = value.raw;
    struct str whole;
    uint64_t fraction;
    if (!str_split(&rest, '.', &whole) || !str_to_u64(whole, seconds_max, &seconds)) {
        return false;
    }
    if (rest.ptr && (rest.len > 18 || !str_to_u64(rest, UINT64_MAX, &fraction))) {
        return false; /* an exponent */
    }
    *out_ms = seconds * 1000;
    return true;
}

static enum token_refusal check_dates(struct token *token, const struct json_field *claims,
                                      const struct token_rules *rules, uint64_t now_ms)
{
    uint64_t nbf_ms;
    if (claims[CLAIM_EXP].value.type == JSON_TYPE_NONE) {
        return TOKEN_REFUSED_NO_EXPIRY;
    }
    if (!read_date(claims[CLAIM_EXP].value, &token->exp_ms) ||
        !read_date(claims[CLAIM_NBF].value, &nbf_ms) ||
        !read_date(claims[CLAIM_IAT].value, &token->iat_ms)) {
        return TOKEN_REFUSED_CLAIMS;
    }
    /* RFC 7519 4.1.4: not accepted on or after exp. */
    if (now_ms >= token->exp_ms + rules->leeway_ms) {
        return TOKEN_REFUSED_EXPIRED;
    }
    if (nbf_ms > now_ms + rules->leeway_ms || token->iat_ms > now_ms + rules->leeway_ms) {
        return TOKEN_REFUSED_NOT_YET;
    }
    uint64_t from_ms = token->iat_ms ? token->iat_ms : now_ms;
    bool lives_too_long = rules->max_life_ms && token->exp_ms > from_ms + rules->max_life_ms;
    return lives_too_long ? TOKEN_REFUSED_TOO_LONG : TOKEN_REFUSED_NOT;
}

/* RFC 7519 4.1.3: one text, or several of which one is ours. */
static bool names_audience(struct json_value aud, struct str audience)
{
    struct json_iter iter;
    struct json_value one;
    if (aud.type != JSON_TYPE_ARRAY) {
        return json_equals(aud, audience);
    }
    json_iter_init(&iter, aud);
    while (json_next(&iter, NULL, &one)) {
        if (json_equals(one, audience)) {
            return true;
        }
    }
    return false;
}

static size_t array_len(struct json_value array)
{
    struct json_iter iter;
    struct json_value ignored;
    size_t len = 0;
    json_iter_init(&iter, array);
    while (json_next(&iter, NULL, &ignored)) {
        len++;
    }
    return len;
}

static enum token_refusal read_groups(struct token *token, struct json_value groups,
                                      size_t name_bytes, char **scratch)
{
    struct json_iter iter;
    struct json_value group;
    size_t count = array_len(groups);
    token->has_groups = groups.type != JSON_TYPE_NONE;
    if (token->has_groups && (groups.type != JSON_TYPE_ARRAY || count > TOKEN_GROUPS_MAX)) {
        return TOKEN_REFUSED_CLAIMS;
    }
    if (count == 0) {
        return TOKEN_REFUSED_NOT;
    }
    token->groups = mem_alloc(count * sizeof(*token->groups));
    if (!token->groups) {
        return TOKEN_REFUSED_NO_MEMORY;
    }
    json_iter_init(&iter, groups);
    while (json_next(&iter, NULL, &group)) {
        if (!read_name(group, name_bytes, scratch, &token->groups[token->group_count++])) {
            return TOKEN_REFUSED_CLAIMS;
        }
    }
    return TOKEN_REFUSED_NOT;
}

static enum token_refusal read_names(struct token *token, const struct json_field *claims,
                                     char *scratch, const struct token_rules *rules)
{
    if (!read_name(claims[CLAIM_SUB].value, rules->name_bytes, &scratch, &token->sub)) {
        return TOKEN_REFUSED_CLAIMS;
    }
    token->jti = STR("");
    if (claims[CLAIM_JTI].value.type != JSON_TYPE_NONE &&
        !read_name(claims[CLAIM_JTI].value, rules->name_bytes, &scratch, &token->jti)) {
        return TOKEN_REFUSED_CLAIMS;
    }
    return read_groups(token, claims[CLAIM_GROUPS].value, rules->name_bytes, &scratch);
}

enum token_refusal token_claims_read(struct token *token, struct str payload, char *scratch,
                                     const struct token_rules *rules, uint64_t now_ms)
{
    struct json_field claims[CLAIMS] = {
        [CLAIM_ISS] = {.name = STR("iss")}, [CLAIM_SUB] = {.name = STR("sub")},
        [CLAIM_AUD] = {.name = STR("aud")}, [CLAIM_EXP] = {.name = STR("exp")},
        [CLAIM_NBF] = {.name = STR("nbf")}, [CLAIM_IAT] = {.name = STR("iat")},
        [CLAIM_JTI] = {.name = STR("jti")}, [CLAIM_GROUPS] = {.name = STR("groups")},
    };
    struct json_value root;
    if (json_parse(&root, payload, TOKEN_JSON_DEPTH, NULL) || json_check_unique_keys(root) ||
        json_read_fields(root, claims, CLAIMS, NULL)) {
        return TOKEN_REFUSED_MALFORMED;
    }
    enum token_refusal refusal = check_dates(token, claims, rules, now_ms);
    if (refusal) {
        return refusal;
    }
    if (rules->issuer.len > 0 && !json_equals(claims[CLAIM_ISS].value, rules->issuer)) {
        return TOKEN_REFUSED_ISSUER;
    }
    if (rules->audience.len > 0 && !names_audience(claims[CLAIM_AUD].value, rules->audience)) {
        return TOKEN_REFUSED_AUDIENCE;
    }
    return read_names(token, claims, scratch, rules);
}
