#include "server/origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static const struct str listed[] = {{"https://good.example", 20},
                                    {"http://App.Example:8080", 23},
                                    {"http://[::1]:3000", 17},
                                    {"capacitor://localhost", 21}};

static bool is_allowed(const char *origin)
{
    return origin_is_allowed(str_of(origin), listed, sizeof(listed) / sizeof(listed[0]));
}

static void equal_scheme_host_and_port_are_allowed(void **state)
{
    assert_true(is_allowed("https://good.example"));
    assert_true(is_allowed("HTTPS://GOOD.Example"));
    assert_true(is_allowed("https://good.example:443"));
    assert_true(is_allowed("http://app.example:8080"));
    assert_true(is_allowed("http://[::1]:3000"));
    assert_true(is_allowed("capacitor://localhost"));
}

static void all_else_is_refused(void **state)
{
    static const char *const refused[] = {
        /* BAD-INPUT A1 */
        "https://good.example.evil.com",
        "https://evilgood.example",
        "null",
        "https://good.example:8443",
        "https://good.example.",
        "http://good.example",
        "http://good.example:443",
        "https://good.example:80",
        "https://sub.good.example",
        "https://good.exampl",
        "https://good.examplee",
        "https://good.example/",
        "https://good.example/path",
        "https://good.example?q",
        "https://good.example#f",
        "https://user@good.example",
        "https://evil.com@good.example",
        "https://good.example@evil.com",
        "https://good.example:443@evil.com",
        "https://good.example\\.evil.com",
        "https://good.example%2eevil.com",
        "https://good.example:0443",
        "https://good.example:",
        "https://good.example:443:443",
        "https://good.example:65979",
        "https://good.example https://evil.com",
        "https://evil.com, https://good.example",
        "https://good.example\t",
        " https://good.example",
        "https:good.example",
        "//good.example",
        "good.example",
        "https://",
        "https:///good.example",
        "://good.example",
        "",
        "*",
        "capacitor://localhost:80",
        "http://[::1]",
        "http://[::1]:3000]",
        "http://[::1:3000",
        "http://::1:3000",
        "https://good.\xc3\xa9xample",
        "http://app.example",
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_false(is_allowed(refused[i]));
    }
    assert_false(origin_is_allowed(STR("https://good.example\0"), listed, 4));
    assert_false(origin_is_allowed(STR("https://good.example"), NULL, 0));
}

static void a_star_allows_all_and_null_only_where_it_is_listed(void **state)
{
    const struct str star = STR("*");
    const struct str null_origin = STR("null");
    assert_true(origin_is_allowed(STR("https://any.example"), &star, 1));
    assert_true(origin_is_allowed(STR("null"), &star, 1));
    assert_true(origin_is_allowed(STR("null"), &null_origin, 1));
    assert_false(origin_is_allowed(STR("NULL"), &null_origin, 1));
    assert_false(origin_is_allowed(STR("https://null"), &null_origin, 1));
}

static void a_listed_origin_can_be_checked_for_sense(void **state)
{
    assert_true(origin_is_valid(STR("https://www.example.com")));
    assert_true(origin_is_valid(STR("http://127.0.0.1:8080")));
    assert_false(origin_is_valid(STR("https://*.example.com")));
    assert_false(origin_is_valid(STR("https://www.example.com/")));
    assert_false(origin_is_valid(STR("www.example.com")));
}

static enum origin_verdict check(const char *origin_lines)
{
    static struct http_request request;
    char head[512];
    struct settings_app app = {.origins = (struct str *)listed, .origin_count = 4};
    snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", origin_lines);
    assert_true(http_request_parse(&request, &HTTP_LIMITS_DEFAULT, (const uint8_t *)head,
                                   strlen(head), NULL) > 0);
    return origin_check(&app, &request);
}

static void a_request_carries_one_origin_or_none(void **state)
{
    assert_int_equal(check(""), ORIGIN_ABSENT);
    assert_int_equal(check("Origin: https://good.example\r\n"), ORIGIN_ALLOWED);
    assert_int_equal(check("Origin:\r\n"), ORIGIN_REFUSED);
    assert_int_equal(check("origin: https://bad.example\r\n"), ORIGIN_REFUSED);
    assert_int_equal(check("Origin: https://good.example\r\nOrigin: https://good.example\r\n"),
                     ORIGIN_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_scheme_host_and_port_are_allowed),
        cmocka_unit_test(all_else_is_refused),
        cmocka_unit_test(a_star_allows_all_and_null_only_where_it_is_listed),
        cmocka_unit_test(a_listed_origin_can_be_checked_for_sense),
        cmocka_unit_test(a_request_carries_one_origin_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
