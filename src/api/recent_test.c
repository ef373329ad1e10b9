#include "api/recent.h"

#include "api/gateway_test_help.h"
#include "base/log.h"

static void the_last_errors_come_newest_first(void **state)
{
    log_error("test.older", "with a \"quote\"\n");
    log_error_of(LOG_OF(.app = STR("shop")), "test.newer", "m");
    assert_int_equal(gateway_test_ask(*state, KEY_ADMIN, "GET /v1/errors?limit=2", NULL), 200);
    struct gateway_test *test = *state;
    struct json_value body;
    assert_int_equal(json_parse(&body, str_of(test->body), 4, NULL), 0);
    const char *newer = strstr(test->body, "test.newer");
    const char *older = strstr(test->body, "test.older");
    assert_true(newer && older && newer < older);
    gateway_test_says(test, "\"complete\":true}");
    gateway_test_says(test, ",\"msg\":\"with a \\\"quote\\\"\\u000a\"");
    gateway_test_says(test, "\"msg\":\"m\",\"app\":\"shop\"}");
}

static void no_more_than_are_wanted(void **state)
{
    struct gateway_test *test = *state;
    log_error("test.first", "m");
    log_error("test.second", "m");
    assert_int_equal(gateway_test_ask(test, KEY_ADMIN, "GET /v1/errors?limit=1", NULL), 200);
    const char *at = strstr(test->body, "\"event\":");
    assert_non_null(at);
    assert_null(strstr(at + 1, "\"event\":"));
    gateway_test_says(test, "test.second");
    assert_int_equal(gateway_test_ask(test, KEY_ADMIN, "GET /v1/errors?limit=0", NULL), 422);
    gateway_test_says_code(test, "invalid_limit");
    assert_int_equal(gateway_test_ask(test, KEY_ADMIN, "GET /v1/errors?limit=1001", NULL), 422);
}

static void only_who_sees_everything_sees_them(void **state)
{
    assert_int_equal(gateway_test_ask(*state, NULL, "GET /v1/errors", NULL), 401);
    assert_int_equal(gateway_test_ask(*state, KEY_ALL, "GET /v1/errors", NULL), 403);
}

static void memory_that_is_out_costs_the_answer_and_no_more(void **state)
{
    struct gateway_test *test = *state;
    log_error("test.memory", "m");
    for (unsigned long nth = 1; nth < 12; nth++) {
        gateway_test_fail_nth(test, 0, nth);
        int status = gateway_test_ask(test, KEY_ADMIN, "GET /v1/errors", NULL);
        gateway_test_fail_nth(test, 0, 0);
        assert_true(status == 0 || status == 200 || status == 503);
        assert_int_equal(gateway_test_ask(test, KEY_ADMIN, "GET /v1/errors", NULL), 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_last_errors_come_newest_first, gateway_test_setup,
                                        gateway_test_teardown),
        cmocka_unit_test_setup_teardown(no_more_than_are_wanted, gateway_test_setup,
                                        gateway_test_teardown),
        cmocka_unit_test_setup_teardown(only_who_sees_everything_sees_them, gateway_test_setup,
                                        gateway_test_teardown),
        cmocka_unit_test_setup_teardown(memory_that_is_out_costs_the_answer_and_no_more,
                                        gateway_test_setup, gateway_test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
