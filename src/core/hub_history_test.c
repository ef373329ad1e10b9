/* What the hub makes of a bus whose queues start, lose, repeat and begin anew, and of events whose
 * keys another secret made. */
#include "core/hub_push_test_help.h"

static enum session_gap_why last_loss;
static int losses;

static void on_loss(void *owner, uint32_t queue, enum session_gap_why why)
{
    last_loss = why;
    losses++;
}

static const struct hub_callbacks callbacks = {.wake = hub_test_wake,
                                               .give_back = hub_test_give_back,
                                               .on_bus_state = hub_test_on_state,
                                               .on_loss = on_loss};

static int setup(void **state)
{
    hub_test_open(64);
    hub_test.hub->callbacks = &callbacks;
    losses = 0;
    return 0;
}

static struct bus_pos pos_at(uint64_t hi)
{
    return (struct bus_pos){hi, 0};
}

static struct hub_catch_up *catch_up(uint32_t worker)
{
    assert_true(hub_test_is_behind(worker));
    hub_catch_up(hub_test.hub, worker);
    return hub_test_pop(worker, RING_CATCH_UP);
}

static struct window_span span_of(uint32_t queue)
{
    struct window_span span;
    window_span(hub_window(hub_test.hub), queue, &span);
    return span;
}

static void a_first_start_is_no_loss(void **state)
{
    hub_test.hub->heads.started &= ~1ull;
    hub_bus_callbacks.on_start(hub_test.hub, 0, pos_at(50));
    struct hub_catch_up *got = catch_up(0);
    assert_int_equal(got->span.from.pos[0].hi, 50);
    assert_int_equal(got->span.to.pos[0].hi, 50);
    assert_true(got->span.to.started & 1);
    assert_int_equal(got->restarted, 0);
    assert_int_equal(span_of(0).tail.hi, 50);
    assert_int_equal(losses, 0);
    hub_catch_up_destroy(got);
}

static void a_later_start_further_on_is_a_loss(void **state)
{
    hub_test_receive_to(0, "u:a");
    hub_bus_callbacks.on_start(hub_test.hub, 0, pos_at(50));
    assert_int_equal(losses, 1);
    assert_int_equal(last_loss, SESSION_GAP_EXPIRED);
    struct hub_catch_up *got = catch_up(0);
    assert_int_equal(got->losses[0].to.hi, 50);
    assert_int_equal(got->losses[0].why, SESSION_GAP_EXPIRED);
    hub_catch_up_destroy(got);
}

static void a_hole_tells_why(void **state)
{
    static const struct {
        enum bus_hole hole;
        enum session_gap_why why;
    } cases[] = {{BUS_HOLE_LOST, SESSION_GAP_BUS}, {BUS_HOLE_EXPIRED, SESSION_GAP_EXPIRED}};
    for (uint64_t i = 0; i < 2; i++) {
        hub_bus_callbacks.on_hole(hub_test.hub, 0, pos_at(10 * i), pos_at(10 * i + 9),
                                  cases[i].hole);
        assert_int_equal(last_loss, cases[i].why);
        struct hub_catch_up *got = catch_up(0);
        assert_int_equal(got->losses[0].why, cases[i].why);
        assert_int_equal(bus_pos_compare(got->losses[0].to, got->span.to.pos[0]), 0);
        hub_catch_up_destroy(got);
        hub_catch_up_destroy(catch_up(1));
    }
}

static void a_hole_before_what_was_seen_is_none(void **state)
{
    hub_test.hi[0] = 20;
    hub_test_receive_to(0, "u:a");
    hub_bus_callbacks.on_hole(hub_test.hub, 0, pos_at(3), pos_at(9), BUS_HOLE_LOST);
    assert_int_equal(losses, 0);
    assert_int_equal(hub_test.hub->heads.pos[0].hi, 21);
}

static void another_history_begins_wherever_its_positions_are(void **state)
{
    hub_test.hi[0] = 100;
    hub_test_receive_to(0, "u:a");
    hub_bus_callbacks.on_hole(hub_test.hub, 0, pos_at(101), pos_at(5), BUS_HOLE_EPOCH);
    assert_int_equal(last_loss, SESSION_GAP_EPOCH);
    assert_int_equal(hub_test.hub->heads.pos[0].hi, 4);
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 0);
    struct hub_catch_up *got = catch_up(0);
    assert_int_equal(got->restarted, 1);
    assert_int_equal(got->old.pos[0].hi, 101);
    assert_int_equal(got->span.from.pos[0].hi, 4);
    hub_catch_up_destroy(got);
    hub_test.hi[0] = 4;
    hub_test_tell(0, event_test_key_of(TARGET_USER, "a"), INTEREST_ADD);
    struct event event = event_test_make(500, "1");
    event.header.origin = 98;
    hub_test_assert_message(0, hub_test_receive_event(0, event, "u:a"));
}

/* What users' sessions tell each other is no loss: they ask again. */
static void a_lost_revocation_is_told_and_words_among_sessions_are_not(void **state)
{
    static const enum event_kind kinds[] = {EVENT_OPEN, EVENT_REVOCATION};
    hub_test_tell(0, event_test_key_of(TARGET_USER, "a"), INTEREST_ADD);
    for (uint32_t i = 0; i < 2; i++) {
        hub_mark_all_behind(hub_test.hub);
        struct event event = event_test_make(1 + i, "");
        event.kind = kinds[i];
        event.time_ms = 5000;
        hub_test_receive_event(0, event, "u:a");
        hub_bus_callbacks.on_hole(hub_test.hub, 0, pos_at(1), pos_at(1), BUS_HOLE_EPOCH);
        struct hub_catch_up *got = catch_up(0);
        bool is_revocation = kinds[i] == EVENT_REVOCATION;
        assert_int_equal(got->controls_lost, is_revocation);
        assert_int_equal(got->revoked_until_ms, is_revocation ? 5000 : 0);
        hub_catch_up_destroy(got);
    }
}

static void controls_of_the_old_history_are_said_to_be_lost(void **state)
{
    hub_mark_all_behind(hub_test.hub);
    struct event event = event_test_make(1, "");
    event.kind = EVENT_PART;
    event.subject = STR("a");
    event.time_ms = 5000;
    hub_test_receive_event(1, event, "g:room");
    event.header.counter = 2;
    hub_test_receive_event(0, event, "g:room");
    hub_bus_callbacks.on_hole(hub_test.hub, 0, pos_at(1), pos_at(1), BUS_HOLE_EPOCH);
    struct hub_catch_up *got = catch_up(0);
    assert_true(got->controls_lost);
    assert_int_equal(got->lost_until_ms, 5000);
    assert_int_equal(got->revoked_until_ms, 0);
    assert_int_equal(got->control_count, 1);
    assert_int_equal(got->controls[0]->queue, 1);
    hub_catch_up_destroy(got);
}

/* Wherever its positions are: they are not those of before. */
static void another_epoch_begins_each_queue_anew(void **state)
{
    hub_bus_callbacks.on_epoch(hub_test.hub, STR("e7"));
    for (uint32_t q = 0; q < HUB_TEST_QUEUES; q++) {
        hub_bus_callbacks.on_start(hub_test.hub, q, pos_at(1));
    }
    losses = 0;
    hub_bus_callbacks.on_epoch(hub_test.hub, STR("e8"));
    hub_catch_up_destroy(catch_up(0));
    assert_int_equal(hub_test.hub->heads.started, 0);
    hub_bus_callbacks.on_start(hub_test.hub, 0, pos_at(50));
    hub_bus_callbacks.on_start(hub_test.hub, 1, pos_at(1));
    assert_int_equal(losses, 2);
    assert_int_equal(last_loss, SESSION_GAP_EPOCH);
    struct hub_catch_up *got = catch_up(0);
    assert_int_equal(got->span.to.started, 3);
    assert_int_equal(got->restarted, 3);
    assert_int_equal(got->old.pos[0].hi, 1);
    assert_int_equal(got->histories[0], got->histories[1]);
    assert_int_not_equal(got->histories[0], 0);
    hub_catch_up_destroy(got);
}

static void another_epoch_comes_with_a_catch_up(void **state)
{
    hub_bus_callbacks.on_epoch(hub_test.hub, STR("e7"));
    struct hub_catch_up *got = catch_up(1);
    assert_string_equal(got->epoch, "e7");
    hub_catch_up_destroy(got);
}

static void a_record_that_is_not_behind_the_last_is_passed_over(void **state)
{
    hub_test_tell(0, event_test_key_of(TARGET_USER, "a"), INTEREST_ADD);
    hub_test_assert_message(0, hub_test_receive_to(0, "u:a"));
    hub_test.hi[0] = 0;
    hub_test_receive_to(0, "u:a");
    hub_test_assert_ring_empty(0);
}

static void what_is_no_record_moves_the_position_on(void **state)
{
    hub_bus_callbacks.on_record(hub_test.hub, 0, pos_at(7), STR(""), 0);
    assert_int_equal(hub_test.hub->heads.pos[0].hi, 7);
    assert_int_equal(span_of(0).head.hi, 7);
}

static void an_event_with_keys_of_another_secret_finds_its_target(void **state)
{
    static const struct target_space other = {.keys = {9, 9}, .open = {5, 6}, .tag = 3};
    struct target target = {TARGET_USER, STR("a")};
    uint64_t foreign = target_key(&other, EVENT_TEST_APP, TARGET_USER, STR("a"));
    struct event event = event_test_make(1, "1");
    event.header.origin = 99;
    event.key_tag = other.tag;
    struct buf record = {0};
    assert_int_equal(event_encode(&record, &event, &target, &foreign, 1, NULL, 0), 0);
    hub_test_tell(0, event_test_key_of(TARGET_USER, "a"), INTEREST_ADD);
    hub_test_assert_message(0, hub_test_receive(0, &record));
    assert_int_equal(atomic_load(&hub_get_stats(hub_test.hub)->rekeyed), 1);
    buf_fini(&record);
}

static void what_is_read_back_is_as_old_as_the_bus_says(void **state)
{
    hub_test_flush(100000);
    hub_set_wall_offset(hub_test.hub, 1000000);
    hub_test.hub->reading_back = 1;
    struct event event = event_test_make(1, "1");
    event.header.origin = 99;
    event.header.ttl_ms = 5000;
    struct buf record = {0};
    event_test_encode(&record, &event, (const char *[]){"u:a"}, 1);
    hub_bus_callbacks.on_record(hub_test.hub, 0, pos_at(1), buf_str(&record), 1100000 - 3000);
    buf_fini(&record);
    struct message *message = window_get(hub_window(hub_test.hub), 0, 1);
    assert_int_equal(message->received_us, 97000000);
    assert_int_equal(message->expires_ms, 102000);
    message_unref(message);
}

static void what_just_came_is_new_though_clocks_differ(void **state)
{
    static const int64_t ahead_ms[] = {-3600000, 3600000};
    hub_test_flush(100000);
    for (int i = 0; i < 2; i++) {
        hub_set_wall_offset(hub_test.hub, 10000000 + ahead_ms[i]);
        struct event event = event_test_make((uint32_t)i + 1, "1");
        event.header.origin = 99;
        event.header.ttl_ms = 5000;
        event.time_ms = 10000000;
        hub_test_receive_event(0, event, "u:a");
        struct message *message = window_get(hub_window(hub_test.hub), 0, (uint64_t)i + 1);
        assert_int_equal(message->received_us, 100000000);
        assert_int_equal(message->expires_ms, 105000);
        message_unref(message);
    }
}

/* A beacon is one: it was sent after the start. */
static void a_queue_is_read_back_until_a_record_of_ones_own_comes(void **state)
{
    hub_test.hub->queues[0].counter = 6; /* of the last one sent */
    hub_bus_callbacks.on_hole(hub_test.hub, 0, pos_at(9), pos_at(1), BUS_HOLE_EPOCH);
    for (uint32_t counter = 5; counter <= 7; counter++) {
        assert_int_equal(hub_test.hub->reading_back, 1);
        struct event event = event_test_make(counter, "1");
        struct buf record = {0};
        event_test_encode(&record, &event, (const char *[]){"u:a"}, 1);
        hub_test_receive(0, &record);
        buf_fini(&record);
    }
    assert_int_equal(hub_test.hub->reading_back, 0);
}

/* A broker was restored from an older copy: what it has of before comes again. */
static void what_comes_again_in_another_history_is_no_repeat(void **state)
{
    for (uint32_t i = 0; i < 10; i++) {
        hub_test_receive_to(0, "u:a");
    }
    hub_bus_callbacks.on_hole(hub_test.hub, 0, pos_at(10), pos_at(5), BUS_HOLE_EPOCH);
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 0);
    hub_test.hi[0] = 4;
    for (uint32_t i = 5; i <= 10; i++) {
        hub_test_receive_to(0, "u:a");
    }
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 6);
}

static const char *epoch_of_worker(uint32_t worker, struct hub_catch_up **out)
{
    *out = catch_up(worker);
    return (*out)->epoch;
}

static void assert_epoch(const char *expected)
{
    struct hub_catch_up *got;
    assert_string_equal(epoch_of_worker(0, &got), expected);
    hub_catch_up_destroy(got);
    hub_catch_up_destroy(catch_up(1));
}

static void nodes_name_the_history_of_a_bus_that_does_not(void **state)
{
    hub_test.bus.is_nameless = true;
    hub_test.hub->history = 0;
    hub_bus_callbacks.on_epoch(hub_test.hub, STR("topic"));
    assert_epoch("topic");
    hub_set_wall_offset(hub_test.hub, 0x1000);
    hub_bus_callbacks.on_state(hub_test.hub, true, "");
    assert_epoch("topic-1000");
    hub_learn_history(hub_test.hub, 0xfff);
    assert_false(hub_test_is_behind(0));
    hub_learn_history(hub_test.hub, 0x2000);
    assert_epoch("topic-2000");
    hub_learn_history(hub_test.hub, UINT64_MAX);
    assert_int_equal(hub_history(hub_test.hub), 0x2000);
}

static void a_queue_that_begins_anew_gives_it_another_name(void **state)
{
    hub_test.bus.is_nameless = true;
    hub_bus_callbacks.on_epoch(hub_test.hub, STR("topic"));
    hub_learn_history(hub_test.hub, 7);
    assert_epoch("topic-7");
    hub_test_flush(5000);
    hub_bus_callbacks.on_hole(hub_test.hub, 0, pos_at(9), pos_at(1), BUS_HOLE_EPOCH);
    hub_bus_callbacks.on_hole(hub_test.hub, 1, pos_at(9), pos_at(1), BUS_HOLE_EPOCH);
    assert_epoch("topic-1388"); /* once for both: they went with one broker */
    hub_test_flush(9000);
    hub_bus_callbacks.on_hole(hub_test.hub, 0, pos_at(9), pos_at(1), BUS_HOLE_EPOCH);
    assert_epoch("topic-2328");
}

static void a_bus_that_names_its_history_keeps_that_name(void **state)
{
    hub_bus_callbacks.on_epoch(hub_test.hub, STR("e7"));
    hub_learn_history(hub_test.hub, 7);
    assert_epoch("e7");
}

static void a_queue_that_appears_after_the_windows_age_may_lack_something(void **state)
{
    hub_test.hub->heads.started &= ~3ull;
    hub_test_flush(hub_test.hub->up_since_ms + 1000);
    hub_bus_callbacks.on_start(hub_test.hub, 0, pos_at(50));
    struct hub_catch_up *got = catch_up(0);
    assert_int_equal(got->too_late, 0);
    hub_catch_up_destroy(got);
    hub_test_flush(hub_test.hub->up_since_ms + 4000);
    hub_bus_callbacks.on_start(hub_test.hub, 1, pos_at(50));
    got = catch_up(0);
    assert_int_equal(got->too_late, 2);
    hub_catch_up_destroy(got);
}

static void marks_of_runs_that_are_long_over_are_forgotten(void **state)
{
    hub_test_flush(1000);
    hub_test_receive_to(0, "u:a");
    assert_int_equal(hub_test.hub->marks.count, 1);
    hub_tick(hub_test.hub, 62000);
    assert_int_equal(hub_test.hub->marks.count, 1);
    hub_tick(hub_test.hub, 200000);
    assert_int_equal(hub_test.hub->marks.count, 0);
}

#define WITH_HUB(test) cmocka_unit_test_setup_teardown(test, setup, hub_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HUB(a_first_start_is_no_loss),
        WITH_HUB(a_later_start_further_on_is_a_loss),
        WITH_HUB(a_hole_tells_why),
        WITH_HUB(a_hole_before_what_was_seen_is_none),
        WITH_HUB(another_history_begins_wherever_its_positions_are),
        WITH_HUB(a_lost_revocation_is_told_and_words_among_sessions_are_not),
        WITH_HUB(controls_of_the_old_history_are_said_to_be_lost),
        WITH_HUB(another_epoch_begins_each_queue_anew),
        WITH_HUB(another_epoch_comes_with_a_catch_up),
        WITH_HUB(a_record_that_is_not_behind_the_last_is_passed_over),
        WITH_HUB(what_is_no_record_moves_the_position_on),
        WITH_HUB(an_event_with_keys_of_another_secret_finds_its_target),
        WITH_HUB(what_is_read_back_is_as_old_as_the_bus_says),
        WITH_HUB(what_just_came_is_new_though_clocks_differ),
        WITH_HUB(a_queue_is_read_back_until_a_record_of_ones_own_comes),
        WITH_HUB(what_comes_again_in_another_history_is_no_repeat),
        WITH_HUB(nodes_name_the_history_of_a_bus_that_does_not),
        WITH_HUB(a_queue_that_begins_anew_gives_it_another_name),
        WITH_HUB(a_bus_that_names_its_history_keeps_that_name),
        WITH_HUB(a_queue_that_appears_after_the_windows_age_may_lack_something),
        WITH_HUB(marks_of_runs_that_are_long_over_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
