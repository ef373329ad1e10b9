#include "base/time_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void a_moment_is_written_to_the_millisecond(void **state)
{
    char text[TIME_TEXT_MAX];
    assert_int_equal(time_text_write(text, 1769860800123u).len, 24);
    assert_string_equal(text, "2026-01-31T12:00:00.123Z");
    time_text_write(text, 0);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_moment_is_written_to_the_millisecond)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
