/* The deadlines of HTTP connections: slow heads, slow bodies, peers that take nothing. */
#include "server/http_conn_private.h"

enum {
    LINGER_MS = 1000, /* after the last answer: see begin_linger */
    RATE_PERIOD_MS = 5000,
};

static bool is_body_too_slow(struct http_conn *conn, uint64_t now)
{
    const struct settings_limits *limits = http_conn_limits(conn);
    if (now - conn->phase_ms >= limits->body_timeout_ms) {
        return true;
    }
    if (!limits->body_rate_bytes || now - conn->rate_ms < RATE_PERIOD_MS) {
        return false;
    }
    bool slow = conn->rate_bytes * 1000 < limits->body_rate_bytes * (now - conn->rate_ms);
    conn->rate_ms = now;
    conn->rate_bytes = 0;
    return slow;
}

static bool is_stalled(const struct http_conn *conn, uint64_t now)
{
    return http_conn_unsent(conn) > 0 &&
           now - conn->unsent_ms >= http_conn_limits(conn)->write_stall_ms;
}

static void restart_clock(struct http_conn *conn, uint64_t now)
{
    conn->phase_ms = now;
    conn->rate_ms = now;
    conn->rate_bytes = 0;
}

void http_conn_give_up(struct http_conn *conn, const char *reason)
{
    const struct http_service_options *options = &conn->service->options;
    conn->dead = true;
    if (options->on_refused) {
        options->on_refused(options->owner, &conn->peer, 0, reason);
    }
}

static void check_deadlines(struct http_conn *conn, uint64_t now)
{
    const struct settings_limits *limits = http_conn_limits(conn);
    if (http_conn_is_paused(conn)) {
        restart_clock(conn, now); /* what we don't read can't be late */
    }
    uint64_t age = now - conn->phase_ms;
    switch (conn->phase) {
    case PHASE_OPENING:
        if (age >= limits->header_timeout_ms) {
            http_conn_give_up_link(conn);
        }
        break;
    case PHASE_FIRST:
        if (age >= limits->header_timeout_ms) {
            http_conn_give_up(conn, "no_request");
        }
        break;
    case PHASE_IDLE: conn->dead |= age >= limits->idle_timeout_ms; break;
    case PHASE_HEAD:
        if (age >= limits->header_timeout_ms) {
            http_conn_refuse_slow(conn, "header_timeout");
        }
        break;
    case PHASE_BODY:
        if (is_body_too_slow(conn, now)) {
            http_conn_refuse_slow(conn, "body_timeout");
        }
        break;
    case PHASE_ANSWER: break;
    case PHASE_LINGER: conn->dead |= age >= LINGER_MS; break;
    }
    if (is_stalled(conn, now)) {
        http_conn_give_up(conn, "write_stall");
    }
}

void http_conn_on_timer(struct timer *timer)
{
    struct http_conn *conn = (struct http_conn *)((char *)timer -
                                                  offsetof(struct http_conn, timer));
    check_deadlines(conn, http_conn_now_ms(conn));
    if (conn->dead) {
        http_conn_destroy(conn);
        return;
    }
    loop_timer_start(conn->service->options.loop, timer, conn->service->check_ms);
}
