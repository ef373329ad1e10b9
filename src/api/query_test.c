#include "api/query.h"

#include "api/gateway_test_help.h"

static void ask_sid(struct gateway_test *test, const char *method, const char *sid, int status)
{
    char line[128];
    snprintf(line, sizeof(line), "%s /v1/sessions/%s", method, sid);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, line, NULL), status);
}

/* The body of an action's answer, whole. */
static void says_count(struct gateway_test *test, const char *name, int count)
{
    char start[64];
    snprintf(start, sizeof(start), "{\"%s\":%d,\"as_of\":1", name, count);
    gateway_test_says(test, start);
    gateway_test_says(test, ",\"complete\":true}");
}

/* Two sessions of user 42 on different workers, one of user 43; all in room:1. */
struct three {
    struct gateway_test_client a, b, c;
};

static void open_three(struct gateway_test *test, struct three *three)
{
    gateway_test_open_on(test, &three->a, 0, "42", "[\"room:1\"]");
    gateway_test_open_on(test, &three->b, 1, "42", "[\"room:1\",\"room:2\"]");
    gateway_test_open_on(test, &three->c, 1, "43", "[\"room:1\"]");
}

static void close_three(struct three *three)
{
    gateway_test_close(&three->a);
    gateway_test_close(&three->b);
    gateway_test_close(&three->c);
}

/* ---- users ---- */

static void a_user_is_online_with_the_sessions_of_all_workers(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    open_three(test, &three);
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/users/42", NULL), 200);
    gateway_test_says(
        test, "{\"user\":\"42\",\"online\":true,\"session_count\":2,\"sessions\":[{\"sid\":\"");
    gateway_test_says(test, three.a.sid);
    gateway_test_says(test, three.b.sid);
    gateway_test_says(test, "\"transport\":\"websocket\",\"protocol\":\"tidegate.v1.json\"");
    gateway_test_says(test, "\"device\":\"d1\",\"attrs\":{\"platform\":\"web\"}");
    gateway_test_says(test, "\"complete\":true}");
    assert_null(strstr(test->body, three.c.sid));
    close_three(&three);
}

static void a_user_that_nobody_has_seen_is_offline(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_READ, "GET /v1/users/42", NULL), 200);
    gateway_test_says(
        *state, "{\"user\":\"42\",\"online\":false,\"session_count\":0,\"sessions\":[],\"as_of\":");
}

static void many_users_are_asked_at_once(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    open_three(test, &three);
    assert_int_equal(gateway_test_ask(test, KEY_READ, "POST /v1/users:query",
                                      "{\"users\":[\"42\",\"nobody\",\"4\\u0033\"]}"),
                     200);
    gateway_test_says(test, "{\"users\":{\"42\":{\"online\":true,\"sessions\":2},"
                            "\"nobody\":{\"online\":false,\"sessions\":0},"
                            "\"4\\u0033\":{\"online\":true,\"sessions\":1}},\"as_of\":");
    assert_int_equal(gateway_test_ask(test, KEY_READ, "POST /v1/users:query", "{\"users\":[]}"),
                     200);
    gateway_test_says(test, "{\"users\":{},");
    close_three(&three);
}

static void a_query_that_is_not_json_is_400(void **state)
{
    const char *const bodies[] = {"", "{", "{\"users\":[\"42\"]}x", "\xff"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(gateway_test_ask(*state, KEY_READ, "POST /v1/users:query", bodies[i]),
                         400);
        gateway_test_says_code(*state, "bad_json");
    }
}

static void a_query_of_anything_but_names_is_422(void **state)
{
    const char *const bodies[] = {"[]",
                                  "{}",
                                  "{\"users\":\"42\"}",
                                  "{\"users\":[42]}",
                                  "{\"users\":[\"\"]}",
                                  "{\"users\":[\"a\\u0000\"]}",
                                  "{\"users\":[\"a\\n\"]}",
                                  "{\"users\":[\"42\"],\"more\":1}",
                                  "{\"users\":[\"42\"],\"users\":[\"43\"]}"};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(gateway_test_ask(*state, KEY_READ, "POST /v1/users:query", bodies[i]),
                         422);
        gateway_test_says_code(*state, "invalid_users");
    }
}

static void a_query_takes_1000_users_and_no_more(void **state)
{
    struct buf body = {0};
    buf_append_str(&body, STR("{\"users\":[\"u0\""));
    for (int i = 1; i < 1000; i++) {
        buf_printf(&body, ",\"u%d\"", i);
    }
    size_t len = body.len;
    buf_append_str(&body, STR("]}"));
    assert_int_equal(gateway_test_ask(*state, KEY_READ, "POST /v1/users:query", buf_cstr(&body)),
                     200);
    gateway_test_says(*state, "\"u999\":{\"online\":false,\"sessions\":0}}");
    body.len = len;
    buf_append_str(&body, STR(",\"u1000\"]}"));
    assert_int_equal(gateway_test_ask(*state, KEY_READ, "POST /v1/users:query", buf_cstr(&body)),
                     422);
    buf_fini(&body);
}

static void kicking_a_user_closes_all_its_sessions(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    open_three(test, &three);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "DELETE /v1/users/42/sessions", NULL), 200);
    says_count(test, "closed", 2);
    assert_false(gateway_test_next(&three.a));
    assert_int_equal(three.a.close_code, 4000);
    assert_false(gateway_test_next(&three.b));
    assert_int_equal(three.b.close_code, 4000);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "GET /v1/users/43", NULL), 200);
    gateway_test_says(test, "\"online\":true");
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "DELETE /v1/users/nobody/sessions", NULL),
                     200);
    says_count(test, "closed", 0);
    close_three(&three);
}

/* ---- sessions ---- */

static void a_session_says_whose_it_is_and_its_groups(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    open_three(test, &three);
    ask_sid(test, "GET", three.b.sid, 200);
    gateway_test_says(test, three.b.sid);
    gateway_test_says(test, "\"user\":\"42\",\"groups\":[\"room:");
    gateway_test_says(test, "\"room:1\"");
    gateway_test_says(test, "\"room:2\"");
    ask_sid(test, "GET", three.a.sid, 200);
    gateway_test_says(test, "\"groups\":[\"room:1\"],\"as_of\":");
    close_three(&three);
}

static void kicking_a_session_closes_it_alone(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    open_three(test, &three);
    ask_sid(test, "DELETE", three.a.sid, 200);
    says_count(test, "closed", 1);
    assert_false(gateway_test_next(&three.a));
    assert_int_equal(three.a.close_code, 4000);
    ask_sid(test, "GET", three.a.sid, 404);
    ask_sid(test, "DELETE", three.a.sid, 404);
    gateway_test_says_code(test, "session_not_found");
    ask_sid(test, "GET", three.b.sid, 200);
    close_three(&three);
}

static void a_sid_that_is_none_is_404(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    char text[SID_LEN + 1];
    struct sid sid;
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_true(sid_parse(&sid, &test->gateway->keys.sid_keys[0], str_of(client.sid)));
    ask_sid(test, "GET", "s_1", 404);
    ask_sid(test, "DELETE", "x", 404);

    strcpy(text, client.sid);
    text[SID_LEN - 1] = text[SID_LEN - 1] == 'A' ? 'B' : 'A'; /* the check */
    ask_sid(test, "GET", text, 404);
    struct sid others[] = {sid, sid, sid, sid};
    others[0].node++;
    others[1].worker = 2; /* there are 0 and 1 */
    others[2].slot += 1000000;
    others[3].generation++;
    for (int i = 0; i < 4; i++) {
        sid_format(text, &test->gateway->keys.sid_keys[0], &others[i]);
        ask_sid(test, "GET", text, 404);
        gateway_test_says_code(test, "session_not_found");
    }
    gateway_test_close(&client);
}

/* ---- groups ---- */

static void a_group_counts_a_user_of_two_workers_once(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    open_three(test, &three);
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/groups/room:1", NULL), 200);
    gateway_test_says(test, "{\"group\":\"room:1\",\"sessions\":3,\"users\":2,\"as_of\":");
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/groups/nobody", NULL), 200);
    gateway_test_says(test, "{\"group\":\"nobody\",\"sessions\":0,\"users\":0,");
    close_three(&three);
}

static void the_api_joins_and_parts_all_sessions_of_a_user(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    open_three(test, &three);
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "PUT /v1/groups/vip/users/42", NULL), 200);
    says_count(test, "sessions", 2);
    gateway_test_gets(&three.a, "{\"t\":\"joined\",\"g\":\"vip\",\"grant\":\"");
    gateway_test_gets(&three.b, "{\"t\":\"joined\",\"g\":\"vip\",\"grant\":\"");
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/groups/vip", NULL), 200);
    gateway_test_says(test, "\"sessions\":2,\"users\":1,");

    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "DELETE /v1/groups/vip/users/42", NULL), 200);
    says_count(test, "sessions", 2);
    gateway_test_gets(&three.a, "{\"t\":\"left\",\"g\":\"vip\"}");
    gateway_test_gets(&three.b, "{\"t\":\"left\",\"g\":\"vip\"}");
    assert_int_equal(gateway_test_ask(test, KEY_READ, "GET /v1/groups/vip", NULL), 200);
    gateway_test_says(test, "\"sessions\":0,\"users\":0,");
    close_three(&three);
}

static void a_push_behind_a_join_reaches_who_was_joined(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "PUT /v1/groups/vip/users/42", NULL), 200);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "POST /v1/groups/vip/messages", "7"), 202);
    gateway_test_gets(&client, "\"t\":\"joined\"");
    gateway_test_gets(&client, "\"g\":\"vip\"");
    assert_non_null(strstr(client.text, "\"data\":7}"));
    gateway_test_close(&client);
}

static void joining_a_user_without_sessions_counts_none(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, "PUT /v1/groups/vip/users/42", NULL), 200);
    says_count(*state, "sessions", 0);
}

/* ---- the bus and memory ---- */

static void no_backlog(struct settings *settings)
{
    settings->bus.backlog_bytes = 1;
}

static int setup_no_backlog(void **state)
{
    return gateway_test_setup_tuned(state, no_backlog);
}

static void an_action_that_the_bus_does_not_take_is_503(void **state)
{
    const char *const lines[] = {"DELETE /v1/users/42/sessions", "PUT /v1/groups/vip/users/42",
                                 "DELETE /v1/groups/vip/users/42"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gateway_test_ask(*state, KEY_ALL, lines[i], NULL), 503);
        gateway_test_says_code(*state, "bus_unavailable");
        gateway_test_has_header(*state, "Retry-After: 1");
    }
}

static void one_worker(struct settings *settings)
{
    settings->workers = 1;
}

static int setup_one_worker(void **state)
{
    return gateway_test_setup_tuned(state, one_worker);
}

static void every_failed_allocation_of_a_query_is_survived(void **state)
{
    struct gateway_test_client client;
    gateway_test_open(*state, &client, "shop", "42", "[\"room:1\"]");
    gateway_test_survives(*state, "GET /v1/users/42", NULL, 200);
    gateway_test_survives(*state, "POST /v1/users:query", "{\"users\":[\"42\",\"43\"]}", 200);
    gateway_test_survives(*state, "GET /v1/groups/room:1", NULL, 200);
    gateway_test_survives(*state, "PUT /v1/groups/vip/users/nobody", NULL, 200);
    gateway_test_survives(*state, "DELETE /v1/users/nobody/sessions", NULL, 200);
    gateway_test_close(&client);
}

#define TUNED(name, setup) cmocka_unit_test_setup_teardown(name, setup, gateway_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(a_user_is_online_with_the_sessions_of_all_workers),
        GATEWAY_TEST(a_user_that_nobody_has_seen_is_offline),
        GATEWAY_TEST(many_users_are_asked_at_once),
        GATEWAY_TEST(a_query_that_is_not_json_is_400),
        GATEWAY_TEST(a_query_of_anything_but_names_is_422),
        GATEWAY_TEST(a_query_takes_1000_users_and_no_more),
        GATEWAY_TEST(kicking_a_user_closes_all_its_sessions),
        GATEWAY_TEST(a_session_says_whose_it_is_and_its_groups),
        GATEWAY_TEST(kicking_a_session_closes_it_alone),
        GATEWAY_TEST(a_sid_that_is_none_is_404),
        GATEWAY_TEST(a_group_counts_a_user_of_two_workers_once),
        GATEWAY_TEST(the_api_joins_and_parts_all_sessions_of_a_user),
        GATEWAY_TEST(a_push_behind_a_join_reaches_who_was_joined),
        GATEWAY_TEST(joining_a_user_without_sessions_counts_none),
        TUNED(an_action_that_the_bus_does_not_take_is_503, setup_no_backlog),
        TUNED(every_failed_allocation_of_a_query_is_survived, setup_one_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
