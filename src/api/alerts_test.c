#include "api/alerts.h"

#include "api/alerter.h"
#include "api/gateway_test_help.h"
#include "net/fetch.h"
#include "server/families.h"

static void without_an_alerter_there_are_none(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_MONITOR, "GET /v1/alerts", NULL), 200);
    gateway_test_says(*state, "{\"alerts\":[],\"rules\":[],\"as_of\":1");
    gateway_test_says(*state, ",\"complete\":true}");
}

static double read_down(void *arg)
{
    return 0;
}

static void what_fires_is_listed_with_the_rules(void **state)
{
    struct gateway_test *test = *state;
    struct loop *loop;
    struct fetcher *fetcher;
    struct alerter *alerter;
    struct metric *lost = SERIES(bus_up, "redis");
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(fetcher_create(&fetcher, loop, NULL, NULL), 0);
    assert_int_equal(alerter_create(&alerter, loop, fetcher, test->gateway->options.settings), 0);
    metric_set_reader(lost, read_down, NULL);
    alerter_look(alerter, 1, 1000);
    alerter_look(alerter, 60001, 61000);
    test->gateway->options.alerter = alerter;
    assert_int_equal(gateway_test_ask(test, KEY_MONITOR, "GET /v1/alerts", NULL), 200);
    gateway_test_says(test, "{\"alert\":\"TidegateBusDown\",\"severity\":\"critical\",\"state\":"
                            "\"firing\",\"node\":\"");
    gateway_test_says(test, "\"rules\":[{\"name\":\"TidegateDown\"");
    test->gateway->options.alerter = NULL;
    metric_set_reader(lost, NULL, NULL);
    alerter_destroy(alerter);
    fetcher_destroy(fetcher);
    loop_destroy(loop);
}

static void a_key_that_may_only_read_may_not_see_them(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_READ, "GET /v1/alerts", NULL), 403);
    gateway_test_says_code(*state, "scope_missing");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, gateway_test_setup, gateway_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_an_alerter_there_are_none),
        TEST(what_fires_is_listed_with_the_rules),
        TEST(a_key_that_may_only_read_may_not_see_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
