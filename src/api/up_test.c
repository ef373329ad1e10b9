#include "api/up.h"

#include "api/gateway_test_help.h"
#include "proto/base64.h"

#define UP "POST /v1/up?app=shop"
#define HELLO "{\"t\":\"hello\",\"v\":1}"

/* Reads the stream until it has this part. */
static void gets(struct gateway_test_client *client, const char *part)
{
    while (!strstr(buf_cstr(&client->in), part)) {
        assert_true(gateway_test_read(client->test, client->fd, &client->in));
    }
}

static void open_stream(struct gateway_test *test, struct gateway_test_client *client,
                        const char *user)
{
    char hello[64];
    char request[512];
    size_t len = base64_encode(hello, HELLO, strlen(HELLO), BASE64_URL);
    *client = (struct gateway_test_client){.test = test};
    client->fd = gateway_test_connect(test->gateway->client_addr.port);
    snprintf(request, sizeof(request),
             "GET /v1/sse?app=shop&hello=%.*s HTTP/1.1\r\nHost: localhost\r\nX-User: %s\r\n\r\n",
             (int)len, hello, user);
    gateway_test_send(client->fd, str_of(request));
    gets(client, "\"ping_ms\"");
    snprintf(client->sid, sizeof(client->sid), "%s", strstr(buf_cstr(&client->in), "\"s_") + 1);
}

/* As that user; the client listener is asked. */
static int say(struct gateway_test *test, const char *sid, const char *user, const char *headers,
               const char *body)
{
    char all[512];
    snprintf(all, sizeof(all), "%s%s%s%s%s%s%s", *sid ? "Tidegate-Session: " : "", sid,
             *sid ? "\r\n" : "", *user ? "X-User: " : "", user, *user ? "\r\n" : "", headers);
    test->port = test->gateway->client_addr.port;
    int status = gateway_test_ask_with(test, NULL, UP, all, body);
    test->port = test->gateway->api_addr.port;
    return status;
}

static void what_a_client_says_is_answered_on_its_stream(void **state)
{
    struct gateway_test_client client;
    open_stream(*state, &client, "42");
    for (int i = 1; i <= 8; i++) { /* whichever worker takes the request */
        char frame[64];
        char answer[32];
        snprintf(frame, sizeof(frame), "{\"t\":\"join\",\"re\":%d,\"g\":\"room:1\"}", i);
        snprintf(answer, sizeof(answer), "{\"t\":\"ok\",\"re\":%d}", i);
        assert_int_equal(say(*state, client.sid, "42", "", frame), 202);
        gateway_test_says(*state, "{}");
        gets(&client, answer);
    }
    gateway_test_close(&client);
}

static void a_session_is_found_before_anything_else_is_looked_at(void **state)
{
    static const char other[] = "Tidegate-Session: x\r\n";
    assert_int_equal(say(*state, "", "42", "", "{}"), 400);
    gateway_test_says_code(*state, "session_required");
    assert_int_equal(say(*state, "x", "42", other, "{}"), 400);
    assert_int_equal(say(*state, "s_AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "42", "", "{"), 404);
    gateway_test_says_code(*state, "session_not_found");
}

static void who_is_not_its_user_is_refused(void **state)
{
    struct gateway_test_client client;
    open_stream(*state, &client, "42");
    assert_int_equal(say(*state, client.sid, "43", "", "{\"t\":\"x\"}"), 403);
    gateway_test_says_code(*state, "not_your_session");
    assert_int_equal(say(*state, client.sid, "", "", "{\"t\":\"x\"}"), 403);
    assert_int_equal(say(*state, client.sid, "42", "", "{\"t\":\"x\"}"), 202);
    gateway_test_close(&client);
}

static void a_websocket_speaks_for_itself(void **state)
{
    struct gateway_test_client client;
    gateway_test_open(*state, &client, "shop", "42", "[]");
    assert_int_equal(say(*state, client.sid, "42", "", "{\"t\":\"x\"}"), 409);
    gateway_test_says_code(*state, "no_upstream");
    gateway_test_close(&client);
}

static void only_frames_are_taken(void **state)
{
    struct gateway_test_client client;
    static const char *const bad[] = {
        "", "{", "[]", "7", "{}", "[{\"t\":\"x\"},7]", "{\"t\":\"x\",\"t\":\"x\"}", HELLO};
    open_stream(*state, &client, "42");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(say(*state, client.sid, "42", "", bad[i]), 422);
        gateway_test_says_code(*state, "invalid_frame");
    }
    assert_int_equal(say(*state, client.sid, "42", "Content-Encoding: br\r\n", "{\"t\":\"x\"}"),
                     415);
    assert_int_equal(say(*state, client.sid, "42", "", "[{\"t\":\"x\"}]"), 202);
    gateway_test_close(&client);
}

static void a_ticket_in_the_query_is_looked_at_and_forgotten(void **state)
{
    struct gateway_test *test = *state;
    test->port = test->gateway->client_addr.port;
    assert_int_equal(gateway_test_ask(test, NULL, "POST /v1/up?ticket=none", "{}"), 401);
    gateway_test_says_code(test, "ticket_invalid");
}

static void another_method_is_405(void **state)
{
    struct gateway_test *test = *state;
    test->port = test->gateway->client_addr.port;
    assert_int_equal(gateway_test_ask(test, NULL, "GET /v1/up?app=shop", NULL), 405);
    gateway_test_has_header(test, "Allow: POST, OPTIONS");
    assert_int_equal(gateway_test_ask(test, NULL, "POST /v1/up", "{}"), 400);
    gateway_test_says_code(test, "app_required");
}

static void tune_origins(struct settings *settings)
{
    static struct str good[] = {{"https://good.example", 20}};
    settings->workers = 1;
    settings->apps[0].origins = good;
    settings->apps[0].origin_count = 1;
}

static int setup_origins(void **state)
{
    return gateway_test_setup_tuned(state, tune_origins);
}

#define GOOD_ORIGIN "Origin: https://good.example\r\n"

static void a_page_may_read_every_refusal(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    bool was_short = false;
    test->port = test->gateway->client_addr.port;
    assert_int_equal(gateway_test_ask_with(test, NULL, "GET /v1/up?app=shop", GOOD_ORIGIN, NULL),
                     405);
    gateway_test_has_header(test, "Access-Control-Allow-Origin: https://good.example");
    open_stream(test, &client, "42");
    for (unsigned long nth = 1; nth < 40; nth++) {
        gateway_test_fail_nth(test, 0, nth);
        int status = say(test, client.sid, "42", GOOD_ORIGIN, "{\"t\":\"x\"}");
        gateway_test_fail_nth(test, 0, 0);
        if (status == 503 && strstr(test->body, "\"overloaded\"")) {
            gateway_test_has_header(test, "Access-Control-Allow-Origin: https://good.example");
            gateway_test_has_header(test, "Retry-After: 1");
            was_short = true;
        }
    }
    assert_true(was_short);
    gateway_test_close(&client);
}

/* What another node sends: with bytes of its own making nobody speaks for anybody. */
static void ask_forged(struct gateway_test_job *job, struct worker *worker)
{
    struct gateway_test_client *client = job->user;
    struct gather gather = {.asker = worker};
    char name[256];
    int len = snprintf(name, sizeof(name), "%s42\n{\"t\":\"x\"} and some bytes more of a seal",
                       client->sid);
    gather.name = str_make(name, (size_t)len);
    struct gather_part part = {.gather = &gather, .worker = worker};
    up_kind.ask(&part);
    assert_int_equal(part.counts[0], 0);
    gather.name = str_make(name, 3);
    up_kind.ask(&part);
    assert_int_equal(part.counts[0], 0);
    assert_int_equal(up_kind.pick_worker(worker->gateway, gather.name), GATHER_ALL);
    gateway_test_job_end(job);
}

static void what_has_no_seal_is_not_taken(void **state)
{
    struct gateway_test_client client;
    open_stream(*state, &client, "42");
    gateway_test_run(*state, gateway_test_worker_of(&client), ask_forged, &client);
    gateway_test_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(what_a_client_says_is_answered_on_its_stream),
        GATEWAY_TEST(a_session_is_found_before_anything_else_is_looked_at),
        GATEWAY_TEST(who_is_not_its_user_is_refused),
        GATEWAY_TEST(a_websocket_speaks_for_itself),
        GATEWAY_TEST(only_frames_are_taken),
        GATEWAY_TEST(a_ticket_in_the_query_is_looked_at_and_forgotten),
        GATEWAY_TEST(another_method_is_405),
        cmocka_unit_test_setup_teardown(a_page_may_read_every_refusal, setup_origins,
                                        gateway_test_teardown),
        GATEWAY_TEST(what_has_no_seal_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
