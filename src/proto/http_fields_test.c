#include "proto/http_fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct http_fields fields;
static enum http_refusal refusal;

static const char LINES[] = "Connection: a, b ,,c\r\n"
                            "X-A: 1\r\n"
                            "Connection:\r\n"
                            "CONNECTION: \t,D\t\r\n"
                            "x-a: 2\r\n"
                            "\r\n";

static ssize_t parse(const char *text, size_t len)
{
    return http_fields_parse(&fields, &HTTP_LIMITS_DEFAULT, (const uint8_t *)text, len, &refusal);
}

static void a_section_cut_at_any_byte_asks_for_more(void **state)
{
    for (size_t len = 0; len < sizeof(LINES) - 1; len++) {
        char *copy = malloc(len + 1);
        memcpy(copy, LINES, len);
        assert_int_equal(parse(copy, len), 0);
        free(copy);
    }
    assert_int_equal(parse(LINES, sizeof(LINES) - 1), sizeof(LINES) - 1);
    assert_int_equal(fields.count, 5);
    assert_int_equal(parse("\r\nrest", 6), 2);
    assert_int_equal(fields.count, 0);
}

static void names_are_found_in_any_case(void **state)
{
    parse(LINES, sizeof(LINES) - 1);
    assert_true(str_equal(http_fields_find(&fields, STR("X-a")), STR("1")));
    assert_int_equal(http_fields_count(&fields, STR("X-A")), 2);
    assert_int_equal(http_fields_count(&fields, STR("connection")), 3);
    assert_int_equal(http_fields_count(&fields, STR("X-")), 0);
    assert_null(http_fields_find(&fields, STR("X-AA")).ptr);
    assert_true(http_fields_has(&fields, HTTP_FIELD_CONNECTION));
    assert_false(http_fields_has_one(&fields, HTTP_FIELD_CONNECTION));
    assert_true(str_equal(http_fields_get(&fields, HTTP_FIELD_CONNECTION), STR("a, b ,,c")));
    assert_false(http_fields_has(&fields, HTTP_FIELD_UPGRADE));
    assert_null(http_fields_get(&fields, HTTP_FIELD_UPGRADE).ptr);
}

static void every_numbered_name_is_recognised_and_no_neighbour_of_it(void **state)
{
    const struct {
        const char *line;
        enum http_field field;
    } cases[] = {
        {"hOST: x\r\n\r\n", HTTP_FIELD_HOST},
        {"Cookie: x\r\n\r\n", HTTP_FIELD_COOKIE},
        {"Expect: x\r\n\r\n", HTTP_FIELD_EXPECT},
        {"Origin: x\r\n\r\n", HTTP_FIELD_ORIGIN},
        {"Upgrade: x\r\n\r\n", HTTP_FIELD_UPGRADE},
        {"Connection: x\r\n\r\n", HTTP_FIELD_CONNECTION},
        {"User-Agent: x\r\n\r\n", HTTP_FIELD_USER_AGENT},
        {"traceparent: x\r\n\r\n", HTTP_FIELD_TRACEPARENT},
        {"Content-Type: x\r\n\r\n", HTTP_FIELD_CONTENT_TYPE},
        {"X-Request-ID: x\r\n\r\n", HTTP_FIELD_X_REQUEST_ID},
        {"AUTHORIZATION: x\r\n\r\n", HTTP_FIELD_AUTHORIZATION},
        {"Last-Event-ID: x\r\n\r\n", HTTP_FIELD_LAST_EVENT_ID},
        {"Content-Length: x\r\n\r\n", HTTP_FIELD_CONTENT_LENGTH},
        {"Idempotency-Key: x\r\n\r\n", HTTP_FIELD_IDEMPOTENCY_KEY},
        {"X-Forwarded-For: x\r\n\r\n", HTTP_FIELD_X_FORWARDED_FOR},
        {"Tidegate-Session: x\r\n\r\n", HTTP_FIELD_TIDEGATE_SESSION},
        {"Transfer-Encoding: x\r\n\r\n", HTTP_FIELD_TRANSFER_ENCODING},
        {"Sec-WebSocket-Key: x\r\n\r\n", HTTP_FIELD_SEC_WEBSOCKET_KEY},
        {"Sec-WebSocket-Accept: x\r\n\r\n", HTTP_FIELD_SEC_WEBSOCKET_ACCEPT},
        {"Sec-WebSocket-Version: x\r\n\r\n", HTTP_FIELD_SEC_WEBSOCKET_VERSION},
        {"Sec-WebSocket-Protocol: x\r\n\r\n", HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL},
        {"Sec-WebSocket-Extensions: x\r\n\r\n", HTTP_FIELD_SEC_WEBSOCKET_EXTENSIONS},
    };
    assert_int_equal(COUNT(cases), HTTP_FIELDS - 1);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct str line = str_of(cases[i].line);
        assert_int_equal(parse(line.ptr, line.len), line.len);
        assert_int_equal(fields.headers[0].field, cases[i].field);
        assert_true(http_fields_has_one(&fields, cases[i].field));
        assert_true(str_equal(http_fields_get(&fields, cases[i].field), STR("x")));

        char other[64];
        memcpy(other, line.ptr, line.len);
        other[1] = other[1] == 'z' ? 'y' : 'z';
        assert_int_equal(parse(other, line.len), line.len);
        assert_int_equal(fields.headers[0].field, HTTP_FIELD_OTHER);
    }
}

static void list_items_come_from_all_lines_without_the_empty_ones(void **state)
{
    parse(LINES, sizeof(LINES) - 1);
    const char *expected[] = {"a", "b", "c", "D"};
    struct http_list list = {0};
    struct str item;
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(http_fields_next_item(&fields, HTTP_FIELD_CONNECTION, &list, &item));
        assert_true(str_equal(item, str_of(expected[i])));
    }
    assert_false(http_fields_next_item(&fields, HTTP_FIELD_CONNECTION, &list, &item));
    assert_true(http_fields_list_has(&fields, HTTP_FIELD_CONNECTION, STR("d")));
    assert_false(http_fields_list_has(&fields, HTTP_FIELD_CONNECTION, STR("")));
    assert_false(http_fields_list_has(&fields, HTTP_FIELD_UPGRADE, STR("a")));
}

/* Eight bytes are looked at together: a fault must show at each place among them. */
static void a_control_byte_is_seen_wherever_it_stands(void **state)
{
    for (int byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < 24; at++) {
            char line[] = "A:abcdefghijklmnopqrstuvwx\r\n\r\n";
            line[2 + at] = (char)byte;
            bool is_good = (byte >= 0x20 && byte != 0x7f) || byte == '\t';
            ssize_t result = parse(line, sizeof(line) - 1);
            assert_int_equal(result, is_good ? (ssize_t)sizeof(line) - 1 : ERR_PROTOCOL);
        }
    }
}

static void a_name_is_a_token_byte_for_byte(void **state)
{
    const char *others = "()<>@,;:\\\"/[]?={} \t";
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        bool expected = byte > 0x20 && byte < 0x7f && !strchr(others, c);
        assert_int_equal(http_is_token(str_make(&c, 1)), expected);
    }
    assert_false(http_is_token(STR("")));
    assert_false(http_is_token(STR("a b")));
    assert_true(http_is_token(STR("a-b")));
    assert_int_equal(http_token_len((const uint8_t *)"ab:c", 4), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_section_cut_at_any_byte_asks_for_more),
        cmocka_unit_test(names_are_found_in_any_case),
        cmocka_unit_test(every_numbered_name_is_recognised_and_no_neighbour_of_it),
        cmocka_unit_test(list_items_come_from_all_lines_without_the_empty_ones),
        cmocka_unit_test(a_control_byte_is_seen_wherever_it_stands),
        cmocka_unit_test(a_name_is_a_token_byte_for_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
