#include "server/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct admission admission;

static int set_up(void **state)
{
    struct siphash_key key = {1, 2};
    admission_init(&admission, &key);
    return 0;
}

static int tear_down(void **state)
{
    admission_fini(&admission);
    return 0;
}

static unsigned take_all(uint64_t per_second, uint64_t now_ms)
{
    unsigned taken = 0;
    while (admission_take_rate(&admission, per_second, now_ms)) {
        taken++;
    }
    return taken;
}

static void a_second_of_the_rate_may_come_at_once(void **state)
{
    assert_int_equal(take_all(100, 5000), 100);
    assert_int_equal(take_all(100, 5000), 0);
}

static void the_rate_comes_back_with_the_time(void **state)
{
    take_all(100, 5000);
    assert_int_equal(take_all(100, 5010), 1);
    assert_int_equal(take_all(100, 5510), 50);
    assert_int_equal(take_all(100, 99999), 100);
}

/* Each worker asks with the time of its own loop turn. */
static void a_clock_that_is_behind_brings_nothing(void **state)
{
    take_all(100, 5000);
    assert_int_equal(take_all(100, 4999), 0);
    assert_int_equal(take_all(100, 5000), 0);
    assert_int_equal(take_all(100, 4000), 0);
    assert_int_equal(take_all(100, 5010), 1);
}

static void without_a_rate_all_may_come(void **state)
{
    for (int i = 0; i < 10000; i++) {
        assert_true(admission_take_rate(&admission, 0, 1));
    }
}

static void a_name_is_counted_up_to_its_limit(void **state)
{
    uint64_t key = admission_key_of_user(&admission, 1, STR("ada"));
    assert_true(admission_take(&admission, key, 2));
    assert_true(admission_take(&admission, key, 2));
    assert_false(admission_take(&admission, key, 2));
    assert_true(admission_take(&admission, admission_key_of_user(&admission, 2, STR("ada")), 2));
    admission_give(&admission, key);
    assert_true(admission_take(&admission, key, 2));
}

static void who_is_refused_is_told_later_the_more_wait(void **state)
{
    for (int i = 0; i < 50; i++) {
        assert_int_equal(admission_retry_after_s(&admission, 100, 5000), 1);
    }
    unsigned least = 100;
    unsigned most = 0;
    for (int i = 0; i < 1000; i++) { /* ten seconds' worth */
        unsigned told = admission_retry_after_s(&admission, 100, 5000);
        least = told < least ? told : least;
        most = told > most ? told : most;
    }
    assert_in_range(least, 1, 3);
    assert_in_range(most, 8, 11);
    for (int i = 0; i < 100000; i++) {
        assert_in_range(admission_retry_after_s(&admission, 100, 5000), 1, 30);
    }
    assert_int_equal(admission_retry_after_s(&admission, 100, 5000 + 60000), 1);
}

static void hints_lie_around_their_mean(void **state)
{
    unsigned seen = 0;
    for (int i = 0; i < 1000; i++) {
        unsigned told = admission_spread_s(&admission, 5);
        assert_in_range(told, 1, 9);
        seen |= 1u << told;
    }
    assert_int_equal(seen, 0x3fe);
    assert_int_equal(admission_spread_s(&admission, 1), 1);
}

static void a_listener_rests_beyond_twice_the_rate(void **state)
{
    for (int i = 0; i < 200; i++) {
        assert_int_equal(admission_rest_ms(&admission, 100, 5000), 0);
    }
    assert_int_equal(admission_rest_ms(&admission, 100, 5000), 5);
    assert_int_equal(admission_rest_ms(&admission, 100, 5000), 10);
    for (int i = 0; i < 1000; i++) {
        assert_in_range(admission_rest_ms(&admission, 100, 5000), 10, 1000);
    }
    assert_int_equal(admission_rest_ms(&admission, 0, 5000), 0);
}

static void the_first_wait_of_clients_grows_with_their_number(void **state)
{
    assert_int_equal(admission_retry_base_ms(&admission, 20000), 500);
    atomic_store(&admission.sessions, 18000);
    assert_int_equal(admission_retry_base_ms(&admission, 20000), 900);
    assert_int_equal(admission_retry_base_ms(&admission, 100), 10000);
    assert_int_equal(admission_retry_base_ms(&admission, 0), 500);
}

static void a_session_elsewhere_is_spoken_for_as_often_as_it_may(void **state)
{
    for (int i = 0; i < 3; i++) {
        assert_true(admission_take_up(&admission, STR("s_a"), 2, 3, 1000));
    }
    assert_false(admission_take_up(&admission, STR("s_a"), 2, 3, 1000));
    assert_true(admission_take_up(&admission, STR("s_b"), 2, 3, 1000));
    assert_false(admission_take_up(&admission, STR("s_a"), 2, 3, 1499));
    assert_true(admission_take_up(&admission, STR("s_a"), 2, 3, 1500));
    for (int i = 0; i < 10; i++) {
        assert_true(admission_take_up(&admission, STR("s_c"), 0, 3, 1000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_second_of_the_rate_may_come_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_rate_comes_back_with_the_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_clock_that_is_behind_brings_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_rate_all_may_come, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_refused_is_told_later_the_more_wait, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(hints_lie_around_their_mean, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_listener_rests_beyond_twice_the_rate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_wait_of_clients_grows_with_their_number, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_session_elsewhere_is_spoken_for_as_often_as_it_may,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_is_counted_up_to_its_limit, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
