#include "server/http_conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/link.h"
#include "server/http_conn_private.h"

enum { KEEP_BUFFER = 4096, DROP_SENT = 65536 };

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
    if (bytes != conn->accounted) { /* the sum is shared by all threads */
        mem_account(MEM_HTTP, (int64_t)bytes - (int64_t)conn->accounted);
        conn->accounted = bytes;
    }
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
        tls_conn_destroy(conn->tls);
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
    if (conn->phase == PHASE_OPENING && conn->tls && tls_conn_wants_write(conn->tls)) {
        watch_events(conn, LOOP_WRITABLE);
        return;
    }
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
    link_end_output(conn->watch.fd, conn->tls);
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
        ssize_t sent = http_conn_transmit(conn, conn->out.data + conn->out_sent,
                                          http_conn_unsent(conn));
        if (sent == -EINTR) {
            continue;
        }
        if (sent < 0) {
            conn->dead = conn->dead || sent != -EAGAIN;
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

bool http_conn_may_go_on(const struct http_conn *conn)
{
    return conn->stopped && !conn->dead && !conn->closing && !http_conn_is_paused(conn);
}

static void process_buffered(struct http_conn *conn)
{
    if (http_conn_may_go_on(conn)) {
        http_conn_read_requests(conn, NULL, 0);
    }
}

void http_conn_flush(struct http_conn *conn)
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

static void on_ready(struct loop_watch *watch, unsigned events)
{
    struct http_conn *conn = (struct http_conn *)((char *)watch -
                                                  offsetof(struct http_conn, watch));
    if (events & LOOP_HANGUP) {
        conn->dead = true;
    } else if (events & LOOP_READABLE || conn->phase == PHASE_OPENING) {
        http_conn_on_readable(conn);
    }
    http_conn_mark_dirty(conn);
}

/* A fresh socket has room for so little. Over TLS nothing can be said before the handshake, which
 * is what the limit is to spare us. */
static void turn_away(struct http_service *service, int fd, const struct addr *peer)
{
    struct buf out = {0};
    struct http_problem problem = {.status = 503, .code = STR("connection_limit")};
    struct http_response response = {.close = true};
    if (service->options.on_refused) {
        service->options.on_refused(service->options.owner, peer, 503, "connection_limit");
    }
    if (!service->tls && http_problem_write(&out, &problem, &response) == 0) {
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
    conn->phase = http_conn_has_opening(conn) ? PHASE_OPENING : PHASE_FIRST;
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
