#include "app/config_tls.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "app/config_try.h"
#include "net/tls_test_help.h"

static struct {
    char dir[64];
    struct identity good, other, expired, soon;
    char yaml[8 * PATH_MAX];
} made;

static int make_all(void **state)
{
    snprintf(made.dir, sizeof(made.dir), "/tmp/tidegate-config-XXXXXX");
    assert_non_null(mkdtemp(made.dir));
    identity_make(&made.good, "good", NULL, "DNS:good.test", 86400 * 90);
    identity_make(&made.other, "other", NULL, "DNS:other.test", 86400 * 90);
    identity_make(&made.expired, "expired", NULL, "DNS:good.test", -3600);
    identity_make(&made.soon, "soon", NULL, "DNS:good.test", 86400 * 3 + 3600);
    identity_write(&made.good, made.dir, "good");
    identity_write(&made.other, made.dir, "other");
    identity_write(&made.expired, made.dir, "expired");
    identity_write(&made.soon, made.dir, "soon");
    chmod(made.good.key_file, 0600);
    chmod(made.other.key_file, 0600);
    chmod(made.expired.key_file, 0600);
    chmod(made.soon.key_file, 0600);
    return 0;
}

static int remove_all(void **state)
{
    identity_fini(&made.good);
    identity_fini(&made.other);
    identity_fini(&made.expired);
    identity_fini(&made.soon);
    rmdir(made.dir);
    return 0;
}

static const char *yaml_of(const char *certificate, const char *key, const char *more)
{
    snprintf(made.yaml, sizeof(made.yaml),
             "tls: {api: {certificates: [{certificate: \"%s\", key: \"%s\"}]%s}}\n", certificate,
             key, more);
    return made.yaml;
}

static void files_become_settings(void **state)
{
    char more[2 * PATH_MAX];
    snprintf(more, sizeof(more), ", client_ca: \"%s\", min_version: \"1.3\"", made.other.cert_file);
    struct settings *settings = config_must_accept(
        yaml_of(made.good.cert_file, made.good.key_file, more));
    const struct settings_tls *tls = &settings->tls.api;
    assert_int_equal(tls->certificate_count, 1);
    assert_string_equal(tls->certificates[0].file.ptr, made.good.cert_file);
    assert_true(str_equal(tls->certificates[0].chain, str_of(made.good.cert_pem)));
    assert_true(str_equal(tls->client_ca, str_of(made.other.cert_pem)));
    assert_int_equal(tls->min_version, SETTINGS_TLS_1_3);
    assert_int_equal(settings->tls.client.certificate_count, 0);
    settings_unref(settings);
}

static void what_does_not_fit_is_told_with_its_place(void **state)
{
    const char *good = made.good.cert_file;
    const char *key = made.good.key_file;
    config_must_mention(yaml_of(good, made.other.key_file, ""),
                        "tls.api.certificates[0]: the key is not the certificate's");
    config_must_mention(yaml_of(key, key, ""), "there is no certificate in PEM in it");
    config_must_mention(yaml_of(good, good, ""), "no key in PEM without a password");
    config_must_mention(yaml_of("/nowhere", key, ""),
                        "tls.api.certificates[0].certificate: can't read \"/nowhere\"");
    config_must_mention(yaml_of(good, "/dev/null", ""), "not a regular file");
    config_must_mention(yaml_of(good, key, ", min_version: \"1.1\""), "one of 1.2, 1.3");
    config_must_mention("tls: {api: {certificates: [{certificate: a}]}}", "\"key\" is missing");
}

static void authorities_need_a_certificate_to_show(void **state)
{
    char yaml[2 * PATH_MAX];
    snprintf(yaml, sizeof(yaml), "tls: {api: {client_ca: \"%s\"}}", made.other.cert_file);
    config_must_mention(yaml, "tls.api: \"client_ca\" needs \"certificates\"");
    snprintf(yaml, sizeof(yaml), ", client_ca: \"%s\"", made.good.key_file);
    config_must_mention(yaml_of(made.good.cert_file, made.good.key_file, yaml),
                        "tls.api.client_ca: there is no certificate in PEM");
}

static void must_warn(const struct identity *identity, const char *words)
{
    struct settings *settings = config_try(yaml_of(identity->cert_file, identity->key_file, ""));
    assert_non_null(settings);
    assert_non_null(strstr(config_said, words));
    settings_unref(settings);
}

static void a_certificate_that_ends_and_a_key_that_is_open_are_warned_of(void **state)
{
    must_warn(&made.expired,
              "warning: tls.api.certificates[0]: the certificate expired 0 days ago");
    must_warn(&made.soon, "the certificate expires in 3 days");
    chmod(made.good.key_file, 0640);
    must_warn(&made.good, "others than the owner may read this file (mode 640); chmod 600");
    chmod(made.good.key_file, 0600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_become_settings),
        cmocka_unit_test(what_does_not_fit_is_told_with_its_place),
        cmocka_unit_test(authorities_need_a_certificate_to_show),
        cmocka_unit_test(a_certificate_that_ends_and_a_key_that_is_open_are_warned_of),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
