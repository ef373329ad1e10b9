/* Of cli_tail as a whole: what it does between connections. */
#include "cli/cli.h"

#include "cli/test_ws_server.h"

#include <stdlib.h>

#include "cli/exit_code.h"

static struct test_server server;
static char hellos[3][TEST_TEXT_MAX];
static char out[TEST_TEXT_MAX];

static int run(char *option)
{
    char *argv[] = {"tail", "--url", server.url, option, NULL};
    memset(out, 0, sizeof(out));
    FILE *saved = stdout;
    stdout = fmemopen(out, sizeof(out), "w");
    int code = cli_tail(option ? 4 : 3, argv);
    fclose(stdout);
    stdout = saved;
    return code;
}

static void push_and_drop(int fd, int round)
{
    char text[TEST_TEXT_MAX];
    test_server_take(fd, hellos[round]);
    snprintf(
        text, sizeof(text),
        "{\"t\":\"welcome\",\"epoch\":\"e\",\"pos\":{\"0\":\"%d.0\"},\"retry\":{\"base_ms\":1,\"max_ms\":2}}",
        round);
    test_server_send(fd, WS_TEXT, text);
    snprintf(text, sizeof(text),
             "[{\"t\":\"msg\",\"id\":\"m%d\",\"pos\":\"0:%d.0\",\"data\":1},"
             "{\"t\":\"msg\",\"id\":\"m%d\",\"pos\":\"0:%d.0\",\"data\":1}]",
             round, round + 1, round + 1, round + 2);
    test_server_send(fd, WS_TEXT, text);
    if (round == 1) {
        test_server_send_close(fd, 4100);
    }
    if (round > 0) {
        test_server_take(fd, text);
    }
}

static void a_lost_connection_is_resumed_and_repeats_are_shown_once(void **state)
{
    test_server_start(&server, 3, push_and_drop);
    assert_int_equal(run("--count=4"), EXIT_CODE_OK);
    test_server_join(&server);
    assert_string_equal(out, "m0\t-\t-\t1\nm1\t-\t-\t1\nm2\t-\t-\t1\nm3\t-\t-\t1\n");
    assert_string_equal(hellos[0], "{\"t\":\"hello\",\"v\":1}");
    assert_string_equal(
        hellos[1],
        "{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e\",\"pos\":{\"0\":\"2.0\"}}}");
    assert_string_equal(
        hellos[2],
        "{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e\",\"pos\":{\"0\":\"3.0\"}}}");
}

static void no_reconnect_ends_with_the_connection(void **state)
{
    test_server_start(&server, 1, push_and_drop);
    assert_int_equal(run("--no-reconnect"), EXIT_CODE_CONNECT);
    test_server_join(&server);
    assert_string_equal(out, "m0\t-\t-\t1\nm1\t-\t-\t1\n");
}

static void kick(int fd, int round)
{
    test_server_take(fd, hellos[round]);
    test_server_send_close(fd, 4000);
}

static void a_kick_is_obeyed(void **state)
{
    test_server_start(&server, 1, kick);
    assert_int_equal(run(NULL), EXIT_CODE_REFUSED);
    test_server_join(&server);
}

static void the_first_connect_is_not_tried_again(void **state)
{
    test_server_start(&server, 0, kick);
    test_server_join(&server);
    assert_int_equal(run(NULL), EXIT_CODE_CONNECT);
    server.refusal = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    test_server_start(&server, 1, kick);
    assert_int_equal(run(NULL), EXIT_CODE_UNAVAILABLE);
    test_server_join(&server);
    server.refusal = NULL;
}

static void a_token_that_cannot_be_sent_is_a_usage_error(void **state)
{
    setenv("TIDEGATE_TOKEN", "two words", 1);
    assert_int_equal(run(NULL), EXIT_CODE_USAGE);
    unsetenv("TIDEGATE_TOKEN");
    assert_int_equal(run("--token-file=/nonexistent/token"), EXIT_CODE_USAGE);
}

static void a_full_disk_ends_it(void **state)
{
    test_server_start(&server, 1, push_and_drop);
    char *argv[] = {"tail", "--url", server.url, NULL};
    FILE *saved = stdout;
    stdout = fopen("/dev/full", "w");
    int code = cli_tail(3, argv);
    fclose(stdout);
    stdout = saved;
    test_server_join(&server);
    assert_int_equal(code, EXIT_CODE_INTERNAL);
}

int main(void)
{
    unsetenv("TIDEGATE_TOKEN");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_connection_is_resumed_and_repeats_are_shown_once),
        cmocka_unit_test(no_reconnect_ends_with_the_connection),
        cmocka_unit_test(a_kick_is_obeyed),
        cmocka_unit_test(the_first_connect_is_not_tried_again),
        cmocka_unit_test(a_token_that_cannot_be_sent_is_a_usage_error),
        cmocka_unit_test(a_full_disk_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
