/* Sessions over an event stream, from the request to the end of the response. */
#include "proto/base64.h"
#include "server/connect_private.h"
#include "server/test_gateway.h"
#include "server/ws_protocol.h"

#define HELLO "{\"t\":\"hello\",\"v\":1}"

static struct test_gateway t;

static int start(void **state)
{
    test_gateway_init(&t);
    test_gateway_start(&t, NULL);
    return 0;
}

static int stop(void **state)
{
    test_gateway_turn(&t, TEST_TURNS);
    assert_int_equal(admission_sessions(&t.gateway->admission), 0);
    test_gateway_stop(&t);
    return 0;
}

static int ask(struct test_client *client, const char *method, const char *target,
               const char *headers)
{
    char request[4096];
    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n", method, target,
             headers);
    return test_client_ask(client, request);
}

/* What the answer has come to so far is in text. */
static struct test_client *open_stream(const char *query, const char *headers)
{
    char target[2048];
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    snprintf(target, sizeof(target), "/v1/sse%s", query);
    assert_int_equal(ask(client, "GET", target, headers), 200);
    return client;
}

static const char *hello_query(const char *hello)
{
    static char query[1024];
    size_t len = (size_t)snprintf(query, sizeof(query), "?hello=");
    len += base64_encode(query + len, hello, strlen(hello), BASE64_URL);
    query[len] = '\0';
    return query;
}

static void expect_part(struct test_client *client, const char *part)
{
    if (!strstr(client->text, part)) {
        print_error("expected %s in %s\n", part, client->text);
        fail();
    }
}

/* What has come since the last look; "" when nothing. */
static const char *take(struct test_client *client)
{
    test_client_read(client);
    test_client_keep(client, 0, client->in_len);
    return client->text;
}

static bool has_ended(struct test_client *client)
{
    char byte;
    return recv(client->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

static void expect_refusal(const char *query, const char *headers, int status, const char *code)
{
    char target[2048];
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    snprintf(target, sizeof(target), "/v1/sse%s", query);
    assert_int_equal(ask(client, "GET", target, headers), status);
    expect_part(client, code);
    test_client_destroy(client);
}

/* The id of the last event that has one. */
static const char *last_id(const char *text)
{
    static char header[2200];
    const char *at = NULL;
    for (const char *next = strstr(text, "id: "); next; next = strstr(next + 1, "id: ")) {
        at = next;
    }
    assert_non_null(at);
    snprintf(header, sizeof(header), "Last-Event-ID: %.*s\r\n", (int)strcspn(at + 4, "\n"), at + 4);
    return header;
}

static void the_answer_is_an_event_stream_that_nobody_may_keep(void **state)
{
    struct test_client *client = open_stream("", "");
    expect_part(client, "Content-Type: text/event-stream\r\n");
    expect_part(client, "Cache-Control: no-store, no-transform\r\n");
    expect_part(client, "X-Accel-Buffering: no\r\n");
    expect_part(client, "Connection: close\r\n");
    expect_part(client, "\nretry: ");
    assert_true(client->len > 2048); /* the padding */
    test_client_destroy(client);
}

static void a_raw_stream_gets_what_is_pushed_to_its_groups(void **state)
{
    struct test_client *client = open_stream("?group=room:1", "");
    test_push(&t, TARGET_GROUP, "room:1", STR("two\r\nlines"));
    const char *text = take(client);
    assert_non_null(strstr(text, "\ndata: two\ndata: lines\n\n"));
    test_client_destroy(client);
    client = open_stream("?group=closed", "");
    expect_part(client,
                "event: close\nretry: 3600000\ndata: {\"code\":4003,\"reason\":\"forbidden\"}\n\n");
    assert_true(has_ended(client));
    test_client_destroy(client);
}

static void a_hello_makes_it_a_session_of_the_protocol(void **state)
{
    struct test_client *client = open_stream(
        hello_query("{\"t\":\"hello\",\"v\":1,\"groups\":[\"room:1\"]}"), "");
    expect_part(client, "data: {\"t\":\"welcome\"");
    test_push(&t, TARGET_GROUP, "room:1", STR("hi"));
    assert_non_null(strstr(take(client), "\ndata: {\"t\":\"msg\",\"id\":\"m1\""));
    test_client_destroy(client);
    client = open_stream(hello_query("{\"t\":\"hello\",\"v\":2}"), "");
    expect_part(client, "{\"code\":4002,\"reason\":\"bad_frame\"}");
    test_client_destroy(client);
}

static void what_is_no_hello_is_refused_and_no_session_made(void **state)
{
    expect_refusal("?hello=%%", "", 400, "bad_hello");
    expect_refusal("?hello=e30=", "", 400, "bad_hello");
    expect_refusal("?hello=e30", "", 400, "bad_hello"); /* {} */
    expect_refusal(hello_query("[]"), "", 400, "bad_hello");
    expect_refusal(hello_query("{\"t\":\"join\"}"), "", 400, "bad_hello");
    expect_refusal(hello_query("{\"t\":\"hello\",\"v\":1,\"token\":\"x\"}"), "", 400,
                   "secret_in_url");
    expect_refusal(hello_query("{\"t\":\"hello\",\"v\":1,\"grants\":[]}"), "", 400,
                   "secret_in_url");
    expect_refusal("?poll_ms=99", "", 400, "bad_poll");
    expect_refusal("?poll_ms=300001", "", 400, "bad_poll");
    expect_refusal("?poll_ms=", "", 400, "bad_poll");
    expect_refusal("?hello=&poll_ms=1000", "", 400, "bad_poll");
    expect_refusal("", "Last-Event-ID: 17\r\n", 400, "bad_last_event_id");
    expect_refusal("?last_event_id=17", "", 400, "bad_last_event_id");
    expect_refusal("?last_event_id=AQFlAAAA&last_event_id=AQFlAAAA", "", 400, "bad_last_event_id");
    expect_refusal("", "Last-Event-ID: AQFlAAAA\r\nLast-Event-ID: AQFlAAAA\r\n", 400,
                   "bad_last_event_id");
    assert_int_equal(admission_sessions(&t.gateway->admission), 0);
}

static void who_may_connect_is_checked_as_for_a_websocket(void **state)
{
    expect_refusal("?app=nobody", "", 404, "app_unknown");
    expect_refusal("", "Authorization: Bearer a.b.c\r\n", 401, "unauthorized");
    expect_refusal("", "Origin: https://evil.example\r\n", 403, "origin_refused");
    t.settings->limits.sessions = 1;
    struct test_client *first = open_stream("", "");
    expect_refusal("", "", 503, "session_limit");
    test_client_destroy(first);
    t.apps[0].auth.anonymous = false; /* no hello comes later that could bring a token */
    expect_refusal(hello_query(HELLO), "", 401, "unauthorized");
    expect_refusal("", "", 401, "unauthorized");
}

static void a_page_of_an_allowed_origin_is_told_that_it_may(void **state)
{
    struct str good[] = {STR("https://good.example")};
    t.apps[0].origins = good;
    t.apps[0].origin_count = 1;
    struct test_client *client = open_stream("", "Origin: https://good.example\r\n");
    expect_part(client, "Access-Control-Allow-Origin: https://good.example\r\n");
    expect_part(client, "Access-Control-Allow-Credentials: true\r\n");
    expect_part(client, "Vary: Origin\r\n");
    test_client_destroy(client);
    client = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(ask(client, "OPTIONS", "/v1/sse", "Origin: https://good.example\r\n"), 204);
    expect_part(client, "Access-Control-Allow-Methods: GET\r\n");
    expect_part(client, "Access-Control-Allow-Headers: Authorization, ");
    assert_int_equal(ask(client, "OPTIONS", "/v1/sse", "Origin: https://evil.example\r\n"), 403);
    assert_null(strstr(client->text, "Access-Control"));
    test_client_destroy(client);
    /* a refusal can be read, too */
    client = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(ask(client, "GET", "/v1/sse?hello=x", "Origin: https://good.example\r\n"),
                     400);
    expect_part(client, "Access-Control-Allow-Origin: https://good.example\r\n");
    test_client_destroy(client);
}

static void another_method_is_405(void **state)
{
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(ask(client, "POST", "/v1/sse", "Content-Length: 0\r\n"), 405);
    expect_part(client, "Allow: GET, OPTIONS\r\n");
    test_client_destroy(client);
    struct str good[] = {STR("https://good.example")};
    t.apps[0].origins = good;
    t.apps[0].origin_count = 1;
    client = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(
        ask(client, "POST", "/v1/sse", "Origin: https://good.example\r\nContent-Length: 0\r\n"),
        405);
    expect_part(client, "Access-Control-Allow-Origin: https://good.example\r\n");
    expect_part(client, "Allow: GET, OPTIONS\r\n");
    test_client_destroy(client);
}

static void what_came_after_the_last_id_is_sent_first(void **state)
{
    struct test_client *client = open_stream("?group=room:1", "");
    test_push(&t, TARGET_GROUP, "room:1", STR("seen"));
    const char *back = last_id(take(client));
    test_client_destroy(client);
    test_push(&t, TARGET_GROUP, "room:1", STR("missed"));
    client = open_stream("?group=room:1", back);
    expect_part(client, "data: missed\n");
    assert_null(strstr(client->text, "data: seen"));
    back = last_id(client->text);
    test_client_destroy(client);
    client = open_stream("?group=room:1", back); /* the id of a replayed one is as good */
    assert_null(strstr(client->text, "missed"));
    test_client_destroy(client);
}

static void the_last_id_may_stand_in_the_query_of_a_page_that_begins_anew(void **state)
{
    char query[2200];
    struct test_client *client = open_stream("?group=room:1", "");
    snprintf(query, sizeof(query), "?group=room:1&last_event_id=%s", last_id(client->text) + 15);
    query[strcspn(query, "\r")] = '\0';
    test_client_destroy(client);
    test_push(&t, TARGET_GROUP, "room:1", STR("missed"));
    client = open_stream(query, "");
    expect_part(client, "data: missed\n");
    const char *newer = last_id(client->text);
    test_client_destroy(client);
    client = open_stream(query, newer); /* the header counts */
    assert_null(strstr(client->text, "missed"));
    test_client_destroy(client);
}

static enum ws_up say(const struct sid *sid, uint16_t app, const char *user, const char *text)
{
    return ws_protocol_take_up(t.worker, sid, app, &(struct ws_speaker){.user = str_of(user)},
                               str_of(text));
}

/* With a credential that says who it is. */
static enum ws_up say_as(const struct sid *sid, const char *user, const char *token,
                         const char *text)
{
    struct ws_speaker speaker = {
        .user = str_of(user), .has_credential = true, .token = str_of(token)};
    return ws_protocol_take_up(t.worker, sid, 0, &speaker, str_of(text));
}

static struct session *await_hello(struct test_client **out_client, struct sid *out_sid)
{
    *out_client = open_stream("?hello=", "");
    expect_part(*out_client, "event: session\n");
    struct session *session = shard_session_at(t.worker->shard, 1);
    shard_session_sid(t.worker->shard, session, out_sid);
    return session;
}

static void whose_credential_comes_with_a_later_hello_is_its_user(void **state)
{
    struct test_client *client;
    struct sid sid;
    struct session *session = await_hello(&client, &sid);
    assert_int_equal(say_as(&sid, "7", "", "{\"t\":\"x\"}"), WS_UP_EARLY);
    assert_int_equal(shard_session_user(t.worker->shard, session).len, 0);
    assert_int_equal(say_as(&sid, "7", "", HELLO), WS_UP_TAKEN);
    test_gateway_turn(&t, TEST_TURNS);
    assert_non_null(strstr(take(client), "\"user\":\"7\""));
    assert_int_equal(say_as(&sid, "8", "", "{\"t\":\"x\"}"), WS_UP_FOREIGN);
    assert_int_equal(say(&sid, 0, "", "{\"t\":\"x\"}"), WS_UP_FOREIGN);
    assert_int_equal(say_as(&sid, "7", "", "{\"t\":\"x\"}"), WS_UP_TAKEN);
    test_client_destroy(client);
}

static void a_session_that_said_hello_without_one_stays_anonymous(void **state)
{
    struct test_client *client;
    struct sid sid;
    await_hello(&client, &sid);
    assert_int_equal(say(&sid, 0, "", HELLO), WS_UP_TAKEN);
    assert_int_equal(say_as(&sid, "7", "", "{\"t\":\"x\"}"), WS_UP_FOREIGN);
    test_client_destroy(client);
}

/* It was good where it was shown; here it is checked again. */
static void a_token_that_is_no_good_here_ends_the_session(void **state)
{
    struct test_client *client;
    struct sid sid;
    await_hello(&client, &sid);
    assert_int_equal(say_as(&sid, "7", "a.b.c", HELLO), WS_UP_TAKEN);
    test_gateway_turn(&t, TEST_TURNS);
    assert_null(strstr(take(client), "welcome"));
    assert_true(has_ended(client));
    test_client_destroy(client);
}

static void a_hello_may_come_later(void **state)
{
    struct test_client *client = open_stream("?hello=", "Last-Event-ID: AQFlAAAA\r\n");
    expect_part(client, "event: session\ndata: {\"sid\":\"s_");
    assert_null(strstr(client->text, "welcome"));
    struct session *session = shard_session_at(t.worker->shard, 1);
    struct sid sid;
    shard_session_sid(t.worker->shard, session, &sid);
    assert_int_equal(say(&sid, 0, "", "{\"t\":\"x\"}"), WS_UP_EARLY);
    assert_int_equal(say(&sid, 1, "", HELLO), WS_UP_GONE);
    assert_int_equal(say(&sid, 0, "7", HELLO), WS_UP_FOREIGN);
    assert_int_equal(say(&sid, 0, "", HELLO), WS_UP_TAKEN);
    test_gateway_turn(&t, TEST_TURNS);
    const char *text = take(client);
    assert_non_null(strstr(text, "\"resumed\":\"none\""));
    assert_non_null(strstr(text, "\"why\":\"epoch\"")); /* the header was kept for it */
    assert_int_equal(say(&sid, 0, "", HELLO), WS_UP_BAD);
    test_client_destroy(client);
}

static void an_id_of_another_history_is_a_gap_by_name(void **state)
{
    struct test_client *client = open_stream("", "Last-Event-ID: AQFlAAAA\r\n");
    expect_part(client, "event: gap\ndata: {\"t\":\"gap\",\"q\":\"*\",\"why\":\"epoch\"");
    test_client_destroy(client);
}

static void the_header_counts_before_the_resume_of_the_hello(void **state)
{
    struct test_client *client = open_stream(
        hello_query("{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"x\",\"pos\":{}}}"), "");
    expect_part(client, "\"why\":\"epoch\"");
    test_client_destroy(client);
    client = open_stream("", "");
    const char *here = last_id(client->text);
    test_client_destroy(client);
    client = open_stream(
        hello_query("{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"x\",\"pos\":{}}}"), here);
    expect_part(client, "\"resumed\":\"full\"");
    test_client_destroy(client);
}

static void nobody_is_told_to_wait_for_longer_than_30_s(void **state)
{
    unsigned long longest = 0;
    t.gateway->admission.sessions += 1000000; /* at one a second: a base of 10 s */
    t.settings->limits.accept_rate = 1000;
    for (int i = 0; i < 8; i++) {
        struct test_client *client = open_stream("", "");
        expect_part(client, "\nretry: ");
        unsigned long ms = strtoul(strstr(client->text, "\nretry: ") + 8, NULL, 10);
        assert_in_range(ms, 10000, 30000);
        longest = ms > longest ? ms : longest;
        test_client_destroy(client);
    }
    assert_true(longest > 15000); /* and it is spread */
    t.gateway->admission.sessions -= 1000000;
}

static void a_poll_ends_when_it_has_said_something(void **state)
{
    struct test_client *client = open_stream("?group=room:1&poll_ms=60000", "");
    expect_part(client, "retry: 250\n\n");
    assert_true(client->len < 1024); /* no padding */
    assert_false(has_ended(client));
    test_push(&t, TARGET_GROUP, "room:1", STR("hi"));
    const char *text = take(client);
    assert_non_null(strstr(text, "data: hi\n\n"));
    assert_null(strstr(text, "event: close"));
    test_gateway_turn(&t, TEST_TURNS);
    assert_true(has_ended(client));
    const char *back = last_id(text);
    test_client_destroy(client);
    test_push(&t, TARGET_GROUP, "room:1", STR("missed"));
    client = open_stream("?group=room:1&poll_ms=60000", back);
    expect_part(client, "data: missed\n\n");
    test_gateway_turn_for(&t, 150);
    assert_true(has_ended(client)); /* a replay counts, once all of it is out */
    test_client_destroy(client);
}

static void an_answer_ends_a_poll_too_and_a_welcome_does_not(void **state)
{
    char query[1100];
    snprintf(query, sizeof(query), "%s&poll_ms=60000",
             hello_query("{\"t\":\"hello\",\"v\":1,\"groups\":[\"closed\"]}"));
    struct test_client *client = open_stream(query, "");
    test_gateway_turn(&t, TEST_TURNS);
    expect_part(client, "\"code\":\"forbidden\"");
    expect_part(client, "\"welcome\"");
    assert_false(has_ended(client));
    struct sid sid;
    shard_session_sid(t.worker->shard, shard_session_at(t.worker->shard, 1), &sid);
    assert_int_equal(say(&sid, 0, "", "{\"t\":\"leave\",\"re\":1,\"g\":\"x\"}"), WS_UP_TAKEN);
    test_gateway_turn(&t, TEST_TURNS);
    assert_non_null(strstr(take(client), "\"code\":\"not_found\""));
    assert_true(has_ended(client));
    test_client_destroy(client);
}

static void a_poll_with_nothing_to_say_ends_in_time(void **state)
{
    struct test_client *client = open_stream("?poll_ms=100", "");
    test_gateway_turn_for(&t, 200);
    assert_string_equal(take(client), "");
    assert_true(has_ended(client));
    test_client_destroy(client);
}

static void pings_show_that_the_stream_lives(void **state)
{
    t.settings->heartbeat.interval_ms = 50;
    struct test_client *raw = open_stream("", "");
    struct test_client *v1 = open_stream(hello_query(HELLO), "");
    test_gateway_turn_for(&t, 300); /* nobody answers them, and nobody is closed */
    assert_non_null(strstr(take(raw), ": ping\n\n: ping\n\n"));
    assert_non_null(strstr(take(v1), "event: ping\ndata: \n\nevent: ping\n"));
    assert_false(has_ended(raw));
    test_client_destroy(raw);
    test_client_destroy(v1);
}

static void a_client_that_does_not_read_is_closed(void **state)
{
    char big[60000];
    memset(big, 'x', sizeof(big));
    t.settings->limits.session_queue_bytes = 200000;
    struct test_client *client = open_stream("?group=room:1", "");
    for (int i = 0; i < 200 && admission_sessions(&t.gateway->admission); i++) {
        test_push(&t, TARGET_GROUP, "room:1", str_make(big, sizeof(big)));
        if (shard_group_size(t.worker->shard, 0, STR("room:1")) == 0) {
            break;
        }
    }
    assert_int_equal(shard_group_size(t.worker->shard, 0, STR("room:1")), 0);
    test_client_destroy(client);
}

static void one_that_talks_behind_its_request_is_not_heard_and_at_last_closed(void **state)
{
    t.settings->limits.messages_per_second = 1;
    t.settings->limits.message_burst = 3;
    struct test_client *client = open_stream("", "");
    take(client);
    test_client_write(client, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_string_equal(take(client), "");
    for (int i = 0; i < 4; i++) {
        test_client_write(client, "x", 1);
    }
    assert_non_null(strstr(take(client), "\"reason\":\"rate_limited\""));
    test_client_destroy(client);
}

static void a_session_ends_with_its_code_and_then_the_response(void **state)
{
    struct test_client *client = open_stream("?group=room:1", "");
    take(client);
    struct session *session = shard_session_at(t.worker->shard, 1);
    ws_session_doom(t.worker, session, WS_CLOSE_SLOW);
    test_gateway_turn(&t, TEST_TURNS);
    assert_string_equal(take(client), "event: close\nretry: 30000\n"
                                      "data: {\"code\":4101,\"reason\":\"slow_consumer\"}\n\n");
    assert_true(has_ended(client));
    test_client_destroy(client);
}

static void a_request_behind_unanswered_ones_can_t_become_a_stream(void **state)
{
    t.settings->debug.echo = false;
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(test_client_ask(client, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
                                             "GET /v1/sse HTTP/1.1\r\nHost: a\r\n\r\n"),
                     404);
    expect_part(client, "stream_pipelined");
    test_client_destroy(client);
}

static void run_out_of_memory(const char *target)
{
    bool went_through = false;
    for (unsigned long n = 1; !went_through; n++) {
        assert_true(n < 1000);
        struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
        mem_fail_nth(n);
        (void)ask(client, "GET", target, "Last-Event-ID: AQFlAAAA\r\n");
        test_push(&t, TARGET_GROUP, "room:1", STR("hi"));
        went_through = mem_fail_pending();
        mem_fail_nth(0);
        test_client_destroy(client);
    }
}

static void want_of_memory_ends_a_stream_and_loses_no_count(void **state)
{
    static const char *const targets[] = {"/v1/sse?group=room:1&poll_ms=60000", "/v1/sse?hello="};
    for (size_t i = 0; i < 2; i++) {
        run_out_of_memory(targets[i]);
    }
    test_gateway_turn_for(&t, 200); /* who could not be ended at once */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_answer_is_an_event_stream_that_nobody_may_keep),
        TEST(a_raw_stream_gets_what_is_pushed_to_its_groups),
        TEST(a_hello_makes_it_a_session_of_the_protocol),
        TEST(what_is_no_hello_is_refused_and_no_session_made),
        TEST(who_may_connect_is_checked_as_for_a_websocket),
        TEST(a_page_of_an_allowed_origin_is_told_that_it_may),
        TEST(another_method_is_405),
        TEST(what_came_after_the_last_id_is_sent_first),
        TEST(the_last_id_may_stand_in_the_query_of_a_page_that_begins_anew),
        TEST(a_hello_may_come_later),
        TEST(whose_credential_comes_with_a_later_hello_is_its_user),
        TEST(a_session_that_said_hello_without_one_stays_anonymous),
        TEST(a_token_that_is_no_good_here_ends_the_session),
        TEST(an_id_of_another_history_is_a_gap_by_name),
        TEST(the_header_counts_before_the_resume_of_the_hello),
        TEST(nobody_is_told_to_wait_for_longer_than_30_s),
        TEST(a_poll_ends_when_it_has_said_something),
        TEST(an_answer_ends_a_poll_too_and_a_welcome_does_not),
        TEST(a_poll_with_nothing_to_say_ends_in_time),
        TEST(pings_show_that_the_stream_lives),
        TEST(a_client_that_does_not_read_is_closed),
        TEST(one_that_talks_behind_its_request_is_not_heard_and_at_last_closed),
        TEST(a_session_ends_with_its_code_and_then_the_response),
        TEST(a_request_behind_unanswered_ones_can_t_become_a_stream),
        TEST(want_of_memory_ends_a_stream_and_loses_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
