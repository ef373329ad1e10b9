#include "api/up.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/sid.h"
#include "server/connect.h"
#include "server/stats.h"
#include "server/ws_protocol.h"

/* ---- answers ---- */

/* origin "": no page asks. */
static void answer(struct http_exchange *exchange, struct str origin, int status, const char *code,
                   const char *detail)
{
    struct http_pair headers[CONNECT_CORS_HEADERS + 1];
    size_t count = connect_cors_headers(origin, headers);
    stats_up(code ? code : "accepted");
    if (!code) {
        http_answer(exchange, &(struct http_response){.status = status,
                                                      .content_type = STR("application/json"),
                                                      .body = STR("{}"),
                                                      .headers = headers,
                                                      .header_count = count});
        return;
    }
    if (status == 429 || status == 503) {
        headers[count++] = (struct http_pair){STR("Retry-After"), STR("1")};
    } else if (status == 405) {
        headers[count++] = (struct http_pair){STR("Allow"), STR("POST, OPTIONS")};
    }
    http_answer_problem_with(exchange, status, code, detail, headers, count);
}

static const struct {
    int status;
    const char *code;
    const char *detail;
} outcomes[WS_UP_RESULTS] = {
    [WS_UP_GONE] = {404, "session_not_found", "No session has this id."},
    [WS_UP_TAKEN] = {202, NULL, NULL},
    [WS_UP_FOREIGN] = {403, "not_your_session",
                       "The session is another user's than the credential."},
    [WS_UP_DEAF] = {409, "no_upstream",
                    "The session is raw, or a WebSocket, which takes frames itself."},
    [WS_UP_EARLY] = {409, "hello_first", "The session waits for its hello, alone."},
    [WS_UP_BAD] = {422, "invalid_frame",
                   "The body is one frame or a list of some; and one hello is enough."},
    [WS_UP_MANY] = {413, "too_many_frames", "More frames than limits.message_burst."},
    [WS_UP_RATE] = {429, "rate_limited", "More frames a second than the session may send."},
};

/* ---- the session's worker ---- */

/* Behind the session's id, sealed: user; a carriage return, if a credential says who that is, and
 * with a hello its token; line feed, body. Neither a name nor a token has such an end of line. */
static void write_speaker(struct buf *out, const struct connect_speaker *speaker, bool has_hello)
{
    buf_append_str(out, speaker->credential.user);
    if (speaker->has_credential) {
        buf_append_char(out, '\r');
        buf_append_str(out, has_hello ? speaker->credential.shown : STR(""));
    }
    buf_append_char(out, '\n');
}

static enum ws_up take(struct gather_part *part, const struct sid *sid, struct str opened)
{
    struct ws_speaker speaker;
    struct str rest = opened;
    struct str line;
    if (!str_split(&rest, '\n', &line) || !rest.ptr) {
        return WS_UP_GONE;
    }
    if (!str_split(&line, '\r', &speaker.user)) {
        speaker.user = STR("");
    }
    speaker.has_credential = line.ptr != NULL;
    speaker.token = speaker.has_credential ? line : STR("");
    return ws_protocol_take_up(part->worker, sid, part->app, &speaker, rest);
}

static void ask(struct gather_part *part)
{
    const struct gateway *gateway = part->worker->gateway;
    struct str name = part->gather->name;
    struct str about = str_make(name.ptr, name.len < SID_LEN ? name.len : SID_LEN);
    struct str sealed = str_make(name.ptr + about.len, name.len - about.len);
    struct sid sid;
    struct buf opened = {0};
    if (cluster_keys_parse_sid(&gateway->keys, &sid, about) && sid.node == gateway->boot &&
        sid.worker == part->worker->index &&
        cluster_keys_open_seal(&gateway->keys, &opened, about, sealed) == 0) {
        part->counts[0] = take(part, &sid, buf_str(&opened));
    }
    buf_fini(&opened);
}

static int pick_worker(const struct gateway *gateway, struct str name)
{
    struct sid sid;
    bool good = name.len >= SID_LEN &&
                cluster_keys_parse_sid(&gateway->keys, &sid, str_make(name.ptr, SID_LEN)) &&
                sid.worker < gateway->worker_count;
    return good ? sid.worker : GATHER_ALL;
}

static void finish(struct gather *gather)
{
    struct http_exchange *exchange = gather->exchange;
    char *origin = exchange->user;
    uint64_t result = gather_sum(gather, 0);
    if (gather->is_refused) {
        answer(exchange, str_of(origin), 503, "overloaded",
               "The cluster has no room for the frames right now.");
    } else if (result == WS_UP_GONE && !gather->is_complete) {
        answer(exchange, str_of(origin), 503, "unavailable",
               "The session's node did not answer in time; it may have taken the frames.");
    } else {
        result = result < WS_UP_RESULTS ? result : WS_UP_GONE;
        answer(exchange, str_of(origin), outcomes[result].status, outcomes[result].code,
               outcomes[result].detail);
    }
    mem_free(origin);
}

const struct gather_kind up_kind = {.number = CLUSTER_KIND_OF_CLIENTS,
                                    .ask = ask,
                                    .fold = gather_fold,
                                    .finish = finish,
                                    .pick_worker = pick_worker};

/* ---- the request ---- */

struct asking {
    struct api_call call;
    struct connect_speaker speaker;
    struct str origin;
    struct sid sid;
    struct str sid_text;
    bool has_hello;
};

static bool refuse(const struct asking *asking, int status, const char *code, const char *detail)
{
    answer(asking->call.exchange, asking->origin, status, code, detail);
    return false;
}

static void refuse_memory(const struct asking *asking)
{
    refuse(asking, 503, "overloaded", "The gateway is short of memory.");
}

/* Before the credential, which is dear to check. */
static bool find_session(struct asking *asking)
{
    const struct http_fields *fields = &asking->call.request->fields;
    const struct gateway *gateway = asking->call.worker->gateway;
    asking->sid_text = http_fields_get(fields, HTTP_FIELD_TIDEGATE_SESSION);
    if (!http_fields_has_one(fields, HTTP_FIELD_TIDEGATE_SESSION)) {
        return refuse(asking, 400, "session_required",
                      "Name the session once, by Tidegate-Session.");
    }
    if (!cluster_keys_parse_sid(&gateway->keys, &asking->sid, asking->sid_text) ||
        !cluster_may_have(gateway->cluster, asking->sid.node)) {
        return refuse(asking, 404, "session_not_found", "No session has this id.");
    }
    return true;
}

static bool check_body(struct asking *asking)
{
    const struct settings_limits *limits = api_limits(asking->call.worker);
    struct str body = asking->call.exchange->body;
    if (http_request_header_count(asking->call.request, "Content-Encoding") > 0) {
        return refuse(asking, 415, "unsupported_encoding",
                      "The body must not have a Content-Encoding.");
    }
    if (body.len > limits->message_bytes) {
        return refuse(asking, 413, "message_too_large", "The body is over limits.message.");
    }
    if (!ws_protocol_frames_are_sound(limits, body, &asking->has_hello)) {
        return refuse(asking, 422, "invalid_frame", outcomes[WS_UP_BAD].detail);
    }
    return true;
}

static int write_payload(struct buf *out, const struct asking *asking)
{
    const struct cluster_keys *keys = &asking->call.worker->gateway->keys;
    struct buf text = {0};
    write_speaker(&text, &asking->speaker, asking->has_hello);
    buf_append_str(&text, asking->call.exchange->body);
    buf_append_str(out, asking->sid_text);
    int err = buf_err(&text)
                  ? buf_err(&text)
                  : seal_write(out, keys->seal_keys[0], asking->sid_text, buf_str(&text));
    buf_fini(&text);
    return err ? err : buf_err(out);
}

static bool is_elsewhere(const struct asking *asking)
{
    return asking->sid.node != asking->call.worker->gateway->boot;
}

/* What the bus can't carry in one piece never arrives. */
static bool fits(const struct asking *asking, const struct buf *payload)
{
    return !is_elsewhere(asking) ||
           payload->len <= cluster_reply_bytes(asking->call.worker->gateway->cluster);
}

/* The session's node counts its frames; until they are there they burden the bus and two nodes. */
static bool check_rate(const struct asking *asking)
{
    struct worker *worker = asking->call.worker;
    const struct settings_limits *limits = api_limits(worker);
    return !is_elsewhere(asking) ||
           admission_take_up(&worker->gateway->admission, asking->sid_text,
                             limits->messages_per_second, limits->message_burst,
                             worker_now_ms(worker)) ||
           refuse(asking, outcomes[WS_UP_RATE].status, outcomes[WS_UP_RATE].code,
                  outcomes[WS_UP_RATE].detail);
}

static void send_on(struct asking *asking)
{
    struct buf payload = {0};
    char *origin = mem_strndup(asking->origin.ptr, asking->origin.len);
    if (!origin || write_payload(&payload, asking)) {
        refuse_memory(asking);
    } else if (!fits(asking, &payload)) {
        refuse(asking, 413, "message_too_large", "The bus takes no frames that long.");
    } else {
        asking->call.exchange->user = origin;
        if (gather_try_at(&asking->call, &up_kind, asking->sid.node, buf_str(&payload))) {
            origin = NULL; /* finish frees it */
        } else {
            refuse_memory(asking);
        }
    }
    mem_free(origin);
    buf_fini(&payload);
}

static void on_post(struct asking *asking)
{
    struct connect_speaker *speaker = &asking->speaker;
    if (find_session(asking) && check_body(asking) &&
        connect_check_speaker(asking->call.worker, asking->call.exchange, speaker) &&
        check_rate(asking)) {
        send_on(asking);
    }
    credential_fini(&speaker->credential);
}

bool up_on_request(struct worker *worker, struct http_exchange *exchange)
{
    struct asking asking = {
        .call = {.worker = worker, .exchange = exchange, .request = exchange->request},
        .origin = STR("")};
    if (!str_equal(exchange->request->path, STR("/v1/up"))) {
        return false;
    }
    exchange->route = "/v1/up";
    if (!connect_find_speaker(worker, exchange, STR("POST"), &asking.speaker)) {
        return true;
    }
    asking.call.tenant = asking.speaker.tenant;
    asking.origin = connect_page_of(exchange->request);
    if (exchange->request->method == HTTP_METHOD_POST) {
        on_post(&asking);
    } else {
        credential_fini(&asking.speaker.credential);
        refuse(&asking, 405, "method_not_allowed", "Frames are sent by POST.");
    }
    return true;
}
