/* Of cli_doctor, against a server that plays what proxies answer; against real ones it is
 * tests/test_doctor.py. */
#include "cli/cli.h"
#include "cli/exit_code.h"
#include "cli/test_http_server.h"

#define PROBLEM(status, code)                                                          \
    "HTTP/1.1 " status "\r\nVia: 1.1 front\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" \
    "Content-Type: application/problem+json\r\n"                                       \
    "Connection: close\r\n\r\n{\"code\":\"" code "\"}"
#define UPGRADE_REQUIRED PROBLEM("426 Upgrade Required", "upgrade_required")
#define BAD_GATEWAY "HTTP/1.1 502 Bad Gateway\r\nServer: front/1\r\nContent-Length: 0\r\n\r\n"

static struct test_http server;

/* The URL is its operand. */
static int doctor(int argc, char **argv)
{
    argv[argc - 2] = argv[argc - 1];
    return cli_doctor(argc - 1, argv);
}

/* The connections: one to see whether there is anybody, a request, if a gateway answered that one
 * with a long header, an upgrade that offers compression, an event stream, an upgrade. */
static int examine(const char *http, const char *sse, const char *upgrade)
{
    static const char nothing[] = "";
    bool is_there = strstr(http, " 426 ") != NULL;
    const char *const all[] = {nothing, http, http, upgrade, sse, upgrade, NULL};
    const char *const few[] = {nothing, http, upgrade, sse, upgrade, NULL};
    return test_http_run(&server, doctor,
                         TEST_HTTP_WORDS("doctor", "--json", "--idle", "0", "--timeout", "2s"),
                         is_there ? all : few);
}

static void says(const char *check, const char *status, const char *part)
{
    char start[128];
    snprintf(start, sizeof(start), "{\"check\":\"%s\",\"status\":\"%s\"", check, status);
    const char *line = strstr(server.out, start);
    if (!line || !strstr(line, part)) {
        fail_msg("expected %s … %s\ngot: %s", start, part, server.out);
    }
}

static void a_proxy_that_strips_the_upgrade_is_named(void **state)
{
    assert_int_equal(
        examine(UPGRADE_REQUIRED, PROBLEM("401 Unauthorized", "unauthorized"), UPGRADE_REQUIRED),
        EXIT_CODE_REFUSED);
    says("front.http", "ok", "answered 426 by tidegate, Via: 1.1 front");
    says("front.headers", "ok", "");
    says("front.clock", "warn", "behind");
    says("front.compression", "skip", "");
    says("front.sse", "warn", "the gateway is there and answers 401");
    says("front.upgrade", "fail", "takes the headers Upgrade and Connection away");
}

static void a_proxy_without_a_gateway_is_named(void **state)
{
    assert_int_equal(examine(BAD_GATEWAY, BAD_GATEWAY, BAD_GATEWAY), EXIT_CODE_REFUSED);
    says("front.http", "fail", "502 by something else than tidegate, Server: front/1");
    says("front.headers", "skip", "");
    says("front.sse", "fail", "something else than tidegate");
    says("front.upgrade", "fail", "an upgrade is answered 502");
}

static void a_redirect_to_https_and_json_of_somebody_else_are_no_gateway(void **state)
{
    const char
        *moved = "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://push.example.com/v1/ws\r\n"
                 "Content-Length: 0\r\n\r\n";
    examine(moved, moved, moved);
    says("front.http", "fail", "use https:// in the URL");
    const char *other = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
                        "Content-Length: 20\r\n\r\n{\"code\":\"not_found\"}";
    examine(other, other, other);
    says("front.http", "fail", "404 by something else than tidegate");
}

static void an_answer_to_another_key_is_no_upgrade(void **state)
{
    const char *other = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    assert_int_equal(examine(UPGRADE_REQUIRED, BAD_GATEWAY, other), EXIT_CODE_REFUSED);
    says("front.upgrade", "fail", "not the answer to our key");
}

static void an_event_stream_is_timed(void **state)
{
    const char *stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
                         ": pad\n\ndata: {\"t\":\"welcome\"}\n\n";
    examine(UPGRADE_REQUIRED, stream, UPGRADE_REQUIRED);
    says("front.sse", "ok", "the first event came");
    examine(UPGRADE_REQUIRED, "HTTP/1.1 200 OK\r\n\r\n", UPGRADE_REQUIRED);
    says("front.sse", "fail", "the stream ended before its first event");
}

static void this_machine_is_looked_at_without_a_url(void **state)
{
    char *argv[] = {(char *)"doctor", (char *)"--sessions", (char *)"1", (char *)"--json", NULL};
    memset(server.out, 0, sizeof(server.out));
    FILE *saved = stdout;
    stdout = fmemopen(server.out, sizeof(server.out), "w");
    int code = cli_doctor(4, argv);
    fclose(stdout);
    stdout = saved;
    assert_true(code == EXIT_CODE_OK || code == EXIT_CODE_REFUSED);
    assert_non_null(strstr(server.out, "\"check\":\"local.descriptors\""));
    assert_null(strstr(server.out, "\"check\":\"front."));
}

static void what_makes_no_sense_is_a_usage_error(void **state)
{
    static char *const cases[][3] = {{(char *)"--idle", (char *)"1", NULL},
                                     {(char *)"--sessions", (char *)"0", NULL},
                                     {(char *)"--pid", (char *)"x", NULL},
                                     {(char *)"--timeout", (char *)"", NULL},
                                     {(char *)"http://a?b", NULL, NULL}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *argv[] = {(char *)"doctor", cases[i][0], cases[i][1], NULL};
        assert_int_equal(cli_doctor(cases[i][1] ? 3 : 2, argv), EXIT_CODE_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proxy_that_strips_the_upgrade_is_named),
        cmocka_unit_test(a_proxy_without_a_gateway_is_named),
        cmocka_unit_test(a_redirect_to_https_and_json_of_somebody_else_are_no_gateway),
        cmocka_unit_test(an_answer_to_another_key_is_no_upgrade),
        cmocka_unit_test(an_event_stream_is_timed),
        cmocka_unit_test(this_machine_is_looked_at_without_a_url),
        cmocka_unit_test(what_makes_no_sense_is_a_usage_error),
    };
    unsetenv("TIDEGATE_TOKEN");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
