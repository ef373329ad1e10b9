/* A client that comes back. */
#include "core/shard_test_help.h"

static void push_numbers(const char *target, int from, int to)
{
    for (int i = from; i <= to; i++) {
        char data[8];
        snprintf(data, sizeof(data), "%d", i);
        shard_test_push(target, data);
        shard_test_run();
    }
}

static void who_comes_back_gets_what_was_missed_and_then_lives_on(void **state)
{
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 2);
    push_numbers("g:room", 3, 3);
    push_numbers("u:b", 4, 4);
    push_numbers("*", 5, 5);
    struct session *session = shard_test_come_back("a", "room", &resume);
    shard_test_run();
    push_numbers("u:a", 6, 6);
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_true(strncmp(told, "start full", 10) == 0);
    assert_true(strstr(told, "msg 1") < strstr(told, "msg 2"));
    assert_non_null(strstr(told, "msg 3"));
    assert_non_null(strstr(told, "msg 5"));
    assert_non_null(strstr(told, "msg 6"));
    assert_null(strstr(told, "msg 4"));
    assert_int_equal(session->state, SESSION_LIVE);
    assert_int_equal(shard_get_stats(shard_test.shard)->replayed, 4);
}

static void who_missed_nothing_is_told_so(void **state)
{
    push_numbers("u:a", 1, 3);
    struct session_resume resume = shard_test_here();
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test_run();
    shard_test_assert_told(session, "start full");
}

static void what_left_the_window_is_a_gap(void **state)
{
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 3);
    shard_test.now_ms += 60001; /* over the window's age */
    push_numbers("u:a", 4, 5);
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test_run();
    shard_test_assert_told(session, "start partial, gap expired, msg 4, msg 5");
}

static void a_queue_that_the_client_does_not_name_is_replayed_from_the_windows_start(void **state)
{
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 1);
    memset(resume.has, 0, sizeof(resume.has));
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test_run();
    shard_test_assert_told(session, "start full, msg 1");
}

static void another_epoch_begins_anew(void **state)
{
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 1);
    resume.epoch[0] = '?';
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test_run();
    push_numbers("u:a", 2, 2);
    shard_test_assert_told(session, "start none, gap epoch, msg 2");
}

static void positions_over_the_head_are_another_epochs(void **state)
{
    struct session_resume resume = shard_test_here();
    resume.seen.pos[2].hi = 1000000;
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test_run();
    shard_test_assert_told(session, "start none, gap epoch");
}

static void a_slow_session_is_sent_as_much_as_it_takes(void **state)
{
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 3);
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test.is_slow[session->fd] = true;
    shard_test_run();
    shard_test_assert_told(session, "start full");
    assert_int_equal(session->state, SESSION_REPLAYING);
    push_numbers("u:a", 4, 4); /* nothing live meanwhile */
    shard_test_assert_told(session, "");
    shard_test.is_slow[session->fd] = false;
    shard_replay_continue(shard_test.shard, session);
    shard_replay_continue(shard_test.shard, session); /* once too often */
    shard_test_run();
    shard_test_assert_told(session, "msg 1, msg 2, msg 3, msg 4");
    shard_replay_continue(shard_test.shard, session); /* too late */
    assert_int_equal(session->state, SESSION_LIVE);
}

static void what_is_evicted_while_it_waits_is_a_gap(void **state)
{
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 3);
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test.is_slow[session->fd] = true;
    shard_test_run();
    shard_test_assert_told(session, "start full");
    shard_test.now_ms += 60001;
    push_numbers("u:a", 4, 4);
    shard_test.is_slow[session->fd] = false;
    shard_replay_continue(shard_test.shard, session);
    shard_test_run();
    shard_test_assert_told(session, "gap overflow, msg 4");
}

/* A session in the midst of a list that is too long for one turn. */
static struct session *in_the_midst(const char *group)
{
    struct session_resume resume = shard_test_here();
    push_numbers("g:room", 1, 1500);
    struct session *session = shard_test_come_back(NULL, group, &resume);
    shard_flush(shard_test.shard);
    shard_test_turn_hub();
    assert_true(shard_test_turn_shard());
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_non_null(strstr(told, "msg 1024"));
    assert_null(strstr(told, "msg 1025"));
    buf_clear(&shard_test.logs[session->fd]);
    return session;
}

static void a_turn_sends_so_much_and_the_next_goes_on(void **state)
{
    struct session *session = in_the_midst("room");
    assert_false(shard_test_turn_shard());
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_true(strncmp(told, "msg 1025, ", 10) == 0);
    assert_non_null(strstr(told, "msg 1500"));
}

static void what_is_evicted_from_the_midst_of_a_list_is_a_gap(void **state)
{
    struct session *session = in_the_midst("room");
    shard_test.now_ms += 60001;
    hub_flush(shard_test.hub, shard_test.now_ms, shard_test.now_ms * 1000);
    push_numbers("g:room", 1501, 1501);
    shard_test_assert_told(session, "gap overflow, msg 1501");
}

static void a_group_left_in_the_midst_of_a_list_ends_it(void **state)
{
    struct session *session = in_the_midst("room");
    assert_int_equal(shard_leave(shard_test.shard, session, STR("room")), 0);
    shard_test_run();
    shard_test_assert_told(session, "");
    assert_int_equal(session->state, SESSION_LIVE);
}

/* The session was told of these messages, in this order, and of nothing else. */
static void assert_told_numbers(const struct session *session, int from, int to)
{
    struct buf expected = {0};
    for (int i = from; i <= to; i++) {
        buf_printf(&expected, "%smsg %d", i == from ? "" : ", ", i);
    }
    shard_test_assert_told(session, buf_cstr(&expected));
    buf_fini(&expected);
}

static void what_is_listed_outlives_a_pause_of_the_transport(void **state)
{
    shard_test_teardown(state);
    shard_test_open(1024, 64 << 20, 0);
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 3000);
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test.is_slow[session->fd] = true;
    shard_test_run();
    shard_test_assert_told(session, "start full");
    struct replay *replay = replay_of(shard_test.shard, session);
    assert_true(replay->listed && replay->cut);
    assert_int_equal(replay->seq_count, 1024);
    shard_test.is_slow[session->fd] = false;
    shard_replay_continue(shard_test.shard, session);
    shard_test_turn_shard(); /* sends as much as a turn may */
    shard_test.is_slow[session->fd] = true;
    shard_test_run();
    assert_int_equal(replay->seq_count, 1024);
    shard_test.is_slow[session->fd] = false;
    shard_replay_continue(shard_test.shard, session);
    shard_test_run();
    assert_told_numbers(session, 1, 3000);
    assert_int_equal(session->state, SESSION_LIVE);
}

static void of_many_the_oldest_are_listed_first(void **state)
{
    shard_test_teardown(state);
    shard_test_open(1024, 64 << 20, 0);
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 20000);
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test.is_slow[session->fd] = true;
    shard_test_run();
    shard_test_assert_told(session, "start full");
    shard_test.is_slow[session->fd] = false;
    shard_replay_continue(shard_test.shard, session);
    shard_test_run();
    assert_told_numbers(session, 1, 20000);
    assert_int_equal(session->state, SESSION_LIVE);
}

/* There is one place in these tests. */
static void those_that_wait_for_a_place_get_their_turn(void **state)
{
    struct session *sessions[30];
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 300); /* more than one step */
    for (int i = 0; i < 30; i++) {
        sessions[i] = shard_test_come_back("a", NULL, &resume);
        shard_test.is_slow[sessions[i]->fd] = i % 3 == 0;
    }
    shard_test_run();
    for (int i = 0; i < 30; i++) {
        assert_int_equal(sessions[i]->state, i % 3 ? SESSION_LIVE : SESSION_REPLAYING);
        if (i % 3 == 0) {
            shard_test.is_slow[sessions[i]->fd] = false;
            shard_replay_continue(shard_test.shard, sessions[i]);
        }
    }
    shard_test_run();
    for (int i = 0; i < 30; i++) {
        assert_int_equal(sessions[i]->state, SESSION_LIVE);
        assert_non_null(strstr(buf_cstr(&shard_test.logs[sessions[i]->fd]), "msg 300"));
    }
    assert_int_equal(shard_test.shard->replay_places, 0);
}

static void sessions_that_end_while_they_wait_leave_the_line(void **state)
{
    struct session *sessions[6];
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 3);
    for (int i = 0; i < 6; i++) {
        sessions[i] = shard_test_come_back("a", NULL, &resume);
    }
    shard_flush(shard_test.shard);
    shard_test_turn_hub();
    shard_drain_ring(shard_test.shard); /* all wait for their place now */
    shard_test_end(sessions[0]);
    shard_test_end(sessions[3]);
    shard_test_end(sessions[5]);
    shard_test_run();
    assert_int_equal(sessions[4]->state, SESSION_LIVE);
    assert_int_equal(shard_test.shard->replay_places, 0);
}

/* A session that has been told of its start and waits for room. */
static struct session *half_way_back(const char *group, int missed)
{
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, missed);
    struct session *session = shard_test_come_back("a", group, &resume);
    shard_test.is_slow[session->fd] = true;
    shard_test_run();
    shard_test_assert_told(session, "start full");
    return session;
}

static void go_on(struct session *session)
{
    shard_test.is_slow[session->fd] = false;
    shard_replay_continue(shard_test.shard, session);
    shard_test_run();
}

static void a_group_joined_on_the_way_counts_from_there(void **state)
{
    struct session *session = half_way_back(NULL, 1);
    push_numbers("g:room", 2, 2);
    assert_int_equal(shard_join(shard_test.shard, session, STR("room"), 5), 0);
    shard_test_run();
    push_numbers("g:room", 3, 3);
    go_on(session);
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_true(strncmp(told, "joined room 5, ", 15) == 0);
    assert_non_null(strstr(told, "msg 1"));
    assert_non_null(strstr(told, "msg 3"));
    assert_null(strstr(told, "msg 2"));
}

static void a_join_by_the_api_on_the_way_counts_from_the_event(void **state)
{
    struct session *session = half_way_back(NULL, 1);
    push_numbers("g:room", 2, 2);
    shard_test_control(EVENT_JOIN, "g:room", "a");
    shard_test_push("g:room", "3");
    shard_test_run();
    go_on(session);
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_non_null(strstr(told, "joined room 0"));
    assert_non_null(strstr(told, "msg 3"));
    assert_null(strstr(told, "msg 2"));
}

static void nothing_of_a_group_comes_after_it_was_left(void **state)
{
    struct session *session = half_way_back("room", 1);
    push_numbers("g:room", 2, 4);
    assert_int_equal(shard_leave(shard_test.shard, session, STR("room")), 0);
    go_on(session);
    shard_test_assert_told(session, "msg 1");
    assert_int_equal(session->state, SESSION_LIVE);
}

static void a_push_to_its_id_finds_it_on_the_way(void **state)
{
    struct session *session = half_way_back(NULL, 1);
    struct sid sid;
    char text[SID_LEN + 3] = "s:";
    shard_session_sid(shard_test.shard, session, &sid);
    sid_format(text + 2, &shard_test.shard->options.sid_key, &sid);
    push_numbers(text, 2, 2);
    go_on(session);
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_non_null(strstr(told, "msg 1"));
    assert_non_null(strstr(told, "msg 2"));
}

static void a_kick_does_not_wait_for_the_replay(void **state)
{
    struct session *session = half_way_back(NULL, 1);
    shard_test_control(EVENT_KICK, "u:a", "");
    shard_test_run();
    shard_test_assert_told(session, "kick 4000");
}

static void a_kick_of_before_is_not_repeated(void **state)
{
    struct session_resume resume = shard_test_here();
    shard_test_control(EVENT_KICK, "u:a", "");
    shard_test_run();
    push_numbers("u:a", 1, 1);
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test_run();
    shard_test_assert_told(session, "start full, msg 1");
}

static void exceptions_and_ttl_hold_in_a_replay(void **state)
{
    struct session_resume resume = shard_test_here();
    struct event event = event_test_make(0, "own");
    event.origin_tag = STR("page-7f");
    shard_test_push_event(event, (const char *[]){"u:a"}, 1, NULL);
    event = event_test_make(0, "stale");
    event.header.ttl_ms = 10;
    shard_test_push_event(event, (const char *[]){"u:a"}, 1, NULL);
    push_numbers("u:a", 1, 1);
    shard_test.now_ms += 10;
    struct session *session = shard_test_come_back("a", NULL, &resume);
    session->origin_hash = shard_origin_hash(shard_test.shard, STR("page-7f"));
    shard_test_run();
    shard_test_assert_told(session, "start full, msg 1");
}

static void a_message_of_several_keys_in_one_queue_is_replayed_once(void **state)
{
    struct session_resume resume = shard_test_here();
    const char *group = NULL;
    char name[16];
    for (int i = 0; !group; i++) { /* one in the user's queue */
        snprintf(name, sizeof(name), "g:%d", i);
        if (event_test_queue_of(TARGET_GROUP, name + 2, SHARD_TEST_QUEUES) ==
            event_test_queue_of(TARGET_USER, "a", SHARD_TEST_QUEUES)) {
            group = name;
        }
    }
    struct event event = event_test_make(0, "once");
    shard_test_push_event(event, (const char *[]){"u:a", group}, 2, NULL);
    shard_test_run();
    struct session *session = shard_test_come_back("a", group + 2, &resume);
    shard_test_run();
    shard_test_assert_told(session, "start full, msg once");
}

static void want_of_memory_on_the_way_asks_the_client_to_come_back(void **state)
{
    struct session_resume resume = shard_test_here();
    push_numbers("u:a", 1, 1);
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_flush(shard_test.shard);
    shard_test_turn_hub();
    mem_fail_nth(1); /* the list */
    shard_test_turn_shard();
    assert_false(mem_fail_pending());
    shard_test_assert_told(session, "start full, kick 4100");
    assert_int_equal(shard_test.shard->replay_places, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SHARD(who_comes_back_gets_what_was_missed_and_then_lives_on),
        WITH_SHARD(who_missed_nothing_is_told_so),
        WITH_SHARD(what_left_the_window_is_a_gap),
        WITH_SHARD(a_queue_that_the_client_does_not_name_is_replayed_from_the_windows_start),
        WITH_SHARD(another_epoch_begins_anew),
        WITH_SHARD(positions_over_the_head_are_another_epochs),
        WITH_SHARD(a_slow_session_is_sent_as_much_as_it_takes),
        WITH_SHARD(what_is_evicted_while_it_waits_is_a_gap),
        WITH_SHARD(a_turn_sends_so_much_and_the_next_goes_on),
        WITH_SHARD(what_is_evicted_from_the_midst_of_a_list_is_a_gap),
        WITH_SHARD(a_group_left_in_the_midst_of_a_list_ends_it),
        WITH_SHARD(what_is_listed_outlives_a_pause_of_the_transport),
        WITH_SHARD(of_many_the_oldest_are_listed_first),
        WITH_SHARD(those_that_wait_for_a_place_get_their_turn),
        WITH_SHARD(sessions_that_end_while_they_wait_leave_the_line),
        WITH_SHARD(a_group_joined_on_the_way_counts_from_there),
        WITH_SHARD(a_join_by_the_api_on_the_way_counts_from_the_event),
        WITH_SHARD(nothing_of_a_group_comes_after_it_was_left),
        WITH_SHARD(a_push_to_its_id_finds_it_on_the_way),
        WITH_SHARD(a_kick_does_not_wait_for_the_replay),
        WITH_SHARD(a_kick_of_before_is_not_repeated),
        WITH_SHARD(exceptions_and_ttl_hold_in_a_replay),
        WITH_SHARD(a_message_of_several_keys_in_one_queue_is_replayed_once),
        WITH_SHARD(want_of_memory_on_the_way_asks_the_client_to_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
