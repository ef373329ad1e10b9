#include "base/log_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"

enum { PATIENCE_MS = 60000 };

static char memory[1 << 20];
static struct log_stream stream = LOG_STREAM_INIT(memory, STDERR_FILENO);

static void say(const char *line)
{
    log_stream_write(&stream, line, strlen(line));
}

/* Everything up to the end of the stream. */
static void read_all(int fd, struct buf *out)
{
    char chunk[65536];
    ssize_t len;
    while ((len = read(fd, chunk, sizeof(chunk))) > 0) {
        buf_append(out, chunk, (size_t)len);
    }
    assert_int_equal(len, 0);
    assert_int_equal(buf_err(out), 0);
}

static void assert_reads(int fd, const char *expected)
{
    struct buf got = {0};
    read_all(fd, &got);
    assert_string_equal(buf_cstr(&got), expected);
    buf_fini(&got);
}

static void make_pipe(int out_fds[2])
{
    assert_int_equal(pipe2(out_fds, O_CLOEXEC), 0);
}

/* Leaves no room at all; returns the bytes that are in it now. */
static size_t fill(int fd)
{
    char junk[4096];
    memset(junk, '.', sizeof(junk));
    size_t filled = 0;
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    for (size_t step = sizeof(junk); step > 0; step = step > 1 ? 1 : 0) {
        ssize_t len;
        while ((len = write(fd, junk, step)) > 0) {
            filled += (size_t)len;
        }
        assert_int_equal(errno, EAGAIN);
    }
    fcntl(fd, F_SETFL, flags);
    return filled;
}

static void lines_come_out_whole_and_in_order(void **state)
{
    int fds[2];
    make_pipe(fds);
    uint64_t lost = log_stream_lost(&stream);
    assert_int_equal(log_stream_start(&stream, fds[1]), 0);
    say("one\n");
    say("two\n");
    say("three\n");
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    close(fds[1]);
    assert_reads(fds[0], "one\ntwo\nthree\n");
    close(fds[0]);
    assert_int_equal(log_stream_lost(&stream), lost);
}

static void a_second_start_is_refused_and_a_second_stop_is_harmless(void **state)
{
    int fds[2];
    make_pipe(fds);
    assert_int_equal(log_stream_start(&stream, fds[1]), 0);
    assert_int_equal(log_stream_start(&stream, fds[1]), ERR_EXISTS);
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    assert_int_equal(log_stream_start(&stream, fds[1]), 0);
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    close(fds[0]);
    close(fds[1]);
}

struct reading {
    int fd;
    struct buf got;
};

static void *read_in_thread(void *arg)
{
    struct reading *reading = arg;
    read_all(reading->fd, &reading->got);
    return NULL;
}

static size_t count_lines(const struct buf *buf)
{
    size_t lines = 0;
    for (size_t i = 0; i < buf->len; i++) {
        lines += buf->data[i] == '\n';
    }
    return lines;
}

/* BAD-INPUT R5: the caller goes on, what doesn't fit is counted, the rest comes when it can. */
static void a_stuck_pipe_never_blocks_the_caller_and_costs_only_what_overflows(void **state)
{
    enum { LINES = 3000, LINE_LEN = 1000 };
    int fds[2];
    make_pipe(fds);
    size_t junk = fill(fds[1]);
    uint64_t lost = log_stream_lost(&stream);
    assert_int_equal(log_stream_start(&stream, fds[1]), 0);
    for (int i = 0; i < LINES; i++) {
        char line[LINE_LEN + 1];
        snprintf(line, sizeof(line), "%0*d\n", LINE_LEN - 1, i);
        log_stream_write(&stream, line, LINE_LEN);
    }
    lost = log_stream_lost(&stream) - lost;
    size_t queued = sizeof(memory) / (LINE_LEN + sizeof(size_t));
    assert_in_range(LINES - lost, queued, queued + 1); /* one may be in the writer's hands */

    struct reading reading = {.fd = fds[0]};
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_in_thread, &reading), 0);
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    close(fds[1]);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(reading.got.len, junk + (LINES - lost) * LINE_LEN);
    buf_consume(&reading.got, junk);
    long last = -1;
    for (size_t at = 0; at < reading.got.len; at += LINE_LEN) {
        long number = strtol((char *)reading.got.data + at, NULL, 10);
        assert_true(number > last);
        last = number;
    }
    buf_fini(&reading.got);
    close(fds[0]);
}

static void the_ring_wraps_without_harm(void **state)
{
    int fds[2];
    make_pipe(fds);
    struct reading reading = {.fd = fds[0]};
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_in_thread, &reading), 0);
    assert_int_equal(log_stream_start(&stream, fds[1]), 0);
    uint64_t lost = log_stream_lost(&stream);
    enum { LINES = 5000 };
    for (int i = 0; i < LINES; i++) {
        char line[1024];
        size_t len = 600 + (size_t)i % 400;
        memset(line, 'a' + i % 26, len);
        line[len - 1] = '\n';
        log_stream_write(&stream, line, len);
    }
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    close(fds[1]);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(count_lines(&reading.got) + log_stream_lost(&stream) - lost, LINES);
    for (size_t i = 1; i < reading.got.len; i++) {
        uint8_t before = reading.got.data[i - 1];
        assert_true(before == reading.got.data[i] || before == '\n' || reading.got.data[i] == '\n');
    }
    buf_fini(&reading.got);
    close(fds[0]);
}

static void a_stop_gives_up_on_a_stuck_pipe_and_counts_the_rest(void **state)
{
    int fds[2];
    make_pipe(fds);
    size_t junk = fill(fds[1]);
    uint64_t lost = log_stream_lost(&stream);
    assert_int_equal(log_stream_start(&stream, fds[1]), 0);
    for (int i = 0; i < 5; i++) {
        say("never\n");
    }
    log_stream_stop(&stream, 0, STDERR_FILENO);
    assert_int_equal(log_stream_lost(&stream) - lost, 5);
    close(fds[1]);
    struct buf got = {0};
    read_all(fds[0], &got);
    assert_int_equal(got.len, junk);
    buf_fini(&got);
    close(fds[0]);
}

/* BAD-INPUT R5, one line at a time: the error costs that line alone. */
static void assert_all_lost(int fd)
{
    uint64_t lost = log_stream_lost(&stream);
    assert_int_equal(log_stream_start(&stream, fd), 0);
    for (int i = 0; i < 7; i++) {
        say("lost\n");
    }
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    assert_int_equal(log_stream_lost(&stream) - lost, 7);
}

static void a_full_disk_costs_lines_and_nothing_else(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_all_lost(fd); /* ENOSPC */
    close(fd);
}

static void a_pipe_nobody_reads_any_more_costs_lines_and_nothing_else(void **state)
{
    int fds[2];
    make_pipe(fds);
    close(fds[0]);
    assert_all_lost(fds[1]); /* EPIPE, and SIGPIPE kept from the process */
    close(fds[1]);
}

static void a_closed_descriptor_costs_lines_and_nothing_else(void **state)
{
    int fd = dup(STDOUT_FILENO);
    assert_true(fd >= 0);
    close(fd);
    assert_all_lost(fd); /* EBADF */
}

static void a_terminal_that_went_away_costs_lines_and_nothing_else(void **state)
{
    int controller = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(controller >= 0);
    assert_int_equal(grantpt(controller), 0);
    assert_int_equal(unlockpt(controller), 0);
    int terminal = open(ptsname(controller), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0);
    close(controller);
    assert_all_lost(terminal); /* EIO */
    close(terminal);
}

static void a_descriptor_that_never_blocks_is_waited_for(void **state)
{
    enum { LINES = 300, LINE_LEN = 4000 };
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    fcntl(fds[0], F_SETFL, 0);
    uint64_t lost = log_stream_lost(&stream);
    assert_int_equal(log_stream_start(&stream, fds[1]), 0);
    char line[LINE_LEN];
    memset(line, 'x', sizeof(line));
    line[LINE_LEN - 1] = '\n';
    for (int i = 0; i < LINES; i++) {
        log_stream_write(&stream, line, sizeof(line));
    }
    struct reading reading = {.fd = fds[0]};
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_in_thread, &reading), 0);
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    close(fds[1]);
    assert_int_equal(pthread_join(reader, NULL), 0);
    lost = log_stream_lost(&stream) - lost;
    assert_int_equal(reading.got.len, (LINES - lost) * LINE_LEN);
    assert_int_equal(count_lines(&reading.got), LINES - lost);
    assert_true(lost < LINES / 2);
    buf_fini(&reading.got);
    close(fds[0]);
}

/* Before a start, lines go to stderr from the caller. Returns the old stderr. */
static int swap_stderr(int fd)
{
    int old = dup(STDERR_FILENO);
    assert_true(old >= 0);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    return old;
}

static void restore_stderr(int old)
{
    assert_int_equal(dup2(old, STDERR_FILENO), STDERR_FILENO);
    close(old);
}

static void without_a_writer_the_caller_writes_to_stderr(void **state)
{
    int fds[2];
    make_pipe(fds);
    int old = swap_stderr(fds[1]);
    close(fds[1]);
    say("direct\n");
    char got[16] = "";
    assert_int_equal(read(fds[0], got, sizeof(got)), 7);
    assert_string_equal(got, "direct\n");
    restore_stderr(old);
    close(fds[0]);
}

/* The limit on a file's size makes a short write, then an error: like a disk that fills up. */
static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void after_a_short_write_the_next_line_starts_afresh(void **state)
{
    signal(SIGXFSZ, SIG_IGN);
    FILE *file = tmpfile();
    assert_non_null(file);
    uint64_t lost = log_stream_lost(&stream);
    int old = swap_stderr(fileno(file));
    set_file_limit(12);
    say("whole 1\n");
    say("torn line\n"); /* 4 bytes fit */
    say("nothing of this\n");
    set_file_limit(RLIM_INFINITY);
    say("whole 2\n");
    say("whole 3\n");
    restore_stderr(old);
    assert_int_equal(log_stream_lost(&stream) - lost, 2);
    rewind(file);
    assert_reads(fileno(file), "whole 1\ntorn\nwhole 2\nwhole 3\n");
    fclose(file);
    signal(SIGXFSZ, SIG_DFL);
}

static void a_forked_child_writes_its_own_lines_itself(void **state)
{
    int fds[2];
    make_pipe(fds);
    assert_int_equal(log_stream_start(&stream, fds[1]), 0);
    say("parent\n");
    pid_t child = fork();
    if (child == 0) {
        say("child\n");
        _exit(log_stream_lost(&stream) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    close(fds[1]);
    struct buf got = {0};
    read_all(fds[0], &got);
    const char *text = buf_cstr(&got);
    assert_non_null(strstr(text, "parent\n"));
    assert_non_null(strstr(text, "child\n"));
    assert_int_equal(count_lines(&got), 2); /* the queue was not written twice */
    buf_fini(&got);
    close(fds[0]);
}

static void *say_100(void *arg)
{
    for (int i = 0; i < 100; i++) {
        say(arg);
    }
    return NULL;
}

static void lines_of_many_threads_stay_whole(void **state)
{
    int fds[2];
    make_pipe(fds);
    struct reading reading = {.fd = fds[0]};
    pthread_t reader, sayers[4];
    assert_int_equal(pthread_create(&reader, NULL, read_in_thread, &reading), 0);
    assert_int_equal(log_stream_start(&stream, fds[1]), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&sayers[i], NULL, say_100, "0123456789\n"), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(sayers[i], NULL), 0);
    }
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    close(fds[1]);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(reading.got.len, 400 * 11);
    for (size_t i = 0; i < reading.got.len; i += 11) {
        assert_memory_equal(reading.got.data + i, "0123456789\n", 11);
    }
    buf_fini(&reading.got);
    close(fds[0]);
}

static const char *lost_line;

static void remember_lost(const char *line, size_t len)
{
    lost_line = len == 5 && memcmp(line, "lost\n", 5) == 0 ? "lost" : "another";
}

static void a_line_that_is_lost_is_told(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    stream.on_lost = remember_lost;
    lost_line = NULL;
    assert_all_lost(fd);
    assert_string_equal(lost_line, "lost");
    stream.on_lost = NULL;
    close(fd);
}

static void after_a_switch_lines_go_to_the_other_descriptor(void **state)
{
    int first[2], second[2];
    make_pipe(first);
    make_pipe(second);
    assert_int_equal(log_stream_start(&stream, first[1]), 0);
    say("one\n");
    char got[8];
    assert_int_equal(read(first[0], got, sizeof(got)), 4); /* it is written */
    log_stream_switch(&stream, second[1]);
    say("two\n");
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    assert_int_equal(fcntl(second[1], F_GETFD), -1); /* the stream's, and closed */
    close(first[1]);
    assert_reads(first[0], "");
    assert_reads(second[0], "two\n");
    close(first[0]);
    close(second[0]);
}

static void a_stream_that_is_switched_without_a_line_closes_the_one_before(void **state)
{
    int first[2], second[2], third[2];
    make_pipe(first);
    make_pipe(second);
    make_pipe(third);
    assert_int_equal(log_stream_start(&stream, first[1]), 0);
    log_stream_switch(&stream, second[1]);
    log_stream_switch(&stream, third[1]);
    assert_reads(second[0], ""); /* waits until it is closed */
    log_stream_stop(&stream, PATIENCE_MS, STDERR_FILENO);
    assert_reads(third[0], "");
    close(first[1]);
    close(first[0]);
    close(second[0]);
    close(third[0]);
}

int main(void)
{
    stream.forks = true;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forked_child_writes_its_own_lines_itself),
        cmocka_unit_test(lines_come_out_whole_and_in_order),
        cmocka_unit_test(a_second_start_is_refused_and_a_second_stop_is_harmless),
        cmocka_unit_test(a_stuck_pipe_never_blocks_the_caller_and_costs_only_what_overflows),
        cmocka_unit_test(the_ring_wraps_without_harm),
        cmocka_unit_test(a_stop_gives_up_on_a_stuck_pipe_and_counts_the_rest),
        cmocka_unit_test(a_full_disk_costs_lines_and_nothing_else),
        cmocka_unit_test(a_pipe_nobody_reads_any_more_costs_lines_and_nothing_else),
        cmocka_unit_test(a_closed_descriptor_costs_lines_and_nothing_else),
        cmocka_unit_test(a_terminal_that_went_away_costs_lines_and_nothing_else),
        cmocka_unit_test(a_descriptor_that_never_blocks_is_waited_for),
        cmocka_unit_test(without_a_writer_the_caller_writes_to_stderr),
        cmocka_unit_test(after_a_short_write_the_next_line_starts_afresh),
        cmocka_unit_test(lines_of_many_threads_stay_whole),
        cmocka_unit_test(a_line_that_is_lost_is_told),
        cmocka_unit_test(after_a_switch_lines_go_to_the_other_descriptor),
        cmocka_unit_test(a_stream_that_is_switched_without_a_line_closes_the_one_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
