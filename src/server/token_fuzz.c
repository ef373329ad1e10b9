/* Tokens, claims and key sets. The first byte of an input chooses:
 *   'c'  the rest is a compact token
 *   'p'  the rest is header NUL payload, signed here, so that the claims are reached
 *   'k'  the rest is a key set; a token is then tried with its keys */
#include "server/token.h"

#include <stdlib.h>

#include "base/buf.h"
#include "server/token_mint.h"

#define SECRET "01234567890123456789012345678901"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char static_keys[] =
    "{\"keys\":[{\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE\"},"
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"e\","
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

static void demand(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void verify(struct str compact, const struct keyset *keys)
{
    static const struct token_rules rules = {
        .audience = {"push", 4}, .leeway_ms = 30000, .max_bytes = 8192, .name_bytes = 64};
    struct token token;
    if (token_verify(&token, compact, keys, &rules, 1800000000000ull, NULL) == 0) {
        demand(token_name_is_clean(token.sub, rules.name_bytes));
        demand(token.jti.len <= rules.name_bytes);
        demand(token.exp_ms + rules.leeway_ms > 1800000000000ull);
        demand(token.group_count <= TOKEN_GROUPS_MAX);
        for (size_t i = 0; i < token.group_count; i++) {
            demand(token_name_is_clean(token.groups[i], rules.name_bytes));
        }
        token_fini(&token);
    }
    demand(!token.memory && !token.groups);
}

static void verify_signed(struct str text, const struct keyset *keys)
{
    struct buf compact = {.data = NULL};
    struct str payload = text;
    struct str header;
    if (str_split(&payload, '\0', &header) && payload.ptr) {
        demand(token_mint_raw(&compact, STR(SECRET), header, payload) == 0);
        verify(buf_str(&compact), keys);
    }
    buf_fini(&compact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keyset *keys = NULL;
    if (size == 0 || keyset_create(&keys)) {
        return 0;
    }
    struct str rest = str_make(data + 1, size - 1);
    struct str set = data[0] == 'k' ? rest : STR(static_keys);
    keyset_add_jwks(keys, set, SETTINGS_ALG_OF_KEY, false);
    demand(keyset_count(keys) <= KEYSET_KEYS_MAX);
    if (data[0] == 'p') {
        verify_signed(rest, keys);
    } else if (data[0] == 'c') {
        verify(rest, keys);
    } else {
        verify_signed(
            STR("{\"alg\":\"HS256\"}\0{\"sub\":\"1\",\"aud\":\"push\",\"exp\":1900000000}"), keys);
    }
    keyset_unref(keys);
    return 0;
}
