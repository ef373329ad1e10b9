#include "base/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text_test_help.h"

static char folder[] = "/tmp/audit_test.XXXXXX";
static char path[64];
static char moved[64];
static char text[200000];

static int begin(void **state)
{
    strcpy(folder, "/tmp/audit_test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/audit.log", folder);
    snprintf(moved, sizeof(moved), "%s/audit.log.1", folder);
    return 0;
}

static int end(void **state)
{
    audit_close();
    unlink(path);
    unlink(moved);
    return rmdir(folder);
}

static const char *content(const char *file)
{
    return text_of_file(file, text, sizeof(text));
}

static const struct audit_act kick = {.action = "session.kick",
                                      .app = {"demo", 4},
                                      .key = {"ops", 3},
                                      .role = {"admin", 5},
                                      .via = {"api", 3},
                                      .peer = {"10.0.0.7", 8},
                                      .target = {"sessions/s_1", 12},
                                      .status = 204,
                                      .request_id = {"r-1", 3}};

static const struct audit_act stranger = {
    .action = "key.refused", .result = AUDIT_REFUSED, .peer = {"10.6.6.6", 8}, .status = 401};

static void a_line_says_who_did_what_to_what_and_how_it_ended(void **state)
{
    assert_int_equal(audit_open(str_of(path)), 0);
    uint64_t before = audit_lines();
    audit(&kick);
    audit_close();
    assert_string_equal(
        strstr(content(path), "Z\",") + 3,
        "\"level\":\"audit\",\"event\":\"session.kick\","
        "\"msg\":\"ops by api from 10.0.0.7: session.kick sessions/s_1: done\","
        "\"result\":\"done\",\"app\":\"demo\",\"key\":\"ops\",\"role\":\"admin\",\"via\":\"api\","
        "\"peer\":\"10.0.0.7\",\"status\":204,\"request_id\":\"r-1\",\"target\":\"sessions/s_1\"}\n");
    assert_int_equal(audit_lines() - before, 1);
}

static void an_act_that_takes_its_time_is_told_with_its_end(void **state)
{
    static const struct {
        int status;
        const char *result;
    } cases[] = {{202, "done"}, {404, "refused"}, {503, "failed"}};
    assert_int_equal(audit_open(str_of(path)), 0);
    for (int i = 0; i < 3; i++) {
        char target[] = "sessions/s_1";
        struct audit_act act = kick;
        act.target = str_of(target);
        struct audit_act *kept = audit_begin(&act);
        assert_non_null(kept);
        memset(target, 'x', sizeof(target));
        audit_end(kept, cases[i].status, i ? STR("why") : STR(""));
    }
    audit_end(NULL, 200, STR(""));
    mem_free(audit_begin(&kick)); /* one that came to nothing */
    audit_close();
    char *at = (char *)content(path);
    for (int i = 0; i < 3; i++) {
        char expected[80];
        snprintf(expected, sizeof(expected), "\"status\":%d", cases[i].status);
        at = strstr(at, cases[i].result);
        assert_non_null(at);
        assert_non_null(strstr(at, expected));
    }
    assert_int_equal(text_count(text, "\"target\":\"sessions/s_1\"}\n"), 3);
    assert_int_equal(text_count(text, "\"code\":\"why\""), 2);
    mem_fail_nth(1);
    assert_null(audit_begin(&kick));
}

static void the_file_is_for_its_owner_alone_and_is_appended_to(void **state)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(audit_open(str_of(path)), 0);
        audit(&kick);
        audit_close();
    }
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(text_count(content(path), "\n"), 2);
}

static void no_level_silences_it(void **state)
{
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(audit_open(str_of(path)), 0);
    audit(&kick);
    audit_close();
    log_set_level(LOG_LEVEL_INFO);
    assert_int_equal(text_count(content(path), "session.kick\",\"msg"), 1);
}

static void acts_of_known_callers_all_get_a_line(void **state)
{
    assert_int_equal(audit_open(str_of(path)), 0);
    for (int i = 0; i < 400; i++) {
        audit(&kick);
    }
    audit_close();
    assert_int_equal(text_count(content(path), "\n"), 400);
}

static void strangers_can_not_fill_the_disk(void **state)
{
    assert_int_equal(audit_open(str_of(path)), 0);
    for (int i = 0; i < 1000; i++) {
        audit(&stranger);
    }
    audit(&kick); /* and silence nobody else */
    audit_close();
    assert_in_range(text_count(content(path), "key.refused\",\"msg"), 1, 40);
    assert_int_equal(text_count(text, "session.kick\",\"msg"), 1);
}

static void a_file_that_was_moved_away_is_made_anew(void **state)
{
    assert_int_equal(audit_open(str_of(path)), 0);
    audit(&kick);
    audit_close(); /* so that the first line is there */
    assert_int_equal(audit_open(str_of(path)), 0);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(audit_open(str_of(path)), 0);
    audit(&kick);
    audit_close();
    assert_int_equal(text_count(content(moved), "\n"), 1);
    assert_int_equal(text_count(content(path), "\n"), 1);
}

static void a_file_that_can_not_be_opened_changes_nothing(void **state)
{
    assert_int_equal(audit_open(str_of(path)), 0);
    assert_int_equal(audit_open(STR("/nowhere/audit.log")), -ENOENT);
    audit(&kick);
    audit_close();
    assert_int_equal(text_count(content(path), "\n"), 1);
}

/* BAD-INPUT R5 */
static void a_full_disk_costs_lines_that_are_counted_and_told(void **state)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(log_start(fds[1]), 0);
    uint64_t lost = audit_lines_lost();
    assert_int_equal(audit_open(STR("/dev/full")), 0);
    for (int i = 0; i < 30; i++) { /* more than an event of the log may say */
        audit(&kick);
    }
    audit_close();
    assert_int_equal(audit_lines_lost() - lost, 30);
    log_stop();
    close(fds[1]);
    ssize_t len = read(fds[0], text, sizeof(text) - 1);
    text[len > 0 ? len : 0] = '\0';
    assert_in_range(text_count(text, "\"event\":\"audit.lost\""), 1, 20);
    assert_int_equal(text_count(text, "\"target\":\"sessions/s_1\"}\n"), 30); /* nothing is gone */
    close(fds[0]);
}

static void on_stderr_it_stands_between_the_lines_of_the_log(void **state)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(log_start(fds[1]), 0);
    assert_int_equal(audit_open(STR("stderr")), 0);
    log_info("test.before", "1");
    audit(&kick);
    log_info("test.behind", "2");
    log_stop();
    close(fds[1]);
    ssize_t len = read(fds[0], text, sizeof(text) - 1);
    text[len > 0 ? len : 0] = '\0';
    char *at = strstr(text, "test.before");
    assert_non_null(at);
    at = strstr(at, "\"level\":\"audit\"");
    assert_non_null(at);
    assert_non_null(strstr(at, "test.behind"));
    close(fds[0]);
}

static void audit_lines_that_the_log_loses_are_counted_as_such(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    uint64_t lost = audit_lines_lost();
    assert_int_equal(log_start(fd), 0);
    assert_int_equal(audit_open(STR("stderr")), 0);
    log_info("test.lost", "a line of the log is not one of the audit");
    audit(&kick);
    log_stop();
    close(fd);
    assert_int_equal(audit_lines_lost() - lost, 1);
}

static void nowhere_is_nowhere(void **state)
{
    uint64_t before = audit_lines();
    assert_int_equal(audit_open(STR("")), 0);
    audit(&kick);
    assert_int_equal(audit_lines(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_says_who_did_what_to_what_and_how_it_ended, begin,
                                        end),
        cmocka_unit_test_setup_teardown(the_file_is_for_its_owner_alone_and_is_appended_to, begin,
                                        end),
        cmocka_unit_test_setup_teardown(an_act_that_takes_its_time_is_told_with_its_end, begin,
                                        end),
        cmocka_unit_test_setup_teardown(no_level_silences_it, begin, end),
        cmocka_unit_test_setup_teardown(acts_of_known_callers_all_get_a_line, begin, end),
        cmocka_unit_test_setup_teardown(strangers_can_not_fill_the_disk, begin, end),
        cmocka_unit_test_setup_teardown(a_file_that_was_moved_away_is_made_anew, begin, end),
        cmocka_unit_test_setup_teardown(a_file_that_can_not_be_opened_changes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(a_full_disk_costs_lines_that_are_counted_and_told, begin,
                                        end),
        cmocka_unit_test_setup_teardown(on_stderr_it_stands_between_the_lines_of_the_log, begin,
                                        end),
        cmocka_unit_test_setup_teardown(audit_lines_that_the_log_loses_are_counted_as_such, begin,
                                        end),
        cmocka_unit_test_setup_teardown(nowhere_is_nowhere, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
