#include "api/nodes.h"

#include "api/gateway_test_help.h"
#include "server/ws_session.h"

/* "POST /v1/nodes/<boot><verb>" */
static const char *line_of(struct gateway_test *test, const char *verb)
{
    static char line[64];
    snprintf(line, sizeof(line), "POST /v1/nodes/%08x%s", test->gateway->boot, verb);
    return line;
}

static int order(struct gateway_test *test, const char *verb, const char *body)
{
    return gateway_test_ask(test, KEY_ADMIN, line_of(test, verb), body);
}

static int ms_left(struct gateway_test *test)
{
    const char *found = strstr(test->body, "\"left_ms\":");
    assert_non_null(found);
    return (int)strtol(found + strlen("\"left_ms\":"), NULL, 10);
}

static bool is_draining(struct gateway_test *test)
{
    char why[GATEWAY_WHY_BYTES];
    const char *reason = gateway_not_ready(test->gateway, why);
    return reason && strcmp(reason, "draining") == 0;
}

static void a_node_drains_by_its_boot_or_its_name_and_resumes(void **state)
{
    struct gateway_test *test = *state;
    char line[128];
    snprintf(line, sizeof(line), "POST /v1/nodes/%s:drain", test->gateway->node);
    assert_int_equal(gateway_test_ask(test, KEY_ADMIN, line, NULL), 202);
    gateway_test_says(test, "{\"state\":\"draining\",\"sessions\":0,\"left_ms\":");
    assert_in_range(ms_left(test), 19000, 20000);
    assert_true(is_draining(test));
    assert_int_equal(order(test, ":resume", NULL), 200);
    assert_string_equal(test->body, "{\"state\":\"ready\",\"sessions\":0}");
    assert_false(is_draining(test));
    assert_int_equal(order(test, ":resume", "{}"), 200);
    assert_int_equal(order(test, ":drain", "{}"), 202);
    assert_true(is_draining(test));
}

static void only_a_drain_that_is_over_sooner_replaces_one(void **state)
{
    struct gateway_test *test = *state;
    assert_int_equal(order(test, ":drain", "{\"window_ms\":60000}"), 202);
    assert_in_range(ms_left(test), 55000, 60000);
    assert_int_equal(order(test, ":drain", "{\"window_ms\":3600000}"), 202);
    assert_in_range(ms_left(test), 50000, 60000);
    assert_int_equal(order(test, ":drain", NULL), 202);
    assert_in_range(ms_left(test), 15000, 20000);
    assert_int_equal(order(test, ":drain", "{\"window_ms\":0}"), 202);
    assert_int_equal(ms_left(test), 0);
}

static void a_node_that_stops_does_not_resume(void **state)
{
    struct gateway_test *test = *state;
    gateway_drain(test->gateway, &test->settings->drain, 60000, true);
    assert_int_equal(order(test, ":resume", NULL), 409);
    gateway_test_says_code(test, "node_stopping");
    assert_true(is_draining(test));
    assert_int_equal(order(test, ":drain", NULL), 202);
}

static void a_wrong_order_has_its_code_and_changes_nothing(void **state)
{
    static const struct {
        const char *verb;
        const char *body;
        int status;
        const char *code;
    } wrong[] = {
        {":drain", "{", 400, "bad_json"},
        {":drain", "[]", 422, "invalid_body"},
        {":drain", "{\"window\":1}", 422, "invalid_body"},
        {":drain", "{\"window_ms\":1,\"window_ms\":1}", 422, "invalid_body"},
        {":drain", "{\"window_ms\":\"1s\"}", 422, "invalid_window_ms"},
        {":drain", "{\"window_ms\":-1}", 422, "invalid_window_ms"},
        {":drain", "{\"window_ms\":1.5}", 422, "invalid_window_ms"},
        {":drain", "{\"window_ms\":3600001}", 422, "invalid_window_ms"},
        {":resume", "{\"window_ms\":1}", 422, "invalid_body"},
        {":stop", NULL, 404, "not_found"},
    };
    struct gateway_test *test = *state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(order(test, wrong[i].verb, wrong[i].body), wrong[i].status);
        gateway_test_says_code(test, wrong[i].code);
    }
    assert_int_equal(gateway_test_ask(test, KEY_ADMIN, "POST /v1/nodes/gone:drain", NULL), 404);
    gateway_test_says_code(test, "node_not_found");
    assert_int_equal(gateway_test_ask(test, KEY_ADMIN, "POST /v1/nodes/:drain", NULL), 422);
    gateway_test_says_code(test, "invalid_name");
    assert_int_equal(gateway_test_ask(test, KEY_ALL, line_of(test, ":drain"), NULL), 403);
    assert_int_equal(gateway_test_ask(test, KEY_ADMIN, "GET /v1/nodes/gone:drain", NULL), 405);
    assert_false(is_draining(test));
}

static void a_session_is_told_and_a_resume_keeps_it(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    gateway_test_open(test, &client, "shop", "ada", "[]");
    assert_int_equal(order(test, ":drain", "{\"window_ms\":3600000}"), 202);
    gateway_test_says(test, "\"sessions\":1");
    gateway_test_gets(&client, "{\"t\":\"goaway\",\"slot_ms\":");
    assert_int_equal(order(test, ":resume", NULL), 200);
    assert_int_equal(order(test, ":drain", "{\"window_ms\":100}"), 202);
    gateway_test_gets(&client, "\"window_ms\":100,");
    assert_false(gateway_test_next(&client));
    assert_int_equal(client.close_code, WS_CLOSE_DRAIN);
    gateway_test_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(a_node_drains_by_its_boot_or_its_name_and_resumes),
        GATEWAY_TEST(only_a_drain_that_is_over_sooner_replaces_one),
        GATEWAY_TEST(a_node_that_stops_does_not_resume),
        GATEWAY_TEST(a_wrong_order_has_its_code_and_changes_nothing),
        GATEWAY_TEST(a_session_is_told_and_a_resume_keeps_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
