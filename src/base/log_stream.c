#include "base/log_stream.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log_line.h"

enum { POLL_STEP_MS = 50, SYNC_PATIENCE_MS = 1000, JOIN_GRACE_MS = 500 };

/* A pipe that poll reports as writable takes this much without blocking. */
enum { WRITE_STEP = 4096 };

enum mode { MODE_DIRECT, MODE_QUEUED, MODE_DEAD };

/* Under the lock. The ring holds records: a size_t with the length, then the line. The two counters
 * run on and are used modulo its size. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static enum mode mode = MODE_DIRECT;
static int stream_fd = STDERR_FILENO;
static bool stopping;
static char ring[LOG_STREAM_QUEUE_BYTES];
static size_t head, tail;

static pthread_t writer;
static _Atomic uint64_t writer_deadline_ms;
static _Atomic uint64_t lines_lost;

/* One writes at a time. */
static pthread_mutex_t io_lock = PTHREAD_MUTEX_INITIALIZER;
static bool line_is_torn;

static void ring_put(const void *data, size_t len)
{
    size_t at = tail % sizeof(ring);
    size_t first = len < sizeof(ring) - at ? len : sizeof(ring) - at;
    memcpy(ring + at, data, first);
    memcpy(ring, (const char *)data + first, len - first);
    tail += len;
}

static void ring_take(void *out, size_t len)
{
    size_t at = head % sizeof(ring);
    size_t first = len < sizeof(ring) - at ? len : sizeof(ring) - at;
    memcpy(out, ring + at, first);
    memcpy((char *)out + first, ring, len - first);
    head += len;
}

static bool enqueue(const char *line, size_t len)
{
    if (sizeof(len) + len > sizeof(ring) - (tail - head)) {
        return false;
    }
    ring_put(&len, sizeof(len));
    ring_put(line, len);
    return true;
}

static size_t dequeue(char out_line[static LOG_LINE_MAX])
{
    size_t len;
    ring_take(&len, sizeof(len));
    ring_take(out_line, len);
    return len;
}

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
static void write_line(int fd, const char *line, size_t len, const _Atomic uint64_t *deadline_ms)
{
    pthread_mutex_lock(&io_lock);
    if (line_is_torn && write_bytes(fd, "\n", 1, deadline_ms) == 1) {
        line_is_torn = false;
    }
    size_t done = line_is_torn ? 0 : write_bytes(fd, line, len, deadline_ms);
    if (done < len) {
        line_is_torn |= done > 0;
        atomic_fetch_add(&lines_lost, 1);
    }
    pthread_mutex_unlock(&io_lock);
}

static void *run_writer(void *arg)
{
    char line[LOG_LINE_MAX];
    pthread_mutex_lock(&lock);
    for (;;) {
        while (head == tail && !stopping) {
            pthread_cond_wait(&work, &lock);
        }
        if (head == tail) {
            break;
        }
        size_t len = dequeue(line);
        int fd = stream_fd;
        pthread_mutex_unlock(&lock);
        write_line(fd, line, len, &writer_deadline_ms);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* The child has no writer thread; what was queued is the parent's to write. */
static void after_fork_in_child(void)
{
    if (mode == MODE_QUEUED) {
        mode = MODE_DIRECT;
    }
    head = tail = 0;
    line_is_torn = false;
    io_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    work = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* Signals are for the other threads; SIGPIPE and SIGXFSZ of a write stay pending here. */
static int create_writer(void)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&writer, NULL, run_writer, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -err;
}

static int start_locked(int fd)
{
    if (mode != MODE_DIRECT) {
        return mode == MODE_QUEUED ? ERR_EXISTS : ERR_UNAVAILABLE;
    }
    stopping = false;
    atomic_store(&writer_deadline_ms, UINT64_MAX);
    int err = create_writer();
    if (err) {
        return err;
    }
    mode = MODE_QUEUED;
    stream_fd = fd;
    line_is_torn = false;
    return 0;
}

int log_stream_start(int fd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lock);
    int err = start_locked(fd);
    pthread_mutex_unlock(&lock);
    return err;
}

static bool join_writer(uint64_t patience_ms)
{
    uint64_t until_ns = clock_ns(CLOCK_REALTIME) + patience_ms * 1000000;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000),
                             .tv_nsec = (long)(until_ns % 1000000000)};
    if (pthread_timedjoin_np(writer, NULL, &until) == 0) {
        return true;
    }
    pthread_detach(writer);
    return false;
}

/* What came after the writer's last look, or is left by one that hangs. */
static void discard_queue(void)
{
    char line[LOG_LINE_MAX];
    while (head != tail) {
        dequeue(line);
        atomic_fetch_add(&lines_lost, 1);
    }
}

void log_stream_stop(uint64_t flush_ms)
{
    pthread_mutex_lock(&lock);
    bool was_running = mode == MODE_QUEUED;
    stopping = true;
    atomic_store(&writer_deadline_ms, clock_monotonic_ms() + flush_ms);
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&lock);
    if (!was_running) {
        return;
    }
    bool joined = join_writer(flush_ms + JOIN_GRACE_MS);
    pthread_mutex_lock(&lock);
    mode = joined ? MODE_DIRECT : MODE_DEAD;
    stream_fd = STDERR_FILENO;
    discard_queue();
    pthread_mutex_unlock(&lock);
}

void log_stream_write(const char *line, size_t len)
{
    ASSERT(len <= LOG_LINE_MAX);
    pthread_mutex_lock(&lock);
    enum mode now = mode;
    int fd = stream_fd;
    bool queued = now == MODE_QUEUED && enqueue(line, len);
    if (queued) {
        pthread_cond_signal(&work);
    }
    pthread_mutex_unlock(&lock);
    if (now == MODE_DIRECT) {
        _Atomic uint64_t deadline_ms = clock_monotonic_ms() + SYNC_PATIENCE_MS;
        write_line(fd, line, len, &deadline_ms);
    } else if (!queued) {
        atomic_fetch_add(&lines_lost, 1);
    }
}

uint64_t log_stream_lost(void)
{
    return atomic_load(&lines_lost);
}
