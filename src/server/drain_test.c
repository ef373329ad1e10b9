#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "server/drain.h"

static struct drain_plan plan_of(uint64_t rate, uint64_t max_window_ms, uint64_t window_ms,
                                 uint64_t sessions)
{
    struct settings_drain settings = {.rate = rate, .max_window_ms = max_window_ms};
    struct drain_plan plan;
    drain_plan_make(&plan, &settings, window_ms, sessions);
    return plan;
}

static void few_sessions_leave_within_the_window(void **state)
{
    struct drain_plan plan = plan_of(1000, 60000, 20000, 500);
    assert_int_equal(plan.window_ms, 20000);
    assert_int_equal(plan.grace_ms, 5000);
    assert_false(plan.is_crowded);
}

static void the_window_grows_so_that_the_rate_holds(void **state)
{
    struct drain_plan plan = plan_of(1000, 60000, 20000, 27000);
    assert_int_equal(plan.window_ms, 30000 + 5000);
    assert_false(plan.is_crowded);
    plan = plan_of(100, 60000, 200, 90);
    assert_int_equal(plan.window_ms, 1000 + 334);
    assert_int_equal(plan.grace_ms, 333);
}

static void the_longest_window_counts_more_than_the_rate(void **state)
{
    struct drain_plan plan = plan_of(1000, 30000, 20000, 100000);
    assert_int_equal(plan.window_ms, 30000);
    assert_true(plan.is_crowded);
    plan = plan_of(1000, 30000, 40000, 100000); /* asked for */
    assert_int_equal(plan.window_ms, 40000);
}

static void all_at_once_is_at_once_and_no_rate_is_none(void **state)
{
    assert_int_equal(plan_of(1, 60000, 0, 1000).window_ms, 0);
    assert_false(plan_of(1, 60000, 0, 1000).is_crowded);
    assert_int_equal(plan_of(0, 60000, 20000, 1000000).window_ms, 20000);
    struct drain_plan plan = plan_of(1, 60000, 0, 1000);
    assert_int_equal(drain_slot_ms(&plan, 77), 0);
}

/* In each second of the drain, wherever it begins and however many places were used before. */
static void in_no_second_leave_more_than_the_rate(void **state)
{
    for (uint32_t first = 1; first < 5000; first += 1237) {
        enum { SESSIONS = 1500, RATE = 200, STEP_MS = 100, STEPS = 200 };
        struct drain_plan plan = plan_of(RATE, 60000, 1000, SESSIONS);
        unsigned steps[STEPS] = {0};
        for (uint32_t slot = first; slot < first + SESSIONS; slot++) {
            uint64_t at = drain_slot_ms(&plan, slot);
            assert_true(at <= plan.window_ms - plan.grace_ms);
            steps[at / STEP_MS]++;
        }
        for (int i = 0; i + 10 <= STEPS; i++) {
            unsigned second = 0;
            for (int j = i; j < i + 10; j++) {
                second += steps[j];
            }
            assert_true(second <= RATE);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_sessions_leave_within_the_window),
        cmocka_unit_test(the_window_grows_so_that_the_rate_holds),
        cmocka_unit_test(the_longest_window_counts_more_than_the_rate),
        cmocka_unit_test(all_at_once_is_at_once_and_no_rate_is_none),
        cmocka_unit_test(in_no_second_leave_more_than_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
