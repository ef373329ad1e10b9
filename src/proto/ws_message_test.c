#include "proto/ws_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/ws_deflate.h"

enum { LIMIT = 4096, FIN = 0x80, RSV1 = 0x40 };

/* A session that writes down what it is told, one line an event, the payload behind a colon. */
struct session {
    struct ws_partial *partial;
    struct ws_reader_options options;
    struct buf log;
    int stop_after;   /* events until a callback asks to stop; 0: never */
    const char *seen; /* the payload of the last message, where it lay */
};

static struct ws_inflater *inflater;

static int note(struct session *session, const char *event, struct str payload)
{
    buf_printf(&session->log, "%s:", event);
    buf_append_str(&session->log, payload);
    buf_append_char(&session->log, '\n');
    return session->stop_after > 0 && --session->stop_after == 0;
}

static int on_message(void *owner, enum ws_opcode opcode, struct str payload)
{
    struct session *session = owner;
    session->seen = payload.ptr;
    return note(session, opcode == WS_TEXT ? "text" : "binary", payload);
}

static int on_ping(void *owner, struct str payload)
{
    return note(owner, "ping", payload);
}

static int on_pong(void *owner, struct str payload)
{
    return note(owner, "pong", payload);
}

static int on_close(void *owner, uint16_t code, struct str reason)
{
    char event[16];
    snprintf(event, sizeof(event), "close %u", code);
    return note(owner, event, reason);
}

static const struct ws_reader_events events = {on_message, on_ping, on_pong, on_close};

static struct session session_of(bool deflate)
{
    return (struct session){.options = {.max_message = LIMIT,
                                        .max_fragments = 8,
                                        .inflater = deflate ? inflater : NULL}};
}

static void session_end(struct session *session)
{
    ws_partial_destroy(session->partial);
    buf_fini(&session->log);
}

/* From a copy that ends where the piece ends, so that a read past it is found. */
static int feed(struct session *session, const uint8_t *data, size_t len)
{
    uint8_t *copy = mem_alloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    int result = ws_reader_feed(&session->partial, &session->options, copy, len, &events, session);
    mem_free(copy);
    return result;
}

/* Writes the result down as well, and ends the session. */
static void finish(struct session *session, int result)
{
    if (result == WS_READER_STOPPED) {
        buf_append_str(&session->log, STR("stopped"));
    } else if (result) {
        buf_printf(&session->log, "%u", ws_close_code_for(result));
    } else if (session->partial) {
        buf_append_str(&session->log, STR("more"));
    }
    if (result) {
        assert_null(session->partial);
    }
}

static void assert_log(struct session *session, const char *expected)
{
    assert_int_equal(buf_err(&session->log), 0);
    assert_string_equal(buf_cstr(&session->log), expected);
}

static void check_two_pieces(const struct session *model, struct str wire, size_t cut,
                             const char *expected)
{
    struct session session = *model;
    const uint8_t *data = (const uint8_t *)wire.ptr;
    int result = feed(&session, data, cut);
    if (result == 0) {
        result = feed(&session, data + cut, wire.len - cut);
    }
    finish(&session, result);
    assert_log(&session, expected);
    session_end(&session);
}

static void check_single_bytes(const struct session *model, struct str wire, const char *expected)
{
    struct session session = *model;
    int result = 0;
    for (size_t i = 0; i < wire.len && result == 0; i++) {
        result = feed(&session, (const uint8_t *)wire.ptr + i, 1);
    }
    finish(&session, result);
    assert_log(&session, expected);
    session_end(&session);
}

/* Whole, cut in two at every border, and byte by byte (W7); and nothing may be left behind. */
static void check(const struct session *model, struct buf *wire, const char *expected)
{
    assert_int_equal(buf_err(wire), 0);
    int64_t before = mem_accounted(MEM_SESSIONS);
    struct str all = buf_str(wire);
    for (size_t cut = 0; cut <= all.len; cut++) {
        check_two_pieces(model, all, cut, expected);
    }
    check_single_bytes(model, all, expected);
    assert_int_equal(mem_accounted(MEM_SESSIONS), before);
    buf_fini(wire);
}

static void check_plain(struct buf *wire, const char *expected)
{
    struct session session = session_of(false);
    check(&session, wire, expected);
}

static void check_deflate(struct buf *wire, const char *expected)
{
    /* What the inflater holds is no session's: let it have its buffer first. */
    struct str ignored;
    ws_inflate(inflater, STR("\0"), LIMIT, &ignored);
    struct session session = session_of(true);
    check(&session, wire, expected);
}

/* A masked frame; first: FIN, RSV1 and opcode. */
static void frame(struct buf *wire, int first, struct str payload)
{
    static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    struct ws_frame_header header = {.fin = first & FIN,
                                     .compressed = first & RSV1,
                                     .masked = true,
                                     .opcode = first & 0xf,
                                     .payload_len = payload.len};
    memcpy(header.mask_key, key, 4);
    uint8_t head[WS_HEADER_MAX];
    buf_append(wire, head, ws_frame_header_write(head, &header));
    buf_append_str(wire, payload);
    if (payload.len) {
        ws_unmask(wire->data + wire->len - payload.len, payload.len, key, 0);
    }
}

/* A masked header that announces len bytes. */
static void announce(struct buf *wire, int first, uint64_t len)
{
    struct ws_frame_header header = {
        .fin = first & FIN, .masked = true, .opcode = first & 0xf, .payload_len = len};
    uint8_t head[WS_HEADER_MAX];
    buf_append(wire, head, ws_frame_header_write(head, &header));
}

static void whole_messages_arrive(void **state)
{
    struct buf wire = {0};
    frame(&wire, FIN | WS_TEXT, STR("Hello"));
    frame(&wire, FIN | WS_BINARY, STR("\xff\xfe"));
    frame(&wire, FIN | WS_TEXT, STR(""));
    frame(&wire, FIN | WS_PING, STR("p"));
    frame(&wire, FIN | WS_PONG, STR(""));
    check_plain(&wire, "text:Hello\nbinary:\xff\xfe\ntext:\nping:p\npong:\n");
}

/* W7 */
static void twenty_frames_in_one_packet_are_twenty_messages(void **state)
{
    struct buf wire = {0};
    struct buf expected = {0};
    for (int i = 0; i < 20; i++) {
        char text[160];
        int len = snprintf(text, sizeof(text), "%d %*s", i, i * 7, "x");
        frame(&wire, FIN | WS_TEXT, str_make(text, (size_t)len));
        buf_printf(&expected, "text:%s\n", text);
    }
    check_plain(&wire, buf_cstr(&expected));
    buf_fini(&expected);
}

static void fragments_are_joined_and_control_frames_between_them_come_at_once(void **state)
{
    struct buf wire = {0};
    frame(&wire, WS_TEXT, STR("one "));
    frame(&wire, FIN | WS_PING, STR("now"));
    frame(&wire, WS_CONTINUATION, STR(""));
    frame(&wire, WS_CONTINUATION, STR("two "));
    frame(&wire, FIN | WS_PONG, STR(""));
    frame(&wire, FIN | WS_CONTINUATION, STR("three"));
    frame(&wire, FIN | WS_BINARY, STR("next"));
    frame(&wire, WS_BINARY, STR(""));
    frame(&wire, FIN | WS_CONTINUATION, STR(""));
    check_plain(&wire, "ping:now\npong:\ntext:one two three\nbinary:next\nbinary:\n");
}

static void an_unfinished_message_asks_for_more(void **state)
{
    struct buf wire = {0};
    frame(&wire, WS_TEXT, STR("one"));
    check_plain(&wire, "more");
    announce(&wire, FIN | WS_BINARY, 300);
    check_plain(&wire, "more");
    buf_append_char(&wire, '\x81');
    check_plain(&wire, "more");
}

/* W12 */
static void a_message_within_a_message_is_refused(void **state)
{
    struct buf wire = {0};
    frame(&wire, WS_TEXT, STR("one"));
    frame(&wire, FIN | WS_TEXT, STR("two"));
    check_plain(&wire, "1002");
}

/* W12 */
static void a_continuation_of_nothing_is_refused(void **state)
{
    struct buf wire = {0};
    frame(&wire, FIN | WS_CONTINUATION, STR("one"));
    check_plain(&wire, "1002");
    frame(&wire, FIN | WS_TEXT, STR("whole"));
    frame(&wire, WS_CONTINUATION, STR(""));
    check_plain(&wire, "text:whole\n1002");
}

/* W2 */
static void a_client_must_mask_and_a_server_must_not(void **state)
{
    struct buf wire = {0};
    ws_frame_append(&wire, WS_TEXT, false, STR("bare"));
    check_plain(&wire, "1002");
    ws_frame_append(&wire, WS_PING, false, STR(""));
    check_plain(&wire, "1002");

    struct session client = session_of(false);
    client.options.from_server = true;
    ws_frame_append(&wire, WS_TEXT, false, STR("bare"));
    ws_frame_append(&wire, WS_PING, false, STR(""));
    check(&client, &wire, "text:bare\nping:\n");
    frame(&wire, FIN | WS_TEXT, STR("masked"));
    check(&client, &wire, "1002");
}

/* W2 */
static void reserved_bits_and_opcodes_are_refused(void **state)
{
    const uint8_t firsts[] = {0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f, 0xc9, 0x09};
    for (size_t i = 0; i < sizeof(firsts); i++) {
        struct buf wire = {0};
        frame(&wire, FIN | WS_TEXT, STR("good"));
        buf_append(&wire, (uint8_t[]){firsts[i], 0x80, 0, 0, 0, 0}, 6);
        check_plain(&wire, "text:good\n1002");
    }
}

static void lengths_in_a_long_form_are_refused(void **state)
{
    struct buf wire = {0};
    buf_append(&wire, "\x81\xfe\x00\x05\0\0\0\0hello", 13);
    check_plain(&wire, "1002");
    buf_append(&wire, "\x81\xff\0\0\0\0\0\0\0\x05\0\0\0\0hello", 19);
    check_plain(&wire, "1002");
}

/* W4, W5 */
static void too_much_is_refused_at_the_header(void **state)
{
    const uint64_t lens[] = {LIMIT + 1, 65536, 1u << 30, INT64_MAX};
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct buf wire = {0};
        announce(&wire, FIN | WS_TEXT, lens[i]);
        check_plain(&wire, "1009");
        announce(&wire, WS_BINARY, lens[i]);
        check_plain(&wire, "1009");
        frame(&wire, WS_BINARY, STR("x"));
        announce(&wire, FIN | WS_CONTINUATION, lens[i] - 1);
        check_plain(&wire, "1009");
    }
}

/* W9 */
static void a_message_at_the_limit_passes_whole_and_in_fragments(void **state)
{
    static char text[LIMIT + 1];
    memset(text, 'x', LIMIT);
    static char expected[LIMIT + 16];
    snprintf(expected, sizeof(expected), "text:%s\n", text);
    struct session session = session_of(false);
    for (size_t first = 0; first <= LIMIT; first += LIMIT / 4) {
        struct buf wire = {0};
        frame(&wire, WS_TEXT, str_make(text, first));
        frame(&wire, FIN | WS_CONTINUATION, str_make(text, LIMIT - first));
        check_single_bytes(&session, buf_str(&wire), expected);
        buf_clear(&wire);
        frame(&wire, WS_TEXT, str_make(text, first));
        frame(&wire, FIN | WS_CONTINUATION, str_make(text, LIMIT - first + 1));
        check_single_bytes(&session, buf_str(&wire), "1009");
        buf_fini(&wire);
    }
    struct buf wire = {0};
    frame(&wire, FIN | WS_TEXT, str_make(text, LIMIT));
    check_two_pieces(&session, buf_str(&wire), 0, expected);
    check_two_pieces(&session, buf_str(&wire), 100, expected);
    buf_fini(&wire);
}

/* W5: what is announced is not taken. */
static void an_announced_gigabyte_costs_nothing_until_it_comes(void **state)
{
    struct session session = session_of(false);
    session.options.max_message = 2u << 30;
    struct buf wire = {0};
    announce(&wire, FIN | WS_BINARY, 1u << 30);
    assert_int_equal(feed(&session, wire.data, wire.len), 0);
    assert_true(ws_partial_bytes(session.partial) <= 1024);
    assert_int_equal(feed(&session, (const uint8_t *)"abc", 3), 0);
    assert_true(ws_partial_bytes(session.partial) <= 1024);
    buf_fini(&wire);
    session_end(&session);
}

/* The largest lengths there are, with the largest limit: no sum may wrap. */
static void lengths_that_would_wrap_are_refused(void **state)
{
    struct session session = session_of(false);
    session.options.max_message = SIZE_MAX;
    struct buf wire = {0};
    frame(&wire, WS_BINARY, STR("abc"));
    announce(&wire, WS_CONTINUATION, INT64_MAX);
    buf_append_str(&wire, STR("def"));
    check(&session, &wire, "more");
    session.options.max_message = INT64_MAX;
    frame(&wire, WS_BINARY, STR("abc"));
    announce(&wire, WS_CONTINUATION, INT64_MAX);
    check(&session, &wire, "1009");
}

/* W10 */
static void memory_stays_within_twice_the_payload_and_a_kilobyte(void **state)
{
    struct session session = session_of(false);
    session.options.max_message = 1 << 20;
    session.options.max_fragments = 0;
    struct buf wire = {0};
    frame(&wire, WS_TEXT, STR("x"));
    size_t first = wire.len;
    frame(&wire, WS_CONTINUATION, STR("x"));
    assert_int_equal(feed(&session, wire.data, first), 0);
    int64_t before = mem_accounted(MEM_SESSIONS) - (int64_t)ws_partial_bytes(session.partial);
    for (size_t payload = 2; payload < 100000; payload++) {
        assert_int_equal(feed(&session, wire.data + first, wire.len - first), 0);
        size_t held = ws_partial_bytes(session.partial);
        assert_true(held <= 2 * payload + 1024);
        assert_int_equal(mem_accounted(MEM_SESSIONS) - before, held);
    }
    buf_fini(&wire);
    session_end(&session);
    assert_int_equal(mem_accounted(MEM_SESSIONS), before);
}

/* W10 */
static void more_fragments_than_the_limit_are_refused_also_empty_ones(void **state)
{
    struct buf wire = {0};
    for (int last = 8; last <= 9; last++) {
        frame(&wire, WS_TEXT, STR(""));
        for (int i = 2; i < last; i++) {
            frame(&wire, WS_CONTINUATION, STR(""));
            frame(&wire, FIN | WS_PONG, STR("")); /* does not count */
        }
        frame(&wire, FIN | WS_CONTINUATION, STR(""));
        struct session session = session_of(false);
        session.options.max_fragments = 8;
        const char *pongs = "pong:\npong:\npong:\npong:\npong:\npong:\n";
        char expected[100];
        snprintf(expected, sizeof(expected), "%s%s", pongs, last == 8 ? "text:\n" : "pong:\n1009");
        check(&session, &wire, expected);
    }
}

static void a_flood_of_empty_fragments_holds_no_payload(void **state)
{
    struct session session = session_of(false);
    session.options.max_fragments = 65536;
    struct buf wire = {0};
    frame(&wire, WS_BINARY, STR(""));
    assert_int_equal(feed(&session, wire.data, wire.len), 0);
    wire.len = 0;
    frame(&wire, WS_CONTINUATION, STR(""));
    for (int i = 1; i < 65536; i++) {
        assert_int_equal(feed(&session, wire.data, wire.len), 0);
    }
    assert_true(ws_partial_bytes(session.partial) <= 512);
    assert_int_equal(feed(&session, wire.data, wire.len), ERR_TOO_LARGE);
    buf_fini(&wire);
    session_end(&session);
}

/* W8 */
static void text_that_is_not_utf8_is_refused(void **state)
{
    const struct str bad[] = {STR("\xff"),         STR("a\xc0\xaf"),
                              STR("\xed\xa0\x80"), STR("\xf4\x90\x80\x80"),
                              STR("\xe2\x82"),     STR("\xe2\x28\xa1")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf wire = {0};
        frame(&wire, FIN | WS_TEXT, bad[i]);
        check_plain(&wire, "1007");
        frame(&wire, WS_TEXT, STR("good"));
        frame(&wire, FIN | WS_CONTINUATION, bad[i]);
        check_plain(&wire, "1007");
        frame(&wire, FIN | WS_BINARY, bad[i]);
        struct buf expected = {0};
        buf_printf(&expected, "binary:%s\n", bad[i].ptr);
        check_plain(&wire, buf_cstr(&expected));
        buf_fini(&expected);
    }
}

static void a_code_point_may_be_cut_by_fragments(void **state)
{
    struct buf wire = {0};
    frame(&wire, WS_TEXT, STR("\xf0\x9f"));
    frame(&wire, WS_CONTINUATION, STR(""));
    frame(&wire, FIN | WS_PING, STR("\xff"));
    frame(&wire, WS_CONTINUATION, STR("\x98"));
    frame(&wire, FIN | WS_CONTINUATION, STR("\x80"));
    frame(&wire, WS_TEXT, STR("a"));
    frame(&wire, FIN | WS_CONTINUATION, STR("b"));
    check_plain(&wire, "ping:\xff\ntext:\xf0\x9f\x98\x80\ntext:ab\n");
}

/* Autobahn 6.4.1 to 6.4.4 */
static void the_first_bad_byte_of_a_text_is_not_waited_past(void **state)
{
    struct session session = session_of(false);
    struct buf wire = {0};
    frame(&wire, WS_TEXT, STR("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"));
    size_t good = wire.len;
    frame(&wire, FIN | WS_CONTINUATION, STR("\xf4\x90\x80\x80 and a long rest of the frame"));
    size_t bad = good + 6 + 1; /* the second byte of the payload */
    assert_int_equal(feed(&session, wire.data, bad), 0);
    assert_int_equal(feed(&session, wire.data + bad, 1), ERR_UTF8);
    session_end(&session);

    session = session_of(false);
    assert_int_equal(feed(&session, wire.data, bad + 1), ERR_UTF8);
    session_end(&session);
    buf_fini(&wire);
}

/* W13 */
static void close_frames_are_read_and_nothing_after_them(void **state)
{
    struct buf wire = {0};
    frame(&wire, FIN | WS_CLOSE, STR(""));
    frame(&wire, FIN | WS_TEXT, STR("late"));
    check_plain(&wire, "close 1005:\nstopped");
    frame(&wire, WS_TEXT, STR("never finished"));
    frame(&wire, FIN | WS_CLOSE, STR("\x0f\xa0\xc3\xa9"));
    buf_append_str(&wire, STR("\xff\xff\xff"));
    check_plain(&wire, "close 4000:\xc3\xa9\nstopped");
}

/* W13, W8 */
static void bad_close_frames_are_refused(void **state)
{
    struct buf wire = {0};
    frame(&wire, FIN | WS_CLOSE, STR("\x03"));
    check_plain(&wire, "1002");
    const uint16_t codes[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        char body[2] = {(char)(codes[i] >> 8), (char)codes[i]};
        frame(&wire, FIN | WS_CLOSE, str_make(body, 2));
        check_plain(&wire, "1002");
    }
    frame(&wire, FIN | WS_CLOSE, STR("\x03\xe8 bad \xff"));
    check_plain(&wire, "1007");
}

static void a_whole_frame_is_handed_over_in_place_without_allocation(void **state)
{
    struct session session = session_of(false);
    buf_reserve(&session.log, 1024);
    struct buf wire = {0};
    frame(&wire, FIN | WS_TEXT, STR("first"));
    frame(&wire, FIN | WS_PING, STR("p"));
    frame(&wire, FIN | WS_BINARY, STR("last"));
    mem_fail_nth(1);
    int result = ws_reader_feed(&session.partial, &session.options, wire.data, wire.len, &events,
                                &session);
    assert_true(mem_fail_pending());
    mem_fail_nth(0);
    assert_int_equal(result, 0);
    assert_null(session.partial);
    assert_ptr_equal(session.seen, wire.data + wire.len - 4);
    assert_log(&session, "text:first\nping:p\nbinary:last\n");
    buf_fini(&wire);
    session_end(&session);
}

static void nothing_is_held_between_messages(void **state)
{
    struct session session = session_of(false);
    struct buf wire = {0};
    frame(&wire, WS_TEXT, STR("ab"));
    frame(&wire, FIN | WS_CONTINUATION, STR("cd"));
    frame(&wire, FIN | WS_PING, STR("x"));
    for (size_t cut = 1; cut < wire.len; cut++) {
        assert_int_equal(feed(&session, wire.data, cut), 0);
        assert_int_equal(feed(&session, wire.data + cut, wire.len - cut), 0);
        assert_null(session.partial);
        assert_int_equal(ws_partial_bytes(session.partial), 0);
    }
    buf_fini(&wire);
    session_end(&session);
}

static void a_callback_may_stop_the_reading_at_any_event(void **state)
{
    const char *logs[] = {"ping:a\nstopped", "ping:a\ntext:bc\nstopped",
                          "ping:a\ntext:bc\npong:d\nstopped",
                          "ping:a\ntext:bc\npong:d\nbinary:e\nstopped"};
    for (int events_wanted = 1; events_wanted <= 4; events_wanted++) {
        struct session session = session_of(false);
        session.stop_after = events_wanted;
        struct buf wire = {0};
        frame(&wire, WS_TEXT, STR("b"));
        frame(&wire, FIN | WS_PING, STR("a"));
        frame(&wire, FIN | WS_CONTINUATION, STR("c"));
        frame(&wire, FIN | WS_PONG, STR("d"));
        frame(&wire, FIN | WS_BINARY, STR("e"));
        frame(&wire, FIN | WS_BINARY, STR("f"));
        check(&session, &wire, logs[events_wanted - 1]);
    }
}

static int destroy_session(void *owner, enum ws_opcode opcode, struct str payload)
{
    struct session *session = owner;
    ws_partial_destroy(session->partial);
    mem_free(session);
    return payload.len == 4;
}

/* Under ASan this tells whether the reader touches what is gone. */
static void a_session_may_be_destroyed_in_a_callback(void **state)
{
    const struct ws_reader_events deadly = {.on_message = destroy_session};
    const struct ws_reader_options options = {.max_message = LIMIT, .max_fragments = 8};
    int64_t before = mem_accounted(MEM_SESSIONS);
    struct buf wire = {0};
    frame(&wire, WS_TEXT, STR("ab"));
    frame(&wire, FIN | WS_CONTINUATION, STR("cd"));
    frame(&wire, FIN | WS_TEXT, STR("late"));
    struct session *session = mem_zalloc(sizeof(*session));
    assert_non_null(session);
    assert_int_equal(ws_reader_feed(&session->partial, &options, wire.data, 3, &deadly, session),
                     0);
    assert_int_equal(
        ws_reader_feed(&session->partial, &options, wire.data + 3, wire.len - 3, &deadly, session),
        WS_READER_STOPPED);
    assert_int_equal(mem_accounted(MEM_SESSIONS), before);
    buf_fini(&wire);
}

static int feed_in_three(struct session *session, const struct buf *wire)
{
    size_t third = wire->len / 3;
    int result = feed(session, wire->data, third);
    result = result ? result : feed(session, wire->data + third, third);
    return result ? result : feed(session, wire->data + 2 * third, wire->len - 2 * third);
}

/* Fails the n-th allocation within ws_reader_feed itself: the copies of feed() are left alone. */
static int feed_with_failure(struct session *session, struct buf *wire, unsigned long nth,
                             bool *out_failed)
{
    size_t third = wire->len / 3;
    int result = 0;
    mem_fail_nth(nth);
    for (int i = 0; i < 3 && result == 0; i++) {
        result = ws_reader_feed(&session->partial, &session->options, wire->data + i * third,
                                i == 2 ? wire->len - 2 * third : third, &events, session);
    }
    *out_failed = !mem_fail_pending();
    mem_fail_nth(0);
    return result;
}

static void every_allocation_may_fail(void **state)
{
    static char text[2000];
    memset(text, 'x', sizeof(text));
    struct ws_deflater *deflater = NULL;
    struct buf compressed = {0};
    assert_int_equal(ws_deflater_create(&deflater, 1), 0);
    ws_deflate(deflater, 15, str_make(text, sizeof(text)), &compressed);
    ws_deflater_destroy(deflater);
    unsigned long nth = 1;
    for (bool failed = true; failed; nth++) {
        struct ws_inflater *fresh = NULL;
        assert_int_equal(ws_inflater_create(&fresh), 0);
        int64_t before = mem_accounted(MEM_SESSIONS);
        struct session session = session_of(true);
        session.options.inflater = fresh;
        buf_reserve(&session.log, 8192);
        struct buf wire = {0};
        frame(&wire, WS_BINARY, str_make(text, 900));
        frame(&wire, WS_CONTINUATION, str_make(text, 900));
        frame(&wire, FIN | WS_CONTINUATION, str_make(text, 900));
        frame(&wire, RSV1 | WS_TEXT, buf_str(&compressed));
        frame(&wire, FIN | WS_CONTINUATION, STR(""));
        int result = feed_with_failure(&session, &wire, nth, &failed);
        assert_int_equal(result, failed ? ERR_NO_MEMORY : 0);
        assert_null(session.partial);
        session_end(&session);
        ws_inflater_destroy(fresh);
        assert_int_equal(mem_accounted(MEM_SESSIONS), before);
        buf_fini(&wire);
    }
    assert_true(nth > 5);
    buf_fini(&compressed);
}

static const struct str hello = {"\xf2\x48\xcd\xc9\xc9\x07\x00", 7}; /* RFC 7692 7.2.3.1 */

static void compressed_messages_are_inflated_whole_and_in_fragments(void **state)
{
    struct buf wire = {0};
    frame(&wire, FIN | RSV1 | WS_TEXT, hello);
    frame(&wire, FIN | WS_TEXT, STR("plain"));
    frame(&wire, RSV1 | WS_BINARY, str_make(hello.ptr, 3));
    frame(&wire, FIN | WS_PING, STR("p"));
    frame(&wire, FIN | WS_CONTINUATION, str_make(hello.ptr + 3, 4));
    frame(&wire, FIN | RSV1 | WS_TEXT, STR("\0"));
    frame(&wire, RSV1 | WS_TEXT, STR(""));
    frame(&wire, FIN | WS_CONTINUATION, STR("\0"));
    check_deflate(&wire, "text:Hello\ntext:plain\nping:p\nbinary:Hello\ntext:\ntext:\n");
}

static void compression_that_was_not_negotiated_is_refused(void **state)
{
    struct buf wire = {0};
    frame(&wire, FIN | RSV1 | WS_TEXT, hello);
    check_plain(&wire, "1002");
    frame(&wire, RSV1 | WS_TEXT, hello);
    frame(&wire, FIN | RSV1 | WS_CONTINUATION, hello);
    check_deflate(&wire, "1002");
}

/* W19, W8 */
static void compressed_text_that_is_bad_inside_is_refused(void **state)
{
    struct buf wire = {0};
    frame(&wire, FIN | RSV1 | WS_TEXT, STR("\x07"));
    check_deflate(&wire, "1007");
    frame(&wire, RSV1 | WS_TEXT, STR("\xf2\x48"));
    frame(&wire, FIN | WS_CONTINUATION, STR("\xcd"));
    check_deflate(&wire, "1007");
    frame(&wire, FIN | RSV1 | WS_TEXT, STR("\x00\x01\x00\xfe\xff\xff\x00"));
    check_deflate(&wire, "1007");
    frame(&wire, FIN | RSV1 | WS_BINARY, STR("\x00\x01\x00\xfe\xff\xff\x00"));
    check_deflate(&wire, "binary:\xff\n");
}

/* W9, W18 */
static void what_inflates_over_the_limit_is_refused(void **state)
{
    struct ws_deflater *deflater = NULL;
    struct buf compressed = {0};
    static char text[LIMIT * 100];
    memset(text, 'x', sizeof(text));
    assert_int_equal(ws_deflater_create(&deflater, 6), 0);
    const size_t lens[] = {LIMIT + 1, sizeof(text)};
    for (size_t i = 0; i < 2; i++) {
        struct buf wire = {0};
        buf_clear(&compressed);
        assert_int_equal(ws_deflate(deflater, 15, str_make(text, lens[i]), &compressed), 0);
        assert_true(compressed.len < LIMIT);
        frame(&wire, FIN | RSV1 | WS_TEXT, buf_str(&compressed));
        struct session session = session_of(true);
        check_single_bytes(&session, buf_str(&wire), "1009");
        check_two_pieces(&session, buf_str(&wire), 0, "1009");
        buf_fini(&wire);
    }
    ws_deflater_destroy(deflater);
    buf_fini(&compressed);
}

/* Random bytes at the limit, made longer by deflate, are still a message at the limit. */
static void compressed_data_may_be_a_little_longer_than_the_limit(void **state)
{
    static char text[LIMIT];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof(text); i++) {
        seed = seed * 1664525 + 1013904223;
        text[i] = (char)(seed >> 24);
    }
    struct ws_deflater *deflater = NULL;
    assert_int_equal(ws_deflater_create(&deflater, 1), 0);
    for (int bits = 9; bits <= 15; bits += 3) {
        struct buf compressed = {0};
        struct buf wire = {0};
        struct session session = session_of(true);
        ws_deflate(deflater, bits, str_make(text, sizeof(text)), &compressed);
        assert_true(compressed.len > LIMIT);
        frame(&wire, FIN | RSV1 | WS_BINARY, buf_str(&compressed));
        assert_int_equal(feed_in_three(&session, &wire), 0);
        assert_int_equal(session.log.len, sizeof("binary:\n") - 1 + LIMIT);
        session_end(&session);
        buf_fini(&compressed);
        buf_fini(&wire);
    }
    ws_deflater_destroy(deflater);
    struct buf wire = {0};
    struct session session = session_of(true);
    announce(&wire, FIN | WS_BINARY, LIMIT * 2);
    wire.data[0] |= RSV1;
    check(&session, &wire, "1009");
}

static int make_inflater(void **state)
{
    return ws_inflater_create(&inflater);
}

static int drop_inflater(void **state)
{
    ws_inflater_destroy(inflater);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_messages_arrive),
        cmocka_unit_test(twenty_frames_in_one_packet_are_twenty_messages),
        cmocka_unit_test(fragments_are_joined_and_control_frames_between_them_come_at_once),
        cmocka_unit_test(an_unfinished_message_asks_for_more),
        cmocka_unit_test(a_message_within_a_message_is_refused),
        cmocka_unit_test(a_continuation_of_nothing_is_refused),
        cmocka_unit_test(a_client_must_mask_and_a_server_must_not),
        cmocka_unit_test(reserved_bits_and_opcodes_are_refused),
        cmocka_unit_test(lengths_in_a_long_form_are_refused),
        cmocka_unit_test(too_much_is_refused_at_the_header),
        cmocka_unit_test(a_message_at_the_limit_passes_whole_and_in_fragments),
        cmocka_unit_test(an_announced_gigabyte_costs_nothing_until_it_comes),
        cmocka_unit_test(lengths_that_would_wrap_are_refused),
        cmocka_unit_test(memory_stays_within_twice_the_payload_and_a_kilobyte),
        cmocka_unit_test(more_fragments_than_the_limit_are_refused_also_empty_ones),
        cmocka_unit_test(a_flood_of_empty_fragments_holds_no_payload),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(a_code_point_may_be_cut_by_fragments),
        cmocka_unit_test(the_first_bad_byte_of_a_text_is_not_waited_past),
        cmocka_unit_test(close_frames_are_read_and_nothing_after_them),
        cmocka_unit_test(bad_close_frames_are_refused),
        cmocka_unit_test(a_whole_frame_is_handed_over_in_place_without_allocation),
        cmocka_unit_test(nothing_is_held_between_messages),
        cmocka_unit_test(a_callback_may_stop_the_reading_at_any_event),
        cmocka_unit_test(a_session_may_be_destroyed_in_a_callback),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(compressed_messages_are_inflated_whole_and_in_fragments),
        cmocka_unit_test(compression_that_was_not_negotiated_is_refused),
        cmocka_unit_test(compressed_text_that_is_bad_inside_is_refused),
        cmocka_unit_test(what_inflates_over_the_limit_is_refused),
        cmocka_unit_test(compressed_data_may_be_a_little_longer_than_the_limit),
    };
    return cmocka_run_group_tests(tests, make_inflater, drop_inflater);
}
