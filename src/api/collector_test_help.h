/* For tests: a collector on a thread of its own, which answers with the statuses that a test sets,
 * and keeps the last request of each path. */
#ifndef TIDEGATE_API_COLLECTOR_TEST_HELP_H
#define TIDEGATE_API_COLLECTOR_TEST_HELP_H

#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/text_test_help.h"
#include "core/settings.h"

enum { COLLECTOR_BYTES = 1024 * 1024, COLLECTOR_ANSWERS = 8 };

static struct {
    int fd;
    pthread_t thread;
    char url[64];
    atomic_int requests;
    atomic_int spans; /* in what was taken */
    const char
        *answers[COLLECTOR_ANSWERS]; /* of the next requests, status line and headers; NULL: 200 */
    char last[COLLECTOR_BYTES];
} collector;

/* Without gzip; whole once the length that it names is there. */
static inline bool collector_is_whole(const char *text, size_t len)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strcasestr(text, "content-length: ");
    return end && length && len >= (size_t)(end + 4 - text) + strtoul(length + 16, NULL, 10);
}

static inline bool collector_read(int fd)
{
    size_t len = 0;
    ssize_t got;
    while ((got = recv(fd, collector.last + len, COLLECTOR_BYTES - 1 - len, 0)) > 0) {
        len += (size_t)got;
        collector.last[len] = '\0';
        if (collector_is_whole(collector.last, len)) {
            return true;
        }
    }
    return false;
}

static inline void collector_answer(int fd)
{
    int number = atomic_load(&collector.requests);
    const char *said = number < COLLECTOR_ANSWERS ? collector.answers[number] : NULL;
    char answer[256];
    int len = snprintf(answer, sizeof(answer),
                       "HTTP/1.1 %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
                       said ? said : "200 OK");
    if (!said) {
        atomic_fetch_add(&collector.spans, (int)text_count(collector.last, "\"spanId\""));
    }
    atomic_fetch_add(&collector.requests, 1);
    (void)!send(fd, answer, (size_t)len, MSG_NOSIGNAL);
}

static inline void *collector_run(void *arg)
{
    int fd;
    while ((fd = accept(collector.fd, NULL, NULL)) >= 0) {
        if (collector_read(fd)) {
            collector_answer(fd);
        }
        close(fd);
    }
    return NULL;
}

static inline void collector_start(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(here);
    atomic_store(&collector.requests, 0);
    atomic_store(&collector.spans, 0);
    memset(collector.answers, 0, sizeof(collector.answers));
    collector.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(collector.fd, (struct sockaddr *)&here, len), 0);
    assert_int_equal(listen(collector.fd, 16), 0);
    assert_int_equal(getsockname(collector.fd, (struct sockaddr *)&here, &len), 0);
    snprintf(collector.url, sizeof(collector.url), "http://127.0.0.1:%u/", ntohs(here.sin_port));
    assert_int_equal(pthread_create(&collector.thread, NULL, collector_run, NULL), 0);
}

static inline void collector_stop(void)
{
    shutdown(collector.fd, SHUT_RDWR);
    pthread_join(collector.thread, NULL);
    close(collector.fd);
}

/* Spans go there, and no metrics. */
static inline struct settings *collector_settings(void)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    settings->metrics.otlp.url = settings_copy(settings, str_of(collector.url));
    settings->metrics.otlp.gzip = false;
    settings->metrics.otlp.metrics = false;
    settings->metrics.otlp.traces = true;
    return settings;
}

#endif
