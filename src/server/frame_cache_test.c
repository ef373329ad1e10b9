#include "server/frame_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/receipt.h"
#include "proto/json.h"
#include "proto/ws_deflate.h"

enum { MIN_COMPRESSED = 32, HEAD = 2 };

static struct frame_cache cache;

static int start(void **state)
{
    return frame_cache_init(&cache, 6, MIN_COMPRESSED);
}

static int stop(void **state)
{
    frame_cache_fini(&cache);
    return 0;
}

struct spec {
    enum target_kind kind;
    const char *target;
    enum event_data_kind data_kind;
    struct str data;
    struct str type;
    uint8_t parts;
    struct str subject;
};

static struct message *make(const struct spec *spec)
{
    struct buf encoded = {0};
    struct target target = {spec->kind, str_of(spec->target)};
    uint64_t key = 7;
    struct event event = {.kind = EVENT_MESSAGE,
                          .parts = spec->parts ? spec->parts : 1,
                          .data_kind = spec->data_kind,
                          .time_ms = 5,
                          .id = STR("m1"),
                          .type = spec->type.ptr ? spec->type : STR(""),
                          .subject = spec->subject.ptr ? spec->subject : STR(""),
                          .data = spec->data};
    assert_int_equal(event_encode(&encoded, &event, &target, &key, 1, NULL, 0), 0);
    size_t skip;
    assert_true(event_decode(&event, encoded.data, encoded.len, &skip) > 0);
    struct message *message = message_create(buf_str(&encoded), &event, 2, (struct bus_pos){0});
    assert_non_null(message);
    buf_fini(&encoded);
    return message;
}

static struct message *make_text(const char *text)
{
    struct spec spec = {TARGET_USER, "42", EVENT_DATA_TEXT, str_of(text), STR(""), 1, {NULL, 0}};
    return make(&spec);
}

static void expect_v1(const struct spec *spec, const char *text)
{
    struct message *message = make(spec);
    struct buf out = {0};
    struct json_value value;
    frame_encode_v1(&out, message);
    assert_string_equal(buf_cstr(&out), text);
    assert_int_equal(json_parse(&value, buf_str(&out), 8, NULL), 0);
    buf_fini(&out);
    message_unref(message);
}

static void the_client_protocol_names_what_the_message_has(void **state)
{
    struct spec json = {TARGET_USER, "42", EVENT_DATA_JSON, STR("{\"a\": 1.50}"),
                        STR("x.y"),  1,    {NULL, 0}};
    expect_v1(&json, "{\"t\":\"msg\",\"id\":\"m1\",\"pos\":\"2:0.0\",\"type\":\"x.y\",\"ts\":5,"
                     "\"data\":{\"a\": 1.50}}");
    struct spec group = {TARGET_GROUP, "room:1", EVENT_DATA_TEXT, STR("a\"b"),
                         STR(""),      1,        {NULL, 0}};
    expect_v1(&group, "{\"t\":\"msg\",\"id\":\"m1\",\"pos\":\"2:0.0\",\"g\":\"room:1\",\"ts\":5,"
                      "\"data\":\"a\\\"b\"}");
    struct spec binary = {TARGET_USER, "42", EVENT_DATA_BINARY, STR("\x01\xff"),
                          STR(""),     1,    {NULL, 0}};
    expect_v1(&binary, "{\"t\":\"msg\",\"id\":\"m1\",\"pos\":\"2:0.0\",\"ts\":5,"
                       "\"data_base64\":\"Af8=\"}");
}

static void a_trace_is_named_when_there_is_one(void **state)
{
    struct spec spec = {TARGET_USER, "42", EVENT_DATA_JSON, STR("1"), STR(""), 1, {NULL, 0}};
    spec.subject = STR("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"
                       "\xb7\xad\x6b\x71\x69\x20\x33\x31\x01k=v");
    expect_v1(&spec, "{\"t\":\"msg\",\"id\":\"m1\",\"pos\":\"2:0.0\",\"ts\":5,"
                     "\"tp\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
                     "\"data\":1}");
    spec.subject = STR("what another version may put there instead");
    spec.subject.len = 20;
    expect_v1(&spec, "{\"t\":\"msg\",\"id\":\"m1\",\"pos\":\"2:0.0\",\"ts\":5,\"data\":1}");
}

/* It may have come by another target, and the frame is everybody's. */
static void a_group_is_named_only_when_it_is_the_only_target(void **state)
{
    struct spec group = {TARGET_GROUP, "room:1", EVENT_DATA_TEXT, STR("x"), STR(""), 2, {NULL, 0}};
    expect_v1(&group, "{\"t\":\"msg\",\"id\":\"m1\",\"pos\":\"2:0.0\",\"ts\":5,\"data\":\"x\"}");
}

static void a_frame_is_made_once_a_message_and_kind(void **state)
{
    struct message *message = make_text("hello");
    struct frame *raw = frame_cache_get(&cache, message, FRAME_RAW, 0);
    struct frame *v1 = frame_cache_get(&cache, message, FRAME_V1, 0);
    assert_memory_equal(raw->bytes, "\x81\x05hello", 7);
    assert_ptr_not_equal(raw, v1);
    mem_fail_nth(1);
    assert_ptr_equal(frame_cache_get(&cache, message, FRAME_RAW, 0), raw);
    assert_ptr_equal(frame_cache_get(&cache, message, FRAME_V1, 0), v1);
    assert_true(mem_fail_pending());
    mem_fail_nth(0);
    message_unref(message);
}

static void binary_data_is_a_binary_frame_to_a_raw_session(void **state)
{
    struct spec spec = {TARGET_USER, "42", EVENT_DATA_BINARY, STR("\x01\xff"),
                        STR(""),     1,    {NULL, 0}};
    struct message *message = make(&spec);
    assert_int_equal(frame_cache_get(&cache, message, FRAME_RAW, 0)->bytes[0], 0x80 | WS_BINARY);
    assert_int_equal(frame_cache_get(&cache, message, FRAME_V1, 0)->bytes[0], 0x80 | WS_TEXT);
    message_unref(message);
}

static void more_messages_than_places_are_made_again(void **state)
{
    struct message *messages[2 * FRAME_CACHE_MESSAGES];
    for (int i = 0; i < 2 * FRAME_CACHE_MESSAGES; i++) {
        messages[i] = make_text(i % 2 ? "odd" : "even");
        assert_non_null(frame_cache_get(&cache, messages[i], FRAME_RAW, 0));
    }
    for (int i = 0; i < 2 * FRAME_CACHE_MESSAGES; i++) {
        struct frame *frame = frame_cache_get(&cache, messages[i], FRAME_RAW, 0);
        assert_memory_equal(frame->bytes + HEAD, i % 2 ? "odd" : "even", i % 2 ? 3 : 4);
        message_unref(messages[i]);
    }
}

static void compressed_frames_inflate_back_for_each_window(void **state)
{
    static const char text[] = "to be or not to be, to be or not to be, to be or not to be";
    struct message *message = make_text(text);
    struct ws_inflater *inflater;
    assert_int_equal(ws_inflater_create(&inflater), 0);
    struct frame *seen[16] = {0};
    for (unsigned bits = 9; bits <= 15; bits++) {
        struct frame *frame = frame_cache_get(&cache, message, FRAME_RAW, bits);
        struct str out;
        assert_int_equal(frame->bytes[0], 0xc0 | WS_TEXT);
        assert_true(frame->len < sizeof(text));
        struct str packed = str_make(frame->bytes + HEAD, frame->len - HEAD);
        assert_int_equal(ws_inflate(inflater, packed, sizeof(text), &out), 0);
        assert_true(str_equal(out, str_of(text)));
        for (unsigned other = 9; other < bits; other++) {
            assert_ptr_not_equal(frame, seen[other]);
        }
        seen[bits] = frame;
    }
    ws_inflater_destroy(inflater);
    message_unref(message);
}

static void small_messages_go_as_they_are(void **state)
{
    struct message *message = make_text("small");
    assert_int_equal(frame_cache_get(&cache, message, FRAME_RAW, 15)->bytes[0], 0x80 | WS_TEXT);
    message_unref(message);
}

static void only_a_live_frame_of_a_push_that_counts_writes_holds_its_receipt(void **state)
{
    struct message *message = make_text("hello");
    message->receipt = receipt_create(1, NULL, NULL);
    struct frame *frame = frame_cache_get(&cache, message, FRAME_RAW, 0);
    assert_ptr_equal(frame->receipt, message->receipt);
    assert_false(frame->holds_receipt); /* wait: routed */
    frame_cache_clear(&cache);
    message->receipt->counts_writes = true;
    frame = frame_cache_get(&cache, message, FRAME_RAW, 0);
    assert_ptr_equal(frame->receipt, message->receipt);
    assert_true(frame->holds_receipt);
    struct frame *replayed = frame_cache_make(&cache, message, FRAME_RAW, 0);
    assert_null(replayed->receipt);
    frame_unref(replayed);
    message_unref(message);
}

static void a_revoke_has_no_receipt_of_who_reads_it(void **state)
{
    struct message *message = make_text("hello");
    message->receipt = receipt_create(1, NULL, NULL);
    message->event.kind = EVENT_REVOKE;
    assert_null(frame_cache_get(&cache, message, FRAME_V1, 0)->receipt);
    message_unref(message);
}

static void what_asks_for_acks_says_so_to_who_can_confirm(void **state)
{
    struct message *message = make_text("hello");
    struct buf text = {0};
    message->receipt = receipt_create(1, NULL, NULL);
    message->receipt->counts_writes = true;
    message->event.header.flags |= EVENT_WANTS_ACKS;
    frame_encode_v1(&text, message);
    assert_non_null(strstr(buf_cstr(&text), ",\"ack\":1,"));
    buf_fini(&text);
    struct frame *v1 = frame_cache_get(&cache, message, FRAME_V1, 0);
    assert_true(v1->wants_ack && !v1->is_own_ack);
    assert_false(v1->holds_receipt); /* the session's acks do */
    struct frame *raw = frame_cache_get(&cache, message, FRAME_RAW, 0);
    assert_true(raw->is_own_ack && !raw->wants_ack);
    assert_true(raw->holds_receipt);
    message_unref(message);
}

static void a_frame_says_how_long_it_is_wanted(void **state)
{
    struct message *message = make_text("hello");
    message->expires_ms = 77;
    message->event.id_hash = 5;
    struct frame *frame = frame_cache_make(&cache, message, FRAME_RAW, 0);
    assert_int_equal(frame->expires_ms, 77);
    assert_int_equal(frame->id, 5);
    assert_int_equal(frame->collapse, 0);
    frame_unref(frame);
    message->event.collapse = STR("k");
    frame = frame_cache_make(&cache, message, FRAME_RAW, 0);
    assert_true(frame->collapse == event_collapse_key(&message->event));
    frame_unref(frame);
    message_unref(message);
}

static void a_revoke_names_the_message_that_it_cancels(void **state)
{
    struct message *message = make_text("");
    struct buf text = {0};
    message->event.kind = EVENT_REVOKE;
    message->event.subject = STR("cmt-\"8");
    frame_encode_v1(&text, message);
    assert_memory_equal(text.data, "{\"t\":\"revoke\",\"id\":\"cmt-\\\"8\",\"pos\":\"", 36);
    buf_fini(&text);
    message_unref(message);
}

static void without_memory_there_is_no_frame_and_the_next_try_makes_it(void **state)
{
    struct message *message = make_text("to be or not to be, to be or not to be, to be or not");
    for (unsigned bits = 0; bits <= 15; bits += 15) {
        for (unsigned long n = 1;; n++) {
            frame_cache_fini(&cache);
            assert_int_equal(frame_cache_init(&cache, 6, MIN_COMPRESSED), 0);
            mem_fail_nth(n);
            struct frame *frame = frame_cache_get(&cache, message, FRAME_V1, bits);
            bool went_through = mem_fail_pending();
            mem_fail_nth(0);
            assert_true(went_through == (frame != NULL));
            assert_non_null(frame_cache_get(&cache, message, FRAME_V1, bits));
            if (went_through) {
                break;
            }
        }
    }
    message_unref(message);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_client_protocol_names_what_the_message_has),
        TEST(a_trace_is_named_when_there_is_one),
        TEST(a_group_is_named_only_when_it_is_the_only_target),
        TEST(a_frame_is_made_once_a_message_and_kind),
        TEST(binary_data_is_a_binary_frame_to_a_raw_session),
        TEST(more_messages_than_places_are_made_again),
        TEST(compressed_frames_inflate_back_for_each_window),
        TEST(small_messages_go_as_they_are),
        TEST(only_a_live_frame_of_a_push_that_counts_writes_holds_its_receipt),
        TEST(a_revoke_has_no_receipt_of_who_reads_it),
        TEST(what_asks_for_acks_says_so_to_who_can_confirm),
        TEST(a_frame_says_how_long_it_is_wanted),
        TEST(a_revoke_names_the_message_that_it_cancels),
        TEST(without_memory_there_is_no_frame_and_the_next_try_makes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
