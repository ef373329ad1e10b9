#include "server/listen_tls.h"

#include "base/err.h"
#include "net/tls_test_help.h"

static struct identity one, two;

static int make_all(void **state)
{
    identity_make(&one, "one", NULL, "DNS:one.test", 86400);
    identity_make(&two, "two", NULL, "DNS:two.test", 3600);
    return 0;
}

static int remove_all(void **state)
{
    identity_fini(&one);
    identity_fini(&two);
    return 0;
}

static struct settings_certificate settings_of(const struct identity *identity)
{
    return (struct settings_certificate){.chain = str_of(identity->cert_pem),
                                         .key = str_of(identity->key_pem)};
}

static void each_listener_has_what_its_settings_say(void **state)
{
    struct settings *settings;
    struct settings_certificate both[] = {settings_of(&one), settings_of(&two)};
    const char *problem = NULL;
    assert_int_equal(settings_create_default(&settings), 0);
    struct listen_tls tls;
    assert_int_equal(listen_tls_create(&tls, settings, &problem), 0);
    assert_true(!tls.client && !tls.api && !tls.admin);
    settings->tls.client = (struct settings_tls){.certificates = both, .certificate_count = 2};
    settings->tls.admin = (struct settings_tls){.certificates = both, .certificate_count = 1};
    assert_int_equal(listen_tls_create(&tls, settings, &problem), 0);
    assert_true(tls.client && !tls.api && tls.admin);
    assert_true(tls_context_expiry_s(tls.client) < tls_context_expiry_s(tls.admin));
    struct listen_tls again = listen_tls_ref(&tls);
    listen_tls_fini(&tls);
    assert_null(tls.client);
    assert_true(tls_context_expiry_s(again.client) > 0);
    listen_tls_fini(&again);
    settings_unref(settings);
}

static void one_bad_listener_leaves_nothing(void **state)
{
    struct settings *settings;
    struct settings_certificate good = settings_of(&one);
    struct settings_certificate bad = {.chain = good.chain, .key = str_of(two.key_pem)};
    struct listen_tls tls = {NULL, NULL, NULL};
    const char *problem = NULL;
    assert_int_equal(settings_create_default(&settings), 0);
    settings->tls.client = (struct settings_tls){.certificates = &good, .certificate_count = 1};
    settings->tls.api = (struct settings_tls){.certificates = &bad, .certificate_count = 1};
    assert_int_equal(listen_tls_create(&tls, settings, &problem), ERR_SYNTAX);
    assert_string_equal(problem, "the key is not the certificate's");
    assert_true(!tls.client && !tls.api);
    settings_unref(settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_listener_has_what_its_settings_say),
        cmocka_unit_test(one_bad_listener_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
