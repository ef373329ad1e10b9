#include "server/keyset.h"

#include <stdatomic.h>

#include "base/err.h"
#include "base/mem.h"

struct keyset {
    atomic_uint refs;
    size_t count;
    struct token_key keys[KEYSET_KEYS_MAX];
};

int keyset_create(struct keyset **out_keyset)
{
    struct keyset *keyset = mem_zalloc(sizeof(*keyset));
    if (!keyset) {
        return ERR_NO_MEMORY;
    }
    atomic_init(&keyset->refs, 1);
    *out_keyset = keyset;
    return 0;
}

struct keyset *keyset_ref(struct keyset *keyset)
{
    atomic_fetch_add_explicit(&keyset->refs, 1, memory_order_relaxed);
    return keyset;
}

void keyset_unref(struct keyset *keyset)
{
    if (!keyset || atomic_fetch_sub_explicit(&keyset->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < keyset->count; i++) {
        token_key_fini(&keyset->keys[i]);
    }
    mem_free(keyset);
}

size_t keyset_count(const struct keyset *keyset)
{
    return keyset ? keyset->count : 0;
}

static int add_jwk_text(struct keyset *keyset, const struct settings_jwt_key *configured)
{
    struct json_value jwk;
    if (json_parse(&jwk, configured->material, KEYSET_JSON_DEPTH, NULL)) {
        return ERR_SYNTAX;
    }
    return token_key_from_jwk(&keyset->keys[keyset->count], configured->alg, configured->kid, jwk);
}

int keyset_add_configured(struct keyset *keyset, const struct settings_jwt_key *configured)
{
    int err = 0;
    if (configured->kind == SETTINGS_KEY_JWKS_URL) {
        return 0;
    }
    if (configured->kind == SETTINGS_KEY_JWKS) {
        return keyset_add_jwks(keyset, configured->material, configured->alg, false);
    }
    if (keyset->count == KEYSET_KEYS_MAX) {
        return ERR_TOO_LARGE;
    }
    struct token_key *key = &keyset->keys[keyset->count];
    switch (configured->kind) {
    case SETTINGS_KEY_SECRET:
        err = token_key_from_secret(key, configured->alg, configured->kid, configured->material);
        break;
    case SETTINGS_KEY_PEM:
        err = token_key_from_pem(key, configured->alg, configured->kid, configured->material);
        break;
    default: err = add_jwk_text(keyset, configured); break;
    }
    keyset->count += err == 0;
    return err;
}

static bool is_secret(struct json_value jwk)
{
    struct json_value kty;
    return json_get(jwk, STR("kty"), &kty) && json_equals(kty, STR("oct"));
}

int keyset_add_jwks(struct keyset *keyset, struct str json, enum settings_alg alg, bool is_public)
{
    struct json_value root;
    struct json_value jwk;
    struct json_iter iter;
    struct json_field keys = {.name = STR("keys")};
    size_t added = 0;
    if (json_parse(&root, json, KEYSET_JSON_DEPTH, NULL) ||
        json_read_fields(root, &keys, 1, NULL) || keys.value.type != JSON_TYPE_ARRAY) {
        return ERR_SYNTAX;
    }
    json_iter_init(&iter, keys.value);
    while (json_next(&iter, NULL, &jwk)) {
        if (keyset->count == KEYSET_KEYS_MAX) {
            return ERR_TOO_LARGE;
        }
        if (is_public && is_secret(jwk)) {
            continue;
        }
        int err = token_key_from_jwk(&keyset->keys[keyset->count], alg, (struct str){NULL, 0}, jwk);
        if (err == ERR_NO_MEMORY) {
            return err;
        }
        keyset->count += err == 0;
        added += err == 0;
    }
    return added > 0 ? 0 : ERR_UNSUPPORTED;
}

static size_t select_by(const struct keyset *keyset, enum settings_alg alg, const struct str *kid,
                        const struct token_key *out_keys[KEYSET_TRIES_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < keyset->count && count < KEYSET_TRIES_MAX; i++) {
        const struct token_key *key = &keyset->keys[i];
        if (key->alg == alg && (!kid || str_equal(str_of(key->kid), *kid))) {
            out_keys[count++] = key;
        }
    }
    return count;
}

static bool has_kid(const struct keyset *keyset, struct str kid)
{
    for (size_t i = 0; i < keyset->count; i++) {
        if (str_equal(str_of(keyset->keys[i].kid), kid)) {
            return true;
        }
    }
    return false;
}

size_t keyset_select(const struct keyset *keyset, enum settings_alg alg, struct str kid,
                     const struct token_key *out_keys[KEYSET_TRIES_MAX], bool *out_kid_known)
{
    const struct str nameless = STR("");
    bool is_known = kid.len == 0 || (keyset && has_kid(keyset, kid));
    if (out_kid_known) {
        *out_kid_known = is_known;
    }
    if (!keyset) {
        return 0;
    }
    if (kid.len == 0) {
        return select_by(keyset, alg, NULL, out_keys);
    }
    return select_by(keyset, alg, is_known ? &kid : &nameless, out_keys);
}
