#include "api/receipts.h"

#include "api/gateway_test_help.h"

static void push(struct gateway_test *test, const char *user, const char *options)
{
    char body[200];
    snprintf(body, sizeof(body), "{\"to\":{\"users\":[\"%s\"]},\"data\":1%s}", user, options);
    assert_in_range(gateway_test_ask(test, KEY_ALL, "POST /v1/messages", body), 200, 202);
}

static void the_counts_of_all_workers_are_told(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client a;
    struct gateway_test_client b;
    gateway_test_open_on(test, &a, 0, "42", "[]");
    gateway_test_open_on(test, &b, 1, "42", "[]");
    push(test, "42", ",\"id\":\"m-1\",\"wait\":\"written\"");
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/messages/m-1", NULL), 200);
    gateway_test_says(test, "{\"id\":\"m-1\",\"pos\":\"");
    gateway_test_says(test, "\"state\":\"accepted\",\"receipt\":{\"complete\":true,"
                            "\"nodes\":{\"expected\":1,\"reported\":1},\"sessions\":{"
                            "\"matched\":2,\"written\":2,\"acked\":0,\"replayed\":0,"
                            "\"dropped\":0,\"dropped_by\":{}}},\"as_of\":1");
    gateway_test_close(&a);
    gateway_test_close(&b);
}

static void who_left_without_confirming_is_dropped_by_its_end(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    gateway_test_open_on(test, &client, 0, "42", "[]");
    push(test, "42", ",\"id\":\"m-2\",\"wait\":\"acked\",\"wait_ms\":0");
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/messages/m-2", NULL), 200);
    gateway_test_says(test, "\"receipt\":{\"complete\":false,");
    gateway_test_close(&client);
    while (!strstr(test->body, "\"dropped_by\":{\"session_closed\":1}")) {
        assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/messages/m-2", NULL), 200);
    }
    gateway_test_says(test, "\"receipt\":{\"complete\":true,");
    gateway_test_says(test, "\"written\":1,\"acked\":0,\"replayed\":0,\"dropped\":1,");
}

static void what_is_not_remembered_is_404(void **state)
{
    push(*state, "42", "");
    assert_int_equal(gateway_test_ask(*state, KEY_READ, "GET /v1/messages/never", NULL), 404);
    gateway_test_says_code(*state, "message_unknown");
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, "DELETE /v1/messages/never", NULL), 404);
    gateway_test_says_code(*state, "message_unknown");
}

static void who_has_what_is_cancelled_is_told(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    gateway_test_open_on(test, &client, 1, "42", "[]");
    push(test, "42", ",\"id\":\"m-3\"");
    gateway_test_gets(&client, "\"id\":\"m-3\"");
    assert_int_equal(gateway_test_ask(test, KEY_READ, "DELETE /v1/messages/m-3", NULL), 403);
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "DELETE /v1/messages/m-3", NULL), 200);
    gateway_test_says(test, "{\"id\":\"m-3\",\"state\":\"cancelled\",\"sessions\":{\"told\":1,"
                            "\"spared\":0},\"as_of\":1");
    gateway_test_gets(&client, "{\"t\":\"revoke\",\"id\":\"m-3\",\"pos\":\"");
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/messages/m-3", NULL), 200);
    gateway_test_says(test, "\"state\":\"cancelled\"");
    push(test, "42", ",\"id\":\"m-3b\"");
    gateway_test_gets(&client, "\"id\":\"m-3b\"");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "DELETE /v1/messages/m-3", NULL), 200);
    gateway_test_says(test, "{\"id\":\"m-3\",\"state\":\"cancelled\",\"sessions\":{\"told\":0,"
                            "\"spared\":0},\"as_of\":1");
    gateway_test_says(test, "\"complete\":true}");
    push(test, "42", ",\"id\":\"m-3c\"");
    gateway_test_gets(&client, "\"id\":\"m-3c\""); /* nobody was told again */
    assert_int_equal(gateway_test_ask(test, KEY_OTHER, "DELETE /v1/messages/m-3", NULL), 404);
    gateway_test_close(&client);
}

static void every_failed_allocation_of_a_question_is_survived(void **state)
{
    push(*state, "42", ",\"id\":\"m-4\"");
    gateway_test_survives(*state, "GET /v1/messages/m-4", NULL, 200);
}

static void tune_small_quota(struct settings *settings)
{
    settings->apps[0].quotas = (struct settings_quotas){.pushes_per_second = 1, .push_burst = 2};
}

static int setup_small_quota(void **state)
{
    return gateway_test_setup_tuned(state, tune_small_quota);
}

static void to_cancel_takes_of_the_push_quota(void **state)
{
    struct gateway_test *test = *state;
    push(test, "42", ",\"id\":\"m-5\"");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "DELETE /v1/messages/m-5", NULL), 200);
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "DELETE /v1/messages/m-5", NULL), 429);
    gateway_test_says_code(test, "quota_exceeded");
    gateway_test_has_header(test, "Retry-After: 1");
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "PUT /v1/groups/g/users/42", NULL), 429);
    gateway_test_says_code(test, "quota_exceeded");
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "DELETE /v1/groups/g/users/42", NULL), 429);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "DELETE /v1/users/42/sessions", NULL), 429);
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/messages/m-5", NULL), 200);
}

static void tune_one_worker(struct settings *settings)
{
    settings->workers = 1;
}

static int setup_one_worker(void **state)
{
    return gateway_test_setup_tuned(state, tune_one_worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(the_counts_of_all_workers_are_told),
        GATEWAY_TEST(who_left_without_confirming_is_dropped_by_its_end),
        GATEWAY_TEST(what_is_not_remembered_is_404),
        GATEWAY_TEST(who_has_what_is_cancelled_is_told),
        cmocka_unit_test_setup_teardown(to_cancel_takes_of_the_push_quota, setup_small_quota,
                                        gateway_test_teardown),
        cmocka_unit_test_setup_teardown(every_failed_allocation_of_a_question_is_survived,
                                        setup_one_worker, gateway_test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
