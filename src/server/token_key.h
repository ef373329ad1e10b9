/* One key that verifies tokens (JWS, RFC 7515), tied to one algorithm: whatever a token's header
 * claims, an RSA key never checks an HMAC. Immutable once made, so any thread may verify with it.
 */
#ifndef TIDEGATE_SERVER_TOKEN_KEY_H
#define TIDEGATE_SERVER_TOKEN_KEY_H

#include <openssl/types.h>

#include "core/settings.h"
#include "proto/json.h"

enum {
    TOKEN_SECRET_MIN = 32,     /* RFC 7518 3.2: as long as the hash */
    TOKEN_SECRET_MAX = 1024,   /* of the JWK form */
    TOKEN_RSA_BITS_MIN = 2048, /* RFC 7518 3.3 */
    TOKEN_RSA_BITS_MAX = 8192,
    TOKEN_KID_MAX = 256,
};

struct token_key {
    enum settings_alg alg; /* never SETTINGS_ALG_OF_KEY */
    char *kid;             /* "": none */
    EVP_PKEY *public_key;  /* NULL for HS256 */
    char *secret;          /* HS256 */
    size_t secret_len;
};

/* All three copy what they need. alg SETTINGS_ALG_OF_KEY takes what fits the key; another one must
 * fit it. ERR_SYNTAX: not such a key at all. ERR_UNSUPPORTED: a type, curve, algorithm or use that
 * is not ours, or too weak. ERR_NO_MEMORY. */
int token_key_from_secret(struct token_key *out_key, enum settings_alg alg, struct str kid,
                          struct str secret);
int token_key_from_pem(struct token_key *out_key, enum settings_alg alg, struct str kid,
                       struct str pem);

/* RFC 7517: kty oct, RSA, EC with P-256, OKP with Ed25519 (RFC 8037). kid "" takes the key's own. A
 * private part is ignored. */
int token_key_from_jwk(struct token_key *out_key, enum settings_alg alg, struct str kid,
                       struct json_value jwk);

/* Wipes the secret. A zeroed key is fine. */
void token_key_fini(struct token_key *key);

/* Is this the signature of that text? Time does not depend on how much of an HMAC is right. */
bool token_key_verify(const struct token_key *key, struct str text, const uint8_t *signature,
                      size_t signature_len);

/* "HS256", "RS256", "ES256", "EdDSA" as a header writes them; SETTINGS_ALG_OF_KEY for any other. */
enum settings_alg token_alg_parse(struct str name);

#endif
