/* API keys: whoever calls the push API shows one as `Authorization: Bearer <key>`. Only hashes are
 * configured; they are compared in constant time, all of them, however early one fits. Any thread.
 */
#ifndef TIDEGATE_SERVER_API_KEY_H
#define TIDEGATE_SERVER_API_KEY_H

#include "core/settings.h"
#include "proto/digest.h"

enum {
    API_KEY_LEN = 46,      /* "tg_" and 256 bits in base64url */
    API_KEY_HASH_LEN = 71, /* "sha256:" and hex */
};

/* Whose key it is; *out_app (may be NULL) is the app it belongs to. NULL: nobody's, or out of
 * memory. Borrowed from settings. */
const struct settings_api_key *api_key_find(const struct settings *settings, struct str presented,
                                            const struct settings_app **out_app);

/* What whoever has these scopes is, for the audit log: "admin", "monitor", or "app" when they are
 * good for one app's business alone. All at once, which no key has: "open". */
struct str api_key_role(uint32_t scopes);

/* The part after hashing. */
const struct settings_api_key *api_key_find_digest(const struct settings *settings,
                                                   const uint8_t digest[DIGEST_SHA256_LEN],
                                                   const struct settings_app **out_app);

/* What the key may do, with what its scopes imply. */
uint32_t api_key_scopes(const struct settings_api_key *key);

/* A new random key and the hash to configure, both NUL-terminated. 0, or ERR_UNAVAILABLE when the
 * system has no randomness. */
int api_key_make(char out_key[API_KEY_LEN + 1], char out_hash[API_KEY_HASH_LEN + 1]);

/* "sha256:" and 64 hex digits, as configured. */
bool api_key_hash_parse(struct str text, uint8_t out_digest[DIGEST_SHA256_LEN]);

#endif
