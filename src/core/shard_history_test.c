/* What sessions see when queues hand their keys to others, appear late or begin another history. */
#include "core/shard_test_help.h"

static uint32_t home_of(const char *target)
{
    enum target_kind kind = target[0] == 'g' ? TARGET_GROUP : TARGET_USER;
    return event_test_queue_of(kind, target + 2, SHARD_TEST_QUEUES);
}

static uint32_t other_than(uint32_t queue)
{
    return (queue + 1) % SHARD_TEST_QUEUES;
}

/* As a hub does whose home queue is away. */
static void push_astray(const char *target, const char *data)
{
    struct event event = event_test_make(0, data);
    event.header.flags |= EVENT_IS_STRAY;
    struct publish *publish = publish_create(1);
    publish->on_done = shard_test_on_done;
    publish->parts[0].queue = other_than(home_of(target));
    event_test_encode(&publish->parts[0].event, &event, &target, 1);
    hub_publish(shard_test.hub, publish, shard_test.now_ms);
}

static void tell_restart(uint32_t queue)
{
    struct bus_pos head = shard_test.hub->heads.pos[queue];
    hub_bus_callbacks.on_hole(shard_test.hub, queue, head, (struct bus_pos){1, 0}, BUS_HOLE_EPOCH);
}

static struct session *come_back(const char *user, const char *group,
                                 const struct session_resume *resume)
{
    struct session *session = shard_test_come_back(user, group, resume);
    shard_test_run();
    return session;
}

enum { MEMBERS = 10 };

/* A slice of one session a turn: two broadcasts are under way at once, if they may. */
static void fill_room(struct session *members[MEMBERS])
{
    for (int i = 0; i < MEMBERS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "m%d", i);
        members[i] = shard_test_live(name, "room");
    }
    shard_test.shard->options.slice = 1;
}

static void strays_come_after_what_came_before_them(void **state)
{
    struct session *members[MEMBERS];
    fill_room(members);
    shard_test_push("g:room", "1");
    shard_test_turn_hub();
    push_astray("g:room", "2");
    shard_test_turn_hub();
    shard_test_push("g:room", "3");
    shard_test_run();
    for (int i = 0; i < MEMBERS; i++) {
        shard_test_assert_told(members[i], "msg 1, msg 2, msg 3");
    }
    assert_int_equal(shard_test.shard->strays, 0);
}

static void strays_keep_their_order_also_without_memory_to_wait(void **state)
{
    struct session *member = shard_test_live("a", "room");
    shard_test_push("g:room", "1");
    shard_test_turn_hub();
    push_astray("g:room", "2");
    shard_test_turn_hub();
    mem_fail_nth(1);
    shard_test_turn_shard();
    mem_fail_nth(0);
    shard_test_run();
    shard_test_assert_told(member, "msg 1, msg 2");
    assert_int_equal(shard_test.shard->strays, 0);
}

static void who_comes_back_gets_strays_too(void **state)
{
    struct session_resume resume = shard_test_here();
    push_astray("u:a", "1");
    push_astray("g:room", "2");
    shard_test_run();
    struct session *session = come_back("a", "room", &resume);
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_true(strncmp(told, "start full", 10) == 0);
    assert_non_null(strstr(told, "msg 1"));
    assert_non_null(strstr(told, "msg 2"));
}

static void another_history_is_a_gap_and_then_goes_on(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    shard_test_push("u:a", "1");
    shard_test_run();
    tell_restart(home_of("u:a"));
    shard_test_run();
    shard_test_push("u:a", "2");
    shard_test_run();
    shard_test_assert_told(session, "msg 1, gap epoch, msg 2");
}

static void what_came_of_the_old_history_goes_out_first(void **state)
{
    struct session *members[MEMBERS];
    fill_room(members);
    shard_test_push("g:room", "1");
    shard_test_turn_hub();
    shard_test_turn_shard();
    tell_restart(home_of("g:room"));
    shard_test_run();
    for (int i = 0; i < MEMBERS; i++) {
        shard_test_assert_told(members[i], "msg 1, gap epoch");
    }
}

static void who_replays_meanwhile_is_told_and_goes_on_with_the_new_one(void **state)
{
    struct session_resume resume = shard_test_here();
    for (int i = 0; i < 3; i++) {
        shard_test_push("u:a", "old");
        shard_test_run();
    }
    struct session *session = shard_test_connect("a");
    shard_test.is_slow[session->fd] = true;
    assert_int_equal(shard_session_start(shard_test.shard, session, &resume), 0);
    shard_test_run();
    assert_int_equal(session->state, SESSION_REPLAYING);
    tell_restart(home_of("u:a"));
    shard_test_run();
    shard_test_push("u:a", "new");
    shard_test_run();
    shard_test.is_slow[session->fd] = false;
    shard_replay_continue(shard_test.shard, session);
    shard_test_run();
    shard_test_assert_told(session, "start full, gap epoch, msg new");
    assert_int_equal(session->state, SESSION_LIVE);
}

static void receive_at(uint32_t queue, uint64_t hi, const char *target, const char *data)
{
    struct event event = event_test_make(++shard_test.counter, data);
    struct buf record = {0};
    event.header.origin = 99;
    event_test_encode(&record, &event, &target, 1);
    hub_bus_callbacks.on_record(shard_test.hub, queue, (struct bus_pos){hi, 0}, buf_str(&record),
                                0);
    buf_fini(&record);
}

/* The fence is of the old history, and so is what the client has seen; the window is not. */
static void what_the_worker_has_not_heard_of_is_not_replayed(void **state)
{
    uint32_t queue = home_of("u:a");
    struct session_resume resume = shard_test_here();
    for (int i = 0; i < 3; i++) {
        shard_test_push("u:a", "old");
        shard_test_run();
    }
    struct session *session = shard_test_connect("a");
    assert_int_equal(shard_session_start(shard_test.shard, session, &resume), 0);
    shard_flush(shard_test.shard);
    shard_test_turn_hub();
    tell_restart(queue);
    receive_at(queue, 1, "u:a", "new");
    shard_test_run();
    receive_at(queue, 2, "u:a", "newer");
    shard_test_run();
    shard_test_assert_told(session, "start full, gap epoch, msg new, msg newer");
}

/* Before it comes to read what it did not get of one history, that one has ended. */
static void a_worker_that_is_behind_by_two_histories_skips_the_first(void **state)
{
    uint32_t queue = home_of("u:a");
    struct session *session = shard_test_live("a", NULL);
    tell_restart(queue);
    receive_at(queue, 7, "u:a", "lost");
    shard_test_turn_shard();
    shard_test_turn_hub(); /* the catch-up is in the ring */
    tell_restart(queue);
    receive_at(queue, 2, "u:a", "new");
    shard_test_run();
    shard_test_assert_told(session, "gap epoch, gap epoch, gap epoch, msg new");
}

static void positions_of_the_old_history_are_another_epoch(void **state)
{
    uint32_t queue = home_of("u:a");
    for (int i = 0; i < 3; i++) {
        shard_test_push("u:a", "1");
        shard_test_run();
    }
    struct session_resume resume = shard_test_here();
    tell_restart(queue);
    shard_test_run();
    shard_test_assert_told(come_back("a", NULL, &resume), "start none, gap epoch");
}

/* It comes late, from a stretch that is gone, and goes out one session a turn. */
static void who_replays_meanwhile_is_kicked_too(void **state)
{
    struct session_resume resume = shard_test_here();
    shard_test_push("u:a", "old");
    shard_test_run();
    struct session *other = shard_test_live("a", NULL);
    struct session *session = shard_test_connect("a");
    shard_test.is_slow[session->fd] = true;
    assert_int_equal(shard_session_start(shard_test.shard, session, &resume), 0);
    shard_test_run();
    assert_int_equal(session->state, SESSION_REPLAYING);
    hub_mark_all_behind(shard_test.hub);
    shard_test_control(EVENT_KICK, "u:a", "");
    shard_test_turn_hub();
    shard_test.now_ms += 61000; /* the window's age */
    shard_test_turn_hub();
    shard_test_turn_shard();
    shard_test_turn_hub(); /* the catch-up is in the ring */
    shard_test.shard->options.slice = 1;
    shard_test.is_slow[session->fd] = false;
    shard_replay_continue(shard_test.shard, session);
    shard_test_run();
    shard_test_assert_told(session, "start full, gap overflow, gap overflow, kick 4000");
    shard_test_assert_told(other, "gap overflow, kick 4000");
}

static void the_epoch_is_known_once_the_bus_is_up(void **state)
{
    assert_int_equal(shard_epoch(shard_test.shard).len, 16);
    hub_bus_callbacks.on_epoch(shard_test.hub, STR("e7"));
    shard_test_run();
    assert_true(str_equal(shard_epoch(shard_test.shard), STR("e7")));
}

/* Its positions look like those of the new one. */
static void an_epoch_that_begins_before_the_fence_is_another(void **state)
{
    struct session_resume resume = shard_test_here();
    struct session *session = shard_test_connect("a");
    assert_int_equal(shard_session_start(shard_test.shard, session, &resume), 0);
    hub_bus_callbacks.on_epoch(shard_test.hub, STR("e7"));
    shard_test_run();
    shard_test_assert_told(session, "start none, gap epoch");
}

static void an_epoch_that_is_known_only_at_the_fence_is_the_same(void **state)
{
    struct session_resume resume = shard_test_here();
    snprintf(resume.epoch, sizeof(resume.epoch), "e7");
    struct session *session = shard_test_connect("a");
    assert_int_equal(shard_session_start(shard_test.shard, session, &resume), 0);
    hub_bus_callbacks.on_epoch(shard_test.hub, STR("e7"));
    shard_test_run();
    shard_test_assert_told(session, "start full");
}

static void forget_queue(uint32_t queue)
{
    shard_test.hub->heads.started &= ~(1ull << queue);
    hub_mark_all_behind(shard_test.hub);
    shard_test_run();
    assert_false(shard_queue_is_known(shard_test.shard, queue));
}

/* What it missed there comes when the queue does. */
static void positions_of_a_queue_that_is_not_known_are_no_gap(void **state)
{
    uint32_t queue = home_of("u:a");
    forget_queue(queue);
    struct session_resume resume = shard_test_here();
    resume.seen.pos[queue] = (struct bus_pos){70, 0};
    struct session *session = come_back("a", NULL, &resume);
    shard_test_assert_told(session, "start full");
    hub_bus_callbacks.on_start(shard_test.hub, queue, (struct bus_pos){60, 0});
    shard_test_run();
    assert_true(shard_queue_is_known(shard_test.shard, queue));
    receive_at(queue, 71, "u:a", "late");
    shard_test_run();
    shard_test_assert_told(session, "msg late");
}

static void what_a_queue_no_longer_has_when_it_appears_is_a_gap(void **state)
{
    uint32_t queue = home_of("u:a");
    forget_queue(queue);
    struct session_resume resume = shard_test_here();
    resume.seen.pos[queue] = (struct bus_pos){40, 0};
    struct session *session = come_back("a", NULL, &resume);
    struct session *fresh = shard_test_live("b", NULL);
    shard_test_assert_told(session, "start full");
    hub_bus_callbacks.on_start(shard_test.hub, queue, (struct bus_pos){60, 0});
    shard_test_run();
    shard_test_assert_told(session, "gap expired");
    shard_test_assert_told(fresh, "gap expired"); /* sessions don't remember what they had */
    shard_test.tells_heads = true;
    hub_send_heads(shard_test.hub);
    shard_test_run();
    shard_test_assert_told(session, "heads");
    assert_int_equal(shard_test.shard->lanes[queue].done.hi, 60);
}

/* What it missed while a new epoch had begun, but not this queue, is no less lost. */
static void what_was_promised_of_an_old_epoch_is_in_its_gap(void **state)
{
    uint32_t queue = home_of("u:a");
    struct session_resume resume = shard_test_here();
    for (int i = 0; i < 3; i++) {
        shard_test_push("u:a", "1");
        shard_test_run();
    }
    hub_bus_callbacks.on_epoch(shard_test.hub, STR("e7"));
    shard_test_run();
    snprintf(resume.epoch, sizeof(resume.epoch), "e7");
    shard_test_assert_told(come_back("a", NULL, &resume), "start full, msg 1, msg 1, msg 1");
    hub_bus_callbacks.on_start(shard_test.hub, queue, (struct bus_pos){0, 0});
    shard_test_run();
    assert_int_equal(bus_pos_compare(shard_test.gap_from, resume.seen.pos[queue]), 0);
}

static void receive_control(uint32_t queue, enum event_kind kind, const char *target,
                            uint32_t counter)
{
    struct event event = event_test_make(counter, "");
    struct buf record = {0};
    event.kind = kind;
    event.subject = STR("a");
    event.header.origin = 99;
    event_test_encode(&record, &event, &target, 1);
    hub_bus_callbacks.on_record(shard_test.hub, queue, (struct bus_pos){100 + counter, 0},
                                buf_str(&record), event.time_ms);
    buf_fini(&record);
    shard_test_run();
}

/* It began in the second 900 of a machine that is 1,000 s old; the events are 500 s old. */
static void old_kicks_and_joins_of_a_late_queue_are_not_for_younger_sessions(void **state)
{
    uint32_t queue = home_of("u:a");
    forget_queue(queue);
    shard_test.hub->options.window_age_ms = 3600000;
    shard_test.now_ms = 1000000;
    struct session *session = shard_test_live("a", NULL);
    shard_session_cold(shard_test.shard, session)->opened_s = 900;
    hub_set_wall_offset(shard_test.hub, 1767225600000 - 500000);
    hub_bus_callbacks.on_start(shard_test.hub, queue, (struct bus_pos){60, 0});
    shard_test_run();
    shard_test_assert_told(session, "");
    receive_control(queue, EVENT_KICK, "u:a", 1);
    receive_control(queue, EVENT_JOIN, "g:room", 2);
    shard_test_assert_told(session, "");
    shard_session_cold(shard_test.shard, session)->opened_s = 400;
    receive_control(queue, EVENT_JOIN, "g:room", 3);
    receive_control(queue, EVENT_KICK, "u:a", 4);
    shard_test_assert_told(session, "joined room 0, kick 4000");
}

static void a_queue_that_appears_too_late_is_a_gap_for_all(void **state)
{
    uint32_t queue = home_of("u:a");
    forget_queue(queue);
    struct session *session = shard_test_live("a", NULL);
    shard_test.now_ms += 60000; /* the window's age */
    shard_test_run();
    hub_bus_callbacks.on_start(shard_test.hub, queue, (struct bus_pos){60, 0});
    shard_test_run();
    shard_test_assert_told(session, "gap expired");
}

/* The name is of them all, so it comes when the gaps of all do. */
static void queues_that_begin_anew_together_are_told_together(void **state)
{
    struct session *members[MEMBERS];
    fill_room(members);
    shard_test_push("g:room", "1");
    shard_test_turn_hub();
    shard_test_turn_shard();
    hub_bus_callbacks.on_epoch(shard_test.hub, STR("e8"));
    for (uint32_t q = 0; q < SHARD_TEST_QUEUES; q++) {
        hub_bus_callbacks.on_start(shard_test.hub, q, (struct bus_pos){0, 0});
    }
    shard_test_turn_hub();
    shard_test_turn_shard();
    assert_false(str_equal(shard_epoch(shard_test.shard), STR("e8"))); /* a broadcast goes on */
    shard_test_run();
    assert_true(str_equal(shard_epoch(shard_test.shard), STR("e8")));
    for (int i = 0; i < MEMBERS; i++) {
        const char *told = buf_cstr(&shard_test.logs[members[i]->fd]);
        assert_true(strncmp(told, "msg 1, gap epoch", 16) == 0);
    }
}

static void another_name_of_the_history_comes_with_the_positions(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    shard_test.tells_heads = true;
    shard_test.hub->bus->is_nameless = true;
    hub_learn_history(shard_test.hub, 7);
    shard_test_run();
    shard_test_assert_told(session, "heads");
    assert_true(str_ends_with(shard_epoch(shard_test.shard), STR("-7")));
}

static void a_hole_of_the_bus_says_so(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    hub_bus_callbacks.on_hole(shard_test.hub, 0, (struct bus_pos){0, 0}, (struct bus_pos){5, 0},
                              BUS_HOLE_LOST);
    shard_test_run();
    hub_bus_callbacks.on_hole(shard_test.hub, 0, (struct bus_pos){5, 0}, (struct bus_pos){9, 0},
                              BUS_HOLE_EXPIRED);
    shard_test_run();
    shard_test_assert_told(session, "gap bus, gap expired");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SHARD(strays_come_after_what_came_before_them),
        WITH_SHARD(strays_keep_their_order_also_without_memory_to_wait),
        WITH_SHARD(who_comes_back_gets_strays_too),
        WITH_SHARD(another_history_is_a_gap_and_then_goes_on),
        WITH_SHARD(what_came_of_the_old_history_goes_out_first),
        WITH_SHARD(who_replays_meanwhile_is_told_and_goes_on_with_the_new_one),
        WITH_SHARD(what_the_worker_has_not_heard_of_is_not_replayed),
        WITH_SHARD(a_worker_that_is_behind_by_two_histories_skips_the_first),
        WITH_SHARD(positions_of_the_old_history_are_another_epoch),
        WITH_SHARD(who_replays_meanwhile_is_kicked_too),
        WITH_SHARD(the_epoch_is_known_once_the_bus_is_up),
        WITH_SHARD(an_epoch_that_begins_before_the_fence_is_another),
        WITH_SHARD(an_epoch_that_is_known_only_at_the_fence_is_the_same),
        WITH_SHARD(positions_of_a_queue_that_is_not_known_are_no_gap),
        WITH_SHARD(what_a_queue_no_longer_has_when_it_appears_is_a_gap),
        WITH_SHARD(what_was_promised_of_an_old_epoch_is_in_its_gap),
        WITH_SHARD(old_kicks_and_joins_of_a_late_queue_are_not_for_younger_sessions),
        WITH_SHARD(a_queue_that_appears_too_late_is_a_gap_for_all),
        WITH_SHARD(queues_that_begin_anew_together_are_told_together),
        WITH_SHARD(another_name_of_the_history_comes_with_the_positions),
        WITH_SHARD(a_hole_of_the_bus_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
