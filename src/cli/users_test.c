/* Of cli_users, against a server that plays canned answers. */
#include "cli/cli.h"
#include "cli/exit_code.h"
#include "cli/test_http_server.h"

#define PAGE(users, next) TEST_HTTP_OK("{\"users\":[" users "]," next "\"complete\":true}")

static struct test_http server;

static void pages_are_put_together(void **state)
{
    assert_int_equal(
        test_http_run(
            &server, cli_users, TEST_HTTP_WORDS("users", "a b"),
            TEST_HTTP_ANSWERS(PAGE("{\"user\":\"a b1\",\"sessions\":2}", "\"next\":\"a b1\","),
                              PAGE("{\"user\":\"a b2\",\"sessions\":10}", ""))),
        EXIT_CODE_OK);
    assert_string_equal(server.out, "USER  SESSIONS\na b1         2\na b2        10\n");
    assert_non_null(strstr(server.requests[0], "GET /v1/users?limit=1000&prefix=a%20b HTTP/1.1"));
    assert_non_null(strstr(server.requests[1], "prefix=a%20b&after=a%20b1 HTTP/1.1"));
}

static void no_more_are_asked_for_than_wanted(void **state)
{
    assert_int_equal(
        test_http_run(
            &server, cli_users, TEST_HTTP_WORDS("users", "--limit", "1", "--json"),
            TEST_HTTP_ANSWERS(PAGE("{\"user\":\"a\",\"sessions\":1}", "\"next\":\"a\","))),
        EXIT_CODE_OK);
    assert_string_equal(server.out, "{\"user\":\"a\",\"sessions\":1}\n");
    assert_non_null(strstr(server.requests[0], "limit=1 HTTP"));
}

static void one_user_has_its_sessions(void **state)
{
    assert_int_equal(
        test_http_run(&server, cli_users, TEST_HTTP_WORDS("users", "--user", "a/b"),
                      TEST_HTTP_ANSWERS(TEST_HTTP_OK(
                          "{\"online\":true,\"session_count\":1,\"sessions\":[{\"sid\":\"s_1\","
                          "\"transport\":\"sse\",\"protocol\":\"raw\",\"since_ms\":1000,"
                          "\"queued_bytes\":5}],\"as_of\":3000,\"complete\":true}"))),
        EXIT_CODE_OK);
    assert_string_equal(server.out, "online, 1 session\n"
                                    "SESSION  TRANSPORT  PROTOCOL  DEVICE  SINCE  QUEUED\n"
                                    "s_1      sse        raw       -          2s       5\n");
    assert_non_null(strstr(server.requests[0], "GET /v1/users/a%2Fb HTTP/1.1"));
}

static void a_list_that_fails_in_the_middle_prints_nothing(void **state)
{
    assert_int_equal(
        test_http_run(&server, cli_users, TEST_HTTP_WORDS("users"),
                      TEST_HTTP_ANSWERS(PAGE("{\"user\":\"a\",\"sessions\":1}", "\"next\":\"a\","),
                                        "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")),
        EXIT_CODE_UNAVAILABLE);
    assert_string_equal(server.out, "");
}

static void what_is_not_all_is_no_success(void **state)
{
    assert_int_equal(
        test_http_run(&server, cli_users, TEST_HTTP_WORDS("users", "--json"),
                      TEST_HTTP_ANSWERS(TEST_HTTP_OK(
                          "{\"users\":[{\"user\":\"a\",\"sessions\":1}],\"complete\":false}"))),
        EXIT_CODE_UNAVAILABLE);
    assert_string_equal(server.out, "{\"user\":\"a\",\"sessions\":1}\n");
    assert_int_equal(
        test_http_run(&server, cli_users, TEST_HTTP_WORDS("users", "--user", "a"),
                      TEST_HTTP_ANSWERS(TEST_HTTP_OK("{\"online\":false,\"session_count\":0,"
                                                     "\"sessions\":[],\"complete\":false}"))),
        EXIT_CODE_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_put_together),
        cmocka_unit_test(no_more_are_asked_for_than_wanted),
        cmocka_unit_test(one_user_has_its_sessions),
        cmocka_unit_test(a_list_that_fails_in_the_middle_prints_nothing),
        cmocka_unit_test(what_is_not_all_is_no_success),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
