#include "cli/push_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/exit_code.h"

static struct push_options options;

#define READ(...) \
    read_options((int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), (char *[]){__VA_ARGS__})

/* -1: go on, else the exit code. */
static int read_options(int argc, char **argv)
{
    int code = -1;
    push_options_fini(&options);
    bool go_on = push_options_read(&options, argc, argv, &code);
    return go_on ? -1 : code;
}

static int forget(void **state)
{
    push_options_fini(&options);
    return 0;
}

/* Replaces stdin by a pipe that holds the text. */
static void set_stdin(const char *text)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), strlen(text));
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
}

static void everything_that_was_asked_is_understood(void **state)
{
    assert_int_equal(READ("push", "--user", "u1", "--user", "u2", "--group", "g", "--session",
                          "s_1", "--type", "t", "--id", "i", "--ttl", "60s", "--wait", "written",
                          "--data", " {\"a\":1} ", "--url", "https://push.example.com/base",
                          "--json", "--timeout", "2s", "--key-file", "f"),
                     -1);
    assert_int_equal(options.users.count, 2);
    assert_string_equal(options.users.items[1], "u2");
    assert_int_equal(options.groups.count, 1);
    assert_int_equal(options.sessions.count, 1);
    assert_string_equal(options.type, "t");
    assert_string_equal(options.id, "i");
    assert_string_equal(options.wait, "written");
    assert_string_equal(options.key_file, "f");
    assert_int_equal(options.ttl_ms, 60000);
    assert_int_equal(options.timeout_ms, 2000);
    assert_true(options.json);
    assert_true(options.url.is_secure);
    assert_true(str_equal(buf_str(&options.data), STR(" {\"a\":1} ")));
}

static void a_ticket_may_have_its_final_message_and_nobody_else(void **state)
{
    assert_int_equal(READ("push", "--ticket", "t_1", "--final", "--data", "1"), -1);
    assert_int_equal(options.tickets.count, 1);
    assert_true(options.is_final);
    assert_int_equal(READ("push", "--ticket", "t_1", "--user", "u", "--final", "--data", "1"),
                     EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--ticket", "", "--data", "1"), EXIT_CODE_USAGE);
}

static void only_a_target_and_data_are_needed(void **state)
{
    assert_int_equal(READ("push", "--all", "--data", "null"), -1);
    assert_true(options.all);
    assert_null(options.type);
    assert_int_equal(options.ttl_ms, 0);
    assert_int_equal(options.timeout_ms, 10000);
    assert_string_equal(options.url.authority, "127.0.0.1:8081");
}

static void data_come_from_standard_input_or_a_file(void **state)
{
    set_stdin("[1,\n2]\n");
    assert_int_equal(READ("push", "--all"), -1);
    assert_true(str_equal(buf_str(&options.data), STR("[1,\n2]\n")));
    set_stdin("3");
    assert_int_equal(READ("push", "--all", "--data=@-"), -1);
    assert_true(str_equal(buf_str(&options.data), STR("3")));

    char path[] = "@/tmp/tidegate-push-XXXXXX";
    int fd = mkstemp(path + 1);
    assert_int_equal(write(fd, "\"x\"", 3), 3);
    close(fd);
    assert_int_equal(READ("push", "--all", "--data", path), -1);
    assert_true(str_equal(buf_str(&options.data), STR("\"x\"")));
    unlink(path + 1);
    assert_int_equal(READ("push", "--all", "--data", path), EXIT_CODE_USAGE);
}

static void what_makes_no_sense_is_a_usage_error(void **state)
{
    assert_int_equal(READ("push", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--user", "", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--user", "\xff", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--type", "\xff", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--ttl", "60", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--timeout", "0s", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--wait", "Acked", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--url", "ws://a", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--url", "http://a/?q", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--url", "a", "--data", "1"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--unknown"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--help"), EXIT_CODE_OK);
}

static void data_that_are_not_json_are_refused_here(void **state)
{
    assert_int_equal(READ("push", "--all", "--data", "hello"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--data", "{\"a\":"), EXIT_CODE_USAGE);
    assert_int_equal(READ("push", "--all", "--data", ""), EXIT_CODE_USAGE);
    char deep[2 * 200 + 1] = "";
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    assert_int_equal(READ("push", "--all", "--data", deep), EXIT_CODE_USAGE);
}

static void lost_memory_is_an_error_and_no_empty_push(void **state)
{
    mem_fail_nth(1);
    assert_int_equal(READ("push", "--all", "--data", "1"), EXIT_CODE_USAGE);
    assert_false(mem_fail_pending());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_that_was_asked_is_understood),
        cmocka_unit_test(a_ticket_may_have_its_final_message_and_nobody_else),
        cmocka_unit_test(only_a_target_and_data_are_needed),
        cmocka_unit_test(data_come_from_standard_input_or_a_file),
        cmocka_unit_test(what_makes_no_sense_is_a_usage_error),
        cmocka_unit_test(data_that_are_not_json_are_refused_here),
        cmocka_unit_test(lost_memory_is_an_error_and_no_empty_push),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
