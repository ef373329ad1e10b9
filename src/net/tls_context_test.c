#include "net/tls_context.h"

#include "base/err.h"
#include "net/tls_test_help.h"

static struct {
    struct identity authority, server, other;
    char chain[8192];
} made;

static int make_all(void **state)
{
    identity_make(&made.authority, "authority", NULL, NULL, 86400);
    identity_make(&made.server, "server", &made.authority, "DNS:server.test", 3600);
    identity_make(&made.other, "other", &made.authority, "DNS:other.test,DNS:*.wild.test", 7200);
    snprintf(made.chain, sizeof(made.chain), "%s%s", made.server.cert_pem, made.authority.cert_pem);
    return 0;
}

static int remove_all(void **state)
{
    identity_fini(&made.authority);
    identity_fini(&made.server);
    identity_fini(&made.other);
    return 0;
}

static int check(const char *chain, const char *key, const char **out_problem)
{
    struct tls_certificate certificate = {str_of(chain), str_of(key)};
    struct tls_validity validity = {0, 0};
    *out_problem = "";
    int err = tls_certificate_check(&certificate, &validity, out_problem);
    assert_int_equal(err == 0, validity.until_s > validity.from_s);
    return err;
}

static void a_certificate_with_its_key_is_good(void **state)
{
    const char *problem;
    assert_int_equal(check(made.server.cert_pem, made.server.key_pem, &problem), 0);
    assert_int_equal(check(made.chain, made.server.key_pem, &problem), 0);
}

static void each_fault_of_a_file_has_its_phrase(void **state)
{
    static const struct {
        const char *chain, *key, *problem;
    } cases[] = {
        {"", made.server.key_pem, "no certificate in PEM"},
        {"certificate", made.server.key_pem, "no certificate in PEM"},
        {made.server.key_pem, made.server.key_pem, "no certificate in PEM"},
        {made.server.cert_pem, "", "no key in PEM"},
        {made.server.cert_pem, made.server.cert_pem, "no key in PEM"},
        {made.server.cert_pem, made.other.key_pem, "not the certificate's"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *problem;
        assert_int_equal(check(cases[i].chain, cases[i].key, &problem), ERR_SYNTAX);
        assert_non_null(strstr(problem, cases[i].problem));
    }
}

static void a_chain_that_is_cut_is_damaged(void **state)
{
    const char *problem;
    made.chain[strlen(made.server.cert_pem) + 200] = '\0';
    assert_int_equal(check(made.chain, made.server.key_pem, &problem), ERR_SYNTAX);
    assert_non_null(strstr(problem, "damaged"));
}

static void authorities_are_certificates(void **state)
{
    const char *problem = "";
    assert_int_equal(tls_authorities_check(str_of(made.authority.cert_pem), &problem), 0);
    assert_int_equal(tls_authorities_check(STR("nothing"), &problem), ERR_SYNTAX);
    assert_non_null(strstr(problem, "no certificate in PEM"));
}

static void the_first_end_of_all_certificates_is_told(void **state)
{
    struct tls_certificate certificates[] = {identity_certificate(&made.other),
                                             identity_certificate(&made.server)};
    struct tls_context_options options = {.certificates = certificates, .count = 2};
    struct tls_context *context;
    struct tls_validity validity;
    const char *problem;
    assert_int_equal(tls_context_create(&context, &options, &problem), 0);
    assert_int_equal(tls_certificate_check(&certificates[1], &validity, &problem), 0);
    assert_int_equal(tls_context_expiry_s(context), validity.until_s);
    tls_context_unref(tls_context_ref(context));
    tls_context_unref(context);
    tls_context_unref(NULL);
}

static void one_bad_certificate_spoils_the_context(void **state)
{
    struct tls_certificate certificates[] = {identity_certificate(&made.server),
                                             identity_certificate(&made.other)};
    certificates[1].key = certificates[0].key;
    struct tls_context_options options = {.certificates = certificates, .count = 2};
    struct tls_context *context = NULL;
    const char *problem = "";
    assert_int_equal(tls_context_create(&context, &options, &problem), ERR_SYNTAX);
    assert_null(context);
    assert_string_equal(problem, "the key is not the certificate's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_with_its_key_is_good),
        cmocka_unit_test(each_fault_of_a_file_has_its_phrase),
        cmocka_unit_test(a_chain_that_is_cut_is_damaged),
        cmocka_unit_test(authorities_are_certificates),
        cmocka_unit_test(the_first_end_of_all_certificates_is_told),
        cmocka_unit_test(one_bad_certificate_spoils_the_context),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
