/* Requests are handled where they lie, in the receive buffer, when they are whole; what is not is
 * kept in `in`. */
#include <errno.h>

#include "base/mem.h"
#include "server/http_conn_private.h"

enum { LINGER_BYTES = 1 << 20 };

static struct http_limits parser_limits(const struct settings_limits *limits)
{
    return (struct http_limits){.target_bytes = (uint32_t)limits->uri_bytes,
                                .line_bytes = (uint32_t)limits->header_line_bytes,
                                .head_bytes = (uint32_t)limits->header_bytes,
                                .headers = (uint32_t)limits->headers};
}

static struct http_exchange *begin_exchange(struct http_conn *conn)
{
    struct http_exchange *exchange = http_exchange_alloc(conn->service);
    if (!exchange) {
        conn->dead = true;
        return NULL;
    }
    const struct http_request *request = &conn->service->request;
    exchange->conn = conn;
    exchange->request = request;
    exchange->peer = conn->peer;
    exchange->is_secure = conn->tls != NULL;
    exchange->started_us = loop_now_us(conn->service->options.loop);
    exchange->keep_alive = request->keep_alive;
    exchange->head_only = request->method == HTTP_METHOD_HEAD;
    request_id_read(&exchange->request_id, request);
    *conn->last = exchange;
    conn->last = &exchange->next;
    conn->exchanges++;
    return exchange;
}

/* An exchange that on_head did not answer: it is made again when the body is there. */
static void drop_last_exchange(struct http_conn *conn, struct http_exchange *exchange)
{
    struct http_exchange **at = &conn->first;
    while (*at != exchange) {
        at = &(*at)->next;
    }
    *at = NULL;
    conn->last = at;
    conn->exchanges--;
    http_exchange_free(exchange);
}

/* Lines of the log that the handler writes say which request they are about. */
static void call_handler(struct http_conn *conn, struct http_exchange *exchange,
                         void (*handler)(void *owner, struct http_exchange *exchange))
{
    struct http_service *service = conn->service;
    struct request_scope scope;
    request_scope_enter(&scope, &exchange->request_id);
    service->current = exchange;
    conn->in_handler = true;
    handler(service->options.owner, exchange);
    conn->in_handler = false;
    request_scope_leave(&scope);
}

/* True when the handler has answered, so that the body is not wanted. */
static bool call_on_head(struct http_conn *conn)
{
    struct http_service *service = conn->service;
    if (!service->options.on_head || conn->head_seen) {
        return false;
    }
    conn->head_seen = true;
    struct http_exchange *exchange = begin_exchange(conn);
    if (!exchange) {
        return true;
    }
    exchange->keep_alive = false; /* the body stays unread, so nothing can follow it */
    call_handler(conn, exchange, service->options.on_head);
    bool answered = service->current != exchange || exchange->status != 0;
    if (!answered) {
        drop_last_exchange(conn, exchange);
        return false;
    }
    conn->closing = true;
    return true;
}

static void call_on_request(struct http_conn *conn, struct str body, struct str rest)
{
    struct http_service *service = conn->service;
    struct http_exchange *exchange = begin_exchange(conn);
    if (!exchange) {
        return;
    }
    exchange->body = body;
    service->rest = rest;
    service->came_late |= service->flushing;
    call_handler(conn, exchange, service->options.on_request);
    if (service->current == exchange) { /* not answered inside */
        exchange->request = NULL;
        exchange->body = (struct str){NULL, 0};
    }
}

/* Before any arithmetic with the length that the peer announced. */
static bool refuse_early(struct http_conn *conn, const struct http_request *request)
{
    uint64_t max = http_conn_limits(conn)->body_bytes;
    if (request->content_length > 0 && (uint64_t)request->content_length > max) {
        http_conn_refuse(conn, HTTP_REFUSED_BODY_TOO_LARGE);
        return true;
    }
    if (request->expect_unknown) {
        struct http_exchange *exchange = begin_exchange(conn);
        if (exchange) {
            exchange->keep_alive = false;
            http_answer_problem(exchange, 417, "expectation_failed",
                                "Only 100-continue can be expected.");
        }
        conn->closing = true;
        return true;
    }
    return false;
}

static void ask_to_continue(struct http_conn *conn, const struct http_request *request)
{
    if (request->expect_continue && !conn->first) {
        http_conn_begin_output(conn);
        buf_append_str(&conn->out, HTTP_CONTINUE);
        http_conn_mark_dirty(conn);
    }
}

static void finish_request(struct http_conn *conn)
{
    conn->head_len = 0;
    conn->body_len = 0;
    conn->scanned = 0;
    conn->head_seen = false;
    conn->is_chunked = false;
}

/* The body, or a part of it, is still to come. */
static void begin_body(struct http_conn *conn, const struct http_request *request, size_t head_len,
                       size_t length)
{
    if (call_on_head(conn)) {
        return;
    }
    conn->head_len = head_len;
    conn->is_chunked = request->chunked;
    conn->body_len = 0;
    conn->body_total = length;
    http_chunked_init(&conn->chunked, http_conn_limits(conn)->body_bytes);
    http_conn_set_phase(conn, PHASE_BODY);
    ask_to_continue(conn, request);
}

/* Handles one request at the front of data. Returns the bytes it took, 0 when more are needed (or
 * none are wanted any more). */
static size_t read_one(struct http_conn *conn, uint8_t *data, size_t len)
{
    struct http_request *request = &conn->service->request;
    struct http_limits limits = parser_limits(http_conn_limits(conn));
    ssize_t head = http_request_parse(request, &limits, data, len, &conn->scanned);
    if (head < 0) {
        http_conn_refuse(conn, request->refusal);
        return 0;
    }
    if (head == 0) {
        http_conn_set_phase(conn, PHASE_HEAD);
        return 0;
    }
    bool has_body = http_request_has_body(request);
    if ((has_body || request->expect_unknown) && refuse_early(conn, request)) {
        return 0;
    }
    size_t length = request->chunked || !has_body ? 0 : (size_t)request->content_length;
    size_t whole = (size_t)head + length;
    if (request->chunked || whole > len) {
        begin_body(conn, request, (size_t)head, length);
        return 0;
    }
    bool last = !request->keep_alive;
    finish_request(conn);
    http_conn_set_phase(conn, PHASE_ANSWER); /* the next head has its own time */
    call_on_request(conn, str_make(data + head, length), str_make(data + whole, len - whole));
    conn->closing = conn->closing || last;
    return whole;
}

/* The head of `in` was parsed before; its strings must point into `in` as it lies now. */
static void dispatch_buffered(struct http_conn *conn, size_t body_len, size_t rest_at)
{
    struct http_request *request = &conn->service->request;
    struct http_limits limits = parser_limits(http_conn_limits(conn));
    ssize_t head = http_request_parse(request, &limits, conn->in.data, conn->head_len, NULL);
    if (head <= 0) {
        conn->dead = true; /* the limits were lowered by a reload meanwhile */
        return;
    }
    bool last = !request->keep_alive;
    struct str body = str_make(conn->in.data + head, body_len);
    struct str rest = str_make(conn->in.data + rest_at, conn->in.len - rest_at);
    finish_request(conn);
    http_conn_set_phase(conn, PHASE_ANSWER);
    call_on_request(conn, body, rest);
    conn->closing = conn->closing || last;
    if (!conn->taken) {
        buf_consume(&conn->in, rest_at);
    }
}

/* Body bytes in `in`, behind the head: chunks are decoded where they lie. True when the request is
 * complete and was handled. */
static bool read_body(struct http_conn *conn)
{
    size_t raw_at = conn->head_len + conn->body_len;
    if (!conn->is_chunked) {
        size_t whole = conn->head_len + conn->body_total;
        if (conn->in.len < whole) {
            return false;
        }
        dispatch_buffered(conn, conn->body_total, whole);
        return true;
    }
    size_t body_len;
    size_t consumed;
    int done = http_chunked_decode(&conn->chunked, conn->in.data + raw_at, conn->in.len - raw_at,
                                   &body_len, &consumed);
    if (done < 0) {
        http_conn_refuse(conn, conn->chunked.refusal);
        return false;
    }
    conn->body_len += body_len;
    if (done == 0) {
        conn->in.len = conn->head_len + conn->body_len;
        return false;
    }
    dispatch_buffered(conn, conn->body_len, raw_at + consumed);
    return true;
}

static bool wants_more(const struct http_conn *conn)
{
    return !conn->dead && !conn->closing && !conn->taken && !http_conn_is_paused(conn);
}

/* Requests that are whole in data are handled where they lie; the rest is kept in `in`. */
static void read_in_place(struct http_conn *conn, uint8_t *data, size_t len)
{
    size_t at = 0;
    while (at < len && wants_more(conn) && conn->head_len == 0) {
        size_t taken = read_one(conn, data + at, len - at);
        if (taken == 0) {
            break;
        }
        at += taken;
    }
    if (at < len && !conn->dead && !conn->closing && !conn->taken &&
        buf_append(&conn->in, data + at, len - at)) {
        conn->dead = true;
    }
}

static void drop_read(struct http_conn *conn, size_t *at)
{
    if (*at > 0) {
        buf_consume(&conn->in, *at);
        *at = 0;
    }
}

/* Moves what is left once, not after each request: a pipelining peer sends hundreds at a time. */
static void read_from_buffer(struct http_conn *conn)
{
    size_t at = 0;
    while (at < conn->in.len && wants_more(conn)) {
        if (conn->head_len > 0) { /* its head lies at the front */
            drop_read(conn, &at);
            if (!read_body(conn)) {
                break;
            }
            continue;
        }
        size_t taken = read_one(conn, conn->in.data + at, conn->in.len - at);
        if (taken == 0 && conn->head_len == 0) {
            break;
        }
        at += taken;
    }
    drop_read(conn, &at);
}

/* New bytes, or none: then what waits in `in` is looked at again. */
void http_conn_read_requests(struct http_conn *conn, uint8_t *data, size_t len)
{
    if (conn->in.len == 0 && len > 0 && conn->head_len == 0) {
        read_in_place(conn, data, len);
        if (conn->head_len > 0 && conn->is_chunked && !conn->dead) {
            read_from_buffer(conn);
        }
    } else if (len == 0 || buf_append(&conn->in, data, len) == 0) {
        read_from_buffer(conn);
    } else {
        conn->dead = true;
    }
    conn->stopped = conn->in.len > 0 && http_conn_is_paused(conn);
    if (conn->in.len == 0 && conn->in.cap > 0 && !conn->taken) {
        buf_fini(&conn->in);
    }
    http_conn_mark_dirty(conn);
}

static void throw_away(struct http_conn *conn, size_t len)
{
    conn->lingered += len;
    conn->dead = conn->dead || conn->lingered > LINGER_BYTES;
}

static void on_end_of_input(struct http_conn *conn)
{
    conn->peer_done = true;
    http_conn_tell_gone(conn);
    if (conn->phase == PHASE_LINGER || (!conn->first && http_conn_unsent(conn) == 0)) {
        conn->dead = true;
    }
}

static void on_bytes(struct http_conn *conn, uint8_t *data, size_t len)
{
    if (conn->phase == PHASE_LINGER || conn->closing) {
        throw_away(conn, len);
        return;
    }
    if (conn->phase == PHASE_FIRST || conn->phase == PHASE_IDLE) {
        http_conn_set_phase(conn, PHASE_HEAD);
    }
    conn->rate_bytes += len;
    http_conn_read_requests(conn, data, len);
    if (conn->phase == PHASE_HEAD && conn->in.len == 0) {
        http_conn_set_phase(conn,
                            conn->first || http_conn_unsent(conn) ? PHASE_ANSWER : PHASE_IDLE);
    }
}

static void tell_link_failure(struct http_conn *conn, ssize_t err)
{
    const char *reason = http_conn_link_reason(conn, err);
    if (reason) {
        http_conn_give_up(conn, reason);
    }
}

void http_conn_on_readable(struct http_conn *conn)
{
    const struct http_service_options *options = &conn->service->options;
    if (conn->phase == PHASE_OPENING && !http_conn_open_link(conn)) {
        return;
    }
    ssize_t got = http_conn_receive(conn, options->receive_buffer, options->receive_buffer_len);
    if (got > 0) {
        on_bytes(conn, options->receive_buffer, (size_t)got);
    } else if (got == 0) {
        on_end_of_input(conn);
    } else if (got != -EAGAIN && got != -EINTR) {
        conn->dead = true;
        tell_link_failure(conn, got);
    }
}
