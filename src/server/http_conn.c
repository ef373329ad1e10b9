#include "server/http_conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/http_conn_private.h"

enum { CHECK_MIN_MS = 20, CHECK_MAX_MS = 1000, KEEP_BUFFER = 4096, DROP_SENT = 65536 };

static bool flush_dirty(void *owner);

int http_service_create(struct http_service **out_service,
                        const struct http_service_options *options)
{
    struct http_service *service = mem_zalloc(sizeof(*service));
    if (!service) {
        return ERR_NO_MEMORY;
    }
    service->options = *options;
    http_service_set_settings(service, options->settings);
    int err = loop_add_turn_end(options->loop, flush_dirty, service);
    if (err) {
        settings_unref(service->settings);
        mem_free(service);
        return err;
    }
    *out_service = service;
    return 0;
}

/* How often a connection's deadlines are looked at: fine enough for the shortest of them. */
static uint64_t check_interval(const struct settings_limits *limits)
{
    uint64_t shortest = limits->header_timeout_ms;
    shortest = limits->write_stall_ms < shortest ? limits->write_stall_ms : shortest;
    shortest = limits->body_timeout_ms < shortest ? limits->body_timeout_ms : shortest;
    uint64_t interval = shortest / 8;
    interval = interval < CHECK_MIN_MS ? CHECK_MIN_MS : interval;
    return interval > CHECK_MAX_MS ? CHECK_MAX_MS : interval;
}

void http_service_set_settings(struct http_service *service, const struct settings *settings)
{
    struct settings *old = service->settings;
    service->settings = settings_ref((struct settings *)settings);
    service->check_ms = check_interval(&settings->limits);
    settings_unref(old);
}

const struct settings *http_service_settings(const struct http_service *service)
{
    return service->settings;
}

struct loop *http_service_loop(const struct http_service *service)
{
    return service->options.loop;
}

uint32_t http_service_connections(const struct http_service *service)
{
    return atomic_load_explicit(&service->conn_count, memory_order_acquire);
}

uint32_t http_service_open_exchanges(const struct http_service *service)
{
    return atomic_load_explicit(&service->exchange_count, memory_order_acquire);
}

void http_service_free(struct http_service *service)
{
    while (service->free_exchanges) {
        struct http_exchange *exchange = service->free_exchanges;
        service->free_exchanges = exchange->next;
        mem_free(exchange);
    }
    settings_unref(service->settings);
    mem_free(service);
}

void http_conn_set_phase(struct http_conn *conn, enum phase phase)
{
    if (conn->phase != phase) {
        conn->phase = phase;
        conn->phase_ms = http_conn_now_ms(conn);
        conn->rate_ms = conn->phase_ms;
        conn->rate_bytes = 0;
    }
}

void http_conn_mark_dirty(struct http_conn *conn)
{
    if (!conn->dirty) {
        conn->dirty = true;
        conn->next_dirty = conn->service->dirty;
        conn->service->dirty = conn;
    }
}

void http_conn_account(struct http_conn *conn)
{
    size_t bytes = sizeof(*conn) + conn->in.cap + conn->out.cap + conn->held;
    mem_account(MEM_HTTP, (int64_t)bytes - (int64_t)conn->accounted);
    conn->accounted = bytes;
}

static bool take_place(struct http_service *service)
{
    atomic_uint_fast64_t *count = service->options.connections;
    uint64_t limit = service->settings->limits.api_connections;
    if (count && atomic_fetch_add_explicit(count, 1, memory_order_relaxed) >= limit && limit) {
        atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
        return false;
    }
    return true;
}

static void give_place(struct http_service *service)
{
    if (service->options.connections) {
        atomic_fetch_sub_explicit(service->options.connections, 1, memory_order_relaxed);
    }
}

static void unlink_conn(struct http_conn *conn)
{
    *conn->link = conn->next;
    if (conn->next) {
        conn->next->link = conn->link;
    }
    atomic_fetch_sub_explicit(&conn->service->conn_count, 1, memory_order_release);
    give_place(conn->service);
}

void http_conn_destroy(struct http_conn *conn)
{
    if (conn->in_handler || conn->dirty) {
        conn->dead = true; /* whoever holds it frees it */
        return;
    }
    struct loop *loop = conn->service->options.loop;
    loop_timer_stop(loop, &conn->timer);
    if (!conn->taken) {
        int fd = conn->watch.fd;
        loop_unwatch(loop, &conn->watch);
        close(fd);
    }
    http_conn_abandon_exchanges(conn);
    unlink_conn(conn);
    mem_account(MEM_HTTP, -(int64_t)conn->accounted);
    buf_fini(&conn->in);
    buf_fini(&conn->out);
    mem_free(conn);
}

static void watch_events(struct http_conn *conn, unsigned events)
{
    if (conn->events != events && !conn->taken) {
        conn->events = events;
        loop_rewatch(conn->service->options.loop, &conn->watch, events);
    }
}

static void update_watch(struct http_conn *conn)
{
    bool reads = conn->phase == PHASE_LINGER ||
                 (!conn->closing && !conn->peer_done && !http_conn_is_paused(conn));
    watch_events(conn, (reads ? LOOP_READABLE : 0) | (http_conn_unsent(conn) ? LOOP_WRITABLE : 0));
}

/* All is sent and no more requests are wanted: shut our side, then wait shortly for the peer's, so
 * that bytes it still sends don't reset the connection before it has read the answer. */
static void begin_linger(struct http_conn *conn)
{
    if (conn->peer_done) {
        conn->dead = true;
        return;
    }
    shutdown(conn->watch.fd, SHUT_WR);
    http_conn_set_phase(conn, PHASE_LINGER);
}

static void drop_sent(struct http_conn *conn)
{
    if (http_conn_unsent(conn) > 0) {
        /* A peer that always leaves something must not make us keep what it has taken. */
        if (conn->out_sent >= DROP_SENT) {
            buf_consume(&conn->out, conn->out_sent);
            conn->out_sent = 0;
        }
        return;
    }
    conn->out_sent = 0;
    if (conn->out.cap > KEEP_BUFFER) {
        buf_fini(&conn->out);
    } else {
        buf_clear(&conn->out);
    }
}

static void send_out(struct http_conn *conn)
{
    while (http_conn_unsent(conn) > 0) {
        ssize_t sent = send(conn->watch.fd, conn->out.data + conn->out_sent, http_conn_unsent(conn),
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EINTR) {
                continue;
            }
            conn->dead = conn->dead || (errno != EAGAIN && errno != EWOULDBLOCK);
            break;
        }
        conn->out_sent += (size_t)sent;
        conn->unsent_ms = http_conn_now_ms(conn);
    }
    drop_sent(conn);
}

static void settle_phase(struct http_conn *conn)
{
    if (conn->phase == PHASE_LINGER) {
        return;
    }
    bool owes = conn->first || http_conn_unsent(conn) > 0;
    if (!owes && (conn->closing || conn->peer_done)) {
        begin_linger(conn);
    } else if (owes &&
               (conn->closing || (conn->phase != PHASE_BODY && conn->phase != PHASE_HEAD))) {
        http_conn_set_phase(conn, PHASE_ANSWER);
    } else if (!owes && conn->phase == PHASE_ANSWER) {
        http_conn_set_phase(conn, conn->in.len ? PHASE_HEAD : PHASE_IDLE);
    }
}

static bool may_go_on(const struct http_conn *conn)
{
    return conn->stopped && !conn->dead && !conn->closing && !http_conn_is_paused(conn);
}

static void process_buffered(struct http_conn *conn)
{
    if (may_go_on(conn)) {
        http_conn_read_requests(conn, NULL, 0);
    }
}

static void flush_conn(struct http_conn *conn)
{
    send_out(conn);
    if (!conn->dead) {
        process_buffered(conn);
        send_out(conn);
    }
    if (!conn->dead) {
        settle_phase(conn);
    }
    if (!conn->dead) {
        update_watch(conn);
    }
    http_conn_account(conn);
}

static bool flush_dirty(void *owner)
{
    struct http_service *service = owner;
    struct http_conn *conn = service->dirty;
    service->dirty = NULL;
    service->flushing = true;
    service->came_late = false;
    while (conn) {
        struct http_conn *next = conn->next_dirty;
        if (!conn->dead) {
            flush_conn(conn);
        }
        conn->dirty = false;
        if (conn->dead) {
            http_conn_destroy(conn);
        } else if (may_go_on(conn)) {
            http_conn_mark_dirty(conn); /* the peer took it all: on with the next turn */
        }
        conn = next;
    }
    service->flushing = false;
    return service->dirty || service->came_late;
}

static void on_ready(struct loop_watch *watch, unsigned events)
{
    struct http_conn *conn = (struct http_conn *)((char *)watch -
                                                  offsetof(struct http_conn, watch));
    if (events & LOOP_HANGUP) {
        conn->dead = true;
    } else if (events & LOOP_READABLE) {
        http_conn_on_readable(conn);
    }
    http_conn_mark_dirty(conn);
}

/* A fresh socket has room for so little. */
static void turn_away(struct http_service *service, int fd, const struct addr *peer)
{
    struct buf out = {0};
    struct http_problem problem = {.status = 503, .code = STR("connection_limit")};
    struct http_response response = {.close = true};
    if (service->options.on_refused) {
        service->options.on_refused(service->options.owner, peer, 503, "connection_limit");
    }
    if (http_problem_write(&out, &problem, &response) == 0) {
        (void)!send(fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    buf_fini(&out);
    close(fd);
}

static struct http_conn *create_conn(struct http_service *service, int fd, const struct addr *peer)
{
    struct http_conn *conn = mem_zalloc(sizeof(*conn));
    if (!conn) {
        return NULL;
    }
    conn->service = service;
    conn->peer = *peer;
    conn->last = &conn->first;
    conn->phase_ms = loop_now_ms(service->options.loop);
    conn->watch.on_ready = on_ready;
    conn->timer.on_fire = http_conn_on_timer;
    conn->events = LOOP_READABLE;
    if (loop_watch(service->options.loop, &conn->watch, fd, LOOP_READABLE)) {
        mem_free(conn);
        return NULL;
    }
    return conn;
}

static void link_conn(struct http_conn *conn)
{
    struct http_service *service = conn->service;
    conn->next = service->conns;
    conn->link = &service->conns;
    if (conn->next) {
        conn->next->link = &conn->next;
    }
    service->conns = conn;
    atomic_fetch_add_explicit(&service->conn_count, 1, memory_order_relaxed);
}

static bool is_idle(const struct http_conn *conn)
{
    return conn->phase == PHASE_IDLE || conn->phase == PHASE_FIRST;
}

/* What has arrived is still read and answered; who has nothing under way is let go. */
static void let_go(struct http_conn *conn)
{
    if (is_idle(conn)) {
        http_conn_on_readable(conn);
        conn->closing = conn->closing || is_idle(conn);
        http_conn_mark_dirty(conn);
    }
}

void http_service_accept(struct http_service *service, int fd, const struct addr *peer)
{
    if (!take_place(service)) {
        turn_away(service, fd, peer);
        return;
    }
    struct http_conn *conn = create_conn(service, fd, peer);
    if (!conn) {
        give_place(service);
        close(fd);
        return;
    }
    link_conn(conn);
    http_conn_account(conn);
    loop_timer_start(service->options.loop, &conn->timer, service->check_ms);
}

void http_service_drain(struct http_service *service)
{
    service->draining = true;
    for (struct http_conn *conn = service->conns; conn;) {
        struct http_conn *next = conn->next;
        let_go(conn);
        conn = next;
    }
}

void http_service_destroy(struct http_service *service)
{
    if (!service) {
        return;
    }
    for (struct http_conn *conn = service->dirty; conn;) {
        struct http_conn *next = conn->next_dirty;
        conn->dirty = false;
        conn = next;
    }
    service->dirty = NULL;
    while (service->conns) {
        service->conns->in_handler = false;
        http_conn_destroy(service->conns);
    }
    service->destroyed = true;
    if (atomic_load(&service->exchange_count) == 0) {
        http_service_free(service);
    }
}
