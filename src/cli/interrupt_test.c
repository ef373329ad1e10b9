#include "cli/interrupt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"

static void a_wait_ends_at_its_deadline_or_when_there_is_something(void **state)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct pollfd watched = {.fd = ends[0], .events = POLLIN};
    assert_int_equal(interrupt_poll(&watched, 1, 0), 0);
    uint64_t deadline_ms = clock_monotonic_ms() + 5;
    assert_int_equal(interrupt_poll(&watched, 1, deadline_ms), 0);
    assert_true(clock_monotonic_ms() >= deadline_ms);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(interrupt_poll(&watched, 1, clock_monotonic_ms() + 60000), 1);
    close(ends[0]);
    close(ends[1]);
}

static void a_signal_before_the_wait_cancels_it(void **state)
{
    assert_int_equal(interrupt_watch(), 0);
    assert_false(interrupt_raised());
    raise(SIGTERM);
    assert_int_equal(interrupt_poll(NULL, 0, clock_monotonic_ms() + 60000), ERR_CANCELED);
    assert_true(interrupt_raised());
    assert_int_equal(interrupt_poll(NULL, 0, clock_monotonic_ms() + 60000), ERR_CANCELED);
}

static void a_closed_pipe_is_an_error_and_no_end_of_the_process(void **state)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    assert_int_equal(write(ends[1], "x", 1), -1);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_ends_at_its_deadline_or_when_there_is_something),
        cmocka_unit_test(a_signal_before_the_wait_cancels_it),
        cmocka_unit_test(a_closed_pipe_is_an_error_and_no_end_of_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
