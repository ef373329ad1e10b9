#include "proto/http_chunked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NEXT "POST /canary HTTP/1.1\r\n"

static struct http_chunked decoder;

/* Decodes in pieces of at most piece bytes; the body is collected. */
static int decode_in_pieces(struct str wire, size_t piece, uint64_t body_max, struct buf *body,
                            size_t *out_consumed)
{
    int result = 0;
    size_t at = 0;
    http_chunked_init(&decoder, body_max);
    while (result == 0 && at < wire.len) {
        size_t len = wire.len - at < piece ? wire.len - at : piece;
        uint8_t *copy = malloc(len);
        memcpy(copy, wire.ptr + at, len);
        size_t body_len;
        size_t consumed;
        result = http_chunked_decode(&decoder, copy, len, &body_len, &consumed);
        assert_true(body_len <= consumed && consumed <= len);
        if (result >= 0) {
            assert_memory_equal(copy + consumed, wire.ptr + at + consumed, len - consumed);
        }
        buf_append(body, copy, body_len);
        free(copy);
        at += consumed;
    }
    *out_consumed = at;
    return result;
}

static void assert_decodes(struct str wire, struct str expected, size_t tail)
{
    for (size_t piece = 1; piece <= wire.len; piece++) {
        struct buf body = {0};
        size_t consumed;
        assert_int_equal(decode_in_pieces(wire, piece, 1000, &body, &consumed), 1);
        assert_true(str_equal(buf_str(&body), expected));
        assert_int_equal(consumed, wire.len - tail);
        assert_int_equal(decoder.body_bytes, expected.len);
        buf_fini(&body);
    }
}

static void assert_refused(struct str wire, uint64_t body_max, enum http_refusal refusal)
{
    for (size_t piece = 1; piece <= wire.len; piece++) {
        struct buf body = {0};
        size_t consumed;
        int result = decode_in_pieces(wire, piece, body_max, &body, &consumed);
        if (result != http_refusal_err(refusal) || decoder.refusal != refusal) {
            fail_msg("result %d for: %.*s", result, STR_ARG(wire));
        }
        assert_true(body.len <= body_max);
        buf_fini(&body);
    }
}

static void bodies_come_out_whole_at_every_split(void **state)
{
    assert_decodes(STR("0\r\n\r\n"), STR(""), 0);
    assert_decodes(STR("5\r\nhello\r\n0\r\n\r\n"), STR("hello"), 0);
    assert_decodes(STR("5\r\nhello\r\n6;a=b\r\n world\r\n000\r\n\r\n" NEXT), STR("hello world"),
                   sizeof(NEXT) - 1);
    assert_decodes(
        STR("a;x=\"y\tz\xff\"\r\n0123456789\r\nB\r\n0\r\n\r\nabcdef\r\n0;end\r\n\r\n" NEXT),
        STR("01234567890\r\n\r\nabcdef"), sizeof(NEXT) - 1);
    assert_decodes(STR("1\r\na\r\n0\r\nX-Sum: 1 2\t3\r\nY:\r\n\r\n" NEXT), STR("a"),
                   sizeof(NEXT) - 1);
    assert_decodes(STR("0000000000000001\r\na\r\n0\r\n\r\n"), STR("a"), 0);
}

static void nothing_is_taken_after_the_end(void **state)
{
    uint8_t wire[] = "0\r\n\r\n";
    size_t body_len;
    size_t consumed;
    http_chunked_init(&decoder, 10);
    assert_int_equal(http_chunked_decode(&decoder, wire, 5, &body_len, &consumed), 1);
    assert_int_equal(consumed, 5);
    assert_int_equal(http_chunked_decode(&decoder, wire, 5, &body_len, &consumed), 1);
    assert_int_equal(consumed, 0);
    assert_int_equal(body_len, 0);
}

static void an_unfinished_body_asks_for_more(void **state)
{
    struct str wire = STR("3;e\r\nabc\r\n0\r\nT: u\r\n\r\n");
    for (size_t len = 0; len < wire.len; len++) {
        struct buf body = {0};
        size_t consumed;
        assert_int_equal(decode_in_pieces((struct str){wire.ptr, len}, 7, 10, &body, &consumed), 0);
        assert_int_equal(consumed, len);
        buf_fini(&body);
    }
}

static void broken_chunks_are_refused(void **state)
{
    const char *broken[] = {
        "\r\n",
        "g\r\n",
        "0x5\r\nhello\r\n",
        "-1\r\n",
        "+5\r\n",
        " 5\r\n",
        "5 \r\nhello\r\n",
        "5\t;a\r\nhello\r\n",
        "5\nhello\r\n",
        "5\rhello\r\n",
        "5\r\nhelloX\r\n",
        "5\r\nhello\rX",
        "5\r\nhello\n0\r\n",
        "5\r\nhello\r\n\r\n",
        ";a\r\n",
        "5;a\nhello\r\n",
        "5;a\x01\r\nhello\r\n",
        "5;a\x7f\r\nhello\r\n",
        "00000000000000005\r\nhello\r\n",
        "0\r\n\n",
        "0\r\n\rX",
        "0\r\n: a\r\n\r\n",
        "0\r\nA b: c\r\n\r\n",
        "0\r\nA\r\n\r\n",
        "0\r\n A: b\r\n\r\n",
        "0\r\nA: b\r\n c\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\x01\r\n\r\n",
        "0\r\nA: b\rc\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(broken); i++) {
        assert_refused(str_of(broken[i]), 100, HTTP_REFUSED_BAD_CHUNK);
    }
    assert_refused(STR("5;\0\r\nhello\r\n"), 100, HTTP_REFUSED_BAD_CHUNK);
}

static void the_body_limit_holds_to_the_byte(void **state)
{
    struct buf body = {0};
    size_t consumed;
    struct str wire = STR("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_int_equal(decode_in_pieces(wire, 100, 5, &body, &consumed), 1);
    assert_int_equal(body.len, 5);
    buf_fini(&body);
    assert_refused(wire, 4, HTTP_REFUSED_BODY_TOO_LARGE);
    assert_refused(STR("6\r\n"), 5, HTTP_REFUSED_BODY_TOO_LARGE);
    assert_refused(STR("7fffffffffffffff\r\n"), 5, HTTP_REFUSED_BODY_TOO_LARGE);
    assert_refused(STR("ffffffffffffffff\r\n"), 5, HTTP_REFUSED_BODY_TOO_LARGE);
    assert_refused(STR("1\r\na\r\nffffffffffffffff\r\n"), UINT64_MAX - 1,
                   HTTP_REFUSED_BODY_TOO_LARGE);
    assert_refused(STR("10000000000000000\r\n"), UINT64_MAX, HTTP_REFUSED_BAD_CHUNK);
}

static void append_extension(struct buf *wire, size_t len)
{
    buf_append_str(wire, STR("1;"));
    memset(buf_reserve(wire, len), 'x', len);
    wire->len += len;
    buf_append_str(wire, STR("\r\na\r\n"));
}

static void extensions_of_all_chunks_together_are_bounded(void **state)
{
    struct buf wire = {0};
    append_extension(&wire, HTTP_CHUNKED_EXTENSIONS_MAX - 10);
    append_extension(&wire, 10);
    size_t good = wire.len;
    buf_append_str(&wire, STR("0\r\n\r\n"));
    struct buf body = {0};
    size_t consumed;
    assert_int_equal(decode_in_pieces(buf_str(&wire), 100, 10, &body, &consumed), 1);
    wire.len = good;
    buf_append_str(&wire, STR("0;y\r\n\r\n"));
    assert_int_equal(decode_in_pieces(buf_str(&wire), 100, 10, &body, &consumed), ERR_PROTOCOL);
    buf_fini(&body);
    buf_fini(&wire);
}

static void trailers_together_are_bounded(void **state)
{
    struct buf wire = {0};
    buf_append_str(&wire, STR("0\r\n"));
    while (wire.len < 3 + HTTP_CHUNKED_TRAILERS_MAX) {
        buf_append_str(&wire, STR("A: 4567\r\n"));
    }
    buf_append_str(&wire, STR("\r\n"));
    struct buf body = {0};
    size_t consumed;
    assert_int_equal(decode_in_pieces(buf_str(&wire), 50, 10, &body, &consumed), 1);
    wire.len -= 2;
    for (int i = 0; i < 500; i++) {
        buf_append_str(&wire, STR("A:\r\n"));
    }
    assert_int_equal(decode_in_pieces(buf_str(&wire), 50, 10, &body, &consumed), ERR_PROTOCOL);
    buf_fini(&body);
    buf_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_come_out_whole_at_every_split),
        cmocka_unit_test(nothing_is_taken_after_the_end),
        cmocka_unit_test(an_unfinished_body_asks_for_more),
        cmocka_unit_test(broken_chunks_are_refused),
        cmocka_unit_test(the_body_limit_holds_to_the_byte),
        cmocka_unit_test(extensions_of_all_chunks_together_are_bounded),
        cmocka_unit_test(trailers_together_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
