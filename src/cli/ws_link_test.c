#include "cli/ws_link.h"

#include "cli/test_ws_server.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

static struct test_server server;
static char got[TEST_TEXT_MAX];

static uint64_t soon(void)
{
    return clock_monotonic_ms() + 30000;
}

static int open_link(struct ws_link **out_link, const char *token, int *out_status)
{
    static struct url url;
    const char *reason;
    assert_int_equal(url_parse(&url, server.url, &reason), 0);
    const struct ws_link_request request = {&url, NULL, STR("/v1/ws"), token,
                                            STR("tidegate.v1.json")};
    return ws_link_open(out_link, &request, soon(), out_status);
}

static int keep_message(void *owner, enum ws_opcode opcode, struct str payload)
{
    snprintf(got, sizeof(got), "%.*s", STR_ARG(payload));
    return 0;
}

static const struct ws_link_events events = {.on_message = keep_message};

static void echo_one(int fd, int round)
{
    char text[TEST_TEXT_MAX];
    test_server_take(fd, text);
    test_server_send(fd, WS_TEXT, text);
    test_server_await_close(fd, text);
}

static void messages_go_both_ways(void **state)
{
    struct ws_link *link = NULL;
    int status;
    uint16_t code;
    test_server_start(&server, 1, echo_one);
    assert_int_equal(open_link(&link, "a.b.c", &status), 0);
    assert_non_null(strstr(server.request, "Authorization: Bearer a.b.c\r\n"));
    assert_non_null(strstr(server.request, "Sec-WebSocket-Protocol: tidegate.v1.json\r\n"));
    assert_int_equal(ws_link_send(link, WS_TEXT, STR("hello"), soon()), 0);
    while (!*got) {
        assert_int_equal(ws_link_read(link, &events, NULL, soon(), &code), 0);
    }
    assert_string_equal(got, "hello");
    assert_int_equal(ws_link_read(link, &events, NULL, 0, &code), ERR_TIMEOUT);
    ws_link_close(link, 0);
    test_server_join(&server);
}

static char pong[TEST_TEXT_MAX], farewell[TEST_TEXT_MAX];
static int pong_opcode, farewell_opcode;

static void ping_and_close(int fd, int round)
{
    test_server_send(fd, WS_PING, "are you there");
    pong_opcode = test_server_take(fd, pong);
    test_server_send_close(fd, 4101);
    farewell_opcode = test_server_take(fd, farewell);
}

static void pings_and_closes_are_answered_in_kind(void **state)
{
    struct ws_link *link = NULL;
    int status;
    uint16_t code = 0;
    int err = 0;
    test_server_start(&server, 1, ping_and_close);
    assert_int_equal(open_link(&link, "", &status), 0);
    assert_null(strstr(server.request, "Authorization"));
    while (!err) {
        err = ws_link_read(link, &events, NULL, soon(), &code);
    }
    assert_int_equal(err, ERR_CLOSED);
    assert_int_equal(code, 4101);
    ws_link_close(link, 0);
    test_server_join(&server);
    assert_int_equal(pong_opcode, WS_PONG);
    assert_string_equal(pong, "are you there");
    assert_int_equal(farewell_opcode, WS_CLOSE);
    assert_int_equal((uint8_t)farewell[0] << 8 | (uint8_t)farewell[1], 4101);
}

static void only_go(int fd, int round)
{
}

static void a_cut_connection_is_1006(void **state)
{
    struct ws_link *link = NULL;
    int status;
    uint16_t code = 0;
    test_server_start(&server, 1, only_go);
    assert_int_equal(open_link(&link, "", &status), 0);
    assert_int_equal(ws_link_read(link, &events, NULL, soon(), &code), ERR_CLOSED);
    assert_int_equal(code, 1006);
    ws_link_close(link, 1000);
    test_server_join(&server);
}

static void take_close(int fd, int round)
{
    farewell_opcode = test_server_take(fd, farewell);
    test_server_send_close(fd, 1000);
}

static void a_goodbye_carries_its_code(void **state)
{
    struct ws_link *link = NULL;
    int status;
    test_server_start(&server, 1, take_close);
    assert_int_equal(open_link(&link, "", &status), 0);
    ws_link_close(link, 1000);
    test_server_join(&server);
    assert_int_equal(farewell_opcode, WS_CLOSE);
    assert_int_equal((uint8_t)farewell[0] << 8 | (uint8_t)farewell[1], 1000);
    ws_link_close(NULL, 1000);
}

static void a_refused_upgrade_gives_the_status(void **state)
{
    const char *refusals[] = {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}",
                              "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n",
                              "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ntoo much"};
    const int statuses[] = {401, 503, 200};
    for (size_t i = 0; i < 3; i++) {
        struct ws_link *link = NULL;
        int status = 0;
        server.refusal = refusals[i];
        test_server_start(&server, 1, only_go);
        assert_int_equal(open_link(&link, "", &status), ERR_DENIED);
        assert_int_equal(status, statuses[i]);
        assert_null(link);
        test_server_join(&server);
    }
    server.refusal = NULL;
}

static void what_is_no_upgrade_is_a_protocol_error(void **state)
{
    const char *answers[] = {"SSH-2.0-OpenSSH\r\n\r\n",
                             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        struct ws_link *link = NULL;
        int status = 7;
        server.refusal = answers[i];
        test_server_start(&server, 1, only_go);
        assert_int_equal(open_link(&link, "", &status), ERR_PROTOCOL);
        assert_int_equal(status, 0);
        test_server_join(&server);
    }
    server.refusal = NULL;
}

static void lost_memory_is_reported(void **state)
{
    for (unsigned long nth = 1; nth <= 3; nth++) {
        struct ws_link *link = NULL;
        int status;
        test_server_start(&server, nth > 2, only_go);
        mem_fail_nth(nth);
        assert_int_equal(open_link(&link, "", &status), ERR_NO_MEMORY);
        assert_false(mem_fail_pending());
        shutdown(server.listener, SHUT_RDWR);
        test_server_join(&server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_go_both_ways),
        cmocka_unit_test(pings_and_closes_are_answered_in_kind),
        cmocka_unit_test(a_cut_connection_is_1006),
        cmocka_unit_test(a_goodbye_carries_its_code),
        cmocka_unit_test(a_refused_upgrade_gives_the_status),
        cmocka_unit_test(what_is_no_upgrade_is_a_protocol_error),
        cmocka_unit_test(lost_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
