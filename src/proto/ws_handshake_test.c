#include "proto/ws_handshake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HEAD "GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"

static struct http_request request;

static enum http_refusal check(const char *text)
{
    ssize_t result = http_request_parse(&request, &HTTP_LIMITS_DEFAULT, (const uint8_t *)text,
                                        strlen(text), NULL);
    assert_true(result > 0);
    return ws_handshake_check(&request);
}

static void the_sample_of_the_rfc_is_answered_as_there(void **state)
{
    assert_int_equal(check(HEAD KEY VERSION "\r\n"), HTTP_REFUSED_NOT);
    char out[WS_HANDSHAKE_RESPONSE_MAX];
    ssize_t len = ws_handshake_write(out, sizeof(out), &request, (struct str){NULL, 0}, STR(""));
    const char *expected = "HTTP/1.1 101 Switching Protocols\r\n"
                           "Upgrade: websocket\r\n"
                           "Connection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(out, expected, strlen(expected));
}

static void protocol_and_extensions_are_passed_through(void **state)
{
    assert_int_equal(check(HEAD KEY VERSION "\r\n"), HTTP_REFUSED_NOT);
    struct str extension = STR("permessage-deflate; client_no_context_takeover; "
                               "server_no_context_takeover; client_max_window_bits=15");
    char *out = malloc(WS_HANDSHAKE_RESPONSE_MAX);
    ssize_t len = ws_handshake_write(out, WS_HANDSHAKE_RESPONSE_MAX, &request,
                                     STR("tidegate.v1.json"), extension);
    assert_true(len > 0);
    struct str text = str_make(out, (size_t)len);
    assert_true(str_ends_with(text, STR("client_max_window_bits=15\r\n\r\n")));
    assert_non_null(memmem(out, text.len, "\r\nSec-WebSocket-Protocol: tidegate.v1.json\r\n", 44));
    char *tight = malloc(text.len);
    for (size_t cap = 0; cap < text.len; cap++) {
        assert_int_equal(
            ws_handshake_write(tight, cap, &request, STR("tidegate.v1.json"), extension),
            ERR_TOO_LARGE);
    }
    assert_int_equal(
        ws_handshake_write(tight, text.len, &request, STR("tidegate.v1.json"), extension), len);
    free(tight);
    free(out);
}

/* BAD-INPUT H1 to H3 */
static void handshakes_that_break_the_rfc_are_refused(void **state)
{
    const struct {
        const char *text;
        enum http_refusal refusal;
        int status;
    } cases[] = {
        {HEAD VERSION "\r\n", HTTP_REFUSED_WS_KEY, 400},
        {HEAD KEY KEY VERSION "\r\n", HTTP_REFUSED_WS_KEY, 400},
        {HEAD VERSION "Sec-WebSocket-Key:\r\n\r\n", HTTP_REFUSED_WS_KEY, 400},
        {HEAD VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n", HTTP_REFUSED_WS_KEY,
         400},
        {HEAD VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n\r\n", HTTP_REFUSED_WS_KEY,
         400},
        {HEAD VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n\r\n", HTTP_REFUSED_WS_KEY,
         400},
        {HEAD VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-Q==\r\n\r\n", HTTP_REFUSED_WS_KEY,
         400},
        {HEAD VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZA===\r\n\r\n", HTTP_REFUSED_WS_KEY,
         400},
        {HEAD KEY "\r\n", HTTP_REFUSED_WS_VERSION, 426},
        {HEAD KEY "Sec-WebSocket-Version: 8\r\n\r\n", HTTP_REFUSED_WS_VERSION, 426},
        {HEAD KEY "Sec-WebSocket-Version: 13, 8\r\n\r\n", HTTP_REFUSED_WS_VERSION, 426},
        {HEAD KEY "Sec-WebSocket-Version: 013\r\n\r\n", HTTP_REFUSED_WS_VERSION, 426},
        {HEAD KEY VERSION VERSION "\r\n", HTTP_REFUSED_WS_VERSION, 426},
        {"GET / HTTP/1.1\r\nHost: a\r\n" KEY VERSION "\r\n", HTTP_REFUSED_WS_UPGRADE, 426},
        {"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" KEY VERSION "\r\n",
         HTTP_REFUSED_WS_UPGRADE, 426},
        {"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" KEY VERSION
         "\r\n",
         HTTP_REFUSED_WS_METHOD, 405},
        {HEAD KEY VERSION "Content-Length: 3\r\n\r\n", HTTP_REFUSED_WS_BODY, 400},
        {HEAD KEY VERSION "Transfer-Encoding: chunked\r\n\r\n", HTTP_REFUSED_WS_BODY, 400},
        {HEAD KEY VERSION "Sec-WebSocket-Protocol: a b\r\n\r\n", HTTP_REFUSED_WS_PROTOCOL, 400},
        {HEAD KEY VERSION "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: \"b\"\r\n\r\n",
         HTTP_REFUSED_WS_PROTOCOL, 400},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(check(cases[i].text), cases[i].refusal);
        assert_int_equal(http_refusal_status(cases[i].refusal), cases[i].status);
    }
    assert_int_equal(check(HEAD KEY VERSION "Content-Length: 0\r\n\r\n"), HTTP_REFUSED_NOT);
}

static void the_first_of_ours_that_is_offered_is_picked(void **state)
{
    const struct str ours[] = {STR("tidegate.v1.json"), STR("echo")};
    const struct {
        const char *lines;
        const char *picked;
    } cases[] = {
        {"", NULL},
        {"Sec-WebSocket-Protocol: other\r\n", NULL},
        {"Sec-WebSocket-Protocol: TIDEGATE.v1.json\r\n", NULL},
        {"Sec-WebSocket-Protocol: tidegate.v1\r\n", NULL},
        {"Sec-WebSocket-Protocol:\r\n", NULL},
        {"Sec-WebSocket-Protocol: echo\r\n", "echo"},
        {"Sec-WebSocket-Protocol: echo , tidegate.v1.json\r\n", "tidegate.v1.json"},
        {"Sec-WebSocket-Protocol: x,echo\r\nSec-WebSocket-Protocol: ,\ttidegate.v1.json,\r\n",
         "tidegate.v1.json"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[512];
        snprintf(text, sizeof(text), HEAD KEY VERSION "%s\r\n", cases[i].lines);
        assert_int_equal(check(text), HTTP_REFUSED_NOT);
        struct str picked = ws_handshake_pick_protocol(&request, ours, 2);
        assert_true(cases[i].picked ? str_equal(picked, str_of(cases[i].picked)) : !picked.ptr);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sample_of_the_rfc_is_answered_as_there),
        cmocka_unit_test(protocol_and_extensions_are_passed_through),
        cmocka_unit_test(handshakes_that_break_the_rfc_are_refused),
        cmocka_unit_test(the_first_of_ours_that_is_offered_is_picked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
