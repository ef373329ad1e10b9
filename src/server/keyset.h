/* The keys that verify an app's tokens: made from its configuration and from fetched key sets (RFC
 * 7517), then never changed again. Workers verify with one while the main thread makes the next:
 * take a reference, any thread. */
#ifndef TIDEGATE_SERVER_KEYSET_H
#define TIDEGATE_SERVER_KEYSET_H

#include "server/token_key.h"

enum {
    KEYSET_KEYS_MAX = 64,
    KEYSET_TRIES_MAX = 16, /* keys that one token is tried with */
    KEYSET_JSON_DEPTH = 8,
};

struct keyset; /* keyset.c */

/* Empty, with one reference. The maker adds keys before it shows the set to another thread. */
int keyset_create(struct keyset **out_keyset);
struct keyset *keyset_ref(struct keyset *keyset); /* returns keyset */
void keyset_unref(struct keyset *keyset);         /* NULL is fine */

size_t keyset_count(const struct keyset *keyset); /* of NULL: 0 */

/* Adds what the configuration holds. SETTINGS_KEY_JWKS_URL adds nothing. ERR_SYNTAX and
 * ERR_UNSUPPORTED as in server/token_key.h, ERR_UNSUPPORTED also for a set without a usable key;
 * ERR_TOO_LARGE over KEYSET_KEYS_MAX; ERR_NO_MEMORY. On failure keys may have been added. */
int keyset_add_configured(struct keyset *keyset, const struct settings_jwt_key *configured);

/* Adds the keys of {"keys":[…]} that are for us and skips the others (RFC 7517 5). is_public: a set
 * that anybody may read; secrets (kty oct) in it are skipped. Errors as above. */
int keyset_add_jwks(struct keyset *keyset, struct str json, enum settings_alg alg, bool is_public);

/* The keys to try for a token with this algorithm and kid ("": none): with a kid those of that
 * name, or when there are none those without a name; without a kid all that fit the algorithm.
 * Returns their number, 0 for a keyset of NULL. *out_kid_known (may be NULL) becomes false when a
 * kid was given that no key of the set has. */
size_t keyset_select(const struct keyset *keyset, enum settings_alg alg, struct str kid,
                     const struct token_key *out_keys[KEYSET_TRIES_MAX], bool *out_kid_known);

#endif
