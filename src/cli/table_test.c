#include "cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static const char *const headings[] = {"NAME", ">SIZE", "NOTE"};

static void columns_are_aligned(void **state)
{
    struct table table = {headings, 3, {0}};
    struct buf out = {0};
    table_add(&table, STR("a"));
    table_addf(&table, "%d", 12345);
    table_add(&table, STR("x"));
    table_add(&table, STR("\xc3\xa9t\xc3\xa9"));
    table_addf(&table, "%d", 7);
    table_add(&table, STR(""));
    assert_int_equal(table_write(&table, &out, false), 0);
    assert_string_equal(buf_cstr(&out), "NAME   SIZE  NOTE\n"
                                        "a     12345  x\n"
                                        "\xc3\xa9t\xc3\xa9       7  -\n");
    buf_fini(&out);
}

static void the_heading_alone_is_bold(void **state)
{
    struct table table = {headings, 1, {0}};
    struct buf out = {0};
    table_add(&table, STR("a"));
    assert_int_equal(table_write(&table, &out, true), 0);
    assert_string_equal(buf_cstr(&out), "\x1b[1mNAME\n\x1b[0ma\n");
    buf_fini(&out);
}

/* BAD-INPUT A11: what peers name themselves never commands the terminal. */
static void test_a11_control_bytes_are_shown_as_marks(void **state)
{
    struct buf out = {0};
    table_append_clean(&out, STR("a\x1b[2J\n\x7f\xc2\x9b"
                                 "b\xc3\xa9"));
    assert_string_equal(buf_cstr(&out), "a?[2J???b\xc3\xa9");
    buf_fini(&out);
}

static void times_and_counts_are_short(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } times[] = {
        {999, "0s"}, {59000, "59s"}, {61000, "1m 1s"}, {3660000, "1h 1m"}, {90000000, "1d 1h"}};
    static const struct {
        double count;
        const char *text;
    } counts[] = {{0, "0"},       {0.5, "0.5"},     {9, "9"},         {42.4, "42"},
                  {9999, "9999"}, {12345, "12.3k"}, {1e6, "1000.0k"}, {12.3e6, "12.3M"}};
    struct buf out = {0};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        buf_clear(&out);
        table_append_duration(&out, times[i].ms);
        assert_string_equal(buf_cstr(&out), times[i].text);
    }
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        buf_clear(&out);
        table_append_count(&out, counts[i].count);
        assert_string_equal(buf_cstr(&out), counts[i].text);
    }
    buf_fini(&out);
}

static void wide_characters_take_two_columns(void **state)
{
    assert_int_equal(table_width(STR("abc")), 3);
    assert_int_equal(table_width(STR("\xe5\xbc\xa0\xe4\xb8\x89")), 4); /* two ideographs */
    assert_int_equal(table_width(STR("e\xcc\x81")), 1);                /* a combining accent */
    assert_int_equal(table_width(STR("\xc3\xa9\xf0\x9f\x98\x80")), 3); /* é, and a face */
    assert_int_equal(table_width(STR("\xff\xe5\xbc")), 3);             /* not UTF-8 */
}

static void lost_memory_is_an_error(void **state)
{
    struct table table = {headings, 1, {0}};
    struct buf out = {0};
    mem_fail_nth(1);
    table_add(&table, STR("a"));
    mem_fail_nth(0);
    assert_int_equal(table_write(&table, &out, false), ERR_NO_MEMORY);
    buf_fini(&out);
}

static void no_color_without_a_terminal(void **state)
{
    assert_false(table_may_color());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(the_heading_alone_is_bold),
        cmocka_unit_test(test_a11_control_bytes_are_shown_as_marks),
        cmocka_unit_test(times_and_counts_are_short),
        cmocka_unit_test(wide_characters_take_two_columns),
        cmocka_unit_test(lost_memory_is_an_error),
        cmocka_unit_test(no_color_without_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
