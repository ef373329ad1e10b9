#include "server/ws_session.h"

#include <errno.h>

#include "server/test_gateway.h"
#include "server/ws_protocol.h"

enum { SHORT_MS = 80 };

static struct test_gateway t;

static int start(void **state)
{
    test_gateway_init(&t);
    t.settings->limits.accept_rate = 0;
    test_gateway_start(&t, NULL);
    return 0;
}

static int stop(void **state)
{
    test_gateway_turn(&t, TEST_TURNS);
    assert_int_equal(admission_sessions(&t.gateway->admission), 0);
    test_gateway_stop(&t);
    return 0;
}

static struct test_client *connect_v1(void)
{
    struct test_client *client = test_connect_v1(&t, "{\"t\":\"hello\",\"v\":1}");
    test_client_expect(client, "\"welcome\"");
    return client;
}

static struct session *only_session(void)
{
    for (uint32_t slot = 1; slot < shard_slot_limit(t.worker->shard); slot++) {
        struct session *session = shard_session_at(t.worker->shard, slot);
        if (session->state != SESSION_FREE) {
            return session;
        }
    }
    return NULL;
}

static bool is_gone(struct test_client *client)
{
    char byte;
    ssize_t got = recv(client->fd, &byte, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static void a_push_reaches_a_session_of_each_kind(void **state)
{
    struct test_client *raw = test_connect(&t, "/v1/ws?group=room:1", "");
    struct test_client *v1 = connect_v1();
    test_push(&t, TARGET_GROUP, "room:1", STR("hello"));
    assert_int_equal(test_client_next(raw), WS_TEXT);
    assert_string_equal(raw->text, "hello");
    assert_int_equal(test_client_next(v1), -1);
    test_push(&t, TARGET_ALL, "", STR("everybody"));
    test_client_expect(v1, "\"data\":\"everybody\"");
    test_client_expect(raw, "everybody");
    test_client_destroy(raw);
    test_client_destroy(v1);
}

/* The bytes that are there, and the last of them. */
static size_t read_away(struct test_client *client, char *out_last)
{
    static char bytes[65536];
    size_t count = 0;
    ssize_t got;
    while ((got = recv(client->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
        count += (size_t)got;
        *out_last = bytes[got - 1];
    }
    return count;
}

/* A frame is half out, and its rest found no memory: no close frame goes into the middle of it. */
static void what_can_not_wait_ends_the_session_at_once(void **state)
{
    static char large[60000];
    memset(large, 'x', sizeof(large));
    for (unsigned long nth = 2; nth <= 3; nth++) { /* 1: the frame, 2: the queue, 3: its node */
        struct test_client *client = test_connect(&t, "/v1/ws", "");
        struct session *session = only_session();
        bool has_failed = false;
        char last = 0;
        while (!has_failed) {
            out_pool_fini(&t.worker->pool);
            mem_fail_nth(nth);
            ws_session_send(t.worker, session, WS_TEXT, str_make(large, sizeof(large)));
            has_failed = !mem_fail_pending();
            mem_fail_nth(0);
        }
        test_gateway_turn(&t, 1);
        size_t count = read_away(client, &last);
        test_gateway_turn(&t, 1);
        count += read_away(client, &last);
        bool is_between_frames = count % (sizeof(large) + 4) == 4;
        assert_true(last == 'x' || is_between_frames);
        test_client_destroy(client);
        test_gateway_turn(&t, TEST_TURNS);
    }
}

static void a_ping_is_answered_with_its_own_bytes(void **state)
{
    struct test_client *client = connect_v1();
    test_client_send(client, WS_PING, "are you there");
    assert_int_equal(test_client_next(client), WS_PONG);
    assert_string_equal(client->text, "are you there");
    test_client_destroy(client);
}

static void too_many_pings_are_4103(void **state)
{
    t.settings->limits.pings_per_second = 1;
    struct test_client *client = connect_v1();
    for (int i = 0; i < 10; i++) {
        test_client_send(client, WS_PING, "x");
        assert_int_equal(test_client_next(client), WS_PONG);
    }
    test_client_send(client, WS_PING, "x");
    assert_int_equal(test_client_close_code(client), WS_CLOSE_RATE_LIMITED);
    test_client_destroy(client);
}

static void too_many_messages_are_4103(void **state)
{
    t.settings->limits.messages_per_second = 1;
    t.settings->limits.message_burst = 3;
    struct test_client *client = connect_v1();
    for (int i = 0; i < 3; i++) {
        test_client_send(client, WS_TEXT, "{\"t\":\"whatever\"}");
        assert_int_equal(test_client_next(client), -1);
    }
    test_client_send(client, WS_TEXT, "{\"t\":\"whatever\"}");
    assert_int_equal(test_client_close_code(client), WS_CLOSE_RATE_LIMITED);
    test_client_destroy(client);
}

static void a_message_over_the_limit_is_1009(void **state)
{
    static char text[2000];
    memset(text, 'x', sizeof(text) - 1);
    t.settings->limits.message_bytes = 1000;
    struct test_client *client = connect_v1();
    test_client_send(client, WS_TEXT, text);
    assert_int_equal(test_client_close_code(client), WS_CLOSE_TOO_LARGE);
    assert_true(is_gone(client)); /* our half is over; what it still says is read away */
    test_client_destroy(client);
}

static void an_unmasked_frame_is_1002(void **state)
{
    struct test_client *client = connect_v1();
    test_client_write(client, "\x81\x01x", 3);
    assert_int_equal(test_client_close_code(client), WS_CLOSE_PROTOCOL);
    test_client_destroy(client);
}

static void a_close_is_answered_and_nothing_behind_it_is_read(void **state)
{
    static const uint8_t frames[] = {0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa1, 0xff, 0xff, 0xff};
    struct test_client *client = connect_v1();
    test_client_write(client, frames, sizeof(frames));
    assert_int_equal(test_client_close_code(client), 4001);
    assert_true(is_gone(client));
    assert_null(only_session());
    test_client_destroy(client);
}

static void a_broken_connection_ends_its_session(void **state)
{
    struct test_client *client = connect_v1();
    struct linger reset = {1, 0};
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    test_client_destroy(client);
    assert_null(only_session());
}

static void a_session_that_broke_in_the_middle_of_a_frame_leaves_nothing(void **state)
{
    struct test_client *client = connect_v1();
    test_client_write(client, "\x81\xfe\x10\x00zzzzxxxx", 12);
    assert_non_null(only_session()->in);
    test_client_destroy(client);
    assert_null(only_session());
}

/* ---- slow sessions ---- */

enum { LARGE = 60 * 1024 };

static void push_large(int count)
{
    static char text[LARGE];
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < count; i++) {
        test_push(&t, TARGET_GROUP, "room:1", str_make(text, sizeof(text)));
    }
}

static void a_session_that_takes_nothing_is_4101_and_others_do_not_notice(void **state)
{
    struct test_client *slow = test_connect(&t, "/v1/ws?group=room:1", "");
    struct test_client *good = test_connect(&t, "/v1/ws?group=room:1", "");
    int64_t before = mem_accounted(MEM_QUEUES);
    t.settings->limits.session_queue_bytes = 200 * 1024;
    for (int i = 0; i < 400; i++) {
        push_large(1);
        assert_int_equal(test_client_next(good), WS_TEXT);
        assert_true(mem_accounted(MEM_QUEUES) - before < 400 * 1024);
    }
    assert_int_equal(test_client_close_code(slow), WS_CLOSE_SLOW);
    test_client_destroy(slow);
    test_client_destroy(good);
}

static void a_frame_that_waits_too_long_is_4101(void **state)
{
    struct test_client *slow = test_connect(&t, "/v1/ws?group=room:1", "");
    t.settings->limits.session_queue_bytes = 64 * 1024 * 1024;
    t.settings->limits.session_queue_age_ms = SHORT_MS;
    while (!(only_session()->flags & WS_IS_BLOCKED)) {
        push_large(1);
    }
    assert_false(only_session()->flags & WS_IS_CLOSING);
    test_gateway_turn_for(&t, 3 * SHORT_MS);
    assert_true(only_session()->flags & WS_IS_CLOSING);
    assert_int_equal(test_client_close_code(slow), WS_CLOSE_SLOW);
    test_client_destroy(slow);
}

/* All but the one that is half out, and some of which the limit is. */
static struct out_queue *fill_and_expire(void)
{
    t.settings->limits.session_queue_bytes = 64 * 1024 * 1024;
    while (!only_session()->out || ((struct out_queue *)only_session()->out)->frames < 4) {
        push_large(1);
    }
    struct out_queue *queue = only_session()->out;
    for (struct out_node *node = queue->first; node; node = node->next) {
        node->frame->expires_ms = 1;
    }
    queue->next_expiry_ms = 1;
    return queue;
}

static void what_is_past_its_ttl_does_not_count_against_the_limit(void **state)
{
    struct test_client *slow = test_connect(&t, "/v1/ws?group=room:1", "");
    struct out_queue *queue = fill_and_expire();
    t.settings->limits.session_queue_bytes = queue->bytes + 1;
    push_large(1);
    test_gateway_turn(&t, 2);
    assert_false(only_session()->flags & (WS_IS_CLOSING | WS_IS_DOOMED));
    assert_in_range(queue->frames, 1, 2);
    test_client_destroy(slow);
}

static void what_is_past_its_ttl_is_not_late(void **state)
{
    struct test_client *slow = test_connect(&t, "/v1/ws?group=room:1", "");
    struct out_queue *queue = fill_and_expire();
    struct out_node *half = queue->first->sent > 0 ? queue->first : NULL;
    ws_session_touch(t.worker, only_session());
    assert_ptr_equal(queue->first, half);
    assert_in_range(queue->frames, 0, 1);
    test_client_destroy(slow);
}

/* The close frame stands behind the whole of the frame that was half out. */
static void a_frame_that_is_half_out_is_finished_before_the_close(void **state)
{
    struct test_client *slow = test_connect(&t, "/v1/ws?group=room:1", "");
    t.settings->limits.session_queue_bytes = 64 * 1024 * 1024;
    while (!only_session()->out || ((struct out_queue *)only_session()->out)->frames < 3) {
        push_large(1);
    }
    ws_session_doom(t.worker, only_session(), WS_CLOSE_KICKED);
    test_gateway_turn(&t, 2);
    int opcode;
    while ((opcode = test_client_next(slow)) == WS_TEXT) {
        assert_int_equal(slow->len, LARGE);
    }
    assert_int_equal(opcode, WS_CLOSE);
    test_client_destroy(slow);
}

static void one_pong_waits_at_most(void **state)
{
    struct test_client *slow = test_connect(&t, "/v1/ws?group=room:1", "");
    t.settings->limits.session_queue_bytes = 64 * 1024 * 1024;
    while (!(only_session()->flags & WS_IS_BLOCKED)) {
        push_large(1);
    }
    uint32_t frames = ((struct out_queue *)only_session()->out)->frames;
    for (int i = 0; i < 100; i++) {
        test_client_send(slow, WS_PING, i < 99 ? "early" : "last");
    }
    assert_in_range(((struct out_queue *)only_session()->out)->frames, 1, frames + 1);
    int pongs = 0;
    for (int opcode; (opcode = test_client_next(slow)) >= 0;) {
        pongs += opcode == WS_PONG;
        assert_true(opcode != WS_PONG || strcmp(slow->text, "last") == 0);
    }
    assert_int_equal(pongs, 1);
    test_client_destroy(slow);
}

static void one_turn_does_not_gather_more_than_the_limit(void **state)
{
    static char text[LARGE];
    struct test_client *client = test_connect(&t, "/v1/ws?group=room:1", "");
    t.settings->limits.session_queue_bytes = 2 * LARGE;
    t.worker->corking = true;
    struct frame *frame = frame_create(WS_BINARY, false, str_make(text, sizeof(text)));
    for (int i = 0; i < 12; i++) {
        ws_session_send_frame(t.worker, only_session(), frame);
        const struct out_queue *queue = only_session()->out;
        assert_true(!queue || queue->bytes < 4 * LARGE);
    }
    frame_unref(frame);
    test_gateway_turn(&t, 1);
    int got = 0;
    while (test_client_next(client) == WS_BINARY) {
        got++;
    }
    assert_int_equal(got, 12);
    test_client_destroy(client);
}

/* ---- time ---- */

static void without_hello_in_time_it_is_4104(void **state)
{
    t.settings->limits.hello_timeout_ms = SHORT_MS;
    struct test_client *client = test_connect(&t, "/v1/ws", "tidegate.v1.json");
    test_client_write(client, "\x81", 1); /* half a frame is no hello */
    test_gateway_turn_for(&t, 3 * SHORT_MS);
    assert_int_equal(test_client_close_code(client), WS_CLOSE_HELLO_TIMEOUT);
    test_client_destroy(client);
}

static void pings_without_an_answer_are_4102(void **state)
{
    t.settings->heartbeat.interval_ms = SHORT_MS;
    t.settings->heartbeat.missed = 2;
    struct test_client *client = connect_v1();
    test_gateway_turn_for(&t, 5 * SHORT_MS);
    assert_int_equal(test_client_next(client), WS_PING);
    assert_int_equal(test_client_next(client), WS_PING);
    assert_int_equal(test_client_close_code(client), WS_CLOSE_NO_PONG);
    test_client_destroy(client);
}

static void any_byte_counts_as_life(void **state)
{
    t.settings->heartbeat.interval_ms = 5 * SHORT_MS;
    struct test_client *client = connect_v1();
    for (int i = 0; i < 11; i++) {
        test_gateway_turn_for(&t, SHORT_MS);
        test_client_write(client, i == 0 ? "\x81\xfe\x10\x00zzzz" : "y", i == 0 ? 8 : 1);
        assert_int_equal(test_client_next(client), -1);
    }
    test_client_destroy(client);
}

static void set_expiry(uint32_t in_s)
{
    struct session *session = only_session();
    uint32_t now_s = (uint32_t)(clock_wall_ms() / 1000);
    shard_session_cold(t.worker->shard, session)->expires_s = now_s + in_s;
    ws_session_touch(t.worker, session);
    test_gateway_turn(&t, 2);
}

static void a_token_that_ends_soon_is_announced_once_and_its_end_is_4300(void **state)
{
    struct test_client *client = connect_v1();
    set_expiry(20);
    test_client_expect(client, "\"expiring\"");
    set_expiry(19);
    assert_int_equal(test_client_next(client), -1);
    set_expiry(0);
    assert_int_equal(test_client_close_code(client), WS_CLOSE_EXPIRED);
    test_client_destroy(client);
}

static void a_peer_that_never_answers_the_close_is_let_go(void **state)
{
    struct test_client *client = connect_v1();
    ws_session_doom(t.worker, only_session(), WS_CLOSE_KICKED);
    test_gateway_turn(&t, 2);
    assert_int_equal(test_client_close_code(client), WS_CLOSE_KICKED);
    assert_non_null(only_session());
    loop_timer_start(t.worker->loop, &shard_session_cold(t.worker->shard, only_session())->timer,
                     0); /* three seconds later */
    test_gateway_turn_for(&t, 30);
    assert_null(only_session());
    test_client_destroy(client);
}

/* ---- memory ---- */

static void a_session_ends_even_when_nothing_can_be_remembered(void **state)
{
    struct test_client *clients[65];
    for (int i = 0; i < 65; i++) { /* the list has room for 64 at first */
        clients[i] = connect_v1();
    }
    for (uint32_t slot = 1; slot < shard_slot_limit(t.worker->shard); slot++) {
        struct session *session = shard_session_at(t.worker->shard, slot);
        if (session->state != SESSION_FREE) {
            mem_fail_nth(1);
            ws_session_doom(t.worker, session, WS_CLOSE_KICKED);
        }
    }
    mem_fail_nth(0);
    test_push(&t, TARGET_ALL, "", STR("nobody hears this"));
    test_gateway_turn_for(&t, 300);
    for (int i = 0; i < 65; i++) {
        test_client_destroy(clients[i]);
    }
    test_gateway_turn_for(&t, 200);
    assert_null(only_session());
}

static void a_deaf_session_takes_no_part_in_compression(void **state)
{
    struct session session = {.pings = WS_WINDOW_BITS_DEAF << 4};
    assert_true(ws_is_deaf(&session));
    assert_int_equal(ws_window_bits(&session), 0);
    session.pings = 15 << 4 | 3;
    assert_false(ws_is_deaf(&session));
    assert_int_equal(ws_window_bits(&session), 15);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_push_reaches_a_session_of_each_kind),
        TEST(what_can_not_wait_ends_the_session_at_once),
        TEST(a_ping_is_answered_with_its_own_bytes),
        TEST(too_many_pings_are_4103),
        TEST(too_many_messages_are_4103),
        TEST(a_message_over_the_limit_is_1009),
        TEST(an_unmasked_frame_is_1002),
        TEST(a_close_is_answered_and_nothing_behind_it_is_read),
        TEST(a_broken_connection_ends_its_session),
        TEST(a_session_that_broke_in_the_middle_of_a_frame_leaves_nothing),
        TEST(a_session_that_takes_nothing_is_4101_and_others_do_not_notice),
        TEST(a_frame_that_waits_too_long_is_4101),
        TEST(what_is_past_its_ttl_does_not_count_against_the_limit),
        TEST(what_is_past_its_ttl_is_not_late),
        TEST(a_frame_that_is_half_out_is_finished_before_the_close),
        TEST(one_pong_waits_at_most),
        TEST(one_turn_does_not_gather_more_than_the_limit),
        TEST(without_hello_in_time_it_is_4104),
        TEST(pings_without_an_answer_are_4102),
        TEST(any_byte_counts_as_life),
        TEST(a_token_that_ends_soon_is_announced_once_and_its_end_is_4300),
        TEST(a_peer_that_never_answers_the_close_is_let_go),
        TEST(a_session_ends_even_when_nothing_can_be_remembered),
        TEST(a_deaf_session_takes_no_part_in_compression),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
