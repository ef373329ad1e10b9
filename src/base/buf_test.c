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

static void a_number_reads_back_as_itself(void **state)
{
    struct buf buf = {0};
    buf_append_double(&buf, 0.1);
    buf_append_char(&buf, ' ');
    buf_append_double(&buf, 12345678901234567.0);
    buf_append_char(&buf, ' ');
    buf_append_double(&buf, -3.0);
    assert_string_equal(buf_cstr(&buf), "0.1 12345678901234568 -3");
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

static void the_limit_is_reached_exactly_by_every_append(void **state)
{
    struct buf buf;
    buf_init(&buf, 4);
    assert_int_equal(buf_printf(&buf, "%s", "abcd"), 0);
    assert_string_equal(buf_cstr(&buf), "abcd"); /* the NUL is not contents */
    assert_int_equal(buf_err(&buf), 0);
    assert_int_equal(buf_append_char(&buf, 'e'), ERR_TOO_LARGE);
    assert_string_equal(buf_cstr(&buf), "");
    buf_clear(&buf);
    assert_int_equal(buf_append_u64(&buf, 1234), 0);
    buf_clear(&buf);
    assert_int_equal(buf_append_u64(&buf, 12345), ERR_TOO_LARGE);
    buf_clear(&buf);
    assert_int_equal(buf_printf(&buf, "%d", 12345), ERR_TOO_LARGE);
    assert_int_equal(buf.len, 0);
    buf_clear(&buf);
    assert_null(buf_reserve(&buf, SIZE_MAX));
    assert_int_equal(buf_err(&buf), ERR_TOO_LARGE);
    buf_fini(&buf);
}

static void a_length_near_the_end_of_memory_does_not_wrap(void **state)
{
    struct buf buf = {0};
    assert_int_equal(buf_append(&buf, "abc", 3), 0);
    assert_null(buf_reserve(&buf, SIZE_MAX - 2));
    assert_int_equal(buf_err(&buf), ERR_TOO_LARGE);
    buf_fini(&buf);
}

static void a_failed_growth_keeps_the_contents(void **state)
{
    struct buf buf = {0};
    char block[100] = "first";
    assert_int_equal(buf_append(&buf, block, sizeof(block)), 0);
    mem_fail_nth(1);
    assert_int_equal(buf_append(&buf, block, sizeof(block)), ERR_NO_MEMORY);
    assert_int_equal(buf.len, sizeof(block));
    assert_memory_equal(buf.data, block, sizeof(block));
    buf_clear(&buf);
    assert_int_equal(buf_err(&buf), 0);
    for (int i = 0; i < 1000; i++) {
        buf_append(&buf, block, sizeof(block));
    }
    assert_int_equal(buf_err(&buf), 0);
    assert_memory_equal(buf.data + 999 * sizeof(block), block, sizeof(block));
    buf_fini(&buf);
}

static void a_reserved_place_is_used_by_setting_len(void **state)
{
    struct buf buf = {0};
    buf_append_str(&buf, STR("ab"));
    uint8_t *to = buf_reserve(&buf, 1000);
    assert_non_null(to);
    assert_int_equal(buf.len, 2);
    memset(to, 'x', 1000);
    buf.len += 1000;
    assert_memory_equal(buf.data, "abxx", 4);
    assert_int_equal(buf_str(&buf).len, 1002);
    buf_fini(&buf);
}

static void an_empty_buffer_is_an_empty_string(void **state)
{
    struct buf buf = {0};
    assert_int_equal(buf_append(&buf, NULL, 0), 0);
    assert_int_equal(buf_append_str(&buf, (struct str){NULL, 0}), 0);
    assert_int_equal(buf_str(&buf).len, 0);
    buf_consume(&buf, 0);
    assert_string_equal(buf_cstr(&buf), "");
    buf_fini(&buf);
    mem_fail_nth(1);
    assert_string_equal(buf_cstr(&buf), "");
    assert_int_equal(buf_err(&buf), ERR_NO_MEMORY);
    buf_fini(&buf);
    assert_int_equal(buf_err(&buf), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_gather_in_order),
        cmocka_unit_test(a_number_reads_back_as_itself),
        cmocka_unit_test(an_append_over_the_limit_sticks_and_changes_nothing),
        cmocka_unit_test(a_failed_allocation_is_reported_once_at_the_end),
        cmocka_unit_test(the_limit_is_reached_exactly_by_every_append),
        cmocka_unit_test(a_length_near_the_end_of_memory_does_not_wrap),
        cmocka_unit_test(a_failed_growth_keeps_the_contents),
        cmocka_unit_test(a_reserved_place_is_used_by_setting_len),
        cmocka_unit_test(an_empty_buffer_is_an_empty_string),
        cmocka_unit_test(consume_keeps_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
