#include "cli/tail_session.h"

#include "cli/test_ws_server.h"

#include <signal.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/exit_code.h"

static const char welcome[] =
    "{\"t\":\"welcome\",\"sid\":\"s_1\",\"epoch\":\"e\",\"pos\":{\"0\":\"1.0\"}}";

static struct test_server server;
static struct tail *tail;
static char hello[TEST_TEXT_MAX], second[TEST_TEXT_MAX];
static char out[TEST_TEXT_MAX];

static int make(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    tail = mem_zalloc(sizeof(*tail));
    memset(hello, 0, sizeof(hello));
    memset(second, 0, sizeof(second));
    return tail_state_init(&tail->state);
}

static int forget(void **state)
{
    tail_options_fini(&tail->options);
    tail_sink_fini(&tail->sink);
    mem_free(tail);
    return 0;
}

/* Runs one session against the script, stdout caught in out. */
static struct tail_verdict run(void (*script)(int fd, int round), char *option)
{
    int code = 0;
    test_server_start(&server, 1, script);
    char *argv[] = {"tail", "--url", server.url, option, NULL};
    assert_true(tail_options_read(&tail->options, option ? 4 : 3, argv, &code));
    tail->state.limit = tail->options.count;
    tail->state.as_json = tail->options.json;
    memset(out, 0, sizeof(out));
    FILE *saved = stdout;
    stdout = fmemopen(out, sizeof(out), "w");
    struct tail_verdict verdict = tail_session_run(tail);
    fclose(stdout);
    stdout = saved;
    test_server_join(&server);
    return verdict;
}

static void welcome_and_push(int fd, int round)
{
    test_server_take(fd, hello);
    test_server_send(fd, WS_TEXT, welcome);
    test_server_send(fd, WS_TEXT,
                     "[{\"t\":\"msg\",\"id\":\"a\",\"pos\":\"0:2.0\",\"ack\":1,\"data\":1},"
                     "{\"t\":\"msg\",\"id\":\"b\",\"pos\":\"0:3.0\",\"data\":2}]");
    test_server_take(fd, second);
    test_server_send_close(fd, 4200);
    char rest[TEST_TEXT_MAX];
    test_server_take(fd, rest);
}

static void messages_are_printed_then_acknowledged(void **state)
{
    struct tail_verdict verdict = run(welcome_and_push, "--group=room:1");
    assert_string_equal(hello, "{\"t\":\"hello\",\"v\":1,\"groups\":[\"room:1\"]}");
    assert_string_equal(out, "a\t-\t-\t1\nb\t-\t-\t2\n");
    assert_string_equal(second, "{\"t\":\"ack\",\"ids\":[\"a\"]}");
    assert_int_equal(verdict.action, TAIL_RETRY_NOW);
    assert_true(tail->ever_connected);
    assert_string_equal(tail->state.positions[0].position, "3.0");
}

static void welcome_and_wait(int fd, int round)
{
    test_server_take(fd, hello);
    test_server_send(fd, WS_TEXT, welcome);
    test_server_send(fd, WS_TEXT, "{\"t\":\"msg\",\"id\":\"a\",\"data\":1}");
    test_server_await_close(fd, second);
}

static void a_count_ends_the_session_by_a_normal_close(void **state)
{
    struct tail_verdict verdict = run(welcome_and_wait, "--count=1");
    assert_string_equal(out, "a\t-\t-\t1\n");
    assert_int_equal(verdict.action, TAIL_STOP);
    assert_int_equal(verdict.exit_code, EXIT_CODE_OK);
    assert_int_equal((uint8_t)second[0] << 8 | (uint8_t)second[1], 1000);
}

static void say_nothing(int fd, int round)
{
    char text[TEST_TEXT_MAX];
    test_server_await_close(fd, text);
}

static void without_a_welcome_in_time_the_session_ends(void **state)
{
    struct tail_verdict verdict = run(say_nothing, "--timeout=50ms");
    assert_int_equal(verdict.action, TAIL_RETRY);
    assert_int_equal(verdict.exit_code, EXIT_CODE_TIMEOUT);
    assert_false(tail->ever_connected);
}

static void ping_fast(int fd, int round)
{
    char text[TEST_TEXT_MAX];
    test_server_take(fd, hello);
    test_server_send(fd, WS_TEXT, "{\"t\":\"welcome\",\"ping_ms\":4}");
    while (test_server_take(fd, text) != WS_PING) {
    }
    strcpy(second, text);
    test_server_send(fd, WS_PONG, text);
    while (test_server_take(fd, text) != WS_PING) {
    }
    test_server_send_close(fd, 4102);
}

static void a_peer_that_is_silent_too_long_is_asked(void **state)
{
    struct tail_verdict verdict = run(ping_fast, NULL);
    assert_string_equal(second, "tail");
    assert_int_equal(verdict.action, TAIL_RETRY);
    assert_int_equal(verdict.exit_code, EXIT_CODE_UNAVAILABLE);
}

static void go_away(int fd, int round)
{
    char text[TEST_TEXT_MAX];
    test_server_take(fd, hello);
    test_server_send(fd, WS_TEXT, welcome);
    test_server_send(fd, WS_TEXT, "{\"t\":\"goaway\",\"slot_ms\":5,\"why\":\"drain\"}");
    test_server_await_close(fd, text);
}

static void a_goaway_is_obeyed_in_its_slot(void **state)
{
    struct tail_verdict verdict = run(go_away, NULL);
    assert_int_equal(verdict.action, TAIL_RETRY_NOW);
}

static void talk_nonsense(int fd, int round)
{
    test_server_take(fd, hello);
    test_server_send(fd, WS_TEXT, "welcome, friend");
    test_server_await_close(fd, second);
}

static void a_peer_that_is_not_tidegate_is_left(void **state)
{
    struct tail_verdict verdict = run(talk_nonsense, NULL);
    assert_int_equal(verdict.action, TAIL_STOP);
    assert_int_equal(verdict.exit_code, EXIT_CODE_PROTOCOL);
    assert_int_equal((uint8_t)second[0] << 8 | (uint8_t)second[1], 1002);
}

static void push_raw(int fd, int round)
{
    test_server_send(fd, WS_TEXT, "{\"n\":1}");
    test_server_send(fd, WS_BINARY, "x");
    test_server_send_close(fd, 1000);
    test_server_take(fd, second);
}

static void a_raw_session_says_nothing_and_prints_payloads(void **state)
{
    struct tail_verdict verdict = run(push_raw, "--raw");
    assert_null(strstr(server.request, "Sec-WebSocket-Protocol"));
    assert_string_equal(out, "{\"n\":1}\neA==\n");
    assert_int_equal(verdict.exit_code, EXIT_CODE_OK);
    assert_int_equal((uint8_t)second[0] << 8 | (uint8_t)second[1], 1000);
}

static void expire(int fd, int round)
{
    test_server_take(fd, hello);
    test_server_send(fd, WS_TEXT, welcome);
    test_server_send(fd, WS_TEXT, "{\"t\":\"expiring\",\"in_ms\":30000}");
    test_server_take(fd, second);
    test_server_send_close(fd, 4300);
}

static void a_new_token_in_the_file_is_put_in_the_old_ones_place(void **state)
{
    char option[64] = "--token-file=/tmp/tidegate-token-XXXXXX";
    int fd = mkstemp(strchr(option, '/'));
    assert_int_equal(write(fd, "new\n", 4), 4);
    close(fd);
    strcpy(tail->token.text, "old");
    struct tail_verdict verdict = run(expire, option);
    assert_string_equal(second, "{\"t\":\"refresh\",\"re\":1,\"token\":\"new\"}");
    assert_string_equal(tail->token.text, "new");
    assert_int_equal(verdict.action, TAIL_NEW_TOKEN);
    assert_false(tail_renew_token(tail));
    unlink(strchr(option, '/'));
}

static void a_refused_upgrade_is_judged_by_its_status(void **state)
{
    server.refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    struct tail_verdict verdict = run(say_nothing, NULL);
    server.refusal = NULL;
    assert_int_equal(verdict.action, TAIL_STOP);
    assert_int_equal(verdict.exit_code, EXIT_CODE_REFUSED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_are_printed_then_acknowledged),
        TEST(a_count_ends_the_session_by_a_normal_close),
        TEST(without_a_welcome_in_time_the_session_ends),
        TEST(a_peer_that_is_silent_too_long_is_asked),
        TEST(a_goaway_is_obeyed_in_its_slot),
        TEST(a_peer_that_is_not_tidegate_is_left),
        TEST(a_raw_session_says_nothing_and_prints_payloads),
        TEST(a_new_token_in_the_file_is_put_in_the_old_ones_place),
        TEST(a_refused_upgrade_is_judged_by_its_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
