#include "server/api_key.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "base/err.h"
#include "proto/base64.h"

static const struct str key_prefix = {"tg_", 3};
static const struct str hash_prefix = {"sha256:", 7};

const struct settings_api_key *api_key_find_digest(const struct settings *settings,
                                                   const uint8_t digest[DIGEST_SHA256_LEN],
                                                   const struct settings_app **out_app)
{
    const struct settings_api_key *found = NULL;
    for (size_t i = 0; i < settings->app_count; i++) {
        const struct settings_app *app = &settings->apps[i];
        for (size_t k = 0; k < app->api_key_count; k++) {
            if (crypto_equal(app->api_keys[k].hash, digest, DIGEST_SHA256_LEN)) {
                found = &app->api_keys[k];
                if (out_app) {
                    *out_app = app;
                }
            }
        }
    }
    return found;
}

const struct settings_api_key *api_key_find(const struct settings *settings, struct str presented,
                                            const struct settings_app **out_app)
{
    uint8_t digest[DIGEST_SHA256_LEN];
    if (digest_sha256(digest, presented.ptr, presented.len)) {
        return NULL;
    }
    return api_key_find_digest(settings, digest, out_app);
}

uint32_t api_key_scopes(const struct settings_api_key *key)
{
    bool operates = key->scopes & SETTINGS_SCOPE_ADMIN;
    return operates ? key->scopes | SETTINGS_SCOPE_MONITOR : key->scopes;
}

int api_key_make(char out_key[API_KEY_LEN + 1], char out_hash[API_KEY_HASH_LEN + 1])
{
    uint8_t random[32];
    if (RAND_bytes(random, sizeof(random)) != 1) {
        return ERR_UNAVAILABLE;
    }
    memcpy(out_key, key_prefix.ptr, key_prefix.len);
    base64_encode(out_key + key_prefix.len, random, sizeof(random), BASE64_URL);
    out_key[API_KEY_LEN] = '\0';
    OPENSSL_cleanse(random, sizeof(random));
    memcpy(out_hash, hash_prefix.ptr, hash_prefix.len);
    out_hash[API_KEY_HASH_LEN] = '\0';
    return digest_sha256_hex(out_hash + hash_prefix.len, out_key, API_KEY_LEN);
}

bool api_key_hash_parse(struct str text, uint8_t out_digest[DIGEST_SHA256_LEN])
{
    return str_starts_with(text, hash_prefix) &&
           hex_decode(out_digest, DIGEST_SHA256_LEN,
                      str_make(text.ptr + hash_prefix.len, text.len - hash_prefix.len));
}

struct str api_key_role(uint32_t scopes)
{
    if (scopes == UINT32_MAX) {
        return STR("open");
    }
    return scopes & SETTINGS_SCOPE_ADMIN     ? STR("admin")
           : scopes & SETTINGS_SCOPE_MONITOR ? STR("monitor")
                                             : STR("app");
}
