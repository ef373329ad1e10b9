/* The frames that a session gets. */
#include "base/clock.h"
#include "base/err.h"
#include "server/grant.h"
#include "server/stats.h"
#include "server/ws_protocol_private.h"
#include "server/ws_ticket.h"

/* With the queues that are known here, and no others. */
static struct hub_heads known_heads(const struct worker *worker, const struct hub_heads *heads)
{
    struct hub_heads known = *heads;
    known.started = 0;
    for (uint32_t q = 0; q < shard_get_options(worker->shard)->queues; q++) {
        known.started |= (uint64_t)shard_queue_is_known(worker->shard, q) << q;
    }
    return known;
}

static void send_text(struct worker *worker, struct session *session, struct buf *text)
{
    if (buf_err(text)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    } else {
        ws_session_send(worker, session, WS_TEXT, buf_str(text));
    }
    buf_fini(text);
}

/* heads: where the stream is once the client has this. */
static void send_text_at(struct worker *worker, struct session *session, struct buf *text,
                         const struct hub_heads *heads)
{
    if (buf_err(text)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    } else {
        struct hub_heads known = known_heads(worker, heads);
        ws_session_send_at(worker, session, STR(""), buf_str(text), &known);
    }
    buf_fini(text);
}

/* What is no frame, on an event stream. */
static void end_event(struct worker *worker, struct session *session, struct str name,
                      struct buf *out)
{
    buf_append_char(out, '}');
    if (buf_err(out)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    } else {
        ws_session_send_at(worker, session, name, buf_str(out), NULL);
    }
    buf_fini(out);
}

/* An id without data: nothing is dispatched, but the client remembers it. */
static void send_id(struct worker *worker, struct session *session, const struct hub_heads *heads)
{
    struct hub_heads known = known_heads(worker, heads);
    ws_session_send_at(worker, session, STR(""), STR(""), &known);
}

static void begin_frame(struct buf *out, const char *name)
{
    buf_append_char(out, '{');
    json_write_string_field(out, STR("t"), str_of(name));
}

static void end_frame(struct worker *worker, struct session *session, struct buf *out)
{
    buf_append_char(out, '}');
    send_text(worker, session, out);
}

static void write_re(struct buf *out, uint32_t tag)
{
    if (tag != WS_TAG_NO_ANSWER) {
        json_write_u64_field(out, STR("re"), tag - 1);
    }
}

void ws_protocol_send_ok(struct worker *worker, struct session *session, uint32_t tag)
{
    struct buf out = {0};
    if (tag == WS_TAG_NO_ANSWER) {
        return;
    }
    begin_frame(&out, "ok");
    write_re(&out, tag);
    end_frame(worker, session, &out);
}

void ws_protocol_send_err(struct worker *worker, struct session *session, uint32_t tag,
                          struct str group, const char *code, const char *title)
{
    struct buf out = {0};
    begin_frame(&out, "err");
    write_re(&out, tag);
    json_write_string_field(&out, STR("code"), str_of(code));
    json_write_string_field(&out, STR("title"), str_of(title));
    if (group.len) {
        json_write_string_field(&out, STR("g"), group);
    }
    end_frame(worker, session, &out);
}

/* Of a queue that is not known here the client keeps what it had. */
static void write_positions(struct buf *out, const struct worker *worker,
                            const struct hub_heads *heads)
{
    json_write_key(out, STR("pos"));
    buf_append_char(out, '{');
    const char *comma = "";
    for (uint32_t q = 0; q < shard_get_options(worker->shard)->queues; q++) {
        char pos[MESSAGE_POS_MAX];
        size_t len = message_format_pos(pos, heads->pos[q]);
        if (shard_queue_is_known(worker->shard, q)) {
            buf_printf(out, "%s\"%u\":\"%.*s\"", comma, q, (int)len, pos);
            comma = ",";
        }
    }
    buf_append_char(out, '}');
}

static void write_sid(struct buf *out, const struct worker *worker, const struct session *session)
{
    char text[SID_LEN + 1];
    ws_session_format_sid(worker, session, text);
    json_write_string_field(out, STR("sid"), str_make(text, SID_LEN));
}

void ws_protocol_send_sid(struct worker *worker, struct session *session)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    write_sid(&out, worker, session);
    end_event(worker, session, STR("session"), &out);
}

static struct str resumed_name(enum session_resumed resumed)
{
    switch (resumed) {
    case SESSION_RESUMED_FULL: return STR("full");
    case SESSION_RESUMED_PARTIAL: return STR("partial");
    case SESSION_RESUMED_NONE: break;
    }
    return STR("none");
}

/* One over an event stream resumes by the ids alone, of which this is the first. */
static void start_raw(struct worker *worker, struct session *session, enum session_resumed resumed,
                      const struct hub_heads *pos)
{
    ws_session_release(worker, session);
    if (ws_is_sse(session)) {
        send_id(worker, session, pos);
        stats_resumed(worker, session, resumed);
    }
}

void ws_protocol_tell_opened(struct worker *worker, struct session *session)
{
    const struct settings_app *app = ws_protocol_tenant(worker, session)->settings;
    bool is_told = app && app->webhook_events & SETTINGS_EVENT_SESSION_OPENED;
    if (is_told && worker->gateway->options.hooks.on_session_opened) {
        worker->gateway->options.hooks.on_session_opened(worker, session);
    }
}

/* Up to half as long again, for clients that draw nothing themselves. */
static unsigned retry_base_ms(const struct worker *worker, const struct session *session)
{
    unsigned base = admission_retry_base_ms(&worker->gateway->admission,
                                            worker->settings->limits.accept_rate);
    uint64_t part = (shard_session_slot(worker->shard, session) * 2654435761u) & UINT32_MAX;
    return base + (unsigned)(part * base >> 33);
}

/* By those who tell everybody: it said hello too late for them. */
static bool has_been_passed(const struct worker *worker, const struct session *session)
{
    return worker->drain_cursor == 0 ||
           shard_session_slot(worker->shard, session) < worker->drain_cursor;
}

/* Its token or its ticket, whichever is first; 0: never. */
static uint32_t when_it_expires(const struct worker *worker, const struct session *session)
{
    uint32_t token_s = shard_session_cold(worker->shard, session)->expires_s;
    const struct ws_ticket *ticket = ws_ticket_of(worker, session);
    uint32_t ticket_s = ticket ? (uint32_t)(ticket->expires_ms / 1000) : 0;
    return ticket_s && (!token_s || ticket_s < token_s) ? ticket_s : token_s;
}

void ws_protocol_on_start(struct shard *shard, struct session *session,
                          enum session_resumed resumed, const struct hub_heads *pos)
{
    struct worker *worker = ws_worker_of(shard);
    if (!ws_session_is_held_back(session)) { /* else it is told once it may stay */
        ws_protocol_tell_opened(worker, session);
    }
    if (!(session->flags & WS_IS_V1)) {
        start_raw(worker, session, resumed, pos);
        ws_ticket_on_start(worker, session);
        return;
    }
    uint32_t expires_s = when_it_expires(worker, session);
    struct buf out = {0};
    begin_frame(&out, "welcome");
    write_sid(&out, worker, session);
    if (session->user) {
        json_write_string_field(&out, STR("user"), shard_session_user(shard, session));
    }
    json_write_string_field(&out, STR("epoch"), shard_epoch(shard));
    json_write_string_field(&out, STR("resumed"), resumed_name(resumed));
    write_positions(&out, worker, pos);
    json_write_u64_field(&out, STR("ping_ms"), worker->settings->heartbeat.interval_ms);
    if (expires_s) {
        json_write_u64_field(&out, STR("exp"), expires_s);
    }
    buf_printf(&out, ",\"limits\":{\"msg\":%llu},\"retry\":{\"base_ms\":%u,\"max_ms\":%d}",
               (unsigned long long)ws_protocol_limits(worker)->message_bytes,
               retry_base_ms(worker, session), WS_RETRY_MAX_MS);
    stats_resumed(worker, session, resumed);
    buf_append_char(&out, '}');
    send_text_at(worker, session, &out, pos);
    ws_ticket_on_start(worker, session);
    if (worker->draining && has_been_passed(worker, session)) {
        ws_protocol_send_goaway(worker, session);
    }
}

static int write_grant(struct buf *out, const struct worker *worker, const struct session *session,
                       struct str group)
{
    uint64_t now = clock_wall_ms();
    struct grant grant = {.app = str_of(ws_protocol_tenant(worker, session)->name),
                          .user = shard_session_user(worker->shard, session),
                          .group = group,
                          .issued_ms = now,
                          .expires_ms = now + SHARD_GRANT_LIFE_MS};
    struct buf text = {0};
    int err = grant_write(&text, worker->gateway->keys.grant_keys[0], &grant);
    if (!err) {
        json_write_string_field(out, STR("grant"), buf_str(&text));
    }
    buf_fini(&text);
    return err;
}

static void send_joined(struct worker *worker, struct session *session, struct str group)
{
    struct buf out = {0};
    begin_frame(&out, "joined");
    json_write_string_field(&out, STR("g"), group);
    if (write_grant(&out, worker, session, group)) {
        out.err = ERR_NO_MEMORY;
    }
    end_frame(worker, session, &out);
}

void ws_protocol_on_joined(struct shard *shard, struct session *session, struct str group,
                           uint32_t tag)
{
    struct worker *worker = ws_worker_of(shard);
    if (!(session->flags & WS_IS_V1)) {
        return;
    }
    if (tag == 0) {
        send_joined(worker, session, group);
    } else {
        ws_protocol_send_ok(worker, session, tag);
    }
}

void ws_protocol_on_left(struct shard *shard, struct session *session, struct str group)
{
    struct buf out = {0};
    if (session->flags & WS_IS_V1) {
        begin_frame(&out, "left");
        json_write_string_field(&out, STR("g"), group);
        end_frame(ws_worker_of(shard), session, &out);
    }
}

static struct str why_name(enum session_gap_why why)
{
    switch (why) {
    case SESSION_GAP_EXPIRED: return STR("expired");
    case SESSION_GAP_OVERFLOW: return STR("overflow");
    case SESSION_GAP_BUS: return STR("bus");
    case SESSION_GAP_EPOCH: break;
    }
    return STR("epoch");
}

static void write_pos_field(struct buf *out, const char *name, struct bus_pos pos)
{
    char text[MESSAGE_POS_MAX];
    size_t len = message_format_pos(text, pos);
    json_write_string_field(out, str_of(name), str_make(text, len));
}

/* On a raw event stream nobody expects a frame: it is an event of its own name. */
static void end_gap(struct worker *worker, struct session *session, struct buf *out)
{
    if (session->flags & WS_IS_V1) {
        end_frame(worker, session, out);
    } else {
        end_event(worker, session, STR("gap"), out);
    }
}

/* q "*": every queue; such a gap has no from and to. */
void ws_protocol_on_gap(struct shard *shard, struct session *session, uint32_t queue,
                        struct bus_pos from, struct bus_pos to, enum session_gap_why why)
{
    struct worker *worker = ws_worker_of(shard);
    stats_gap(worker, session, why);
    if (!(session->flags & WS_IS_V1) && !ws_is_sse(session)) {
        return;
    }
    struct buf out = {0};
    begin_frame(&out, "gap");
    if (queue == SESSION_ALL_QUEUES) {
        json_write_string_field(&out, STR("q"), STR("*"));
    } else {
        struct buf name = {0};
        buf_append_u64(&name, queue);
        json_write_string_field(&out, STR("q"), buf_str(&name));
        buf_fini(&name);
        write_pos_field(&out, "from", from);
        write_pos_field(&out, "to", to);
    }
    json_write_string_field(&out, STR("why"), why_name(why));
    if (why == SESSION_GAP_EPOCH) {
        json_write_string_field(&out, STR("epoch"), shard_epoch(shard));
    }
    end_gap(worker, session, &out);
}

void ws_protocol_on_heads(struct shard *shard, struct session *session,
                          const struct hub_heads *heads)
{
    struct worker *worker = ws_worker_of(shard);
    if (session->flags & WS_IS_V1) {
        struct buf out = {0};
        begin_frame(&out, "pos");
        json_write_string_field(&out, STR("epoch"), shard_epoch(shard));
        write_positions(&out, worker, heads);
        buf_append_char(&out, '}');
        send_text_at(worker, session, &out, heads);
    } else if (ws_is_sse(session)) {
        send_id(worker, session, heads);
    }
}

/* Not to one that polls: the next welcome says it, and it would end each poll from here on. */
void ws_protocol_send_expiring(struct worker *worker, struct session *session, uint64_t in_ms)
{
    if (session->flags & WS_IS_V1 && !ws_is_poll(session)) {
        struct buf out = {0};
        begin_frame(&out, "expiring");
        json_write_u64_field(&out, STR("in_ms"), in_ms);
        end_frame(worker, session, &out);
    }
}

static bool listens(const struct session *session)
{
    return (session->flags & WS_IS_V1) && (session->flags & WS_IS_GREETED);
}

static uint64_t drain_slot(const struct worker *worker, const struct session *session)
{
    return drain_slot_ms(&worker->drain, shard_session_slot(worker->shard, session));
}

uint64_t ws_protocol_drain_due(const struct worker *worker, const struct session *session)
{
    return drain_slot(worker, session) + (listens(session) ? worker->drain.grace_ms : 0);
}

/* Who is told late has the less time. */
static uint64_t ms_until_slot(const struct worker *worker, const struct session *session)
{
    uint64_t gone = worker_now_ms(worker) - worker->drain_started_ms;
    uint64_t slot = drain_slot(worker, session);
    return slot > gone ? slot - gone : 0;
}

void ws_protocol_send_goaway(struct worker *worker, struct session *session)
{
    if (listens(session)) {
        struct buf out = {0};
        begin_frame(&out, "goaway");
        json_write_u64_field(&out, STR("slot_ms"), ms_until_slot(worker, session));
        json_write_u64_field(&out, STR("window_ms"), worker->drain.window_ms);
        json_write_string_field(&out, STR("why"), STR("drain"));
        end_frame(worker, session, &out);
    }
    ws_session_touch(worker, session);
}
