#include "app/config_env.h"

#include "app/config_schema.h"
#include "app/config_try.h"

static void a_variable_wins_over_the_file(void **state)
{
    char *const env[] = {"PATH=/bin",
                         "TIDEGATE_LIMITS_MESSAGE=1KiB",
                         "TIDEGATE_LISTEN_CLIENT=:80",
                         "TIDEGATE_DEBUG_ECHO=false",
                         "TIDEGATE_LISTEN_ADMIN=",
                         NULL};
    struct settings *settings = config_try_env(
        "limits: {message: 2KiB, body: 4KiB}\ndebug: {echo: true}\n", env);
    assert_non_null(settings);
    assert_int_equal(settings->limits.message_bytes, 1024);
    assert_int_equal(settings->limits.body_bytes, 4096);
    assert_string_equal(settings->listen.client.ptr, ":80");
    assert_int_equal(settings->listen.admin.len, 0);
    assert_false(settings->debug.echo);
    settings_unref(settings);
}

static void a_wrong_value_is_told_with_the_variables_name(void **state)
{
    char *const env[] = {"TIDEGATE_WORKERS=many", "TIDEGATE_LIMITS_HEADER_LINE=", NULL};
    assert_null(config_try_env("", env));
    assert_string_equal(config_said,
                        "t.yaml: TIDEGATE_WORKERS: expected a number from 1 to 256, or 0 (one a "
                        "core), got \"many\"\n"
                        "t.yaml: TIDEGATE_LIMITS_HEADER_LINE: expected a size such as \"64KiB\" "
                        "from 256B to 64KiB, got \"\"\n");
}

static void an_unknown_variable_is_refused_without_its_value(void **state)
{
    char *const env[] = {"TIDEGATE_LIMITS_MESAGE=secret", NULL};
    assert_null(config_try_env("", env));
    assert_string_equal(config_said,
                        "t.yaml: environment: unknown variable \"TIDEGATE_LIMITS_MESAGE\"; did you "
                        "mean \"TIDEGATE_LIMITS_MESSAGE\"?\n");
    char *const others[] = {"TIDEGATE_=1",     "TIDEGATE_LIMITS=1",
                            "TIDEGATE_APPS=1", "TIDEGATE_limits_message=1KiB",
                            "TIDEGATE_NAME=1", NULL};
    for (size_t i = 0; others[i]; i++) {
        char *const one[] = {others[i], NULL};
        assert_null(config_try_env("", one));
        assert_non_null(strstr(config_said, "unknown variable"));
    }
}

static void the_command_lines_own_variables_are_left_alone(void **state)
{
    char *const env[] = {"TIDEGATE_API_KEY=k", "TIDEGATE_TOKEN=t", "TIDEGATE_CONFIG=f",
                         "TIDEGATE_URL=u",     "TIDEGATES=1",      NULL};
    struct settings *settings = config_try_env("", env);
    assert_non_null(settings);
    assert_string_equal(config_said, "");
    settings_unref(settings);
}

static void the_rules_hold_for_variables_too(void **state)
{
    char *const env[] = {"TIDEGATE_LISTEN_API=:8081", NULL};
    assert_null(config_try_env("", env));
    assert_string_equal(config_said, "t.yaml: listen.api: expected an address on loopback "
                                     "(127.0.0.1, [::1]), as no app has api_keys\n");
}

struct known {
    struct buf names[256];
    size_t count;
};

static bool add_name(void *arg, const struct config_visit *visit)
{
    struct known *known = arg;
    if (config_visit_is_single(visit)) {
        config_env_name(visit->path, &known->names[known->count++]);
    }
    return false;
}

static void no_two_keys_share_a_variable(void **state)
{
    static struct known known;
    config_schema_visit(add_name, &known);
    assert_in_range(known.count, 40, 128); /* config_env.c guesses among 128 */
    for (size_t i = 0; i < known.count; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_false(str_equal(buf_str(&known.names[i]), buf_str(&known.names[j])));
        }
    }
    for (size_t i = 0; i < known.count; i++) {
        buf_fini(&known.names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_variable_wins_over_the_file),
        cmocka_unit_test(a_wrong_value_is_told_with_the_variables_name),
        cmocka_unit_test(an_unknown_variable_is_refused_without_its_value),
        cmocka_unit_test(the_command_lines_own_variables_are_left_alone),
        cmocka_unit_test(the_rules_hold_for_variables_too),
        cmocka_unit_test(no_two_keys_share_a_variable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
