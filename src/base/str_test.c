#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void numbers_are_digits_alone_and_within_the_limit(void **state)
{
    uint64_t value = 7;
    assert_true(str_to_u64(STR("0"), 10, &value));
    assert_int_equal(value, 0);
    assert_true(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &value));
    assert_true(value == UINT64_MAX);
    assert_true(str_to_u64(STR("255"), 255, &value));
    const char *bad[] = {"", "+5", "-1", " 5", "5 ", "0x5", "5,5", "256", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(str_to_u64(str_of(bad[i]), 255, &value));
    }
    assert_false(str_to_u64(STR("18446744073709551616"), UINT64_MAX, &value));
    assert_false(str_to_u64(STR("7"), 5, &value));
    assert_false(str_to_u64(STR("1"), 0, &value));
    assert_int_equal(value, 255);
    assert_true(str_to_u64(STR("000"), 0, &value));
    assert_int_equal(value, 0);
}

static void texts_are_in_the_order_of_their_bytes(void **state)
{
    const char *sorted[] = {"", "A", "a", "ab", "a\x7f", "b", "\xc3\xa4", "\xff"};
    int count = sizeof(sorted) / sizeof(sorted[0]);
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < count; j++) {
            int order = str_compare(str_of(sorted[i]), str_of(sorted[j]));
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
    assert_int_equal(str_compare((struct str){NULL, 0}, STR("")), 0);
}

static void a_split_gives_every_part_also_the_empty_ones(void **state)
{
    struct str rest = STR("a,,b,");
    struct str part;
    const char *expected[] = {"a", "", "b", ""};
    for (int i = 0; i < 4; i++) {
        assert_true(str_split(&rest, ',', &part));
        assert_true(str_equal(part, str_of(expected[i])));
    }
    assert_false(str_split(&rest, ',', &part));
}

static void patterns_end_in_a_star_or_match_exactly(void **state)
{
    assert_true(str_matches_pattern(STR("room:1"), STR("room:*")));
    assert_true(str_matches_pattern(STR("x"), STR("*")));
    assert_true(str_matches_pattern(STR("room:1"), STR("room:1")));
    assert_false(str_matches_pattern(STR("rooms"), STR("room:*")));
    assert_false(str_matches_pattern(STR("room:12"), STR("room:1")));
}

static void only_well_formed_utf8_has_a_width(void **state)
{
    const struct {
        const char *text;
        size_t width;
    } cases[] = {
        {"a", 1},
        {"\x7f", 1},
        {"\xc2\x80", 2},
        {"\xdf\xbf!", 2},
        {"\xe0\xa0\x80", 3},
        {"\xed\x9f\xbf", 3},
        {"\xef\xbf\xbf", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"", 0},
        {"\x80", 0},
        {"\xbf", 0},
        {"\xc0\x80", 0},
        {"\xc1\xbf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xed\xa0\x80", 0},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"\xff", 0},
        {"\xc2", 0},
        {"\xc2!", 0},
        {"\xe2\x82", 0},
        {"\xe2\x82!", 0},
        {"\xf0\x9f\x98", 0},
        {"\xf0\x9f\x98!", 0},
        {"\xf0\x9f!\x80", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(str_utf8_width(str_of(cases[i].text)), cases[i].width);
    }
    assert_int_equal(str_utf8_width(str_make("\0", 1)), 1);
}

static void comparisons_know_lengths_case_and_ends(void **state)
{
    struct str none = {NULL, 0};
    assert_true(str_equal(none, STR("")));
    assert_true(str_equal_nocase(none, STR("")));
    assert_true(str_equal(STR("a\0b"), str_make("a\0b", 3)));
    assert_false(str_equal(STR("a\0b"), STR("a\0c")));
    assert_false(str_equal(STR("ab"), STR("abc")));
    assert_true(str_equal_nocase(STR("Sec-WebSocket-Key"), STR("sec-websocket-KEY")));
    assert_false(str_equal_nocase(STR("@"), STR("`"))); /* 0x20 apart, but no letters */
    assert_true(str_starts_with(STR("room:1"), STR("room:")));
    assert_true(str_starts_with(STR("x"), STR("")));
    assert_false(str_starts_with(STR("ro"), STR("room")));
    assert_true(str_ends_with(STR("a.js"), STR(".js")));
    assert_false(str_ends_with(STR("js"), STR(".js")));
    assert_int_equal(str_of(NULL).len, 0);
}

static void trim_takes_spaces_and_tabs_only(void **state)
{
    assert_true(str_equal(str_trim(STR(" \t a b\t ")), STR("a b")));
    assert_true(str_equal(str_trim(STR("\r a")), STR("\r a")));
    assert_int_equal(str_trim(STR("   ")).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_alone_and_within_the_limit),
        cmocka_unit_test(texts_are_in_the_order_of_their_bytes),
        cmocka_unit_test(a_split_gives_every_part_also_the_empty_ones),
        cmocka_unit_test(patterns_end_in_a_star_or_match_exactly),
        cmocka_unit_test(only_well_formed_utf8_has_a_width),
        cmocka_unit_test(comparisons_know_lengths_case_and_ends),
        cmocka_unit_test(trim_takes_spaces_and_tabs_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
