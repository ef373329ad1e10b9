#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text_test_help.h"

static int fds[2];
static char text[60000]; /* under the 64 KiB that a pipe holds */

static int begin(void **state)
{
    log_set_level(LOG_LEVEL_INFO);
    text[0] = '\0';
    return pipe2(fds, O_CLOEXEC) || log_start(fds[1]);
}

/* Stops and returns all that was logged since begin. */
static const char *logged(void)
{
    log_stop();
    close(fds[1]);
    size_t len = 0;
    ssize_t got;
    while ((got = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0) {
        len += (size_t)got;
    }
    close(fds[0]);
    text[len] = '\0';
    return text;
}

static void a_line_carries_time_level_event_and_message(void **state)
{
    uint64_t before_ms = clock_wall_ms();
    log_warn("test.line", "session '%s' has %d", "s_9", 4);
    const char *line = logged();
    unsigned year, month, day, hour, minute, second, millis;
    assert_int_equal(sscanf(line, "{\"ts\":\"%4u-%2u-%2uT%2u:%2u:%2u.%3uZ\"", &year, &month, &day,
                            &hour, &minute, &second, &millis),
                     7);
    assert_string_equal(strstr(line, "Z\",") + 3, "\"level\":\"warn\",\"event\":\"test.line\","
                                                  "\"msg\":\"session 's_9' has 4\"}\n");
    /* The minute of the hour is enough to know that it is the wall clock in UTC. */
    unsigned before_minutes = (unsigned)(before_ms / 60000 % 1440);
    unsigned shown_minutes = hour * 60 + minute;
    assert_in_range((shown_minutes + 1440 - before_minutes) % 1440, 0, 1);
}

/* BAD-INPUT A11 */
static void what_a_peer_sends_stays_inside_its_line(void **state)
{
    log_info("test.forged", "agent %s", "x\r\n{\"level\":\"error\"}\x1b[2J\xe2\x80\xa8\xff\"");
    const char *line = logged();
    assert_int_equal(text_count(line, "\n"), 1);
    assert_non_null(strstr(line, "agent x\\u000d\\u000a{\\\"level\\\":\\\"error\\\"}"
                                 "\\u001b[2J\\u2028\\ufffd\\\"\"}\n"));
}

static void levels_below_the_set_one_are_silent(void **state)
{
    log_debug("test.level", "debug 1");
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("test.level", "warn 1");
    log_error("test.level", "error 1");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("test.level", "debug 2");
    log_info("test.level", "info 2");
    const char *lines = logged();
    assert_int_equal(text_count(lines, "\n"), 3);
    assert_int_equal(text_count(lines, "error 1"), 1);
    assert_int_equal(text_count(lines, "debug 2"), 1);
    assert_int_equal(text_count(lines, "info 2"), 1);
}

static void level_names_are_parsed_exactly(void **state)
{
    enum log_level level = LOG_LEVEL_WARN;
    assert_int_equal(log_level_parse("debug", &level), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_parse("info", &level), 0);
    assert_int_equal(level, LOG_LEVEL_INFO);
    assert_int_equal(log_level_parse("error", &level), 0);
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_int_equal(log_level_parse("warn", &level), 0);
    assert_int_equal(level, LOG_LEVEL_WARN);
    const char *bad[] = {"", "Warn", "warning", "warn ", "inf"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(log_level_parse(bad[i], &level), ERR_SYNTAX);
    }
    assert_int_equal(level, LOG_LEVEL_WARN);
}

static void a_chatty_event_is_held_back_and_counted(void **state)
{
    uint64_t suppressed = log_lines_suppressed();
    for (int i = 0; i < 500; i++) {
        log_warn("test.chatty", "line %d", i);
    }
    log_warn("test.calm", "still heard");
    suppressed = log_lines_suppressed() - suppressed;
    const char *lines = logged();
    assert_int_equal(text_count(lines, "test.calm"), 1);
    assert_int_equal(text_count(lines, "\"event\":\"test.chatty\"") + suppressed, 500);
    assert_true(suppressed > 0);
}

static void what_was_held_back_is_told_at_the_end_when_nothing_follows(void **state)
{
    uint64_t suppressed = log_lines_suppressed();
    for (int i = 0; i < 500; i++) {
        log_warn("test.burst", "line %d", i);
    }
    suppressed = log_lines_suppressed() - suppressed;
    char expected[80];
    snprintf(expected, sizeof(expected), "\"code\":\"test.burst\",\"suppressed\":%llu}",
             (unsigned long long)suppressed);
    const char *lines = logged();
    assert_int_equal(text_count(lines, "\"level\":\"warn\",\"event\":\"log.suppressed\""), 1);
    assert_int_equal(text_count(lines, expected), 1);
}

static void what_was_held_back_is_told_by_itself_when_its_second_is_over(void **state)
{
    for (int i = 0; i < 30; i++) {
        log_info("test.once", "line %d", i);
    }
    size_t len = 0;
    while (!strstr(text, "log.suppressed")) { /* nothing but the clock moves it */
        ssize_t got = read(fds[0], text + len, sizeof(text) - 1 - len);
        assert_true(got > 0);
        len += (size_t)got;
        text[len] = '\0';
    }
    assert_non_null(strstr(text, "\"code\":\"test.once\",\"suppressed\":20}\n"));
    logged();
}

struct test_scope {
    struct log_scope scope;
    struct log_fields fields;
    int asked;
};

static void describe(const struct log_scope *scope, struct log_fields *out_fields)
{
    struct test_scope *own = (struct test_scope *)scope;
    own->asked++;
    *out_fields = own->fields;
}

static void fields_are_keys_and_the_innermost_wins(void **state)
{
    struct test_scope outer = {.scope = {.describe = describe},
                               .fields = {.app = STR("a"), .request_id = STR("r-1")}};
    struct test_scope inner = {.scope = {.describe = describe},
                               .fields = {.app = STR("b"), .sid = STR("s_1")}};
    log_scope_enter(&outer.scope);
    log_scope_enter(&inner.scope);
    log_debug("test.silent", "nobody is asked for it");
    assert_int_equal(inner.asked, 0);
    log_info_of(LOG_OF(.sid = STR("s_2"), .code = STR("slow")), "test.inner", "m");
    log_scope_leave(&inner.scope);
    log_info("test.outer", "m");
    log_scope_leave(&outer.scope);
    log_info("test.none", "m");
    const char *lines = logged();
    assert_int_equal(text_count(lines,
                                "\"msg\":\"m\",\"app\":\"b\",\"sid\":\"s_2\",\"code\":\"slow\","
                                "\"request_id\":\"r-1\"}"),
                     1);
    assert_int_equal(text_count(lines, "\"msg\":\"m\",\"app\":\"a\",\"request_id\":\"r-1\"}"), 1);
    assert_int_equal(text_count(lines, "\"event\":\"test.none\",\"msg\":\"m\"}"), 1);
}

static void the_node_stands_in_every_line(void **state)
{
    log_set_node("eu-1");
    log_info("test.node", "m");
    log_set_node("");
    assert_int_equal(text_count(logged(), "\"msg\":\"m\",\"node\":\"eu-1\"}"), 1);
}

static void the_last_warnings_and_errors_are_remembered(void **state)
{
    char *message = malloc(3001);
    assert_non_null(message);
    memset(message, '\n', 3000); /* six bytes each */
    message[3000] = '\0';
    log_error("test.old", "oldest");
    log_info("test.info", "not this one");
    log_warn("test.long", "%s", message);
    log_error("test.new", "newest");
    free(message);
    struct buf lines = {0};
    log_recent_lines(&lines, 3);
    const char *first = buf_cstr(&lines);
    assert_non_null(strstr(first, "\"msg\":\"newest\"}"));
    const char *second = first + strlen(first) + 1;
    assert_non_null(strstr(second, "\"event\":\"test.long\""));
    assert_non_null(strstr(second, "\xe2\x80\xa6\""));
    const char *third = second + strlen(second) + 1;
    assert_non_null(strstr(third, "\"msg\":\"oldest\"}"));
    assert_ptr_equal(third + strlen(third) + 1, first + lines.len);
    buf_fini(&lines);
    logged();
}

static void a_long_message_is_cut_and_shows_it(void **state)
{
    char *message = malloc(5001);
    assert_non_null(message);
    memset(message, 'x', 5000);
    message[5000] = '\0';
    log_info("test.long", "%s", message);
    message[2048] = '\0';
    log_info("test.long", "%s", message);
    free(message);
    const char *lines = logged();
    assert_int_equal(text_count(lines, "\n"), 2);
    assert_int_equal(text_count(lines, "x\xe2\x80\xa6\"}\n"), 1);
    assert_int_equal(text_count(lines, "x"), 2 * 2048);
}

static void errno_survives_a_line(void **state)
{
    errno = ENOENT;
    log_info("test.errno", "%s", "kept");
    assert_int_equal(errno, ENOENT);
    logged();
}

static void a_forked_child_may_log(void **state)
{
    log_info("test.fork", "parent");
    pid_t child = fork();
    if (child == 0) {
        log_info("test.fork", "child");
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    const char *lines = logged();
    assert_int_equal(text_count(lines, "\n"), 2);
    assert_int_equal(text_count(lines, "\"msg\":\"child\"}"), 1);
}

static void lost_lines_are_counted(void **state)
{
    uint64_t lost = log_lines_lost();
    close(fds[0]);
    fds[0] = dup(fds[1]);
    assert_true(fds[0] >= 0);
    log_info("test.lost", "nobody reads");
    log_stop();
    assert_int_equal(log_lines_lost() - lost, 1);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_line_carries_time_level_event_and_message, begin),
        cmocka_unit_test_setup(what_a_peer_sends_stays_inside_its_line, begin),
        cmocka_unit_test_setup(levels_below_the_set_one_are_silent, begin),
        cmocka_unit_test(level_names_are_parsed_exactly),
        cmocka_unit_test_setup(a_chatty_event_is_held_back_and_counted, begin),
        cmocka_unit_test_setup(what_was_held_back_is_told_at_the_end_when_nothing_follows, begin),
        cmocka_unit_test_setup(what_was_held_back_is_told_by_itself_when_its_second_is_over, begin),
        cmocka_unit_test_setup(fields_are_keys_and_the_innermost_wins, begin),
        cmocka_unit_test_setup(the_node_stands_in_every_line, begin),
        cmocka_unit_test_setup(the_last_warnings_and_errors_are_remembered, begin),
        cmocka_unit_test_setup(a_long_message_is_cut_and_shows_it, begin),
        cmocka_unit_test_setup(errno_survives_a_line, begin),
        cmocka_unit_test_setup(a_forked_child_may_log, begin),
        cmocka_unit_test_setup(lost_lines_are_counted, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
