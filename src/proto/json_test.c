#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "proto/json_test_cases.h"
#include "proto/json_test_help.h"

static void what_rfc_8259_allows_is_accepted(void **state)
{
    struct json_value value;
    for (size_t i = 0; i < COUNT(json_accepted); i++) {
        int err = parse(&value, json_accepted[i], 8, NULL);
        if (err) {
            fail_msg("refused: %.*s", STR_ARG(json_accepted[i]));
        }
    }
}

static void what_rfc_8259_does_not_allow_is_refused(void **state)
{
    struct json_value value = {0};
    for (size_t i = 0; i < COUNT(json_refused); i++) {
        size_t at = SIZE_MAX;
        if (parse(&value, json_refused[i], 8, &at) != ERR_SYNTAX) {
            fail_msg("not a syntax error: %.*s", STR_ARG(json_refused[i]));
        }
        assert_in_range(at, 0, json_refused[i].len);
    }
    assert_int_equal(value.type, JSON_TYPE_NONE);
}

static void text_that_is_not_utf8_is_refused_as_such(void **state)
{
    struct json_value value;
    for (size_t i = 0; i < COUNT(json_not_utf8); i++) {
        size_t at;
        assert_int_equal(parse(&value, json_not_utf8[i], 8, &at), ERR_UTF8);
        assert_true((unsigned char)json_not_utf8[i].ptr[at] >= 0x80);
    }
}

static void bad_utf8_is_found_at_every_offset_within_a_word(void **state)
{
    for (size_t lead = 0; lead < 20; lead++) {
        char text[40] = "\"";
        memset(text + 1, 'x', lead);
        strcpy(text + 1 + lead, "\xff-----------\"");
        struct json_value value;
        size_t at;
        assert_int_equal(parse(&value, str_of(text), 0, &at), ERR_UTF8);
        assert_int_equal(at, 1 + lead);
        text[at] = '\x01';
        assert_int_equal(parse(&value, str_of(text), 0, &at), ERR_SYNTAX);
        assert_int_equal(at, 1 + lead);
    }
}

static void a_text_cut_at_any_byte_is_an_error(void **state)
{
    struct str whole = STR("{\"to\":{\"users\":[\"u42\",\"\xc3\xa9\\ud83d\\ude00\"]},\"n\":-1.5e+3,"
                           "\"ok\":[true,false,null, {}]}");
    struct json_value value;
    assert_int_equal(parse(&value, whole, 8, NULL), 0);
    for (size_t len = 0; len < whole.len; len++) {
        size_t at;
        assert_true(parse(&value, str_make(whole.ptr, len), 8, &at) < 0);
        assert_in_range(at, 0, len);
    }
}

static void the_error_offset_names_the_byte_that_cannot_stand_there(void **state)
{
    const struct {
        const char *text;
        size_t at;
    } cases[] = {{"", 0},
                 {"[1,]", 3},
                 {"{\"a\":01}", 6},
                 {"{\"a\" 1}", 5},
                 {"[1}", 2},
                 {"[\"a", 3},
                 {"tru", 3},
                 {"trux", 3},
                 {"\"\\ud800\"", 7},
                 {"\"\\udc00\"", 3},
                 {"\"\\q\"", 2},
                 {"1 x", 2},
                 {"{\"a\":1,x}", 7},
                 {"\"\\ud800\\u0041\"", 9}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct json_value value;
        size_t at = SIZE_MAX;
        assert_int_equal(parse(&value, str_of(cases[i].text), 8, &at), ERR_SYNTAX);
        assert_int_equal(at, cases[i].at);
    }
}

static void nesting_is_limited_as_asked_and_at_128_anyway(void **state)
{
    struct json_value value;
    size_t at;
    assert_int_equal(parse(&value, STR("1"), 0, NULL), 0);
    assert_int_equal(parse(&value, STR("[]"), 0, NULL), ERR_TOO_LARGE);
    assert_int_equal(parse(&value, STR("[{}]"), 2, NULL), 0);
    assert_int_equal(parse(&value, STR("[{},[{}]]"), 2, &at), ERR_TOO_LARGE);
    assert_int_equal(at, 5);

    char deep[2 * (JSON_MAX_DEPTH + 1)];
    for (size_t i = 0; i < sizeof(deep) / 2; i++) {
        deep[i] = '[';
        deep[sizeof(deep) - 1 - i] = ']';
    }
    assert_int_equal(parse(&value, str_make(deep, sizeof(deep)), 1000, &at), ERR_TOO_LARGE);
    assert_int_equal(at, JSON_MAX_DEPTH);
    assert_int_equal(parse(&value, str_make(deep + 1, sizeof(deep) - 2), 1000, NULL), 0);
}

static void brackets_must_match_on_every_level(void **state)
{
    struct json_value value;
    char text[2 * JSON_MAX_DEPTH + 1];
    for (size_t level = 0; level < JSON_MAX_DEPTH; level++) {
        memset(text, '[', JSON_MAX_DEPTH);
        memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
        text[2 * JSON_MAX_DEPTH - 1 - level] = '}';
        assert_int_equal(parse(&value, str_make(text, 2 * JSON_MAX_DEPTH), 200, NULL), ERR_SYNTAX);
    }
}

static void a_value_is_the_span_without_the_space_around(void **state)
{
    struct json_value value = parsed(" \n {\"a\": [1] } \t");
    assert_int_equal(value.type, JSON_TYPE_OBJECT);
    assert_text(value.raw, "{\"a\": [1] }");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rfc_8259_allows_is_accepted),
        cmocka_unit_test(what_rfc_8259_does_not_allow_is_refused),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_as_such),
        cmocka_unit_test(bad_utf8_is_found_at_every_offset_within_a_word),
        cmocka_unit_test(a_text_cut_at_any_byte_is_an_error),
        cmocka_unit_test(the_error_offset_names_the_byte_that_cannot_stand_there),
        cmocka_unit_test(nesting_is_limited_as_asked_and_at_128_anyway),
        cmocka_unit_test(brackets_must_match_on_every_level),
        cmocka_unit_test(a_value_is_the_span_without_the_space_around),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
