#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void every_code_of_ours_has_a_phrase_of_its_own(void **state)
{
    for (int err = ERR_TOO_MANY; err <= ERR_PROTOCOL; err++) {
        assert_non_null(err_str(err));
        assert_string_not_equal(err_str(err), "unknown error");
        for (int other = err + 1; other <= ERR_PROTOCOL; other++) {
            assert_string_not_equal(err_str(err), err_str(other));
        }
    }
    assert_string_equal(err_str(ERR_TOO_LARGE), "too large");
    assert_string_equal(err_str(ERR_NO_MEMORY), "out of memory");
}

static void codes_of_the_system_have_its_phrase(void **state)
{
    assert_string_equal(err_str(-ENOENT), "No such file or directory");
    assert_string_equal(err_str(-EPIPE), "Broken pipe");
}

static void any_other_number_is_answered_too(void **state)
{
    assert_string_equal(err_str(0), "no error");
    assert_string_equal(err_str(17), "no error");
    const int unknown[] = {-10000, ERR_TOO_MANY - 1, -9999, -4000, -20000, INT_MIN + 1, INT_MIN};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_string_equal(err_str(unknown[i]), "unknown error");
    }
}

/* Runs a false assertion in a child. Returns its wait status, and what it said on stderr. */
static int run_false_assertion(char *out_said, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        ASSERT(1 + 1 == 3);
        _exit(0);
    }
    close(fds[1]);
    size_t len = 0;
    ssize_t got;
    while ((got = read(fds[0], out_said + len, size - 1 - len)) > 0) {
        len += (size_t)got;
    }
    out_said[len] = '\0';
    close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_false_assertion_names_itself_and_aborts(void **state)
{
    char said[4096];
    int status = run_false_assertion(said, sizeof(said));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(said, "err_test.c:"));
    assert_non_null(strstr(said, "assertion failed: 1 + 1 == 3\n"));
}

static void a_true_assertion_evaluates_once_and_goes_on(void **state)
{
    int evaluated = 0;
    ASSERT(++evaluated);
    assert_int_equal(evaluated, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_of_ours_has_a_phrase_of_its_own),
        cmocka_unit_test(codes_of_the_system_have_its_phrase),
        cmocka_unit_test(any_other_number_is_answered_too),
        cmocka_unit_test(a_false_assertion_names_itself_and_aborts),
        cmocka_unit_test(a_true_assertion_evaluates_once_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
