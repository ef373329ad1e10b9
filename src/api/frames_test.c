#include "api/frames.h"

#include "api/gateway_test_help.h"
#include "server/ws_session.h"

static int ask(struct gateway_test *test, const char *key, const char *sid, const char *query)
{
    char line[512];
    snprintf(line, sizeof(line), "GET /v1/sessions/%s/frames%s", sid, query);
    return gateway_test_ask(test, key, line, NULL);
}

/* Where the last answer ends: "?wait_ms=…&after=…". */
static void read_next(const struct gateway_test *test, const char *options, char query[256])
{
    char next[64];
    const char *found = strstr(test->body, "\"next\":\"");
    assert_non_null(found);
    assert_int_equal(sscanf(found, "\"next\":\"%63[0-9.]\"", next), 1);
    snprintf(query, 256, "?%s&after=%s", options, next);
}

static void push(struct gateway_test *test, const char *json)
{
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "POST /v1/users/42/messages", json), 202);
}

/* Asks for all since the query's `after` until this is in it: positions come between, when they
 * like. */
static const char *ask_until(struct gateway_test *test, const struct gateway_test_client *client,
                             const char *query, const char *part)
{
    uint64_t ends_ms = clock_monotonic_ms() + GATEWAY_TEST_WAIT_MS;
    do {
        assert_true(clock_monotonic_ms() < ends_ms);
        assert_int_equal(ask(test, KEY_READ, client->sid, query), 200);
    } while (!strstr(test->body, part));
    return strstr(test->body, part);
}

static void a_watch_shows_what_comes_and_goes_from_its_start_on(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    char query[256];
    gateway_test_open(test, &client, "shop", "42", "[]");
    push(test, "\"before\"");
    gateway_test_gets(&client, "before");
    assert_int_equal(ask(test, KEY_READ, client.sid, ""), 200);
    gateway_test_says(test, "{\"sid\":\"s_");
    gateway_test_says(test, "\"frames\":[],\"missed\":0,\"next\":\"");
    gateway_test_says(test, ".0\",\"lease_ms\":10000}");
    read_next(test, "", query);
    push(test, "{\"a\":\"<b>\"}");
    gateway_test_gets(&client, "<b>");
    gateway_test_tell(&client,
                      "{\"t\":\"join\",\"re\":7,\"g\":\"room:1\",\"token\":\"eyJsecret\"}");
    gateway_test_gets(&client, "\"ok\"");
    const char *ok = ask_until(test, &client, query, "{\\\"t\\\":\\\"ok\\\",\\\"re\\\":7}");
    const char *message = strstr(test->body, "\\\"data\\\":{\\\"a\\\":\\\"<b>\\\"}}\"}");
    const char *join = strstr(test->body, "\"direction\":\"in\",\"op\":\"text\",\"bytes\":52,");
    assert_true(message && join && message < join && join < ok);
    gateway_test_says(test, "{\"n\":1,\"at_ms\":1");
    gateway_test_says(test, "\"direction\":\"out\",\"op\":\"text\",\"bytes\":");
    gateway_test_says(test, "\"hidden\":true}");
    assert_null(strstr(test->body, "eyJsecret"));
    read_next(test, "limit=1", query);
    ask_until(test, &client, query, "\"frames\":[");
    assert_null(strstr(test->body, "<b>"));
    gateway_test_close(&client);
}

/* The answer comes with the frame, long before the wait is over. */
static void who_waits_is_answered_by_the_next_frame(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    char query[256];
    char request[1024];
    gateway_test_open_on(test, &client, 1, "42", "[]");
    assert_int_equal(ask(test, KEY_READ, client.sid, ""), 200);
    read_next(test, "wait_ms=30000", query);
    uint64_t start_ms = clock_monotonic_ms();
    snprintf(request, sizeof(request),
             "GET /v1/sessions/%s/frames%s HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n"
             "Authorization: Bearer %s\r\n\r\n",
             client.sid, query, KEY_READ);
    int fd = gateway_test_connect(test->port);
    gateway_test_send(fd, str_of(request));
    push(test, "\"now\"");
    struct buf answer = {0};
    while (gateway_test_read(test, fd, &answer)) {
    }
    assert_non_null(strstr(buf_cstr(&answer), "{\"n\":1,"));
    assert_in_range(clock_monotonic_ms() - start_ms, 0, 15000);
    buf_fini(&answer);
    close(fd);
    gateway_test_close(&client);
}

static void a_wait_without_a_frame_ends_in_its_time(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    char query[256];
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(ask(test, KEY_READ, client.sid, ""), 200);
    read_next(test, "wait_ms=20", query);
    assert_int_equal(ask(test, KEY_READ, client.sid, query), 200);
    gateway_test_says(test, ",\"missed\":0,");
    gateway_test_close(&client);
}

static void the_end_of_the_session_is_told(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    char query[256];
    char line[128];
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(ask(test, KEY_READ, client.sid, ""), 200);
    read_next(test, "wait_ms=5000", query);
    snprintf(line, sizeof(line), "DELETE /v1/sessions/%s", client.sid);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, line, NULL), 200);
    assert_false(gateway_test_next(&client));
    ask_until(test, &client, query, "\"closed\"");
    gateway_test_says(test, "\"op\":\"close\",\"bytes\":0,\"code\":4000}");
    gateway_test_says(test, "\"closed\":{\"by\":\"gateway\",\"code\":4000,\"reason\":\"kicked\"}}");
    read_next(test, "wait_ms=5000", query);
    assert_int_equal(ask(test, KEY_READ, client.sid, query), 200); /* at once, and again */
    gateway_test_says(test, "\"frames\":[],");
    gateway_test_says(test, "\"reason\":\"kicked\"}}");
    gateway_test_close(&client);
}

static void who_asks_wrongly_is_refused(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    gateway_test_open(test, &client, "shop", "42", "[]");
    const char *const wrong[][2] = {
        {"?after=7", "invalid_after"},      {"?after=x.1", "invalid_after"},
        {"?after=1.", "invalid_after"},     {"?limit=257", "invalid_limit"},
        {"?wait_ms=-1", "invalid_wait_ms"}, {"?wait_ms=30001", "invalid_wait_ms"}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(ask(test, KEY_READ, client.sid, wrong[i][0]), 422);
        gateway_test_says_code(test, wrong[i][1]);
    }
    assert_int_equal(ask(test, KEY_READ, client.sid, "?after=1.5"), 410); /* it begins none */
    assert_int_equal(ask(test, KEY_PUSH, client.sid, ""), 403);
    assert_int_equal(ask(test, KEY_ADMIN, client.sid, ""), 403); /* sees all apps, and no data */
    assert_int_equal(ask(test, KEY_ADMIN, client.sid, "?app=other"), 403);
    assert_int_equal(ask(test, KEY_OTHER, client.sid, ""), 404);
    assert_int_equal(ask(test, KEY_READ, "s_AQAAAAAAAAAAAAAAAAAAAAAAAAAA", ""), 404);
    assert_int_equal(ask(test, KEY_READ, client.sid, ""), 200);
    assert_int_equal(ask(test, KEY_OTHER, client.sid, ""), 404); /* nor once it is watched */
    assert_int_equal(ask(test, KEY_READ, client.sid, "?after=1.5"), 410); /* of another watch */
    gateway_test_says_code(test, "watch_over");
    assert_int_equal(ask(test, KEY_OTHER, client.sid, "?after=1.5"), 404);
    gateway_test_close(&client);
}

static void one_worker(struct settings *settings)
{
    settings->workers = 1;
}

static int setup_one_worker(void **state)
{
    return gateway_test_setup_tuned(state, one_worker);
}

static void one_watch_too_many_is_429(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client clients[WATCHES_MAX + 1];
    for (int i = 0; i <= WATCHES_MAX; i++) {
        gateway_test_open(test, &clients[i], "shop", "42", "[]");
        assert_int_equal(ask(test, KEY_READ, clients[i].sid, ""), i < WATCHES_MAX ? 200 : 429);
    }
    gateway_test_says_code(test, "too_many_watches");
    gateway_test_has_header(test, "Retry-After: 10");
    for (int i = 0; i <= WATCHES_MAX; i++) {
        gateway_test_close(&clients[i]);
    }
}

/* The gateway ends while somebody waits: the teardown finds nothing left. */
static void a_wait_does_not_hold_up_the_end(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    char query[256];
    char request[1024];
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(ask(test, KEY_READ, client.sid, ""), 200);
    read_next(test, "wait_ms=30000", query);
    snprintf(request, sizeof(request),
             "GET /v1/sessions/%s/frames%s HTTP/1.1\r\nHost: localhost\r\n"
             "Authorization: Bearer %s\r\n\r\nGET /v1/nothing HTTP/1.1\r\n\r\n",
             client.sid, query, KEY_READ);
    int fd = gateway_test_connect(test->port);
    gateway_test_send(fd, str_of(request));
    assert_int_equal(ask(test, KEY_READ, client.sid, ""), 200); /* behind it */
    close(fd);
    gateway_test_close(&client);
}

/* What fails may be the session's own, and end it: then there is another one. */
static int ask_of_living(struct gateway_test *test, struct gateway_test_client *client)
{
    char line[256];
    snprintf(line, sizeof(line), "GET /v1/sessions/%s/frames?wait_ms=1", client->sid);
    int status = gateway_test_ask(test, KEY_ALL, line, NULL);
    if (status == 404) {
        gateway_test_fail_nth(test, 0, 0);
        gateway_test_close(client);
        gateway_test_open(test, client, "shop", "42", "[]");
    }
    return status;
}

static void every_failed_allocation_of_a_watch_is_survived(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    unsigned long nth = 0;
    unsigned refused = 0;
    bool was_enough = false;
    gateway_test_open(test, &client, "shop", "42", "[]");
    while (!was_enough) {
        assert_in_range(++nth, 1, 500);
        gateway_test_fail_nth(test, 0, nth);
        int status = ask_of_living(test, &client);
        was_enough = status != 404 && gateway_test_fail_nth(test, 0, 0);
        refused += status != 200;
        assert_true(status == 200 || status == 404 || status == 503 || status == 0);
        if ((status = ask_of_living(test, &client)) == 404) {
            status = ask_of_living(test, &client);
        }
        assert_int_equal(status, 200);
    }
    assert_true(refused > 0);
    gateway_test_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TUNED(name, setup) cmocka_unit_test_setup_teardown(name, setup, gateway_test_teardown)
        GATEWAY_TEST(a_watch_shows_what_comes_and_goes_from_its_start_on),
        GATEWAY_TEST(who_waits_is_answered_by_the_next_frame),
        GATEWAY_TEST(a_wait_without_a_frame_ends_in_its_time),
        GATEWAY_TEST(the_end_of_the_session_is_told),
        GATEWAY_TEST(who_asks_wrongly_is_refused),
        TUNED(one_watch_too_many_is_429, setup_one_worker),
        GATEWAY_TEST(a_wait_does_not_hold_up_the_end),
        TUNED(every_failed_allocation_of_a_watch_is_survived, setup_one_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
