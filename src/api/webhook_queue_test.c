#include "api/webhook_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

enum { GIVE_UP_MS = 60 * 60 * 1000, NO_CHANCE = 0 };

static struct webhook_queue queue;

static struct webhook_event *make(uint32_t subject, uint64_t born_ms)
{
    struct webhook_event *event = mem_zalloc(sizeof(*event));
    assert_non_null(event);
    event->subject_hash = subject;
    event->born_ms = born_ms;
    assert_int_equal(webhook_queue_add(&queue, event), 0);
    assert_int_equal(event->refs, 1);
    return event;
}

static int begin(void **state)
{
    webhook_queue_init(&queue, GIVE_UP_MS);
    return 0;
}

static int end(void **state)
{
    struct webhook_event *event;
    while ((event = webhook_queue_drop(&queue))) {
        webhook_event_destroy(event);
    }
    assert_int_equal(queue.count, 0);
    return 0;
}

/* Ends a try; true when the event has left, and was freed. */
static bool finish(struct webhook_item *item, enum webhook_verdict verdict, uint64_t now_ms)
{
    struct webhook_event *event = webhook_queue_done(&queue, item, verdict, 0, now_ms, NO_CHANCE);
    webhook_event_destroy(event);
    return event != NULL;
}

static void statuses_are_judged(void **state)
{
    static const struct {
        int err, status;
        enum webhook_verdict verdict;
    } cases[] = {
        {0, 200, WEBHOOK_TAKEN},
        {0, 204, WEBHOOK_TAKEN},
        {ERR_TOO_LARGE, 200, WEBHOOK_TAKEN},
        {0, 299, WEBHOOK_TAKEN},
        {0, 199, WEBHOOK_RETRY},
        {0, 302, WEBHOOK_RETRY},
        {0, 400, WEBHOOK_REJECTED},
        {0, 404, WEBHOOK_REJECTED},
        {0, 410, WEBHOOK_REJECTED},
        {0, 408, WEBHOOK_RETRY},
        {0, 425, WEBHOOK_RETRY},
        {0, 429, WEBHOOK_RETRY},
        {0, 500, WEBHOOK_RETRY},
        {0, 503, WEBHOOK_RETRY},
        {ERR_TIMEOUT, 0, WEBHOOK_RETRY},
        {ERR_DENIED, 0, WEBHOOK_RETRY},
        {ERR_UNAVAILABLE, 0, WEBHOOK_RETRY},
        {ERR_CANCELED, 0, WEBHOOK_CANCELED},
        {ERR_CANCELED, 404, WEBHOOK_CANCELED},
        {ERR_CANCELED, 200, WEBHOOK_TAKEN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(webhook_judge(cases[i].err, cases[i].status), cases[i].verdict);
    }
}

static void events_of_a_subject_go_one_after_the_other(void **state)
{
    struct webhook_event *first = make(3, 0);
    struct webhook_event *second = make(3, 0);
    struct webhook_event *other = make(4, 0);
    struct webhook_item *one = webhook_queue_take(&queue, 0);
    struct webhook_item *two = webhook_queue_take(&queue, 0);
    assert_ptr_equal(one->event, first);
    assert_ptr_equal(two->event, other);
    assert_null(webhook_queue_take(&queue, 0));
    assert_int_equal(webhook_queue_wait_ms(&queue, 0), UINT64_MAX);
    assert_true(finish(one, WEBHOOK_TAKEN, 0));
    assert_int_equal(webhook_queue_wait_ms(&queue, 0), 0);
    one = webhook_queue_take(&queue, 0);
    assert_ptr_equal(one->event, second);
    assert_true(finish(one, WEBHOOK_TAKEN, 0));
    assert_true(webhook_queue_is_busy(&queue));
    assert_true(finish(two, WEBHOOK_REJECTED, 0));
    assert_false(webhook_queue_is_busy(&queue));
}

/* 1, 2, 4 … seconds, at most five minutes, and none beyond the age. */
static void an_event_is_tried_again_later_each_time(void **state)
{
    uint64_t now_ms = 5000;
    uint64_t expected_ms = WEBHOOK_RETRY_MS;
    make(1, now_ms);
    for (int tries = 1;; tries++) {
        struct webhook_item *item = webhook_queue_take(&queue, now_ms);
        assert_non_null(item);
        assert_int_equal(item->tries, tries - 1);
        if (finish(item, WEBHOOK_RETRY, now_ms)) {
            break;
        }
        assert_int_equal(webhook_queue_wait_ms(&queue, now_ms), expected_ms);
        assert_null(webhook_queue_take(&queue, now_ms + expected_ms - 1));
        now_ms += expected_ms;
        expected_ms = expected_ms * 2 < WEBHOOK_RETRY_MAX_MS ? expected_ms * 2
                                                             : WEBHOOK_RETRY_MAX_MS;
    }
    assert_true(now_ms < 5000 + GIVE_UP_MS && now_ms + expected_ms >= 5000 + GIVE_UP_MS);
    assert_int_equal(queue.count, 0);
}

static void one_that_failed_lets_others_pass(void **state)
{
    struct webhook_event *bad = make(1, 0);
    struct webhook_event *good = make(1, 0);
    finish(webhook_queue_take(&queue, 0), WEBHOOK_RETRY, 0);
    assert_null(webhook_queue_take(&queue, 999)); /* the endpoint rests */
    struct webhook_item *item = webhook_queue_take(&queue, 1000);
    assert_ptr_equal(item->event, bad); /* due, and the older one */
    finish(item, WEBHOOK_RETRY, 1000);
    item = webhook_queue_take(&queue, 3000 - 1);
    assert_null(item);
    item = webhook_queue_take(&queue, 3000);
    finish(item, WEBHOOK_RETRY, 3000); /* a third time */
    item = webhook_queue_take(&queue, 7000);
    assert_ptr_equal(item->event, bad);
    finish(item, WEBHOOK_RETRY, 7000);
    queue.rests_until_ms = 7500;
    item = webhook_queue_take(&queue, 7500);
    assert_ptr_equal(item->event, good);
    assert_true(finish(item, WEBHOOK_TAKEN, 7500));
    assert_null(webhook_queue_take(&queue, 7500));
    assert_int_equal(webhook_queue_wait_ms(&queue, 7500), 7500);
}

static void an_endpoint_that_is_down_gets_one_request_at_a_time(void **state)
{
    struct webhook_item *items[WEBHOOK_LANES];
    for (uint32_t i = 0; i < 3 * WEBHOOK_LANES; i++) {
        make(i, 0);
    }
    for (int i = 0; i < WEBHOOK_LANES; i++) {
        items[i] = webhook_queue_take(&queue, 0);
        assert_non_null(items[i]);
    }
    assert_null(webhook_queue_take(&queue, 0));
    for (int i = 0; i < WEBHOOK_LANES; i++) {
        finish(items[i], WEBHOOK_RETRY, 10); /* all of one failure: it rests once */
    }
    assert_int_equal(queue.rest.tries, 1);
    assert_int_equal(webhook_queue_wait_ms(&queue, 10), WEBHOOK_RETRY_MS);
    struct webhook_item *probe = webhook_queue_take(&queue, 1010);
    assert_non_null(probe);
    assert_null(webhook_queue_take(&queue, 1010));
    assert_int_equal(webhook_queue_wait_ms(&queue, 1010), UINT64_MAX);
    assert_true(finish(probe, WEBHOOK_TAKEN, 1020));
    for (int i = 0; i < WEBHOOK_LANES; i++) {
        items[i] = webhook_queue_take(&queue, 1020);
        assert_non_null(items[i]);
    }
    for (int i = 0; i < WEBHOOK_LANES; i++) {
        assert_true(finish(items[i], WEBHOOK_TAKEN, 1020));
    }
}

static void it_rests_as_long_as_it_asks_within_reason(void **state)
{
    make(1, 0);
    struct webhook_item *item = webhook_queue_take(&queue, 0);
    assert_null(webhook_queue_done(&queue, item, WEBHOOK_RETRY, 90000, 0, NO_CHANCE));
    assert_int_equal(webhook_queue_wait_ms(&queue, 0), 90000);
    assert_null(webhook_queue_take(&queue, 89999));
    item = webhook_queue_take(&queue, 90000);
    assert_null(webhook_queue_done(&queue, item, WEBHOOK_RETRY, UINT64_MAX, 90000, NO_CHANCE));
    assert_int_equal(webhook_queue_wait_ms(&queue, 90000), WEBHOOK_RETRY_AFTER_MAX_MS);
}

/* What was sent before it asked for a rest, and succeeds now, says nothing of later. */
static void an_answer_from_before_does_not_end_the_rest(void **state)
{
    for (uint32_t i = 0; i < 4; i++) {
        make(i, 0);
    }
    struct webhook_item *first = webhook_queue_take(&queue, 0);
    struct webhook_item *second = webhook_queue_take(&queue, 0);
    struct webhook_item *third = webhook_queue_take(&queue, 0);
    assert_null(webhook_queue_done(&queue, first, WEBHOOK_RETRY, 90000, 10, NO_CHANCE));
    assert_true(finish(second, WEBHOOK_TAKEN, 20));
    assert_true(finish(third, WEBHOOK_REJECTED, 30));
    assert_null(webhook_queue_take(&queue, 90009));
    assert_int_equal(webhook_queue_wait_ms(&queue, 30), 90010 - 30);
    struct webhook_item *probe = webhook_queue_take(&queue, 90010);
    assert_non_null(probe);
    assert_null(webhook_queue_take(&queue, 90010)); /* one at a time until one succeeds */
    assert_true(finish(probe, WEBHOOK_TAKEN, 90020));
    assert_non_null(probe = webhook_queue_take(&queue, 90020));
    assert_true(finish(probe, WEBHOOK_TAKEN, 90020));
}

static void what_the_gateway_canceled_is_sent_again_at_once(void **state)
{
    struct webhook_event *first = make(1, 0);
    make(1, 0);
    assert_false(finish(webhook_queue_take(&queue, 0), WEBHOOK_CANCELED, 10));
    assert_int_equal(queue.rest.tries, 0);
    assert_int_equal(webhook_queue_wait_ms(&queue, 10), 0);
    struct webhook_item *item = webhook_queue_take(&queue, 10);
    assert_ptr_equal(item->event, first);
    assert_int_equal(item->tries, 0);
    assert_true(finish(item, WEBHOOK_TAKEN, 10));
}

static void the_rest_has_chance_in_it(void **state)
{
    make(1, 0);
    struct webhook_item *item = webhook_queue_take(&queue, 0);
    assert_null(webhook_queue_done(&queue, item, WEBHOOK_RETRY, 0, 0, 300));
    assert_int_equal(queue.rests_until_ms, WEBHOOK_RETRY_MS - 300);
}

static void what_is_too_old_is_not_even_tried(void **state)
{
    struct webhook_event *old = make(1, 1000);
    struct webhook_event *young = make(1, 2000);
    assert_null(webhook_queue_expire(&queue, 999)); /* made a moment after the clock was read */
    assert_null(webhook_queue_expire(&queue, 1000 + GIVE_UP_MS - 1));
    assert_ptr_equal(webhook_queue_expire(&queue, 1000 + GIVE_UP_MS), old);
    assert_null(webhook_queue_expire(&queue, 1000 + GIVE_UP_MS));
    assert_ptr_equal(webhook_queue_expire(&queue, 2000 + GIVE_UP_MS), young);
    webhook_event_destroy(old);
    webhook_event_destroy(young);
}

static void without_memory_an_event_is_not_taken(void **state)
{
    struct webhook_event event = {0};
    mem_fail_nth(1);
    assert_int_equal(webhook_queue_add(&queue, &event), ERR_NO_MEMORY);
    mem_fail_nth(0);
    assert_int_equal(event.refs, 0);
    assert_int_equal(queue.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_are_judged),
        cmocka_unit_test_setup_teardown(events_of_a_subject_go_one_after_the_other, begin, end),
        cmocka_unit_test_setup_teardown(an_event_is_tried_again_later_each_time, begin, end),
        cmocka_unit_test_setup_teardown(one_that_failed_lets_others_pass, begin, end),
        cmocka_unit_test_setup_teardown(an_endpoint_that_is_down_gets_one_request_at_a_time, begin,
                                        end),
        cmocka_unit_test_setup_teardown(it_rests_as_long_as_it_asks_within_reason, begin, end),
        cmocka_unit_test_setup_teardown(an_answer_from_before_does_not_end_the_rest, begin, end),
        cmocka_unit_test_setup_teardown(what_the_gateway_canceled_is_sent_again_at_once, begin,
                                        end),
        cmocka_unit_test_setup_teardown(the_rest_has_chance_in_it, begin, end),
        cmocka_unit_test_setup_teardown(what_is_too_old_is_not_even_tried, begin, end),
        cmocka_unit_test_setup_teardown(without_memory_an_event_is_not_taken, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
