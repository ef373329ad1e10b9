#include "server/cookie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int find(const char *headers, const char *name, struct str *out_value)
{
    static char head[1024];
    static struct http_request request;
    int len = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", headers);
    assert_true(
        http_request_parse(&request, &HTTP_LIMITS_DEFAULT, (uint8_t *)head, (size_t)len, NULL) > 0);
    return cookie_find(&request, str_of(name), out_value);
}

static void a_cookie_is_found_among_others_by_its_exact_name(void **state)
{
    struct str value = STR("");
    assert_int_equal(find("Cookie: a=1; sid=x=y; ssid=2\r\n", "sid", &value), 1);
    assert_true(str_equal(value, STR("x=y")));
    assert_int_equal(find("Cookie: Sid=1; sid2=2; =3; sid\r\n", "sid", &value), 0);
    assert_int_equal(find("", "sid", &value), 0);
}

static void quotes_around_a_value_are_none_of_it(void **state)
{
    struct str value = STR("");
    assert_int_equal(find("Cookie: sid=\"x\"\r\n", "sid", &value), 1);
    assert_true(str_equal(value, STR("x")));
    assert_int_equal(find("Cookie: sid=\"\r\n", "sid", &value), 1);
    assert_true(str_equal(value, STR("\"")));
}

static void two_of_a_name_are_counted_over_all_lines(void **state)
{
    struct str value = STR("");
    assert_int_equal(find("Cookie: sid=1\r\nCookie: b=2; sid=3\r\n", "sid", &value), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cookie_is_found_among_others_by_its_exact_name),
        cmocka_unit_test(quotes_around_a_value_are_none_of_it),
        cmocka_unit_test(two_of_a_name_are_counted_over_all_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
