#include "bus/redis_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"

static void assert_url(const char *text, const char *expected)
{
    struct redis_url url;
    const char *problem = NULL;
    char found[1200];
    assert_int_equal(redis_url_parse(&url, str_of(text), &problem), 0);
    snprintf(found, sizeof(found), "%s %s %u %s %s %u", url.tls ? "tls" : "plain", url.address.host,
             url.address.port, url.user, url.password, url.db);
    assert_string_equal(found, expected);
}

static void a_url_says_where_and_who(void **state)
{
    assert_url("redis://10.0.0.1", "plain 10.0.0.1 6379   0");
    assert_url("rediss://cache.example:6380/7", "tls cache.example 6380   7");
    assert_url("redis://:pw@h/", "plain h 6379  pw 0");
    assert_url("redis://gw:pw@h:1/15", "plain h 1 gw pw 15");
    assert_url("redis://gw:pw@[2001:db8::1]:7000/2", "plain 2001:db8::1 7000 gw pw 2");
    assert_url("redis://[fe80::1%eth0]", "plain fe80::1%eth0 6379   0");
}

static void user_and_password_are_decoded(void **state)
{
    assert_url("redis://a%40b:p%3A%2F%25@h", "plain h 6379 a@b p:/% 0");
    assert_url("redis://gw:p:q@r/s@h/3", "plain h 6379 gw p:q@r/s 3");
}

static void assert_refused(const char *text, const char *part)
{
    struct redis_url url;
    const char *problem = NULL;
    assert_int_equal(redis_url_parse(&url, str_of(text), &problem), ERR_SYNTAX);
    assert_non_null(problem);
    if (!strstr(problem, part)) {
        fail_msg("%s: %s", text, problem);
    }
}

static void what_is_wrong_is_said(void **state)
{
    assert_refused("", "must begin with");
    assert_refused("http://h", "must begin with");
    assert_refused("redis://", "needs a host");
    assert_refused("redis:///0", "needs a host");
    assert_refused("redis://h:0", "needs a host");
    assert_refused("redis://h:65536", "needs a host");
    assert_refused("redis://h:", "needs a host");
    assert_refused("redis://[::1", "needs a host");
    assert_refused("redis://[h]", "needs a host");
    assert_refused("redis://[::1]x", "needs a host");
    assert_refused("redis://::1", "needs a host");
    assert_refused("redis://a b", "needs a host");
    assert_refused("redis://h/x", "number of a database");
    assert_refused("redis://h/1?a=b", "number of a database");
    assert_refused("redis://h/65536", "number of a database");
    assert_refused("redis://gw@h", "without a password");
    assert_refused("redis://gw:@h", "empty password");
    assert_refused("redis://gw:%zz@h", "password");
    assert_refused("redis://%00:pw@h", "user");
}

static void what_is_too_long_is_refused(void **state)
{
    char text[1200], part[1024];
    memset(part, 'a', sizeof(part));
    snprintf(text, sizeof(text), "redis://%.256s", part);
    assert_refused(text, "needs a host");
    snprintf(text, sizeof(text), "redis://%.256s:p@h", part);
    assert_refused(text, "user");
    snprintf(text, sizeof(text), "redis://u:%.512s@h", part);
    assert_refused(text, "password");
}

static void assert_address(const char *text, const char *expected)
{
    struct redis_address address;
    char found[REDIS_ADDRESS_TEXT_MAX];
    assert_int_equal(redis_address_parse(&address, str_of(text), REDIS_SENTINEL_PORT), 0);
    assert_string_equal(redis_address_format(&address, found), expected);
}

static void an_address_has_a_port_or_gets_one(void **state)
{
    struct redis_address address;
    assert_address("h", "h:26379");
    assert_address("h:5", "h:5");
    assert_address("[::1]:5", "[::1]:5");
    assert_address("[::1]", "[::1]:26379");
    assert_int_equal(redis_address_parse(&address, STR(""), 1), ERR_SYNTAX);
    assert_int_equal(redis_address_parse(&address, STR(":5"), 1), ERR_SYNTAX);
    assert_int_equal(redis_address_parse(&address, STR("u@h"), 1), ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_says_where_and_who),
        cmocka_unit_test(user_and_password_are_decoded),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(an_address_has_a_port_or_gets_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
