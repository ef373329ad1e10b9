/* The bytes that a session of the event stream gets. */
#include "server/sse_frame.h"

#include "server/sse_id.h"
#include "server/test_gateway.h"
#include "server/ws_session.h"

static struct test_gateway t;

static int start(void **state)
{
    test_gateway_init(&t);
    test_gateway_start(&t, NULL);
    test_gateway_turn(&t, TEST_TURNS); /* the bus is up */
    return 0;
}

static int stop(void **state)
{
    test_gateway_stop(&t);
    return 0;
}

static void expect(struct frame *frame, const char *text)
{
    assert_non_null(frame);
    assert_int_equal(frame->len, strlen(text));
    assert_memory_equal(frame->bytes, text, frame->len);
    frame_unref(frame);
}

static struct message *make_message(enum event_data_kind kind, struct str data)
{
    struct event event = {.kind = EVENT_MESSAGE,
                          .parts = 1,
                          .data_kind = kind,
                          .time_ms = 5,
                          .id = STR("m1"),
                          .data = data};
    struct event decoded;
    struct buf text = {0};
    size_t skip;
    uint64_t key = 1;
    struct target target = {TARGET_ALL, STR("")};
    assert_int_equal(event_encode(&text, &event, &target, &key, 1, NULL, 0), 0);
    assert_true(event_decode(&decoded, text.data, text.len, &skip) > 0);
    struct message *message = message_create(buf_str(&text), &decoded, 3, (struct bus_pos){900, 2});
    assert_non_null(message);
    buf_fini(&text);
    return message;
}

/* A session that this worker does not know: what a frame depends on is in here. */
static struct session live_session(uint8_t flags, uint64_t live_from)
{
    return (struct session){
        .state = SESSION_LIVE, .transport = SSE_TRANSPORT, .flags = flags, .live_from = live_from};
}

static struct session_resume id_in(const struct frame *frame)
{
    struct session_resume resume;
    char text[SSE_ID_MAX + 64];
    snprintf(text, sizeof(text), "%.*s", (int)frame->len, (const char *)frame->bytes);
    assert_memory_equal(text, "id: ", 4);
    struct str id = str_make(text + 4, strcspn(text + 4, "\n"));
    assert_true(sse_id_read(&resume, id, BUS_MAX_QUEUES));
    return resume;
}

static void a_text_is_one_event_with_what_it_is_given(void **state)
{
    expect(sse_frame_of_text(t.worker, STR(""), STR("{}"), NULL), "data: {}\n\n");
    expect(sse_frame_of_text(t.worker, STR("gap"), STR("{}"), NULL), "event: gap\ndata: {}\n\n");
    struct hub_heads heads = {.started = 1};
    struct frame *frame = sse_frame_of_text(t.worker, STR(""), STR(""), &heads);
    struct session_resume resume = id_in(frame);
    assert_true(str_equal(str_of(resume.epoch), shard_epoch(t.worker->shard)));
    assert_null(memmem(frame->bytes, frame->len, "data", 4));
    frame_unref(frame);
}

static void the_last_event_says_why_and_when_to_come_back(void **state)
{
    expect(sse_frame_of_close(4000), "event: close\nretry: 3600000\n"
                                     "data: {\"code\":4000,\"reason\":\"kicked\"}\n\n");
    expect(sse_frame_of_close(4200), "event: close\n"
                                     "data: {\"code\":4200,\"reason\":\"drain\"}\n\n");
    expect(sse_frame_of_close(4300), "event: close\nretry: 30000\n"
                                     "data: {\"code\":4300,\"reason\":\"token_expired\"}\n\n");
    expect(sse_frame_of_ping(true), "event: ping\ndata: \n\n");
    expect(sse_frame_of_ping(false), ": ping\n\n");
}

static void a_message_is_built_once_for_all_live_sessions(void **state)
{
    struct message *message = make_message(EVENT_DATA_JSON, STR("{\"a\":\n1}"));
    struct session one = live_session(WS_IS_V1, 0);
    struct session other = live_session(WS_IS_V1, 7);
    struct frame *first = sse_frame_of_message(t.worker, &one, message);
    struct frame *second = sse_frame_of_message(t.worker, &other, message);
    assert_ptr_equal(first, second);
    struct session_resume resume = id_in(first);
    assert_int_equal(resume.seen.pos[3].hi, 900);
    assert_true(resume.has[0]);
    assert_non_null(memmem(first->bytes, first->len, "\"data\":{\"a\": 1}}\n\n", 18));
    frame_unref(first);
    frame_unref(second);
    frame_cache_clear(&t.worker->frames);
    message_unref(message);
}

static void one_that_began_behind_what_waits_gets_no_id(void **state)
{
    struct message *message = make_message(EVENT_DATA_TEXT, STR("hi"));
    struct session old = live_session(0, 0);
    struct session young = live_session(0, UINT64_MAX);
    struct frame *frame = sse_frame_of_message(t.worker, &old, message);
    id_in(frame);
    frame_unref(frame);
    expect(sse_frame_of_message(t.worker, &young, message), "data: hi\n\n");
    frame_cache_clear(&t.worker->frames);
    message_unref(message);
}

static void one_that_is_not_begun_gets_no_id(void **state)
{
    struct message *message = make_message(EVENT_DATA_TEXT, STR("hi"));
    struct session *session = shard_session_create(t.worker->shard, 0, SSE_TRANSPORT);
    expect(sse_frame_of_message(t.worker, session, message), "data: hi\n\n");
    shard_session_free(t.worker->shard, session);
    message_unref(message);
}

static void bytes_reach_a_raw_stream_as_base64_by_name(void **state)
{
    struct message *message = make_message(EVENT_DATA_BINARY, str_make("\0\1\xff", 3));
    struct session young = live_session(0, UINT64_MAX);
    expect(sse_frame_of_message(t.worker, &young, message), "event: binary\ndata: AAH/\n\n");
    frame_cache_clear(&t.worker->frames);
    message_unref(message);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_text_is_one_event_with_what_it_is_given),
        TEST(the_last_event_says_why_and_when_to_come_back),
        TEST(a_message_is_built_once_for_all_live_sessions),
        TEST(one_that_began_behind_what_waits_gets_no_id),
        TEST(one_that_is_not_begun_gets_no_id),
        TEST(bytes_reach_a_raw_stream_as_base64_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
