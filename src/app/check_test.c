#include "app/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/exit_code.h"

static char said[8192];  /* on stderr */
static char wrote[8192]; /* on stdout */

static void take(FILE *file, char *out)
{
    rewind(file);
    out[fread(out, 1, 8191, file)] = '\0';
    fclose(file);
}

/* Runs the verb with both streams caught. */
static int run(int argc, char **argv)
{
    FILE *files[2] = {tmpfile(), tmpfile()};
    int saved[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    fflush(stdout);
    dup2(fileno(files[0]), STDOUT_FILENO);
    dup2(fileno(files[1]), STDERR_FILENO);
    int exit_code = app_check_main(argc, argv);
    fflush(stdout);
    dup2(saved[0], STDOUT_FILENO);
    dup2(saved[1], STDERR_FILENO);
    close(saved[0]);
    close(saved[1]);
    take(files[0], wrote);
    take(files[1], said);
    return exit_code;
}

#define RUN(...) \
    run(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *), (char *[]){__VA_ARGS__, NULL})

static void a_good_file_is_ok(void **state)
{
    assert_int_equal(RUN("check", "config/tidegate.yaml"), EXIT_CODE_OK);
    assert_string_equal(wrote, "config/tidegate.yaml: OK\n");
    assert_string_equal(said, "");
}

static void mistakes_go_to_stderr_with_exit_status_1(void **state)
{
    assert_int_equal(RUN("check", "tests/fuzz/app.config/mistakes.yaml"), EXIT_CODE_REFUSED);
    assert_string_equal(wrote, "");
    assert_non_null(strstr(said, "tests/fuzz/app.config/mistakes.yaml:3:12: limits.message: "
                                 "expected a size such as \"64KiB\""));
}

static void json_goes_to_stdout_whatever_the_result(void **state)
{
    assert_int_equal(RUN("check", "--json", "config/tidegate.yaml"), EXIT_CODE_OK);
    assert_string_equal(wrote, "{\"file\":\"config/tidegate.yaml\",\"ok\":true,\"mistakes\":[],"
                               "\"warnings\":[]}\n");
    assert_int_equal(RUN("check", "--json", "tests/fuzz/app.config/mistakes.yaml"),
                     EXIT_CODE_REFUSED);
    assert_non_null(strstr(wrote, "\"ok\":false,\"mistakes\":[{\"line\":1,"));
    assert_string_equal(said, "");
}

static void a_file_that_cannot_be_read_is_wrong_usage(void **state)
{
    assert_int_equal(RUN("check", "/nonexistent"), EXIT_CODE_USAGE);
    assert_string_equal(said, "/nonexistent: can't be read: No such file or directory\n");
    assert_int_equal(RUN("check"), EXIT_CODE_USAGE);
    assert_int_equal(RUN("check", "a", "b"), EXIT_CODE_USAGE);
    assert_int_equal(RUN("check", "--jsn", "a"), EXIT_CODE_USAGE);
}

static void the_environment_is_checked_too(void **state)
{
    setenv("TIDEGATE_LIMITS_BODY", "lots", 1);
    assert_int_equal(RUN("check", "config/tidegate.yaml"), EXIT_CODE_REFUSED);
    assert_non_null(strstr(said, "TIDEGATE_LIMITS_BODY: expected a size"));
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
