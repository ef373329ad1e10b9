#include "app/check.h"

#include "app/verb_test_help.h"

static void a_good_file_is_ok(void **state)
{
    assert_int_equal(VERB_RUN(app_check_main, "check", "config/tidegate.yaml"), EXIT_CODE_OK);
    assert_string_equal(verb_wrote, "config/tidegate.yaml: OK\n");
    assert_string_equal(verb_said, "");
}

static void mistakes_go_to_stderr_with_exit_status_1(void **state)
{
    assert_int_equal(VERB_RUN(app_check_main, "check", "tests/fuzz/app.config/mistakes.yaml"),
                     EXIT_CODE_REFUSED);
    assert_string_equal(verb_wrote, "");
    assert_non_null(strstr(verb_said, "tests/fuzz/app.config/mistakes.yaml:3:12: limits.message: "
                                      "expected a size such as \"64KiB\""));
}

static void json_goes_to_stdout_whatever_the_result(void **state)
{
    assert_int_equal(VERB_RUN(app_check_main, "check", "--json", "config/tidegate.yaml"),
                     EXIT_CODE_OK);
    assert_string_equal(verb_wrote,
                        "{\"file\":\"config/tidegate.yaml\",\"ok\":true,\"mistakes\":[],"
                        "\"warnings\":[]}\n");
    assert_int_equal(
        VERB_RUN(app_check_main, "check", "--json", "tests/fuzz/app.config/mistakes.yaml"),
        EXIT_CODE_REFUSED);
    assert_non_null(strstr(verb_wrote, "\"ok\":false,\"mistakes\":[{\"line\":1,"));
    assert_string_equal(verb_said, "");
}

static void a_file_that_cannot_be_read_is_wrong_usage(void **state)
{
    assert_int_equal(VERB_RUN(app_check_main, "check", "/nonexistent"), EXIT_CODE_USAGE);
    assert_string_equal(verb_said, "/nonexistent: can't be read: No such file or directory\n");
    assert_int_equal(VERB_RUN(app_check_main, "check"), EXIT_CODE_USAGE);
    assert_int_equal(VERB_RUN(app_check_main, "check", "a", "b"), EXIT_CODE_USAGE);
    assert_int_equal(VERB_RUN(app_check_main, "check", "--jsn", "a"), EXIT_CODE_USAGE);
}

static void the_environment_is_checked_too(void **state)
{
    setenv("TIDEGATE_LIMITS_BODY", "lots", 1);
    assert_int_equal(VERB_RUN(app_check_main, "check", "config/tidegate.yaml"), EXIT_CODE_REFUSED);
    assert_non_null(strstr(verb_said, "TIDEGATE_LIMITS_BODY: expected a size"));
    unsetenv("TIDEGATE_LIMITS_BODY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_ok),
        cmocka_unit_test(mistakes_go_to_stderr_with_exit_status_1),
        cmocka_unit_test(json_goes_to_stdout_whatever_the_result),
        cmocka_unit_test(a_file_that_cannot_be_read_is_wrong_usage),
        cmocka_unit_test(the_environment_is_checked_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
