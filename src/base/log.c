#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log_line.h"
#include "base/log_rate.h"
#include "base/log_stream.h"

enum { FLUSH_MS = 1000 };

static _Atomic int min_level = LOG_LEVEL_INFO;
static _Atomic uint64_t lines_suppressed;
static pthread_mutex_t rate_lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_rate rate;

static bool may_speak(const char *event, uint64_t *out_suppressed)
{
    uint64_t now_ms = clock_monotonic_ms();
    pthread_mutex_lock(&rate_lock);
    bool allowed = log_rate_allow(&rate, event, now_ms, out_suppressed);
    pthread_mutex_unlock(&rate_lock);
    if (!allowed) {
        atomic_fetch_add(&lines_suppressed, 1);
    }
    return allowed;
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
    int saved_errno = errno;
    struct log_line line = {.level = level, .event = str_of(event)};
    if ((int)level < atomic_load(&min_level) || !may_speak(event, &line.suppressed)) {
        return;
    }
    char message[LOG_MESSAGE_MAX + 1];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    line.cut = len > LOG_MESSAGE_MAX;
    line.message = (struct str){message, len < 0 ? 0 : line.cut ? LOG_MESSAGE_MAX : (size_t)len};
    line.wall_ms = clock_wall_ms();

    char text[LOG_LINE_MAX];
    log_stream_write(text, log_line_build(text, &line));
    errno = saved_errno;
}

/* Without these, a child could inherit the lock as another thread held it. */
static void before_fork(void)
{
    pthread_mutex_lock(&rate_lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&rate_lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

int log_start(int fd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    return log_stream_start(fd);
}

void log_stop(void)
{
    log_stream_stop(FLUSH_MS);
}

void log_set_level(enum log_level level)
{
    atomic_store(&min_level, (int)level);
}

int log_level_parse(const char *name, enum log_level *out_level)
{
    for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++) {
        if (strcmp(name, log_line_level_name((enum log_level)level)) == 0) {
            *out_level = (enum log_level)level;
            return 0;
        }
    }
    return ERR_SYNTAX;
}

uint64_t log_lines_lost(void)
{
    return log_stream_lost();
}

uint64_t log_lines_suppressed(void)
{
    return atomic_load(&lines_suppressed);
}
