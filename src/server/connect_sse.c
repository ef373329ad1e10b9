/* GET /v1/sse: the session's frames as events of a response that does not end. ?hello= is the frame
 * of that name in base64url, without secrets, and makes a session of tidegate.v1.json; empty, it
 * comes by POST /v1/up. Without it the session is raw, with its groups as ?group=. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/base64.h"
#include "proto/sse.h"
#include "proto/uri.h"
#include "server/connect_private.h"
#include "server/sse_id.h"
#include "server/ws_protocol.h"

enum {
    HEAD_MAX = 4096,
    PADDING = 2048, /* what some proxies want to have before they let anything through */
    POLL_MIN_MS = 100,
    POLL_MAX_MS = 300000,
    POLL_RETRY_MS = 250,
    RETRY_SPREAD = 4, /* times the shortest: who lost one node does not come back at once */
};

/* What the request says beside who it is. */
struct stream {
    struct connecting *connecting;
    struct buf text; /* of hello */
    struct json_value hello;
    struct session_resume resume;
    bool resumes;      /* by Last-Event-ID */
    bool awaits_hello; /* by POST /v1/up: then it may have secrets in it */
    uint32_t poll_ms;
};

static bool refuse_hello(struct stream *stream)
{
    connect_refuse(stream->connecting, 400, "bad_hello",
                   "hello must be base64url of one JSON object, {\"t\":\"hello\",\"v\":1,…}.");
    return false;
}

/* A URL stays in logs and histories. */
static bool has_secret(struct json_value hello)
{
    struct json_value value;
    return json_get(hello, STR("token"), &value) || json_get(hello, STR("grants"), &value);
}

static bool parse_hello(struct stream *stream, struct str text)
{
    const struct settings_limits *limits = &stream->connecting->worker->settings->limits;
    struct json_value type;
    if (text.len > limits->message_bytes ||
        json_parse(&stream->hello, text, (unsigned)limits->json_depth, NULL) ||
        stream->hello.type != JSON_TYPE_OBJECT || !json_get(stream->hello, STR("t"), &type) ||
        !json_equals(type, STR("hello"))) {
        return refuse_hello(stream);
    }
    if (has_secret(stream->hello)) {
        connect_refuse(stream->connecting, 400, "secret_in_url",
                       "A token or a grant must not stand in a URL: send the token as a header or "
                       "a cookie.");
        return false;
    }
    return true;
}

/* Decoded in place: the text is shorter than what stands for it. */
static bool read_hello(struct stream *stream)
{
    struct str query = stream->connecting->request->query;
    size_t len;
    uint8_t *room = buf_reserve(&stream->text, query.len + 1);
    if (!room) {
        connect_refuse_for_now(stream->connecting, 503, "memory", "The gateway is short of memory.",
                               1);
        return false;
    }
    ssize_t got = uri_query_get(query, STR("hello"), (char *)room, query.len + 1);
    if (got == ERR_NOT_FOUND) {
        return true;
    }
    stream->connecting->is_v1 = true;
    if (got == 0) {
        stream->awaits_hello = true;
        stream->connecting->needs_credential = false;
        return true;
    }
    if (got < 0 ||
        base64_decode(room, query.len + 1, &len, str_make(room, (size_t)got), BASE64_URL)) {
        return refuse_hello(stream);
    }
    return parse_hello(stream, str_make(room, len));
}

/* A browser sends it as a header when it connects again by itself; a page that makes a new
 * EventSource can only have it in the query. */
static bool find_last_id(const struct http_request *request, char scratch[SSE_ID_MAX],
                         struct str *out_id)
{
    *out_id = http_request_field(request, HTTP_FIELD_LAST_EVENT_ID);
    if (out_id->len > 0) {
        return http_fields_has_one(&request->fields, HTTP_FIELD_LAST_EVENT_ID);
    }
    ssize_t len = uri_query_get(request->query, STR("last_event_id"), scratch, SSE_ID_MAX);
    *out_id = str_make(scratch, len > 0 ? (size_t)len : 0);
    return len >= 0 || len == ERR_NOT_FOUND;
}

/* Empty: it has seen nothing. */
static bool read_last_id(struct stream *stream)
{
    char scratch[SSE_ID_MAX];
    struct str id;
    bool is_one = find_last_id(stream->connecting->request, scratch, &id);
    if (is_one && id.len == 0) {
        return true;
    }
    stream->resumes = is_one &&
                      sse_id_read(&stream->resume, id,
                                  shard_get_options(stream->connecting->worker->shard)->queues);
    if (!stream->resumes) {
        connect_refuse(stream->connecting, 400, "bad_last_event_id",
                       "Last-Event-ID is no id that this gateway has given.");
    }
    return stream->resumes;
}

static bool read_poll(struct stream *stream)
{
    char text[16];
    uint64_t ms = 0;
    ssize_t len = uri_query_get(stream->connecting->request->query, STR("poll_ms"), text,
                                sizeof(text));
    if (len == ERR_NOT_FOUND) {
        return true;
    }
    if (len < 0 || !str_to_u64(str_make(text, (size_t)len), POLL_MAX_MS, &ms) || ms < POLL_MIN_MS) {
        connect_refuse(stream->connecting, 400, "bad_poll", "poll_ms is 100 to 300000.");
        return false;
    }
    if (stream->awaits_hello) {
        connect_refuse(stream->connecting, 400, "bad_poll",
                       "A response that ends soon can't wait for its hello.");
        return false;
    }
    stream->poll_ms = (uint32_t)ms;
    return true;
}

static bool check_method(struct connecting *connecting)
{
    if (connecting->request->method == HTTP_METHOD_GET) {
        return true;
    }
    connect_refuse_method(connecting, STR("GET, OPTIONS"), "An event stream is asked for by GET.");
    return false;
}

/* ---- the answer ---- */

/* Spread, so that clients who lost the same node come back one after the other; none waits for
 * longer than a WebSocket is told to. */
static uint64_t retry_ms(const struct stream *stream, const struct session *session)
{
    uint32_t slot = shard_session_slot(stream->connecting->worker->shard, session);
    uint64_t part = (slot * 2654435761u) & UINT32_MAX;
    const struct worker *worker = stream->connecting->worker;
    uint64_t base = admission_retry_base_ms(&worker->gateway->admission,
                                            worker->settings->limits.accept_rate);
    uint64_t spread = RETRY_SPREAD * base;
    spread = spread < WS_RETRY_MAX_MS - base ? spread : WS_RETRY_MAX_MS - base;
    return stream->poll_ms ? POLL_RETRY_MS : base + (part * spread >> 32);
}

/* The body ends with the connection: nothing is put around what all sessions share. */
static void write_head(struct buf *out, const struct stream *stream, const struct session *session)
{
    struct http_pair headers[CONNECT_CORS_HEADERS + 2] = {
        {STR("Cache-Control"), STR("no-store, no-transform")},
        {STR("X-Accel-Buffering"), STR("no")},
    };
    size_t count = 2 +
                   connect_cors_headers(connect_page_of(stream->connecting->request), headers + 2);
    struct http_response response = {.status = 200,
                                     .content_type = STR("text/event-stream"),
                                     .stream = true,
                                     .headers = headers,
                                     .header_count = count};
    out->err = http_response_write(out, &response);
    if (!stream->poll_ms) {
        uint8_t *padding = buf_reserve(out, PADDING);
        if (padding) {
            memset(padding, ' ', PADDING);
            padding[0] = ':';
            padding[PADDING - 1] = '\n';
            out->len += PADDING;
        }
    }
    sse_write_retry(out, retry_ms(stream, session));
    sse_write_end(out);
}

/* The client's end may be gone without a word: what it does not confirm ends the connection a ping
 * later than a queue that is full would. */
static void watch_for_death(const struct worker *worker, int fd)
{
    const struct settings *settings = worker->settings;
    uint64_t ms = settings->limits.session_queue_age_ms + settings->heartbeat.interval_ms;
    unsigned timeout = ms > INT32_MAX ? INT32_MAX : (unsigned)ms;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

static void start(struct stream *stream, struct session *session, struct str query)
{
    struct worker *worker = stream->connecting->worker;
    const struct session_resume *resume = stream->resumes ? &stream->resume : NULL;
    struct buf head = {0};
    write_head(&head, stream, session);
    if (buf_err(&head)) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
    } else {
        ws_session_hold(worker, session, buf_str(&head));
    }
    buf_fini(&head);
    if (session->flags & WS_IS_DOOMED) {
        return;
    }
    if (!stream->connecting->is_v1) {
        ws_protocol_start_raw(worker, session, query, resume);
        return;
    }
    ws_session_release(worker, session);
    if (stream->awaits_hello) {
        ws_protocol_await_hello(worker, session, resume);
    } else {
        ws_protocol_start_sse(worker, session, stream->hello, resume);
    }
}

static void begin(struct stream *stream)
{
    struct connecting *connecting = stream->connecting;
    struct worker *worker = connecting->worker;
    struct str query = connecting->request->query;
    struct http_taken link; /* nothing of its rest is read: the answer says that it is the last */
    if (!http_take_socket(connecting->exchange, 200, &link)) {
        connect_give_back(connecting);
        connect_refuse(connecting, 400, "stream_pipelined",
                       "An event stream can't follow requests that are not answered yet.");
        return;
    }
    struct ws_open open = {.tenant = connecting->tenant,
                           .transport = SSE_TRANSPORT,
                           .flags = connecting->is_v1 ? WS_IS_V1 : 0,
                           .poll_ms = stream->poll_ms,
                           .ip_key = connecting->ip_key,
                           .credential = connecting->has_credential ? &connecting->credential
                                                                    : NULL,
                           .ticket = connect_ticket(connecting)};
    watch_for_death(worker, link.fd);
    struct session *session = ws_session_open(worker, link.fd, link.tls, &open);
    if (session) {
        start(stream, session, query);
    } else {
        connect_end_link(&link);
        connect_give_back(connecting);
    }
}

static void connect_stream(struct connecting *connecting)
{
    struct stream stream = {.connecting = connecting};
    connecting->needs_credential = true;
    bool good = check_method(connecting) && read_hello(&stream) && read_last_id(&stream) &&
                read_poll(&stream) && connect_take_place(connecting) &&
                connect_check_credential(connecting);
    if (good) {
        begin(&stream);
    } else {
        connect_give_back(connecting);
    }
    buf_fini(&stream.text);
}

void connect_on_sse(struct connecting *connecting)
{
    if (connect_check_started(connecting) && connect_find_tenant(connecting) &&
        connect_check_origin(connecting)) {
        if (connecting->request->method == HTTP_METHOD_OPTIONS) {
            connect_answer_preflight(connecting, STR("GET"));
        } else {
            connect_stream(connecting);
        }
    }
    connect_fini(connecting);
}
