/* Exchanges and their answers: in order of the requests, however late they come. */
#include "base/audit.h"
#include "base/err.h"
#include "base/mem.h"
#include "server/http_conn_private.h"

static void count_exchange(struct http_service *service, int by)
{
    unsigned count = atomic_load_explicit(&service->exchange_count, memory_order_relaxed);
    atomic_store_explicit(&service->exchange_count, count + (unsigned)by, memory_order_release);
}

struct http_exchange *http_exchange_alloc(struct http_service *service)
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
        count_exchange(service, 1);
    }
    return exchange;
}

void http_exchange_free(struct http_exchange *exchange)
{
    struct http_service *service = exchange->service;
    if (service->current == exchange) {
        service->current = NULL;
    }
    buf_fini(&exchange->answer);
    mem_free(exchange->act);
    count_exchange(service, -1);
    if (service->free_count < HTTP_CONN_MAX_PIPELINED) {
        exchange->next = service->free_exchanges;
        service->free_exchanges = exchange;
        service->free_count++;
    } else {
        mem_free(exchange);
    }
    if (service->destroyed && atomic_load(&service->exchange_count) == 0) {
        http_service_free(service);
    }
}

void http_conn_abandon_exchanges(struct http_conn *conn)
{
    for (struct http_exchange *exchange = conn->first; exchange;) {
        struct http_exchange *next = exchange->next;
        exchange->conn = NULL;
        if (exchange->status) {
            http_exchange_free(exchange);
        } else {
            http_exchange_tell_gone(exchange);
        }
        exchange = next;
    }
    conn->first = NULL;
}

struct http_exchange *http_exchange_detached(struct http_service *service,
                                             const struct http_request *request, struct str body,
                                             http_answer_cb on_answer, void *owner)
{
    struct http_exchange *exchange = http_exchange_alloc(service);
    if (exchange) {
        exchange->request = request;
        exchange->body = body;
        exchange->started_us = loop_now_us(service->options.loop);
        exchange->head_only = request->method == HTTP_METHOD_HEAD;
        request_id_read(&exchange->request_id, request);
        exchange->on_answer = on_answer;
        exchange->answer_owner = owner;
    }
    return exchange;
}

void http_exchange_tell_gone(struct http_exchange *exchange)
{
    void (*on_gone)(struct http_exchange * exchange) = exchange->on_gone;
    exchange->on_gone = NULL;
    exchange->is_gone = true;
    if (on_gone) {
        on_gone(exchange);
    }
}

/* An answer inside may free others that wait for it, so each look begins anew. */
void http_conn_tell_gone(struct http_conn *conn)
{
    struct http_exchange *exchange = conn->first;
    while (exchange) {
        if (exchange->on_gone && !exchange->status) {
            http_exchange_tell_gone(exchange);
            exchange = conn->first;
        } else {
            exchange = exchange->next;
        }
    }
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
            http_conn_begin_output(conn);
            buf_append(&conn->out, exchange->answer.data, exchange->answer.len);
            conn->held -= exchange->answer.len;
        }
        http_exchange_free(exchange);
    }
    if (conn->out.err) {
        conn->dead = true;
    }
    http_conn_mark_dirty(conn);
}

static void count_answer(struct http_exchange *exchange, int status)
{
    exchange->status = (uint16_t)status;
    audit_end(exchange->act, status, str_of(exchange->code));
    exchange->act = NULL;
    if (exchange->service->options.on_answered) {
        exchange->service->options.on_answered(exchange->service->options.owner, exchange);
    }
}

/* Whether this answer is the one to say that the connection closes. */
static bool is_last_word(const struct http_exchange *exchange)
{
    const struct http_conn *conn = exchange->conn;
    return !exchange->next &&
           (exchange->service->draining || (conn->peer_done && conn->in.len == 0));
}

void http_answer(struct http_exchange *exchange, const struct http_response *response)
{
    ASSERT(exchange->status == 0);
    struct http_conn *conn = exchange->conn;
    count_answer(exchange, response->status);
    if (!conn) {
        if (exchange->on_answer) {
            exchange->on_answer(exchange->answer_owner, response);
        }
        http_exchange_free(exchange);
        return;
    }
    struct http_response full = *response;
    full.close = full.close || !exchange->keep_alive || is_last_word(exchange);
    full.head_only = exchange->head_only;
    if (exchange->service->options.shows_request_id) {
        full.request_id = request_id_str(&exchange->request_id);
    }
    conn->closing = conn->closing || full.close; /* nothing behind it is read any more */
    bool at_once = conn->first == exchange;
    struct buf *out = at_once ? &conn->out : &exchange->answer;
    http_conn_begin_output(conn);
    if (http_response_write(out, &full)) {
        conn->dead = true; /* memory is out: nothing sensible can be said any more */
    }
    conn->held += exchange->answer.len;
    collect_answers(conn);
}

void http_answer_json(struct http_exchange *exchange, int status, struct str json)
{
    struct http_response response = {
        .status = status, .content_type = STR("application/json"), .body = json};
    http_answer(exchange, &response);
}

void http_answer_problem_with(struct http_exchange *exchange, int status, const char *code,
                              const char *detail, const struct http_pair *headers, size_t count)
{
    struct buf body = {0};
    struct http_problem problem = {.status = status,
                                   .code = str_of(code),
                                   .detail = str_of(detail ? detail : ""),
                                   .request_id = request_id_str(&exchange->request_id)};
    exchange->code = code;
    bool whole = http_problem_write_body(&body, &problem) == 0;
    struct http_response response = {.status = status,
                                     .content_type = STR("application/problem+json"),
                                     .body = whole ? buf_str(&body) : STR("{}"),
                                     .headers = headers,
                                     .header_count = count};
    http_answer(exchange, &response);
    buf_fini(&body);
}

void http_answer_problem(struct http_exchange *exchange, int status, const char *code,
                         const char *detail)
{
    http_answer_problem_with(exchange, status, code, detail, NULL, 0);
}

void http_answer_retry(struct http_exchange *exchange, int status, const char *code,
                       const char *detail, unsigned seconds)
{
    struct buf value = {0};
    buf_append_u64(&value, seconds);
    struct http_pair header = {STR("Retry-After"), buf_str(&value)};
    http_answer_problem_with(exchange, status, code, detail, &header, 1);
    buf_fini(&value);
}

/* The answer is in exchange->answer; err: of writing it. */
static void close_with_answer(struct http_exchange *exchange, int err)
{
    struct http_conn *conn = exchange->conn;
    conn->closing = true;
    conn->dead = conn->dead || err;
    conn->held += exchange->answer.len;
    http_conn_begin_output(conn);
    collect_answers(conn);
}

void http_answer_refusal(struct http_exchange *exchange, enum http_refusal refusal)
{
    exchange->code = http_refusal_slug(refusal);
    count_answer(exchange, http_refusal_status(refusal));
    if (exchange->conn) {
        close_with_answer(exchange, http_refusal_write(&exchange->answer, refusal));
    } else {
        http_exchange_free(exchange);
    }
}

bool http_take_socket(struct http_exchange *exchange, int status, struct http_taken *out_taken)
{
    struct http_conn *conn = exchange->conn;
    if (!conn || conn->first != exchange || exchange->next || http_conn_unsent(conn) > 0 ||
        conn->dead) {
        return false;
    }
    *out_taken = (struct http_taken){conn->watch.fd, conn->tls, conn->service->rest};
    loop_unwatch(conn->service->options.loop, &conn->watch);
    conn->taken = true;
    conn->dead = true;
    conn->first = NULL;
    conn->last = &conn->first;
    conn->exchanges = 0;
    exchange->conn = NULL;
    count_answer(exchange, status);
    http_exchange_free(exchange);
    return true;
}

/* An exchange of no request: behind answers that are still owed it waits in line like them. */
static struct http_exchange *begin_refusal(struct http_conn *conn, int status, const char *reason)
{
    struct http_service *service = conn->service;
    if (service->options.on_refused) {
        service->options.on_refused(service->options.owner, &conn->peer, status, reason);
    }
    struct http_exchange *exchange = http_exchange_alloc(service);
    if (!exchange) {
        conn->dead = true;
        http_conn_mark_dirty(conn);
        return NULL;
    }
    exchange->conn = conn;
    exchange->status = (uint16_t)status;
    *conn->last = exchange;
    conn->last = &exchange->next;
    conn->exchanges++;
    return exchange;
}

void http_conn_refuse(struct http_conn *conn, enum http_refusal refusal)
{
    struct http_exchange *exchange = begin_refusal(conn, http_refusal_status(refusal),
                                                   http_refusal_slug(refusal));
    if (exchange) {
        close_with_answer(exchange, http_refusal_write(&exchange->answer, refusal));
    }
}

void http_conn_refuse_slow(struct http_conn *conn, const char *reason)
{
    struct http_exchange *exchange = begin_refusal(conn, 408, reason);
    struct http_problem problem = {.status = 408,
                                   .code = str_of(reason),
                                   .detail = STR("The request did not arrive in time.")};
    struct http_response response = {.close = true};
    if (exchange) {
        close_with_answer(exchange, http_problem_write(&exchange->answer, &problem, &response));
    }
}
