#include "base/log_stream.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log_line.h"

enum { POLL_STEP_MS = 50, SYNC_PATIENCE_MS = 1000, JOIN_GRACE_MS = 500, SECOND_MS = 1000 };

/* A pipe that poll reports as writable takes this much without blocking. */
enum { WRITE_STEP = 4096 };

/* ---- the queue, under the lock ---- */

static void ring_put(struct log_stream *stream, const void *data, size_t len)
{
    size_t at = stream->tail % stream->ring_bytes;
    size_t first = len < stream->ring_bytes - at ? len : stream->ring_bytes - at;
    memcpy(stream->ring + at, data, first);
    memcpy(stream->ring, (const char *)data + first, len - first);
    stream->tail += len;
}

static void ring_take(struct log_stream *stream, void *out, size_t len)
{
    size_t at = stream->head % stream->ring_bytes;
    size_t first = len < stream->ring_bytes - at ? len : stream->ring_bytes - at;
    memcpy(out, stream->ring + at, first);
    memcpy((char *)out + first, stream->ring, len - first);
    stream->head += len;
}

static bool enqueue(struct log_stream *stream, const char *line, size_t len)
{
    if (sizeof(len) + len > stream->ring_bytes - (stream->tail - stream->head)) {
        return false;
    }
    ring_put(stream, &len, sizeof(len));
    ring_put(stream, line, len);
    return true;
}

static size_t dequeue(struct log_stream *stream, char out_line[static LOG_LINE_MAX])
{
    size_t len;
    ring_take(stream, &len, sizeof(len));
    ring_take(stream, out_line, len);
    return len;
}

static void lose(struct log_stream *stream, const char *line, size_t len)
{
    atomic_fetch_add(&stream->lost, 1);
    if (stream->on_lost) {
        stream->on_lost(line, len);
    }
}

/* ---- writing ---- */

/* In steps, so that a stop that brings the deadline forward is noticed. */
static bool wait_writable(int fd, const _Atomic uint64_t *deadline_ms)
{
    while (clock_monotonic_ms() < atomic_load(deadline_ms)) {
        struct pollfd watch = {.fd = fd, .events = POLLOUT};
        int ready = poll(&watch, 1, POLL_STEP_MS);
        if (ready > 0 || (ready < 0 && errno != EINTR)) {
            return true; /* write(2) will say what is wrong, if anything */
        }
    }
    return false;
}

/* Returns how many bytes were written: fewer than len is a failure. */
static size_t write_bytes(int fd, const char *data, size_t len, const _Atomic uint64_t *deadline_ms)
{
    size_t done = 0;
    while (done < len && wait_writable(fd, deadline_ms)) {
        size_t step = len - done < WRITE_STEP ? len - done : WRITE_STEP;
        ssize_t written = write(fd, data + done, step);
        if (written > 0) {
            done += (size_t)written;
        } else if (written == 0 || (errno != EINTR && errno != EAGAIN)) {
            break;
        }
    }
    return done;
}

/* Every error costs this line only: a full disk may have room for the next. */
static void write_line(struct log_stream *stream, int fd, const char *line, size_t len,
                       const _Atomic uint64_t *deadline_ms)
{
    pthread_mutex_lock(&stream->io_lock);
    if (stream->line_is_torn && write_bytes(fd, "\n", 1, deadline_ms) == 1) {
        stream->line_is_torn = false;
    }
    size_t done = stream->line_is_torn ? 0 : write_bytes(fd, line, len, deadline_ms);
    stream->line_is_torn |= done > 0 && done < len;
    pthread_mutex_unlock(&stream->io_lock);
    if (done < len) {
        lose(stream, line, len);
    }
}

/* ---- the writer ---- */

/* Under the lock. */
static void take_next_fd(struct log_stream *stream)
{
    if (stream->next_fd < 0) {
        return;
    }
    if (stream->is_owner) {
        close(stream->fd);
    }
    stream->fd = stream->next_fd;
    stream->next_fd = -1;
    stream->is_owner = true;
    stream->line_is_torn = false;
}

/* Under the lock, which is let go meanwhile. */
static void call_on_second(struct log_stream *stream)
{
    pthread_mutex_unlock(&stream->lock);
    stream->on_second();
    pthread_mutex_lock(&stream->lock);
}

/* Under the lock: until there is a line or another descriptor, or nothing more will come. */
static void wait_for_work(struct log_stream *stream, uint64_t *next_second_ms)
{
    while (stream->head == stream->tail && stream->next_fd < 0 && !stream->stopping) {
        if (!stream->on_second) {
            pthread_cond_wait(&stream->work, &stream->lock);
            continue;
        }
        struct timespec until = {.tv_sec = (time_t)(*next_second_ms / 1000),
                                 .tv_nsec = (long)(*next_second_ms % 1000) * 1000000};
        pthread_cond_clockwait(&stream->work, &stream->lock, CLOCK_MONOTONIC, &until);
        if (clock_monotonic_ms() >= *next_second_ms) {
            *next_second_ms = clock_monotonic_ms() + SECOND_MS;
            call_on_second(stream);
        }
    }
}

static void *run_writer(void *arg)
{
    struct log_stream *stream = arg;
    char line[LOG_LINE_MAX];
    uint64_t next_second_ms = clock_monotonic_ms() + SECOND_MS;
    pthread_mutex_lock(&stream->lock);
    for (;;) {
        wait_for_work(stream, &next_second_ms);
        take_next_fd(stream);
        if (stream->head == stream->tail && stream->stopping) {
            break;
        }
        if (stream->head == stream->tail) {
            continue;
        }
        size_t len = dequeue(stream, line);
        int fd = stream->fd;
        pthread_mutex_unlock(&stream->lock);
        write_line(stream, fd, line, len, &stream->deadline_ms);
        pthread_mutex_lock(&stream->lock);
    }
    pthread_mutex_unlock(&stream->lock);
    return NULL;
}

/* Signals are for the other threads; SIGPIPE and SIGXFSZ of a write stay pending here. */
static int create_writer(struct log_stream *stream)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&stream->writer, NULL, run_writer, stream);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -err;
}

/* ---- forks ---- */

static struct log_stream *forking;

static void before_fork(void)
{
    pthread_mutex_lock(&forking->lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&forking->lock);
}

/* The child has no writer thread; what was queued is the parent's to write. */
static void after_fork_in_child(void)
{
    if (forking->mode == LOG_STREAM_QUEUED) {
        forking->mode = LOG_STREAM_DIRECT;
    }
    forking->head = forking->tail = 0;
    forking->line_is_torn = false;
    forking->io_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    forking->work = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pthread_mutex_unlock(&forking->lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- start and stop ---- */

static int start_locked(struct log_stream *stream, int fd)
{
    if (stream->mode != LOG_STREAM_DIRECT) {
        return stream->mode == LOG_STREAM_QUEUED ? ERR_EXISTS : ERR_UNAVAILABLE;
    }
    stream->stopping = false;
    atomic_store(&stream->deadline_ms, UINT64_MAX);
    int err = create_writer(stream);
    if (err) {
        return err;
    }
    stream->mode = LOG_STREAM_QUEUED;
    stream->fd = fd;
    stream->line_is_torn = false;
    return 0;
}

int log_stream_start(struct log_stream *stream, int fd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (stream->forks) {
        forking = stream;
        pthread_once(&once, watch_forks);
    }
    pthread_mutex_lock(&stream->lock);
    int err = start_locked(stream, fd);
    pthread_mutex_unlock(&stream->lock);
    return err;
}

void log_stream_switch(struct log_stream *stream, int fd)
{
    pthread_mutex_lock(&stream->lock);
    ASSERT(stream->mode != LOG_STREAM_DIRECT);
    if (stream->next_fd >= 0) {
        close(stream->next_fd);
    }
    stream->next_fd = fd;
    pthread_cond_signal(&stream->work);
    pthread_mutex_unlock(&stream->lock);
}

static bool join_writer(struct log_stream *stream, uint64_t patience_ms)
{
    uint64_t until_ns = clock_ns(CLOCK_REALTIME) + patience_ms * 1000000;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000),
                             .tv_nsec = (long)(until_ns % 1000000000)};
    if (pthread_timedjoin_np(stream->writer, NULL, &until) == 0) {
        return true;
    }
    pthread_detach(stream->writer);
    return false;
}

/* What came after the writer's last look, or is left by one that hangs. */
static void discard_queue(struct log_stream *stream)
{
    char line[LOG_LINE_MAX];
    while (stream->head != stream->tail) {
        dequeue(stream, line);
        atomic_fetch_add(&stream->lost, 1);
    }
}

/* A thread that hangs may still have the descriptor: then it stays open. */
static void settle(struct log_stream *stream, bool joined, int fallback)
{
    stream->mode = joined ? LOG_STREAM_DIRECT : LOG_STREAM_DEAD;
    if (stream->is_owner && joined) {
        close(stream->fd);
    }
    stream->is_owner = false;
    stream->fd = fallback;
    discard_queue(stream);
}

void log_stream_stop(struct log_stream *stream, uint64_t flush_ms, int fallback)
{
    pthread_mutex_lock(&stream->lock);
    bool was_running = stream->mode == LOG_STREAM_QUEUED;
    stream->stopping = true;
    atomic_store(&stream->deadline_ms, clock_monotonic_ms() + flush_ms);
    pthread_cond_signal(&stream->work);
    pthread_mutex_unlock(&stream->lock);
    if (!was_running) {
        return;
    }
    bool joined = join_writer(stream, flush_ms + JOIN_GRACE_MS);
    pthread_mutex_lock(&stream->lock);
    settle(stream, joined, fallback);
    pthread_mutex_unlock(&stream->lock);
}

void log_stream_write(struct log_stream *stream, const char *line, size_t len)
{
    ASSERT(len <= LOG_LINE_MAX);
    pthread_mutex_lock(&stream->lock);
    enum log_stream_mode now = stream->mode;
    int fd = stream->fd;
    bool queued = now == LOG_STREAM_QUEUED && enqueue(stream, line, len);
    if (queued) {
        pthread_cond_signal(&stream->work);
    }
    pthread_mutex_unlock(&stream->lock);
    if (now == LOG_STREAM_DIRECT && fd >= 0) {
        _Atomic uint64_t deadline_ms = clock_monotonic_ms() + SYNC_PATIENCE_MS;
        write_line(stream, fd, line, len, &deadline_ms);
    } else if (!queued) {
        lose(stream, line, len);
    }
}

uint64_t log_stream_lost(const struct log_stream *stream)
{
    return atomic_load(&stream->lost);
}
