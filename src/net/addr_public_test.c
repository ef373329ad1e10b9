#include "net/addr_public.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static bool is_public(const char *text)
{
    struct addr addr = {{0}, 0};
    if (strchr(text, ':')) {
        assert_int_equal(inet_pton(AF_INET6, text, addr.ip), 1);
    } else {
        addr.ip[10] = addr.ip[11] = 0xff;
        assert_int_equal(inet_pton(AF_INET, text, addr.ip + 12), 1);
    }
    return addr_is_public(&addr);
}

static void a16_addresses_that_are_not_of_the_internet_are_told(void **state)
{
    static const char *const refused[] = {
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456:789a::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (is_public(refused[i])) {
            fail_msg("%s is taken for public", refused[i]);
        }
    }
}

static void addresses_of_the_internet_are_told(void **state)
{
    static const char *const allowed[] = {
        "1.1.1.1",        "9.255.255.255",    "11.0.0.0",    "100.63.255.255",
        "100.128.0.0",    "126.255.255.255",  "128.0.0.0",   "169.253.255.255",
        "169.255.0.0",    "172.15.255.255",   "172.32.0.0",  "192.167.255.255",
        "192.169.0.0",    "198.17.255.255",   "198.20.0.0",  "223.255.255.255",
        "::ffff:8.8.8.8", "64:ff9b::808:808", "2001:200::1", "2606:4700::1",
        "2a00:1450::1",   "3ffe::1",
    };
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        if (!is_public(allowed[i])) {
            fail_msg("%s is refused", allowed[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a16_addresses_that_are_not_of_the_internet_are_told),
        cmocka_unit_test(addresses_of_the_internet_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
