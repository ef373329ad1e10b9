/* For tests that look at what was written: lines of a log, requests. */
#ifndef TIDEGATE_BASE_TEXT_TEST_HELP_H
#define TIDEGATE_BASE_TEXT_TEST_HELP_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* How often needle is in haystack, without overlaps. */
static inline size_t text_count(const char *haystack, const char *needle)
{
    size_t found = 0;
    for (; (haystack = strstr(haystack, needle)); haystack += strlen(needle)) {
        found++;
    }
    return found;
}

/* Reads a file into text, up to size - 1 bytes, and ends it with a NUL; returns text. */
static inline const char *text_of_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t len = read(fd, text, size - 1);
    assert_true(len >= 0);
    text[len] = '\0';
    close(fd);
    return text;
}

#endif
