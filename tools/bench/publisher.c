#include "publisher.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench_util.h"
#include "http_conn.h"
#include "request.h"

enum {
    WAKE_EVENT = UINT32_MAX,
    LONGEST_WAIT_NS = 50 * 1000 * 1000,
    SPIN_NS = 80 * 1000, /* a sleep ends this long before a request is due: timers wake late */
    PATIENCE_S = 5,      /* without a request or an answer for so long the phase ends */
};

struct publisher {
    struct publisher_config config;
    struct publisher_result result;
    struct request_maker maker;
    struct http_conn *conns;
    unsigned *with_room; /* stack of connections that may take a request */
    unsigned with_room_count;
    uint64_t requests; /* sent or queued */
    uint64_t answers;
    uint64_t start_ns;
    uint64_t last_answer_ns;
    uint64_t last_progress_ns; /* a request or an answer */
    int epoll_fd;
    pthread_t thread;
    _Atomic bool done;
};

static uint64_t messages_per_request(const struct phase *phase)
{
    return phase->batch ? phase->batch : 1;
}

static uint64_t deliveries_per_message(const struct publisher_config *config)
{
    if (config->phase.offline) {
        return 0;
    }
    if (config->phase.to != PHASE_TO_USER) {
        return config->sessions;
    }
    return (uint64_t)config->phase.fan * (config->sessions / config->users);
}

static bool all_requests_made(const struct publisher *publisher, uint64_t now)
{
    const struct phase *phase = &publisher->config.phase;
    return (phase->count && publisher->requests >= phase->count) ||
           (phase->secs > 0 && (double)(now - publisher->start_ns) >= phase->secs * 1e9);
}

/* When the next request should go; now when there is no rate to keep. */
static uint64_t next_due(const struct publisher *publisher, uint64_t now)
{
    double rate = publisher->config.phase.rate;
    if (rate <= 0) {
        return now;
    }
    return publisher->start_ns + (uint64_t)((double)publisher->requests * 1e9 / rate);
}

/* Whether too many messages wait for delivery; if so, asks the receiver for a wake-up. */
static bool window_is_full(struct publisher *publisher)
{
    const struct publisher_config *config = &publisher->config;
    struct progress *progress = config->progress;
    if (!config->phase.window || publisher->requests < config->phase.window) {
        return false;
    }
    uint64_t delivered_by_then = (publisher->requests - config->phase.window + 1) *
                                 messages_per_request(&config->phase) *
                                 deliveries_per_message(config);
    if (atomic_load(&progress->delivered) >= delivered_by_then) {
        return false;
    }
    atomic_store(&progress->wake_at, delivered_by_then);
    return atomic_load(&progress->delivered) < delivered_by_then;
}

static void flush(struct publisher *publisher, unsigned index)
{
    struct http_conn *conn = &publisher->conns[index];
    if (!http_conn_flush(conn) && conn->fd >= 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = index};
        epoll_ctl(publisher->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
    }
}

static void make_request(struct publisher *publisher, unsigned index, uint64_t due)
{
    struct http_conn *conn = &publisher->conns[index];
    request_append(&publisher->maker, &conn->out, index, due);
    http_conn_note_request(conn, due);
    publisher->requests++;
    uint64_t now = bench_now_ns();
    publisher->last_progress_ns = now;
    histogram_add(&publisher->result.lag, now > due ? now - due : 0);
    if (conn->in_flight == conn->depth) {
        publisher->with_room_count--;
        flush(publisher, index);
    }
}

/* Makes all requests that are due and for which there is room; returns when the next one is due. */
static uint64_t make_due_requests(struct publisher *publisher)
{
    unsigned top = UINT32_MAX;
    uint64_t now = bench_now_ns();
    uint64_t due = next_due(publisher, now);
    while (publisher->with_room_count && due <= now && !all_requests_made(publisher, now) &&
           !window_is_full(publisher)) {
        top = publisher->with_room[publisher->with_room_count - 1];
        make_request(publisher, top, due);
        now = bench_now_ns();
        due = next_due(publisher, now);
    }
    if (top != UINT32_MAX) {
        flush(publisher, top); /* the one that is not full yet */
    }
    return due;
}

static void on_answer(void *owner, struct http_conn *conn, int status, uint64_t sent_ns,
                      const char *head)
{
    struct publisher *publisher = owner;
    struct publisher_result *result = &publisher->result;
    uint64_t now = bench_now_ns();
    publisher->answers++;
    publisher->last_answer_ns = now;
    publisher->last_progress_ns = now;
    if (conn->fd >= 0 && conn->in_flight == conn->depth - 1) {
        publisher->with_room[publisher->with_room_count++] = (unsigned)(conn - publisher->conns);
    }
    if (status < 200 || status > 299) {
        if (result->refused++ == 0) {
            snprintf(result->first_refusal, sizeof(result->first_refusal), "%.*s",
                     (int)strcspn(head, "\r"), head);
        }
        return;
    }
    result->accepted++;
    histogram_add(&result->answer, now > sent_ns ? now - sent_ns : 0);
}

static void forget_dead(struct publisher *publisher, unsigned index)
{
    for (unsigned i = 0; i < publisher->with_room_count; i++) {
        if (publisher->with_room[i] == index) {
            publisher->with_room[i] = publisher->with_room[--publisher->with_room_count];
            return;
        }
    }
}

static void on_event(struct publisher *publisher, const struct epoll_event *event)
{
    eventfd_t ignored;
    if (event->data.u32 == WAKE_EVENT) {
        eventfd_read(publisher->config.progress->wake_fd, &ignored);
        return;
    }
    unsigned index = event->data.u32;
    struct http_conn *conn = &publisher->conns[index];
    if ((event->events & EPOLLOUT) && http_conn_flush(conn)) {
        struct epoll_event readable = {.events = EPOLLIN, .data.u32 = index};
        epoll_ctl(publisher->epoll_fd, EPOLL_CTL_MOD, conn->fd, &readable);
    }
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        http_conn_on_readable(conn, on_answer, publisher);
        if (conn->fd < 0) {
            publisher->result.conns_lost++;
            forget_dead(publisher, index);
        }
    }
}

static void wait_and_handle(struct publisher *publisher, uint64_t due)
{
    struct epoll_event events[64];
    uint64_t now = bench_now_ns();
    uint64_t wait_ns = LONGEST_WAIT_NS;
    if (publisher->config.phase.rate > 0 && publisher->with_room_count) {
        wait_ns = due > now + SPIN_NS ? due - now - SPIN_NS : 0;
        wait_ns = wait_ns < LONGEST_WAIT_NS ? wait_ns : LONGEST_WAIT_NS;
    }
    struct timespec timeout = {.tv_nsec = (long)wait_ns};
    int count = epoll_pwait2(publisher->epoll_fd, events, 64, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        on_event(publisher, &events[i]);
    }
}

static bool is_over(const struct publisher *publisher)
{
    uint64_t now = bench_now_ns();
    if (all_requests_made(publisher, now) && publisher->answers == publisher->requests) {
        return true;
    }
    return now - publisher->last_progress_ns > PATIENCE_S * (uint64_t)1000000000;
}

static void open_connections(struct publisher *publisher)
{
    const struct publisher_config *config = &publisher->config;
    unsigned count = config->phase.conns;
    publisher->conns = bench_zalloc(count, sizeof(*publisher->conns));
    publisher->with_room = bench_zalloc(count, sizeof(*publisher->with_room));
    publisher->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < count; i++) {
        http_conn_open(&publisher->conns[i], bench_ports_turn(&config->ports, i),
                       config->phase.depth);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(publisher->epoll_fd, EPOLL_CTL_ADD, publisher->conns[i].fd, &event);
        publisher->with_room[publisher->with_room_count++] = i;
    }
    struct epoll_event wake = {.events = EPOLLIN, .data.u32 = WAKE_EVENT};
    epoll_ctl(publisher->epoll_fd, EPOLL_CTL_ADD, config->progress->wake_fd, &wake);
}

static void close_connections(struct publisher *publisher)
{
    for (unsigned i = 0; i < publisher->config.phase.conns; i++) {
        http_conn_close(&publisher->conns[i]);
    }
    close(publisher->epoll_fd);
    free(publisher->conns);
    free(publisher->with_room);
}

static void *publish(void *argument)
{
    struct publisher *publisher = argument;
    prctl(PR_SET_TIMERSLACK, 1000); /* 1 us: an open loop must wake in time */
    open_connections(publisher);
    publisher->start_ns = bench_now_ns();
    publisher->last_answer_ns = publisher->start_ns;
    publisher->last_progress_ns = publisher->start_ns;
    while (!is_over(publisher)) {
        wait_and_handle(publisher, make_due_requests(publisher));
    }
    struct publisher_result *result = &publisher->result;
    result->wall_ns = publisher->last_answer_ns - publisher->start_ns;
    result->refused += publisher->requests - publisher->answers;
    result->messages = result->accepted * messages_per_request(&publisher->config.phase);
    result->expected = result->messages * deliveries_per_message(&publisher->config);
    close_connections(publisher);
    atomic_store(&publisher->done, true);
    return NULL;
}

struct publisher *publisher_start(const struct publisher_config *config)
{
    struct publisher *publisher = bench_zalloc(1, sizeof(*publisher));
    publisher->config = *config;
    request_maker_init(&publisher->maker, &publisher->config.phase, config->phase_no, config->users,
                       config->group, config->headers);
    if (pthread_create(&publisher->thread, NULL, publish, publisher) != 0) {
        bench_die("no thread for the publisher");
    }
    return publisher;
}

bool publisher_is_done(const struct publisher *publisher)
{
    return atomic_load(&publisher->done);
}

void publisher_finish(struct publisher *publisher, struct publisher_result *out_result)
{
    pthread_join(publisher->thread, NULL);
    *out_result = publisher->result;
    request_maker_fini(&publisher->maker);
    free(publisher);
}
