#include "proto/http_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct http_limits LIMITS = {8192, 8192, 16384, HTTP_HEADERS_MAX};
static struct http_request request;

static const char PUSH[] = "POST /v1/users/42/messages?type=a%20b HTTP/1.1\r\n"
                           "Host: push.example:8081\r\n"
                           "Authorization: Bearer tg_0123456789abcdef\r\n"
                           "Content-Type: application/json\r\n"
                           "Content-Length: 17\r\n"
                           "\r\n";

static const char UPGRADE[] = "GET /v1/ws HTTP/1.1\r\n"
                              "Host: [::1]:8080\r\n"
                              "Upgrade: h2c, WebSocket\r\n"
                              "Connection: keep-alive\r\n"
                              "Connection: ,uPGRADE\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                              "Sec-WebSocket-Version: 13\r\n"
                              "\r\n";

static const char CHUNKED[] = "\r\nPUT http://other.example/a/b?c HTTP/1.1\r\n"
                              "Host: ignored.example\r\n"
                              "X-Text: gr\xc3\xbc\xff\t tab \r\n"
                              "X-Empty:\r\n"
                              "transfer-ENCODING:\tChunked \r\n"
                              "Expect: 100-Continue\r\n"
                              "\r\n";

static ssize_t parse(struct str text)
{
    return http_request_parse(&request, &LIMITS, (const uint8_t *)text.ptr, text.len, NULL);
}

static ssize_t parse_text(const char *text)
{
    return parse(str_of(text));
}

/* Every byte comes alone, in memory of exactly the length so far. Attempts are made at line ends,
 * so a text to be refused must have one behind its fault. */
static ssize_t parse_byte_by_byte(struct str text, const struct http_limits *limits)
{
    size_t scanned = 0;
    for (size_t len = 1; len <= text.len; len++) {
        uint8_t *copy = malloc(len);
        memcpy(copy, text.ptr, len);
        ssize_t result = http_request_parse(&request, limits, copy, len, &scanned);
        free(copy);
        if (result) {
            return result;
        }
    }
    return 0;
}

static void assert_str(struct str actual, const char *expected)
{
    assert_non_null(actual.ptr);
    if (!str_equal(actual, str_of(expected))) {
        fail_msg("'%.*s' is not '%s'", STR_ARG(actual), expected);
    }
}

static void assert_refused(struct str text, enum http_refusal refusal)
{
    ssize_t result = parse(text);
    if (result >= 0 || request.refusal != refusal) {
        fail_msg("result %zd, %s instead of %s for: %.*s", result,
                 http_refusal_slug(request.refusal), http_refusal_slug(refusal), STR_ARG(text));
    }
    assert_int_equal(result, http_refusal_err(refusal));
    struct buf longer = {0};
    buf_append_str(&longer, text);
    buf_append_str(&longer, STR("\r\n\r\n"));
    assert_int_equal(parse_byte_by_byte(buf_str(&longer), &LIMITS), result);
    assert_int_equal(request.refusal, refusal);
    buf_fini(&longer);
}

static void a_push_gives_its_method_target_headers_and_length(void **state)
{
    assert_int_equal(parse_text(PUSH), sizeof(PUSH) - 1);
    assert_int_equal(request.method, HTTP_METHOD_POST);
    assert_str(request.method_text, "POST");
    assert_str(request.target, "/v1/users/42/messages?type=a%20b");
    assert_str(request.path, "/v1/users/42/messages");
    assert_str(request.query, "type=a%20b");
    assert_str(request.host, "push.example:8081");
    assert_int_equal(request.minor_version, 1);
    assert_int_equal(request.content_length, 17);
    assert_false(request.chunked);
    assert_true(request.keep_alive);
    assert_false(request.expect_continue);
    assert_false(request.upgrade_websocket);
    assert_true(http_request_has_body(&request));
    assert_int_equal(request.fields.count, 4);
    assert_str(request.fields.headers[2].name, "Content-Type");
    assert_str(http_request_field(&request, HTTP_FIELD_AUTHORIZATION),
               "Bearer tg_0123456789abcdef");
    assert_str(http_request_header(&request, "CONTENT-type"), "application/json");
    assert_int_equal(http_request_header_count(&request, "host"), 1);
    assert_null(http_request_header(&request, "X-None").ptr);
    assert_null(http_request_field(&request, HTTP_FIELD_ORIGIN).ptr);
}

static void an_upgrade_is_seen_in_any_case_and_over_several_lines(void **state)
{
    assert_int_equal(parse_text(UPGRADE), sizeof(UPGRADE) - 1);
    assert_true(request.upgrade_websocket);
    assert_true(request.keep_alive);
    assert_str(request.host, "[::1]:8080");
    assert_int_equal(request.content_length, -1);
    assert_false(http_request_has_body(&request));
    assert_int_equal(http_request_header_count(&request, "connection"), 2);
}

static void an_upgrade_needs_both_tokens_and_http_1_1(void **state)
{
    const char *plain[] = {
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgraded\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websockets\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(plain); i++) {
        assert_true(parse_text(plain[i]) > 0);
        assert_false(request.upgrade_websocket);
    }
}

static void an_absolute_target_overrides_the_host_header(void **state)
{
    assert_int_equal(parse_text(CHUNKED), sizeof(CHUNKED) - 1);
    assert_str(request.host, "other.example");
    assert_str(request.path, "/a/b");
    assert_str(request.query, "c");
    assert_str(request.target, "http://other.example/a/b?c");
    assert_true(request.chunked);
    assert_int_equal(request.content_length, -1);
    assert_true(request.expect_continue);
    assert_str(http_request_header(&request, "x-text"), "gr\xc3\xbc\xff\t tab");
    assert_str(http_request_header(&request, "x-empty"), "");

    assert_true(parse_text("GET HTTPS://[::1]:9 HTTP/1.1\r\nHost: b\r\n\r\n") > 0);
    assert_str(request.host, "[::1]:9");
    assert_str(request.path, "/");
    assert_null(request.query.ptr);
    assert_true(parse_text("GET http://a?b HTTP/1.1\r\nHost: b\r\n\r\n") > 0);
    assert_str(request.path, "/");
    assert_str(request.query, "b");
}

static void a_head_cut_at_any_byte_asks_for_more(void **state)
{
    const char *heads[] = {PUSH, UPGRADE, CHUNKED};
    for (size_t i = 0; i < COUNT(heads); i++) {
        struct str head = str_of(heads[i]);
        for (size_t len = 0; len < head.len; len++) {
            assert_int_equal(parse((struct str){head.ptr, len}), 0);
            size_t scanned = 0;
            const uint8_t *data = (const uint8_t *)head.ptr;
            assert_int_equal(http_request_parse(&request, &LIMITS, data, len, &scanned), 0);
            assert_int_equal(http_request_parse(&request, &LIMITS, data, head.len, &scanned),
                             head.len);
            assert_int_equal(scanned, 0);
        }
        assert_int_equal(parse_byte_by_byte(head, &LIMITS), head.len);
    }
}

static void what_follows_the_head_is_not_touched(void **state)
{
    struct buf pipeline = {0};
    buf_append_str(&pipeline, str_of(UPGRADE));
    buf_append_str(&pipeline, STR("\x81\x85\0\0\0\0hello"));
    assert_int_equal(parse(buf_str(&pipeline)), sizeof(UPGRADE) - 1);
    buf_fini(&pipeline);
}

static void http_1_0_closes_unless_asked_and_needs_no_host(void **state)
{
    assert_true(parse_text("GET / HTTP/1.0\r\n\r\n") > 0);
    assert_int_equal(request.minor_version, 0);
    assert_int_equal(request.host.len, 0);
    assert_false(request.keep_alive);
    assert_true(parse_text("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n") > 0);
    assert_true(request.keep_alive);
    assert_true(parse_text("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n") > 0);
    assert_false(request.keep_alive);
    assert_true(parse_text("GET / HTTP/1.1\r\nHost: a\r\nConnection: x,, CLOSE\r\n\r\n") > 0);
    assert_false(request.keep_alive);
}

static void expectations_are_told_apart(void **state)
{
    const struct {
        const char *text;
        bool expect_continue;
        bool expect_unknown;
    } cases[] = {
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", true,
         false},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", false,
         false},
        {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", false, false},
        {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", false, true},
        {"GET / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", false, true},
        {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n", false,
         true},
        {"PUT / HTTP/1.0\r\nContent-Length: 1\r\nExpect: other\r\n\r\n", false, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_true(parse_text(cases[i].text) > 0);
        assert_int_equal(request.expect_continue, cases[i].expect_continue);
        assert_int_equal(request.expect_unknown, cases[i].expect_unknown);
    }
}

static void any_token_is_a_method_with_its_case(void **state)
{
    const struct {
        const char *text;
        enum http_method method;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_GET},
        {"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_HEAD},
        {"POST / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_POST},
        {"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_PUT},
        {"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_DELETE},
        {"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_PATCH},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_OPTIONS},
        {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_TRACE},
        {"get / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_OTHER},
        {"BR3W!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_OTHER},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_true(parse_text(cases[i].text) > 0);
        assert_int_equal(request.method, cases[i].method);
    }
    assert_string_equal(http_method_name(HTTP_METHOD_DELETE), "DELETE");
    assert_string_equal(http_method_name(HTTP_METHOD_OTHER), "other");
}

static void odd_but_valid_hosts_pass(void **state)
{
    const char *hosts[] = {"a",  "A-b_c.d~e:80", "127.0.0.1:65535", "[::ffff:1.2.3.4]",
                           "a:", "[fe80::1]:1"};
    for (size_t i = 0; i < COUNT(hosts); i++) {
        char text[128];
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", hosts[i]);
        assert_true(parse_text(text) > 0);
        assert_str(request.host, hosts[i]);
    }
}

static void bad_hosts_are_refused(void **state)
{
    const char *hosts[] = {"",      "a b",     "a,b",    "a/b",   "u@a",     "a:80:80",
                           "a:x",   "a:65536", "[::1",   "[]",    "[::1]x",  "[g]",
                           "a\xff", "%61",     ":80",    "a:+80", "[::1]:x", "a?b",
                           "a#b",   "a\\b",    "[::1]]", "a\tb",  "<a>"};
    for (size_t i = 0; i < COUNT(hosts); i++) {
        char text[128];
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", hosts[i]);
        assert_refused(str_of(text), HTTP_REFUSED_BAD_HOST);
    }
}

struct refusal_case {
    struct str text;
    enum http_refusal refusal;
};

#define REFUSED(text, refusal)                           \
    {                                                    \
        {text, sizeof(text) - 1}, HTTP_REFUSED_##refusal \
    }
#define AFTER_HOST(lines) "GET / HTTP/1.1\r\nHost: a\r\n" lines "\r\n"

static void assert_all_refused(const struct refusal_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_refused(cases[i].text, cases[i].refusal);
    }
}

static void broken_request_lines_are_refused(void **state)
{
    const struct refusal_case cases[] = {
        REFUSED("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", EMPTY_LINES),
        REFUSED("\n", BARE_LF),
        REFUSED("\rG", BARE_CR),
        REFUSED(" GET / HTTP/1.1\r\n", BAD_METHOD),
        REFUSED("\x16\x03\x01\x02", BAD_METHOD),
        REFUSED("G(T / HTTP/1.1\r\n", BAD_METHOD),
        REFUSED("GET\r\n", BAD_METHOD),
        REFUSED("GET\n", BARE_LF),
        REFUSED("G\0T / HTTP/1.1\r\n", BAD_METHOD),
        REFUSED("AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDD", METHOD_TOO_LONG),
        REFUSED("CONNECT a:443 HTTP/1.1\r\n", CONNECT),
        REFUSED("GET  / HTTP/1.1\r\n", BAD_VERSION),
        REFUSED("GET /\r\n", BAD_VERSION),
        REFUSED("GET /\n", BARE_LF),
        REFUSED("GET /a b HTTP/1.1\r\n", BAD_VERSION),
        REFUSED("GET /\tHTTP/1.1\r\n", BAD_TARGET),
        REFUSED("GET /\xfeHTTP/1.1\r\n", BAD_TARGET),
        REFUSED("GET /  HTTP/1.1\r\n", BAD_VERSION),
        REFUSED("GET / HTTP/1.1 \r\n", BAD_VERSION),
        REFUSED("GET / http/1.1\r\n", BAD_VERSION),
        REFUSED("GET / HTTP/1.10\r\n", BAD_VERSION),
        REFUSED("GET / HTTP/11\r\n", BAD_VERSION),
        REFUSED("GET / HTTP/1.1\n", BARE_LF),
        REFUSED("GET / HTTP/1.1\rX", BARE_CR),
        REFUSED("GET / HTTP/0.9\r\n", VERSION_UNSUPPORTED),
        REFUSED("GET / HTTP/1.2\r\n", VERSION_UNSUPPORTED),
        REFUSED("GET / HTTP/2.0\r\n", VERSION_UNSUPPORTED),
        REFUSED("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION_UNSUPPORTED),
    };
    assert_all_refused(cases, COUNT(cases));
}

static void broken_targets_are_refused(void **state)
{
    const char *targets[] = {"a",         "*",       "a/b",          "http:/a",     "http://",
                             "http:///a", "ftp://a", "http://u@a/b", "http://a b/", "/a#b",
                             "/a\"b",     "/<a>",    "/a\x7f",       "/\xc3\xbc",   "//\x01",
                             "/a\tb",     "",        "https://a:b/"};
    for (size_t i = 0; i < COUNT(targets); i++) {
        char text[128];
        int len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", targets[i]);
        ssize_t result = parse(str_make(text, (size_t)len));
        assert_int_equal(result, ERR_PROTOCOL);
        assert_int_equal(http_refusal_status(request.refusal), 400);
        assert_int_equal(parse_byte_by_byte(str_make(text, (size_t)len), &LIMITS), ERR_PROTOCOL);
    }
}

static void nothing_but_a_space_ends_method_and_target(void **state)
{
    for (int byte = 0; byte < 256; byte++) {
        char after_target[] = "GET /_HTTP/1.1\r\nHost: a\r\n\r\n";
        char after_method[] = "GET_/ HTTP/1.1\r\nHost: a\r\n\r\n";
        after_target[5] = (char)byte;
        after_method[3] = (char)byte;
        ssize_t expected = byte == ' ' ? (ssize_t)sizeof(after_target) - 1 : ERR_PROTOCOL;
        assert_int_equal(parse(str_make(after_target, sizeof(after_target) - 1)), expected);
        assert_int_equal(parse(str_make(after_method, sizeof(after_method) - 1)), expected);
    }
}

static void broken_header_lines_are_refused(void **state)
{
    const struct refusal_case cases[] = {
        REFUSED(AFTER_HOST("A: b\n"), BARE_LF),
        REFUSED(AFTER_HOST("A\n"), BARE_LF),
        REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\n", BARE_LF),
        REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\rX", BARE_CR),
        REFUSED(AFTER_HOST("A: b\rc\r\n"), BARE_CR),
        REFUSED(AFTER_HOST("A: b\r\r\n"), BARE_CR),
        REFUSED(AFTER_HOST("A: b\r\n c\r\n"), OBS_FOLD),
        REFUSED(AFTER_HOST("A: b\r\n\tc\r\n"), OBS_FOLD),
        REFUSED("GET / HTTP/1.1\r\n Host: a\r\n\r\n", OBS_FOLD),
        REFUSED(AFTER_HOST("A : b\r\n"), SPACE_BEFORE_COLON),
        REFUSED(AFTER_HOST("A\t: b\r\n"), SPACE_BEFORE_COLON),
        REFUSED(AFTER_HOST(": b\r\n"), BAD_HEADER_NAME),
        REFUSED(AFTER_HOST("A\r\n"), BAD_HEADER_NAME),
        REFUSED(AFTER_HOST("A(b): c\r\n"), BAD_HEADER_NAME),
        REFUSED(AFTER_HOST("A\0: c\r\n"), BAD_HEADER_NAME),
        REFUSED(AFTER_HOST("\xc3\xbc: c\r\n"), BAD_HEADER_NAME),
        REFUSED(AFTER_HOST("A: b\0c\r\n"), BAD_HEADER_VALUE),
        REFUSED(AFTER_HOST("A: b\x1b[0m\r\n"), BAD_HEADER_VALUE),
        REFUSED(AFTER_HOST("A: 12345678901234567890\x7f\r\n"), BAD_HEADER_VALUE),
        REFUSED(AFTER_HOST("A: b\vc\r\n"), BAD_HEADER_VALUE),
        REFUSED("GET / HTTP/1.1\r\n\r\n", HOST_MISSING),
        REFUSED("GET http://a/ HTTP/1.1\r\n\r\n", HOST_MISSING),
        REFUSED(AFTER_HOST("hOST: a\r\n"), HOST_REPEATED),
        REFUSED("GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n", BAD_HEADER_VALUE),
    };
    assert_all_refused(cases, COUNT(cases));
}

static void every_ambiguous_framing_is_refused(void **state)
{
    const struct refusal_case cases[] = {
        REFUSED(AFTER_HOST("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
                LENGTH_AND_ENCODING),
        REFUSED(AFTER_HOST("Transfer-Encoding: gzip\r\nContent-Length: 3\r\n"),
                LENGTH_AND_ENCODING),
        REFUSED(AFTER_HOST("Content-Length: 3\r\nContent-Length: 4\r\n"), CONTENT_LENGTH_REPEATED),
        REFUSED(AFTER_HOST("Content-Length: 3\r\ncontent-length: 3\r\n"), CONTENT_LENGTH_REPEATED),
        REFUSED(AFTER_HOST("Content-Length: +5\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Content-Length: 5,5\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Content-Length: 5 5\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Content-Length: 0x5\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Content-Length:\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Content-Length: -1\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Content-Length: 1.0\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Content-Length: 9223372036854775808\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Content-Length: 18446744073709551616\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Content-Length: 18446744073709551621\r\n"), BAD_CONTENT_LENGTH),
        REFUSED(AFTER_HOST("Transfer-Encoding: gzip, chunked\r\n"), TRANSFER_ENCODING),
        REFUSED(AFTER_HOST("Transfer-Encoding: identity\r\n"), TRANSFER_ENCODING),
        REFUSED(AFTER_HOST("Transfer-Encoding: chunked, chunked\r\n"), TRANSFER_ENCODING),
        REFUSED(AFTER_HOST("Transfer-Encoding: chunked;q=1\r\n"), TRANSFER_ENCODING),
        REFUSED(AFTER_HOST("Transfer-Encoding: xchunked\r\n"), TRANSFER_ENCODING),
        REFUSED(AFTER_HOST("Transfer-Encoding: \"chunked\"\r\n"), TRANSFER_ENCODING),
        REFUSED(AFTER_HOST("Transfer-Encoding:\r\n"), TRANSFER_ENCODING),
        REFUSED(AFTER_HOST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
                TRANSFER_ENCODING),
        REFUSED("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ENCODING_IN_HTTP_1_0),
    };
    assert_all_refused(cases, COUNT(cases));
    assert_true(parse_text(AFTER_HOST("Content-Length: 9223372036854775807\r\n")) > 0);
    assert_true(request.content_length == INT64_MAX);
    assert_true(parse_text(AFTER_HOST("Content-Length: 007\r\n")) > 0);
    assert_int_equal(request.content_length, 7);
}

static void append_run(struct buf *buf, char c, size_t count)
{
    memset(buf_reserve(buf, count), c, count);
    buf->len += count;
}

/* A head with a target, one header line and a number of further lines of these lengths. */
static struct str make_head(struct buf *buf, size_t target_len, size_t line_len, size_t lines)
{
    buf_clear(buf);
    buf_append_str(buf, STR("GET /"));
    append_run(buf, 'a', target_len - 1);
    buf_append_str(buf, STR(" HTTP/1.1\r\nHost: a\r\n"));
    for (size_t i = 0; i < lines; i++) {
        buf_append_str(buf, STR("X:"));
        append_run(buf, 'b', line_len - 2);
        buf_append_str(buf, STR("\r\n"));
    }
    buf_append_str(buf, STR("\r\n"));
    assert_int_equal(buf_err(buf), 0);
    return buf_str(buf);
}

static void the_limits_hold_to_the_byte(void **state)
{
    struct buf buf = {0};
    assert_true(parse(make_head(&buf, 8192, 3, 1)) > 0);
    assert_refused(make_head(&buf, 8193, 3, 1), HTTP_REFUSED_URI_TOO_LONG);
    assert_true(parse(make_head(&buf, 1, 8192, 1)) > 0);
    assert_refused(make_head(&buf, 1, 8193, 1), HTTP_REFUSED_HEADER_LINE_TOO_LONG);
    assert_true(parse(make_head(&buf, 1, 3, 99)) > 0);
    assert_int_equal(request.fields.count, 100);
    assert_refused(make_head(&buf, 1, 3, 100), HTTP_REFUSED_TOO_MANY_HEADERS);

    /* Two lines that fill the head to 16,384 bytes, and then one byte more. */
    size_t overhead = make_head(&buf, 1, 2, 2).len - 4;
    assert_int_equal(parse(make_head(&buf, 1, (16384 - overhead) / 2, 2)),
                     overhead + (16384 - overhead) / 2 * 2);
    size_t rest = 16384 - buf.len;
    assert_true(rest < 2);
    struct str full = make_head(&buf, 1 + rest, (16384 - overhead) / 2, 2);
    assert_int_equal(full.len, 16384);
    assert_int_equal(parse(full), 16384);
    assert_int_equal(parse_byte_by_byte(full, &LIMITS), 16384);
    assert_refused(make_head(&buf, 2 + rest, (16384 - overhead) / 2, 2),
                   HTTP_REFUSED_HEAD_TOO_LARGE);
    buf_fini(&buf);
}

static void smaller_limits_are_kept_too(void **state)
{
    const struct http_limits small = {10, 20, 64, 2};
    const struct {
        const char *text;
        enum http_refusal refusal;
    } cases[] = {
        {"GET /2345678901 HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_REFUSED_URI_TOO_LONG},
        {"GET / HTTP/1.1\r\nHost: 789012345678901\r\n\r\n", HTTP_REFUSED_HEADER_LINE_TOO_LONG},
        {"GET / HTTP/1.1\r\nthis-name-is-too-long: a\r\n", HTTP_REFUSED_HEADER_LINE_TOO_LONG},
        {"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n", HTTP_REFUSED_TOO_MANY_HEADERS},
        {"GET /34567890 HTTP/1.1\r\nHost: 78901234567890\r\nA: 4567890123456789\r\n\r\n",
         HTTP_REFUSED_HEAD_TOO_LARGE},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct str text = str_of(cases[i].text);
        ssize_t result = http_request_parse(&request, &small, (const uint8_t *)text.ptr, text.len,
                                            NULL);
        assert_int_equal(result, http_refusal_err(cases[i].refusal));
        assert_int_equal(request.refusal, cases[i].refusal);
    }
}

static void a_limit_is_noticed_before_the_head_ends(void **state)
{
    struct buf buf = {0};
    size_t scanned = 0;
    ssize_t result = 0;
    buf_append_str(&buf, STR("GET / HTTP/1.1\r\nHost: a\r\nX: "));
    while (result == 0 && buf.len < 10000) {
        append_run(&buf, 'b', 100);
        result = http_request_parse(&request, &LIMITS, buf.data, buf.len, &scanned);
    }
    assert_int_equal(request.refusal, HTTP_REFUSED_HEADER_LINE_TOO_LONG);
    assert_true(buf.len < 8192 + 1200);
    buf_fini(&buf);
}

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* BAD-INPUT H5. About 0.1 ms; a parser that starts anew with every byte takes over 80. */
static void sixteen_kib_byte_by_byte_cost_linear_time(void **state)
{
    struct buf buf = {0};
    struct str heads[2];
    struct buf lines = {0};
    heads[0] = make_head(&buf, 1, 7000, 2);
    heads[1] = make_head(&lines, 1, 150, 99);
    for (int i = 0; i < 2; i++) {
        double start = cpu_ms();
        size_t scanned = 0;
        ssize_t result = 0;
        for (size_t len = 1; len <= heads[i].len && result == 0; len++) {
            result = http_request_parse(&request, &LIMITS, (const uint8_t *)heads[i].ptr, len,
                                        &scanned);
        }
        assert_int_equal(result, heads[i].len);
        assert_true(cpu_ms() - start < 25);
    }
    buf_fini(&buf);
    buf_fini(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_push_gives_its_method_target_headers_and_length),
        cmocka_unit_test(an_upgrade_is_seen_in_any_case_and_over_several_lines),
        cmocka_unit_test(an_upgrade_needs_both_tokens_and_http_1_1),
        cmocka_unit_test(an_absolute_target_overrides_the_host_header),
        cmocka_unit_test(a_head_cut_at_any_byte_asks_for_more),
        cmocka_unit_test(what_follows_the_head_is_not_touched),
        cmocka_unit_test(http_1_0_closes_unless_asked_and_needs_no_host),
        cmocka_unit_test(expectations_are_told_apart),
        cmocka_unit_test(any_token_is_a_method_with_its_case),
        cmocka_unit_test(odd_but_valid_hosts_pass),
        cmocka_unit_test(bad_hosts_are_refused),
        cmocka_unit_test(broken_request_lines_are_refused),
        cmocka_unit_test(broken_targets_are_refused),
        cmocka_unit_test(nothing_but_a_space_ends_method_and_target),
        cmocka_unit_test(broken_header_lines_are_refused),
        cmocka_unit_test(every_ambiguous_framing_is_refused),
        cmocka_unit_test(the_limits_hold_to_the_byte),
        cmocka_unit_test(smaller_limits_are_kept_too),
        cmocka_unit_test(a_limit_is_noticed_before_the_head_ends),
        cmocka_unit_test(sixteen_kib_byte_by_byte_cost_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
