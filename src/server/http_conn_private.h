/* What the sources of http_conn share; nobody else includes it.
 *   http_conn.c         connections: their life, what is watched, what is sent
 *   http_conn_service.c all of a listener together
 *   http_conn_link.c    the socket, plain or TLS: opening it, bytes in and out
 *   http_conn_read.c    bytes in, requests out
 *   http_conn_answer.c  exchanges and their answers
 *   http_conn_timer.c   deadlines */
#ifndef TIDEGATE_SERVER_HTTP_CONN_PRIVATE_H
#define TIDEGATE_SERVER_HTTP_CONN_PRIVATE_H

#include <stdatomic.h>

#include "net/tls_conn.h"
#include "proto/http_chunked.h"
#include "server/http_conn.h"

enum { HTTP_CONN_MAX_PIPELINED = 1024 };

enum phase {
    PHASE_OPENING, /* what comes before HTTP: the PROXY header, the TLS handshake */
    PHASE_FIRST,   /* accepted, nothing read yet */
    PHASE_IDLE,    /* between two requests */
    PHASE_HEAD,
    PHASE_BODY,
    PHASE_ANSWER, /* answers are owed or unsent; nothing is read beyond the limit */
    PHASE_LINGER, /* our side is shut; what comes is thrown away */
};

struct http_conn {
    struct loop_watch watch;
    struct timer timer;
    struct http_service *service;
    struct http_conn *next, **link; /* of the service */
    struct http_conn *next_dirty;
    struct tls_conn *tls; /* NULL: plain, or nothing has come yet */
    struct addr peer;
    enum phase phase;
    uint64_t phase_ms;   /* when it began */
    uint64_t rate_ms;    /* body: when the period began that is measured now */
    uint64_t rate_bytes; /* body: bytes in it */
    uint64_t unsent_ms;  /* since when the peer takes nothing of what is unsent */
    uint64_t lingered;   /* bytes thrown away */
    struct buf in;       /* what could not be handled yet */
    struct buf out;
    size_t out_sent;
    size_t held;       /* bytes of answers that wait for earlier ones */
    size_t accounted;  /* of memory, so far */
    size_t scanned;    /* of the head in `in` */
    size_t head_len;   /* of the request whose body is being read; 0: none */
    size_t body_len;   /* decoded so far (chunked) */
    size_t body_total; /* announced (not chunked) */
    struct http_chunked chunked;
    struct http_exchange *first; /* unanswered or waiting for earlier ones, in order of request */
    struct http_exchange **last;
    uint32_t exchanges;
    unsigned events; /* watched */
    bool is_chunked;
    bool head_seen;    /* on_head was called */
    bool stopped;      /* paused with requests in `in` */
    bool closing;      /* no further request; close when all is sent */
    bool awaits_proxy; /* its PROXY header has not come yet */
    bool dirty;
    bool in_handler;
    bool taken;     /* the socket belongs to somebody else now */
    bool dead;      /* to be freed when the handler returns */
    bool peer_done; /* it has shut its side */
};

struct http_service {
    struct http_service_options options;
    struct tls_context *tls; /* a reference; NULL: plain */
    struct settings *settings;
    struct http_conn *conns;
    struct http_conn *dirty;
    struct http_exchange *free_exchanges;
    struct http_request
        request; /* of the handler under way: too large for the stack of each call */
    struct http_exchange *current; /* in on_request; NULL once it is freed */
    struct str rest;               /* behind the request of the handler under way */
    uint64_t check_ms;
    atomic_uint conn_count; /* both written by the loop's thread alone; others may read */
    atomic_uint exchange_count;
    uint32_t free_count;
    uint32_t handshakes; /* steps of them in this turn */
    bool draining;
    bool flushing;  /* the turn's end */
    bool came_late; /* a request was handled there: what it left needs another turn */
    bool destroyed; /* freed with the last exchange */
};

static inline const struct settings_limits *http_conn_limits(const struct http_conn *conn)
{
    return &conn->service->settings->limits;
}

static inline uint64_t http_conn_now_ms(const struct http_conn *conn)
{
    return loop_now_ms(conn->service->options.loop);
}

static inline size_t http_conn_unsent(const struct http_conn *conn)
{
    return conn->out.len - conn->out_sent;
}

static inline bool http_conn_is_paused(const struct http_conn *conn)
{
    return http_conn_unsent(conn) + conn->held >= http_conn_limits(conn)->pipeline_bytes ||
           conn->exchanges >= HTTP_CONN_MAX_PIPELINED;
}

/* http_conn.c */
void http_conn_set_phase(struct http_conn *conn, enum phase phase);
void http_conn_mark_dirty(struct http_conn *conn); /* it is looked at when the turn ends */

/* Frees it; in a handler, or when it is dirty, whoever holds it frees it. */
void http_conn_destroy(struct http_conn *conn);

/* Sends what there is, reads on what waited, settles what is watched. */
void http_conn_flush(struct http_conn *conn);

/* Requests wait in `in` although nothing holds them back any more. */
bool http_conn_may_go_on(const struct http_conn *conn);

/* http_conn_service.c */
void http_service_free(struct http_service *service);

/* Before bytes are appended to out: a stall is measured from here. */
static inline void http_conn_begin_output(struct http_conn *conn)
{
    if (http_conn_unsent(conn) == 0) {
        conn->unsent_ms = http_conn_now_ms(conn);
    }
}

/* Tells what its buffers hold by now. */
void http_conn_account(struct http_conn *conn);

/* http_conn_link.c */

/* Whether something comes before HTTP. */
bool http_conn_has_opening(struct http_conn *conn);

/* What comes before HTTP, as far as it has come. True when requests may be read. */
bool http_conn_open_link(struct http_conn *conn);

/* It did not come in time. */
void http_conn_give_up_link(struct http_conn *conn);

/* As recv and send, but for a negative error as the result. What comes after the last request is
 * only thrown away, so it is not decrypted. */
ssize_t http_conn_receive(struct http_conn *conn, void *data, size_t len);
ssize_t http_conn_transmit(struct http_conn *conn, const void *data, size_t len);

/* Why http_conn_receive failed with err, a slug; NULL: the network's doing. */
const char *http_conn_link_reason(const struct http_conn *conn, ssize_t err);

/* http_conn_read.c */
void http_conn_on_readable(struct http_conn *conn);

/* New bytes, or none: then what waits in `in` is looked at again. */
void http_conn_read_requests(struct http_conn *conn, uint8_t *data, size_t len);

/* http_conn_answer.c */
struct http_exchange *http_exchange_alloc(struct http_service *service);
void http_exchange_free(struct http_exchange *exchange);
void http_conn_abandon_exchanges(struct http_conn *conn);
void http_conn_tell_gone(struct http_conn *conn); /* the peer has ended its side */

/* Answers a request that can't be read; the connection is closed behind it. */
void http_conn_refuse(struct http_conn *conn, enum http_refusal refusal);

/* The same for one that did not arrive in time: 408. */
void http_conn_refuse_slow(struct http_conn *conn, const char *reason);

/* http_conn_timer.c */

/* Closes it without an answer, and tells why: there is nobody to answer. */
void http_conn_give_up(struct http_conn *conn, const char *reason);
void http_conn_on_timer(struct timer *timer);

#endif
