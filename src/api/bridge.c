#include "api/bridge.h"

#include "base/err.h"
#include "base/mem.h"

enum { HEADERS_MAX = 16 };

struct call;

struct bridge {
    struct bridge_options options;
    struct call *newest; /* of the calls under way */
    uint32_t next_worker;
    uint32_t calls;
    bool destroyed; /* freed with the last call */
};

/* A piece of call->texts, which moves while it grows. */
struct piece {
    size_t at, len;
};

/* One call. Its parts belong to one thread at a time: the mail that carries them says to which. */
struct call {
    struct mail mail; /* there and back */
    struct mail gone; /* the browser went; there and back */
    struct bridge *bridge;
    struct call *older, *newer; /* main: of the bridge */
    uint64_t session;
    struct worker *worker;
    struct http_exchange *asked; /* main: of the admin listener; NULL: answered */
    uint32_t refs;               /* main: mails that are under way */

    struct http_exchange *exchange; /* worker: NULL before and after */
    bool in_handler;
    struct api_caller caller; /* in texts */
    struct piece app, name;
    struct buf texts;
    struct buf request; /* head and body, as they would have come to the API listener */
    size_t head_len;
    struct addr peer;
    bool is_secure;

    int status; /* the answer, in texts; 0: there is none, memory was out */
    struct piece content_type, body, pairs[HEADERS_MAX][2];
    size_t pair_count;
    size_t accounted; /* bytes, as MEM_HTTP */
};

static struct piece add(struct buf *texts, struct str text)
{
    struct piece piece = {texts->len, text.len};
    buf_append_str(texts, text);
    return piece;
}

static struct str text_of(const struct call *call, struct piece piece)
{
    return piece.len ? str_make((const char *)call->texts.data + piece.at, piece.len) : STR("");
}

static void account(struct call *call)
{
    size_t bytes = sizeof(*call) + call->texts.cap + call->request.cap;
    mem_account(MEM_HTTP, (int64_t)bytes - (int64_t)call->accounted);
    call->accounted = bytes;
}

static void free_bridge(struct bridge *bridge)
{
    if (bridge->destroyed && bridge->calls == 0) {
        mem_free(bridge);
    }
}

static void link_call(struct bridge *bridge, struct call *call)
{
    bridge->calls++;
    call->bridge = bridge;
    call->older = bridge->newest;
    if (call->older) {
        call->older->newer = call;
    }
    bridge->newest = call;
}

static void unlink_call(struct call *call)
{
    struct bridge *bridge = call->bridge;
    *(call->newer ? &call->newer->older : &bridge->newest) = call->older;
    if (call->older) {
        call->older->newer = call->newer;
    }
    bridge->calls--;
}

static uint32_t calls_of(const struct bridge *bridge, uint64_t session)
{
    uint32_t count = 0;
    for (const struct call *call = bridge->newest; call; call = call->older) {
        count += call->session == session;
    }
    return count;
}

static void free_call(struct call *call)
{
    unlink_call(call);
    free_bridge(call->bridge);
    mem_account(MEM_HTTP, -(int64_t)call->accounted);
    buf_fini(&call->texts);
    buf_fini(&call->request);
    mem_free(call);
}

static void unref_call(struct call *call)
{
    if (--call->refs == 0) {
        free_call(call);
    }
}

/* ---- back on the main thread ---- */

static void answer(struct call *call, struct http_exchange *exchange)
{
    const struct bridge_options *options = &call->bridge->options;
    struct http_pair headers[HEADERS_MAX + HEADERS_MAX];
    size_t count = 0;
    for (; count < options->header_count && count < HEADERS_MAX; count++) {
        headers[count] = options->headers[count];
    }
    for (size_t i = 0; i < call->pair_count; i++, count++) {
        headers[count] = (struct http_pair){text_of(call, call->pairs[i][0]),
                                            text_of(call, call->pairs[i][1])};
    }
    http_answer(exchange, &(struct http_response){.status = call->status,
                                                  .content_type = text_of(call, call->content_type),
                                                  .body = text_of(call, call->body),
                                                  .headers = headers,
                                                  .header_count = count});
}

static void run_back(struct mail *mail)
{
    struct call *call = MAIL_OWNER(mail, struct call, mail);
    struct http_exchange *exchange = call->asked;
    call->asked = NULL;
    exchange->on_gone = NULL;
    if (call->status) {
        answer(call, exchange);
    } else {
        http_answer_retry(exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    }
    unref_call(call);
}

static void run_gone_back(struct mail *mail)
{
    unref_call(MAIL_OWNER(mail, struct call, gone));
}

/* ---- on the worker ---- */

static void send_back(struct call *call, struct mail *mail, void (*run)(struct mail *mail))
{
    mail->run = run;
    mailbox_post(call->worker->gateway->options.main_mailbox, mail);
}

static void keep_answer(struct call *call, const struct http_response *response)
{
    struct buf *texts = &call->texts;
    call->content_type = add(texts, response->content_type);
    call->body = add(texts, response->body);
    call->pair_count = response->header_count < HEADERS_MAX ? response->header_count : HEADERS_MAX;
    for (size_t i = 0; i < call->pair_count; i++) {
        call->pairs[i][0] = add(texts, response->headers[i].name);
        call->pairs[i][1] = add(texts, response->headers[i].value);
    }
    call->status = buf_err(texts) ? 0 : response->status;
    account(call);
}

static void on_answer(void *owner, const struct http_response *response)
{
    struct call *call = owner;
    call->exchange = NULL;
    keep_answer(call, response);
    if (!call->in_handler) {
        send_back(call, &call->mail, run_back);
    }
}

static void answer_ended(struct call *call)
{
    static const struct http_pair retry = {STR("Retry-After"), STR("1")};
    on_answer(call, &(struct http_response){
                        .status = 503,
                        .content_type = STR("application/problem+json"),
                        .body = STR("{\"type\":\"about:blank\",\"title\":\"Service Unavailable\","
                                    "\"status\":503,\"code\":\"overloaded\"}"),
                        .headers = &retry,
                        .header_count = 1});
}

static void handle(struct call *call, const struct http_request *request)
{
    struct worker *worker = call->worker;
    struct str body = buf_str(&call->request);
    body = str_make(body.ptr + call->head_len, body.len - call->head_len);
    call->exchange = http_exchange_detached(worker->api_http, request, body, on_answer, call);
    if (!call->exchange) {
        send_back(call, &call->mail, run_back);
        return;
    }
    call->exchange->peer = call->peer;
    call->exchange->is_secure = call->is_secure;
    struct request_scope scope;
    request_scope_enter(&scope, &call->exchange->request_id);
    call->in_handler = true;
    call->bridge->options.handle(worker, call->exchange, &call->caller);
    call->in_handler = false;
    request_scope_leave(&scope);
    if (call->exchange) { /* later: what it borrows is kept by nobody */
        call->exchange->request = NULL;
        call->exchange->body = (struct str){NULL, 0};
    } else { /* once it is sent, the main thread may free it at any moment */
        send_back(call, &call->mail, run_back);
    }
}

/* With the limits of the admin listener, where it was read before. */
static void run_call(struct mail *mail)
{
    struct call *call = MAIL_OWNER(mail, struct call, mail);
    struct http_limits limits = {UINT32_MAX, UINT32_MAX, UINT32_MAX, HTTP_HEADERS_MAX};
    struct http_request request;
    call->caller.app = text_of(call, call->app);
    call->caller.name = text_of(call, call->name);
    if (call->worker->gateway->cluster &&
        http_request_parse(&request, &limits, call->request.data, call->head_len, NULL) > 0) {
        handle(call, &request);
    } else {
        answer_ended(call);
    }
}

static void run_gone(struct mail *mail)
{
    struct call *call = MAIL_OWNER(mail, struct call, gone);
    if (call->exchange) {
        http_exchange_tell_gone(call->exchange);
    }
    send_back(call, &call->gone, run_gone_back);
}

/* ---- on the main thread ---- */

static void on_gone(struct http_exchange *exchange)
{
    struct call *call = exchange->user;
    call->refs++;
    call->gone.run = run_gone;
    worker_post(call->worker, &call->gone);
}

/* What handlers look at besides the target and the body. */
static void copy_headers(struct buf *head, const struct http_request *request)
{
    static const struct {
        enum http_field field;
        struct str name;
    } kept[] = {{HTTP_FIELD_CONTENT_TYPE, STR("Content-Type")},
                {HTTP_FIELD_IDEMPOTENCY_KEY, STR("Idempotency-Key")},
                {HTTP_FIELD_TRACEPARENT, STR("traceparent")}};
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        struct str value = http_request_field(request, kept[i].field);
        if (value.ptr) {
            http_append_header(head, kept[i].name, value);
        }
    }
}

static int copy_request(struct call *call, const struct http_exchange *exchange, struct str path)
{
    const struct http_request *request = exchange->request;
    struct buf *out = &call->request;
    buf_printf(out, "%.*s %.*s", STR_ARG(request->method_text), STR_ARG(path));
    if (request->query.ptr) {
        buf_printf(out, "?%.*s", STR_ARG(request->query));
    }
    buf_append_str(out, STR(" HTTP/1.1\r\n"));
    http_append_header(out, STR("Host"), request->host.len ? request->host : STR("console"));
    copy_headers(out, request);
    http_append_header(out, STR("X-Request-Id"), request_id_str(&exchange->request_id));
    buf_printf(out, "Content-Length: %zu\r\n\r\n", exchange->body.len);
    call->head_len = out->len;
    buf_append_str(out, exchange->body);
    return buf_err(out);
}

static struct call *create_call(struct bridge *bridge, struct http_exchange *exchange,
                                struct str path, const struct api_caller *caller)
{
    struct call *call = mem_zalloc(sizeof(*call));
    if (!call) {
        return NULL;
    }
    link_call(bridge, call);
    call->asked = exchange;
    call->refs = 1;
    call->caller.scopes = caller->scopes;
    call->app = add(&call->texts, caller->app);
    call->name = add(&call->texts, caller->name);
    call->peer = exchange->peer;
    call->is_secure = exchange->is_secure;
    if (copy_request(call, exchange, path) || buf_err(&call->texts)) {
        free_call(call);
        return NULL;
    }
    account(call);
    return call;
}

static struct worker *pick_worker(struct bridge *bridge)
{
    struct gateway *gateway = bridge->options.gateway;
    return &gateway->workers[bridge->next_worker++ % gateway->worker_count];
}

void bridge_call(struct bridge *bridge, struct http_exchange *exchange, struct str path,
                 const struct api_caller *caller, uint64_t session)
{
    if (session && calls_of(bridge, session) >= BRIDGE_CALLS_OF_SESSION) {
        http_answer_retry(exchange, 429, "rate_limited",
                          "Too many calls of this session are under way.", 1);
        return;
    }
    struct call *call = bridge->calls < BRIDGE_CALLS_MAX
                            ? create_call(bridge, exchange, path, caller)
                            : NULL;
    if (!call) {
        http_answer_retry(exchange, 503, "overloaded", "Too many calls are under way.", 1);
        return;
    }
    call->session = session;
    exchange->user = call;
    exchange->on_gone = on_gone;
    call->worker = pick_worker(bridge);
    call->mail.run = run_call;
    worker_post(call->worker, &call->mail);
}

int bridge_create(struct bridge **out_bridge, const struct bridge_options *options)
{
    struct bridge *bridge = mem_zalloc(sizeof(*bridge));
    if (!bridge) {
        return ERR_NO_MEMORY;
    }
    bridge->options = *options;
    *out_bridge = bridge;
    return 0;
}

void bridge_destroy(struct bridge *bridge)
{
    if (bridge) {
        bridge->destroyed = true;
        free_bridge(bridge);
    }
}
