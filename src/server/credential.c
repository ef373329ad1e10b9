#include "server/credential.h"

#include "base/mem.h"
#include "proto/utf8.h"
#include "server/bearer.h"
#include "server/cookie.h"

/* Where a credential was looked for: found one, none, or one that must not count. */
enum found { FOUND_NONE, FOUND_ONE, FOUND_BAD };

static struct token_rules rules_of(const struct credential_context *context)
{
    const struct settings_jwt *jwt = &context->app->auth.jwt;
    return (struct token_rules){
        .issuer = jwt->issuer,
        .audience = jwt->audience,
        .leeway_ms = jwt->leeway_ms,
        .max_life_ms = settings_token_life_ms(jwt),
        .max_bytes = context->limits->token_bytes,
        .name_bytes = context->limits->name_bytes,
    };
}

/* One that does not say when it was issued may be as old as a token can be. */
static uint64_t issued_ms_of(const struct token *token, const struct token_rules *rules)
{
    uint64_t earliest = token->exp_ms > rules->max_life_ms ? token->exp_ms - rules->max_life_ms : 1;
    return token->iat_ms ? token->iat_ms : earliest;
}

static enum credential_refusal from_token(struct credential *credential,
                                          const struct credential_context *context, struct str text,
                                          enum credential_kind kind)
{
    struct token *token = &credential->token;
    struct token_rules rules = rules_of(context);
    credential->token_refusal = token_verify(token, text, context->keys, &rules, context->now_ms,
                                             &credential->is_kid_unknown);
    if (credential->token_refusal) {
        return CREDENTIAL_REFUSED_TOKEN;
    }
    credential->kind = kind;
    credential->user = token->sub;
    credential->shown = text;
    credential->jti = token->jti;
    credential->groups = token->groups;
    credential->group_count = token->group_count;
    credential->exp_ms = token->exp_ms;
    credential->issued_ms = issued_ms_of(token, &rules);
    if (token->exp_ms <= context->now_ms) {
        credential->exp_ms = token->exp_ms + rules.leeway_ms;
    }
    return CREDENTIAL_REFUSED_NOT;
}

/* A scheme other than Bearer belongs to somebody in front of us. */
static bool is_other_scheme(struct str authorization)
{
    const struct str bearer = STR("Bearer");
    struct str rest = authorization;
    struct str scheme;
    return authorization.len > 0 && str_split(&rest, ' ', &scheme) &&
           !str_equal_nocase(scheme, bearer);
}

static enum credential_refusal from_authorization(struct credential *credential,
                                                  const struct credential_context *context,
                                                  const struct http_request *request)
{
    struct str value = http_request_field(request, HTTP_FIELD_AUTHORIZATION);
    struct str text;
    if (!value.ptr || (is_other_scheme(value) &&
                       http_fields_has_one(&request->fields, HTTP_FIELD_AUTHORIZATION))) {
        return CREDENTIAL_REFUSED_NONE;
    }
    if (!http_fields_has_one(&request->fields, HTTP_FIELD_AUTHORIZATION)) {
        return CREDENTIAL_REFUSED_AMBIGUOUS;
    }
    if (!bearer_parse(value, &text)) {
        return CREDENTIAL_REFUSED_MALFORMED;
    }
    return from_token(credential, context, text, CREDENTIAL_BEARER);
}

/* RFC 6265 4.2.1: name=value pairs between semicolons, a value perhaps in quotes. */
/* Any page can make a browser send the cookie, so a page must be known. A browser names the origin
 * of each but the gateway's own, which asks for an event stream by a plain GET; that one it tells
 * by a header that no page can set (W3C Fetch Metadata). */
static bool knows_page(const struct http_request *request)
{
    const struct str site = STR("Sec-Fetch-Site");
    return http_fields_has(&request->fields, HTTP_FIELD_ORIGIN) ||
           (http_fields_count(&request->fields, site) == 1 &&
            str_equal(http_fields_find(&request->fields, site), STR("same-origin")));
}

static enum credential_refusal from_cookie(struct credential *credential,
                                           const struct credential_context *context,
                                           const struct http_request *request)
{
    struct str name = context->app->auth.cookie;
    struct str text;
    int count = name.len > 0 ? cookie_find(request, name, &text) : 0;
    enum found found = count > 1 ? FOUND_BAD : count == 1 && text.len > 0 ? FOUND_ONE : FOUND_NONE;
    if (found != FOUND_ONE) {
        return found == FOUND_BAD ? CREDENTIAL_REFUSED_AMBIGUOUS : CREDENTIAL_REFUSED_NONE;
    }
    if (!knows_page(request)) {
        return CREDENTIAL_REFUSED_ORIGIN;
    }
    return from_token(credential, context, text, CREDENTIAL_COOKIE);
}

static enum credential_refusal from_trusted_header(struct credential *credential,
                                                   const struct credential_context *context,
                                                   const struct http_request *request,
                                                   const struct addr *peer)
{
    const struct settings_trusted_header *trusted = &context->app->auth.trusted_header;
    struct str user = trusted->name.len > 0 ? http_fields_find(&request->fields, trusted->name)
                                            : (struct str){NULL, 0};
    if (user.len == 0) {
        return CREDENTIAL_REFUSED_NONE;
    }
    if (!addr_is_among(peer, trusted->from, trusted->from_count)) {
        credential->has_claimed_user = true;
        return CREDENTIAL_REFUSED_NONE;
    }
    if (http_fields_count(&request->fields, trusted->name) > 1) {
        return CREDENTIAL_REFUSED_AMBIGUOUS;
    }
    if (!token_name_is_clean(user, context->limits->name_bytes) || !utf8_is_valid(user)) {
        return CREDENTIAL_REFUSED_USER;
    }
    credential->memory = mem_strndup(user.ptr, user.len);
    if (!credential->memory) {
        credential->token_refusal = TOKEN_REFUSED_NO_MEMORY;
        return CREDENTIAL_REFUSED_USER;
    }
    credential->kind = CREDENTIAL_TRUSTED_HEADER;
    credential->user = str_make(credential->memory, user.len);
    return CREDENTIAL_REFUSED_NOT;
}

enum credential_refusal credential_from_request(struct credential *out_credential,
                                                const struct credential_context *context,
                                                const struct http_request *request,
                                                const struct addr *peer)
{
    enum credential_refusal refusal = CREDENTIAL_REFUSED_NONE;
    *out_credential = (struct credential){.user = STR(""), .shown = STR(""), .jti = STR("")};
    if (context->app->auth.jwt.key_count > 0) {
        refusal = from_authorization(out_credential, context, request);
        if (refusal == CREDENTIAL_REFUSED_NONE) {
            refusal = from_cookie(out_credential, context, request);
        }
    }
    if (refusal == CREDENTIAL_REFUSED_NONE) {
        refusal = from_trusted_header(out_credential, context, request, peer);
    }
    return refusal;
}

enum credential_refusal credential_from_token(struct credential *out_credential,
                                              const struct credential_context *context,
                                              struct str text)
{
    *out_credential = (struct credential){.user = STR(""), .shown = STR(""), .jti = STR("")};
    if (text.len > 0) {
        return from_token(out_credential, context, text, CREDENTIAL_HELLO);
    }
    out_credential->kind = CREDENTIAL_ANONYMOUS;
    return context->app->auth.anonymous ? CREDENTIAL_REFUSED_NOT : CREDENTIAL_REFUSED_NONE;
}

void credential_fini(struct credential *credential)
{
    token_fini(&credential->token);
    mem_free(credential->memory);
    *credential = (struct credential){.user = STR("")};
}

static bool matches_any(struct str name, const struct str *patterns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_matches_pattern(name, patterns[i])) {
            return true;
        }
    }
    return false;
}

bool credential_may_join(const struct settings_app *app, const struct str *token_groups,
                         size_t token_group_count, struct str group)
{
    return matches_any(group, app->join_patterns, app->join_pattern_count) ||
           matches_any(group, token_groups, token_group_count);
}

int credential_status(enum credential_refusal refusal, enum token_refusal token_refusal)
{
    if (refusal == CREDENTIAL_REFUSED_NOT) {
        return 0;
    }
    if (token_refusal == TOKEN_REFUSED_NO_MEMORY) {
        return 503;
    }
    return refusal == CREDENTIAL_REFUSED_ORIGIN ? 403 : 401;
}

const char *credential_refusal_slug(enum credential_refusal refusal,
                                    enum token_refusal token_refusal)
{
    static const char *const slugs[CREDENTIAL_REFUSALS] = {
        [CREDENTIAL_REFUSED_NOT] = "none",
        [CREDENTIAL_REFUSED_NONE] = "no_credential",
        [CREDENTIAL_REFUSED_AMBIGUOUS] = "ambiguous_credential",
        [CREDENTIAL_REFUSED_MALFORMED] = "malformed_credential",
        [CREDENTIAL_REFUSED_USER] = "bad_user",
        [CREDENTIAL_REFUSED_ORIGIN] = "cookie_without_origin",
        [CREDENTIAL_REFUSED_TOKEN] = "token",
        [CREDENTIAL_REFUSED_REVOKED] = "revoked",
    };
    return token_refusal ? token_refusal_slug(token_refusal) : slugs[refusal];
}
