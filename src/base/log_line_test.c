#include "base/log_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static char text[LOG_LINE_MAX + 1];

/* What stands between `"msg":"` and the closing quote. */
static const char *escaped(struct str message)
{
    struct log_line line = {.level = "info", .event = STR("e"), .message = message};
    size_t len = log_line_build(text, &line);
    text[len] = '\0';
    char *start = strstr(text, "\"msg\":\"");
    assert_non_null(start);
    assert_string_equal(text + len - 3, "\"}\n");
    text[len - 3] = '\0';
    return start + 7;
}

static void assert_line(const struct log_line *line, const char *expected)
{
    size_t len = log_line_build(text, line);
    text[len] = '\0';
    assert_string_equal(text, expected);
}

static void a_line_is_one_json_object_and_a_newline(void **state)
{
    struct log_line line = {.wall_ms = 1769860800123,
                            .level = "warn",
                            .event = STR("session.refused"),
                            .message = STR("too many sessions")};
    assert_line(&line, "{\"ts\":\"2026-01-31T12:00:00.123Z\",\"level\":\"warn\","
                       "\"event\":\"session.refused\",\"msg\":\"too many sessions\"}\n");
    line = (struct log_line){.level = "error", .event = STR("e"), .suppressed = UINT64_MAX};
    assert_line(&line, "{\"ts\":\"1970-01-01T00:00:00.000Z\",\"level\":\"error\",\"event\":\"e\","
                       "\"msg\":\"\",\"suppressed\":18446744073709551615}\n");
}

/* BAD-INPUT A11 */
static void bytes_of_a_peer_cannot_forge_a_line(void **state)
{
    const struct {
        struct str message;
        const char *expected;
    } cases[] = {
        {STR("a\r\n{\"level\":\"error\"}"), "a\\u000d\\u000a{\\\"level\\\":\\\"error\\\"}"},
        {STR("\x1b[31mred\x1b[0m"), "\\u001b[31mred\\u001b[0m"},
        {STR("tab\t bell\a del\x7f nul\0!"), "tab\\u0009 bell\\u0007 del\\u007f nul\\u0000!"},
        {STR("c:\\dir"), "c:\\\\dir"},
        {STR("\xc2\x9b"
             "31m \xc2\x80 \xc2\xa0"),
         "\\u009b31m \\u0080 \xc2\xa0"},
        {STR("\xe2\x80\xa7 \xe2\x80\xa8 \xe2\x80\xa9 \xe2\x80\xaa"),
         "\xe2\x80\xa7 \\u2028 \\u2029 \xe2\x80\xaa"},
        {STR("ok \xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80"),
         "ok \xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80"},
        {STR("\xff\xfe"), "\\ufffd\\ufffd"},
        {STR("\xc0\x8a"), "\\ufffd\\ufffd"},            /* an overlong newline */
        {STR("\xed\xa0\x80"), "\\ufffd\\ufffd\\ufffd"}, /* a surrogate */
        {STR("end \xe2\x80"), "end \\ufffd\\ufffd"},
        {STR("\xc3\""), "\\ufffd\\\""}, /* the quote is not swallowed */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(escaped(cases[i].message), cases[i].expected);
    }
}

static void any_two_bytes_give_printable_text_without_bare_quotes(void **state)
{
    for (unsigned pair = 0; pair < 0x10000; pair++) {
        char bytes[2] = {(char)(pair >> 8), (char)pair};
        const char *out = escaped(str_make(bytes, 2));
        for (const char *at = out; *at; at++) {
            assert_true((unsigned char)*at >= 0x20 && *at != 0x7f && *at != '"');
            if (*at == '\\') {
                at++; /* the escaped character, any */
                assert_non_null(strchr("\\\"u", *at));
            }
        }
    }
}

static void the_event_is_escaped_and_cut_too(void **state)
{
    char event[LOG_EVENT_MAX + 10];
    memset(event, 'x', sizeof(event));
    event[0] = '"';
    struct log_line line = {.level = "info", .event = {event, sizeof(event)}, .message = STR("m")};
    text[log_line_build(text, &line)] = '\0';
    char *start = strstr(text, "\"event\":\"");
    assert_non_null(start);
    char *end = strstr(start, "\",\"msg\"");
    assert_non_null(end);
    assert_int_equal(end - start - 9, LOG_EVENT_MAX + 1);
    assert_memory_equal(start + 9, "\\\"xx", 4);
}

static void the_longest_line_of_all_fits(void **state)
{
    char worst[LOG_MESSAGE_MAX + 100];
    memset(worst, 1, sizeof(worst));
    struct log_pair pairs[24] = {{"first", {worst, 100}, false}};
    for (size_t i = 1; i < 24; i++) {
        pairs[i] = (struct log_pair){"a_name_of_twenty_byte", {worst, sizeof(worst)}, false};
    }
    struct log_line line = {.level = "error",
                            .event = {worst, sizeof(worst)},
                            .message = {worst, sizeof(worst)},
                            .pairs = pairs,
                            .pair_count = 24,
                            .suppressed = UINT64_MAX};
    size_t len = log_line_build(text, &line);
    assert_in_range(len, 6 * (LOG_MESSAGE_MAX + LOG_EVENT_MAX + LOG_PAIRS_MAX), LOG_LINE_MAX);
    text[len] = '\0';
    assert_non_null(strstr(text, "\\u0001\xe2\x80\xa6\",\"first\":\"\\u0001"));
    assert_non_null(strstr(text, "\\u0001\",\"suppressed\":18446744073709551615}\n"));
}

static void pairs_are_keys_of_their_own_and_empty_ones_are_left_out(void **state)
{
    const struct log_pair pairs[] = {
        {"app", STR("demo"), false},
        {"sid", {NULL, 0}, false},
        {"status", STR("404"), true},
        {"code", STR("a\"b\n"), false}, /* nobody can end the string */
    };
    struct log_line line = {.level = "info",
                            .event = STR("e"),
                            .message = STR("m"),
                            .pairs = pairs,
                            .pair_count = 4,
                            .suppressed = 3};
    assert_line(&line, "{\"ts\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"event\":\"e\","
                       "\"msg\":\"m\",\"app\":\"demo\",\"status\":404,\"code\":\"a\\\"b\\u000a\","
                       "\"suppressed\":3}\n");
}

static void a_message_that_was_cut_shows_it(void **state)
{
    struct log_line line = {
        .level = "info", .event = STR("e"), .message = STR("begin"), .cut = true};
    text[log_line_build(text, &line)] = '\0';
    assert_non_null(strstr(text, "\"msg\":\"begin\xe2\x80\xa6\"}\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_json_object_and_a_newline),
        cmocka_unit_test(bytes_of_a_peer_cannot_forge_a_line),
        cmocka_unit_test(any_two_bytes_give_printable_text_without_bare_quotes),
        cmocka_unit_test(the_event_is_escaped_and_cut_too),
        cmocka_unit_test(the_longest_line_of_all_fits),
        cmocka_unit_test(pairs_are_keys_of_their_own_and_empty_ones_are_left_out),
        cmocka_unit_test(a_message_that_was_cut_shows_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
