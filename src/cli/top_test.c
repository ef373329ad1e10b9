/* Of cli_top without a screen, against a server that plays canned answers; on a terminal it is
 * tests/test_cli_top.py. */
#include "cli/cli.h"
#include "cli/exit_code.h"
#include "cli/test_http_server.h"

#define ANSWER "{\"cluster\":\"c\",\"as_of\":1,\"complete\":false,\"total\":{}}"

static struct test_http server;

static void once_prints_the_numbers_and_ends(void **state)
{
    assert_int_equal(test_http_run(&server, cli_top, TEST_HTTP_WORDS("top", "--once"),
                                   TEST_HTTP_ANSWERS(TEST_HTTP_OK(ANSWER))),
                     EXIT_CODE_OK);
    assert_non_null(strstr(server.out, "tidegate c"));
    assert_non_null(strstr(server.out, "(not all nodes answered)"));
    assert_null(strchr(server.out, '\x1b'));
    assert_non_null(strstr(server.requests[0], "GET /v1/overview HTTP/1.1"));
}

static void as_json_it_is_the_answer(void **state)
{
    assert_int_equal(test_http_run(&server, cli_top, TEST_HTTP_WORDS("top", "--once", "--json"),
                                   TEST_HTTP_ANSWERS(TEST_HTTP_OK(ANSWER))),
                     EXIT_CODE_OK);
    assert_string_equal(server.out, ANSWER "\n");
}

/* The second failure is one that waiting does not mend. */
static void a_gateway_that_is_away_for_a_moment_is_asked_again(void **state)
{
    assert_int_equal(
        test_http_run(&server, cli_top, TEST_HTTP_WORDS("top", "--json", "--interval", "200ms"),
                      TEST_HTTP_ANSWERS(
                          TEST_HTTP_OK(ANSWER), "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
                          TEST_HTTP_OK(ANSWER), "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")),
        EXIT_CODE_REFUSED);
    assert_string_equal(server.out, ANSWER "\n" ANSWER "\n");
}

/* Names are asked for only where something fires, and are not needed. */
static void the_alerts_that_fire_are_named(void **state)
{
    const char *firing = TEST_HTTP_OK("{\"cluster\":\"c\",\"as_of\":61000,\"complete\":true,"
                                      "\"nodes\":[{\"node\":\"gw\",\"alerts_firing\":1}]}");
    const char *alerts = TEST_HTTP_OK(
        "{\"alerts\":[{\"alert\":\"BusDown\",\"severity\":\"critical\",\"state\":\"firing\","
        "\"node\":\"gw\",\"summary\":\"The bus is down\",\"active_at\":1000},"
        "{\"alert\":\"Slow\",\"state\":\"pending\"}]}");
    assert_int_equal(test_http_run(&server, cli_top, TEST_HTTP_WORDS("top", "--once"),
                                   TEST_HTTP_ANSWERS(firing, alerts)),
                     EXIT_CODE_OK);
    assert_non_null(strstr(server.out, "1 alert\n"));
    assert_non_null(strstr(server.out, "BusDown  critical  gw    1m 0s  The bus is down\n"));
    assert_null(strstr(server.out, "Slow"));
    assert_non_null(strstr(server.requests[1], "GET /v1/alerts HTTP/1.1"));
    assert_int_equal(
        test_http_run(&server, cli_top, TEST_HTTP_WORDS("top", "--once"),
                      TEST_HTTP_ANSWERS(firing, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")),
        EXIT_CODE_OK);
    assert_non_null(strstr(server.out, "1 alert\n"));
}

static void what_fails_at_first_ends_it(void **state)
{
    assert_int_equal(
        test_http_run(&server, cli_top, TEST_HTTP_WORDS("top"),
                      TEST_HTTP_ANSWERS("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")),
        EXIT_CODE_UNAVAILABLE);
    char *argv[] = {(char *)"top", (char *)"--interval", (char *)"1ms", NULL};
    assert_int_equal(cli_top(3, argv), EXIT_CODE_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once_prints_the_numbers_and_ends),
        cmocka_unit_test(as_json_it_is_the_answer),
        cmocka_unit_test(a_gateway_that_is_away_for_a_moment_is_asked_again),
        cmocka_unit_test(the_alerts_that_fire_are_named),
        cmocka_unit_test(what_fails_at_first_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
