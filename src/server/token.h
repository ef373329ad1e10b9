/* JSON web tokens in compact form (RFC 7519, RFC 7515), verified: HS256, RS256, ES256 and EdDSA
 * with Ed25519. Read as RFC 8725 advises: the key decides about the algorithm, keys in the header
 * (jwk, jku, x5c, x5u) are never used, `crit`, `cty` and foreign `typ` are refused, an expiry is
 * demanded, encodings are canonical and JSON keys unique. Pure; any thread. */
#ifndef TIDEGATE_SERVER_TOKEN_H
#define TIDEGATE_SERVER_TOKEN_H

#include "server/keyset.h"

enum { TOKEN_GROUPS_MAX = 256, TOKEN_JSON_DEPTH = 16 };

/* For logs and counters; the peer is told nothing but that it was refused. */
enum token_refusal {
    TOKEN_REFUSED_NOT,
    TOKEN_REFUSED_TOO_LARGE,
    TOKEN_REFUSED_MALFORMED, /* not three parts, or a part that is not base64url of JSON */
    TOKEN_REFUSED_HEADER,    /* a header parameter that is not allowed, or kid not a plain text */
    TOKEN_REFUSED_ALG,       /* "none", unknown, or missing */
    TOKEN_REFUSED_KEY,       /* no key of that name and algorithm */
    TOKEN_REFUSED_SIGNATURE,
    TOKEN_REFUSED_CLAIMS, /* a claim of the wrong type, no sub, bad bytes in a name */
    TOKEN_REFUSED_NO_EXPIRY,
    TOKEN_REFUSED_EXPIRED,
    TOKEN_REFUSED_NOT_YET,  /* nbf or iat in the future */
    TOKEN_REFUSED_TOO_LONG, /* lives longer than a revocation is kept */
    TOKEN_REFUSED_ISSUER,
    TOKEN_REFUSED_AUDIENCE,
    TOKEN_REFUSED_NO_MEMORY,
    TOKEN_REFUSALS, /* how many there are */
};

/* A stable name in snake case, for labels: "bad_signature". Static storage. */
const char *token_refusal_slug(enum token_refusal refusal);

struct token_rules {
    struct str issuer;    /* "": not checked */
    struct str audience;  /* "": not checked */
    uint64_t leeway_ms;   /* for clocks that differ; applied to exp, nbf and iat */
    uint64_t max_life_ms; /* from iat, or without one from now, to exp; 0: not checked */
    size_t max_bytes;     /* of the whole token */
    size_t name_bytes;    /* of sub, jti, and each group */
};

/* What a good token says. Texts live in memory, which is the token's own. */
struct token {
    struct str sub;  /* the user: 1 to name_bytes bytes, valid UTF-8 without control bytes */
    struct str jti;  /* "": none */
    uint64_t exp_ms; /* since 1970, as in the token: without leeway */
    uint64_t iat_ms; /* 0: none */
    bool has_groups;
    struct str *groups; /* names, or patterns like "room:*" */
    size_t group_count;
    char *memory;
};

/* TOKEN_REFUSED_NOT, or why not; then out_token is left zeroed. keys may be NULL: no key.
 * *out_unknown_kid (may be NULL): the token names a key that the set does not have, so fetching the
 * set again may help. */
enum token_refusal token_verify(struct token *out_token, struct str compact,
                                const struct keyset *keys, const struct token_rules *rules,
                                uint64_t now_ms, bool *out_unknown_kid);
void token_fini(struct token *token);

/* 1 to max bytes of UTF-8, none of them a control byte: fit to name a user, group or token. */
bool token_name_is_clean(struct str name, size_t max);

#endif
