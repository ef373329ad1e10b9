/* Makes tokens signed with a shared secret (HS256): for tests, the demo and the command line. */
#ifndef TIDEGATE_SERVER_TOKEN_MINT_H
#define TIDEGATE_SERVER_TOKEN_MINT_H

#include "base/buf.h"

/* Texts that are "" and times that are 0 stay out of the token; all texts are valid UTF-8. */
struct token_claims {
    struct str sub;
    struct str iss;
    struct str aud;
    struct str jti;
    uint64_t exp_s; /* seconds since 1970 */
    uint64_t nbf_s;
    uint64_t iat_s;
    const struct str *groups; /* NULL: no such claim */
    size_t group_count;
};

/* Appends the compact form. 0, ERR_NO_MEMORY, or ERR_TOO_LARGE by out's limit. */
int token_mint(struct buf *out, struct str secret, struct str kid,
               const struct token_claims *claims);

/* Appends a token with this very header and payload: for tests of what must be refused. */
int token_mint_raw(struct buf *out, struct str secret, struct str header, struct str payload);

#endif
