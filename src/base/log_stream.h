/* Takes lines to a descriptor. While started, a thread of its own writes them from a queue in
 * memory, and no caller ever waits for I/O; a line that doesn't fit is lost and counted, as is one
 * whose write fails. Otherwise, and in a forked child, the caller writes, waiting at most 1 s for a
 * stuck descriptor. What follows a line that was written in part starts on a fresh line. Part of
 * log.c and audit.c. Any thread, but start, switch and stop by one. */
#ifndef TIDEGATE_BASE_LOG_STREAM_H
#define TIDEGATE_BASE_LOG_STREAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_stream_mode { LOG_STREAM_DIRECT, LOG_STREAM_QUEUED, LOG_STREAM_DEAD };

/* A static one, by LOG_STREAM_INIT. All but the three hooks, which are set before the start, is
 * private. */
struct log_stream {
    /* This line is lost: it did not fit (on the caller's thread) or its write failed (on the
     * writer's). Under no lock. May be NULL. */
    void (*on_lost)(const char *line, size_t len);
    /* On the writer's thread, once a second while it has nothing to do. May be NULL. */
    void (*on_second)(void);
    bool forks; /* lines of a forked child, too; one stream of the process may say so */

    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t work;
    char *ring; /* records: a size_t with the length, then the line */
    size_t ring_bytes;
    size_t head, tail; /* run on, and are used modulo ring_bytes */
    enum log_stream_mode mode;
    bool stopping;
    int fd;
    int next_fd; /* -1: none */
    bool is_owner;

    pthread_t writer;
    _Atomic uint64_t deadline_ms; /* of the writer */
    _Atomic uint64_t lost;
    pthread_mutex_t io_lock; /* one writes at a time */
    bool line_is_torn;
};

/* memory: an array for the queue. fallback: where a line goes without a thread; -1: it is lost. */
#define LOG_STREAM_INIT(memory, fallback)                                                      \
    {                                                                                          \
        .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .ring = (memory), \
        .ring_bytes = sizeof(memory), .fd = (fallback), .next_fd = -1,                         \
        .io_lock = PTHREAD_MUTEX_INITIALIZER                                                   \
    }

/* fd is borrowed until the stop. 0, ERR_EXISTS when it runs already, ERR_UNAVAILABLE after a stop
 * that had to leave its thread behind, or -errno. */
int log_stream_start(struct log_stream *stream, int fd);

/* Lines that are written from now on, queued ones too, go to fd, which is the stream's to close.
 * Started only. */
void log_stream_switch(struct log_stream *stream, int fd);

/* Writes what is queued for at most flush_ms; what is left then is lost and counted. A thread that
 * hangs in write(2) all the same (a dead disk) is left behind, and all later lines are lost.
 * Afterwards lines go to fallback. */
void log_stream_stop(struct log_stream *stream, uint64_t flush_ms, int fallback);

/* line: with its newline, at most LOG_LINE_MAX bytes. */
void log_stream_write(struct log_stream *stream, const char *line, size_t len);

uint64_t log_stream_lost(const struct log_stream *stream);

#endif
