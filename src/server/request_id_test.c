#include "server/request_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"

static struct http_request request;
static char head[1024];
static struct request_id id;

/* lines: of the header, each with its CRLF. */
static void read_request(const char *lines)
{
    int len = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", lines);
    assert_int_equal(http_request_parse(&request, &HTTP_LIMITS_DEFAULT, (const uint8_t *)head,
                                        (size_t)len, NULL),
                     len);
    request_id_read(&id, &request);
}

static void assert_made(void)
{
    assert_int_equal(id.len, REQUEST_ID_MADE);
    for (int i = 0; i < id.len; i++) {
        assert_non_null(strchr("0123456789abcdef", id.text[i]));
    }
}

static void the_callers_id_is_taken_when_it_is_well_formed(void **state)
{
    const char *const good[] = {"a", "7f3a-11.22_B:c/d+e=@x",
                                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"};
    for (size_t i = 0; i < 3; i++) {
        char line[128];
        snprintf(line, sizeof(line), "x-request-ID:  %s \r\n", good[i]);
        read_request(line);
        assert_true(str_equal(request_id_str(&id), str_of(good[i])));
    }
}

static void any_other_is_replaced(void **state)
{
    const char *const bad[] = {
        "",
        "X-Request-Id:\r\n",
        "X-Request-Id: a b\r\n",
        "X-Request-Id: a\"\r\n",
        "X-Request-Id: {a}\r\n",
        "X-Request-Id: <script>\r\n",
        "X-Request-Id: \xc3\xa9\r\n",
        "X-Request-Id: a\ta\r\n",
        "X-Request-Id: a\r\nX-Request-Id: a\r\n",
        "X-Request-Id: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefg\r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        read_request(bad[i]);
        assert_made();
    }
}

static void ids_that_are_made_differ(void **state)
{
    static char seen[1000][REQUEST_ID_MADE];
    for (int i = 0; i < 1000; i++) {
        read_request("");
        memcpy(seen[i], id.text, REQUEST_ID_MADE);
        for (int j = 0; j < i; j++) {
            assert_memory_not_equal(seen[i], seen[j], REQUEST_ID_MADE);
        }
    }
}

static void the_trace_is_the_callers(void **state)
{
    read_request("traceparent: 00-" TRACE "-00f067aa0ba902b7-01\r\n");
    assert_true(str_equal(request_id_trace(&id), STR(TRACE)));
    read_request("traceparent: 00-" TRACE "\r\n");
    assert_int_equal(request_id_trace(&id).len, 0);
    read_request("traceparent: 00-" TRACE "-00f067aa0ba902b7-01\r\n"
                 "traceparent: 00-" TRACE "-00f067aa0ba902b7-01\r\n");
    assert_int_equal(request_id_trace(&id).len, 0);
    read_request("");
    assert_int_equal(request_id_trace(&id).len, 0);
}

static void lines_of_the_log_say_whose_they_are(void **state)
{
    int fds[2];
    char text[2048];
    struct request_scope scope;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(log_start(fds[1]), 0);
    read_request("X-Request-Id: r-1\r\ntraceparent: 00-" TRACE "-00f067aa0ba902b7-01\r\n");
    request_scope_enter(&scope, &id);
    memset(&id, 0, sizeof(id)); /* it was answered, and is gone */
    log_info("test.inside", "m");
    request_scope_leave(&scope);
    log_info("test.outside", "m");
    log_stop();
    close(fds[1]);
    ssize_t len = read(fds[0], text, sizeof(text) - 1);
    assert_true(len > 0);
    text[len] = '\0';
    close(fds[0]);
    assert_non_null(strstr(text, "\"event\":\"test.inside\",\"msg\":\"m\",\"request_id\":\"r-1\","
                                 "\"trace_id\":\"" TRACE "\"}"));
    assert_non_null(strstr(text, "\"event\":\"test.outside\",\"msg\":\"m\"}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_callers_id_is_taken_when_it_is_well_formed),
        cmocka_unit_test(any_other_is_replaced),
        cmocka_unit_test(ids_that_are_made_differ),
        cmocka_unit_test(the_trace_is_the_callers),
        cmocka_unit_test(lines_of_the_log_say_whose_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
