#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "histogram.h"

static struct histogram histogram;

static int empty_it(void **state)
{
    histogram = (struct histogram){0};
    return 0;
}

static void an_empty_histogram_answers_zero(void **state)
{
    assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
}

static void small_values_are_exact(void **state)
{
    for (uint64_t value = 1; value <= 60; value++) {
        histogram_add(&histogram, value);
    }
    assert_int_equal(histogram_quantile(&histogram, 0.5), 31);
    assert_int_equal(histogram_quantile(&histogram, 1.0), 60);
}

static void a_quantile_is_off_by_at_most_one_part_in_64(void **state)
{
    for (uint64_t value = 1; value <= 1000000; value++) {
        histogram_add(&histogram, value);
    }
    const double shares[] = {0.01, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        uint64_t exact = (uint64_t)(shares[i] * 1e6);
        assert_in_range(histogram_quantile(&histogram, shares[i]), exact, exact + exact / 64 + 1);
    }
}

static void the_largest_value_of_all_has_a_bucket(void **state)
{
    histogram_add(&histogram, UINT64_MAX);
    assert_true(histogram_quantile(&histogram, 0.5) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_histogram_answers_zero, empty_it),
        cmocka_unit_test_setup(small_values_are_exact, empty_it),
        cmocka_unit_test_setup(a_quantile_is_off_by_at_most_one_part_in_64, empty_it),
        cmocka_unit_test_setup(the_largest_value_of_all_has_a_bucket, empty_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
