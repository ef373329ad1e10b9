#include "proto/forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"

static void elements_come_from_the_right(void **state)
{
    struct str rest = STR("a, \"b,c\" ,, d ");
    static const char *const expected[] = {"d", "", "c\"", "\"b", "a"};
    struct str element;
    for (size_t i = 0; i < 5; i++) {
        assert_true(forwarded_cut_last(&rest, &element));
        assert_true(str_equal(element, str_of(expected[i])));
    }
    assert_false(forwarded_cut_last(&rest, &element));
    rest = STR("");
    assert_true(forwarded_cut_last(&rest, &element));
    assert_int_equal(element.len, 0);
    assert_false(forwarded_cut_last(&rest, &element));
}

typedef int read_fn(struct str element, uint8_t out_ip[IP_BYTES]);

static void must_read(read_fn *read, const char *element, struct str ip)
{
    uint8_t got[IP_BYTES], expected[IP_BYTES];
    assert_int_equal(ip_parse(expected, ip), 0);
    if (read(str_of(element), got) != 0) {
        fail_msg("%s", element);
    }
    assert_memory_equal(got, expected, IP_BYTES);
}

static void must_fail(read_fn *read, const char *element, int err)
{
    uint8_t ip[IP_BYTES];
    if (read(str_of(element), ip) != err) {
        fail_msg("%s: not %d", element, err);
    }
}

static void the_standard_header_names_an_address(void **state)
{
    static const char *const v4[] = {"for=192.0.2.43",
                                     "For=\"192.0.2.43\"",
                                     "for=\"192.0.2.43:47011\"",
                                     "for=192.0.2.43;proto=http;by=203.0.113.43",
                                     "by=_x; FOR=192.0.2.43 ;;host=\"a\"",
                                     "for=\"192.0.2.43:_hidden\""};
    for (size_t i = 0; i < sizeof(v4) / sizeof(v4[0]); i++) {
        must_read(forwarded_read, v4[i], STR("192.0.2.43"));
    }
    must_read(forwarded_read, "for=\"[2001:db8:cafe::17]\"", STR("2001:db8:cafe::17"));
    must_read(forwarded_read, "for=\"[2001:db8:cafe::17]:4711\"", STR("2001:db8:cafe::17"));
}

static void who_is_hidden_is_not_found(void **state)
{
    static const char *const hidden[] = {"for=unknown", "for=UNKNOWN",       "for=_gazonk",
                                         "proto=https", "for=\"_SEVKISEK\"", ""};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        must_fail(forwarded_read, hidden[i], ERR_NOT_FOUND);
    }
    must_fail(forwarded_read_plain, "unknown", ERR_NOT_FOUND);
}

static void what_can_not_be_read_is_an_error(void **state)
{
    static const char *const bad[] = {"for=",
                                      "for",
                                      "for=\"",
                                      "for=\"192.0.2.43",
                                      "for=192.0.2.43\"",
                                      "for=\"192.0.2.43\\\"\"",
                                      "for=2001:db8::1",
                                      "for=\"[2001:db8::1\"",
                                      "for=\"[192.0.2.43]\"",
                                      "for=\"[::1]x\"",
                                      "for=192.0.2.43:",
                                      "for=192.0.2.43:65536",
                                      "for=192.0.2.43:x",
                                      "for=192.0.2.300",
                                      "for=example.com",
                                      "for=192.0.2.43;for=192.0.2.44",
                                      "for=192.0.2.43;x=\"",
                                      "for=192.0.2.43;x=\\\"\"",
                                      "for=192.0.2.43;x=a\"",
                                      "for=192.0.2.43;host=\"a",
                                      "for=192.0.2.43;host=\"a\\\"b\"",
                                      "for=192.0.2.43;\"x=a",
                                      "for=192.0.2.43;host=\"a;b=c\""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        must_fail(forwarded_read, bad[i], ERR_SYNTAX);
    }
    static const char *const plain[] = {
        "",     "x",          "192.0.2.43.",          "for=192.0.2.43", "\"192.0.2.43\"",
        "[::1", "::1:99999x", "192.0.2.43 192.0.2.44"};
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        must_fail(forwarded_read_plain, plain[i], ERR_SYNTAX);
    }
}

static void the_plain_header_names_an_address(void **state)
{
    must_read(forwarded_read_plain, "192.0.2.43", STR("192.0.2.43"));
    must_read(forwarded_read_plain, "192.0.2.43:5000", STR("192.0.2.43"));
    must_read(forwarded_read_plain, "2001:db8::1", STR("2001:db8::1"));
    must_read(forwarded_read_plain, "[2001:db8::1]:5000", STR("2001:db8::1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_come_from_the_right),
        cmocka_unit_test(the_standard_header_names_an_address),
        cmocka_unit_test(who_is_hidden_is_not_found),
        cmocka_unit_test(what_can_not_be_read_is_an_error),
        cmocka_unit_test(the_plain_header_names_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
