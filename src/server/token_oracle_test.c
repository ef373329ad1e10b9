/* Compares the verifier with cjose, an implementation of other people: tokens signed by the one are
 * verified by the other, good ones and spoiled ones. cjose knows no EdDSA; its vectors stand in
 * token_key_test.c. */
#include "server/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cjose/cjose.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "server/token_mint.h"

#define SECRET "01234567890123456789012345678901"
#define PAYLOAD "{\"sub\":\"42\",\"exp\":1900000000}"

enum { NOW_S = 1800000000 };

static const struct token_rules rules = {.max_bytes = 8192, .name_bytes = 256};

static cjose_jwk_t *make_key(const char *alg)
{
    cjose_err err;
    if (strcmp(alg, CJOSE_HDR_ALG_RS256) == 0) {
        return cjose_jwk_create_RSA_random(2048, (const uint8_t *)"\x01\x00\x01", 3, &err);
    }
    if (strcmp(alg, CJOSE_HDR_ALG_ES256) == 0) {
        return cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &err);
    }
    return cjose_jwk_create_oct_spec((const uint8_t *)SECRET, strlen(SECRET), &err);
}

/* The set with this one key, as cjose writes it down. */
static struct keyset *keyset_of(const cjose_jwk_t *jwk, bool is_secret)
{
    cjose_err err;
    struct keyset *keys = NULL;
    char *json = cjose_jwk_to_json(jwk, is_secret, &err);
    struct settings_jwt_key configured = {.kind = SETTINGS_KEY_JWK, .material = str_of(json)};
    assert_non_null(json);
    assert_int_equal(keyset_create(&keys), 0);
    assert_int_equal(keyset_add_configured(keys, &configured), 0);
    free(json);
    return keys;
}

static void sign(char out[1024], cjose_jwk_t *jwk, const char *alg)
{
    cjose_err err;
    const char *compact = NULL;
    cjose_header_t *header = cjose_header_new(&err);
    assert_true(cjose_header_set(header, CJOSE_HDR_ALG, alg, &err));
    cjose_jws_t *jws = cjose_jws_sign(jwk, header, (const uint8_t *)PAYLOAD, strlen(PAYLOAD), &err);
    assert_non_null(jws);
    assert_true(cjose_jws_export(jws, &compact, &err));
    snprintf(out, 1024, "%s", compact);
    cjose_jws_release(jws);
    cjose_header_release(header);
}

static bool we_accept(const char *compact, const struct keyset *keys)
{
    struct token token;
    enum token_refusal refusal = token_verify(&token, str_of(compact), keys, &rules,
                                              NOW_S * 1000ull, NULL);
    token_fini(&token);
    return refusal == TOKEN_REFUSED_NOT;
}

static bool cjose_accepts(const char *compact, const cjose_jwk_t *jwk)
{
    cjose_err err;
    cjose_jws_t *jws = cjose_jws_import(compact, strlen(compact), &err);
    bool is_good = jws && cjose_jws_verify(jws, jwk, &err);
    cjose_jws_release(jws);
    return is_good;
}

/* One character of the token at a time: whatever the other refuses, we refuse. */
static void compare_spoiled(char *compact, const struct keyset *keys, const cjose_jwk_t *jwk)
{
    for (size_t i = 0; compact[i]; i++) {
        char kept = compact[i];
        compact[i] = kept == 'A' ? 'B' : 'A';
        bool is_accepted = we_accept(compact, keys);
        assert_false(is_accepted && !cjose_accepts(compact, jwk));
        assert_false(is_accepted);
        compact[i] = kept;
    }
}

static void tokens_signed_by_cjose_verify_until_they_are_spoiled(void **state)
{
    static const char *const algs[] = {"HS256", "RS256", "ES256"};
    for (size_t i = 0; i < 3; i++) {
        char compact[1024];
        cjose_jwk_t *jwk = make_key(algs[i]);
        assert_non_null(jwk);
        struct keyset *keys = keyset_of(jwk, i == 0);
        sign(compact, jwk, algs[i]);
        assert_true(cjose_accepts(compact, jwk));
        assert_true(we_accept(compact, keys));
        compare_spoiled(compact, keys, jwk);
        keyset_unref(keys);
        cjose_jwk_release(jwk);
    }
}

static void a_key_of_the_same_kind_does_not_verify_anothers_tokens(void **state)
{
    static const char *const algs[] = {"RS256", "ES256"};
    for (size_t i = 0; i < 2; i++) {
        char compact[1024];
        cjose_jwk_t *signer = make_key(algs[i]);
        cjose_jwk_t *other = make_key(algs[i]);
        struct keyset *keys = keyset_of(other, false);
        sign(compact, signer, algs[i]);
        assert_false(we_accept(compact, keys));
        keyset_unref(keys);
        cjose_jwk_release(signer);
        cjose_jwk_release(other);
    }
}

static void cjose_verifies_what_we_mint(void **state)
{
    const struct token_claims claims = {.sub = STR("42"), .exp_s = NOW_S + 60};
    struct buf compact = {.data = NULL};
    cjose_jwk_t *jwk = make_key("HS256");
    assert_int_equal(token_mint(&compact, STR(SECRET), STR("k"), &claims), 0);
    assert_true(cjose_accepts(buf_cstr(&compact), jwk));
    cjose_jwk_release(jwk);
    buf_fini(&compact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_signed_by_cjose_verify_until_they_are_spoiled),
        cmocka_unit_test(a_key_of_the_same_kind_does_not_verify_anothers_tokens),
        cmocka_unit_test(cjose_verifies_what_we_mint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
