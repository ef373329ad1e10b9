#include "base/ip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"

static void both_families_are_read(void **state)
{
    const uint8_t v4[IP_BYTES] = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1};
    const uint8_t v6[IP_BYTES] = {0xfd, [15] = 1};
    uint8_t ip[IP_BYTES];
    assert_int_equal(ip_parse(ip, STR("10.0.0.1")), 0);
    assert_memory_equal(ip, v4, IP_BYTES);
    assert_true(ip_is_v4(ip));
    assert_int_equal(ip_parse(ip, STR("fd00::1")), 0);
    assert_memory_equal(ip, v6, IP_BYTES);
    assert_false(ip_is_v4(ip));
    assert_int_equal(ip_parse_v6(ip, STR("::ffff:10.0.0.1")), 0);
    assert_memory_equal(ip, v4, IP_BYTES);
}

static void what_is_no_address_leaves_the_output_alone(void **state)
{
    static const struct str texts[] = {
        STR(""),           STR("10.0.0"),
        STR("10.0.0.256"), STR("10.0.0.01"),
        STR(" 10.0.0.1"),  STR("10.0.0.1 "),
        STR("localhost"),  STR("[::1]"),
        STR("::1%lo"),     STR("1:2"),
        STR("10.0.0.1\0"), STR("1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb"),
    };
    uint8_t ip[IP_BYTES] = {7};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(ip_parse(ip, texts[i]), ERR_SYNTAX);
    }
    assert_int_equal(ip_parse_v4(ip, STR("::1")), ERR_SYNTAX);
    assert_int_equal(ip_parse_v6(ip, STR("10.0.0.1")), ERR_SYNTAX);
    assert_int_equal(ip[0], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_families_are_read),
        cmocka_unit_test(what_is_no_address_leaves_the_output_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
