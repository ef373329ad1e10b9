#include "proto/proxy_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static struct proxy_header header;

static ssize_t read_bytes(struct str bytes)
{
    header = (struct proxy_header){.port = 7};
    return proxy_header_read(&header, (const uint8_t *)bytes.ptr, bytes.len);
}

/* Whole, cut at every byte, and with bytes behind it. */
static void must_be_whole(struct str bytes)
{
    char more[PROXY_HEADER_MAX + 16];
    for (size_t len = 1; len < bytes.len; len++) {
        assert_int_equal(read_bytes(str_make(bytes.ptr, len)), 0);
        assert_int_equal(header.port, 7); /* nothing is written before it is whole */
    }
    memcpy(more, bytes.ptr, bytes.len);
    memcpy(more + bytes.len, "GET / ", 6);
    assert_int_equal(read_bytes(str_make(more, bytes.len + 6)), bytes.len);
    assert_int_equal(read_bytes(bytes), bytes.len);
}

static void must_be_source(struct str bytes, struct str ip, uint16_t port)
{
    uint8_t expected[IP_BYTES];
    must_be_whole(bytes);
    assert_int_equal(ip_parse(expected, ip), 0);
    assert_true(header.has_source);
    assert_memory_equal(header.ip, expected, IP_BYTES);
    assert_int_equal(header.port, port);
}

static void must_have_no_source(struct str bytes)
{
    must_be_whole(bytes);
    assert_false(header.has_source);
}

static void version_1_names_the_source(void **state)
{
    must_be_source(STR("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"), STR("192.0.2.7"), 56324);
    must_be_source(STR("PROXY TCP6 2001:db8::7 ::1 0 65535\r\n"), STR("2001:db8::7"), 0);
    must_be_source(STR("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
                   STR("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 65535);
    must_have_no_source(STR("PROXY UNKNOWN\r\n"));
    must_have_no_source(STR("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"));
}

static void what_is_wrong_in_version_1_is_refused(void **state)
{
    static const char *const lines[] = {
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n",
        "PROXY tcp4 192.0.2.7 10.0.0.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
        "PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 -1 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 x\r\n",
        "PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY\tTCP4 192.0.2.7 10.0.0.1 1 2\r\n",
        "proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
        "GET / HTTP/1.1\r\n",
        "\x16\x03\x01",
        "\r\nx",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (read_bytes(str_of(lines[i])) != ERR_PROTOCOL) {
            fail_msg("%s", lines[i]);
        }
        assert_int_equal(header.port, 7);
    }
}

static void a_line_has_107_bytes_at_most(void **state)
{
    char line[PROXY_V1_MAX + 2];
    int len = snprintf(line, sizeof(line), "PROXY UNKNOWN %91s\r\n", "x");
    assert_int_equal(len, PROXY_V1_MAX);
    must_have_no_source(str_make(line, PROXY_V1_MAX));
    len = snprintf(line, sizeof(line), "PROXY UNKNOWN %92s\r\n", "x");
    assert_int_equal(read_bytes(str_make(line, (size_t)len)), ERR_PROTOCOL);
    assert_int_equal(read_bytes(str_make(line, PROXY_V1_MAX)), ERR_PROTOCOL);
    assert_int_equal(read_bytes(str_make(line, PROXY_V1_MAX - 1)), 0);
}

#define V4_BODY "\xc0\0\2\7\x0a\0\0\1\xdc\x04\x01\xbb" /* 192.0.2.7:56324 to 10.0.0.1:443 */

static void version_2_names_the_source(void **state)
{
    must_be_source(STR(V2 "\x21\x11\0\x0c" V4_BODY), STR("192.0.2.7"), 56324);
    must_be_source(STR(V2 "\x21\x21\0\x24"
                          "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7"
                          "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
                          "\0\x50\x01\xbb"),
                   STR("2001:db8::7"), 80);
}

static void what_follows_the_addresses_is_passed_over(void **state)
{
    must_be_source(STR(V2 "\x21\x11\0\x13" V4_BODY "\x04\0\0"
                          "\xea\0\1z"),
                   STR("192.0.2.7"), 56324);
    static const struct str broken[] = {
        STR(V2 "\x21\x11\0\x0d" V4_BODY "\x04"),
        STR(V2 "\x21\x11\0\x0e" V4_BODY "\x04\0"),
        STR(V2 "\x21\x11\0\x0f" V4_BODY "\x04\0\1"),
        STR(V2 "\x21\x11\0\x10" V4_BODY "\x04\xff\xff"
               "x"),
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        assert_int_equal(read_bytes(broken[i]), ERR_PROTOCOL);
    }
}

static void connections_of_the_proxy_itself_have_no_source(void **state)
{
    must_have_no_source(STR(V2 "\x20\0\0\0"));
    must_have_no_source(STR(V2 "\x20\x11\0\x0c" V4_BODY)); /* LOCAL: addresses are ignored */
    must_have_no_source(STR(V2 "\x20\xff\0\1x"));
    must_have_no_source(STR(V2 "\x21\0\0\0"));
    must_have_no_source(STR(V2 "\x21\0\0\3xyz"));
    must_have_no_source(STR(V2 "\x21\x12\0\x0c" V4_BODY)); /* UDP is nothing we speak */
}

static void what_is_wrong_in_version_2_is_refused(void **state)
{
    static const struct str cases[] = {
        STR(V2 "\x11\x11\0\x0c" V4_BODY), /* version 1 in the binary form */
        STR(V2 "\x31\x11\0\x0c" V4_BODY), STR(V2 "\x22\x11\0\x0c" V4_BODY), /* no such command */
        STR(V2 "\x21\x13\0\x0c" V4_BODY), STR(V2 "\x21\x41\0\x0c" V4_BODY), /* nor such a family */
        STR(V2 "\x21\x01\0\x0c" V4_BODY), STR(V2 "\x21\x11\0\x0b" V4_BODY), /* too short */
        STR(V2 "\x21\x21\0\x0c" V4_BODY),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(read_bytes(cases[i]), ERR_PROTOCOL);
    }
}

static void a_header_has_4096_bytes_at_most(void **state)
{
    static char bytes[PROXY_HEADER_MAX];
    memcpy(bytes, V2 "\x20\0\x0f\xf0", 16);
    must_have_no_source(str_make(bytes, PROXY_HEADER_MAX));
    bytes[15] = (char)0xf1;
    assert_int_equal(read_bytes(str_make(bytes, 16)), ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_names_the_source),
        cmocka_unit_test(what_is_wrong_in_version_1_is_refused),
        cmocka_unit_test(a_line_has_107_bytes_at_most),
        cmocka_unit_test(version_2_names_the_source),
        cmocka_unit_test(what_follows_the_addresses_is_passed_over),
        cmocka_unit_test(connections_of_the_proxy_itself_have_no_source),
        cmocka_unit_test(what_is_wrong_in_version_2_is_refused),
        cmocka_unit_test(a_header_has_4096_bytes_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
