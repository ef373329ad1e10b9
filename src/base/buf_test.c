#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static void appends_gather_in_order(void **state)
{
    struct buf buf = {0};
    buf_append_str(&buf, STR("a="));
    buf_append_u64(&buf, 18446744073709551615u);
    buf_append_char(&buf, ';');
    buf_printf(&buf, "%s%d", "b", 7);
    assert_int_equal(buf_err(&buf), 0);
    assert_string_equal(buf_cstr(&buf), "a=18446744073709551615;b7");
    buf_fini(&buf);
}

static void an_append_over_the_limit_sticks_and_changes_nothing(void **state)
{
    struct buf buf;
    buf_init(&buf, 4);
    assert_int_equal(buf_append(&buf, "abcd", 4), 0);
    assert_int_equal(buf_append(&buf, "e", 1), ERR_TOO_LARGE);
    assert_int_equal(buf_append(&buf, "", 0), ERR_TOO_LARGE);
    assert_int_equal(buf.len, 4);
    buf_clear(&buf);
    assert_int_equal(buf_append(&buf, "e", 1), 0);
    buf_fini(&buf);
}

static void a_failed_allocation_is_reported_once_at_the_end(void **state)
{
    struct buf buf = {0};
    mem_fail_nth(1);
    buf_append(&buf, "abc", 3);
    buf_append(&buf, "def", 3);
    assert_int_equal(buf_err(&buf), ERR_NO_MEMORY);
    assert_int_equal(buf.len, 0);
    buf_fini(&buf);
}

static void consume_keeps_the_rest(void **state)
{
    struct buf buf = {0};
    buf_append(&buf, "abcdef", 6);
    buf_consume(&buf, 4);
    assert_true(str_equal(buf_str(&buf), STR("ef")));
    buf_consume(&buf, 2);
    assert_int_equal(buf.len, 0);
    buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_gather_in_order),
        cmocka_unit_test(an_append_over_the_limit_sticks_and_changes_nothing),
        cmocka_unit_test(a_failed_allocation_is_reported_once_at_the_end),
        cmocka_unit_test(consume_keeps_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
