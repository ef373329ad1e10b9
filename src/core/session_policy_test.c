#include "core/session_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct session_policy make(uint64_t per_user, uint64_t per_device,
                                  enum settings_on_excess on_excess)
{
    struct settings_sessions settings = {per_user, per_device, on_excess};
    return session_policy_of(&settings);
}

static struct session_count beside(uint32_t all, uint32_t same_device)
{
    return (struct session_count){all, same_device};
}

static void without_limits_there_is_no_policy(void **state)
{
    struct session_policy off = make(0, 0, SETTINGS_EXCESS_SAME_DEVICE);
    struct session_policy on = make(0, 1, SETTINGS_EXCESS_REJECT);
    assert_false(session_policy_is_on(&off));
    assert_true(session_policy_is_on(&on));
}

static void the_last_one_that_fits_is_let_in(void **state)
{
    struct session_policy policy = make(3, 2, SETTINGS_EXCESS_REJECT);
    assert_true(session_policy_asks_first(&policy));
    assert_false(session_policy_rejects(&policy, beside(2, 1)));
    assert_true(session_policy_rejects(&policy, beside(3, 0)));
    assert_true(session_policy_rejects(&policy, beside(2, 2)));
    assert_false(session_policy_evicts(&policy, beside(9, 9)));
}

static void the_oldest_goes_when_as_many_as_may_be_are_younger(void **state)
{
    struct session_policy policy = make(3, 1, SETTINGS_EXCESS_OLDEST);
    assert_false(session_policy_asks_first(&policy));
    assert_false(session_policy_rejects(&policy, beside(9, 9)));
    assert_false(session_policy_evicts(&policy, beside(2, 0)));
    assert_true(session_policy_evicts(&policy, beside(3, 0)));
    assert_true(session_policy_evicts(&policy, beside(1, 1)));
}

static void a_device_takes_its_own_place_and_nobody_elses(void **state)
{
    struct session_policy policy = make(2, 0, SETTINGS_EXCESS_SAME_DEVICE);
    assert_true(session_policy_asks_first(&policy));
    assert_false(session_policy_rejects(&policy, beside(2, 1)));
    assert_true(session_policy_rejects(&policy, beside(2, 0)));
    assert_true(session_policy_evicts(&policy, beside(1, 1)));
    assert_false(session_policy_evicts(&policy, beside(9, 0)));
}

static void counts_that_make_no_sense_keep_nobody_out(void **state)
{
    struct session_policy policy = make(2, 0, SETTINGS_EXCESS_SAME_DEVICE);
    assert_false(session_policy_rejects(&policy, beside(1, 3)));
}

static void the_younger_of_two_that_came_in_the_same_ms_is_the_same_for_both(void **state)
{
    struct session_rank first = {1000, 7};
    struct session_rank second = {1000, 8};
    struct session_rank later = {1001, 1};
    assert_true(session_rank_is_younger(&second, &first));
    assert_false(session_rank_is_younger(&first, &second));
    assert_true(session_rank_is_younger(&later, &second));
    assert_false(session_rank_is_younger(&first, &first));
}

static void a_limit_beyond_all_reason_is_the_highest(void **state)
{
    struct session_policy policy = make(1 << 20, 0, SETTINGS_EXCESS_REJECT);
    assert_int_equal(policy.per_user, SESSION_POLICY_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_that_make_no_sense_keep_nobody_out),
        cmocka_unit_test(without_limits_there_is_no_policy),
        cmocka_unit_test(the_last_one_that_fits_is_let_in),
        cmocka_unit_test(the_oldest_goes_when_as_many_as_may_be_are_younger),
        cmocka_unit_test(a_device_takes_its_own_place_and_nobody_elses),
        cmocka_unit_test(the_younger_of_two_that_came_in_the_same_ms_is_the_same_for_both),
        cmocka_unit_test(a_limit_beyond_all_reason_is_the_highest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
