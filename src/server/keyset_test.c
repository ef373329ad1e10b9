#include "server/keyset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#define SECRET_K "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"
#define OCT(kid) "{\"kty\":\"oct\",\"kid\":\"" kid "\",\"k\":\"" SECRET_K "\"}"
#define ED(kid)                                                 \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"" kid "\"," \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

static struct keyset *make_keyset(const char *jwks)
{
    struct keyset *keyset = NULL;
    assert_int_equal(keyset_create(&keyset), 0);
    if (jwks) {
        assert_int_equal(keyset_add_jwks(keyset, str_of(jwks), SETTINGS_ALG_OF_KEY, false), 0);
    }
    return keyset;
}

static int add(struct keyset *keyset, enum settings_key_kind kind, const char *material)
{
    struct settings_jwt_key configured = {
        .kind = kind, .kid = STR("k"), .material = str_of(material)};
    return keyset_add_configured(keyset, &configured);
}

static void a_kid_selects_its_keys_and_falls_back_to_nameless_ones(void **state)
{
    const struct token_key *keys[KEYSET_TRIES_MAX];
    bool is_known;
    struct keyset *keyset = make_keyset(
        "{\"keys\":[" OCT("a") "," OCT("b") "," OCT("b") "," ED("a") "," OCT("") "]}");
    assert_int_equal(keyset_count(keyset), 5);

    assert_int_equal(keyset_select(keyset, SETTINGS_ALG_HS256, STR("b"), keys, &is_known), 2);
    assert_true(is_known);
    assert_int_equal(keyset_select(keyset, SETTINGS_ALG_HS256, STR("a"), keys, NULL), 1);
    assert_int_equal(keys[0]->alg, SETTINGS_ALG_HS256);
    assert_int_equal(keyset_select(keyset, SETTINGS_ALG_EDDSA, STR("a"), keys, NULL), 1);
    assert_int_equal(keys[0]->alg, SETTINGS_ALG_EDDSA);
    assert_int_equal(keyset_select(keyset, SETTINGS_ALG_EDDSA, STR("b"), keys, &is_known), 0);
    assert_true(is_known);

    assert_int_equal(keyset_select(keyset, SETTINGS_ALG_HS256, STR("c"), keys, &is_known), 1);
    assert_string_equal(keys[0]->kid, "");
    assert_false(is_known);
    assert_int_equal(keyset_select(keyset, SETTINGS_ALG_HS256, STR(""), keys, &is_known), 4);
    assert_true(is_known);
    keyset_unref(keyset);

    assert_int_equal(keyset_select(NULL, SETTINGS_ALG_HS256, STR("c"), keys, &is_known), 0);
    assert_false(is_known);
}

static void keys_for_others_are_skipped_and_a_set_without_any_for_us_is_refused(void **state)
{
    struct keyset *keyset = make_keyset("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-521\"},7,{}," ED(
        "a") ",{\"kty\":\"oct\",\"k\":\"AA\"}],\"more\":1}");
    assert_int_equal(keyset_count(keyset), 1);
    static const char *const useless[] = {"{\"keys\":[]}", "{\"keys\":[{\"kty\":\"XY\"}]}"};
    static const char *const broken[] = {
        "", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[}", "{\"keys\":[],\"keys\":[]}"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(add(keyset, SETTINGS_KEY_JWKS, useless[i]), ERR_UNSUPPORTED);
    }
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        assert_int_equal(add(keyset, SETTINGS_KEY_JWKS, broken[i]), ERR_SYNTAX);
    }
    assert_int_equal(keyset_count(keyset), 1);
    keyset_unref(keyset);
}

static void a_secret_in_a_public_set_is_no_secret(void **state)
{
    struct keyset *keyset = make_keyset(NULL);
    assert_int_equal(
        keyset_add_jwks(keyset, STR("{\"keys\":[" OCT("a") "]}"), SETTINGS_ALG_OF_KEY, true),
        ERR_UNSUPPORTED);
    assert_int_equal(keyset_add_jwks(keyset, STR("{\"keys\":[" OCT("a") "," ED("a") "]}"),
                                     SETTINGS_ALG_OF_KEY, true),
                     0);
    assert_int_equal(keyset_count(keyset), 1);
    keyset_unref(keyset);
}

static void every_configured_form_is_understood(void **state)
{
    struct keyset *keyset = make_keyset(NULL);
    assert_int_equal(add(keyset, SETTINGS_KEY_SECRET, "01234567890123456789012345678901"), 0);
    assert_int_equal(add(keyset, SETTINGS_KEY_SECRET, "too short"), ERR_UNSUPPORTED);
    assert_int_equal(add(keyset, SETTINGS_KEY_PEM,
                         "-----BEGIN PUBLIC KEY-----\n"
                         "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                         "-----END PUBLIC KEY-----\n"),
                     0);
    assert_int_equal(add(keyset, SETTINGS_KEY_PEM, "no key"), ERR_SYNTAX);
    assert_int_equal(add(keyset, SETTINGS_KEY_JWK, ED("own")), 0);
    assert_int_equal(add(keyset, SETTINGS_KEY_JWK, "{"), ERR_SYNTAX);
    assert_int_equal(add(keyset, SETTINGS_KEY_JWKS, "{\"keys\":[" ED("own") "]}"), 0);
    assert_int_equal(add(keyset, SETTINGS_KEY_JWKS_URL, ""), 0);
    assert_int_equal(keyset_count(keyset), 4);

    const struct token_key *keys[KEYSET_TRIES_MAX];
    /* The configured name goes before the key's own, but for sets. */
    assert_int_equal(keyset_select(keyset, SETTINGS_ALG_EDDSA, STR("k"), keys, NULL), 2);
    assert_int_equal(keyset_select(keyset, SETTINGS_ALG_EDDSA, STR("own"), keys, NULL), 1);
    keyset_unref(keyset);
}

static void a_set_over_its_limit_is_refused(void **state)
{
    struct buf jwks = {.data = NULL};
    struct keyset *keyset = make_keyset(NULL);
    buf_append_str(&jwks, STR("{\"keys\":["));
    for (int i = 0; i <= KEYSET_KEYS_MAX; i++) {
        buf_append_str(&jwks, i == 0 ? STR(OCT("a")) : STR("," OCT("a")));
    }
    buf_append_str(&jwks, STR("]}"));
    assert_int_equal(keyset_add_jwks(keyset, buf_str(&jwks), SETTINGS_ALG_OF_KEY, false),
                     ERR_TOO_LARGE);
    assert_int_equal(add(keyset, SETTINGS_KEY_JWK, OCT("a")), ERR_TOO_LARGE);

    const struct token_key *keys[KEYSET_TRIES_MAX];
    assert_int_equal(keyset_select(keyset, SETTINGS_ALG_HS256, STR("a"), keys, NULL),
                     KEYSET_TRIES_MAX);
    keyset_unref(keyset);
    buf_fini(&jwks);
}

static void the_last_reference_frees(void **state)
{
    struct keyset *keyset = make_keyset("{\"keys\":[" ED("a") "]}");
    assert_ptr_equal(keyset_ref(keyset), keyset);
    keyset_unref(keyset);
    assert_int_equal(keyset_count(keyset), 1);
    keyset_unref(keyset);
    keyset_unref(NULL);
    assert_int_equal(keyset_count(NULL), 0);
    mem_fail_nth(1);
    assert_int_equal(keyset_create(&keyset), ERR_NO_MEMORY);
}

static void without_memory_a_set_is_not_taken_by_half(void **state)
{
    struct keyset *keyset = make_keyset(NULL);
    mem_fail_nth(2);
    assert_int_equal(add(keyset, SETTINGS_KEY_JWKS, "{\"keys\":[" OCT("a") "," OCT("b") "]}"),
                     ERR_NO_MEMORY);
    keyset_unref(keyset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kid_selects_its_keys_and_falls_back_to_nameless_ones),
        cmocka_unit_test(keys_for_others_are_skipped_and_a_set_without_any_for_us_is_refused),
        cmocka_unit_test(a_secret_in_a_public_set_is_no_secret),
        cmocka_unit_test(every_configured_form_is_understood),
        cmocka_unit_test(a_set_over_its_limit_is_refused),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(without_memory_a_set_is_not_taken_by_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
