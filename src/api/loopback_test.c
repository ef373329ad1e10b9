#include "api/loopback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static void names_of_this_machine_are_local(void **state)
{
    const char *hosts[] = {"localhost",      "LocalHost:8080", "127.0.0.1", "127.0.0.1:8080",
                           "127.8.9.1:1234", "[::1]",          "[::1]:8080"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        assert_true(loopback_host_is_local(str_of(hosts[i])));
    }
}

static void names_that_anybody_may_resolve_are_not_local(void **state)
{
    const char *hosts[] = {"",
                           ":8080",
                           "evil.example",
                           "localhost.evil.example",
                           "localhost.",
                           "127.0.0.1.evil.example",
                           "127.evil.example:8080",
                           "127",
                           "128.0.0.1",
                           "1127.0.0.1",
                           "0.0.0.0",
                           "[::]",
                           "[::1",
                           "::1",
                           "[::ffff:127.0.0.1]",
                           "127.0.0.1:80:80x.example",
                           "127.0000000000000000000000000000000000000000000.0.1"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        assert_false(loopback_host_is_local(str_of(hosts[i])));
    }
}

static bool passes(const char *host, const char *origins, bool is_secure)
{
    char head[512];
    int len = snprintf(head, sizeof(head), "POST /demo/push HTTP/1.1\r\nHost: %s\r\n%s\r\n", host,
                       origins);
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    struct http_request request;
    assert_int_equal(
        http_request_parse(&request, &limits, (const uint8_t *)head, (size_t)len, NULL), len);
    return loopback_origin_is_own(&request, is_secure);
}

static bool origin_passes(const char *host, const char *origins)
{
    return passes(host, origins, false);
}

static void a_request_without_origin_is_no_browsers(void **state)
{
    assert_true(origin_passes("127.0.0.1:8080", ""));
}

static void the_origin_must_be_the_host(void **state)
{
    assert_true(origin_passes("127.0.0.1:8080", "Origin: http://127.0.0.1:8080\r\n"));
    assert_true(origin_passes("localhost", "Origin: http://LOCALHOST\r\n"));
    assert_true(origin_passes("[::1]:8080", "Origin: http://[::1]:8080\r\n"));
    assert_false(origin_passes("127.0.0.1:8080", "Origin: http://localhost:8080\r\n"));
    assert_false(origin_passes("127.0.0.1:8080", "Origin: http://127.0.0.1:8081\r\n"));
    assert_false(origin_passes("127.0.0.1:8080", "Origin: https://127.0.0.1:8080\r\n"));
    assert_false(origin_passes("127.0.0.1:8080", "Origin: https://evil.example\r\n"));
    assert_false(origin_passes("127.0.0.1:8080", "Origin: null\r\n"));
    assert_false(origin_passes("127.0.0.1:8080", "Origin: \r\n"));
    assert_false(origin_passes("a-name-that-is-too-long-for-a-local-one.example", "Origin: x\r\n"));
}

static void over_tls_it_is_an_https_origin(void **state)
{
    assert_true(passes("localhost:8080", "Origin: https://localhost:8080\r\n", true));
    assert_true(passes("localhost", "Origin: https://localhost:443\r\n", true));
    assert_false(passes("localhost:8080", "Origin: http://localhost:8080\r\n", true));
}

static void two_origins_are_refused(void **state)
{
    assert_false(origin_passes("localhost:1",
                               "Origin: http://localhost:1\r\nOrigin: http://localhost:1\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_this_machine_are_local),
        cmocka_unit_test(names_that_anybody_may_resolve_are_not_local),
        cmocka_unit_test(a_request_without_origin_is_no_browsers),
        cmocka_unit_test(the_origin_must_be_the_host),
        cmocka_unit_test(over_tls_it_is_an_https_origin),
        cmocka_unit_test(two_origins_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
