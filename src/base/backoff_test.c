#include "base/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void waits_double_up_to_the_most(void **state)
{
    struct backoff backoff = {.base_ms = 500, .max_ms = 3000};
    const uint64_t ceilings[] = {500, 1000, 2000, 3000, 3000, 3000};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(backoff_next_ms(&backoff, 0), ceilings[i]);
    }
    backoff.tries = 0;
    assert_int_equal(backoff_next_ms(&backoff, 0), 500);
}

static void jitter_takes_at_most_half(void **state)
{
    for (uint64_t random = 0; random < 2000; random++) {
        struct backoff backoff = {.base_ms = 500, .max_ms = 500};
        assert_in_range(backoff_next_ms(&backoff, random * 0x9e3779b97f4a7c15), 250, 500);
    }
}

static void a_thousand_tries_and_odd_settings_do_no_harm(void **state)
{
    struct backoff backoff = {.base_ms = 1, .max_ms = UINT64_MAX / 4};
    for (int i = 0; i < 1000; i++) {
        assert_true(backoff_next_ms(&backoff, UINT64_MAX) <= UINT64_MAX / 4);
    }
    struct backoff zero = {0};
    assert_int_equal(backoff_next_ms(&zero, 7), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_double_up_to_the_most),
        cmocka_unit_test(jitter_takes_at_most_half),
        cmocka_unit_test(a_thousand_tries_and_odd_settings_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
