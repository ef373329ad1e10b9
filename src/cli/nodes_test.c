/* Of cli_nodes, against a server that plays a canned answer. */
#include "cli/cli.h"
#include "cli/exit_code.h"
#include "cli/test_http_server.h"

#define ANSWER                                                                                     \
    "{\"nodes\":[{\"node\":\"gw-1\",\"boot\":\"0000002a\",\"state\":\"ready\",\"version\":"        \
    "\"0.1.0\",\"started_at\":1000,\"sessions\":12,\"users\":7,\"bus_lag_ms\":1.25,"               \
    "\"window_age_ms\":61000,\"self\":true},{\"node\":\"gw\\u001b[2J\",\"boot\":\"0000002b\","     \
    "\"state\":\"draining\",\"version\":\"0.1.0\",\"started_at\":9000,\"sessions\":1,\"users\":1," \
    "\"bus_lag_ms\":0,\"window_age_ms\":0,\"self\":false}],\"as_of\":91000,\"complete\":true}"

static struct test_http server;

static void nodes_are_rows(void **state)
{
    assert_int_equal(test_http_run(&server, cli_nodes, TEST_HTTP_WORDS("nodes"),
                                   TEST_HTTP_ANSWERS(TEST_HTTP_OK(ANSWER))),
                     EXIT_CODE_OK);
    assert_string_equal(
        server.out, "NODE    BOOT      STATE     VERSION  UPTIME  SESSIONS  USERS  BUS LAG  "
                    "WINDOW\n"
                    "gw-1    0000002a  ready     0.1.0    1m 30s        12      7   1.2 ms   "
                    "1m 1s\n"
                    "gw?[2J  0000002b  draining  0.1.0    1m 22s         1      1   0.0 ms      "
                    "0s\n");
    assert_non_null(strstr(server.requests[0], "GET /v1/nodes HTTP/1.1\r\n"));
}

static void as_json_it_is_the_answer(void **state)
{
    assert_int_equal(test_http_run(&server, cli_nodes, TEST_HTTP_WORDS("nodes", "--json"),
                                   TEST_HTTP_ANSWERS(TEST_HTTP_OK(ANSWER))),
                     EXIT_CODE_OK);
    assert_string_equal(server.out, ANSWER "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_rows),
        cmocka_unit_test(as_json_it_is_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
