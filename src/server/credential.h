/* Who is it? The one place that decides about a client's credentials, for the HTTP upgrade, the
 * `hello` frame and `refresh` alike. In a request the first that is there counts: a bearer token in
 * Authorization, the token in the configured cookie, the header of a trusted proxy; when that one
 * is bad, the others are not asked. Without any, `hello` may bring a token. Pure; any thread.
 *
 * Tokens count only where the app has keys: otherwise Authorization and cookies are for others. */
#ifndef TIDEGATE_SERVER_CREDENTIAL_H
#define TIDEGATE_SERVER_CREDENTIAL_H

#include "net/addr.h"
#include "proto/http_request.h"
#include "server/token.h"

enum credential_kind {
    CREDENTIAL_BEARER,
    CREDENTIAL_COOKIE,
    CREDENTIAL_TRUSTED_HEADER,
    CREDENTIAL_HELLO,
    CREDENTIAL_ANONYMOUS,
};

enum credential_refusal {
    CREDENTIAL_REFUSED_NOT,
    CREDENTIAL_REFUSED_NONE,      /* nothing shown: wait for `hello`, or refuse when that is here */
    CREDENTIAL_REFUSED_AMBIGUOUS, /* two Authorization headers, cookies or user headers */
    CREDENTIAL_REFUSED_MALFORMED, /* a bearer credential that is none */
    CREDENTIAL_REFUSED_USER,      /* the trusted header's value is no user id */
    CREDENTIAL_REFUSED_ORIGIN,    /* a cookie without an origin: any page may have sent it */
    CREDENTIAL_REFUSED_TOKEN,     /* credential.token_refusal says why */
    CREDENTIAL_REFUSED_REVOKED,   /* by the caller: see revocation.h */
    CREDENTIAL_REFUSALS,          /* how many there are */
};

/* What all decisions need; nothing is kept. */
struct credential_context {
    const struct settings_app *app;
    const struct settings_limits *limits;
    const struct keyset *keys; /* NULL: none */
    uint64_t now_ms;           /* wall clock */
};

/* Texts live until credential_fini; the struct may be moved. */
struct credential {
    enum credential_kind kind;
    struct str user;          /* "": anonymous */
    struct str shown;         /* the token as it was shown, borrowed from there; "": none was */
    uint64_t exp_ms;          /* when the session must end; 0: never. See credential_from_token */
    struct str jti;           /* "": none */
    uint64_t issued_ms;       /* of a token, at the earliest if it does not say, or of a
                               ticket that names a user; 0: neither */
    const struct str *groups; /* patterns that the token allows beside the app's own */
    size_t group_count;

    /* set on success and on refusal */
    enum token_refusal token_refusal; /* TOKEN_REFUSED_NOT unless a token was the reason */
    bool is_kid_unknown;   /* fetching the key set again may help: keyring_want_refresh */
    bool has_claimed_user; /* a trusted header came from an address that may not send it */

    struct token token; /* private: the memory behind the texts */
    char *memory;       /* private */
};

/* peer is the address of the connection, not one that a header claims. On a refusal out_credential
 * needs no credential_fini, but may have one. */
enum credential_refusal credential_from_request(struct credential *out_credential,
                                                const struct credential_context *context,
                                                const struct http_request *request,
                                                const struct addr *peer);

/* text: the token of `hello` or `refresh`; "": none, which makes an anonymous user where the app
 * allows it and else is CREDENTIAL_REFUSED_NONE.
 * A token may be shown for leeway longer than it says; exp_ms is then the end of that leeway. For
 * one that has not expired it is the token's own: on a live session no leeway counts. */
enum credential_refusal credential_from_token(struct credential *out_credential,
                                              const struct credential_context *context,
                                              struct str text);

void credential_fini(struct credential *credential);

/* May a client with these token groups join the group by itself? */
bool credential_may_join(const struct settings_app *app, const struct str *token_groups,
                         size_t token_group_count, struct str group);

/* 401, 403 for CREDENTIAL_REFUSED_ORIGIN, 503 when memory was short; 0 for REFUSED_NOT. */
int credential_status(enum credential_refusal refusal, enum token_refusal token_refusal);

/* For logs and counters: a stable name in snake case, the token's reason when that was it. */
const char *credential_refusal_slug(enum credential_refusal refusal,
                                    enum token_refusal token_refusal);

/* All that a peer is told, whatever the reason. */
#define CREDENTIAL_PUBLIC_MESSAGE "the credential is missing or not valid"

#endif
