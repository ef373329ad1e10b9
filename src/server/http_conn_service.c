/* The connections of a listener together: their service's life, its drain, the end of a turn. */
#include "base/err.h"
#include "base/mem.h"
#include "server/http_conn_private.h"

enum { CHECK_MIN_MS = 20, CHECK_MAX_MS = 1000 };

static bool flush_dirty(void *owner)
{
    struct http_service *service = owner;
    struct http_conn *conn = service->dirty;
    service->dirty = NULL;
    service->flushing = true;
    service->came_late = false;
    service->handshakes = 0;
    while (conn) {
        struct http_conn *next = conn->next_dirty;
        if (!conn->dead) {
            http_conn_flush(conn);
        }
        conn->dirty = false;
        if (conn->dead) {
            http_conn_destroy(conn);
        } else if (http_conn_may_go_on(conn)) {
            http_conn_mark_dirty(conn); /* the peer took it all: on with the next turn */
        }
        conn = next;
    }
    service->flushing = false;
    return service->dirty || service->came_late;
}

int http_service_create(struct http_service **out_service,
                        const struct http_service_options *options)
{
    struct http_service *service = mem_zalloc(sizeof(*service));
    if (!service) {
        return ERR_NO_MEMORY;
    }
    service->options = *options;
    http_service_set_settings(service, options->settings);
    http_service_set_tls(service, options->tls);
    int err = loop_add_turn_end(options->loop, flush_dirty, service);
    if (err) {
        settings_unref(service->settings);
        tls_context_unref(service->tls);
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

void http_service_set_tls(struct http_service *service, struct tls_context *tls)
{
    struct tls_context *old = service->tls;
    service->tls = tls ? tls_context_ref(tls) : NULL;
    tls_context_unref(old);
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
    tls_context_unref(service->tls);
    mem_free(service);
}

static bool is_idle(const struct http_conn *conn)
{
    return conn->phase == PHASE_IDLE || conn->phase <= PHASE_FIRST;
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

void http_service_drain(struct http_service *service)
{
    service->draining = true;
    for (struct http_conn *conn = service->conns; conn;) {
        struct http_conn *next = conn->next;
        let_go(conn);
        conn = next;
    }
}

void http_service_resume(struct http_service *service)
{
    service->draining = false;
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
