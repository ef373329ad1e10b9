#include "base/timer_wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

enum { TURN_MS = TIMER_WHEEL_SLOTS * TIMER_TICK_MS, HOUR_MS = 3600 * 1000 };

/* What a callback does, and a record of who fired. */
struct probe {
    struct timer timer; /* first, so that a timer is its probe */
    int fired;
    uint64_t fired_at_ms;
    struct timer *stops;
    uint64_t restarts_after_ms;
    bool restarts;
};

static struct timer_wheel wheel;
static uint64_t now_ms;
static struct probe *order[20000];
static size_t order_len;

static int reset(void **state)
{
    now_ms = 1000003; /* not on a tick */
    timer_wheel_init(&wheel, now_ms);
    order_len = 0;
    return 0;
}

static void on_fire(struct timer *timer)
{
    struct probe *probe = (struct probe *)timer;
    probe->fired++;
    probe->fired_at_ms = now_ms;
    if (order_len < sizeof(order) / sizeof(order[0])) {
        order[order_len++] = probe;
    }
    if (probe->stops) {
        timer_stop(&wheel, probe->stops);
    }
    if (probe->restarts) {
        timer_start(&wheel, timer, now_ms, probe->restarts_after_ms);
    }
}

static void start(struct probe *probe, uint64_t delay_ms)
{
    probe->timer.on_fire = on_fire;
    timer_start(&wheel, &probe->timer, now_ms, delay_ms);
}

static void advance_to(uint64_t ms)
{
    now_ms = ms;
    timer_wheel_advance(&wheel, now_ms);
}

static void a_timer_fires_once_never_early_and_at_most_a_tick_late(void **state)
{
    const uint64_t delays[] = {0,     1,       9,           10,          11,          25000,
                               40950, TURN_MS, TURN_MS + 1, TURN_MS * 3, TURN_MS - 1, 123456};
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        struct probe probe = {0};
        uint64_t started_ms = now_ms;
        start(&probe, delays[i]);
        while (!probe.fired) {
            advance_to(now_ms + 1);
        }
        assert_true(probe.fired_at_ms >= started_ms + delays[i]);
        assert_true(probe.fired_at_ms <= started_ms + delays[i] + TIMER_TICK_MS);
        assert_false(timer_is_running(&probe.timer));
        advance_to(now_ms + 2 * TURN_MS);
        assert_int_equal(probe.fired, 1);
    }
}

static void a_stopped_timer_does_not_fire(void **state)
{
    struct probe probe = {0};
    start(&probe, 50);
    assert_true(timer_is_running(&probe.timer));
    timer_stop(&wheel, &probe.timer);
    assert_false(timer_is_running(&probe.timer));
    timer_stop(&wheel, &probe.timer);
    assert_int_equal(wheel.count, 0);
    advance_to(now_ms + HOUR_MS);
    assert_int_equal(probe.fired, 0);
}

static void a_restart_moves_the_deadline(void **state)
{
    struct probe probe = {0};
    start(&probe, 50);
    start(&probe, 500);
    assert_int_equal(wheel.count, 1);
    advance_to(now_ms + 400);
    assert_int_equal(probe.fired, 0);
    advance_to(now_ms + 120);
    assert_int_equal(probe.fired, 1);
}

static void timers_fire_in_order_of_tick(void **state)
{
    struct probe probes[5] = {0};
    const uint64_t delays[] = {300, 20, 100, 40, 200};
    const int expected[] = {1, 3, 2, 4, 0};
    for (int i = 0; i < 5; i++) {
        start(&probes[i], delays[i]);
    }
    advance_to(now_ms + 1000);
    assert_int_equal(order_len, 5);
    for (int i = 0; i < 5; i++) {
        assert_ptr_equal(order[i], &probes[expected[i]]);
    }
}

static void timers_that_share_a_slot_fire_in_their_own_turn(void **state)
{
    struct probe probes[3] = {0};
    for (uint64_t i = 0; i < 3; i++) {
        start(&probes[i], 100 + i * TURN_MS);
    }
    advance_to(now_ms + 110);
    assert_int_equal(order_len, 1);
    for (uint64_t ms = 0; ms < TURN_MS; ms += 1000) {
        advance_to(now_ms + 1000);
    }
    assert_int_equal(order_len, 2);
    advance_to(now_ms + TURN_MS);
    assert_int_equal(order_len, 3);
    assert_int_equal(wheel.count, 0);
}

static void after_hours_each_timer_fires_once_and_in_order(void **state)
{
    enum { COUNT = 10000 };
    struct probe *probes = calloc(COUNT, sizeof(*probes));
    assert_non_null(probes);
    uint64_t seed = 5;
    for (int i = 0; i < COUNT; i++) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        start(&probes[i], (seed >> 33) % (4 * HOUR_MS));
    }
    advance_to(now_ms + 3 * HOUR_MS);
    assert_int_equal(order_len + wheel.count, COUNT);
    assert_in_range(order_len, COUNT / 2, COUNT - 1);
    for (size_t i = 1; i < order_len; i++) {
        assert_true(order[i - 1]->timer.due_tick <= order[i]->timer.due_tick);
    }
    advance_to(now_ms + 2 * HOUR_MS);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(probes[i].fired, 1);
    }
    free(probes);
}

/* A wheel that walked tick by tick would not come back from this one. */
static void a_gap_of_centuries_costs_one_turn(void **state)
{
    struct probe probe = {0};
    start(&probe, 10);
    advance_to(UINT64_MAX / 2);
    assert_int_equal(probe.fired, 1);
}

static void a_delay_beyond_all_time_never_fires(void **state)
{
    struct probe probe = {0};
    start(&probe, UINT64_MAX);
    advance_to(UINT64_MAX / 2);
    assert_int_equal(probe.fired, 0);
    assert_true(timer_is_running(&probe.timer));
}

static void a_callback_may_stop_a_timer_of_the_same_tick(void **state)
{
    struct probe a = {0}, b = {0}, c = {0};
    start(&a, 50);
    start(&b, 50);
    start(&c, 50);
    /* Whichever is first stops the other two's middle: a and c both stop b and b stops both. */
    a.stops = &b.timer;
    c.stops = &b.timer;
    b.stops = &a.timer;
    advance_to(now_ms + 70);
    assert_int_equal(order[0]->stops == &b.timer ? b.fired : a.fired, 0);
    assert_int_equal(order_len, 2);
    assert_int_equal(wheel.count, 0);
}

static void a_callback_may_stop_a_timer_that_is_due_in_the_same_advance(void **state)
{
    struct probe early = {0}, late = {0};
    start(&early, 10);
    start(&late, 1000);
    early.stops = &late.timer;
    advance_to(now_ms + 2000);
    assert_int_equal(early.fired, 1);
    assert_int_equal(late.fired, 0);
    assert_false(timer_is_running(&late.timer));
}

static void a_callback_may_start_its_own_timer_again(void **state)
{
    struct probe probe = {.restarts = true, .restarts_after_ms = 100};
    start(&probe, 100);
    for (int i = 0; i < 100; i++) {
        advance_to(now_ms + 10);
    }
    assert_in_range(probe.fired, 9, 10);
    timer_stop(&wheel, &probe.timer);
}

static void a_restart_with_delay_0_waits_for_the_next_advance(void **state)
{
    struct probe probe = {.restarts = true};
    start(&probe, 0);
    for (int i = 1; i <= 5; i++) {
        advance_to(now_ms + 10);
        assert_int_equal(probe.fired, i);
        assert_true(timer_is_running(&probe.timer));
    }
    /* Also after a gap that sees every slot. */
    advance_to(now_ms + 5 * TURN_MS);
    assert_int_equal(probe.fired, 6);
    timer_stop(&wheel, &probe.timer);
}

static void a_callback_may_start_one_that_waits_in_the_same_advance(void **state)
{
    struct probe late = {0};
    struct probe early = {.restarts = true, .restarts_after_ms = HOUR_MS, .stops = &late.timer};
    start(&late, 200);
    start(&early, 100);
    advance_to(now_ms + 300);
    assert_int_equal(order_len, 1);
    assert_int_equal(wheel.count, 1);
    timer_stop(&wheel, &early.timer);
    assert_int_equal(wheel.count, 0);
}

static void free_on_fire(struct timer *timer)
{
    free(timer);
}

static void a_callback_may_free_its_timer(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct timer *timer = calloc(1, sizeof(*timer));
        assert_non_null(timer);
        timer->on_fire = free_on_fire;
        timer_start(&wheel, timer, now_ms, 30);
    }
    advance_to(now_ms + 50);
    assert_int_equal(wheel.count, 0);
}

static void time_that_goes_backwards_changes_nothing(void **state)
{
    struct probe probe = {0};
    start(&probe, 100);
    timer_wheel_advance(&wheel, now_ms - 100000);
    assert_int_equal(probe.fired, 0);
    advance_to(now_ms + 110);
    assert_int_equal(probe.fired, 1);
}

static void a_start_before_the_advance_of_a_late_loop_is_not_lost(void **state)
{
    struct probe probe = {0};
    now_ms += 90000; /* the wheel still stands 90 s back */
    start(&probe, 5);
    advance_to(now_ms + 15);
    assert_int_equal(probe.fired, 1);
}

static void the_wait_is_until_the_next_deadline(void **state)
{
    assert_int_equal(timer_wheel_next_ms(&wheel, now_ms, 5000), 5000);
    assert_true(timer_wheel_next_ms(&wheel, now_ms, UINT64_MAX) == UINT64_MAX);
    struct probe near = {0}, far = {0};
    start(&far, 3 * TURN_MS);
    assert_int_equal(timer_wheel_next_ms(&wheel, now_ms, 5000), 5000);
    start(&near, 1500);
    assert_in_range(timer_wheel_next_ms(&wheel, now_ms, 5000), 1500, 1510);
    assert_int_equal(timer_wheel_next_ms(&wheel, now_ms, 1000), 1000);
    assert_int_equal(timer_wheel_next_ms(&wheel, now_ms + 1600, 5000), 0);
    assert_int_equal(timer_wheel_next_ms(&wheel, now_ms, 0), 0);
}

static void an_advance_after_the_wait_fires(void **state)
{
    uint64_t seed = 3;
    for (int i = 0; i < 2000; i++) {
        struct probe probe = {0};
        seed = seed * 6364136223846793005 + 1442695040888963407;
        start(&probe, (seed >> 33) % (2 * TURN_MS));
        int waits = 0;
        while (!probe.fired) {
            advance_to(now_ms + timer_wheel_next_ms(&wheel, now_ms, UINT64_MAX));
            assert_in_range(++waits, 1, 3);
        }
    }
}

static void the_wait_skips_a_slot_that_only_later_turns_need(void **state)
{
    struct probe later_turn = {0}, near = {0};
    start(&later_turn, TURN_MS + 50);
    start(&near, 700);
    assert_in_range(timer_wheel_next_ms(&wheel, now_ms, 5000), 700, 710);
    timer_stop(&wheel, &near.timer);
    assert_int_equal(timer_wheel_next_ms(&wheel, now_ms, 5000), 5000);
}

static void a_timer_takes_32_bytes(void **state)
{
    assert_int_equal(sizeof(struct timer), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_timer_fires_once_never_early_and_at_most_a_tick_late, reset),
        cmocka_unit_test_setup(a_stopped_timer_does_not_fire, reset),
        cmocka_unit_test_setup(a_restart_moves_the_deadline, reset),
        cmocka_unit_test_setup(timers_fire_in_order_of_tick, reset),
        cmocka_unit_test_setup(timers_that_share_a_slot_fire_in_their_own_turn, reset),
        cmocka_unit_test_setup(after_hours_each_timer_fires_once_and_in_order, reset),
        cmocka_unit_test_setup(a_gap_of_centuries_costs_one_turn, reset),
        cmocka_unit_test_setup(a_delay_beyond_all_time_never_fires, reset),
        cmocka_unit_test_setup(a_callback_may_stop_a_timer_of_the_same_tick, reset),
        cmocka_unit_test_setup(a_callback_may_stop_a_timer_that_is_due_in_the_same_advance, reset),
        cmocka_unit_test_setup(a_callback_may_start_its_own_timer_again, reset),
        cmocka_unit_test_setup(a_restart_with_delay_0_waits_for_the_next_advance, reset),
        cmocka_unit_test_setup(a_callback_may_start_one_that_waits_in_the_same_advance, reset),
        cmocka_unit_test_setup(a_callback_may_free_its_timer, reset),
        cmocka_unit_test_setup(time_that_goes_backwards_changes_nothing, reset),
        cmocka_unit_test_setup(a_start_before_the_advance_of_a_late_loop_is_not_lost, reset),
        cmocka_unit_test_setup(the_wait_is_until_the_next_deadline, reset),
        cmocka_unit_test_setup(an_advance_after_the_wait_fires, reset),
        cmocka_unit_test_setup(the_wait_skips_a_slot_that_only_later_turns_need, reset),
        cmocka_unit_test_setup(a_timer_takes_32_bytes, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
