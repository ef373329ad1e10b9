#include "cli/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"

static const char variable[] = "TIDEGATE_SECRET_TEST";
static char path[64];
static struct secret secret;

static void write_file(const char *data, size_t len)
{
    strcpy(path, "/tmp/tidegate-secret-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

static int read_file(const char *data, size_t len)
{
    write_file(data, len);
    int err = secret_read(&secret, path, variable);
    unlink(path);
    return err;
}

static int reset(void **state)
{
    unsetenv(variable);
    return 0;
}

static void the_file_wins_over_the_environment(void **state)
{
    setenv(variable, "from-env", 1);
    assert_int_equal(secret_read(&secret, NULL, variable), 0);
    assert_string_equal(secret.text, "from-env");
    assert_int_equal(read_file("from-file\r\n\n", 12), 0);
    assert_string_equal(secret.text, "from-file");
}

static void neither_is_not_found_and_a_missing_file_is_an_error(void **state)
{
    assert_int_equal(secret_read(&secret, NULL, variable), ERR_NOT_FOUND);
    setenv(variable, "x", 1);
    assert_int_equal(secret_read(&secret, "/nonexistent/key", variable), -ENOENT);
    assert_int_equal(secret_read(&secret, "/", variable), -EISDIR);
    assert_string_equal(secret.text, "");
}

static void what_cannot_stand_in_a_header_is_refused(void **state)
{
    assert_int_equal(read_file("", 0), ERR_SYNTAX);
    assert_int_equal(read_file(" \n", 2), ERR_SYNTAX);
    assert_int_equal(read_file("a b", 3), ERR_SYNTAX);
    assert_int_equal(read_file("a\r\nX-Evil: 1", 12), ERR_SYNTAX);
    assert_int_equal(read_file("a\0b", 3), ERR_SYNTAX);
    assert_int_equal(read_file("\xc3\xa9", 2), ERR_SYNTAX);
    assert_string_equal(secret.text, "");
}

static void its_length_is_limited(void **state)
{
    static char text[SECRET_MAX];
    memset(text, 'k', sizeof(text));
    assert_int_equal(read_file(text, SECRET_MAX - 1), 0);
    assert_int_equal(strlen(secret.text), SECRET_MAX - 1);
    assert_int_equal(read_file(text, SECRET_MAX), ERR_TOO_LARGE);
    assert_string_equal(secret.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_file_wins_over_the_environment, reset),
        cmocka_unit_test_setup(neither_is_not_found_and_a_missing_file_is_an_error, reset),
        cmocka_unit_test_setup(what_cannot_stand_in_a_header_is_refused, reset),
        cmocka_unit_test_setup(its_length_is_limited, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
