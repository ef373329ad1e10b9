#include "server/watch.h"

#include "server/test_gateway.h"
#include "server/watch_text.h"
#include "server/ws_session.h"

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
    test_gateway_stop(&t);
    return 0;
}

static struct session *newest_session(void)
{
    struct session *newest = NULL;
    for (uint32_t slot = 1; slot < shard_slot_limit(t.worker->shard); slot++) {
        struct session *session = shard_session_at(t.worker->shard, slot);
        newest = session->state != SESSION_FREE ? session : newest;
    }
    return newest;
}

static struct test_client *connect_v1(void)
{
    struct test_client *client = test_connect_v1(&t, "{\"t\":\"hello\",\"v\":1}");
    test_client_expect(client, "\"welcome\"");
    return client;
}

static struct watch *watch_newest(void)
{
    struct watch *watch;
    assert_int_equal(watch_start(t.worker, newest_session(), &watch), 0);
    return watch;
}

/* "out text {…}", "in close 1000" and so on of the n-th frame. */
static void says(const struct watch *watch, uint64_t number, bool is_out, enum ws_opcode opcode,
                 const char *text)
{
    const struct watch_frame *frame = watch_frames_after(watch, number - 1);
    assert_non_null(frame);
    assert_int_equal(frame->number, number);
    assert_int_equal(frame->is_out, is_out);
    assert_int_equal(frame->opcode, opcode);
    assert_true(frame->at_ms > 0);
    char shown[WATCH_TEXT + 1];
    snprintf(shown, sizeof(shown), "%.*s", (int)frame->text_len, frame->text);
    if (!strstr(shown, text)) {
        fail_msg("expected: %s\ngot: %s", text, shown);
    }
}

static void frames_of_both_directions_are_kept_in_their_order(void **state)
{
    struct test_client *client = connect_v1();
    struct watch *watch = watch_newest();
    assert_null(watch_frames_after(watch, 0));
    test_push(&t, TARGET_ALL, "", STR("one"));
    test_client_expect(client, "\"one\"");
    test_client_send(client, WS_TEXT,
                     "{\"t\":\"join\",\"re\":1,\"g\":\"room:1\",\"token\":\"eyJ\"}");
    test_client_expect(client, "\"ok\"");
    test_client_send(client, WS_PING, "x");
    assert_int_equal(test_client_next(client), WS_PONG);
    says(watch, 1, true, WS_TEXT, "{\"t\":\"msg\"");
    says(watch, 1, true, WS_TEXT, "\"data\":\"one\"}");
    says(watch, 2, false, WS_TEXT,
         "{\"t\":\"join\",\"re\":1,\"g\":\"room:1\",\"token\":" WATCH_HIDDEN "}");
    assert_true(watch_frames_after(watch, 1)->is_hidden);
    says(watch, 3, true, WS_TEXT, "{\"t\":\"ok\",\"re\":1}");
    assert_false(watch_frames_after(watch, 2)->is_hidden);
    says(watch, 4, false, WS_PING, "");
    says(watch, 5, true, WS_PONG, "");
    assert_int_equal(watch->frames, 5);
    test_client_destroy(client);
}

static void nobody_else_is_watched(void **state)
{
    struct test_client *watched = connect_v1();
    struct watch *watch = watch_newest();
    struct test_client *other = connect_v1();
    const struct session *session = newest_session();
    assert_int_equal(__builtin_popcountll(t.worker->watches.bits), 1);
    assert_false(ws_is_watched(t.worker, session));
    test_client_send(other, WS_PING, "");
    assert_null(watch_frames_after(watch, 0));
    test_client_destroy(other);
    test_client_destroy(watched);
}

static void the_end_is_told_and_outlives_the_session(void **state)
{
    struct test_client *client = connect_v1();
    struct session *session = newest_session();
    uint32_t slot = session->cold;
    uint32_t generation = session->generation;
    struct watch *watch = watch_newest();
    ws_session_doom(t.worker, session, WS_CLOSE_KICKED);
    test_gateway_turn(&t, TEST_TURNS);
    says(watch, 1, true, WS_CLOSE, "");
    assert_int_equal(watch_frames_after(watch, 0)->code, WS_CLOSE_KICKED);
    test_client_destroy(client);
    assert_ptr_equal(watch_find(t.worker, slot, generation), watch);
    assert_true(watch->has_ended && !watch->by_client);
    assert_int_equal(watch->code, WS_CLOSE_KICKED);
    client = connect_v1(); /* in the same slot */
    assert_int_equal(newest_session()->cold, slot);
    test_client_send(client, WS_PING, "");
    assert_int_equal(watch->frames, 1);
    assert_null(watch_find(t.worker, slot, newest_session()->generation));
    test_client_destroy(client);
}

static void who_closes_first_has_ended_it(void **state)
{
    struct test_client *client = connect_v1();
    struct watch *watch = watch_newest();
    test_client_send(client, WS_CLOSE, "\x03\xe9");
    says(watch, 1, false, WS_CLOSE, "");
    says(watch, 2, true, WS_CLOSE, "");
    assert_true(watch->has_ended && watch->by_client);
    assert_int_equal(watch->code, 1001);
    test_client_destroy(client);
    client = connect_v1();
    watch = watch_newest();
    test_client_destroy(client);
    assert_true(watch->has_ended && watch->by_client);
    assert_int_equal(watch->code, 0);
}

static void what_is_no_frame_is_not_shown(void **state)
{
    struct test_client *client = connect_v1();
    struct watch *watch = watch_newest();
    const char *text = "{\"t\":\"refresh\",\"token\":\"eyJ";
    test_client_send(client, WS_TEXT, text);
    says(watch, 1, false, WS_TEXT, "");
    const struct watch_frame *frame = watch_frames_after(watch, 0);
    assert_int_equal(frame->text_len, 0);
    assert_int_equal(frame->bytes, strlen(text));
    assert_true(frame->is_hidden);
    test_client_destroy(client);
}

/* ---- bounds ---- */

static void the_oldest_frames_go_first(void **state)
{
    struct test_client *client = connect_v1();
    struct watch *watch = watch_newest();
    const struct session *session = newest_session();
    for (int i = 0; i < WATCH_FRAMES + 10; i++) {
        watch_note(t.worker, session, true, WS_PING, STR(""));
    }
    assert_int_equal(watch->count, WATCH_FRAMES);
    assert_int_equal(watch_frames_after(watch, 0)->number, 11);
    static char text[3 * WATCH_TEXT];
    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + sizeof(text) - 2, "\"}", 2);
    for (int i = 0; i < WATCH_FRAMES; i++) {
        watch_note(t.worker, session, true, WS_TEXT, str_make(text, sizeof(text)));
        assert_in_range(watch->bytes, 1, WATCH_BYTES);
    }
    assert_int_equal(watch->last->text_len, WATCH_TEXT);
    assert_int_equal(watch->last->bytes, sizeof(text));
    assert_true(watch->last->is_cut && !watch->last->is_hidden);
    assert_in_range(watch->count, 60, 64);
    test_client_destroy(client);
}

static void only_so_many_are_watched_at_a_time(void **state)
{
    struct test_client *clients[WATCHES_MAX + 1];
    struct watch *watch = NULL;
    for (int i = 0; i <= WATCHES_MAX; i++) {
        clients[i] = connect_v1();
        int err = watch_start(t.worker, newest_session(), &watch);
        assert_int_equal(err, i < WATCHES_MAX ? 0 : ERR_TOO_MANY);
    }
    for (int i = 0; i <= WATCHES_MAX; i++) {
        test_client_destroy(clients[i]);
    }
}

static void fire(void)
{
    struct timer *timer = &t.worker->watches.timer;
    timer->on_fire(timer);
}

static void a_watch_ends_with_its_lease(void **state)
{
    struct test_client *client = connect_v1();
    struct session *session = newest_session();
    struct watch *watch = watch_newest();
    watch_note(t.worker, session, true, WS_PING, STR(""));
    fire();
    assert_true(ws_is_watched(t.worker, session));
    watch->lease_ends_ms = 1;
    assert_ptr_equal(watch_find(t.worker, session->cold, session->generation), watch);
    fire(); /* it was renewed */
    assert_true(ws_is_watched(t.worker, session));
    watch->lease_ends_ms = worker_now_ms(t.worker);
    fire();
    assert_false(ws_is_watched(t.worker, session));
    assert_int_equal(t.worker->watches.bits, 0);
    assert_null(watch_find(t.worker, session->cold, session->generation));
    test_client_destroy(client);
}

/* ---- waiting, memory ---- */

static int woken;

static void wake(struct watch_waiter *waiter)
{
    woken++;
}

static void a_waiter_is_woken_once_by_the_next_frame(void **state)
{
    struct watch_waiter waiters[3] = {{.wake = wake}, {.wake = wake}, {.wake = wake}};
    struct test_client *client = connect_v1();
    struct watch *watch = watch_newest();
    for (int i = 0; i < 3; i++) {
        watch_wait(watch, &waiters[i]);
    }
    watch_wait_no_more(&waiters[1]);
    woken = 0;
    test_client_send(client, WS_PING, "");
    assert_int_equal(woken, 2);
    test_client_send(client, WS_PING, "");
    assert_int_equal(woken, 2);
    watch_wait(watch, &waiters[0]);
    test_client_destroy(client);
    assert_int_equal(woken, 3);
}

static void a_frame_without_memory_is_missed_and_the_session_is_not(void **state)
{
    struct test_client *client = connect_v1();
    mem_fail_nth(1);
    struct watch *watch = NULL;
    assert_int_equal(watch_start(t.worker, newest_session(), &watch), ERR_NO_MEMORY);
    mem_fail_nth(0);
    watch = watch_newest();
    mem_fail_nth(1);
    watch_note(t.worker, newest_session(), true, WS_PING, STR(""));
    assert_false(mem_fail_pending());
    watch_note(t.worker, newest_session(), true, WS_PONG, STR(""));
    says(watch, 2, true, WS_PONG, "");
    assert_null(watch_frames_after(watch, 2));
    assert_int_equal(watch_frames_after(watch, 0)->number, 2);
    test_push(&t, TARGET_ALL, "", STR("1"));
    test_client_expect(client, "\"data\":\"1\"");
    test_client_destroy(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_GATEWAY(name) cmocka_unit_test_setup_teardown(name, start, stop)
        WITH_GATEWAY(frames_of_both_directions_are_kept_in_their_order),
        WITH_GATEWAY(nobody_else_is_watched),
        WITH_GATEWAY(the_end_is_told_and_outlives_the_session),
        WITH_GATEWAY(who_closes_first_has_ended_it),
        WITH_GATEWAY(what_is_no_frame_is_not_shown),
        WITH_GATEWAY(the_oldest_frames_go_first),
        WITH_GATEWAY(only_so_many_are_watched_at_a_time),
        WITH_GATEWAY(a_watch_ends_with_its_lease),
        WITH_GATEWAY(a_waiter_is_woken_once_by_the_next_frame),
        WITH_GATEWAY(a_frame_without_memory_is_missed_and_the_session_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
