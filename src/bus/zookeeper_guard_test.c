#include "bus/zookeeper_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Version 0, 10 s, a session, a password of 16 bytes, not read-only. */
static const uint8_t greeting[41] = "\0\0\0\x25\0\0\0\0\0\0\x27\x10"
                                    "12345678\0\0\0\x10"
                                    "passwordpassword";

static struct zk_guard greeted(void)
{
    struct zk_guard guard = {0};
    assert_int_equal(zk_guard_look(&guard, greeting, ZK_GUARD_PEEK, 0), ZK_GUARD_GOOD);
    zk_guard_passed(&guard);
    return guard;
}

static void a_greeting_passes_once_all_of_it_is_there(void **state)
{
    struct zk_guard guard = {0};
    for (size_t len = 0; len < ZK_GUARD_PEEK; len++) {
        assert_int_equal(zk_guard_look(&guard, greeting, len, 0), ZK_GUARD_MORE);
    }
    assert_int_equal(zk_guard_look(&guard, greeting, ZK_GUARD_PEEK, 0), ZK_GUARD_GOOD);
}

static void assert_no_greeting(size_t at, const char *bytes, size_t len)
{
    struct zk_guard guard = {0};
    uint8_t other[sizeof(greeting)];
    memcpy(other, greeting, sizeof(other));
    memcpy(other + at, bytes, len);
    assert_int_equal(zk_guard_look(&guard, other, ZK_GUARD_PEEK, 0), ZK_GUARD_BAD);
}

static void a_greeting_that_is_none_is_not_believed(void **state)
{
    assert_no_greeting(0, "HTTP/1.1 400 Bad Request\r\n", 26);
    assert_no_greeting(0, "\0\0\1\x25", 4);
    assert_no_greeting(0, "\xff\xff\xff\xff", 4);
    assert_no_greeting(8, "\x7f\xff\xff\xff", 4); /* a session that lasts for weeks */
    assert_no_greeting(8, "\x80\0\0\0", 4);
    assert_no_greeting(20, "\0\0\0\x11", 4);
}

static void a_session_that_has_expired_is_told_by_the_library(void **state)
{
    struct zk_guard guard = {0};
    uint8_t expired[sizeof(greeting)];
    memcpy(expired, greeting, sizeof(expired));
    memset(expired + 8, 0, 12);
    assert_int_equal(zk_guard_look(&guard, expired, ZK_GUARD_PEEK, 0), ZK_GUARD_GOOD);
}

static enum zk_guard_verdict look(const char *head, uint32_t calls)
{
    struct zk_guard guard = greeted();
    return zk_guard_look(&guard, (const uint8_t *)head, 8, calls);
}

static void a_reply_passes_when_one_is_awaited(void **state)
{
    assert_int_equal(look("\0\0\0\x10\0\0\0\1", 1), ZK_GUARD_GOOD);
    assert_int_equal(look("\0\0\0\x10\0\0\0\1", 0), ZK_GUARD_BAD);
}

static void what_answers_no_request_passes_always(void **state)
{
    assert_int_equal(look("\0\0\0\x10\xff\xff\xff\xff", 0), ZK_GUARD_GOOD);
    assert_int_equal(look("\0\0\0\x10\xff\xff\xff\xfe", 0), ZK_GUARD_GOOD);
    assert_int_equal(look("\0\0\0\x10\xff\xff\xff\xfc", 0), ZK_GUARD_GOOD);
    assert_int_equal(look("\0\0\0\x10\xff\xff\xff\xf8", 0), ZK_GUARD_GOOD);
    assert_int_equal(look("\0\0\0\x10\xff\xff\xff\xfd", 0), ZK_GUARD_BAD);
}

static void a_length_has_a_floor_and_a_limit(void **state)
{
    assert_int_equal(look("\0\0\0\x0f\0\0\0\1", 1), ZK_GUARD_BAD);
    assert_int_equal(look("\x08\0\0\0\0\0\0\1", 1), ZK_GUARD_GOOD);
    assert_int_equal(look("\x08\0\0\1\0\0\0\1", 1), ZK_GUARD_BAD);
    assert_int_equal(look("\xff\xff\xff\xff\0\0\0\1", 1), ZK_GUARD_BAD);
}

static void inside_of_a_frame_the_bytes_are_not_looked_at(void **state)
{
    struct zk_guard guard = greeted();
    assert_int_equal(zk_guard_look(&guard, (const uint8_t *)"\0\0\1\0\0\0\0\1", 7, 1),
                     ZK_GUARD_MORE);
    assert_int_equal(zk_guard_look(&guard, (const uint8_t *)"\0\0\1\0\0\0\0\1", 8, 1),
                     ZK_GUARD_GOOD);
    assert_int_equal(zk_guard_look(&guard, (const uint8_t *)"garbage!", 8, 0), ZK_GUARD_GOOD);
    zk_guard_passed(&guard);
    assert_int_equal(zk_guard_look(&guard, (const uint8_t *)"garbage!", 8, 0), ZK_GUARD_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_greeting_passes_once_all_of_it_is_there),
        cmocka_unit_test(a_greeting_that_is_none_is_not_believed),
        cmocka_unit_test(a_session_that_has_expired_is_told_by_the_library),
        cmocka_unit_test(a_reply_passes_when_one_is_awaited),
        cmocka_unit_test(what_answers_no_request_passes_always),
        cmocka_unit_test(a_length_has_a_floor_and_a_limit),
        cmocka_unit_test(inside_of_a_frame_the_bytes_are_not_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
