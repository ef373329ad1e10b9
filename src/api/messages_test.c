#include "api/messages.h"

#include "api/gateway_test_help.h"
#include "api/messages_read.h"

static const char key_ticket[] = "tg_ticket";

enum { CURSOR_MAX = 2100 };

/* Little room: a waiting call more, and it is full. */
static void tune(struct settings *settings)
{
    gateway_test_add_key(settings, &settings->apps[0], key_ticket, SETTINGS_SCOPE_TICKET);
    settings->limits.message_waits = 2;
    settings->limits.wait_ms = GATEWAY_TEST_WAIT_MS;
}

static int setup(void **state)
{
    return gateway_test_setup_tuned(state, tune);
}

static void push(struct gateway_test *test, const char *body)
{
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "POST /v1/messages", body), 202);
}

static int get(struct gateway_test *test, const char *target)
{
    char line[CURSOR_MAX + 256];
    snprintf(line, sizeof(line), "GET /v1/%s", target);
    return gateway_test_ask(test, KEY_READ, line, NULL);
}

static void says_no(const struct gateway_test *test, const char *part)
{
    if (strstr(test->body, part)) {
        fail_msg("did not expect: %s\ngot: %s", part, test->body);
    }
}

/* The cursor of the last answer. */
static void take_cursor(const struct gateway_test *test, char cursor[CURSOR_MAX])
{
    const char *at = strstr(test->body, "\"after\":\"");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "\"after\":\"%2099[^\"]", cursor), 1);
}

static int get_after(struct gateway_test *test, const char *target, const char *cursor,
                     const char *options)
{
    char text[CURSOR_MAX + 128];
    snprintf(text, sizeof(text), "%s?after=%s%s", target, cursor, options);
    return get(test, text);
}

/* ---- what it says ---- */

static void a_user_gets_what_is_for_it_and_for_all(void **state)
{
    struct gateway_test *test = *state;
    push(test, "{\"to\":{\"users\":[\"42\"]},\"id\":\"m1\",\"type\":\"a.b\",\"data\":{\"n\":1},"
               "\"ttl_ms\":60000,\"collapse\":\"c\"}");
    push(test, "{\"to\":{\"users\":[\"43\"]},\"id\":\"m2\",\"data\":2}");
    push(test, "{\"to\":{\"all\":true},\"id\":\"m3\",\"data\":\"three\"}");
    push(test, "{\"to\":{\"groups\":[\"room:1\"]},\"id\":\"m4\",\"data\":4}");
    assert_int_equal(get(test, "users/42/messages"), 200);
    gateway_test_says(test, "{\"messages\":[{\"t\":\"msg\",\"id\":\"m1\",\"pos\":\"");
    gateway_test_says(test, ",\"type\":\"a.b\",\"ts\":1");
    gateway_test_says(test, ",\"to\":{\"users\":[\"42\"]},\"size\":7,\"ttl_ms\":60000,"
                            "\"collapse\":\"c\",\"data\":{\"n\":1}}");
    gateway_test_says(test, ",\"to\":{\"all\":true},\"size\":7,\"data\":\"three\"}");
    gateway_test_says(test, "\"more\":false,\"node\":\"");
    gateway_test_says(test, ",\"complete\":true}");
    says_no(test, "\"m2\"");
    says_no(test, "\"m4\"");
    says_no(test, "\"gap\"");
}

static void a_group_gets_what_is_for_it_alone(void **state)
{
    struct gateway_test *test = *state;
    push(test, "{\"to\":{\"groups\":[\"room:1\"]},\"id\":\"m1\",\"data\":1}");
    push(test, "{\"to\":{\"groups\":[\"room:2\"]},\"id\":\"m2\",\"data\":2}");
    push(test, "{\"to\":{\"all\":true},\"id\":\"m3\",\"data\":3}");
    assert_int_equal(get(test, "groups/room:1/messages"), 200);
    gateway_test_says(test,
                      "\"to\":{\"groups\":[\"room:1\"]},\"size\":1,\"data\":1}],\"after\":\"");
    says_no(test, "\"m2\"");
    says_no(test, "\"m3\"");
}

static void a_ticket_gets_what_is_for_it_and_has_no_position(void **state)
{
    struct gateway_test *test = *state;
    char id[64];
    char line[128];
    assert_int_equal(gateway_test_ask(test, key_ticket, "POST /v1/tickets", "{\"scene\":\"x\"}"),
                     201);
    assert_int_equal(sscanf(strstr(test->body, "\"id\":\""), "\"id\":\"%63[^\"]", id), 1);
    snprintf(line, sizeof(line), "POST /v1/tickets/%s/messages?id=r1&final=true", id);
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, line, "{\"ok\":true}"), 202);
    snprintf(line, sizeof(line), "tickets/%s/messages", id);
    assert_int_equal(get(test, line), 200);
    gateway_test_says(test, "[{\"t\":\"msg\",\"id\":\"r1\",\"ts\":1");
    gateway_test_says(test, "\"final\":true,\"to\":{\"tickets\":[\"");
    gateway_test_says(test, "\"size\":11,\"data\":{\"ok\":true}}]");
    assert_int_equal(get(test, "tickets/none/messages"), 404);
    gateway_test_says_code(test, "ticket_not_found");
}

static void a_users_groups_and_sessions_count_when_asked_for(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client a, b;
    char body[256];
    gateway_test_open_on(test, &a, 0, "42", "[\"room:1\"]");
    gateway_test_open_on(test, &b, 1, "42", "[\"room:1\",\"room:2\"]");
    push(test, "{\"to\":{\"groups\":[\"room:2\"]},\"id\":\"m1\",\"data\":1}");
    snprintf(body, sizeof(body), "{\"to\":{\"sessions\":[\"%s\"]},\"id\":\"m2\",\"data\":2}",
             a.sid);
    push(test, body);
    push(test, "{\"to\":{\"groups\":[\"room:3\"]},\"id\":\"m3\",\"data\":3}");
    push(test, "{\"to\":{\"groups\":[\"room:1\"],\"users\":[\"42\"]},\"id\":\"m4\",\"data\":4}");
    assert_int_equal(get(test, "users/42/messages?groups=true"), 200);
    gateway_test_says(test, "\"to\":{\"groups\":[\"room:2\"]},\"size\":1,\"data\":1}");
    gateway_test_says(test, "\"to\":{\"sessions\":[\"");
    gateway_test_says(test, "\"m4\"");
    says_no(test, "\"m3\"");
    assert_null(strstr(strstr(test->body, "\"m4\"") + 1, "\"m4\""));
    assert_int_equal(get(test, "users/42/messages?groups=false"), 200);
    says_no(test, "\"m1\"");
    gateway_test_close(&a);
    gateway_test_close(&b);
}

static void the_newest_are_told_first_and_then_what_came_since(void **state)
{
    struct gateway_test *test = *state;
    char cursor[CURSOR_MAX];
    char body[128];
    for (int i = 1; i <= 5; i++) {
        snprintf(body, sizeof(body), "{\"to\":{\"users\":[\"42\"]},\"id\":\"m%d\",\"data\":%d}", i,
                 i);
        push(test, body);
    }
    assert_int_equal(get(test, "users/42/messages?limit=2"), 200);
    gateway_test_says(test, "{\"messages\":[{\"t\":\"msg\",\"id\":\"m4\"");
    gateway_test_says(test, "\"more\":true");
    take_cursor(test, cursor);
    assert_int_equal(get_after(test, "users/42/messages", cursor, ""), 200);
    gateway_test_says(test, "{\"messages\":[],");
    push(test, "{\"to\":{\"users\":[\"42\"]},\"id\":\"m6\",\"data\":6}");
    push(test, "{\"to\":{\"users\":[\"42\"]},\"id\":\"m7\",\"data\":7}");
    assert_int_equal(get_after(test, "users/42/messages", cursor, "&limit=1"), 200);
    gateway_test_says(test, "{\"messages\":[{\"t\":\"msg\",\"id\":\"m6\"");
    gateway_test_says(test, "\"more\":true");
    take_cursor(test, cursor);
    assert_int_equal(get_after(test, "users/42/messages", cursor, ""), 200);
    gateway_test_says(test, "{\"messages\":[{\"t\":\"msg\",\"id\":\"m7\"");
    gateway_test_says(test, "\"more\":false");
}

static void what_was_cancelled_says_so(void **state)
{
    struct gateway_test *test = *state;
    char cursor[CURSOR_MAX];
    push(test, "{\"to\":{\"users\":[\"42\"]},\"id\":\"m1\",\"data\":1}");
    assert_int_equal(get(test, "users/42/messages"), 200);
    take_cursor(test, cursor);
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "DELETE /v1/messages/m1", NULL), 200);
    assert_int_equal(get_after(test, "users/42/messages", cursor, ""), 200);
    gateway_test_says(test, "{\"messages\":[{\"t\":\"revoke\",\"id\":\"m1\",\"pos\":\"");
    gateway_test_says(test, "\"to\":{\"users\":[\"42\"]},\"ts\":1");
    assert_int_equal(get(test, "users/42/messages"), 200);
    gateway_test_says(test, "\"size\":1,\"cancelled\":true,\"data\":1}");
}

static void a_cursor_of_another_history_is_a_gap_and_the_newest_again(void **state)
{
    struct gateway_test *test = *state;
    push(test, "{\"to\":{\"users\":[\"42\"]},\"id\":\"m1\",\"data\":1}");
    /* Version 1, the epoch "e", no queue. */
    assert_int_equal(get_after(test, "users/42/messages", "AQFlAA", "&wait_ms=20000"), 200);
    gateway_test_says(test, "{\"messages\":[{\"t\":\"msg\",\"id\":\"m1\"");
    gateway_test_says(test, "\"gap\":{\"why\":\"epoch\"}");
}

/* ---- waiting ---- */

static int begin_wait(struct gateway_test *test, const char *cursor)
{
    struct buf request = {0};
    int fd = gateway_test_connect(test->port);
    buf_printf(&request,
               "GET /v1/users/42/messages?wait_ms=20000&after=%s HTTP/1.1\r\nHost: localhost\r\n"
               "Connection: close\r\nAuthorization: Bearer " KEY_READ "\r\n\r\n",
               cursor);
    gateway_test_send(fd, buf_str(&request));
    buf_fini(&request);
    return fd;
}

static void end_wait(struct gateway_test *test, int fd)
{
    buf_clear(&test->answer);
    while (gateway_test_read(test, fd, &test->answer)) {
    }
    close(fd);
    test->head = buf_cstr(&test->answer);
    const char *end = strstr(test->head, "\r\n\r\n");
    test->body = end ? end + 4 : "";
}

static void who_waits_is_told_when_something_comes(void **state)
{
    struct gateway_test *test = *state;
    char cursor[CURSOR_MAX];
    assert_int_equal(get(test, "users/42/messages"), 200);
    gateway_test_says(test, "{\"messages\":[],");
    take_cursor(test, cursor);
    int fd = begin_wait(test, cursor);
    push(test, "{\"to\":{\"users\":[\"43\"]},\"id\":\"m1\",\"data\":1}");
    push(test, "{\"to\":{\"users\":[\"42\"]},\"id\":\"m2\",\"data\":2}");
    end_wait(test, fd);
    gateway_test_says(test, "{\"messages\":[{\"t\":\"msg\",\"id\":\"m2\"");
    says_no(test, "\"m1\"");
}

static void a_wait_ends_empty_when_nothing_comes(void **state)
{
    struct gateway_test *test = *state;
    char cursor[CURSOR_MAX];
    assert_int_equal(get(test, "users/42/messages"), 200);
    take_cursor(test, cursor);
    assert_int_equal(get_after(test, "users/42/messages", cursor, "&wait_ms=150"), 200);
    gateway_test_says(test, "{\"messages\":[],\"after\":\"");
}

static void only_so_many_wait_at_a_time_and_who_is_gone_does_not_count(void **state)
{
    struct gateway_test *test = *state;
    char cursor[CURSOR_MAX];
    assert_int_equal(get(test, "users/42/messages"), 200);
    take_cursor(test, cursor);
    int a = begin_wait(test, cursor);
    int b = begin_wait(test, cursor);
    uint64_t ends_ms = clock_monotonic_ms() + GATEWAY_TEST_WAIT_MS;
    while (get(test, "users/42/messages") != 429) {
        assert_true(clock_monotonic_ms() < ends_ms);
    }
    gateway_test_says_code(test, "too_many_waits");
    assert_non_null(strstr(test->head, "Retry-After: 1"));
    const struct linger reset = {1, 0};
    assert_int_equal(setsockopt(a, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(a);
    while (get(test, "users/42/messages") != 200) {
        assert_true(clock_monotonic_ms() < ends_ms);
    }
    push(test, "{\"to\":{\"users\":[\"42\"]},\"id\":\"m1\",\"data\":1}");
    end_wait(test, b);
    gateway_test_says(test, "\"m1\"");
}

/* The gateway ends with the test, and who waits must not hold it up or leak. */
static void who_waits_at_the_end_is_let_go(void **state)
{
    struct gateway_test *test = *state;
    char cursor[CURSOR_MAX];
    assert_int_equal(get(test, "users/42/messages"), 200);
    take_cursor(test, cursor);
    int fd = begin_wait(test, cursor);
    uint64_t ends_ms = clock_monotonic_ms() + GATEWAY_TEST_WAIT_MS;
    while (http_service_open_exchanges(test->gateway->workers[0].api_http) +
               http_service_open_exchanges(test->gateway->workers[1].api_http) ==
           0) {
        assert_true(clock_monotonic_ms() < ends_ms);
        loop_turn(test->loop, 1);
    }
    close(fd);
}

/* ---- refusals ---- */

static void a_bad_query_is_refused(void **state)
{
    static const struct {
        const char *query;
        const char *code;
    } cases[] = {
        {"after=!", "invalid_after"},    {"after=AAAA", "invalid_after"},
        {"limit=0", "invalid_limit"},    {"limit=1001", "invalid_limit"},
        {"limit=x", "invalid_limit"},    {"wait_ms=30001", "invalid_wait_ms"},
        {"wait_ms=", "invalid_wait_ms"}, {"groups=yes", "invalid_groups"},
        {"other=1", "unknown_option"},
    };
    char text[128];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "users/42/messages?%s", cases[i].query);
        assert_int_equal(get(*state, text), 422);
        gateway_test_says_code(*state, cases[i].code);
    }
}

static void it_takes_the_right_to_read(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, "GET /v1/users/42/messages", NULL), 403);
    assert_int_equal(gateway_test_ask(*state, NULL, "GET /v1/groups/g/messages", NULL), 401);
}

static void who_monitors_sees_all_but_the_data(void **state)
{
    struct gateway_test *test = *state;
    push(test, "{\"to\":{\"users\":[\"42\"]},\"id\":\"m1\",\"data\":\"private\"}");
    assert_int_equal(gateway_test_ask(test, KEY_MONITOR, "GET /v1/users/42/messages", NULL), 200);
    gateway_test_says(test, "\"to\":{\"users\":[\"42\"]},\"size\":9}]");
    says_no(test, "private");
    assert_int_equal(
        gateway_test_ask(test, KEY_MONITOR, "GET /v1/users/42/messages?app=other", NULL), 200);
    gateway_test_says(test, "{\"messages\":[],");
}

static void another_app_sees_nothing_of_it(void **state)
{
    struct gateway_test *test = *state;
    push(test, "{\"to\":{\"users\":[\"42\"],\"all\":true},\"id\":\"m1\",\"data\":1}");
    assert_int_equal(gateway_test_ask(test, KEY_OTHER, "GET /v1/users/42/messages", NULL), 200);
    gateway_test_says(test, "{\"messages\":[],");
}

static void fill(struct gateway_test_job *job, struct worker *worker)
{
    struct http_exchange exchange = {0};
    struct api_call call = {
        .worker = worker, .exchange = &exchange, .tenant = &worker->tenants->items[0]};
    struct messages_reading *reading = messages_reading_create(&call);
    char name[16];
    for (int i = 0; i < MESSAGES_TARGETS_MAX; i++) {
        snprintf(name, sizeof(name), "g%d", i);
        assert_true(messages_reading_add(reading, TARGET_GROUP, str_of(name)));
    }
    assert_true(messages_reading_add(reading, TARGET_GROUP, STR("g0")));
    assert_true(reading->is_complete);
    assert_true(messages_reading_add(reading, TARGET_GROUP, STR("more")));
    assert_false(reading->is_complete);
    assert_int_equal(reading->target_count, MESSAGES_TARGETS_MAX);
    messages_reading_destroy(reading);
    gateway_test_job_end(job);
}

static void over_so_many_targets_the_answer_is_not_complete(void **state)
{
    gateway_test_run(*state, 0, fill, NULL);
}

static void memory_that_is_out_is_no_answer_or_503(void **state)
{
    struct gateway_test *test = *state;
    push(test, "{\"to\":{\"users\":[\"42\"]},\"id\":\"m1\",\"data\":1}");
    gateway_test_survives(test, "GET /v1/users/42/messages?groups=true", NULL, 200);
}

static void one_worker(struct settings *settings)
{
    settings->workers = 1;
}

static int setup_one_worker(void **state)
{
    return gateway_test_setup_tuned(state, one_worker);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_user_gets_what_is_for_it_and_for_all),
        TEST(a_group_gets_what_is_for_it_alone),
        TEST(a_ticket_gets_what_is_for_it_and_has_no_position),
        TEST(a_users_groups_and_sessions_count_when_asked_for),
        TEST(the_newest_are_told_first_and_then_what_came_since),
        TEST(what_was_cancelled_says_so),
        TEST(a_cursor_of_another_history_is_a_gap_and_the_newest_again),
        TEST(who_waits_is_told_when_something_comes),
        TEST(a_wait_ends_empty_when_nothing_comes),
        TEST(only_so_many_wait_at_a_time_and_who_is_gone_does_not_count),
        TEST(who_waits_at_the_end_is_let_go),
        TEST(a_bad_query_is_refused),
        TEST(it_takes_the_right_to_read),
        TEST(who_monitors_sees_all_but_the_data),
        TEST(over_so_many_targets_the_answer_is_not_complete),
        TEST(another_app_sees_nothing_of_it),
        cmocka_unit_test_setup_teardown(memory_that_is_out_is_no_answer_or_503, setup_one_worker,
                                        gateway_test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
