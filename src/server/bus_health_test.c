#include "server/bus_health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static struct bus_health health;
static char reason[BUS_HEALTH_TEXT];
static char lines[16384];
static int stderr_before;
static int captured[2];

/* Without the log's thread a line is written by its caller, to stderr. */
static int start(void **state)
{
    bus_health_init(&health, "redis");
    stderr_before = dup(STDERR_FILENO);
    return stderr_before < 0 || pipe(captured) != 0 || dup2(captured[1], STDERR_FILENO) < 0;
}

static int stop(void **state)
{
    dup2(stderr_before, STDERR_FILENO);
    close(stderr_before);
    close(captured[0]);
    close(captured[1]);
    bus_health_fini(&health);
    return 0;
}

/* The lines since the last call. */
static const char *said(void)
{
    assert_int_equal(write(captured[1], "\n", 1), 1); /* so that there is something to read */
    ssize_t len = read(captured[0], lines, sizeof(lines) - 1);
    assert_true(len > 0);
    lines[len - 1] = '\0';
    return lines;
}

static void at_first_it_is_not_up(void **state)
{
    assert_false(bus_health_is_up(&health, reason));
    assert_string_equal(reason, "nothing has been heard of it yet");
}

static void a_reason_is_told_and_logged_once(void **state)
{
    bus_health_set(&health, false, "127.0.0.1:1: Connection refused");
    assert_false(bus_health_is_up(&health, reason));
    assert_string_equal(reason, "127.0.0.1:1: Connection refused");
    const char *line = said();
    assert_non_null(strstr(line, "\"event\":\"bus.down\""));
    assert_non_null(strstr(line, "the bus (redis) is not up: 127.0.0.1:1: Connection refused"));
    bus_health_set(&health, false, "127.0.0.1:1: Connection refused");
    assert_string_equal(said(), "");
    bus_health_set(&health, false, "timed out");
    assert_non_null(strstr(said(), "timed out"));
    bus_health_set(&health, true, "ignored");
    assert_true(bus_health_is_up(&health, reason));
    assert_string_equal(reason, "");
    assert_non_null(strstr(said(), "\"event\":\"bus.up\""));
    bus_health_set(&health, true, "");
    assert_string_equal(said(), "");
}

static void a_reason_that_is_missing_or_long_is_no_trouble(void **state)
{
    char text[2 * BUS_HEALTH_TEXT];
    bus_health_set(&health, false, NULL);
    assert_false(bus_health_is_up(&health, reason));
    assert_string_equal(reason, "no reason is known");
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    bus_health_set(&health, false, text);
    assert_false(bus_health_is_up(&health, reason));
    assert_int_equal(strlen(reason), BUS_HEALTH_TEXT - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(at_first_it_is_not_up),
        TEST(a_reason_is_told_and_logged_once),
        TEST(a_reason_that_is_missing_or_long_is_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
