#include "server/token.h"

#include "base/err.h"
#include "base/mem.h"
#include "proto/base64.h"
#include "server/token_private.h"

enum {
    SIGNATURE_MAX = TOKEN_RSA_BITS_MAX / 8,
    HEADER_JSON_DEPTH = 4,
};

/* RFC 7515 3.1: header '.' payload '.' signature, each in base64url. */
struct parts {
    struct str header;
    struct str payload;
    struct str signature;
    struct str signed_text; /* header '.' payload */
};

struct header {
    enum settings_alg alg;
    struct str kid; /* "": none */
    char kid_text[TOKEN_KID_MAX];
};

const char *token_refusal_slug(enum token_refusal refusal)
{
    static const char *const slugs[TOKEN_REFUSALS] = {
        [TOKEN_REFUSED_NOT] = "none",
        [TOKEN_REFUSED_TOO_LARGE] = "too_large",
        [TOKEN_REFUSED_MALFORMED] = "malformed",
        [TOKEN_REFUSED_HEADER] = "bad_header",
        [TOKEN_REFUSED_ALG] = "bad_alg",
        [TOKEN_REFUSED_KEY] = "unknown_key",
        [TOKEN_REFUSED_SIGNATURE] = "bad_signature",
        [TOKEN_REFUSED_CLAIMS] = "bad_claims",
        [TOKEN_REFUSED_NO_EXPIRY] = "no_expiry",
        [TOKEN_REFUSED_EXPIRED] = "expired",
        [TOKEN_REFUSED_NOT_YET] = "not_yet_valid",
        [TOKEN_REFUSED_TOO_LONG] = "lives_too_long",
        [TOKEN_REFUSED_ISSUER] = "bad_issuer",
        [TOKEN_REFUSED_AUDIENCE] = "bad_audience",
        [TOKEN_REFUSED_NO_MEMORY] = "no_memory",
    };
    return slugs[refusal];
}

static bool split(struct parts *out_parts, struct str compact)
{
    struct str rest = compact;
    if (!str_split(&rest, '.', &out_parts->header) || !str_split(&rest, '.', &out_parts->payload) ||
        !str_split(&rest, '.', &out_parts->signature) || rest.ptr) {
        return false;
    }
    out_parts->signed_text = str_make(compact.ptr,
                                      out_parts->header.len + 1 + out_parts->payload.len);
    return out_parts->header.len > 0 && out_parts->payload.len > 0 && out_parts->signature.len > 0;
}

/* Decodes to memory, which has room for the encoded text. */
static bool decode(char *memory, struct str encoded, struct str *out_text)
{
    size_t len;
    if (base64_decode((uint8_t *)memory, encoded.len, &len, encoded, BASE64_URL)) {
        return false;
    }
    *out_text = str_make(memory, len);
    return true;
}

/* A kid is only ever compared, never a path or a query; one that looks like an attack on others who
 * use it so is refused all the same. */
static bool is_plain_kid(struct str kid)
{
    for (size_t i = 0; i < kid.len; i++) {
        if (kid.ptr[i] < 0x20 || kid.ptr[i] > 0x7e) {
            return false;
        }
    }
    return kid.len > 0 && !memmem(kid.ptr, kid.len, "..", 2);
}

/* RFC 8725 3.11: a token made for another purpose says so in its type. */
static bool is_our_type(struct json_value typ)
{
    struct str name;
    if (typ.type == JSON_TYPE_NONE) {
        return true;
    }
    if (!json_string_plain(typ, &name)) {
        return false;
    }
    const struct str application = STR("application/");
    if (name.len > application.len &&
        str_equal_nocase(str_make(name.ptr, application.len), application)) {
        name = str_make(name.ptr + application.len, name.len - application.len);
    }
    return str_equal_nocase(name, STR("JWT")) || str_equal_nocase(name, STR("at+jwt"));
}

static enum token_refusal read_header(struct header *out_header, struct str json)
{
    enum { ALG, KID, TYP, CTY, CRIT, MEMBERS };
    struct json_field members[MEMBERS] = {
        [ALG] = {.name = STR("alg")}, [KID] = {.name = STR("kid")},   [TYP] = {.name = STR("typ")},
        [CTY] = {.name = STR("cty")}, [CRIT] = {.name = STR("crit")},
    };
    struct json_value root;
    struct str alg;
    if (json_parse(&root, json, HEADER_JSON_DEPTH, NULL) || json_check_unique_keys(root) ||
        json_read_fields(root, members, MEMBERS, NULL)) {
        return TOKEN_REFUSED_MALFORMED;
    }
    /* We know no critical extension, and a token inside a token (cty) is not ours. */
    if (members[CRIT].value.type != JSON_TYPE_NONE || members[CTY].value.type != JSON_TYPE_NONE ||
        !is_our_type(members[TYP].value)) {
        return TOKEN_REFUSED_HEADER;
    }
    out_header->kid = STR("");
    if (members[KID].value.type != JSON_TYPE_NONE &&
        (json_string_text(members[KID].value, out_header->kid_text, TOKEN_KID_MAX,
                          &out_header->kid) ||
         !is_plain_kid(out_header->kid))) {
        return TOKEN_REFUSED_HEADER;
    }
    bool has_alg = json_string_plain(members[ALG].value, &alg);
    out_header->alg = has_alg ? token_alg_parse(alg) : SETTINGS_ALG_OF_KEY;
    return out_header->alg == SETTINGS_ALG_OF_KEY ? TOKEN_REFUSED_ALG : TOKEN_REFUSED_NOT;
}

static enum token_refusal check_signature(const struct header *header, const struct parts *parts,
                                          const struct keyset *keys, bool *out_kid_known)
{
    uint8_t signature[SIGNATURE_MAX];
    size_t signature_len;
    const struct token_key *candidates[KEYSET_TRIES_MAX];
    if (base64_decode(signature, sizeof(signature), &signature_len, parts->signature, BASE64_URL)) {
        return TOKEN_REFUSED_MALFORMED;
    }
    size_t count = keyset_select(keys, header->alg, header->kid, candidates, out_kid_known);
    for (size_t i = 0; i < count; i++) {
        if (token_key_verify(candidates[i], parts->signed_text, signature, signature_len)) {
            return TOKEN_REFUSED_NOT;
        }
    }
    return count > 0 ? TOKEN_REFUSED_SIGNATURE : TOKEN_REFUSED_KEY;
}

/* memory has twice the token's size: decoded texts in front, unescaped ones behind. */
static enum token_refusal verify_parts(struct token *token, const struct parts *parts, size_t size,
                                       const struct keyset *keys, const struct token_rules *rules,
                                       uint64_t now_ms, bool *out_kid_known)
{
    struct header header;
    struct str json;
    if (!decode(token->memory, parts->header, &json)) {
        return TOKEN_REFUSED_MALFORMED;
    }
    enum token_refusal refusal = read_header(&header, json);
    if (!refusal) {
        refusal = check_signature(&header, parts, keys, out_kid_known);
    }
    if (refusal) {
        return refusal;
    }
    if (!decode(token->memory, parts->payload, &json)) {
        return TOKEN_REFUSED_MALFORMED;
    }
    return token_claims_read(token, json, token->memory + size, rules, now_ms);
}

enum token_refusal token_verify(struct token *out_token, struct str compact,
                                const struct keyset *keys, const struct token_rules *rules,
                                uint64_t now_ms, bool *out_unknown_kid)
{
    struct parts parts;
    bool is_kid_known = true;
    enum token_refusal refusal = TOKEN_REFUSED_NO_MEMORY;
    *out_token = (struct token){.memory = NULL};
    if (compact.len > rules->max_bytes) {
        return TOKEN_REFUSED_TOO_LARGE;
    }
    if (!split(&parts, compact)) {
        return TOKEN_REFUSED_MALFORMED;
    }
    out_token->memory = mem_alloc(2 * compact.len);
    if (out_token->memory) {
        refusal = verify_parts(out_token, &parts, compact.len, keys, rules, now_ms, &is_kid_known);
    }
    if (refusal) {
        token_fini(out_token);
    }
    if (out_unknown_kid) {
        *out_unknown_kid = !is_kid_known;
    }
    return refusal;
}

void token_fini(struct token *token)
{
    mem_free(token->groups);
    mem_free(token->memory);
    *token = (struct token){.memory = NULL};
}
