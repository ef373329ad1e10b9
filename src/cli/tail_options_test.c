#include "cli/tail_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
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

static int clean_environment(void **state)
{
    unsetenv("TIDEGATE_TOKEN");
    unsetenv("TIDEGATE_API_KEY");
    return 0;
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

/* Whom a user's or a ticket's messages are for is asked with a key; of a group both can be meant.
 */
static void whose_messages_are_shown_by_a_key(void **state)
{
    assert_int_equal(READ("tail", "--user", "42", "--with-groups", "--last", "0"), -1);
    assert_true(options.by_key && options.with_groups);
    assert_string_equal(options.user, "42");
    assert_int_equal(options.last, 0);
    assert_int_equal(READ("tail", "--ticket", "t_1", "--url", "https://a"), -1);
    assert_true(options.by_key);
    assert_int_equal(options.last, 10);
    assert_int_equal(READ("tail", "--group", "g", "--url", "http://a"), -1);
    assert_true(options.by_key);
    assert_int_equal(READ("tail", "--group", "g", "--key-file", "k"), -1);
    assert_true(options.by_key);
    assert_int_equal(READ("tail", "--group", "g"), -1);
    assert_false(options.by_key);
    setenv("TIDEGATE_API_KEY", "k", 1);
    assert_int_equal(READ("tail", "--group", "g"), -1);
    assert_true(options.by_key);
    assert_int_equal(READ("tail", "--group", "g", "--url", "ws://a"), -1);
    assert_false(options.by_key);
    setenv("TIDEGATE_TOKEN", "t", 1);
    assert_int_equal(READ("tail", "--group", "g"), -1);
    assert_false(options.by_key);
    unsetenv("TIDEGATE_TOKEN");
    unsetenv("TIDEGATE_API_KEY");
}

static void of_a_key_one_target_is_looked_at(void **state)
{
    assert_int_equal(READ("tail", "--user", "42", "--ticket", "t"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--user", "42", "--group", "g"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--url", "http://a"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--key-file", "k", "--group", "a", "--group", "b"),
                     EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--user", ""), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--user", "42", "--raw"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--ticket", "t", "--with-groups"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--user", "42", "--last", "1001"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--last", "5"), EXIT_CODE_USAGE);
}

static void what_makes_no_sense_is_a_usage_error(void **state)
{
    assert_int_equal(READ("tail", "--count", "0"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--timeout", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--group", ""), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--group", "\xff"), EXIT_CODE_USAGE);
    assert_int_equal(READ("tail", "--app", ""), EXIT_CODE_USAGE);
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
        cmocka_unit_test(whose_messages_are_shown_by_a_key),
        cmocka_unit_test(of_a_key_one_target_is_looked_at),
        cmocka_unit_test(what_makes_no_sense_is_a_usage_error),
        cmocka_unit_test(lost_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, clean_environment, forget);
}
