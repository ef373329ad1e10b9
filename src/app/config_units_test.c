#include "app/config_units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/err.h"

#define KIB ((uint64_t)1024)

static void sizes_have_units_of_1024(void **state)
{
    const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"1", 1},
        {"7B", 7},
        {"64KiB", 64 * KIB},
        {"3MiB", 3 * KIB * KIB},
        {"2GiB", 2 * KIB * KIB * KIB},
        {"1TiB", KIB * KIB * KIB * KIB},
        {"007KiB", 7 * KIB},
        {"9223372036854775807", INT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t bytes = 99;
        assert_int_equal(config_bytes_parse(str_of(cases[i].text), &bytes), 0);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void other_sizes_are_refused(void **state)
{
    const char *cases[] = {"",   "KiB",      "64 KiB", "64K",   "64kib",   "64KB",
                           "-1", "+1",       "1.5MiB", "0x10",  "1e3",     " 1",
                           "1 ", "64 kilos", "1KiB ",  "1KiBB", "\xd9\xa1"};
    uint64_t bytes = 99;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(config_bytes_parse(str_of(cases[i]), &bytes), ERR_SYNTAX);
    }
    assert_int_equal(bytes, 99);
}

static void numbers_that_overflow_are_too_large(void **state)
{
    uint64_t value = 99;
    assert_int_equal(config_bytes_parse(STR("9223372036854775808"), &value), ERR_TOO_LARGE);
    assert_int_equal(config_bytes_parse(STR("8388608TiB"), &value), ERR_TOO_LARGE);
    assert_int_equal(config_bytes_parse(STR("18446744073709551616KiB"), &value), ERR_TOO_LARGE);
    assert_int_equal(config_time_parse(STR("106751991168d"), &value), ERR_TOO_LARGE);
    assert_int_equal(config_count_parse(STR("99999999999999999999999"), &value), ERR_TOO_LARGE);
    assert_int_equal(value, 99);
    assert_int_equal(config_bytes_parse(STR("8388607TiB"), &value), 0);
}

static void times_have_units(void **state)
{
    const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {
        {"0", 0},       {"0s", 0},       {"1ms", 1},      {"1500ms", 1500},
        {"10s", 10000}, {"10m", 600000}, {"1h", 3600000}, {"7d", 604800000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ms = 99;
        assert_int_equal(config_time_parse(str_of(cases[i].text), &ms), 0);
        assert_int_equal(ms, cases[i].ms);
    }
}

static void a_time_without_unit_is_refused(void **state)
{
    const char *cases[] = {"", "10", "s", "1 s", "1min", "1S", "-1s", "1m30s", "1.5s", "00"};
    uint64_t ms;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(config_time_parse(str_of(cases[i]), &ms), ERR_SYNTAX);
    }
}

static void what_is_formatted_parses_to_the_same(void **state)
{
    const uint64_t values[] = {0,     1,     999,   1000,    1023,     1024,      1025,
                               60000, 90000, 65536, 3600000, 1u << 30, 604800000, INT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct buf text = {0};
        uint64_t value = 99;
        config_bytes_format(values[i], &text);
        assert_int_equal(config_bytes_parse(buf_str(&text), &value), 0);
        assert_int_equal(value, values[i]);
        buf_clear(&text);
        config_time_format(values[i], &text);
        assert_int_equal(config_time_parse(buf_str(&text), &value), 0);
        assert_int_equal(value, values[i]);
        buf_fini(&text);
    }
}

static void the_largest_unit_that_divides_is_shown(void **state)
{
    struct buf text = {0};
    config_bytes_format(256 * KIB * KIB, &text);
    buf_append_char(&text, ' ');
    config_bytes_format(1025, &text);
    buf_append_char(&text, ' ');
    config_time_format(75000, &text);
    buf_append_char(&text, ' ');
    config_time_format(600000, &text);
    assert_string_equal(buf_cstr(&text), "256MiB 1025B 75s 10m");
    buf_fini(&text);
}

static void reals_are_what_json_calls_numbers(void **state)
{
    double value;
    assert_int_equal(config_real_parse(STR("0.25"), &value), 0);
    assert_true(value == 0.25);
    assert_int_equal(config_real_parse(STR("-3e2"), &value), 0);
    assert_true(value == -300);
    const char *bad[] = {"", " 1", "1 ", "0x10", "inf", "nan", ".5", "1e999", "true", "+1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(config_real_parse(str_of(bad[i]), &value), ERR_SYNTAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_units_of_1024),
        cmocka_unit_test(other_sizes_are_refused),
        cmocka_unit_test(numbers_that_overflow_are_too_large),
        cmocka_unit_test(times_have_units),
        cmocka_unit_test(a_time_without_unit_is_refused),
        cmocka_unit_test(what_is_formatted_parses_to_the_same),
        cmocka_unit_test(the_largest_unit_that_divides_is_shown),
        cmocka_unit_test(reals_are_what_json_calls_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
