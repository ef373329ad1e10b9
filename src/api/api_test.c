#include "api/api.h"

#include "api/gateway_test_help.h"

static const struct {
    const char *line;
    const char *key; /* one that has not the scope */
} closed[] = {
    {"POST /v1/messages", KEY_READ},
    {"POST /v1/messages:batch", KEY_READ},
    {"POST /v1/users/42/messages", KEY_READ},
    {"POST /v1/groups/room:1/messages", KEY_READ},
    {"POST /v1/sessions/s_1/messages", KEY_READ},
    {"POST /v1/broadcast", KEY_READ},
    {"GET /v1/users/42", KEY_PUSH},
    {"POST /v1/users:query", KEY_PUSH},
    {"DELETE /v1/users/42/sessions", KEY_PUSH},
    {"GET /v1/sessions/s_1", KEY_PUSH},
    {"DELETE /v1/sessions/s_1", KEY_READ},
    {"GET /v1/groups/room:1", KEY_PUSH},
    {"PUT /v1/groups/room:1/users/42", KEY_READ},
    {"DELETE /v1/groups/room:1/users/42", KEY_READ},
};

enum { CLOSED = sizeof(closed) / sizeof(closed[0]) };

static void every_endpoint_needs_a_key(void **state)
{
    for (int i = 0; i < CLOSED; i++) {
        assert_int_equal(gateway_test_ask(*state, NULL, closed[i].line, "{}"), 401);
        gateway_test_says_code(*state, "unauthorized");
        gateway_test_has_header(*state, "WWW-Authenticate: Bearer");
        assert_int_equal(gateway_test_ask(*state, "tg_wrong", closed[i].line, "{}"), 401);
    }
}

static void every_endpoint_needs_its_scope(void **state)
{
    for (int i = 0; i < CLOSED; i++) {
        assert_int_equal(gateway_test_ask(*state, closed[i].key, closed[i].line, "{}"), 403);
        gateway_test_says_code(*state, "scope_missing");
    }
}

static void a_key_shown_twice_or_in_another_scheme_is_none(void **state)
{
    const char *const headers[] = {
        "Authorization: Bearer " KEY_ALL "\r\nAuthorization: Bearer " KEY_ALL "\r\n",
        "Authorization: Basic " KEY_ALL "\r\n",
        "Authorization: " KEY_ALL "\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer " KEY_ALL " x\r\n",
    };
    for (int i = 0; i < 5; i++) {
        assert_int_equal(gateway_test_ask_with(*state, NULL, "GET /v1/users/42", headers[i], NULL),
                         401);
    }
}

static void who_may_not_call_need_not_send_a_body(void **state)
{
    const struct str head = STR("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                                "Content-Length: 100000\r\nConnection: close\r\n\r\n");
    assert_int_equal(gateway_test_exchange(*state, head), 401);
}

static void a_path_that_is_none_is_404(void **state)
{
    const char *const lines[] = {"GET /",
                                 "GET /v1",
                                 "GET /v1/user/42",
                                 "GET /v1/userz",
                                 "GET /v1/users/42/",
                                 "GET /v1/users/42/sessions/1",
                                 "GET /V1/users/42",
                                 "GET /v1%2fusers/42",
                                 "GET /metrics"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(gateway_test_ask(*state, KEY_ALL, lines[i], NULL), 404);
        gateway_test_says_code(*state, "not_found");
    }
}

static void a_malformed_path_is_400(void **state)
{
    const char *const lines[] = {"GET /v1//users", "GET /v1/users/..", "GET /v1/users/%2e%2e",
                                 "GET /v1/users/%00", "GET /v1/users/%4"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(gateway_test_ask(*state, KEY_ALL, lines[i], NULL), 400);
        gateway_test_says_code(*state, "bad_path");
    }
}

static void another_method_is_405_with_those_that_there_are(void **state)
{
    const struct {
        const char *line;
        const char *allow;
    } cases[] = {
        {"GET /v1/messages", "Allow: POST"},
        {"POST /v1/users/42", "Allow: GET, HEAD"},
        {"PUT /v1/sessions/s_1", "Allow: GET, HEAD, DELETE"},
        {"POST /v1/groups/room:1/users/42", "Allow: PUT, DELETE"},
        {"DELETE /v1/openapi.json", "Allow: GET, HEAD"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(gateway_test_ask(*state, KEY_ALL, cases[i].line, ""), 405);
        gateway_test_says_code(*state, "method_not_allowed");
        gateway_test_has_header(*state, cases[i].allow);
    }
}

static void head_is_get_without_the_body(void **state)
{
    struct gateway_test *test = *state;
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "HEAD /v1/users/42", NULL), 200);
    assert_string_equal(test->body, "");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "HEAD /v1/users/42", NULL), 403);
}

static void a_name_in_the_path_is_decoded_and_checked(void **state)
{
    char line[2048];
    char name[257 + 1];
    assert_int_equal(gateway_test_ask(*state, KEY_ALL, "GET /v1/users/a%20%2f%c3%a9", NULL), 200);
    gateway_test_says(*state, "{\"user\":\"a /\xc3\xa9\",\"online\":false");

    const char *const bad[] = {"%0a", "a%7f", "%ff", "%c0%80"};
    for (int i = 0; i < 4; i++) {
        snprintf(line, sizeof(line), "GET /v1/users/%s", bad[i]);
        assert_int_equal(gateway_test_ask(*state, KEY_ALL, line, NULL), 422);
        gateway_test_says_code(*state, "invalid_name");
    }
    memset(name, 'n', 257);
    name[257] = '\0';
    snprintf(line, sizeof(line), "GET /v1/users/%s", name);
    assert_int_equal(gateway_test_ask(*state, KEY_ALL, line, NULL), 422);
    gateway_test_says_code(*state, "invalid_name");
    snprintf(line, sizeof(line), "GET /v1/users/%s", name + 1); /* limits.name */
    assert_int_equal(gateway_test_ask(*state, KEY_ALL, line, NULL), 200);
}

static void a_compressed_body_is_refused(void **state)
{
    assert_int_equal(gateway_test_ask_with(*state, KEY_ALL, "POST /v1/users/42/messages",
                                           "Content-Encoding: gzip\r\n", "x"),
                     415);
    gateway_test_says_code(*state, "unsupported_encoding");
}

static void the_description_is_open_to_everybody(void **state)
{
    assert_int_equal(gateway_test_ask(*state, NULL, "GET /v1/openapi.json", NULL), 200);
    gateway_test_says(*state, "\"openapi\":");
    gateway_test_has_header(*state, "Content-Type: application/json");
}

static void a_key_reaches_its_own_app_alone(void **state)
{
    struct gateway_test_client client;
    char line[128];
    gateway_test_open(*state, &client, "shop", "42", "[\"room:1\"]");
    snprintf(line, sizeof(line), "GET /v1/sessions/%s", client.sid);
    assert_int_equal(gateway_test_ask(*state, KEY_ALL, line, NULL), 200);
    assert_int_equal(gateway_test_ask(*state, KEY_OTHER, line, NULL), 404);
    assert_int_equal(gateway_test_ask(*state, KEY_OTHER, "GET /v1/users/42", NULL), 200);
    gateway_test_says(*state, "\"online\":false");
    assert_int_equal(gateway_test_ask(*state, KEY_OTHER, "GET /v1/groups/room:1", NULL), 200);
    gateway_test_says(*state, "\"sessions\":0");
    assert_int_equal(
        gateway_test_ask(*state, KEY_OTHER, "POST /v1/broadcast?wait=routed&wait_ms=9000", "1"),
        200);
    gateway_test_says(*state, "\"matched\":0");
    gateway_test_close(&client);
}

static void who_monitors_sees_every_app_and_changes_none(void **state)
{
    struct gateway_test_client client;
    gateway_test_open(*state, &client, "other", "42", "[]");
    const char *const keys[] = {KEY_MONITOR, KEY_ADMIN};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gateway_test_ask(*state, keys[i], "GET /v1/users/42?app=other", NULL),
                         200);
        gateway_test_says(*state, "\"online\":true");
        assert_int_equal(gateway_test_ask(*state, keys[i], "GET /v1/users/42", NULL), 200);
        gateway_test_says(*state, "\"online\":false");
        assert_int_equal(gateway_test_ask(*state, keys[i], "GET /v1/users/42?app=nobody", NULL),
                         400);
        gateway_test_says_code(*state, "app_required");
        assert_int_equal(gateway_test_ask(*state, keys[i], "GET /v1/nodes", NULL), 200);
        assert_int_equal(gateway_test_ask(*state, keys[i], "POST /v1/broadcast?app=other", "1"),
                         403);
    }
    assert_int_equal(gateway_test_ask(*state, KEY_MONITOR, "POST /v1/nodes/x:drain", ""), 403);
    assert_int_equal(gateway_test_ask(*state, KEY_MONITOR, "DELETE /v1/users/42/sessions", NULL),
                     403);
    gateway_test_close(&client);
}

#define KEY_BOTH "tg_both"

static void add_key_of_both(struct settings *settings)
{
    gateway_test_add_key(settings, &settings->apps[0], KEY_BOTH,
                         SETTINGS_SCOPE_PUSH | SETTINGS_SCOPE_MONITOR);
}

static int setup_both(void **state)
{
    return gateway_test_setup_tuned(state, add_key_of_both);
}

static void what_a_key_may_in_its_own_app_it_may_not_in_another(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_BOTH, "POST /v1/broadcast", "1"), 202);
    assert_int_equal(gateway_test_ask(*state, KEY_BOTH, "POST /v1/broadcast?app=shop", "1"), 202);
    assert_int_equal(gateway_test_ask(*state, KEY_BOTH, "POST /v1/broadcast?app=other", "1"), 403);
    gateway_test_says_code(*state, "scope_missing");
    assert_int_equal(gateway_test_ask(*state, KEY_READ, "GET /v1/users/42?app=other", NULL), 200);
}

static void small_body(struct settings *settings)
{
    settings->limits.body_bytes = 1024;
}

static int setup_small_body(void **state)
{
    return gateway_test_setup_tuned(state, small_body);
}

static void a_body_over_the_limit_is_413_at_the_limit_it_is_read(void **state)
{
    char body[1026];
    memset(body, 'x', sizeof(body));
    body[1025] = '\0';
    assert_int_equal(gateway_test_ask(*state, KEY_ALL, "POST /v1/users/42/messages", body), 413);
    assert_int_equal(gateway_test_ask(*state, KEY_ALL, "POST /v1/users/42/messages", body + 1),
                     202);
}

/* ---- without keys ---- */

static void take_keys(struct settings *settings)
{
    settings->apps[0].api_key_count = 0;
    settings->apps[1].api_key_count = 0;
}

static int setup_open(void **state)
{
    return gateway_test_setup_tuned(state, take_keys);
}

static void take_keys_and_an_app(struct settings *settings)
{
    take_keys(settings);
    settings->app_count = 1;
}

static int setup_open_with_one_app(void **state)
{
    return gateway_test_setup_tuned(state, take_keys_and_an_app);
}

static void without_keys_the_only_app_is_meant(void **state)
{
    assert_int_equal(gateway_test_ask(*state, NULL, "GET /v1/users/42", NULL), 200);
    assert_int_equal(gateway_test_ask(*state, NULL, "DELETE /v1/users/42/sessions", NULL), 200);
    assert_int_equal(gateway_test_ask(*state, NULL, "GET /v1/users/42?app=shop", NULL), 200);
    assert_int_equal(gateway_test_ask(*state, NULL, "GET /v1/users/42?app=other", NULL), 400);
}

static void without_keys_several_apps_are_told_apart_by_name(void **state)
{
    const char *const bad[] = {"", "?app=", "?app=nobody", "?app=%zz"};
    char line[64];
    for (int i = 0; i < 4; i++) {
        snprintf(line, sizeof(line), "GET /v1/users/42%s", bad[i]);
        assert_int_equal(gateway_test_ask(*state, NULL, line, NULL), 400);
        gateway_test_says_code(*state, "app_required");
    }
    assert_int_equal(gateway_test_ask(*state, NULL, "POST /v1/users/42/messages?app=other", "1"),
                     202);
}

static void without_keys_pages_of_other_sites_may_not_call(void **state)
{
    const char *const foreign[] = {
        "Host: rebound.example\r\n",
        "Origin: https://www.example.com\r\n",
        "Origin: null\r\n",
    };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            gateway_test_ask_with(*state, NULL, "POST /v1/broadcast?app=shop", foreign[i], "1"),
            403);
        gateway_test_says_code(*state, "foreign_origin");
    }
    assert_int_equal(gateway_test_ask_with(*state, NULL, "POST /v1/broadcast?app=shop",
                                           "Host: 127.0.0.1:1\r\nOrigin: http://127.0.0.1:1\r\n",
                                           "1"),
                     202);
}

#define TUNED(name, setup) cmocka_unit_test_setup_teardown(name, setup, gateway_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(every_endpoint_needs_a_key),
        GATEWAY_TEST(every_endpoint_needs_its_scope),
        GATEWAY_TEST(a_key_shown_twice_or_in_another_scheme_is_none),
        GATEWAY_TEST(who_may_not_call_need_not_send_a_body),
        GATEWAY_TEST(a_path_that_is_none_is_404),
        GATEWAY_TEST(a_malformed_path_is_400),
        GATEWAY_TEST(another_method_is_405_with_those_that_there_are),
        GATEWAY_TEST(head_is_get_without_the_body),
        GATEWAY_TEST(a_name_in_the_path_is_decoded_and_checked),
        GATEWAY_TEST(a_compressed_body_is_refused),
        GATEWAY_TEST(the_description_is_open_to_everybody),
        GATEWAY_TEST(a_key_reaches_its_own_app_alone),
        GATEWAY_TEST(who_monitors_sees_every_app_and_changes_none),
        TUNED(what_a_key_may_in_its_own_app_it_may_not_in_another, setup_both),
        TUNED(a_body_over_the_limit_is_413_at_the_limit_it_is_read, setup_small_body),
        TUNED(without_keys_the_only_app_is_meant, setup_open_with_one_app),
        TUNED(without_keys_several_apps_are_told_apart_by_name, setup_open),
        TUNED(without_keys_pages_of_other_sites_may_not_call, setup_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
