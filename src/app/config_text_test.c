#include "app/config_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void must(const struct config_text *kind, bool valid, const char *const *texts)
{
    for (; *texts; texts++) {
        if (kind->is_valid(str_of(*texts)) != valid) {
            print_error("%s\n", *texts);
            fail();
        }
    }
}

#define ACCEPTS(kind, ...) must(&(kind), true, (const char *const[]){__VA_ARGS__, NULL})
#define REFUSES(kind, ...) must(&(kind), false, (const char *const[]){__VA_ARGS__, NULL})

static void names_are_letters_digits_and_three_signs(void **state)
{
    ACCEPTS(config_text_name, "a", "demo", "Shop-EU_1.2", "2026");
    REFUSES(config_text_name, "", "a b", "-a", ".a", "a/b", "ä", "a\n", "a:b");
    char longest[66];
    memset(longest, 'a', 65);
    longest[65] = '\0';
    REFUSES(config_text_name, longest);
    longest[64] = '\0';
    ACCEPTS(config_text_name, longest);
}

static void addresses_have_a_port(void **state)
{
    ACCEPTS(config_text_address, "", "127.0.0.1:8080", "[::1]:8080", ":8080");
    REFUSES(config_text_address, "127.0.0.1", "8080", "example.com:80", "1.2.3.4:65536", "::1:80");
}

static void only_loopback_is_local(void **state)
{
    assert_true(config_address_is_local(STR("")));
    assert_true(config_address_is_local(STR("127.0.0.1:1")));
    assert_true(config_address_is_local(STR("127.9.9.9:1")));
    assert_true(config_address_is_local(STR("[::1]:1")));
    assert_false(config_address_is_local(STR(":1")));
    assert_false(config_address_is_local(STR("0.0.0.0:1")));
    assert_false(config_address_is_local(STR("[::]:1")));
    assert_false(config_address_is_local(STR("10.0.0.1:1")));
}

static void prefixes_have_no_host_bits(void **state)
{
    ACCEPTS(config_text_prefix, "127.0.0.0/8", "::1", "fd00::/8", "10.1.2.3");
    REFUSES(config_text_prefix, "", "10.0.0.1/8", "10.0.0.0/33", "localhost", "1.2.3.4:80");
}

static void header_names_are_tokens(void **state)
{
    ACCEPTS(config_text_token, "", "X-User-Id", "session", "__Host-sid");
    REFUSES(config_text_token, "X User", "a:b", "a;b", "ä", "a\r\nb", "a=b");
}

static void origins_are_as_browsers_send_them(void **state)
{
    ACCEPTS(config_text_origin, "*", "https://www.example.com", "http://localhost:3000",
            "https://[::1]:8443", "capacitor://localhost", "HTTPS://Example.COM");
    REFUSES(config_text_origin, "", "null", "www.example.com", "https://", "https://x/",
            "https://x/path", "https://x:", "https://x:0", "https://x:65536", "https://x y",
            "https://*.example.com", "://x", "https://u@x", "https://[::1", "https://x?q");
}

static void a_star_stands_only_at_the_end_of_a_pattern(void **state)
{
    ACCEPTS(config_text_pattern, "*", "room:*", "lobby", "räume:*");
    REFUSES(config_text_pattern, "", "a*b", "**", "*a", "a\nb");
}

static void key_sets_come_by_https_or_from_this_machine(void **state)
{
    ACCEPTS(config_text_url, "https://login.example.com/.well-known/jwks.json", "https://x",
            "http://127.0.0.1:9/k", "http://[::1]/k", "http://localhost:1/k?a=b");
    REFUSES(config_text_url, "", "http://login.example.com/k", "ftp://x/k", "https:///k",
            "file:///etc/passwd", "https://u:p@x/k", "https://x y/k", "http://localhost.evil/k",
            "http://127.0.0.1.evil/k", "HTTP://x/k", "https://x\n/k");
}

static void what_others_are_told_of_goes_to_a_url_or_a_host_and_a_port(void **state)
{
    ACCEPTS(config_text_base, "", "http://collector:4318", "https://otlp.example.com/a/b/",
            "http://[::1]:4318");
    REFUSES(config_text_base, "collector:4318", "http://x/?key=1", "http://x/#a", "grpc://x",
            "https://u:p@x");
    ACCEPTS(config_text_service, "", "127.0.0.1:8125", "[::1]:8125", "statsd.example.com:8125");
    REFUSES(config_text_service, "127.0.0.1", "statsd", ":8125", "x:0", "x:65536", "x y:1", "x:1/");
    ACCEPTS(config_text_statsd, "", "prod.", "a_b-c.");
    REFUSES(config_text_statsd, "a b", "a:b", "a|b", "#");
}

static void only_engines_that_are_built_in_are_known(void **state)
{
    ACCEPTS(config_text_engine, "memory");
    REFUSES(config_text_engine, "", "kafka", "Memory");
    assert_non_null(strstr(config_text_engine.names(), "memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_letters_digits_and_three_signs),
        cmocka_unit_test(addresses_have_a_port),
        cmocka_unit_test(only_loopback_is_local),
        cmocka_unit_test(prefixes_have_no_host_bits),
        cmocka_unit_test(header_names_are_tokens),
        cmocka_unit_test(origins_are_as_browsers_send_them),
        cmocka_unit_test(a_star_stands_only_at_the_end_of_a_pattern),
        cmocka_unit_test(key_sets_come_by_https_or_from_this_machine),
        cmocka_unit_test(what_others_are_told_of_goes_to_a_url_or_a_host_and_a_port),
        cmocka_unit_test(only_engines_that_are_built_in_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
