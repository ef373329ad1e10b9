#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/rate.h"

enum { SECOND_US = 1000000 };

static void a_burst_goes_at_once_and_then_one_at_a_time(void **state)
{
    struct rate rate = {0};
    uint64_t now = 5 * SECOND_US;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rate_take(&rate, 10, 3, now), 0);
    }
    assert_int_equal(rate_take(&rate, 10, 3, now), 100000);
    assert_int_equal(rate_take(&rate, 10, 3, now + 40000), 60000);
    assert_int_equal(rate_take(&rate, 10, 3, now + 100000), 0);
    assert_int_equal(rate_take(&rate, 10, 3, now + 100000), 100000);
}

static void what_is_refused_costs_nothing(void **state)
{
    struct rate rate = {0};
    assert_int_equal(rate_take(&rate, 1, 1, SECOND_US), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_not_equal(rate_take(&rate, 1, 1, SECOND_US + i), 0);
    }
    assert_int_equal(rate_take(&rate, 1, 1, 2 * SECOND_US), 0);
}

static void after_a_pause_there_is_one_burst_and_no_more(void **state)
{
    struct rate rate = {0};
    unsigned taken = 0;
    assert_int_equal(rate_take(&rate, 100, 50, SECOND_US), 0);
    while (rate_take(&rate, 100, 50, 3600ull * SECOND_US) == 0) {
        taken++;
    }
    assert_int_equal(taken, 50);
}

static void a_rate_holds_over_time(void **state)
{
    static const uint64_t rates[] = {1, 3, 7, 1000, 20000, 999999};
    for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct rate rate = {0};
        uint64_t taken = 0;
        for (uint64_t now = SECOND_US; now < 11ull * SECOND_US; now += 500) {
            while (rate_take(&rate, rates[i], rates[i], now) == 0) {
                taken++;
            }
        }
        assert_in_range(taken, 11 * rates[i] - rates[i] / 100 - 1,
                        11 * rates[i] + rates[i] / 100 + 1);
    }
}

static void a_clock_that_is_behind_takes_no_more(void **state)
{
    struct rate rate = {0};
    assert_int_equal(rate_take(&rate, 10, 1, 2 * SECOND_US), 0);
    assert_int_not_equal(rate_take(&rate, 10, 1, 2 * SECOND_US - 5000), 0);
}

static void spending_tells_how_far_it_is_over_and_no_further_than_that(void **state)
{
    struct rate rate = {0};
    uint64_t now = SECOND_US;
    assert_int_equal(rate_spend(&rate, 10, 2, now, SECOND_US), 0);
    assert_int_equal(rate_spend(&rate, 10, 2, now, SECOND_US), 0);
    assert_int_equal(rate_spend(&rate, 10, 2, now, SECOND_US), 100000);
    assert_int_equal(rate_spend(&rate, 10, 2, now, SECOND_US), 200000);
    for (int i = 0; i < 1000; i++) {
        rate_spend(&rate, 10, 2, now, SECOND_US);
    }
    assert_int_equal(rate_spend(&rate, 10, 2, now, SECOND_US), SECOND_US);
    assert_int_equal(rate_spend(&rate, 10, 2, now + 2 * SECOND_US, SECOND_US), 0);
}

enum { THREADS = 4, TRIES = 20000, BURST = 30000 };

static struct rate shared;

static void *take_many(void *arg)
{
    uint64_t *taken = arg;
    for (int i = 0; i < TRIES; i++) {
        *taken += rate_take(&shared, 1, BURST, SECOND_US) == 0;
    }
    return NULL;
}

static void threads_together_get_no_more_than_the_burst(void **state)
{
    pthread_t threads[THREADS];
    uint64_t taken[THREADS] = {0};
    uint64_t sum = 0;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, &taken[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += taken[i];
    }
    assert_int_equal(sum, BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_goes_at_once_and_then_one_at_a_time),
        cmocka_unit_test(what_is_refused_costs_nothing),
        cmocka_unit_test(after_a_pause_there_is_one_burst_and_no_more),
        cmocka_unit_test(a_rate_holds_over_time),
        cmocka_unit_test(a_clock_that_is_behind_takes_no_more),
        cmocka_unit_test(spending_tells_how_far_it_is_over_and_no_further_than_that),
        cmocka_unit_test(threads_together_get_no_more_than_the_burst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
