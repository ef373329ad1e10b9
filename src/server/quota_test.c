#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "server/quota.h"

enum { SECOND_US = 1000000 };

static void pushes_over_the_burst_wait_for_the_rate(void **state)
{
    struct quota *quota = quota_create();
    struct settings_quotas limits = {.pushes_per_second = 2, .push_burst = 3};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(quota_take_push(quota, &limits, SECOND_US), 0);
    }
    assert_int_equal(quota_take_push(quota, &limits, SECOND_US), 1);
    assert_int_equal(quota_take_push(quota, &limits, SECOND_US + SECOND_US / 2), 0);
    quota_unref(quota);
}

static void without_a_burst_a_second_of_the_rate_may_come_at_once(void **state)
{
    struct quota *quota = quota_create();
    struct settings_quotas limits = {.pushes_per_second = 5};
    int taken = 0;
    while (quota_take_push(quota, &limits, SECOND_US) == 0) {
        taken++;
    }
    assert_int_equal(taken, 5);
    quota_unref(quota);
}

static void without_limits_all_is_let_through(void **state)
{
    struct quota *quota = quota_create();
    struct settings_quotas limits = {0};
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(quota_take_push(quota, &limits, SECOND_US), 0);
        assert_true(quota_take_session(quota, &limits));
    }
    quota_unref(quota);
}

/* Sessions of before a reload count against the limit that it brings. */
static void sessions_end_at_their_limit_and_one_that_goes_makes_room(void **state)
{
    struct quota *quota = quota_create();
    struct settings_quotas limits = {0};
    assert_true(quota_take_session(quota, &limits));
    limits.sessions = 2;
    assert_true(quota_take_session(quota, &limits));
    assert_false(quota_take_session(quota, &limits));
    assert_false(quota_take_session(quota, &limits));
    quota_give_session(quota);
    assert_true(quota_take_session(quota, &limits));
    quota_unref(quota);
}

static void memory_may_be_out(void **state)
{
    mem_fail_nth(1);
    assert_null(quota_create());
    mem_fail_nth(0);
    quota_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushes_over_the_burst_wait_for_the_rate),
        cmocka_unit_test(without_a_burst_a_second_of_the_rate_may_come_at_once),
        cmocka_unit_test(without_limits_all_is_let_through),
        cmocka_unit_test(sessions_end_at_their_limit_and_one_that_goes_makes_room),
        cmocka_unit_test(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
