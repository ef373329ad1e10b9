#include "cli/tail_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "cli/exit_code.h"

static struct tail_options options;

#define READ(...) \
    read_options((int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), (char *[]){__VA_ARGS__})

/* -1: go on, else the exit code. */
static int read_options(int argc, char **argv)
{
    int code = -1;
    tail_options_fini(&options);
    bool go_on = tail_options_read(&options, argc, argv, &code);
    return go_on ? -1 : code;
}

static int forget(void **state)
{
    tail_options_fini(&options);
    return 0;
}

static void nothing_is_needed(void **state)
{
    assert_int_equal(READ("tail"), -1);
    assert_string_equal(options.url.authority, "127.0.0.1:8080");
    assert_string_equal(buf_cstr(&options.target), "/v1/ws");
    assert_int_equal(options.count, 0);
    assert_int_equal(options.timeout_ms, 10000);
    assert_false(options.raw || options.json || options.no_reconnect);
}

static void everything_that_was_asked_is_understood(void **state)
{
    assert_int_equal(READ("tail", "--url", "wss://push.example.com", "--group", "a", "--group=b",
                          "--count", "3", "--json", "--token-file", "t", "--timeout", "1s",
                          "--no-reconnect"),
                     -1);
    assert_true(options.url.is_secure);
    assert_int_equal(options.groups.count, 2);
    assert_int_equal(options.count, 3);
    assert_string_equal(options.token_file, "t");
    assert_int_equal(options.timeout_ms, 1000);
    assert_true(options.json && options.no_reconnect);
    assert_int_equal(READ("tail", "--raw"), -1);
    assert_true(options.raw);
}

static void the_app_goes_into_the_query(void **state)
{
    const char *cases[][2] = {
        {"ws://a", "/v1/ws?app=x%20y"},         {"ws://a/", "/v1/ws?app=x%20y"},
        {"ws://a?z=1", "/v1/ws?z=1&app=x%20y"}, {"ws://a/?z=1", "/v1/ws?z=1&app=x%20y"},
        {"ws://a/p", "/p?app=x%20y"},           {"ws://a/p?z=1", "/p?z=1&app=x%20y"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(READ("tail", "--app", "x y", "--url", (char *)cases[i][0]), -1);
        assert_string_equal(buf_cstr(&options.target), cases[i][1]);
    }
}

static void the_groups_of_a_raw_session_go_into_the_query(void **state)
{
    assert_int_equal(READ("tail", "--raw", "--group", "room:1", "--group=a&b"), -1);
    assert_string_equal(buf_cstr(&options.target), "/v1/ws?group=room%3A1&group=a%26b");
    assert_int_equal(READ("tail", "--group", "room:1"), -1);
    assert_string_equal(buf_cstr(&options.target), "/v1/ws");
}

static void what_makes_no_sense_is_a_usage_error(void **state)
{
    assert_int_equal(READ("tail", "--count", "0"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--timeout", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--group", ""), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--group", "\xff"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--app", ""), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--url", "http://a"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--url", "a"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--token", "secret"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--help"), EXIT_CODE_OK);
}

static void lost_memory_is_an_error(void **state)
{
    mem_fail_nth(1);
    assert_int_equal(READ("tail"), EXIT_CODE_INTERNAL);
    mem_fail_nth(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_needed),
        cmocka_unit_test(everything_that_was_asked_is_understood),
        cmocka_unit_test(the_app_goes_into_the_query),
        cmocka_unit_test(the_groups_of_a_raw_session_go_into_the_query),
        cmocka_unit_test(what_makes_no_sense_is_a_usage_error),
        cmocka_unit_test(lost_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
