/* For tests: runs a verb of the program in this process with both output streams caught, and writes
 * configurations to files that are gone when the test ends. */
#ifndef TIDEGATE_APP_VERB_TEST_HELP_H
#define TIDEGATE_APP_VERB_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/exit_code.h"

enum { VERB_TEST_MAX = 131072 };

static char verb_said[VERB_TEST_MAX];  /* on stderr, by the last run */
static char verb_wrote[VERB_TEST_MAX]; /* on stdout */
static char verb_config[64];           /* the path of the last configuration that was written */

static inline void verb_test_take(FILE *file, char *out)
{
    rewind(file);
    out[fread(out, 1, VERB_TEST_MAX - 1, file)] = '\0';
    fclose(file);
}

static inline int verb_test_run(int (*verb)(int argc, char **argv), int argc, char **argv)
{
    FILE *files[2] = {tmpfile(), tmpfile()};
    assert_true(files[0] && files[1]);
    int saved[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    fflush(stdout);
    dup2(fileno(files[0]), STDOUT_FILENO);
    dup2(fileno(files[1]), STDERR_FILENO);
    int exit_code = verb(argc, argv);
    fflush(stdout);
    dup2(saved[0], STDOUT_FILENO);
    dup2(saved[1], STDERR_FILENO);
    close(saved[0]);
    close(saved[1]);
    verb_test_take(files[0], verb_wrote);
    verb_test_take(files[1], verb_said);
    return exit_code;
}

/* VERB_RUN(app_key_main, "key", "--json") */
#define VERB_RUN(verb, ...)                                               \
    verb_test_run(verb, sizeof((char *[]){__VA_ARGS__}) / sizeof(char *), \
                  (char *[]){__VA_ARGS__, NULL})

static inline void verb_test_write_config(const char *yaml)
{
    strcpy(verb_config, "/tmp/tidegate-test-XXXXXX");
    int fd = mkstemp(verb_config);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
    close(fd);
}

static inline void verb_test_remove_config(void)
{
    unlink(verb_config);
}

static inline void verb_test_must_say(const char *part)
{
    if (!strstr(verb_said, part)) {
        fail_msg("expected: %s\ngot: %s", part, verb_said);
    }
}

#endif
