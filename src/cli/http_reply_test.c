#include "cli/http_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static const char by_length[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\n{\"id\":1}";
static const char by_chunks[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "3\r\n{\"i\r\n5\r\nd\":1}\r\n0\r\n\r\n";
static const char after_interim[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
                                    "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\n{\"id\":1}";
static const char by_end[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"id\":1}";

/* In pieces of the given size; the first failure ends it. */
static int feed(struct http_reply *reply, const char *text, size_t piece)
{
    int err = 0;
    for (size_t len = strlen(text); len > 0 && !err;) {
        size_t now = len < piece ? len : piece;
        err = http_reply_feed(reply, text, now);
        text += now;
        len -= now;
    }
    return err;
}

static void a_response_is_read_in_pieces_of_any_size(void **state)
{
    const char *texts[] = {by_length, by_chunks, after_interim};
    for (size_t i = 0; i < 3; i++) {
        for (size_t piece = 1; piece <= strlen(texts[i]); piece++) {
            struct http_reply reply = {0};
            assert_int_equal(feed(&reply, texts[i], piece), 0);
            assert_true(reply.is_complete);
            assert_int_equal(reply.answer.status, i == 1 ? 200 : 202);
            assert_true(str_equal(buf_str(&reply.body), STR("{\"id\":1}")));
            assert_int_equal(http_reply_end(&reply), 0);
            http_reply_fini(&reply);
        }
    }
}

static void without_a_length_the_body_goes_to_the_end(void **state)
{
    struct http_reply reply = {0};
    assert_int_equal(feed(&reply, by_end, 7), 0);
    assert_false(reply.is_complete);
    assert_int_equal(http_reply_end(&reply), 0);
    assert_true(reply.is_complete);
    assert_true(str_equal(buf_str(&reply.body), STR("{\"id\":1}")));
    http_reply_fini(&reply);
}

static void a_response_cut_at_any_byte_is_not_complete(void **state)
{
    const char *texts[] = {by_length, by_chunks, after_interim};
    for (size_t i = 0; i < 3; i++) {
        for (size_t len = 0; len < strlen(texts[i]); len++) {
            struct http_reply reply = {0};
            assert_int_equal(http_reply_feed(&reply, texts[i], len), 0);
            assert_false(reply.is_complete);
            assert_int_equal(http_reply_end(&reply), ERR_CLOSED);
            http_reply_fini(&reply);
        }
    }
}

static void headers_can_be_read_after_the_body_has_come(void **state)
{
    struct http_reply reply = {0};
    const char
        *text = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\n";
    assert_int_equal(feed(&reply, text, 5), 0);
    assert_int_equal(feed(&reply, "abc", 1), 0);
    assert_true(reply.is_complete);
    assert_true(str_equal(http_fields_find(&reply.answer.fields, STR("retry-after")), STR("7")));
    http_reply_fini(&reply);
}

static void a_status_without_body_is_complete_at_once(void **state)
{
    struct http_reply reply = {0};
    assert_int_equal(feed(&reply, "HTTP/1.1 204 No Content\r\n\r\n", 100), 0);
    assert_true(reply.is_complete);
    assert_int_equal(feed(&reply, "x", 1), ERR_PROTOCOL);
    http_reply_fini(&reply);
}

static void bytes_behind_an_upgrade_are_kept(void **state)
{
    const char *text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x01x";
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        struct http_reply reply = {0};
        assert_int_equal(feed(&reply, text, piece), 0);
        assert_true(reply.is_complete);
        assert_true(str_equal(buf_str(&reply.body), STR("\x81\x01x")));
        http_reply_fini(&reply);
    }
}

static void what_is_no_http_or_too_much_is_refused(void **state)
{
    const struct {
        const char *text;
        int err;
    } cases[] = {
        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", ERR_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", ERR_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nab", ERR_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ERR_PROTOCOL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", ERR_TOO_LARGE},
        {"HTTP/1.1 200 OK\r\nContent-Length: 33554433\r\n\r\n", ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_reply reply = {0};
        assert_int_equal(feed(&reply, cases[i].text, 1000), cases[i].err);
        http_reply_fini(&reply);
    }
}

static void a_body_without_end_is_bounded(void **state)
{
    struct http_reply reply = {0};
    static char much[HTTP_REPLY_BODY_MAX];
    assert_int_equal(feed(&reply, "HTTP/1.0 200 OK\r\n\r\n", 100), 0);
    assert_int_equal(http_reply_feed(&reply, much, sizeof(much)), 0);
    assert_int_equal(http_reply_feed(&reply, much, 1), ERR_TOO_LARGE);
    http_reply_fini(&reply);
}

static void every_failed_allocation_is_reported(void **state)
{
    const char *texts[] = {by_length, by_chunks};
    for (unsigned long nth = 1; nth <= 2; nth++) {
        for (size_t i = 0; i < 2; i++) {
            struct http_reply reply = {0};
            mem_fail_nth(nth);
            assert_int_equal(feed(&reply, texts[i], 1000), ERR_NO_MEMORY);
            assert_false(mem_fail_pending());
            http_reply_fini(&reply);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_is_read_in_pieces_of_any_size),
        cmocka_unit_test(without_a_length_the_body_goes_to_the_end),
        cmocka_unit_test(a_response_cut_at_any_byte_is_not_complete),
        cmocka_unit_test(headers_can_be_read_after_the_body_has_come),
        cmocka_unit_test(a_status_without_body_is_complete_at_once),
        cmocka_unit_test(bytes_behind_an_upgrade_are_kept),
        cmocka_unit_test(what_is_no_http_or_too_much_is_refused),
        cmocka_unit_test(a_body_without_end_is_bounded),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
