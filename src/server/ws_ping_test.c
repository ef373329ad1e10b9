#include "server/ws_ping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct siphash_key key = {3, 4};

static void a_pong_tells_how_long_it_took(void **state)
{
    char ping[WS_PING_BYTES];
    uint64_t us;
    uint64_t sent_us = 0x1ffffff00; /* the time that is sent goes round in between */
    ws_ping_write(ping, &key, 77, sent_us);
    assert_true(ws_ping_read(&us, str_make(ping, sizeof(ping)), &key, 77, sent_us + 1500));
    assert_int_equal(us, 1500);
}

static void what_is_not_our_ping_to_this_session_is_no_answer(void **state)
{
    char ping[WS_PING_BYTES];
    uint64_t us;
    ws_ping_write(ping, &key, 77, 1000);
    assert_false(ws_ping_read(&us, STR(""), &key, 77, 2000)); /* of one's own accord */
    assert_false(ws_ping_read(&us, str_make(ping, 7), &key, 77, 2000));
    assert_false(ws_ping_read(&us, str_make(ping, sizeof(ping)), &key, 78, 2000));
    for (size_t i = 0; i < sizeof(ping); i++) {
        ping[i] ^= 1;
        assert_false(ws_ping_read(&us, str_make(ping, sizeof(ping)), &key, 77, 2000));
        ping[i] ^= 1;
    }
}

static void an_answer_that_is_too_late_counts_as_none(void **state)
{
    char ping[WS_PING_BYTES];
    uint64_t us;
    struct str payload = str_make(ping, sizeof(ping));
    ws_ping_write(ping, &key, 77, 1000);
    assert_true(ws_ping_read(&us, payload, &key, 77, 1000 + WS_PING_LONGEST_US));
    assert_false(ws_ping_read(&us, payload, &key, 77, 1001 + WS_PING_LONGEST_US));
    assert_false(ws_ping_read(&us, payload, &key, 77, 999)); /* before it was sent */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pong_tells_how_long_it_took),
        cmocka_unit_test(what_is_not_our_ping_to_this_session_is_no_answer),
        cmocka_unit_test(an_answer_that_is_too_late_counts_as_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
