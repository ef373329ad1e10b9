#include "api/console_sessions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t KEY[DIGEST_SHA256_LEN] = {1};
static const struct settings_console SETTINGS = {.session_idle_ms = 100, .session_max_ms = 250};
static struct console_sessions sessions;

static int empty(void **state)
{
    memset(&sessions, 0, sizeof(sessions));
    return 0;
}

static struct console_session *find(const char *cookie, uint64_t now_ms)
{
    return console_sessions_find(&sessions, str_of(cookie), &SETTINGS, now_ms);
}

static void a_session_is_found_by_its_cookie_alone(void **state)
{
    char cookie[CONSOLE_COOKIE_LEN + 1];
    char other[CONSOLE_COOKIE_LEN + 1];
    struct console_session *session = console_sessions_begin(&sessions, KEY, 0, cookie);
    assert_non_null(console_sessions_begin(&sessions, KEY, 0, other));
    assert_int_equal(strlen(cookie), CONSOLE_COOKIE_LEN);
    assert_string_not_equal(cookie, other);
    assert_ptr_equal(find(cookie, 1), session);
    assert_memory_equal(session->key, KEY, sizeof(KEY));
    assert_null(find("", 1));
    assert_null(
        console_sessions_find(&sessions, str_make(cookie, CONSOLE_COOKIE_LEN - 1), &SETTINGS, 1));
    cookie[0] = cookie[0] == 'a' ? 'b' : 'a';
    assert_null(find(cookie, 1));
}

static void one_that_is_used_lives_on_to_its_longest_age(void **state)
{
    char cookie[CONSOLE_COOKIE_LEN + 1];
    struct console_session *session = console_sessions_begin(&sessions, KEY, 0, cookie);
    assert_int_equal(console_session_ends_ms(session, &SETTINGS), 100);
    assert_non_null(find(cookie, 99));
    assert_non_null(find(cookie, 198));
    assert_int_equal(console_session_ends_ms(session, &SETTINGS), 250);
    assert_non_null(find(cookie, 249));
    assert_null(find(cookie, 250));
}

static void one_that_is_idle_ends(void **state)
{
    char cookie[CONSOLE_COOKIE_LEN + 1];
    assert_non_null(console_sessions_begin(&sessions, KEY, 0, cookie));
    assert_null(find(cookie, 100));
    assert_null(find(cookie, 1)); /* and is forgotten */
}

static void one_that_was_ended_is_gone(void **state)
{
    char cookie[CONSOLE_COOKIE_LEN + 1];
    console_session_end(console_sessions_begin(&sessions, KEY, 0, cookie));
    assert_null(find(cookie, 1));
    console_session_end(NULL);
}

static void over_the_limit_the_one_that_was_idle_longest_goes(void **state)
{
    char cookies[CONSOLE_SESSIONS_MAX][CONSOLE_COOKIE_LEN + 1];
    char last[CONSOLE_COOKIE_LEN + 1];
    for (int i = 0; i < CONSOLE_SESSIONS_MAX; i++) {
        const uint8_t key[DIGEST_SHA256_LEN] = {(uint8_t)(i + 10)};
        assert_non_null(console_sessions_begin(&sessions, key, 10, cookies[i]));
    }
    for (int i = 0; i < CONSOLE_SESSIONS_MAX; i++) {
        if (i != 7) {
            assert_non_null(find(cookies[i], 20));
        }
    }
    assert_non_null(console_sessions_begin(&sessions, KEY, 30, last));
    assert_null(find(cookies[7], 31));
    assert_non_null(find(last, 31));
    assert_non_null(find(cookies[0], 31));
}

static void a_key_has_no_more_than_its_share(void **state)
{
    static const uint8_t other[DIGEST_SHA256_LEN] = {2};
    char cookies[CONSOLE_SESSIONS_OF_KEY + 1][CONSOLE_COOKIE_LEN + 1];
    char others[CONSOLE_COOKIE_LEN + 1];
    struct console_session *first = console_sessions_begin(&sessions, other, 0, others);
    assert_int_equal(first->number, 1);
    for (int i = 0; i <= CONSOLE_SESSIONS_OF_KEY; i++) {
        uint64_t now_ms = 10 + (uint64_t)i;
        struct console_session *one = console_sessions_begin(&sessions, KEY, now_ms, cookies[i]);
        assert_int_equal(one->number, i + 2);
    }
    assert_null(find(cookies[0], 30));
    assert_non_null(find(cookies[1], 30));
    assert_non_null(find(cookies[CONSOLE_SESSIONS_OF_KEY], 30));
    assert_non_null(find(others, 30)); /* idle for longer, but of another key */
}

#define SESSIONS_TEST(name) cmocka_unit_test_setup(name, empty)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SESSIONS_TEST(a_session_is_found_by_its_cookie_alone),
        SESSIONS_TEST(one_that_is_used_lives_on_to_its_longest_age),
        SESSIONS_TEST(one_that_is_idle_ends),
        SESSIONS_TEST(one_that_was_ended_is_gone),
        SESSIONS_TEST(over_the_limit_the_one_that_was_idle_longest_goes),
        SESSIONS_TEST(a_key_has_no_more_than_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
