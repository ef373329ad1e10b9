#include "base/log_recent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct log_recent recent;
static struct buf got;

static int reset(void **state)
{
    memset(&recent, 0, sizeof(recent));
    buf_clear(&got);
    return 0;
}

static int end(void **state)
{
    buf_fini(&got);
    return 0;
}

static void put(int number, size_t len)
{
    static char line[LOG_RECENT_LINE_MAX + 1];
    memset(line, '.', sizeof(line));
    int digits = snprintf(line, sizeof(line), "%d", number);
    line[digits] = '.';
    log_recent_put(&recent, str_make(line, len));
}

/* The numbers of the lines that are read, which must come down by one each; returns how many. */
static size_t read_down_from(int newest, size_t max, size_t len)
{
    buf_clear(&got);
    log_recent_read(&recent, max, &got);
    size_t count = 0;
    for (size_t at = 0; at < got.len; at += len + 1, count++) {
        assert_int_equal(got.data[at + len], '\0');
        assert_int_equal(atoi((char *)got.data + at), newest - (int)count);
    }
    return count;
}

static void nothing_was_said_yet(void **state)
{
    assert_int_equal(read_down_from(0, 100, 10), 0);
}

static void the_newest_come_first_and_no_more_than_are_wanted(void **state)
{
    for (int i = 1; i <= 5; i++) {
        put(i, 10);
    }
    assert_int_equal(read_down_from(5, 100, 10), 5);
    assert_int_equal(read_down_from(5, 3, 10), 3);
    assert_int_equal(read_down_from(5, 0, 10), 0);
}

static void there_are_never_more_lines_than_the_limit(void **state)
{
    for (int i = 1; i <= 1000; i++) {
        put(i, 10);
    }
    assert_int_equal(read_down_from(1000, 5000, 10), LOG_RECENT_LINES);
}

static void there_are_never_more_bytes_than_the_limit(void **state)
{
    for (int i = 1; i <= 1000; i++) {
        put(i, 1000);
        size_t most = LOG_RECENT_BYTES / 1000;
        size_t expected = (size_t)i < most ? (size_t)i : most;
        assert_int_equal(read_down_from(i, 5000, 1000), expected);
    }
    put(1001, LOG_RECENT_LINE_MAX);
    assert_int_equal(read_down_from(1001, 1, LOG_RECENT_LINE_MAX), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_was_said_yet, reset),
        cmocka_unit_test_setup(the_newest_come_first_and_no_more_than_are_wanted, reset),
        cmocka_unit_test_setup(there_are_never_more_lines_than_the_limit, reset),
        cmocka_unit_test_setup(there_are_never_more_bytes_than_the_limit, reset),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
