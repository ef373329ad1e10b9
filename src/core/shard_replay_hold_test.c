/* A client that has seen more than this node. */
#include "core/shard_test_help.h"

enum { HOLD_MS = 1000, AHEAD = 10 };

static struct session *come_ahead(bool same_epoch)
{
    struct session_resume resume = shard_test_resume();
    resume.epoch[0] = same_epoch ? resume.epoch[0] : '?';
    resume.has[0] = true;
    resume.seen.pos[0] = (struct bus_pos){AHEAD, 0};
    struct session *session = shard_test_connect("a");
    assert_int_equal(shard_session_start(shard_test.shard, session, &resume), 0);
    shard_test_run();
    return session;
}

/* A record of somebody else, for nobody here or for user a. */
static void receive(uint64_t hi, const char *target, const char *data)
{
    struct event event = event_test_make((uint32_t)hi, data);
    struct buf record = {0};
    event.header.origin = 99;
    event_test_encode(&record, &event, &target, 1);
    hub_bus_callbacks.on_record(shard_test.hub, 0, (struct bus_pos){hi, 0}, buf_str(&record), 0);
    buf_fini(&record);
    shard_test_run();
}

static void wait_ms(uint64_t ms)
{
    shard_test.now_ms += ms;
    shard_test_run();
}

static int setup(void **state)
{
    shard_test_open(1024, 1 << 20, 0);
    shard_test.shard->options.hold_ms = HOLD_MS;
    return 0;
}

static void it_starts_when_the_node_has_come_as_far(void **state)
{
    struct session *session = come_ahead(true);
    assert_int_equal(session->state, SESSION_STARTING);
    assert_in_range(shard_test.run_asked_ms, 1, HOLD_MS / 2);
    receive(AHEAD - 1, "u:b", "1");
    wait_ms(shard_test.run_asked_ms);
    shard_test_assert_told(session, "");
    receive(AHEAD, "u:a", "seen");
    receive(AHEAD + 1, "u:a", "missed");
    wait_ms(shard_test.run_asked_ms);
    shard_test_assert_told(session, "start full, msg missed");
    receive(AHEAD + 2, "u:a", "live");
    shard_test_assert_told(session, "msg live");
}

static void several_wait_at_once(void **state)
{
    struct session *first = come_ahead(true);
    struct session *second = come_ahead(true);
    receive(AHEAD, "u:b", "1");
    wait_ms(shard_test.run_asked_ms);
    shard_test_assert_told(first, "start full");
    shard_test_assert_told(second, "start full");
}

static void a_queue_that_moves_on_below_is_another_history(void **state)
{
    struct session *session = come_ahead(true);
    receive(1, "u:b", "1");
    wait_ms(HOLD_MS);
    shard_test_assert_told(session, "start none, gap epoch");
}

static void a_node_that_hears_nothing_sends_it_elsewhere(void **state)
{
    struct session *session = come_ahead(true);
    wait_ms(HOLD_MS / 2);
    shard_test_assert_told(session, "");
    wait_ms(HOLD_MS / 2);
    shard_test_assert_told(session, "kick 4100");
}

static void another_epoch_is_told_at_once(void **state)
{
    shard_test_assert_told(come_ahead(false), "start none, gap epoch");
}

static void who_is_alone_does_not_wait(void **state)
{
    shard_test.shard->options.hold_ms = 0;
    shard_test_assert_told(come_ahead(true), "start none, gap epoch");
}

static void one_that_ends_while_it_waits_leaves_nothing_behind(void **state)
{
    struct session *session = come_ahead(true);
    shard_test_end(session);
    wait_ms(HOLD_MS);
    assert_null(shard_test.shard->held_replays.first);
}

static void want_of_memory_at_a_look_sends_it_elsewhere(void **state)
{
    struct session *session = come_ahead(true);
    shard_test.now_ms += shard_test.run_asked_ms;
    mem_fail_nth(1);
    shard_test_turn_shard();
    mem_fail_nth(0);
    shard_test_assert_told(session, "kick 4100");
}

#define WITH_HOLD(test) cmocka_unit_test_setup_teardown(test, setup, shard_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HOLD(it_starts_when_the_node_has_come_as_far),
        WITH_HOLD(several_wait_at_once),
        WITH_HOLD(a_queue_that_moves_on_below_is_another_history),
        WITH_HOLD(a_node_that_hears_nothing_sends_it_elsewhere),
        WITH_HOLD(another_epoch_is_told_at_once),
        WITH_HOLD(who_is_alone_does_not_wait),
        WITH_HOLD(one_that_ends_while_it_waits_leaves_nothing_behind),
        WITH_HOLD(want_of_memory_at_a_look_sends_it_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
