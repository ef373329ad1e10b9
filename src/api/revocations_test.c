#include "api/revocations.h"

#include "api/gateway_test_help.h"

#define LINE "POST /v1/revocations"

static void refuses(struct gateway_test *test, const char *body, int status, const char *code)
{
    assert_int_equal(gateway_test_ask(test, KEY_ALL, LINE, body), status);
    gateway_test_says_code(test, code);
}

static void a_revocation_is_taken_and_says_until_when_it_is_kept(void **state)
{
    struct gateway_test *test = *state;
    assert_int_equal(gateway_test_ask(test, KEY_ALL, LINE, "{\"user\":\"42\",\"reason\":\"gone\"}"),
                     202);
    gateway_test_says(test, "{\"id\":\"m");
    const char *at = strstr(test->body, "\"expires_at\":");
    assert_non_null(at);
    uint64_t expires_ms = strtoull(at + strlen("\"expires_at\":"), NULL, 10);
    uint64_t now_ms = clock_wall_ms();
    assert_true(expires_ms > now_ms + SETTINGS_TOKEN_LIFE_MS);
    assert_true(expires_ms < now_ms + SETTINGS_TOKEN_LIFE_MS + 120 * 1000);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, LINE, "{\"token_id\":\"t1\"}"), 202);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, LINE, "{\"issued_before\":1767225000}"), 202);
}

static void a_session_of_another_worker_is_closed(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client, other;
    gateway_test_open_on(test, &client, 1, "42", "[]");
    gateway_test_open_on(test, &other, 0, "43", "[]");
    assert_int_equal(gateway_test_ask(test, KEY_ALL, LINE, "{\"user\":\"42\"}"), 202);
    while (gateway_test_next(&client)) {
    }
    assert_int_equal(client.close_code, 4301);
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/users/43", NULL), 200);
    gateway_test_says(test, "\"online\":true");
    gateway_test_close(&client);
    gateway_test_close(&other);
}

static void it_needs_the_scope_kick(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, LINE, "{\"user\":\"42\"}"), 403);
    assert_int_equal(gateway_test_ask(*state, KEY_READ, LINE, "{\"user\":\"42\"}"), 403);
}

static void what_is_no_object_is_400(void **state)
{
    refuses(*state, "", 400, "bad_json");
    refuses(*state, "[]", 400, "bad_json");
    refuses(*state, "{\"user\":\"42\"", 400, "bad_json");
    refuses(*state, "{\"user\":\"42\",\"user\":\"43\"}", 400, "bad_json");
    refuses(*state, "{\"user\":[[\"42\"]]}", 400, "bad_json"); /* too deep */
}

static void what_it_names_must_make_sense(void **state)
{
    refuses(*state, "{}", 422, "invalid_revocation");
    refuses(*state, "{\"reason\":\"none\"}", 422, "invalid_revocation");
    refuses(*state, "{\"token_id\":\"t\",\"user\":\"42\"}", 422, "invalid_revocation");
    refuses(*state, "{\"token_id\":\"t\",\"issued_before\":5}", 422, "invalid_revocation");
    refuses(*state, "{\"user\":7}", 422, "invalid_user");
    refuses(*state, "{\"user\":\"\"}", 422, "invalid_user");
    refuses(*state, "{\"token_id\":\"\\u0001\"}", 422, "invalid_token_id");
    refuses(*state, "{\"issued_before\":0}", 422, "invalid_issued_before");
    refuses(*state, "{\"issued_before\":99999999999}", 422, "invalid_issued_before");
    refuses(*state, "{\"issued_before\":1.5}", 422, "invalid_issued_before");
    refuses(*state, "{\"user\":\"42\",\"reason\":1}", 422, "invalid_reason");
    refuses(*state, "{\"usr\":\"42\"}", 422, "unknown_field");
}

static void tune_no_backlog(struct settings *settings)
{
    settings->bus.backlog_bytes = 1;
}

static int setup_no_backlog(void **state)
{
    return gateway_test_setup_tuned(state, tune_no_backlog);
}

static void what_the_bus_does_not_take_is_503(void **state)
{
    refuses(*state, "{\"user\":\"42\"}", 503, "bus_unavailable");
}

static void tune_no_room(struct settings *settings)
{
    settings->limits.kept_bytes = 1;
}

static int setup_no_room(void **state)
{
    return gateway_test_setup_tuned(state, tune_no_room);
}

static void what_nobody_has_room_to_keep_is_429(void **state)
{
    refuses(*state, "{\"user\":\"42\"}", 429, "kept_budget");
    gateway_test_has_header(*state, "Retry-After: 1");
}

static void tune_one_worker(struct settings *settings)
{
    settings->workers = 1;
}

static int setup_one_worker(void **state)
{
    return gateway_test_setup_tuned(state, tune_one_worker);
}

static void every_failed_allocation_is_survived(void **state)
{
    gateway_test_survives(*state, LINE, "{\"user\":\"42\"}", 202);
}

#define TUNED(name, setup) cmocka_unit_test_setup_teardown(name, setup, gateway_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(a_revocation_is_taken_and_says_until_when_it_is_kept),
        GATEWAY_TEST(a_session_of_another_worker_is_closed),
        GATEWAY_TEST(it_needs_the_scope_kick),
        GATEWAY_TEST(what_is_no_object_is_400),
        GATEWAY_TEST(what_it_names_must_make_sense),
        TUNED(what_the_bus_does_not_take_is_503, setup_no_backlog),
        TUNED(what_nobody_has_room_to_keep_is_429, setup_no_room),
        TUNED(every_failed_allocation_is_survived, setup_one_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
