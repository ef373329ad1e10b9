#include "net/addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"

static struct addr parsed(const char *text)
{
    struct addr addr;
    assert_int_equal(addr_parse(&addr, str_of(text)), 0);
    return addr;
}

static struct addr_prefix prefix_of(const char *text)
{
    struct addr_prefix prefix;
    assert_int_equal(addr_prefix_parse(&prefix, str_of(text)), 0);
    return prefix;
}

static void an_address_reads_back_as_written(void **state)
{
    static const char *const pairs[][2] = {
        {"127.0.0.1:8080", "127.0.0.1:8080"},
        {"[::1]:80", "[::1]:80"},
        {"[2001:DB8:0::1]:65535", "[2001:db8::1]:65535"},
        {"[::ffff:10.1.2.3]:1", "10.1.2.3:1"},
        {":0", "[::]:0"},
        {"localhost:9", "127.0.0.1:9"},
        {"[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
         "[1111:2222:3333:4444:5555:6666:7777:8888]:65535"},
    };
    char out[ADDR_TEXT_MAX];
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct addr addr = parsed(pairs[i][0]);
        assert_string_equal(addr_format(&addr, out), pairs[i][1]);
    }
    struct addr addr = parsed("[::1]:80");
    assert_string_equal(addr_format_ip(&addr, out), "::1");
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = {
        "",           "127.0.0.1",       ":",
        "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:+1",
        "127.0.0.1:", "1.2.3:80",        "1.2.3.4 :80",
        "::1:80",     "[::1]80",         "[::1:80",
        "[]:80",      "[1.2.3.4]:80",    "0x7f.1:80",
        "[:80",       "example.com:80",  "1.2.3.4:8 0",
        "[::1%lo]:1", "1.2.3.04:80",
    };
    struct addr addr;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(addr_parse(&addr, str_of(bad[i])), ERR_SYNTAX);
    }
    assert_int_equal(addr_parse(&addr, STR("1.2.3.4\0x:80")), ERR_SYNTAX);
}

static void a_prefix_holds_exactly_its_addresses(void **state)
{
    struct addr_prefix ten = prefix_of("10.0.0.0/8");
    assert_int_equal(ten.bits, 104);
    struct addr in = parsed("10.255.0.1:1");
    struct addr out = parsed("11.0.0.0:1");
    assert_true(addr_in_prefix(&in, &ten));
    assert_false(addr_in_prefix(&out, &ten));

    struct addr_prefix odd = prefix_of("192.168.4.0/22");
    in = parsed("192.168.7.255:1");
    out = parsed("192.168.8.0:1");
    assert_true(addr_in_prefix(&in, &odd));
    assert_false(addr_in_prefix(&out, &odd));

    struct addr_prefix one = prefix_of("::1");
    assert_int_equal(one.bits, 128);
    in = parsed("[::1]:1");
    out = parsed("[::2]:1");
    assert_true(addr_in_prefix(&in, &one));
    assert_false(addr_in_prefix(&out, &one));

    struct addr_prefix all_v4 = prefix_of("0.0.0.0/0");
    in = parsed("1.2.3.4:1");
    out = parsed("[fd00::1]:1");
    assert_true(addr_in_prefix(&in, &all_v4));
    assert_false(addr_in_prefix(&out, &all_v4));
    struct addr_prefix all = prefix_of("::/0");
    assert_true(addr_in_prefix(&in, &all));
    assert_true(addr_in_prefix(&out, &all));
}

static void a_prefix_with_host_bits_or_no_sense_is_refused(void **state)
{
    static const char *const bad[] = {"",     "10.0.0.1/8",  "10.0.0.0/33", "10.0.0.0/",
                                      "/8",   "fd00::1/8",   "::/129",      "10.0.0.0/-1",
                                      "10/8", "10.0.0.0/8/8"};
    struct addr_prefix prefix;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(addr_prefix_parse(&prefix, str_of(bad[i])), ERR_SYNTAX);
    }
}

static void loopback_and_any_are_known_in_both_families(void **state)
{
    static const struct {
        const char *text;
        bool loopback;
        bool any;
    } cases[] = {
        {"127.0.0.1:1", true, false}, {"127.255.0.9:1", true, false},
        {"[::1]:1", true, false},     {"[::ffff:127.0.0.1]:1", true, false},
        {"0.0.0.0:1", false, true},   {"[::]:1", false, true},
        {":1", false, true},          {"128.0.0.1:1", false, false},
        {"[::2]:1", false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr addr = parsed(cases[i].text);
        assert_int_equal(addr_is_loopback(&addr), cases[i].loopback);
        assert_int_equal(addr_is_any(&addr), cases[i].any);
    }
}

static void sockaddrs_of_both_families_keep_address_and_port(void **state)
{
    static const char *const texts[] = {"1.2.3.4:5678", "[2001:db8::7]:443"};
    for (size_t i = 0; i < 2; i++) {
        struct addr addr = parsed(texts[i]);
        struct addr back;
        struct sockaddr_storage name;
        addr_to_sockaddr(&addr, &name);
        assert_int_equal(name.ss_family, i == 0 ? AF_INET : AF_INET6);
        assert_int_equal(addr_from_sockaddr(&back, (struct sockaddr *)&name), 0);
        assert_true(addr_equal_ip(&addr, &back));
        assert_int_equal(addr.port, back.port);
    }
    struct addr addr;
    struct sockaddr other = {.sa_family = AF_UNIX};
    assert_true(addr_from_sockaddr(&addr, &other) < 0);
}

static void both_ends_of_a_connection_can_be_asked_for(void **state)
{
    struct addr local = parsed("127.0.0.1:0");
    struct addr bound;
    struct addr peer;
    struct sockaddr_storage name;
    socklen_t len = addr_to_sockaddr(&local, &name);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(addr_of_peer(&peer, client) < 0);
    assert_true(addr_of_local(&peer, -1) < 0);
    assert_int_equal(bind(server, (struct sockaddr *)&name, len), 0);
    assert_int_equal(listen(server, 1), 0);
    assert_int_equal(addr_of_local(&bound, server), 0);
    len = addr_to_sockaddr(&bound, &name);
    assert_int_equal(connect(client, (struct sockaddr *)&name, len), 0);
    assert_int_equal(addr_of_peer(&peer, client), 0);
    assert_true(addr_equal_ip(&peer, &bound));
    assert_int_equal(peer.port, bound.port);
    close(server);
    close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_reads_back_as_written),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_prefix_holds_exactly_its_addresses),
        cmocka_unit_test(a_prefix_with_host_bits_or_no_sense_is_refused),
        cmocka_unit_test(loopback_and_any_are_known_in_both_families),
        cmocka_unit_test(sockaddrs_of_both_families_keep_address_and_port),
        cmocka_unit_test(both_ends_of_a_connection_can_be_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
