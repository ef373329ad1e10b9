#include "server/http_conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/http_chunked.h"

enum {
    CHECK_MIN_MS = 20,
    CHECK_MAX_MS = 1000,
    LINGER_MS =
        1000, /* after the last answer, for the peer to read it before a reset can destroy it */
    LINGER_BYTES = 1 << 20,
    RATE_PERIOD_MS = 5000,
    KEEP_BUFFER = 4096,
    MAX_PIPELINED = 1024,
};

enum phase {
    PHASE_FIRST, /* accepted, nothing read yet */
    PHASE_IDLE,  /* between two requests */
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
    bool head_seen; /* on_head was called */
    bool closing;   /* no further request; close when all is sent */
    bool dirty;
    bool in_handler;
    bool taken;     /* the socket belongs to somebody else now */
    bool dead;      /* to be freed when the handler returns */
    bool peer_done; /* it has shut its side */
};

struct http_service {
    struct http_service_options options;
    struct settings *settings;
    struct http_conn *conns;
    struct http_conn *dirty;
    struct http_exchange *free_exchanges;
    struct http_request
        request; /* of the handler under way: too large for the stack of each call */
    struct http_exchange *current; /* in on_request; NULL once it is freed */
    struct str rest;               /* behind the request of the handler under way */
    uint64_t check_ms;
    uint32_t conn_count;
    uint32_t exchange_count;
    uint32_t free_count;
    bool draining;
    bool destroyed; /* freed with the last exchange */
};

static const struct settings_limits *limits_of(const struct http_conn *conn)
{
    return &conn->service->settings->limits;
}

static uint64_t now_ms(const struct http_conn *conn)
{
    return loop_now_ms(conn->service->options.loop);
}

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

uint32_t http_service_connections(const struct http_service *service)
{
    return service->conn_count;
}

uint32_t http_service_open_exchanges(const struct http_service *service)
{
    return service->exchange_count;
}

static void free_service(struct http_service *service)
{
    while (service->free_exchanges) {
        struct http_exchange *exchange = service->free_exchanges;
        service->free_exchanges = exchange->next;
        mem_free(exchange);
    }
    settings_unref(service->settings);
    mem_free(service);
}

static struct http_exchange *alloc_exchange(struct http_service *service)
{
    struct http_exchange *exchange = service->free_exchanges;
    if (exchange) {
        service->free_exchanges = exchange->next;
        service->free_count--;
        *exchange = (struct http_exchange){0};
    } else {
        exchange = mem_zalloc(sizeof(*exchange));
    }
    if (exchange) {
        exchange->service = service;
        service->exchange_count++;
    }
    return exchange;
}

static void free_exchange(struct http_exchange *exchange)
{
    struct http_service *service = exchange->service;
    if (service->current == exchange) {
        service->current = NULL;
    }
    buf_fini(&exchange->answer);
    service->exchange_count--;
    if (service->free_count < MAX_PIPELINED) {
        exchange->next = service->free_exchanges;
        service->free_exchanges = exchange;
        service->free_count++;
    } else {
        mem_free(exchange);
    }
    if (service->destroyed && service->exchange_count == 0) {
        free_service(service);
    }
}

static void set_phase(struct http_conn *conn, enum phase phase)
{
    if (conn->phase != phase) {
        conn->phase = phase;
        conn->phase_ms = now_ms(conn);
        conn->rate_ms = conn->phase_ms;
        conn->rate_bytes = 0;
    }
}

static void mark_dirty(struct http_conn *conn)
{
    if (!conn->dirty) {
        conn->dirty = true;
        conn->next_dirty = conn->service->dirty;
        conn->service->dirty = conn;
    }
}

static void abandon_exchanges(struct http_conn *conn)
{
    for (struct http_exchange *exchange = conn->first; exchange;) {
        struct http_exchange *next = exchange->next;
        exchange->conn = NULL;
        if (exchange->status) {
            free_exchange(exchange);
        }
        exchange = next;
    }
    conn->first = NULL;
}

static void unlink_conn(struct http_conn *conn)
{
    *conn->link = conn->next;
    if (conn->next) {
        conn->next->link = conn->link;
    }
    conn->service->conn_count--;
}

static void destroy_conn(struct http_conn *conn)
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
    abandon_exchanges(conn);
    unlink_conn(conn);
    mem_account(MEM_HTTP, -(int64_t)(sizeof(*conn) + conn->in.cap));
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

static size_t unsent(const struct http_conn *conn)
{
    return conn->out.len - conn->out_sent;
}

static bool is_paused(const struct http_conn *conn)
{
    return unsent(conn) >= limits_of(conn)->pipeline_bytes || conn->exchanges >= MAX_PIPELINED;
}

static void update_watch(struct http_conn *conn)
{
    bool reads = conn->phase == PHASE_LINGER ||
                 (!conn->closing && !conn->peer_done && !is_paused(conn));
    watch_events(conn, (reads ? LOOP_READABLE : 0) | (unsent(conn) ? LOOP_WRITABLE : 0));
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
    set_phase(conn, PHASE_LINGER);
}

static void drop_sent(struct http_conn *conn)
{
    if (unsent(conn) > 0) {
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
    while (unsent(conn) > 0) {
        ssize_t sent = send(conn->watch.fd, conn->out.data + conn->out_sent, unsent(conn),
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EINTR) {
                continue;
            }
            conn->dead = conn->dead || (errno != EAGAIN && errno != EWOULDBLOCK);
            break;
        }
        conn->out_sent += (size_t)sent;
        conn->unsent_ms = now_ms(conn);
    }
    drop_sent(conn);
}

static void settle_phase(struct http_conn *conn)
{
    if (conn->phase == PHASE_LINGER) {
        return;
    }
    bool owes = conn->first || unsent(conn) > 0;
    if (!owes && (conn->closing || conn->peer_done)) {
        begin_linger(conn);
    } else if (owes && conn->phase != PHASE_BODY && conn->phase != PHASE_HEAD) {
        set_phase(conn, PHASE_ANSWER);
    } else if (!owes && conn->phase == PHASE_ANSWER) {
        set_phase(conn, conn->in.len ? PHASE_HEAD : PHASE_IDLE);
    }
}

static void read_requests(struct http_conn *conn, uint8_t *data, size_t len);

static void process_buffered(struct http_conn *conn)
{
    if (conn->in.len > 0 && conn->head_len == 0 && !conn->closing && !is_paused(conn)) {
        read_requests(conn, NULL, 0);
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
}

static bool flush_dirty(void *owner)
{
    struct http_service *service = owner;
    struct http_conn *conn = service->dirty;
    service->dirty = NULL;
    while (conn) {
        struct http_conn *next = conn->next_dirty;
        if (!conn->dead) {
            flush_conn(conn);
        }
        conn->dirty = false;
        if (conn->dead) {
            destroy_conn(conn);
        }
        conn = next;
    }
    return service->dirty != NULL;
}

/* The exchanges at the front that are answered go out; the first that is not stops those behind it.
 */
static void collect_answers(struct http_conn *conn)
{
    while (conn->first && conn->first->status) {
        struct http_exchange *exchange = conn->first;
        conn->first = exchange->next;
        if (!conn->first) {
            conn->last = &conn->first;
        }
        conn->exchanges--;
        if (exchange->answer.len) {
            buf_append(&conn->out, exchange->answer.data, exchange->answer.len);
        }
        conn->closing = conn->closing || !exchange->keep_alive;
        free_exchange(exchange);
    }
    if (conn->out.err) {
        conn->dead = true;
    }
    mark_dirty(conn);
}

static void count_answer(struct http_exchange *exchange, int status)
{
    exchange->status = (uint16_t)status;
    if (exchange->service->options.on_answered) {
        exchange->service->options.on_answered(exchange->service->options.owner, exchange);
    }
}

void http_answer(struct http_exchange *exchange, const struct http_response *response)
{
    ASSERT(exchange->status == 0);
    struct http_conn *conn = exchange->conn;
    count_answer(exchange, response->status);
    if (!conn) {
        free_exchange(exchange);
        return;
    }
    if (exchange->service->draining || conn->peer_done) {
        exchange->keep_alive = false;
    }
    struct http_response full = *response;
    full.close = full.close || !exchange->keep_alive;
    exchange->keep_alive = !full.close;
    full.head_only = exchange->head_only;
    bool at_once = conn->first == exchange;
    struct buf *out = at_once ? &conn->out : &exchange->answer;
    if (unsent(conn) == 0) {
        conn->unsent_ms = now_ms(conn);
    }
    if (http_response_write(out, &full)) {
        conn->dead = true; /* memory is out: nothing sensible can be said any more */
        mark_dirty(conn);
    }
    collect_answers(conn);
}

void http_answer_json(struct http_exchange *exchange, int status, struct str json)
{
    struct http_response response = {
        .status = status, .content_type = STR("application/json"), .body = json};
    http_answer(exchange, &response);
}

static void answer_problem(struct http_exchange *exchange, int status, const char *code,
                           const char *detail, const struct http_pair *headers, size_t count)
{
    struct buf body = {0};
    struct http_problem problem = {
        .status = status, .code = str_of(code), .detail = str_of(detail ? detail : "")};
    http_problem_write_body(&body, &problem);
    struct http_response response = {.status = status,
                                     .content_type = STR("application/problem+json"),
                                     .body = buf_str(&body),
                                     .headers = headers,
                                     .header_count = count};
    http_answer(exchange, &response);
    buf_fini(&body);
}

void http_answer_problem(struct http_exchange *exchange, int status, const char *code,
                         const char *detail)
{
    answer_problem(exchange, status, code, detail, NULL, 0);
}

void http_answer_retry(struct http_exchange *exchange, int status, const char *code,
                       const char *detail, unsigned seconds)
{
    struct buf value = {0};
    buf_append_u64(&value, seconds);
    struct http_pair header = {STR("Retry-After"), buf_str(&value)};
    answer_problem(exchange, status, code, detail, &header, 1);
    buf_fini(&value);
}

void http_answer_refusal(struct http_exchange *exchange, enum http_refusal refusal)
{
    struct http_conn *conn = exchange->conn;
    exchange->keep_alive = false;
    count_answer(exchange, http_refusal_status(refusal));
    if (!conn) {
        free_exchange(exchange);
        return;
    }
    conn->closing = true;
    if (http_refusal_write(&exchange->answer, refusal)) {
        conn->dead = true;
    }
    if (unsent(conn) == 0) {
        conn->unsent_ms = now_ms(conn);
    }
    collect_answers(conn);
}

int http_take_socket(struct http_exchange *exchange, struct str *out_rest)
{
    struct http_conn *conn = exchange->conn;
    if (!conn || conn->first != exchange || exchange->next || unsent(conn) > 0 || conn->dead) {
        return -1;
    }
    *out_rest = conn->service->rest;
    int fd = conn->watch.fd;
    loop_unwatch(conn->service->options.loop, &conn->watch);
    conn->taken = true;
    conn->dead = true;
    conn->first = NULL;
    conn->last = &conn->first;
    conn->exchanges = 0;
    exchange->conn = NULL;
    count_answer(exchange, 101);
    free_exchange(exchange);
    return fd;
}

static void refuse(struct http_conn *conn, enum http_refusal refusal)
{
    struct http_service *service = conn->service;
    conn->closing = true;
    if (service->options.on_refused) {
        service->options.on_refused(service->options.owner, &conn->peer,
                                    http_refusal_status(refusal), http_refusal_slug(refusal));
    }
    /* Behind answers that are still owed there is no place for this one: it waits in line like
     * them. */
    struct http_exchange *exchange = alloc_exchange(service);
    if (!exchange) {
        conn->dead = true;
        return;
    }
    exchange->conn = conn;
    exchange->status = (uint16_t)http_refusal_status(refusal);
    exchange->keep_alive = false;
    *conn->last = exchange;
    conn->last = &exchange->next;
    conn->exchanges++;
    if (unsent(conn) == 0) {
        conn->unsent_ms = now_ms(conn);
    }
    http_refusal_write(&exchange->answer, refusal);
    collect_answers(conn);
}

static void refuse_slow(struct http_conn *conn, const char *reason)
{
    struct http_service *service = conn->service;
    conn->closing = true;
    if (service->options.on_refused) {
        service->options.on_refused(service->options.owner, &conn->peer, 408, reason);
    }
    if (conn->first) {
        conn->dead = true; /* its answer would come before those that are owed */
        return;
    }
    struct http_problem problem = {.status = 408,
                                   .code = str_of(reason),
                                   .detail = STR("The request did not arrive in time.")};
    struct http_response response = {.close = true};
    conn->unsent_ms = now_ms(conn);
    http_problem_write(&conn->out, &problem, &response);
    set_phase(conn, PHASE_ANSWER);
    mark_dirty(conn);
}

static struct http_limits parser_limits(const struct settings_limits *limits)
{
    return (struct http_limits){.target_bytes = (uint32_t)limits->uri_bytes,
                                .line_bytes = (uint32_t)limits->header_line_bytes,
                                .head_bytes = (uint32_t)limits->header_bytes,
                                .headers = (uint32_t)limits->headers};
}

static struct http_exchange *begin_exchange(struct http_conn *conn)
{
    struct http_exchange *exchange = alloc_exchange(conn->service);
    if (!exchange) {
        conn->dead = true;
        return NULL;
    }
    const struct http_request *request = &conn->service->request;
    exchange->conn = conn;
    exchange->request = request;
    exchange->peer = conn->peer;
    exchange->started_us = loop_now_us(conn->service->options.loop);
    exchange->keep_alive = request->keep_alive;
    exchange->head_only = request->method == HTTP_METHOD_HEAD;
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
    free_exchange(exchange);
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
    service->current = exchange;
    conn->in_handler = true;
    service->options.on_head(service->options.owner, exchange);
    conn->in_handler = false;
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
    service->current = exchange;
    conn->in_handler = true;
    service->options.on_request(service->options.owner, exchange);
    conn->in_handler = false;
    if (service->current == exchange) { /* not answered inside */
        exchange->request = NULL;
        exchange->body = (struct str){NULL, 0};
    }
}

static bool refuse_early(struct http_conn *conn, const struct http_request *request)
{
    uint64_t max = limits_of(conn)->body_bytes;
    if (request->content_length > 0 && (uint64_t)request->content_length > max) {
        refuse(conn, HTTP_REFUSED_BODY_TOO_LARGE);
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
    return call_on_head(conn);
}

static void ask_to_continue(struct http_conn *conn, const struct http_request *request)
{
    if (request->expect_continue && !conn->first) {
        buf_append_str(&conn->out, HTTP_CONTINUE);
        mark_dirty(conn);
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

/* Handles one request at the front of data. Returns the bytes it took, 0 when more are needed (or
 * none are wanted any more). */
static size_t read_one(struct http_conn *conn, uint8_t *data, size_t len)
{
    struct http_request *request = &conn->service->request;
    struct http_limits limits = parser_limits(limits_of(conn));
    ssize_t head = http_request_parse(request, &limits, data, len, &conn->scanned);
    if (head < 0) {
        refuse(conn, request->refusal);
        return 0;
    }
    if (head == 0) {
        set_phase(conn, PHASE_HEAD);
        return 0;
    }
    bool has_body = http_request_has_body(request);
    size_t length = request->chunked || !has_body ? 0 : (size_t)request->content_length;
    if ((has_body || request->expect_unknown) && refuse_early(conn, request)) {
        return 0;
    }
    size_t whole = (size_t)head + length;
    if (request->chunked || whole > len) {
        conn->head_len = (size_t)head;
        conn->is_chunked = request->chunked;
        conn->body_len = 0;
        http_chunked_init(&conn->chunked, limits_of(conn)->body_bytes);
        conn->body_total = length;
        set_phase(conn, PHASE_BODY);
        ask_to_continue(conn, request);
        return 0;
    }
    bool last = !request->keep_alive;
    finish_request(conn);
    call_on_request(conn, str_make(data + head, length), str_make(data + whole, len - whole));
    conn->closing = conn->closing || last;
    return whole;
}

/* The head of `in` was parsed before; its strings must point into `in` as it lies now. */
static void dispatch_buffered(struct http_conn *conn, size_t body_len, size_t rest_at)
{
    struct http_request *request = &conn->service->request;
    struct http_limits limits = parser_limits(limits_of(conn));
    ssize_t head = http_request_parse(request, &limits, conn->in.data, conn->head_len, NULL);
    if (head <= 0) {
        conn->dead = true; /* the limits were lowered by a reload meanwhile */
        return;
    }
    bool last = !request->keep_alive;
    struct str body = str_make(conn->in.data + head, body_len);
    struct str rest = str_make(conn->in.data + rest_at, conn->in.len - rest_at);
    finish_request(conn);
    set_phase(conn, PHASE_ANSWER);
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
        refuse(conn, conn->chunked.refusal);
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
    return !conn->dead && !conn->closing && !conn->taken && !is_paused(conn);
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

static void read_from_buffer(struct http_conn *conn)
{
    while (conn->in.len > 0 && wants_more(conn)) {
        if (conn->head_len > 0) {
            if (!read_body(conn)) {
                break;
            }
            continue;
        }
        size_t taken = read_one(conn, conn->in.data, conn->in.len);
        if (taken > 0 && !conn->taken) {
            buf_consume(&conn->in, taken);
        } else if (conn->head_len == 0) {
            break;
        }
    }
}

/* New bytes, or none: then what waits in `in` is looked at again. */
static void read_requests(struct http_conn *conn, uint8_t *data, size_t len)
{
    size_t in_before = conn->in.cap;
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
    if (conn->in.len == 0 && conn->in.cap > 0 && !conn->taken) {
        buf_fini(&conn->in);
    }
    mem_account(MEM_HTTP, (int64_t)conn->in.cap - (int64_t)in_before);
    mark_dirty(conn);
}

static void throw_away(struct http_conn *conn, size_t len)
{
    conn->lingered += len;
    conn->dead = conn->dead || conn->lingered > LINGER_BYTES;
}

static void on_end_of_input(struct http_conn *conn)
{
    conn->peer_done = true;
    if (conn->phase == PHASE_LINGER || (!conn->first && unsent(conn) == 0)) {
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
        set_phase(conn, PHASE_HEAD);
    }
    conn->rate_bytes += len;
    read_requests(conn, data, len);
    if (conn->phase == PHASE_HEAD && conn->in.len == 0) {
        set_phase(conn, conn->first || unsent(conn) ? PHASE_ANSWER : PHASE_IDLE);
    }
}

static void on_readable(struct http_conn *conn)
{
    const struct http_service_options *options = &conn->service->options;
    ssize_t got = recv(conn->watch.fd, options->receive_buffer, options->receive_buffer_len,
                       MSG_DONTWAIT);
    if (got > 0) {
        on_bytes(conn, options->receive_buffer, (size_t)got);
    } else if (got == 0) {
        on_end_of_input(conn);
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        conn->dead = true;
    }
}

static void on_ready(struct loop_watch *watch, unsigned events)
{
    struct http_conn *conn = (struct http_conn *)((char *)watch -
                                                  offsetof(struct http_conn, watch));
    if (events & LOOP_HANGUP) {
        conn->dead = true;
    } else if (events & LOOP_READABLE) {
        on_readable(conn);
    }
    mark_dirty(conn);
}

static bool is_body_too_slow(struct http_conn *conn, uint64_t now)
{
    const struct settings_limits *limits = limits_of(conn);
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
    return unsent(conn) > 0 && now - conn->unsent_ms >= limits_of(conn)->write_stall_ms;
}

static void check_deadlines(struct http_conn *conn, uint64_t now)
{
    const struct settings_limits *limits = limits_of(conn);
    uint64_t age = now - conn->phase_ms;
    switch (conn->phase) {
    case PHASE_FIRST: conn->dead = age >= limits->header_timeout_ms; break;
    case PHASE_IDLE: conn->dead = age >= limits->idle_timeout_ms || conn->service->draining; break;
    case PHASE_HEAD:
        if (age >= limits->header_timeout_ms) {
            refuse_slow(conn, "header_timeout");
        }
        break;
    case PHASE_BODY:
        if (is_body_too_slow(conn, now)) {
            refuse_slow(conn, "body_timeout");
        }
        break;
    case PHASE_ANSWER: break;
    case PHASE_LINGER: conn->dead = age >= LINGER_MS; break;
    }
    if (is_stalled(conn, now)) {
        conn->dead = true;
    }
}

static void on_timer(struct timer *timer)
{
    struct http_conn *conn = (struct http_conn *)((char *)timer -
                                                  offsetof(struct http_conn, timer));
    check_deadlines(conn, now_ms(conn));
    if (conn->dead) {
        destroy_conn(conn);
        return;
    }
    loop_timer_start(conn->service->options.loop, timer, conn->service->check_ms);
}

void http_service_accept(struct http_service *service, int fd, const struct addr *peer)
{
    struct http_conn *conn = mem_zalloc(sizeof(*conn));
    if (!conn) {
        close(fd);
        return;
    }
    conn->service = service;
    conn->peer = *peer;
    conn->last = &conn->first;
    conn->phase_ms = loop_now_ms(service->options.loop);
    conn->watch.on_ready = on_ready;
    conn->timer.on_fire = on_timer;
    conn->events = LOOP_READABLE;
    if (loop_watch(service->options.loop, &conn->watch, fd, LOOP_READABLE)) {
        mem_free(conn);
        close(fd);
        return;
    }
    mem_account(MEM_HTTP, sizeof(*conn));
    loop_timer_start(service->options.loop, &conn->timer, service->check_ms);
    conn->next = service->conns;
    conn->link = &service->conns;
    if (conn->next) {
        conn->next->link = &conn->next;
    }
    service->conns = conn;
    service->conn_count++;
}

void http_service_drain(struct http_service *service)
{
    service->draining = true;
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
        destroy_conn(service->conns);
    }
    service->destroyed = true;
    if (service->exchange_count == 0) {
        free_service(service);
    }
}
