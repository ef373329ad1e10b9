/* Of cli_drain, against a server that plays canned answers. */
#include "cli/cli.h"
#include "cli/exit_code.h"
#include "cli/test_http_server.h"

#define ORDERED TEST_HTTP_OK("{\"state\":\"draining\",\"sessions\":3,\"left_ms\":1000}")
#define NODES(state, sessions)                                                     \
    TEST_HTTP_OK("{\"nodes\":[{\"node\":\"gw\",\"boot\":\"2a\",\"state\":\"" state \
                 "\",\"sessions\":" sessions "}],\"complete\":true}")

static struct test_http server;

static void it_waits_until_the_node_is_empty(void **state)
{
    assert_int_equal(
        test_http_run(&server, cli_drain, TEST_HTTP_WORDS("drain", "gw", "--window", "1s"),
                      TEST_HTTP_ANSWERS(ORDERED, NODES("ready", "3"), NODES("draining", "1"),
                                        "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
                                        NODES("draining", "0"))),
        EXIT_CODE_OK);
    assert_string_equal(server.out, "gw: draining, 3 sessions\ngw: draining, 1 session\n"
                                    "gw: drained, 0 sessions\n");
    assert_non_null(strstr(server.requests[0], "POST /v1/nodes/gw:drain HTTP/1.1"));
    assert_non_null(strstr(server.requests[0], "\r\n\r\n{\"window_ms\":1000}"));
}

#define EMPTY_LIST(complete) TEST_HTTP_OK("{\"nodes\":[],\"complete\":" complete "}")

static void a_node_that_is_gone_had_no_sessions_left(void **state)
{
    assert_int_equal(
        test_http_run(
            &server, cli_drain, TEST_HTTP_WORDS("drain", "gw", "--json"),
            TEST_HTTP_ANSWERS(TEST_HTTP_OK("{\"state\":\"draining\",\"sessions\":0,\"left_ms\":1}"),
                              EMPTY_LIST("true"))),
        EXIT_CODE_OK);
    assert_string_equal(server.out, "{\"node\":\"gw\",\"state\":\"draining\",\"sessions\":0}\n"
                                    "{\"node\":\"gw\",\"state\":\"gone\",\"sessions\":0}\n");
}

/* It was killed, or fell silent: that is no drain that went well. */
static void a_node_that_goes_with_sessions_has_failed(void **state)
{
    assert_int_equal(
        test_http_run(&server, cli_drain, TEST_HTTP_WORDS("drain", "gw"),
                      TEST_HTTP_ANSWERS(ORDERED, NODES("draining", "2"), EMPTY_LIST("true"))),
        EXIT_CODE_REFUSED);
    assert_string_equal(server.out, "gw: draining, 3 sessions\ngw: draining, 2 sessions\n"
                                    "gw: gone, 2 sessions\n");
}

static void a_list_that_is_not_whole_says_nothing(void **state)
{
    assert_int_equal(
        test_http_run(&server, cli_drain, TEST_HTTP_WORDS("drain", "gw"),
                      TEST_HTTP_ANSWERS(ORDERED, EMPTY_LIST("false"), NODES("draining", "0"))),
        EXIT_CODE_OK);
    assert_string_equal(server.out, "gw: draining, 3 sessions\ngw: drained, 0 sessions\n");
}

static void an_order_alone_and_a_resume_do_not_wait(void **state)
{
    assert_int_equal(test_http_run(&server, cli_drain, TEST_HTTP_WORDS("drain", "gw", "--no-wait"),
                                   TEST_HTTP_ANSWERS(ORDERED)),
                     EXIT_CODE_OK);
    assert_int_equal(
        test_http_run(&server, cli_drain, TEST_HTTP_WORDS("drain", "gw", "--resume"),
                      TEST_HTTP_ANSWERS(TEST_HTTP_OK("{\"state\":\"ready\",\"sessions\":2}"))),
        EXIT_CODE_OK);
    assert_string_equal(server.out, "gw: ready, 2 sessions\n");
    assert_non_null(strstr(server.requests[0], "POST /v1/nodes/gw:resume HTTP/1.1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_waits_until_the_node_is_empty),
        cmocka_unit_test(a_node_that_is_gone_had_no_sessions_left),
        cmocka_unit_test(a_node_that_goes_with_sessions_has_failed),
        cmocka_unit_test(a_list_that_is_not_whole_says_nothing),
        cmocka_unit_test(an_order_alone_and_a_resume_do_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
