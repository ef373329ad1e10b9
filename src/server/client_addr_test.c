#include "server/client_addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "server/families.h"

static struct str from[] = {STR("10.0.0.0/8"), STR("fd00::/8")};

static const char *client_of(enum settings_forwarded_header header, const char *peer,
                             const char *lines)
{
    static char text[ADDR_TEXT_MAX];
    const struct settings_forwarded settings = {from, 2, header};
    const struct http_limits limits = HTTP_LIMITS_DEFAULT;
    struct http_request request;
    struct addr addr;
    char head[2048];
    int len = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", lines);
    assert_int_equal(
        http_request_parse(&request, &limits, (const uint8_t *)head, (size_t)len, NULL), len);
    assert_int_equal(addr_parse(&addr, str_of(peer)), 0);
    struct addr client = client_addr_of(&settings, &request, &addr);
    return addr_format_ip(&client, text);
}

static const char *plain(const char *peer, const char *lines)
{
    return client_of(SETTINGS_X_FORWARDED_FOR, peer, lines);
}

static int64_t ignored(const char *reason)
{
    return metric_value(SERIES(forwarded_ignored_total, reason));
}

static void the_header_of_a_trusted_proxy_names_the_client(void **state)
{
    assert_string_equal(plain("10.0.0.1:1", "X-Forwarded-For: 192.0.2.7\r\n"), "192.0.2.7");
    assert_string_equal(plain("[fd00::1]:1", "x-forwarded-for: 2001:db8::7\r\n"), "2001:db8::7");
    assert_string_equal(
        client_of(SETTINGS_FORWARDED, "10.0.0.1:1", "Forwarded: for=\"[2001:db8::7]:80\"\r\n"),
        "2001:db8::7");
    assert_string_equal(plain("10.0.0.1:1", ""), "10.0.0.1");
}

static void anybody_elses_is_not_read(void **state)
{
    assert_string_equal(plain("192.0.2.9:1", "X-Forwarded-For: 192.0.2.7\r\n"), "192.0.2.9");
}

static void the_rightmost_address_that_is_no_proxys_counts(void **state)
{
    assert_string_equal(plain("10.0.0.1:1", "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.2.3.4\r\n"),
                        "192.0.2.7");
    assert_string_equal(plain("10.0.0.1:1", "X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n"
                                            "Accept: x\r\n"
                                            "X-Forwarded-For: 10.2.3.4\r\n"),
                        "192.0.2.7");
    assert_string_equal(plain("10.0.0.1:1", "X-Forwarded-For: 10.9.9.9, 10.2.3.4\r\n"), "10.9.9.9");
}

/* What a client writes to the left of what our proxies append changes nothing. */
static void what_a_client_wrote_is_not_looked_at(void **state)
{
    assert_string_equal(plain("10.0.0.1:1", "X-Forwarded-For: \"nonsense, 192.0.2.7\r\n"),
                        "192.0.2.7");
    assert_string_equal(
        client_of(SETTINGS_FORWARDED, "10.0.0.1:1", "Forwarded: for=\"1.1.1.1, for=192.0.2.7\r\n"),
        "192.0.2.7");
}

/* Our proxy passes on what a client chose as its host; what it quotes is no element, whatever
 * stands in there. */
static void what_our_proxy_quotes_is_not_believed(void **state)
{
    static const char *const hosts[] = {"a, for=1.2.3.4;x=", "a, for=1.2.3.4;x=\\\"",
                                        "a, for=1.2.3.4;x=\\\"b", "a, for=1.2.3.4",
                                        "a, for=1.2.3.4;x=y;z=\\\"\\\""};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "Forwarded: for=192.0.2.9;host=\"%s\"\r\n", hosts[i]);
        assert_string_equal(client_of(SETTINGS_FORWARDED, "10.0.0.1:1", line), "10.0.0.1");
    }
}

static void the_other_header_is_not_read(void **state)
{
    assert_string_equal(plain("10.0.0.1:1", "Forwarded: for=192.0.2.7\r\n"), "10.0.0.1");
    assert_string_equal(
        client_of(SETTINGS_FORWARDED, "10.0.0.1:1", "X-Forwarded-For: 192.0.2.7\r\n"), "10.0.0.1");
}

static void what_can_not_be_read_leaves_the_last_address_that_is_sure(void **state)
{
    int64_t malformed = ignored("malformed");
    int64_t hidden = ignored("hidden");
    assert_string_equal(plain("10.0.0.1:1", "X-Forwarded-For: 192.0.2.7, garbage\r\n"), "10.0.0.1");
    assert_string_equal(plain("10.0.0.1:1", "X-Forwarded-For: \r\n"), "10.0.0.1");
    assert_string_equal(plain("10.0.0.1:1", "X-Forwarded-For: unknown, 10.7.7.7\r\n"), "10.7.7.7");
    assert_int_equal(ignored("malformed"), malformed + 2);
    assert_int_equal(ignored("hidden"), hidden + 1);
}

static void so_many_proxies_in_a_row_are_believed(void **state)
{
    char lines[1024] = "X-Forwarded-For: 192.0.2.7";
    for (int i = 1; i < CLIENT_ADDR_HOPS; i++) {
        strcat(lines, ", 10.0.0.2");
    }
    char more[1100];
    snprintf(more, sizeof(more), "%s\r\n", lines);
    assert_string_equal(plain("10.0.0.1:1", more), "192.0.2.7");
    snprintf(more, sizeof(more), "%s, 10.0.0.2\r\n", lines);
    assert_string_equal(plain("10.0.0.1:1", more), "10.0.0.2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_header_of_a_trusted_proxy_names_the_client),
        cmocka_unit_test(anybody_elses_is_not_read),
        cmocka_unit_test(the_rightmost_address_that_is_no_proxys_counts),
        cmocka_unit_test(what_a_client_wrote_is_not_looked_at),
        cmocka_unit_test(what_our_proxy_quotes_is_not_believed),
        cmocka_unit_test(the_other_header_is_not_read),
        cmocka_unit_test(what_can_not_be_read_leaves_the_last_address_that_is_sure),
        cmocka_unit_test(so_many_proxies_in_a_row_are_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
