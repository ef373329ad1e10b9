#include "cli/doctor_local.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/exit_code.h"

/* A machine of files in a folder. */
static char root[64];
static char out[16384];

static void write_file(const char *path, const char *text)
{
    char whole[512];
    snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int setup(void **state)
{
    snprintf(root, sizeof(root), "/tmp/tidegate-doctor-XXXXXX");
    assert_non_null(mkdtemp(root));
    write_file("/proc/self/limits",
               "Limit                     Soft Limit           Hard Limit           Units     \n"
               "Max open files            1024                 20000                files     \n");
    write_file("/proc/sys/fs/file-max", "9223372036854775807\n");
    write_file("/proc/sys/net/core/somaxconn", "4096\n");
    write_file("/proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n");
    write_file("/proc/sys/net/ipv4/tcp_mem", "95000\t126000\t190000\n");
    write_file("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n");
    write_file("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
    write_file("/proc/meminfo", "MemTotal:        4000000 kB\nMemFree:  1 kB\n");
    write_file("/proc/self/cgroup", "0::/system.slice/tidegate.service\n");
    return 0;
}

static int teardown(void **state)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command);
}

/* What is said, as JSON lines; returns the exit code. */
static int look(uint64_t sessions)
{
    struct doctor_report report = {.json = true};
    struct doctor_local local = {.root = root, .pid = "self", .sessions = sessions};
    FILE *saved = stdout;
    memset(out, 0, sizeof(out));
    stdout = fmemopen(out, sizeof(out), "w");
    doctor_check_local(&local, &report);
    int code = doctor_report_end(&report);
    fclose(stdout);
    stdout = saved;
    return code;
}

static void says(const char *check, const char *status, const char *part)
{
    char start[128];
    snprintf(start, sizeof(start), "{\"check\":\"%s\",\"status\":\"%s\"", check, status);
    const char *line = strstr(out, start);
    if (!line || !strstr(line, part)) {
        fail_msg("expected %s … %s\ngot: %s", start, part, out);
    }
}

static void a_machine_with_enough_of_everything_is_good(void **state)
{
    assert_int_equal(look(10000), EXIT_CODE_OK);
    static const char *const checks[] = {
        "local.descriptors", "local.somaxconn", "local.syn_backlog", "local.tcp_mem",
        "local.tcp_wmem",    "local.ports",     "local.conntrack",   "local.memory"};
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        says(checks[i], "ok", "");
    }
    assert_null(strstr(out, "local.file_max"));
}

static void too_few_descriptors_fail(void **state)
{
    assert_int_equal(look(18976), EXIT_CODE_OK);
    assert_int_equal(look(18977), EXIT_CODE_REFUSED);
    says("local.descriptors", "fail", "20000 open files are allowed, 18977 sessions need 20001");
    write_file("/proc/self/limits", "Max open files            unlimited            unlimited\n");
    look(1000000);
    says("local.descriptors", "ok", "");
    write_file("/proc/sys/fs/file-max", "10000\n");
    assert_int_equal(look(10000), EXIT_CODE_REFUSED);
    says("local.file_max", "fail", "10000 open files");
}

static void small_settings_are_warned_of_with_what_to_do(void **state)
{
    write_file("/proc/sys/net/core/somaxconn", "128\n");
    write_file("/proc/sys/net/ipv4/tcp_max_syn_backlog", "256\n");
    write_file("/proc/sys/net/ipv4/tcp_mem", "100\t200\t300\n");
    write_file("/proc/sys/net/ipv4/tcp_wmem", "4096\t8388608\t8388608\n");
    write_file("/proc/sys/net/ipv4/ip_local_port_range", "60000\t60999\n");
    assert_int_equal(look(10000), EXIT_CODE_OK);
    says("local.somaxconn", "warn", "\"fix\":\"sysctl -w net.core.somaxconn=4096\"");
    says("local.syn_backlog", "warn", "tcp_max_syn_backlog=4096");
    says("local.tcp_mem", "warn", "pressure begins at");
    says("local.tcp_wmem", "warn", "8388608 bytes from the start");
    says("local.ports", "warn", "1000 ports");
}

static void connections_that_are_tracked_need_room(void **state)
{
    write_file("/proc/sys/net/netfilter/nf_conntrack_max", "12000\n");
    assert_int_equal(look(10000), EXIT_CODE_REFUSED);
    says("local.conntrack", "fail", "tracks 12000 connections");
    write_file("/proc/sys/net/netfilter/nf_conntrack_max", "262144\n");
    assert_int_equal(look(10000), EXIT_CODE_OK);
}

static void memory_is_that_of_the_cgroup(void **state)
{
    write_file("/sys/fs/cgroup/system.slice/tidegate.service/memory.max", "max\n");
    look(10000);
    says("local.memory", "ok", "the machine has 3906 MiB");
    write_file("/sys/fs/cgroup/system.slice/tidegate.service/memory.max", "104857600\n");
    assert_int_equal(look(10000), EXIT_CODE_OK);
    says("local.memory", "warn", "the cgroup has 100 MiB");
    write_file("/sys/fs/cgroup/system.slice/tidegate.service/memory.max", "10485760\n");
    assert_int_equal(look(10000), EXIT_CODE_REFUSED);
    says("local.memory", "fail", "the cgroup has 10 MiB");
}

static void what_can_not_be_read_is_skipped(void **state)
{
    snprintf(root, sizeof(root), "/nonexistent");
    assert_int_equal(look(10000), EXIT_CODE_OK);
    says("local.descriptors", "skip", "/proc/self/limits can't be read");
    says("local.memory", "skip", "");
    says("local.tcp_mem", "skip", "");
    says("local.ports", "skip", "");
}

static int no_teardown(void **state)
{
    return 0;
}

static void the_text_has_a_line_a_check_and_what_to_do_below(void **state)
{
    struct doctor_report report = {0};
    FILE *saved = stdout;
    memset(out, 0, sizeof(out));
    stdout = fmemopen(out, sizeof(out), "w");
    doctor_say(&report, "a.b", DOCTOR_OK, NULL, "%d\x1b[2J", 7);
    doctor_say(&report, "a.c", DOCTOR_FAIL, "mend it", "broken");
    assert_int_equal(doctor_report_end(&report), EXIT_CODE_REFUSED);
    fclose(stdout);
    stdout = saved;
    assert_string_equal(out, "ok    a.b                    7?[2J\n"
                             "fail  a.c                    broken\n"
                             "                           -> mend it\n"
                             "1 ok, 0 to look at, 1 failed, 0 not looked at\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_machine_with_enough_of_everything_is_good),
        TEST(too_few_descriptors_fail),
        TEST(small_settings_are_warned_of_with_what_to_do),
        TEST(connections_that_are_tracked_need_room),
        TEST(memory_is_that_of_the_cgroup),
        cmocka_unit_test_setup_teardown(what_can_not_be_read_is_skipped, no_teardown, no_teardown),
        cmocka_unit_test(the_text_has_a_line_a_check_and_what_to_do_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
