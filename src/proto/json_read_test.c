/* Of json_read.c. */
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/json_test_help.h"

static void iteration_gives_each_member_as_received(void **state)
{
    const char *expected[][2] = {{"\"n\"", "123456789012345678901234567890"},
                                 {"\"a\\\"]\"", "[1, {\"x\" : \"]}\\\\\"} ]"},
                                 {"\"\"", "\"\\u0041\""},
                                 {"\"t\"", "true"},
                                 {"\"z\"", "null"}};
    struct json_value object = parsed("{ \"n\" :123456789012345678901234567890 , "
                                      "\"a\\\"]\": [1, {\"x\" : \"]}\\\\\"} ] ,\"\":\"\\u0041\", "
                                      "\"t\":true,\"z\" : null }");
    struct json_iter iter;
    struct json_value key, value;
    json_iter_init(&iter, object);
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(json_next(&iter, &key, &value));
        assert_text(key.raw, expected[i][0]);
        assert_text(value.raw, expected[i][1]);
    }
    assert_false(json_next(&iter, &key, &value));
    assert_false(json_next(&iter, NULL, &value));
}

static void iteration_over_an_array_has_no_keys(void **state)
{
    struct json_iter iter;
    struct json_value key, value;
    const enum json_type types[] = {JSON_TYPE_NUMBER, JSON_TYPE_STRING, JSON_TYPE_OBJECT,
                                    JSON_TYPE_ARRAY, JSON_TYPE_FALSE};
    json_iter_init(&iter, parsed("[1 ,\"two\", {\"a\":[]},[ ] ,false]"));
    for (size_t i = 0; i < COUNT(types); i++) {
        assert_true(json_next(&iter, &key, &value));
        assert_int_equal(key.type, JSON_TYPE_NONE);
        assert_int_equal(value.type, types[i]);
    }
    assert_false(json_next(&iter, &key, &value));
}

static void empty_containers_and_scalars_have_no_members(void **state)
{
    const char *empty[] = {"[]", "{}", "[ \n]", "{ }", "1", "\"text\"", "null"};
    for (size_t i = 0; i < COUNT(empty); i++) {
        struct json_iter iter;
        struct json_value value;
        json_iter_init(&iter, parsed(empty[i]));
        assert_false(json_next(&iter, NULL, &value));
    }
}

static void a_member_is_found_by_its_unescaped_name(void **state)
{
    struct json_value object = parsed("{\"a\":1,\"\\u0062\\u00e9\":2,\"c\":{\"d\":3}}");
    struct json_value value;
    assert_true(json_get(object, STR("b\xc3\xa9"), &value));
    assert_text(value.raw, "2");
    assert_true(json_get(object, STR("c"), &value));
    assert_false(json_get(object, STR("d"), &value));
    assert_false(json_get(parsed("[\"a\"]"), STR("a"), &value));
    assert_false(json_get(parsed("\"a\""), STR("a"), &value));
}

static void fields_are_read_in_any_order_and_unknown_ones_counted(void **state)
{
    struct json_field fields[] = {
        {.name = STR("type")}, {.name = STR("data")}, {.name = STR("id")}};
    size_t unknown;
    struct json_value object = parsed("{\"x\":1,\"data\":[1],\"x\":2,\"\\u0074ype\":\"t\"}");
    assert_int_equal(json_read_fields(object, fields, 3, &unknown), 0);
    assert_text(fields[0].value.raw, "\"t\"");
    assert_text(fields[1].value.raw, "[1]");
    assert_int_equal(fields[2].value.type, JSON_TYPE_NONE);
    assert_int_equal(unknown, 2);
}

static void a_known_field_twice_is_refused_however_it_is_escaped(void **state)
{
    struct json_field fields[] = {{.name = STR("type")}};
    const char *twice[] = {"{\"type\":1,\"type\":1}", "{\"type\":1,\"t\\u0079pe\":2}",
                           "{\"type\":null,\"a\":0,\"type\":null}"};
    for (size_t i = 0; i < COUNT(twice); i++) {
        assert_int_equal(json_read_fields(parsed(twice[i]), fields, 1, NULL), ERR_EXISTS);
    }
    assert_int_equal(json_read_fields(parsed("[]"), fields, 1, NULL), ERR_SYNTAX);
    assert_int_equal(fields[0].value.type, JSON_TYPE_NONE);
}

static void equal_keys_are_found_in_an_object_of_data(void **state)
{
    assert_int_equal(json_check_unique_keys(parsed("{\"a\":1,\"b\":2,\"A\":3,\"\":4}")), 0);
    assert_int_equal(json_check_unique_keys(parsed("{\"a\":1,\"b\":2,\"a\":3}")), ERR_EXISTS);
    assert_int_equal(json_check_unique_keys(parsed("{\"\xc3\xa9\":1,\"\\u00e9\":2}")), ERR_EXISTS);
    assert_int_equal(json_check_unique_keys(parsed("{\"\\u00e9\":1,\"\\u00E9\":2}")), ERR_EXISTS);
    assert_int_equal(json_check_unique_keys(parsed("{\"\\u00e9\\n\":1,\"\xc3\xa9\\n\":2}")),
                     ERR_EXISTS);
    assert_int_equal(json_check_unique_keys(parsed("{\"\\u00e9\":1,\"\\u00e9x\":2}")), 0);
    assert_int_equal(json_check_unique_keys(parsed("[1,1]")), 0);
}

static void more_keys_than_can_be_compared_are_refused(void **state)
{
    struct buf text = {0};
    buf_append_char(&text, '{');
    for (unsigned i = 0; i < JSON_MAX_UNIQUE; i++) {
        json_write_comma(&text);
        buf_printf(&text, "\"k%u\":%u", i, i);
    }
    struct json_value value;
    buf_append_char(&text, '}');
    assert_int_equal(parse(&value, buf_str(&text), 1, NULL), 0);
    assert_int_equal(json_check_unique_keys(value), 0);
    text.len--;
    buf_append_str(&text, STR(",\"more\":0}"));
    assert_int_equal(parse(&value, buf_str(&text), 1, NULL), 0);
    assert_int_equal(json_check_unique_keys(value), ERR_TOO_LARGE);
    buf_fini(&text);
}

static void a_string_without_escapes_is_not_copied(void **state)
{
    char scratch[4];
    struct str text;
    struct json_value value = parsed("\"room\"");
    assert_true(json_string_plain(value, &text));
    assert_ptr_equal(text.ptr, value.raw.ptr + 1);
    assert_int_equal(json_string_text(value, scratch, sizeof(scratch), &text), 0);
    assert_ptr_equal(text.ptr, value.raw.ptr + 1);
    assert_int_equal(json_string_text(value, scratch, 3, &text), ERR_TOO_LARGE);
    assert_false(json_string_plain(parsed("\"a\\n\""), &text));
    assert_false(json_string_plain(parsed("1"), &text));
}

static void escapes_are_undone(void **state)
{
    const struct {
        const char *json;
        struct str text;
    } cases[] = {
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", STR("\"\\/\b\f\n\r\t")},
        {"\"a\\u0041\\u00e9\\u20AC\\ud83d\\uDE00z\"",
         STR("aA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z")},
        {"\"\\u0000\\u007f\\u0080\\u07ff\\u0800\"", STR("\0\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80")},
        {"\"\\uffff\\ud800\\udc00\\udbff\\udfff\"",
         STR("\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")},
        {"\"\\\\u0041\"", STR("\\u0041")},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char scratch[64];
        struct str text;
        struct buf out = {0};
        struct json_value value = parsed(cases[i].json);
        assert_int_equal(json_string_text(value, scratch, sizeof(scratch), &text), 0);
        assert_true(str_equal(text, cases[i].text));
        assert_int_equal(json_string_append(value, &out), 0);
        assert_true(str_equal(buf_str(&out), cases[i].text));
        assert_true(json_equals(value, cases[i].text));
        assert_int_equal(json_string_text(value, scratch, text.len, &text), 0);
        assert_int_equal(json_string_text(value, scratch, text.len - 1, &text), ERR_TOO_LARGE);
        buf_fini(&out);
    }
}

static void comparing_tells_near_texts_apart(void **state)
{
    assert_true(json_equals(parsed("\"ab\""), STR("ab")));
    assert_false(json_equals(parsed("\"ab\""), STR("abc")));
    assert_false(json_equals(parsed("\"a\\u0062c\""), STR("ab")));
    assert_false(json_equals(parsed("\"a\\u0062\""), STR("abc")));
    assert_false(json_equals(parsed("\"a\\u00e9\""), STR("a\xc3")));
    assert_true(json_equals(parsed("\"\""), STR("")));
    assert_false(json_equals(parsed("1"), STR("1")));
}

static void numbers_are_whole_digits_within_the_limit(void **state)
{
    uint64_t number;
    bool truth;
    assert_true(json_u64(parsed("18446744073709551615"), UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
    assert_true(json_u64(parsed("0"), 0, &number));
    const char *bad[] = {"-1", "-0", "1.0", "1e2", "101", "18446744073709551616", "\"1\"", "null"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(json_u64(parsed(bad[i]), 100, &number));
    }
    assert_true(json_bool(parsed("true"), &truth) && truth);
    assert_true(json_bool(parsed("false"), &truth) && !truth);
    assert_false(json_bool(parsed("1"), &truth));
}

static void a_real_is_any_number_that_is_finite(void **state)
{
    const struct {
        const char *text;
        double number;
    } good[] = {{"0", 0}, {"-1.5e3", -1500}, {"0.1", 0.1}, {"1e308", 1e308}, {"1e-999", 0}};
    double number;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(json_double(parsed(good[i].text), &number));
        assert_true(number == good[i].number);
    }
    assert_false(json_double(parsed("1e309"), &number));
    assert_false(json_double(parsed("\"1\""), &number));
    assert_false(json_double(parsed("null"), &number));
    char digits[65] = "1";
    memset(digits + 1, '0', 62);
    assert_true(json_double(parsed(digits), &number));
    digits[63] = '0';
    assert_false(json_double(parsed(digits), &number));
}

static void a_failed_allocation_is_reported_not_swallowed(void **state)
{
    struct buf out = {0};
    mem_fail_nth(1);
    assert_int_equal(json_string_append(parsed("\"a\\nb\""), &out), ERR_NO_MEMORY);
    mem_fail_nth(0);
    buf_clear(&out);
    assert_int_equal(json_string_append(parsed("1"), &out), ERR_SYNTAX);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iteration_gives_each_member_as_received),
        cmocka_unit_test(iteration_over_an_array_has_no_keys),
        cmocka_unit_test(empty_containers_and_scalars_have_no_members),
        cmocka_unit_test(a_member_is_found_by_its_unescaped_name),
        cmocka_unit_test(fields_are_read_in_any_order_and_unknown_ones_counted),
        cmocka_unit_test(a_known_field_twice_is_refused_however_it_is_escaped),
        cmocka_unit_test(equal_keys_are_found_in_an_object_of_data),
        cmocka_unit_test(more_keys_than_can_be_compared_are_refused),
        cmocka_unit_test(a_string_without_escapes_is_not_copied),
        cmocka_unit_test(escapes_are_undone),
        cmocka_unit_test(comparing_tells_near_texts_apart),
        cmocka_unit_test(numbers_are_whole_digits_within_the_limit),
        cmocka_unit_test(a_real_is_any_number_that_is_finite),
        cmocka_unit_test(a_failed_allocation_is_reported_not_swallowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
