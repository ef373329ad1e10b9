#include "server/connect.h"

#include "server/test_gateway.h"

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
    assert_int_equal(t.tenants->items[0].quota->sessions, 0);
    test_gateway_stop(&t);
    return 0;
}

static void expect(const char *target, const char *headers, int status, const char *part)
{
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(test_client_upgrade(client, target, "tidegate.v1.json", headers), status);
    if (!strstr(client->text, part)) {
        print_error("expected %s in %s\n", part, client->text);
        fail();
    }
    test_client_destroy(client);
}

static void an_upgrade_is_answered_with_its_protocol(void **state)
{
    expect("/v1/ws", "", 101, "Sec-WebSocket-Protocol: tidegate.v1.json\r\n");
    expect("/v1/ws", "Sec-WebSocket-Extensions: permessage-deflate\r\n", 101, "permessage-deflate");
    struct test_client *raw = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(test_client_upgrade(raw, "/v1/ws", "", ""), 101);
    assert_null(strstr(raw->text, "Sec-WebSocket-Protocol"));
    test_client_destroy(raw);
}

static void what_is_no_upgrade_is_refused_with_its_reason(void **state)
{
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(test_client_ask(client, "GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n"), 426);
    test_client_destroy(client);
    expect("/v1/ws", "Sec-WebSocket-Version: 8\r\n", 426, "Sec-WebSocket-Version: 13");
    expect("/v1/ws", "Sec-WebSocket-Extensions: permessage-deflate;=\r\n", 400, "bad_extensions");
    expect("/v1/elsewhere", "", 404, "not_found");
    expect("/v1/echo", "", 404, "not_found");
}

static void an_app_is_found_by_its_name(void **state)
{
    expect("/v1/ws?app=demo", "", 101, "");
    expect("/v1/ws?app=nobody", "", 404, "app_unknown");
    expect("/v1/ws?app=%zz", "", 404, "app_unknown");
}

static void a_page_of_another_origin_may_not_connect(void **state)
{
    expect("/v1/ws", "Origin: https://evil.example\r\n", 403, "origin_refused");
    struct str good[] = {STR("https://good.example")};
    t.apps[0].origins = good;
    t.apps[0].origin_count = 1;
    expect("/v1/ws", "Origin: https://good.example\r\n", 101, "");
    expect("/v1/ws", "Origin: https://good.example.evil.example\r\n", 403, "origin_refused");
}

static void a_bad_credential_is_401_in_constant_words(void **state)
{
    expect("/v1/ws", "Authorization: Bearer a.b.c\r\n", 401, "unauthorized");
    t.apps[0].auth.anonymous = false;
    struct test_client *raw = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(test_client_upgrade(raw, "/v1/ws", "", ""), 401);
    test_client_destroy(raw);
    expect("/v1/ws", "", 101, ""); /* hello may bring one */
}

static void bytes_behind_the_upgrade_are_read(void **state)
{
    static const char request[] =
        "GET /v1/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        "\x89\x82\x00\x00\x00\x00hi";
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    for (int cut = 0; cut < 2; cut++) { /* in one packet, and behind a head that came in two */
        test_client_write(client, request, cut ? 30 : 0);
        test_client_write(client, request + (cut ? 30 : 0), sizeof(request) - 1 - (cut ? 30 : 0));
        assert_int_equal(test_client_ask(client, ""), 101);
        assert_int_equal(test_client_next(client), WS_PONG);
        assert_string_equal(client->text, "hi");
        test_client_destroy(client);
        client = test_client_create(&t, &t.gateway->client_addr);
    }
    test_client_destroy(client);
}

static void the_session_after_the_last_is_503(void **state)
{
    t.settings->limits.sessions = 1;
    struct test_client *first = test_connect(&t, "/v1/ws", "");
    expect("/v1/ws", "", 503, "session_limit");
    expect("/v1/ws", "", 503, "Retry-After");
    test_client_destroy(first);
    expect("/v1/ws", "", 101, "");
}

static void an_address_has_as_many_sessions_as_it_may(void **state)
{
    t.settings->limits.sessions_per_ip = 1;
    struct test_client *first = test_connect(&t, "/v1/ws", "");
    expect("/v1/ws", "", 429, "ip_session_limit");
    test_client_destroy(first);
    expect("/v1/ws", "", 101, "");
    expect("/v1/ws", "Authorization: Bearer a.b.c\r\n", 401, "unauthorized");
    expect("/v1/ws", "", 101, "");
}

static void too_many_connects_a_second_are_503(void **state)
{
    t.settings->limits.accept_rate = 2;
    t.settings->limits.sessions_per_ip = 3;
    expect("/v1/ws", "", 101, "");
    expect("/v1/ws", "", 101, "");
    expect("/v1/ws", "", 503, "accept_rate");
    test_gateway_turn(&t, 4);
    uint64_t key = admission_key_of_ip(&t.gateway->admission, &t.gateway->client_addr);
    for (int i = 0; i < 3; i++) { /* who got no turn keeps no place */
        assert_true(admission_take(&t.gateway->admission, key, 3));
    }
}

static void who_is_over_a_limit_of_their_own_takes_no_turn(void **state)
{
    t.settings->limits.accept_rate = 3;
    t.settings->limits.sessions_per_ip = 1;
    struct test_client *first = test_connect(&t, "/v1/ws", "");
    expect("/v1/ws", "", 429, "ip_session_limit");
    t.settings->limits.sessions_per_ip = 0;
    t.apps[0].quotas.sessions = 1;
    expect("/v1/ws", "", 429, "quota_exceeded");
    t.apps[0].quotas.sessions = 0;
    t.settings->limits.sessions = 1;
    expect("/v1/ws", "", 503, "session_limit");
    t.settings->limits.sessions = 0;
    expect("/v1/ws", "", 101, "");
    expect("/v1/ws", "", 101, "");
    test_client_destroy(first);
}

static void an_app_with_all_its_sessions_gets_429(void **state)
{
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    t.apps[0].quotas.sessions = 1;
    expect("/v1/ws", "Authorization: Bearer a.b.c\r\n", 401, "unauthorized");
    assert_int_equal(test_client_upgrade(client, "/v1/ws", "tidegate.v1.json", ""), 101);
    expect("/v1/ws", "", 429, "\"quota_exceeded\"");
    expect("/v1/ws", "", 429, "\r\nRetry-After: ");
    test_client_destroy(client);
    test_gateway_turn(&t, 4);
    expect("/v1/ws", "", 101, "");
}

static void short_memory_refuses_connects(void **state)
{
    t.settings->limits.memory_bytes = 100;
    expect("/v1/ws", "", 503, "\"memory\"");
}

static void a_node_that_goes_away_takes_nobody(void **state)
{
    gateway_drain(t.gateway, &t.settings->drain, 50, false);
    test_gateway_turn(&t, 2);
    expect("/v1/ws", "", 503, "draining");
}

static void echo_is_there_when_it_is_wanted(void **state)
{
    t.settings->debug.echo = true;
    struct test_client *client = test_connect(&t, "/v1/echo", "");
    test_client_send(client, WS_BINARY, "back to me");
    assert_int_equal(test_client_next(client), WS_BINARY);
    assert_string_equal(client->text, "back to me");
    test_client_destroy(client);
}

/* connect, hello, a push, its delivery, a close: each allocation of the thread fails once. */
static void go_through_a_life(void)
{
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    const char *deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    if (test_client_upgrade(client, "/v1/ws", "tidegate.v1.json", deflate) == 101) {
        test_client_send(client, WS_TEXT,
                         "{\"t\":\"hello\",\"v\":1,\"device\":\"d\",\"groups\":[\"room:1\"]}");
        test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"re\":1,\"g\":\"room:2\"}");
        test_push(&t, TARGET_GROUP, "room:1", STR("to be or not to be, that is the question"));
        test_push(&t, TARGET_ALL, "", STR("to all"));
        test_client_send(client, WS_PING, "?");
        test_client_send(client, WS_CLOSE, "");
    }
    test_client_destroy(client);
}

static void memory_may_be_out_at_any_moment_of_a_life(void **state)
{
    t.settings->limits.sessions_per_ip = 5;
    t.settings->limits.sessions_per_user = 5;
    t.settings->compression.min_bytes = 16;
    go_through_a_life();
    for (unsigned long n = 1;; n++) {
        mem_fail_nth(n);
        go_through_a_life();
        bool went_through = mem_fail_pending();
        mem_fail_nth(0);
        test_gateway_turn_for(&t, 2);
        assert_int_equal(admission_sessions(&t.gateway->admission), 0);
        assert_int_equal(http_service_connections(t.worker->client_http), 0);
        if (went_through) {
            assert_true(n > 20);
            break;
        }
    }
    struct test_client *client = test_connect_v1(&t, "{\"t\":\"hello\",\"v\":1}");
    test_client_expect(client, "\"welcome\""); /* and it works again */
    test_push(&t, TARGET_ALL, "", STR("hi"));
    test_client_expect(client, "\"hi\"");
    test_client_destroy(client);
    uint64_t key = admission_key_of_ip(&t.gateway->admission, &t.gateway->client_addr);
    for (int i = 0; i < 5; i++) { /* no count was forgotten */
        assert_true(admission_take(&t.gateway->admission, key, 5));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_upgrade_is_answered_with_its_protocol),
        TEST(what_is_no_upgrade_is_refused_with_its_reason),
        TEST(an_app_is_found_by_its_name),
        TEST(a_page_of_another_origin_may_not_connect),
        TEST(a_bad_credential_is_401_in_constant_words),
        TEST(bytes_behind_the_upgrade_are_read),
        TEST(the_session_after_the_last_is_503),
        TEST(an_address_has_as_many_sessions_as_it_may),
        TEST(too_many_connects_a_second_are_503),
        TEST(who_is_over_a_limit_of_their_own_takes_no_turn),
        TEST(an_app_with_all_its_sessions_gets_429),
        TEST(short_memory_refuses_connects),
        TEST(a_node_that_goes_away_takes_nobody),
        TEST(echo_is_there_when_it_is_wanted),
        TEST(memory_may_be_out_at_any_moment_of_a_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
