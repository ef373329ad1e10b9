#include "proto/ws_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "proto/http_request.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADED "Upgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static struct http_answer answer;
static struct http_request request;

static const struct ws_client_request ASKED = {
    .host = {"a:1", 3},
    .target = {"/v1/ws?x=y", 10},
    .key = {"dGhlIHNhbXBsZSBub25jZQ==", WS_KEY_LEN},
    .protocols = {"echo, tidegate.v1.json", 22},
};

/* The answer borrows from these bytes, in memory of exactly their length. */
static uint8_t *wire;

static ssize_t parse(struct str text)
{
    free(wire);
    wire = malloc(text.len ? text.len : 1);
    memcpy(wire, text.ptr, text.len);
    return http_answer_parse(&answer, &HTTP_LIMITS_DEFAULT, wire, text.len);
}

static void a_key_is_base64_of_sixteen_bytes(void **state)
{
    char key[WS_KEY_LEN + 1];
    ws_client_make_key((const uint8_t *)"the sample nonce", key);
    assert_string_equal(key, "dGhlIHNhbXBsZSBub25jZQ==");
}

static void our_server_accepts_our_client(void **state)
{
    struct ws_client_request asked = ASKED;
    const struct http_pair extra[] = {{STR("Authorization"), STR("Bearer x")}};
    asked.origin = STR("https://a");
    asked.extensions = STR("permessage-deflate");
    asked.headers = extra;
    asked.header_count = 1;
    struct buf sent = {0};
    assert_int_equal(ws_client_write_request(&sent, &asked), 0);
    assert_int_equal(http_request_parse(&request, &HTTP_LIMITS_DEFAULT, sent.data, sent.len, NULL),
                     sent.len);
    assert_int_equal(ws_handshake_check(&request), HTTP_REFUSED_NOT);
    assert_true(str_equal(http_request_field(&request, HTTP_FIELD_ORIGIN), asked.origin));
    assert_true(str_equal(http_request_header(&request, "authorization"), STR("Bearer x")));

    char reply[WS_HANDSHAKE_RESPONSE_MAX];
    ssize_t len = ws_handshake_write(reply, sizeof(reply), &request, STR("tidegate.v1.json"),
                                     STR("permessage-deflate"));
    assert_int_equal(
        http_answer_parse(&answer, &HTTP_LIMITS_DEFAULT, (uint8_t *)reply, (size_t)len), len);
    assert_int_equal(ws_client_check_answer(&answer, &asked), 0);
    asked.extensions = STR("");
    assert_int_equal(ws_client_check_answer(&answer, &asked), ERR_PROTOCOL);
    buf_fini(&sent);
}

static void a_request_that_would_split_is_not_written(void **state)
{
    struct buf sent = {0};
    struct ws_client_request bad = ASKED;
    bad.target = STR("/a b");
    assert_int_equal(ws_client_write_request(&sent, &bad), ERR_SYNTAX);
    bad = ASKED;
    bad.target = STR("");
    assert_int_equal(ws_client_write_request(&sent, &bad), ERR_SYNTAX);
    bad = ASKED;
    bad.host = STR("a\r\nX: y");
    assert_int_equal(ws_client_write_request(&sent, &bad), ERR_SYNTAX);
    bad = ASKED;
    const struct http_pair extra[] = {{STR("X Y"), STR("z")}};
    bad.headers = extra;
    bad.header_count = 1;
    assert_int_equal(ws_client_write_request(&sent, &bad), ERR_SYNTAX);
    assert_int_equal(sent.len, 0);
}

static void the_101_must_be_the_answer_to_our_key(void **state)
{
    const struct {
        const char *text;
        int result;
    } cases[] = {
        {SWITCHING UPGRADED ACCEPT "\r\n", 0},
        {SWITCHING UPGRADED ACCEPT "Sec-WebSocket-Protocol: tidegate.v1.json\r\n\r\n", 0},
        {"HTTP/1.1 200 OK\r\n" UPGRADED ACCEPT "\r\n", ERR_DENIED},
        {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", ERR_DENIED},
        {SWITCHING UPGRADED "\r\n", ERR_PROTOCOL},
        {SWITCHING UPGRADED ACCEPT ACCEPT "\r\n", ERR_PROTOCOL},
        {SWITCHING UPGRADED "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
         ERR_PROTOCOL},
        {SWITCHING "Upgrade: websocket\r\n" ACCEPT "\r\n", ERR_PROTOCOL},
        {SWITCHING "Connection: upgrade\r\n" ACCEPT "\r\n", ERR_PROTOCOL},
        {SWITCHING UPGRADED ACCEPT "Sec-WebSocket-Protocol: other\r\n\r\n", ERR_PROTOCOL},
        {SWITCHING UPGRADED ACCEPT "Sec-WebSocket-Protocol:\r\n\r\n", ERR_PROTOCOL},
        {SWITCHING UPGRADED ACCEPT
         "Sec-WebSocket-Protocol: echo\r\nSec-WebSocket-Protocol: echo\r\n\r\n",
         ERR_PROTOCOL},
        {SWITCHING UPGRADED ACCEPT "Sec-WebSocket-Extensions: x\r\n\r\n", ERR_PROTOCOL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_true(parse(str_of(cases[i].text)) > 0);
        assert_int_equal(ws_client_check_answer(&answer, &ASKED), cases[i].result);
    }
}

static void an_answer_gives_its_status_and_framing_at_every_split(void **state)
{
    struct str text = STR("HTTP/1.1 202 Accepted\r\nContent-Length: 17\r\nX: y\r\n\r\nbody");
    for (size_t len = 0; len < text.len - 4; len++) {
        assert_int_equal(parse((struct str){text.ptr, len}), 0);
    }
    assert_int_equal(parse(text), text.len - 4);
    assert_int_equal(answer.status, 202);
    assert_int_equal(answer.content_length, 17);
    assert_false(answer.chunked);
    assert_true(answer.keep_alive);
    assert_true(parse(STR("HTTP/1.0 200\r\nConnection: close\r\n\r\n")) > 0);
    assert_int_equal(answer.content_length, -1);
    assert_false(answer.keep_alive);
    assert_true(parse(STR("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n")) > 0);
    assert_true(answer.chunked);
}

static void broken_answers_are_refused(void **state)
{
    const struct {
        const char *text;
        enum http_refusal refusal;
    } cases[] = {
        {"HTTP/2 200 OK\r\n\r\n", HTTP_REFUSED_BAD_VERSION},
        {"HTTP/1.1 2000\r\n\r\n", HTTP_REFUSED_BAD_VERSION},
        {"HTTP/1.1 099 \r\n\r\n", HTTP_REFUSED_BAD_VERSION},
        {"HTTP/1.1 20\r\n\r\n", HTTP_REFUSED_BAD_VERSION},
        {"HTTP/1.2 200 OK\r\n\r\n", HTTP_REFUSED_BAD_VERSION},
        {"\r\n", HTTP_REFUSED_BAD_VERSION},
        {"\n", HTTP_REFUSED_BARE_LF},
        {"HTTP/1.1 200 OK\n\n", HTTP_REFUSED_BARE_LF},
        {"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", HTTP_REFUSED_SPACE_BEFORE_COLON},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
         HTTP_REFUSED_BAD_CONTENT_LENGTH},
        {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", HTTP_REFUSED_BAD_CONTENT_LENGTH},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", HTTP_REFUSED_TRANSFER_ENCODING},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(parse(str_of(cases[i].text)), http_refusal_err(cases[i].refusal));
        assert_int_equal(answer.refusal, cases[i].refusal);
    }
    static char large[20000];
    memset(large, 'a', sizeof(large));
    assert_int_equal(parse(str_make(large, 8193)), ERR_TOO_LARGE);
    assert_int_equal(answer.refusal, HTTP_REFUSED_HEADER_LINE_TOO_LONG);
    size_t at = (size_t)snprintf(large, sizeof(large), "HTTP/1.1 200 OK\r\n");
    while (at < 17000) {
        at += (size_t)snprintf(large + at, sizeof(large) - at, "A: %0500d\r\n", 0);
    }
    assert_int_equal(parse(str_make(large, at)), ERR_TOO_LARGE);
    assert_int_equal(answer.refusal, HTTP_REFUSED_HEAD_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_base64_of_sixteen_bytes),
        cmocka_unit_test(our_server_accepts_our_client),
        cmocka_unit_test(a_request_that_would_split_is_not_written),
        cmocka_unit_test(the_101_must_be_the_answer_to_our_key),
        cmocka_unit_test(an_answer_gives_its_status_and_framing_at_every_split),
        cmocka_unit_test(broken_answers_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(wire);
    return failed;
}
