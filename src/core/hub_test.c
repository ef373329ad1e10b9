/* What comes from the bus, and what goes to the workers. The sending side: hub_send_test.c. */
#include "core/hub_test_help.h"
#include "core/sid.h"

#define USER(name) event_test_key_of(TARGET_USER, name)
#define GROUP(name) event_test_key_of(TARGET_GROUP, name)

static void an_event_goes_to_the_workers_that_have_its_target(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    hub_test_tell(1, USER("a"), INTEREST_ADD);
    hub_test_tell(1, USER("b"), INTEREST_ADD);
    struct bus_pos both = hub_test_receive_to(0, "u:a");
    struct bus_pos one = hub_test_receive_to(0, "u:b");
    hub_test_receive_to(0, "u:c");
    hub_test_assert_message(0, both);
    hub_test_assert_ring_empty(0);
    hub_test_assert_message(1, both);
    hub_test_assert_message(1, one);
    hub_test_assert_ring_empty(1);
    assert_int_equal(hub_get_stats(hub_test.hub)->events_foreign, 1);
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 3);
}

static void a_key_that_was_removed_gets_nothing_more(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    hub_test_tell(0, USER("a"), INTEREST_REMOVE);
    hub_test_receive_to(0, "u:a");
    hub_test_assert_ring_empty(0);
    assert_int_equal(hub_test.hub->interest.count, 0);
    assert_int_equal(hub_get_stats(hub_test.hub)->interest_keys, 0);
}

static void an_event_of_several_targets_goes_to_each_worker_once(void **state)
{
    struct buf record = {0};
    struct event event = event_test_make(1, "1");
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    hub_test_tell(0, GROUP("g"), INTEREST_ADD);
    event_test_encode(&record, &event, (const char *[]){"u:a", "g:g", "*"}, 3);
    struct bus_pos pos = hub_test_receive(0, &record);
    hub_test_assert_message(0, pos);
    hub_test_assert_ring_empty(0);
    hub_test_assert_ring_empty(1);
    buf_fini(&record);
}

static void a_session_id_leads_to_its_worker(void **state)
{
    struct sid here = {EVENT_TEST_BOOT, 1, 5, 6};
    struct sid elsewhere = {EVENT_TEST_BOOT + 1, 1, 5, 6};
    char text[SID_LEN + 3] = "s:";
    sid_format(text + 2, &hub_test.hub->options.sid_key, &here);
    struct bus_pos pos = hub_test_receive_to(2, text);
    hub_test_assert_message(1, pos);
    hub_test_assert_ring_empty(0);
    sid_format(text + 2, &hub_test.hub->options.sid_key, &elsewhere);
    hub_test_receive_to(2, text);
    hub_test_receive_to(2, "s:s_AAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    hub_test_assert_ring_empty(0);
    hub_test_assert_ring_empty(1);
}

static void workers_are_woken_once_a_flush(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    hub_test_receive_to(0, "u:a");
    hub_test_receive_to(0, "u:a");
    hub_test_flush(1);
    hub_test_flush(2);
    assert_int_equal(hub_test.wakes[0], 1);
    assert_int_equal(hub_test.wakes[1], 0);
}

static void a_record_that_comes_twice_is_taken_once(void **state)
{
    struct buf record = {0};
    struct event event = event_test_make(7, "1");
    event.header.origin = 99;
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    event_test_encode(&record, &event, (const char *[]){"u:a"}, 1);
    struct bus_pos first = hub_test_receive(0, &record);
    hub_test_receive(0, &record);
    hub_test_assert_message(0, first);
    hub_test_assert_ring_empty(0);
    assert_int_equal(hub_get_stats(hub_test.hub)->events_repeated, 1);
    assert_int_equal(hub_test.hub->heads.pos[0].hi, 2);

    struct bus_pos other_queue = hub_test_receive(1, &record); /* counts for itself */
    hub_test_assert_message(0, other_queue);
    buf_fini(&record);
}

static void counters_may_wrap(void **state)
{
    static const uint32_t counters[] = {0xfffffffe, 0xffffffff, 0, 1};
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    for (int i = 0; i < 4; i++) {
        struct event event = event_test_make(counters[i], "1");
        hub_test_assert_message(
            0, (hub_test_receive_event(0, event, "u:a"), (struct bus_pos){(uint64_t)i * 2 + 1, 0}));
        hub_test_receive_event(0, event, "u:a");
        hub_test_assert_ring_empty(0);
    }
}

static void an_event_that_is_not_sound_does_not_hide_the_next(void **state)
{
    struct buf record = {0};
    struct event event = event_test_make(1, "1");
    event.header.origin = 99;
    event_test_encode(&record, &event, (const char *[]){"u:a"}, 1);
    size_t second = record.len;
    event.header.counter = 2;
    event_test_encode(&record, &event, (const char *[]){"u:a"}, 1);
    event.header.counter = 3;
    event_test_encode(&record, &event, (const char *[]){"u:a"}, 1);
    record.data[second] = EVENT_VERSION + 1; /* a foreign version */
    assert_int_equal(buf_append_str(&record, STR("cut off")), 0);
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    hub_test_receive(0, &record);
    hub_test_assert_message(0, (struct bus_pos){1, 0});
    hub_test_assert_message(0, (struct bus_pos){1, 2});
    hub_test_assert_ring_empty(0);
    assert_int_equal(hub_get_stats(hub_test.hub)->events_bad, 2);
    assert_int_equal(hub_test.hub->heads.pos[0].lo, 3);
    buf_fini(&record);
}

static void what_nodes_tell_each_other_does_not_enter_the_window(void **state)
{
    struct event event = event_test_make(1, "1");
    event.kind = EVENT_BEACON;
    event.header.flags = EVENT_IS_CONTROL;
    hub_test_receive_event(1, event, "n:");
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 0);
    assert_int_equal(hub_test.hub->heads.pos[1].hi, 1);
    hub_test_assert_ring_empty(0);
    hub_test_assert_ring_empty(1);
    hub_test_receive_event(1, event, "n:"); /* its counter counts among the others */
    assert_int_equal(hub_get_stats(hub_test.hub)->events_repeated, 1);
}

static void a_fence_comes_back_behind_what_came_before_it(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    struct bus_pos before = hub_test_receive_to(1, "u:a");
    hub_test_ask_fence(0, USER("b"), 42);
    struct bus_pos after = hub_test_receive_to(1, "u:b");
    hub_test_assert_message(0, before);
    hub_test_assert_fence(0, 42, 1, before.hi);
    hub_test_assert_message(0, after);
}

static void a_full_ring_makes_the_worker_read_the_window(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    hub_test_tell(1, USER("b"), INTEREST_ADD);
    for (int i = 0; i < 8; i++) {
        hub_test_receive_to(0, "u:a");
    }
    assert_false(hub_test_is_behind(0));
    hub_test_receive_to(0, "u:a"); /* the ninth */
    hub_test_receive_to(3, "u:a");
    hub_test_receive_to(3, "u:b");
    assert_true(hub_test_is_behind(0));
    for (uint64_t i = 1; i <= 8; i++) {
        hub_test_assert_message(0, (struct bus_pos){i, 0});
    }
    hub_test_assert_ring_empty(0);
    hub_catch_up(hub_test.hub, 0);
    assert_false(hub_test_is_behind(0));
    struct hub_catch_up *catch_up = hub_test_pop(0, RING_CATCH_UP);
    assert_int_equal(catch_up->span.from.pos[0].hi, 8);
    assert_int_equal(catch_up->span.to.pos[0].hi, 9);
    assert_int_equal(catch_up->span.from.pos[3].hi, 0);
    assert_int_equal(catch_up->span.to.pos[3].hi, 2);
    hub_catch_up_destroy(catch_up);

    struct message *owed = window_get(hub_window(hub_test.hub), 3, 1);
    struct message *others = window_get(hub_window(hub_test.hub), 3, 2);
    assert_int_equal(owed->owed, 1); /* for worker 0 */
    assert_int_equal(others->owed, 0);
    message_unref(owed);
    message_unref(others);

    hub_catch_up(hub_test.hub, 0); /* asked once too often */
    hub_test_assert_ring_empty(0);
}

static void fall_behind(uint32_t worker)
{
    hub_test_tell(worker, USER("filler"), INTEREST_ADD);
    while (!hub_test_is_behind(worker)) {
        hub_test_receive_to(0, "u:filler");
    }
}

static void drain(uint32_t worker)
{
    hub_link_drain(hub_link(hub_test.hub, worker));
}

static void a_fence_waits_until_the_worker_has_caught_up(void **state)
{
    fall_behind(0);
    hub_test_ask_fence(0, USER("b"), 1);
    hub_test_ask_fence(0, USER("c"), 2);
    drain(0);
    hub_test_assert_ring_empty(0);
    hub_catch_up(hub_test.hub, 0);
    hub_catch_up_destroy(hub_test_pop(0, RING_CATCH_UP));
    hub_test_assert_fence(0, 1, 0, hub_test.hi[0]);
    hub_test_assert_fence(0, 2, 0, hub_test.hi[0]);
    hub_test_assert_ring_empty(0);
}

static void fences_that_fill_the_ring_again_wait_again(void **state)
{
    fall_behind(0);
    for (uint32_t tag = 1; tag <= 20; tag++) {
        hub_test_ask_fence(0, USER("b"), tag);
    }
    uint32_t seen = 0;
    for (int rounds = 0; seen < 20; rounds++) {
        assert_true(rounds < 10);
        drain(0);
        hub_catch_up(hub_test.hub, 0);
        hub_catch_up_destroy(hub_test_pop(0, RING_CATCH_UP));
        for (int i = 0; i < 7 && seen < 20; i++) {
            hub_test_assert_fence(0, ++seen, 0, hub_test.hi[0]);
        }
    }
    hub_test_assert_ring_empty(0);
}

static void a_catch_up_that_finds_no_memory_comes_with_a_tick(void **state)
{
    fall_behind(0);
    drain(0);
    mem_fail_nth(1);
    hub_catch_up(hub_test.hub, 0);
    mem_fail_nth(0);
    hub_test_assert_ring_empty(0);
    assert_true(hub_test_is_behind(0));
    hub_tick(hub_test.hub, 1);
    hub_catch_up_destroy(hub_test_pop(0, RING_CATCH_UP));
}

static struct bus_pos receive_control(enum event_kind kind, const char *target)
{
    struct event event = event_test_make((uint32_t)hub_test.hi[1] + 1, "");
    event.kind = kind;
    event.subject = STR("a");
    return hub_test_receive_event(1, event, target);
}

static void joins_parts_and_kicks_come_along_with_a_catch_up(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    fall_behind(0);
    receive_control(EVENT_JOIN, "g:g");
    receive_control(EVENT_KICK, "u:a");
    receive_control(EVENT_KICK, "u:b"); /* not here */
    receive_control(EVENT_PART, "g:other");
    drain(0);
    hub_catch_up(hub_test.hub, 0);
    struct hub_catch_up *catch_up = hub_test_pop(0, RING_CATCH_UP);
    assert_int_equal(catch_up->control_count, 3);
    assert_int_equal(catch_up->controls[0]->event.kind, EVENT_JOIN);
    assert_int_equal(catch_up->controls[1]->event.kind, EVENT_KICK);
    assert_int_equal(catch_up->controls[2]->event.kind, EVENT_PART);
    assert_false(catch_up->controls_lost);
    hub_catch_up_destroy(catch_up);
}

static void too_many_of_them_are_said_to_be_lost(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    fall_behind(0);
    for (int i = 0; i < 5000; i++) {
        receive_control(EVENT_KICK, "u:a");
    }
    drain(0);
    hub_catch_up(hub_test.hub, 0);
    struct hub_catch_up *catch_up = hub_test_pop(0, RING_CATCH_UP);
    assert_true(catch_up->controls_lost);
    assert_int_equal(catch_up->control_count, 4096);
    hub_catch_up_destroy(catch_up);
}

static void a_join_brings_the_groups_messages_at_once(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    struct bus_pos join = receive_control(EVENT_JOIN, "g:g");
    struct bus_pos next = hub_test_receive_to(1, "g:g");
    hub_test_assert_message(0, join);
    hub_test_assert_message(0, next);
    hub_test_assert_ring_empty(1);
}

static void a_removal_that_crosses_a_join_does_not_undo_it(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    hub_test_tell(0, GROUP("g"), INTEREST_ADD);
    receive_control(EVENT_JOIN, "g:g");
    hub_test_tell(0, GROUP("g"), INTEREST_REMOVE); /* sent before the join arrived there */
    assert_int_equal(hub_workers_of_key(hub_test.hub, GROUP("g")), 1);
    hub_test_tell(0, GROUP("g"), INTEREST_JOINED);
    assert_int_equal(hub_workers_of_key(hub_test.hub, GROUP("g")), 1);
    hub_test_tell(0, GROUP("g"), INTEREST_REMOVE); /* a real one */
    assert_int_equal(hub_workers_of_key(hub_test.hub, GROUP("g")), 0);
    assert_int_equal(hub_test.hub->pins.count, 0);
    drain(0);
}

static void a_worker_without_the_user_any_more_lets_go_of_the_group(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    receive_control(EVENT_JOIN, "g:g");
    receive_control(EVENT_JOIN, "g:g");
    hub_test_tell(0, GROUP("g"), INTEREST_NOT_JOINED);
    assert_int_equal(hub_workers_of_key(hub_test.hub, GROUP("g")), 1); /* one more to come */
    hub_test_tell(0, GROUP("g"), INTEREST_NOT_JOINED);
    assert_int_equal(hub_workers_of_key(hub_test.hub, GROUP("g")), 0);
    assert_int_equal(hub_test.hub->pins.count, 0);
    drain(0);
}

static void a_part_goes_to_every_worker(void **state)
{
    struct bus_pos part = receive_control(EVENT_PART, "g:g");
    hub_test_assert_message(0, part);
    hub_test_assert_message(1, part);
}

static void a_key_that_finds_no_memory_holds_back_what_follows(void **state)
{
    struct interest_batch *batch = hub_test_batch(0, USER("a"), INTEREST_ADD);
    struct interest_waiter waiter = {.tag = 1};
    assert_int_equal(interest_batch_wait(batch, waiter), 0);
    struct interest_batch *next = hub_test_batch(0, USER("a"), INTEREST_REMOVE);
    mem_fail_nth(1);
    hub_interest(hub_test.hub, batch);
    mem_fail_nth(1);
    hub_interest(hub_test.hub, next);
    mem_fail_nth(0);
    hub_test_assert_ring_empty(0);
    hub_tick(hub_test.hub, 1);
    hub_test_assert_fence(0, 1, 0, 0);
    assert_int_equal(hub_test.hub->interest.count, 0); /* added, then removed */
}

static void a_hole_sends_all_workers_to_the_window(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    hub_test_receive_to(0, "u:a");
    drain(0);
    hub_bus_callbacks.on_hole(hub_test.hub, 0, (struct bus_pos){1, 0}, (struct bus_pos){5, 0},
                              BUS_HOLE_LOST);
    assert_true(hub_test_is_behind(0));
    assert_true(hub_test_is_behind(1));
    hub_catch_up(hub_test.hub, 0);
    struct hub_catch_up *catch_up = hub_test_pop(0, RING_CATCH_UP);
    struct window_span span;
    window_span(hub_window(hub_test.hub), 0, &span);
    assert_int_equal(catch_up->span.from.pos[0].hi, 1);
    assert_true(bus_pos_compare(span.tail, catch_up->span.from.pos[0]) > 0);
    assert_true(bus_pos_compare(span.tail, (struct bus_pos){5, 0}) < 0); /* what follows is here */
    assert_int_equal(bus_pos_compare(catch_up->span.to.pos[0], span.tail), 0);
    hub_catch_up_destroy(catch_up);
}

static void a_message_without_memory_is_a_gap(void **state)
{
    hub_test_tell(0, USER("a"), INTEREST_ADD);
    struct buf record = {0};
    struct event event = event_test_make(1, "1");
    event.header.origin = 99;
    event_test_encode(&record, &event, (const char *[]){"u:a"}, 1);
    hub_test_receive(0, &record);
    for (uint32_t nth = 1; nth <= 3; nth++) { /* the message, its place, its key's place */
        struct window_span span;
        mem_fail_nth(nth);
        struct bus_pos pos = hub_test_receive(nth, &record);
        assert_false(mem_fail_pending());
        window_span(hub_window(hub_test.hub), nth, &span);
        assert_int_equal(bus_pos_compare(span.tail, pos), 0);
        assert_true(hub_test_is_behind(0));
    }
    buf_fini(&record);
    drain(0);
}

static void heads_are_sent_each_quarter_of_the_window(void **state)
{
    hub_test_receive_to(2, "u:a");
    hub_tick(hub_test.hub, 999);
    hub_test_assert_ring_empty(0);
    hub_tick(hub_test.hub, 1000);
    struct hub_heads *heads = hub_test_pop(0, RING_HEADS);
    assert_int_equal(heads->pos[2].hi, 1);
    mem_free(heads);
    hub_tick(hub_test.hub, 1999);
    hub_test_assert_ring_empty(0);
    hub_tick(hub_test.hub, 2000);
    mem_free(hub_test_pop(0, RING_HEADS));
}

static void heads_are_sent_when_a_quarter_of_the_bytes_passed(void **state)
{
    static char data[50000];
    memset(data, '1', sizeof(data) - 1);
    for (uint32_t i = 1; i <= 6; i++) {
        hub_test_receive_event(0, event_test_make(i, data), "u:a");
        hub_tick(hub_test.hub, 1);
        if (i < 6) {
            hub_test_assert_ring_empty(0);
        }
    }
    mem_free(hub_test_pop(0, RING_HEADS));
}

static void the_window_is_trimmed_at_the_flush(void **state)
{
    hub_test_flush(10);
    hub_test_receive_to(0, "u:a");
    hub_test_flush(4010);
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 1);
    hub_test_flush(4011);
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 0);
    assert_int_equal(hub_get_stats(hub_test.hub)->evicted, 1);
}

static void the_state_of_the_bus_is_passed_on(void **state)
{
    assert_true(hub_bus_is_up(hub_test.hub));
    hub_bus_callbacks.on_state(hub_test.hub, false, "gone");
    assert_false(hub_bus_is_up(hub_test.hub));
    assert_false(hub_test.is_up);
    assert_true(hub_bus_was_up(hub_test.hub));
    hub_bus_callbacks.on_state(hub_test.hub, true, "");
    assert_true(hub_bus_is_up(hub_test.hub));
    assert_true(hub_test.is_up);
}

static void a_bus_may_have_fewer_queues_than_asked_for(void **state)
{
    assert_int_equal(hub_get_options(hub_test.hub)->queues, HUB_TEST_QUEUES);
    hub_test.bus.queues = 1;
    hub_set_bus(hub_test.hub, &hub_test.bus);
    assert_int_equal(hub_get_options(hub_test.hub)->queues, 1);
}

static void without_memory_there_is_no_hub(void **state)
{
    struct hub_options options = {
        .workers = 2, .queues = 2, .window_bytes = 1, .ring_slots = 2, .record_bytes = 1};
    struct hub *hub = NULL;
    for (unsigned long nth = 1; !hub; nth++) {
        mem_fail_nth(nth);
        int err = hub_create(&hub, &options, &hub_test_callbacks, NULL);
        mem_fail_nth(0);
        assert_int_equal(err, hub ? 0 : ERR_NO_MEMORY);
        assert_true(nth < 10);
    }
    hub_destroy(hub);
    hub_destroy(NULL);
}

#define WITH_HUB(test) cmocka_unit_test_setup_teardown(test, hub_test_setup, hub_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HUB(an_event_goes_to_the_workers_that_have_its_target),
        WITH_HUB(a_key_that_was_removed_gets_nothing_more),
        WITH_HUB(an_event_of_several_targets_goes_to_each_worker_once),
        WITH_HUB(a_session_id_leads_to_its_worker),
        WITH_HUB(workers_are_woken_once_a_flush),
        WITH_HUB(a_record_that_comes_twice_is_taken_once),
        WITH_HUB(counters_may_wrap),
        WITH_HUB(an_event_that_is_not_sound_does_not_hide_the_next),
        WITH_HUB(what_nodes_tell_each_other_does_not_enter_the_window),
        WITH_HUB(a_fence_comes_back_behind_what_came_before_it),
        WITH_HUB(a_full_ring_makes_the_worker_read_the_window),
        WITH_HUB(a_fence_waits_until_the_worker_has_caught_up),
        WITH_HUB(fences_that_fill_the_ring_again_wait_again),
        WITH_HUB(a_catch_up_that_finds_no_memory_comes_with_a_tick),
        WITH_HUB(joins_parts_and_kicks_come_along_with_a_catch_up),
        WITH_HUB(too_many_of_them_are_said_to_be_lost),
        WITH_HUB(a_join_brings_the_groups_messages_at_once),
        WITH_HUB(a_removal_that_crosses_a_join_does_not_undo_it),
        WITH_HUB(a_worker_without_the_user_any_more_lets_go_of_the_group),
        WITH_HUB(a_part_goes_to_every_worker),
        WITH_HUB(a_key_that_finds_no_memory_holds_back_what_follows),
        WITH_HUB(a_hole_sends_all_workers_to_the_window),
        WITH_HUB(a_message_without_memory_is_a_gap),
        WITH_HUB(heads_are_sent_each_quarter_of_the_window),
        WITH_HUB(heads_are_sent_when_a_quarter_of_the_bytes_passed),
        WITH_HUB(the_window_is_trimmed_at_the_flush),
        WITH_HUB(the_state_of_the_bus_is_passed_on),
        WITH_HUB(a_bus_may_have_fewer_queues_than_asked_for),
        cmocka_unit_test(without_memory_there_is_no_hub),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
