#include "proto/http_response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static struct buf out;

static int reset(void **state)
{
    buf_fini(&out);
    return 0;
}

static void assert_written(const char *expected)
{
    assert_int_equal(buf_err(&out), 0);
    assert_string_equal(buf_cstr(&out), expected);
}

static void a_response_has_its_length_type_and_body(void **state)
{
    const struct http_pair headers[] = {{STR("Retry-After"), STR("1")}, {STR("X"), STR("")}};
    struct http_response response = {
        .status = 202,
        .content_type = STR("application/json"),
        .body = STR("{}"),
        .headers = headers,
        .header_count = 2,
    };
    assert_int_equal(http_response_write(&out, &response), 0);
    assert_written("HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
                   "Content-Length: 2\r\nRetry-After: 1\r\nX: \r\n\r\n{}");
}

static void close_head_and_stream_are_written_as_asked(void **state)
{
    struct http_response response = {.status = 404, .body = STR("gone"), .close = true};
    response.head_only = true;
    http_response_write(&out, &response);
    assert_written("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\n");

    buf_clear(&out);
    struct http_response stream = {
        .status = 200, .content_type = STR("text/event-stream"), .stream = true};
    http_response_write(&out, &stream);
    assert_written("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                   "Connection: close\r\n\r\n");
}

static void a_status_without_a_body_gets_no_length(void **state)
{
    struct http_response response = {.status = 204, .body = STR("no")};
    http_response_write(&out, &response);
    assert_written("HTTP/1.1 204 No Content\r\n\r\n");
    buf_clear(&out);
    response.status = 304;
    http_response_write(&out, &response);
    assert_written("HTTP/1.1 304 Not Modified\r\n\r\n");
    buf_clear(&out);
    struct http_response empty = {.status = 599};
    http_response_write(&out, &empty);
    assert_written("HTTP/1.1 599 Unknown\r\nContent-Length: 0\r\n\r\n");
}

static void a_header_cannot_split_the_response(void **state)
{
    const struct http_pair bad[] = {
        {STR("X"), STR("a\r\nY: b")}, {STR("X"), STR("a\nb")}, {STR("X"), STR("a\0b")},
        {STR("X"), STR("a\x7f")},     {STR("X Y"), STR("a")},  {STR(""), STR("a")},
        {STR("X\r\n"), STR("a")},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http_response response = {.status = 200, .headers = &bad[i], .header_count = 1};
        assert_int_equal(http_response_write(&out, &response), ERR_SYNTAX);
        assert_int_equal(out.len, 0);
    }
    struct http_response response = {.status = 200, .content_type = STR("a\r\nX: y")};
    assert_int_equal(http_response_write(&out, &response), ERR_SYNTAX);
    assert_int_equal(out.len, 0);
}

static void json_strings_are_escaped_and_always_utf_8(void **state)
{
    http_append_json_string(&out, STR("a\"b\\c/\r\n\t\x01\x1f\x7f"));
    assert_written("\"a\\\"b\\\\c/\\u000d\\u000a\\u0009\\u0001\\u001f\\u007f\"");
    buf_clear(&out);
    http_append_json_string(&out, STR("\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80"));
    assert_written("\"\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80\"");
    const char *bad[] = {"\xff", "\x80", "\xc0", "\xc1", "\xc3", "\xe2", "\xf5"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        buf_clear(&out);
        http_append_json_string(&out, str_of(bad[i]));
        assert_written("\"\xef\xbf\xbd\"");
    }
    /* Overlong, a surrogate, above U+10FFFF, cut short: a replacement for each byte. */
    const char *bad_three[] = {"\xe0\x9f\xbf", "\xed\xa0\x80", "\xf4\x90\x80", "\xf0\x9f\x98"};
    for (size_t i = 0; i < sizeof(bad_three) / sizeof(bad_three[0]); i++) {
        buf_clear(&out);
        http_append_json_string(&out, str_of(bad_three[i]));
        assert_written("\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    }
}

static void a_problem_names_status_and_code(void **state)
{
    struct http_problem problem = {.status = 422, .code = STR("bad_target")};
    http_problem_write_body(&out, &problem);
    assert_written("{\"type\":\"about:blank\",\"title\":\"Unprocessable Content\",\"status\":422,"
                   "\"code\":\"bad_target\"}");
    buf_clear(&out);
    problem.title = STR("No");
    problem.type = STR("urn:x");
    problem.detail = STR("\"why\"");
    struct http_response response = {.close = true, .head_only = false};
    assert_int_equal(http_problem_write(&out, &problem, &response), 0);
    assert_written(
        "HTTP/1.1 422 Unprocessable Content\r\nContent-Type: application/problem+json\r\n"
        "Content-Length: 81\r\nConnection: close\r\n\r\n"
        "{\"type\":\"urn:x\",\"title\":\"No\",\"status\":422,\"code\":\"bad_target\","
        "\"detail\":\"\\\"why\\\"\"}");
}

static void a_refusal_closes_and_says_what_would_do(void **state)
{
    assert_int_equal(http_refusal_write(&out, HTTP_REFUSED_BARE_LF), 0);
    const char *text = buf_cstr(&out);
    assert_non_null(strstr(text, "HTTP/1.1 400 Bad Request\r\n"));
    assert_non_null(strstr(text, "Connection: close\r\n"));
    assert_non_null(strstr(text, "\"code\":\"bare_lf\""));
    buf_clear(&out);
    http_refusal_write(&out, HTTP_REFUSED_WS_VERSION);
    text = buf_cstr(&out);
    assert_non_null(strstr(text, "HTTP/1.1 426 Upgrade Required\r\n"));
    assert_non_null(strstr(text, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"));
    buf_clear(&out);
    http_refusal_write(&out, HTTP_REFUSED_WS_METHOD);
    assert_non_null(strstr(buf_cstr(&out), "Allow: GET\r\n"));
    for (unsigned i = 1; i < HTTP_REFUSALS; i++) {
        buf_clear(&out);
        assert_int_equal(http_refusal_write(&out, i), 0);
        assert_null(strstr(buf_cstr(&out), "Unknown"));
    }
}

static void every_failed_allocation_is_reported(void **state)
{
    for (unsigned long nth = 1;; nth++) {
        buf_fini(&out);
        mem_fail_nth(nth);
        int err = http_refusal_write(&out, HTTP_REFUSED_TRANSFER_ENCODING);
        if (mem_fail_pending()) {
            mem_fail_nth(0);
            assert_int_equal(err, 0);
            assert_true(nth > 4);
            return;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
    }
}

static void the_interim_response_is_whole(void **state)
{
    assert_string_equal(HTTP_CONTINUE.ptr, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(HTTP_CONTINUE.len, strlen(HTTP_CONTINUE.ptr));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_response_has_its_length_type_and_body, reset),
        cmocka_unit_test_teardown(close_head_and_stream_are_written_as_asked, reset),
        cmocka_unit_test_teardown(a_status_without_a_body_gets_no_length, reset),
        cmocka_unit_test_teardown(a_header_cannot_split_the_response, reset),
        cmocka_unit_test_teardown(json_strings_are_escaped_and_always_utf_8, reset),
        cmocka_unit_test_teardown(a_problem_names_status_and_code, reset),
        cmocka_unit_test_teardown(a_refusal_closes_and_says_what_would_do, reset),
        cmocka_unit_test_teardown(every_failed_allocation_is_reported, reset),
        cmocka_unit_test_teardown(the_interim_response_is_whole, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
