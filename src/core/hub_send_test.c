/* The life of a push in the hub: packed, acknowledged, returned, judged by its id, or failed. */
#include "core/hub_push_test_help.h"

static void on_report(struct receipt *receipt)
{
    hub_test.reports++;
    receipt_unref(receipt);
}

static struct publish *make_push_with_id(uint32_t part_count, uint64_t id, uint64_t body)
{
    struct publish *publish = hub_test_make_push(part_count);
    publish->awaits_return = true;
    for (uint32_t i = 0; i < part_count; i++) {
        struct event event = event_test_make(0, "1");
        event.header.flags = EVENT_HAS_ID;
        event.id_hash = id;
        event.body_hash = body;
        event.part = (uint8_t)i;
        event.parts = (uint8_t)part_count;
        buf_clear(&publish->parts[i].event);
        event_test_encode(&publish->parts[i].event, &event, (const char *[]){"u:a"}, 1);
    }
    return publish;
}

static void what_waits_leaves_in_one_record(void **state)
{
    struct publish *pushes[3];
    for (int i = 0; i < 3; i++) {
        pushes[i] = hub_test_make_push(1);
        hub_test_push(pushes[i]);
    }
    assert_null(hub_test.under_way[0]);
    assert_false(hub_test_flush(1));
    assert_int_equal(hub_test.under_way[0]->record.len, 3 * pushes[0]->parts[0].event.len);
    hub_test_accept(0);
    hub_test_flush(2);
    assert_int_equal(hub_test.done, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pushes[i]->verdict, PUBLISH_ACCEPTED);
        assert_int_equal(pushes[i]->accepted_parts, 1);
        assert_int_equal(pushes[i]->parts[0].pos.hi, 1);
        assert_int_equal(pushes[i]->parts[0].pos.lo, i);
        publish_destroy(pushes[i]);
    }
}

static void an_acknowledged_record_tells_when_it_was_sent(void **state)
{
    struct publish *first = hub_test_make_push(1);
    struct publish *second = hub_test_make_push(1);
    hub_test_push(first);
    hub_flush(hub_test.hub, 1, 1111);
    hub_flush(hub_test.hub, 2, 2222);
    hub_test_accept(0);
    assert_int_equal(hub_test.published, 1);
    assert_int_equal(hub_test.published_sent_us, 1111);
    hub_test_push(second);
    hub_flush(hub_test.hub, 3, 3333);
    hub_test_finish(0, ERR_TIMEOUT, (struct bus_pos){0, 0});
    assert_int_equal(hub_test.published, 1);
    hub_test_flush(4);
    publish_destroy(first);
    publish_destroy(second);
}

static void one_record_is_under_way_in_a_queue(void **state)
{
    struct publish *first = hub_test_make_push(1);
    struct publish *second = hub_test_make_push(1);
    hub_test_push(first);
    hub_test_flush(1);
    hub_test_push(second);
    hub_test_flush(2); /* the test's bus asserts */
    assert_int_equal(hub_test.under_way[0]->record.len, first->parts[0].event.len);
    hub_test_accept(0);
    hub_test_flush(3);
    assert_non_null(hub_test.under_way[0]);
    hub_test_accept(0);
    hub_test_flush(4);
    assert_int_equal(hub_test.done, 2);
    publish_destroy(first);
    publish_destroy(second);
}

static void a_full_record_leaves_the_rest_for_the_next(void **state)
{
    struct publish *pushes[20];
    for (int i = 0; i < 20; i++) {
        pushes[i] = hub_test_make_push(1);
        hub_test_push(pushes[i]);
    }
    int rounds = 0;
    while (hub_test_flush(1) || hub_test.under_way[0]) {
        assert_true(hub_test.under_way[0]->record.len <= 1000);
        hub_test_accept(0);
        rounds++;
    }
    hub_test_flush(2);
    assert_true(rounds > 1);
    assert_int_equal(hub_test.done, 20);
    for (int i = 0; i < 20; i++) {
        publish_destroy(pushes[i]);
    }
}

static void an_event_over_the_records_size_goes_alone(void **state)
{
    static char data[2000];
    memset(data, '1', sizeof(data) - 1);
    struct publish *large = hub_test_make_push(1);
    struct event event = event_test_make(0, data);
    buf_clear(&large->parts[0].event);
    event_test_encode(&large->parts[0].event, &event, (const char *[]){"u:a"}, 1);
    hub_test_push(large);
    hub_test_flush(1);
    assert_int_equal(hub_test.under_way[0]->record.len, large->parts[0].event.len);
    hub_test_accept(0);
    hub_test_flush(2);
    publish_destroy(large);
}

static void a_push_is_done_when_all_its_parts_are(void **state)
{
    struct publish *publish = hub_test_make_push(3);
    hub_test_push(publish);
    hub_test_flush(1);
    hub_test_accept(2);
    hub_test_accept(0);
    hub_test_flush(2);
    assert_int_equal(hub_test.done, 0);
    hub_test_accept(1);
    hub_test_flush(3);
    assert_int_equal(hub_test.done, 1);
    assert_int_equal(publish->accepted_parts, 3);
    publish_destroy(publish);
}

static void one_part_that_fails_fails_the_push(void **state)
{
    struct publish *publish = hub_test_make_push(2);
    hub_test_push(publish);
    hub_test_flush(1);
    hub_test_finish(1, ERR_UNAVAILABLE, (struct bus_pos){0, 0});
    hub_test_accept(0);
    hub_test_flush(2);
    assert_int_equal(hub_test.done, 1);
    assert_int_equal(publish->verdict, PUBLISH_FAILED);
    assert_int_equal(publish->err, ERR_UNAVAILABLE);
    assert_int_equal(publish->accepted_parts, 1);
    publish_destroy(publish);
}

static void a_bus_that_refuses_fails_the_push(void **state)
{
    struct publish *publish = hub_test_make_push(1);
    hub_test.refuse = ERR_UNAVAILABLE;
    hub_test_push(publish);
    hub_test_flush(1);
    assert_int_equal(hub_test.done, 1);
    assert_int_equal(publish->err, ERR_UNAVAILABLE);
    publish_destroy(publish);
}

static void what_is_over_the_backlog_fails_at_once(void **state)
{
    struct publish *pushes[60];
    int accepted = 0;
    for (int i = 0; i < 60; i++) {
        pushes[i] = hub_test_make_push(1);
        hub_test_push(pushes[i]);
        accepted += !pushes[i]->parts[0].finished;
    }
    assert_int_equal(accepted, 4000 / pushes[0]->parts[0].event.len);
    assert_int_equal(pushes[59]->verdict, PUBLISH_FAILED);
    assert_int_equal(pushes[59]->err, ERR_UNAVAILABLE);
    while (hub_test_flush(1) || hub_test.under_way[0]) {
        hub_test_accept(0);
    }
    hub_test_flush(2);
    assert_int_equal(hub_test.done, 60);
    for (int i = 0; i < 60; i++) {
        publish_destroy(pushes[i]);
    }
}

static void what_waits_over_its_deadline_fails(void **state)
{
    struct publish *under_way = hub_test_make_push(1);
    struct publish *late = hub_test_make_push(1);
    struct publish *patient = hub_test_make_push(1);
    hub_test_push(under_way);
    hub_test_flush(1);
    late->deadline_ms = 100;
    hub_test_push(late);
    hub_test_push(patient);
    hub_tick(hub_test.hub, 99);
    assert_false(late->parts[0].finished);
    hub_tick(hub_test.hub, 100);
    hub_test_flush(100);
    assert_int_equal(hub_test.done, 1);
    assert_int_equal(late->err, ERR_UNAVAILABLE);
    hub_test_accept(0);
    hub_test_flush(101);
    hub_test_accept(0);
    hub_test_flush(102);
    assert_int_equal(hub_test.done, 3);
    publish_destroy(under_way);
    publish_destroy(late);
    publish_destroy(patient);
}

static void a_push_that_awaits_its_return_is_not_done_before(void **state)
{
    struct publish *publish = make_push_with_id(1, 1, 1);
    hub_test_push(publish);
    hub_test_flush(1);
    struct buf copy = {0};
    assert_int_equal(buf_append_str(&copy, hub_test.under_way[0]->record), 0);
    hub_test_finish(0, 0, (struct bus_pos){1, 0});
    hub_test_flush(2);
    assert_int_equal(hub_test.done, 0);
    hub_test_receive(0, &copy);
    hub_test_flush(3);
    assert_int_equal(hub_test.done, 1);
    assert_int_equal(publish->parts[0].pos.hi, 1);
    publish_destroy(publish);
    buf_fini(&copy);
}

static void what_was_acknowledged_and_does_not_return_ends_at_its_deadline(void **state)
{
    struct publish *publish = make_push_with_id(1, 1, 1);
    struct publish *next = hub_test_make_push(1);
    publish->deadline_ms = 100;
    hub_test_push(publish);
    hub_test_flush(1);
    struct buf copy = {0};
    assert_int_equal(buf_append_str(&copy, hub_test.under_way[0]->record), 0);
    hub_test_finish(0, 0, (struct bus_pos){1, 0});
    hub_test_push(next);
    hub_test_flush(2); /* another record under way does not keep it */
    hub_tick(hub_test.hub, 100);
    hub_test_flush(100);
    assert_int_equal(hub_test.done, 1);
    assert_int_equal(publish->err, ERR_TIMEOUT);
    hub_test_receive(0, &copy); /* too late */
    publish_destroy(publish);
    hub_test_accept(0);
    hub_test_flush(101);
    publish_destroy(next);
    buf_fini(&copy);
}

static void the_same_id_and_body_again_gets_the_first_ones_position(void **state)
{
    struct publish *first = make_push_with_id(1, 1, 1);
    struct publish *other = make_push_with_id(1, 2, 1);
    struct publish *again = make_push_with_id(1, 1, 1);
    hub_test_push(first);
    hub_test_push(other);
    hub_test_push(again);
    hub_test_flush(1);
    hub_test_accept(0);
    hub_test_flush(2);
    assert_int_equal(hub_test.done, 3);
    assert_int_equal(first->verdict, PUBLISH_ACCEPTED);
    assert_int_equal(first->parts[0].pos.lo, 0);
    assert_int_equal(other->verdict, PUBLISH_ACCEPTED);
    assert_int_equal(other->parts[0].pos.lo, 1);
    assert_int_equal(again->verdict, PUBLISH_REPLAYED);
    assert_int_equal(again->parts[0].pos.hi, 1);
    assert_int_equal(again->parts[0].pos.lo, 0);
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 2);
    publish_destroy(first);
    publish_destroy(other);
    publish_destroy(again);
}

static void the_same_id_with_another_body_is_a_conflict(void **state)
{
    struct publish *first = make_push_with_id(1, 1, 1);
    struct publish *other = make_push_with_id(1, 1, 2);
    hub_test_push(first);
    hub_test_push(other);
    hub_test_flush(1);
    hub_test_accept(0);
    hub_test_flush(2);
    assert_int_equal(other->verdict, PUBLISH_CONFLICT);
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 1);
    publish_destroy(first);
    publish_destroy(other);
}

static void all_parts_of_an_id_pass_and_its_repeat_on_none(void **state)
{
    struct publish *first = make_push_with_id(3, 1, 1);
    struct publish *again = make_push_with_id(3, 1, 1);
    hub_test_push(first);
    hub_test_push(again);
    hub_test_flush(1);
    for (uint32_t q = 0; q < 3; q++) {
        hub_test_accept(q);
    }
    hub_test_flush(2);
    assert_int_equal(first->verdict, PUBLISH_ACCEPTED);
    assert_int_equal(again->verdict, PUBLISH_REPLAYED);
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 3);
    publish_destroy(first);
    publish_destroy(again);
}

static void a_message_is_found_by_its_id_with_all_its_parts(void **state)
{
    uint64_t id = event_id_hash(&event_test_space, EVENT_TEST_APP, STR("cmt-7"));
    struct message *found[EVENT_MAX_PARTS];
    struct publish *publish = make_push_with_id(2, id, 22);
    hub_test_push(publish);
    hub_test_flush(1);
    hub_test_accept(0);
    hub_test_accept(1);
    hub_test_flush(2);
    assert_int_equal(hub_find_messages(hub_test.hub, EVENT_TEST_APP, STR("cmt-8"), found), 0);
    assert_int_equal(hub_find_messages(hub_test.hub, EVENT_TEST_APP + 1, STR("cmt-7"), found), 0);
    assert_int_equal(hub_find_messages(hub_test.hub, EVENT_TEST_APP, STR("cmt-7"), found), 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct receipt_counts counts = {.is_settled = true};
        assert_int_equal(found[i]->queue, i);
        receipt_add_counts(found[i]->receipt, &counts); /* though nobody waits */
        assert_int_equal(counts.matched, 0);
        assert_true(counts.is_settled);
        message_unref(found[i]);
    }
    publish_destroy(publish);
}

static void an_id_is_forgotten_with_the_window(void **state)
{
    struct publish *first = make_push_with_id(1, 1, 1);
    struct publish *later = make_push_with_id(1, 1, 2);
    hub_test_push(first);
    hub_test_flush(1);
    hub_test_accept(0);
    hub_test_flush(5000);
    assert_int_equal(hub_test.hub->ids.count, 0);
    hub_test_push(later);
    hub_test_flush(5001);
    hub_test_accept(0);
    hub_test_flush(5002);
    assert_int_equal(later->verdict, PUBLISH_ACCEPTED);
    publish_destroy(first);
    publish_destroy(later);
}

static void an_id_is_known_as_long_as_one_of_its_parts_is_here(void **state)
{
    struct publish *first = make_push_with_id(2, 1, 1);
    struct publish *other = make_push_with_id(1, 1, 2);
    hub_test_push(first);
    hub_test_flush(1);
    hub_test_accept(0);
    hub_test_flush(4000);
    hub_test_accept(1);
    hub_test_flush(5000); /* the first part is over age */
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 1);
    hub_test_push(other);
    hub_test_flush(5001);
    hub_test_accept(0);
    hub_test_flush(5002);
    assert_int_equal(other->verdict, PUBLISH_CONFLICT);
    publish_destroy(first);
    publish_destroy(other);
}

static void the_worst_verdict_of_the_parts_is_the_pushs(void **state)
{
    struct publish *publish = hub_test_make_push(3);
    hub_part_return(hub_test.hub, &publish->parts[0], PUBLISH_ACCEPTED);
    hub_part_return(hub_test.hub, &publish->parts[1], PUBLISH_CONFLICT);
    hub_part_return(hub_test.hub, &publish->parts[2], PUBLISH_REPLAYED);
    assert_int_equal(publish->verdict, PUBLISH_CONFLICT);
    publish_destroy(publish);
}

static struct publish *make_push_with_receipt(uint32_t part_count)
{
    struct publish *publish = hub_test_make_push(part_count);
    publish->awaits_return = true;
    publish->receipt = receipt_create(part_count, on_report, NULL);
    for (uint32_t i = 0; i < part_count; i++) {
        publish->parts[i].event.data[offsetof(struct event_header, flags)] = EVENT_WANTS_RECEIPT;
    }
    return publish;
}

static void a_receipt_is_complete_when_nobody_has_the_target(void **state)
{
    struct publish *publish = make_push_with_receipt(2);
    hub_test_push(publish);
    hub_test_flush(1);
    hub_test_accept(0);
    assert_int_equal(hub_test.reports, 0);
    hub_test_accept(1);
    assert_int_equal(hub_test.reports, 1);
    assert_int_equal(publish->receipt->matched, 0);
    hub_test_flush(2);
    publish_destroy(publish);
}

static void a_receipt_waits_for_the_workers(void **state)
{
    struct publish *publish = make_push_with_receipt(1);
    hub_test_tell(0, event_test_key_of(TARGET_USER, "a"), INTEREST_ADD);
    hub_test_tell(1, event_test_key_of(TARGET_USER, "a"), INTEREST_ADD);
    hub_test_push(publish);
    hub_test_flush(1);
    hub_test_accept(0);
    assert_int_equal(publish->receipt->users_online, 1);
    for (uint32_t worker = 0; worker < 2; worker++) {
        assert_int_equal(hub_test.reports, 0);
        struct message *message = hub_test_pop(worker, RING_MESSAGE);
        receipt_close(message->receipt);
        message_unref(message);
    }
    assert_int_equal(hub_test.reports, 1);
    hub_test_flush(2);
    publish_destroy(publish);
}

/* Nobody could remember that it came. */
static void what_comes_twice_without_memory_returns_once(void **state)
{
    struct publish *publish = make_push_with_receipt(1);
    receipt_open(publish->receipt); /* somebody still owes a report */
    hub_test_push(publish);
    hub_test_flush(1);
    for (int i = 0; i < 2; i++) {
        mem_fail_nth(1);
        hub_test_hand_back(0);
        mem_fail_nth(0);
    }
    assert_int_equal(hub_test.hub->marks.count, 0);
    assert_int_equal(hub_test.reports, 0);
    hub_test_finish(0, 0, (struct bus_pos){2, 0});
    receipt_close(publish->receipt);
    assert_int_equal(hub_test.reports, 1);
    hub_test_flush(2);
    publish_destroy(publish);
}

static void a_receipt_does_not_wait_for_what_was_evicted_first(void **state)
{
    hub_test_tell(0, event_test_key_of(TARGET_USER, "a"), INTEREST_ADD);
    while (!hub_test_is_behind(0)) {
        hub_test_receive_to(0, "u:a");
    }
    struct publish *publish = make_push_with_receipt(1);
    publish->parts[0].queue = 1;
    hub_test_push(publish);
    hub_test_flush(1);
    hub_test_accept(1);
    assert_int_equal(hub_test.reports, 0);
    hub_test_flush(9999);
    assert_int_equal(hub_test.reports, 1);
    publish_destroy(publish);
    hub_link_drain(hub_link(hub_test.hub, 0));
}

static void parts_that_fail_or_repeat_do_not_keep_a_receipt_open(void **state)
{
    struct publish *failing = make_push_with_receipt(2);
    hub_test_push(failing);
    hub_test_flush(1);
    hub_test_finish(0, ERR_UNAVAILABLE, (struct bus_pos){0, 0});
    hub_test_accept(1);
    assert_int_equal(hub_test.reports, 1);
    hub_test_flush(2);
    publish_destroy(failing);

    for (int i = 0; i < 2; i++) {
        struct publish *publish = make_push_with_id(1, 1, 1);
        publish->receipt = receipt_create(1, on_report, NULL);
        hub_test_push(publish);
        hub_test_flush(3);
        hub_test_accept(0);
        assert_int_equal(hub_test.reports, 2 + i);
        hub_test_flush(4);
        publish_destroy(publish);
    }
}

static void a_push_of_no_worker_is_done_on_the_bus_thread(void **state)
{
    struct publish *publish = hub_test_make_push(1);
    publish->worker = HUB_NO_WORKER;
    hub_test_push(publish);
    hub_test_flush(1);
    hub_test_accept(0);
    assert_int_equal(hub_test.done, 1); /* no flush was needed */
    publish_destroy(publish);
}

static void the_end_cancels_what_is_under_way_and_what_waits(void **state)
{
    struct publish *pushes[3] = {hub_test_make_push(1), hub_test_make_push(2),
                                 make_push_with_id(1, 1, 1)};
    hub_test_open(8);
    hub_test_push(pushes[2]);
    hub_test_flush(1);
    hub_test_finish(0, 0, (struct bus_pos){1, 0}); /* acknowledged, never returned */
    hub_test_push(pushes[0]);
    hub_test_flush(2);
    hub_test_push(pushes[1]);
    hub_destroy(hub_test.hub);
    assert_int_equal(hub_test.done, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pushes[i]->verdict, PUBLISH_FAILED);
        assert_int_equal(pushes[i]->err, ERR_CANCELED);
        publish_destroy(pushes[i]);
    }
}

/* With the n-th allocation of the whole way failing, each push comes back once all the same. */
static void want_of_memory_fails_pushes_and_loses_none(void **state)
{
    for (unsigned long nth = 1; nth < 12; nth++) {
        struct publish *pushes[10];
        hub_test_open(8);
        for (int i = 0; i < 10; i++) {
            pushes[i] = i % 2 ? make_push_with_id(1, (uint64_t)i, 1) : make_push_with_receipt(2);
            hub_test_push(pushes[i]);
        }
        mem_fail_nth(nth);
        for (uint64_t now = 1; now < 10; now++) {
            hub_test_flush(now);
            for (uint32_t q = 0; q < 2; q++) {
                if (hub_test.under_way[q]) {
                    hub_test_accept(q);
                }
            }
        }
        mem_fail_nth(0);
        hub_test_flush(10);
        assert_int_equal(hub_test.done, 10);
        assert_int_equal(hub_test.reports, 5);
        for (int i = 0; i < 10; i++) {
            publish_destroy(pushes[i]);
        }
        hub_destroy(hub_test.hub);
    }
}

static void nobody_waits_longer_than_said_for_a_record_under_way(void **state)
{
    struct publish *early = hub_test_make_push(1);
    struct publish *late = hub_test_make_push(1);
    early->deadline_ms = 100;
    late->deadline_ms = 200;
    hub_test_push(early);
    hub_test_push(late);
    hub_test_flush(1);
    assert_int_equal(hub_test.under_way[0]->deadline_ms, 200);
    hub_tick(hub_test.hub, 100);
    hub_test_flush(100);
    assert_int_equal(hub_test.done, 1);
    assert_int_equal(early->err, ERR_TIMEOUT);
    publish_destroy(early);
    hub_test_accept(0);
    hub_test_flush(101);
    assert_int_equal(hub_test.done, 2);
    assert_int_equal(late->verdict, PUBLISH_ACCEPTED);
    assert_int_equal(late->parts[0].pos.lo, 1); /* its place in the record is what it was */
    publish_destroy(late);
}

static void a_record_all_of_whose_parts_are_late_still_ends(void **state)
{
    struct publish *publish = hub_test_make_push(1);
    publish->deadline_ms = 100;
    hub_test_push(publish);
    hub_test_flush(1);
    hub_tick(hub_test.hub, 100);
    hub_test_flush(100);
    assert_int_equal(publish->verdict, PUBLISH_FAILED);
    publish_destroy(publish);
    struct publish *next = hub_test_make_push(1);
    hub_test_push(next);
    hub_test_flush(101);
    hub_test_finish(0, ERR_TIMEOUT, (struct bus_pos){0, 0});
    hub_test_flush(102);
    hub_test_accept(0);
    hub_test_flush(103);
    assert_int_equal(next->verdict, PUBLISH_ACCEPTED);
    publish_destroy(next);
}

static void an_event_that_is_too_large_for_the_bus_fails_at_once(void **state)
{
    struct publish *publish = hub_test_make_push(1);
    hub_test.bus.max_record = (uint32_t)publish->parts[0].event.len - 1;
    hub_test_push(publish);
    hub_test_flush(1);
    assert_int_equal(publish->err, ERR_TOO_LARGE);
    assert_null(hub_test.under_way[0]);
    publish_destroy(publish);
}

static void records_are_no_longer_than_the_bus_takes(void **state)
{
    struct publish *pushes[2] = {hub_test_make_push(1), hub_test_make_push(1)};
    hub_test.bus.max_record = (uint32_t)pushes[0]->parts[0].event.len;
    hub_test_push(pushes[0]);
    hub_test_push(pushes[1]);
    hub_test_flush(1);
    assert_int_equal(hub_test.under_way[0]->record.len, pushes[0]->parts[0].event.len);
    hub_test_accept(0);
    hub_test_flush(2);
    hub_test_accept(0);
    hub_test_flush(3);
    assert_int_equal(hub_test.done, 2);
    publish_destroy(pushes[0]);
    publish_destroy(pushes[1]);
}

static void nothing_is_taken_before_the_bus_was_up(void **state)
{
    atomic_store(&hub_test.hub->bus_was_up, false);
    struct publish *publish = hub_test_make_push(1);
    hub_test_push(publish);
    hub_test_flush(1);
    assert_int_equal(publish->err, ERR_UNAVAILABLE);
    publish_destroy(publish);
}

static void a_repeat_that_went_elsewhere_is_known_by_its_part(void **state)
{
    struct publish *first = make_push_with_id(2, 11, 22);
    hub_test_push(first);
    hub_test_flush(1);
    hub_test_accept(0);
    hub_test_accept(1);
    hub_test_flush(2);
    struct publish *again = make_push_with_id(2, 11, 22);
    again->parts[1].queue = 0; /* its home is away */
    hub_test_push(again);
    hub_test_flush(3);
    hub_test_accept(0);
    hub_test_flush(4);
    assert_int_equal(again->verdict, PUBLISH_REPLAYED);
    assert_int_equal(again->parts[1].queue, 1);
    assert_int_equal(again->parts[1].pos.hi, 1);
    publish_destroy(first);
    publish_destroy(again);
}

static void what_waits_for_a_queue_that_is_away_takes_half_the_room(void **state)
{
    hub_bus_callbacks.on_queue_state(hub_test.hub, 0, false);
    struct publish *pushes[100];
    int count = 0;
    int failed = 0;
    while (failed == 0) {
        pushes[count] = hub_test_make_push(1);
        hub_test_push(pushes[count]);
        failed += pushes[count++]->verdict == PUBLISH_FAILED;
        assert_true(count < 100);
    }
    assert_in_range(hub_test.hub->waiting_bytes, 1500, 2000); /* of 4,000 */
    struct publish *other = hub_test_make_push(1);
    other->parts[0].queue = 1;
    hub_test_push(other);
    assert_int_equal(other->verdict, PUBLISH_ACCEPTED); /* so far */
    hub_fail_all(hub_test.hub, ERR_CANCELED);
    hub_test_flush(1);
    publish_destroy(other);
    for (int i = 0; i < count; i++) {
        publish_destroy(pushes[i]);
    }
}

static void what_nodes_tell_each_other_needs_no_room(void **state)
{
    hub_test.hub->options.backlog_bytes = 0;
    atomic_store(&hub_test.hub->bus_was_up, false);
    struct publish *publish = hub_test_make_push(1);
    publish->stays = true;
    hub_test_push(publish);
    hub_test_flush(1);
    hub_test_accept(0);
    hub_test_flush(2);
    assert_int_equal(publish->verdict, PUBLISH_ACCEPTED);
    publish_destroy(publish);
}

static void what_came_back_is_in_the_bus_though_nobody_acknowledged_it(void **state)
{
    struct publish *late = make_push_with_id(1, 11, 22);
    late->deadline_ms = 100;
    hub_test_push(late);
    hub_test_flush(1);
    struct bus_pos pos = hub_test_hand_back(0);
    hub_tick(hub_test.hub, 100);
    hub_test_flush(100);
    assert_int_equal(late->verdict, PUBLISH_ACCEPTED);
    assert_int_equal(bus_pos_compare(late->parts[0].pos, pos), 0);
    publish_destroy(late);
    hub_test_finish(0, ERR_TIMEOUT, (struct bus_pos){0, 0});
    struct publish *refused = make_push_with_id(1, 33, 44);
    hub_test_push(refused);
    hub_test_flush(101);
    hub_test_hand_back(0);
    hub_test_finish(0, ERR_TIMEOUT, (struct bus_pos){0, 0});
    hub_test_flush(102);
    assert_int_equal(refused->verdict, PUBLISH_ACCEPTED);
    publish_destroy(refused);
}

#define WITH_HUB(test) cmocka_unit_test_setup_teardown(test, hub_test_setup, hub_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HUB(what_waits_leaves_in_one_record),
        WITH_HUB(what_waits_for_a_queue_that_is_away_takes_half_the_room),
        WITH_HUB(what_nodes_tell_each_other_needs_no_room),
        WITH_HUB(what_came_back_is_in_the_bus_though_nobody_acknowledged_it),
        WITH_HUB(nobody_waits_longer_than_said_for_a_record_under_way),
        WITH_HUB(a_record_all_of_whose_parts_are_late_still_ends),
        WITH_HUB(an_event_that_is_too_large_for_the_bus_fails_at_once),
        WITH_HUB(records_are_no_longer_than_the_bus_takes),
        WITH_HUB(nothing_is_taken_before_the_bus_was_up),
        WITH_HUB(a_repeat_that_went_elsewhere_is_known_by_its_part),
        WITH_HUB(an_acknowledged_record_tells_when_it_was_sent),
        WITH_HUB(one_record_is_under_way_in_a_queue),
        WITH_HUB(a_full_record_leaves_the_rest_for_the_next),
        WITH_HUB(an_event_over_the_records_size_goes_alone),
        WITH_HUB(a_push_is_done_when_all_its_parts_are),
        WITH_HUB(one_part_that_fails_fails_the_push),
        WITH_HUB(a_bus_that_refuses_fails_the_push),
        WITH_HUB(what_is_over_the_backlog_fails_at_once),
        WITH_HUB(what_waits_over_its_deadline_fails),
        WITH_HUB(a_push_that_awaits_its_return_is_not_done_before),
        WITH_HUB(what_was_acknowledged_and_does_not_return_ends_at_its_deadline),
        WITH_HUB(the_same_id_and_body_again_gets_the_first_ones_position),
        WITH_HUB(the_same_id_with_another_body_is_a_conflict),
        WITH_HUB(all_parts_of_an_id_pass_and_its_repeat_on_none),
        WITH_HUB(a_message_is_found_by_its_id_with_all_its_parts),
        WITH_HUB(an_id_is_forgotten_with_the_window),
        WITH_HUB(an_id_is_known_as_long_as_one_of_its_parts_is_here),
        WITH_HUB(the_worst_verdict_of_the_parts_is_the_pushs),
        WITH_HUB(a_receipt_is_complete_when_nobody_has_the_target),
        WITH_HUB(a_receipt_waits_for_the_workers),
        WITH_HUB(what_comes_twice_without_memory_returns_once),
        WITH_HUB(a_receipt_does_not_wait_for_what_was_evicted_first),
        WITH_HUB(parts_that_fail_or_repeat_do_not_keep_a_receipt_open),
        WITH_HUB(a_push_of_no_worker_is_done_on_the_bus_thread),
        cmocka_unit_test(the_end_cancels_what_is_under_way_and_what_waits),
        cmocka_unit_test(want_of_memory_fails_pushes_and_loses_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
