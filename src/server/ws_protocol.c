#include "server/ws_protocol.h"

#include "base/err.h"
#include "server/grant.h"
#include "server/stats.h"
#include "server/ws_protocol_private.h"
#include "server/ws_ticket.h"

enum { REFRESH_FRAMES = 10 };

static const char *const field_names[FIELDS] = {
    [F_T] = "t",           [F_RE] = "re",         [F_V] = "v",           [F_TOKEN] = "token",
    [F_DEVICE] = "device", [F_ATTRS] = "attrs",   [F_ORIGIN] = "origin", [F_GROUPS] = "groups",
    [F_GRANTS] = "grants", [F_RESUME] = "resume", [F_G] = "g",           [F_IDS] = "ids",
    [F_CLAIM] = "claim",   [F_TYPE] = "type",     [F_DATA] = "data",
};

void ws_protocol_name_fields(struct json_field fields[FIELDS])
{
    for (int i = 0; i < FIELDS; i++) {
        fields[i] = (struct json_field){.name = str_of(field_names[i])};
    }
}

void ws_protocol_bad_frame(struct frame_reading *reading)
{
    ws_session_doom(reading->worker, reading->session, WS_CLOSE_BAD_FRAME);
}

bool ws_protocol_text_field(struct frame_reading *reading, enum field field, char *scratch,
                            size_t cap, struct str *out_text)
{
    *out_text = STR("");
    struct json_value value = reading->fields[field].value;
    return value.type == JSON_TYPE_NONE || json_string_text(value, scratch, cap, out_text) == 0;
}

bool ws_protocol_each_text(struct frame_reading *reading, enum field field, size_t max,
                           void (*take)(struct worker *, struct session *, struct str))
{
    struct json_value array = reading->fields[field].value;
    struct json_iter iter;
    struct json_value value;
    if (array.type != JSON_TYPE_NONE && array.type != JSON_TYPE_ARRAY) {
        return false;
    }
    json_iter_init(&iter, array);
    for (size_t count = 0; count < max && json_next(&iter, NULL, &value); count++) {
        char scratch[GRANT_MAX];
        struct str text;
        if (json_string_text(value, scratch, sizeof(scratch), &text)) {
            return false;
        }
        take(reading->worker, reading->session, text);
    }
    return true;
}

/* A token in a join brings rights for its groups; it must be the same user's. */
static bool token_allows(struct frame_reading *reading, struct str group)
{
    struct str text;
    struct credential credential;
    if (!json_string_plain(reading->fields[F_TOKEN].value, &text)) {
        return false;
    }
    struct str user = shard_session_user(reading->worker->shard, reading->session);
    bool good = ws_protocol_read_token(reading->worker, reading->session, text, &credential) ==
                    CREDENTIAL_REFUSED_NOT &&
                str_equal(credential.user, user) &&
                credential_may_join(ws_protocol_tenant(reading->worker, reading->session)->settings,
                                    credential.groups, credential.group_count, group);
    credential_fini(&credential);
    return good;
}

static bool group_field(struct frame_reading *reading, char *scratch, size_t cap,
                        struct str *out_group)
{
    if (ws_protocol_text_field(reading, F_G, scratch, cap, out_group) && out_group->len) {
        return true;
    }
    ws_protocol_refuse(reading->worker, reading->session, reading->tag, STR(""), "invalid_group");
    return false;
}

/* Verifying a token is dear: only one that makes the difference is looked at. */
static const char *join(struct frame_reading *reading, struct str group)
{
    const char *code = ws_protocol_check_join(reading->worker, reading->session, group);
    if (code) {
        return code;
    }
    bool allowed = ws_protocol_may_join(reading->worker, reading->session, group) ||
                   token_allows(reading, group);
    return allowed ? ws_protocol_enter(reading->worker, reading->session, group, reading->tag)
                   : "forbidden";
}

static void on_join(struct frame_reading *reading)
{
    char scratch[1024];
    struct str group;
    if (!group_field(reading, scratch, sizeof(scratch), &group)) {
        return;
    }
    const char *code = join(reading, group);
    if (code && *code) {
        ws_protocol_refuse(reading->worker, reading->session, reading->tag, STR(""), code);
    } else if (code) {
        ws_protocol_send_ok(reading->worker, reading->session, reading->tag); /* a member already */
    }
}

static void on_leave(struct frame_reading *reading)
{
    char scratch[1024];
    struct str group;
    if (!group_field(reading, scratch, sizeof(scratch), &group)) {
        return;
    }
    if (shard_leave(reading->worker->shard, reading->session, group)) {
        ws_protocol_refuse(reading->worker, reading->session, reading->tag, STR(""), "not_found");
    } else {
        ws_protocol_send_ok(reading->worker, reading->session, reading->tag);
    }
}

/* What was not sent here, or is confirmed already, changes nothing. */
static void take_ack(struct worker *worker, struct session *session, struct str id)
{
    struct ws_extra *extra = ws_session_peek_extra(worker, session);
    ws_ticket_on_ack(worker, session, id);
    uint32_t app = shard_app_hash(worker->shard, session->app);
    uint32_t sent;
    if (extra && extra->acks &&
        acks_take(&extra->acks, event_id_hash(&worker->gateway->keys.space, app, id), &sent)) {
        stats_acked(worker, session);
        stats_latency(STATS_WRITE_TO_ACK, acks_us_since(sent));
    }
}

static void on_ack(struct frame_reading *reading)
{
    if (!ws_protocol_each_text(reading, F_IDS, SIZE_MAX, take_ack)) {
        ws_protocol_refuse(reading->worker, reading->session, reading->tag, STR(""),
                           "invalid_frame");
    }
}

/* To verify a token is dear, so it counts as several frames. */
static bool take_refresh(struct frame_reading *reading)
{
    for (int i = 1; i < REFRESH_FRAMES; i++) {
        if (!ws_session_take_frame(reading->worker, reading->session)) {
            return false;
        }
    }
    return true;
}

static void on_refresh(struct frame_reading *reading)
{
    struct worker *worker = reading->worker;
    struct session *session = reading->session;
    struct str token;
    struct credential credential;
    if (!take_refresh(reading)) {
        return;
    }
    if (!json_string_plain(reading->fields[F_TOKEN].value, &token) || !token.len) {
        ws_session_doom(worker, session, WS_CLOSE_TOKEN_INVALID);
        return;
    }
    enum credential_refusal refusal = ws_protocol_read_token(worker, session, token, &credential);
    if (refusal) {
        ws_session_doom(worker, session, ws_protocol_close_of(refusal));
    } else if (!str_equal(credential.user, shard_session_user(worker->shard, session))) {
        ws_session_doom(worker, session, WS_CLOSE_FORBIDDEN);
    } else if (ws_protocol_keep_rights(worker, session, &credential) ||
               ws_protocol_keep_token(worker, session, &credential)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    } else {
        ws_protocol_keep_expiry(worker, session, credential.exp_ms);
        session->flags &= (uint8_t)~WS_IS_WARNED;
        ws_session_touch(worker, session);
        ws_protocol_send_ok(worker, session, reading->tag);
    }
    credential_fini(&credential);
}

/* NULL: it is on its way to the app. */
static const char *send_to_app(struct frame_reading *reading)
{
    const struct gateway_hooks *hooks = &reading->worker->gateway->options.hooks;
    const struct settings_app *app = ws_protocol_tenant(reading->worker, reading->session)
                                         ->settings;
    struct json_value data = reading->fields[F_DATA].value;
    char scratch[1024];
    struct str type;
    if (!app || !(app->webhook_events & SETTINGS_EVENT_CLIENT_MESSAGE) ||
        !hooks->on_client_message) {
        return "unsupported";
    }
    if (!ws_protocol_text_field(reading, F_TYPE, scratch, sizeof(scratch), &type) ||
        !token_name_is_clean(type, ws_protocol_limits(reading->worker)->name_bytes)) {
        return "invalid_type";
    }
    return data.type == JSON_TYPE_NONE
               ? "invalid_frame"
               : hooks->on_client_message(reading->worker, reading->session, type, data.raw);
}

static void on_send(struct frame_reading *reading)
{
    const char *code = send_to_app(reading);
    if (code) {
        ws_protocol_refuse(reading->worker, reading->session, reading->tag, STR(""), code);
    } else {
        ws_protocol_send_ok(reading->worker, reading->session, reading->tag);
    }
}

/* A page doesn't see the pings of a WebSocket. */
static void on_ping(struct frame_reading *reading)
{
    ws_protocol_send_ok(reading->worker, reading->session, reading->tag);
}

static const struct {
    struct str name;
    void (*handle)(struct frame_reading *reading);
    bool before_hello;
} frame_types[] = {
    {{"hello", 5}, ws_protocol_on_hello, true},
    {{"ack", 3}, on_ack, false},
    {{"join", 4}, on_join, false},
    {{"leave", 5}, on_leave, false},
    {{"refresh", 7}, on_refresh, false},
    {{"send", 4}, on_send, false},
    {{"ping", 4}, on_ping, false},
};

/* It has said hello, and nobody knows yet whether it may stay. */
static bool waits_for_ticket(const struct frame_reading *reading)
{
    const struct ws_ticket *ticket = ws_ticket_of(reading->worker, reading->session);
    return ticket && ticket->claim_until_ms;
}

static void dispatch(struct frame_reading *reading)
{
    bool greeted = reading->session->flags & WS_IS_GREETED;
    bool is_opening = !greeted && json_equals(reading->fields[F_T].value, STR("hello"));
    if (!is_opening && !ws_session_take_frame(reading->worker, reading->session)) {
        return;
    }
    for (size_t i = 0; i < sizeof(frame_types) / sizeof(frame_types[0]); i++) {
        if (!json_equals(reading->fields[F_T].value, frame_types[i].name)) {
            continue;
        }
        if ((!greeted && !frame_types[i].before_hello) || waits_for_ticket(reading)) {
            ws_protocol_bad_frame(reading);
        } else {
            frame_types[i].handle(reading);
        }
        return;
    }
}

/* One frame object. An unknown t is ignored, as are unknown keys. Each counts against the rate but
 * the hello that opens the session: most sessions say nothing else, and need no bucket. */
static void read_frame(struct worker *worker, struct session *session, struct json_value object,
                       const struct session_resume *resume)
{
    struct frame_reading reading = {
        .worker = worker, .session = session, .tag = WS_TAG_NO_ANSWER, .resume = resume};
    ws_protocol_name_fields(reading.fields);
    uint64_t re;
    if (json_read_fields(object, reading.fields, FIELDS, NULL) ||
        reading.fields[F_T].value.type != JSON_TYPE_STRING) {
        ws_protocol_bad_frame(&reading);
        return;
    }
    if (json_u64(reading.fields[F_RE].value, UINT32_MAX - 2, &re)) {
        reading.tag = (uint32_t)re + 1;
    }
    dispatch(&reading);
}

/* A list counts as what is in it, an empty one as one. */
static void read_frames(struct worker *worker, struct session *session, struct json_value list)
{
    struct json_iter iter;
    struct json_value item;
    bool is_empty = true;
    json_iter_init(&iter, list);
    while (!(session->flags & (WS_IS_DOOMED | WS_IS_CLOSING)) && json_next(&iter, NULL, &item)) {
        is_empty = false;
        read_frame(worker, session, item, NULL);
    }
    if (is_empty) {
        ws_session_take_frame(worker, session);
    }
}

void ws_protocol_start_sse(struct worker *worker, struct session *session, struct json_value hello,
                           const struct session_resume *resume)
{
    read_frame(worker, session, hello, resume);
}

void ws_protocol_on_message(struct worker *worker, struct session *session, enum ws_opcode opcode,
                            struct str payload)
{
    struct json_value value;
    if (!(session->flags & WS_IS_V1)) {
        ws_session_take_frame(worker, session);
        return; /* a raw session has nothing to say that we would understand */
    }
    if (opcode != WS_TEXT ||
        json_parse(&value, payload, (unsigned)ws_protocol_limits(worker)->json_depth, NULL) ||
        (value.type != JSON_TYPE_OBJECT && value.type != JSON_TYPE_ARRAY)) {
        ws_session_doom(worker, session, WS_CLOSE_BAD_FRAME);
        return;
    }
    if (value.type == JSON_TYPE_OBJECT) {
        read_frame(worker, session, value, NULL);
    } else {
        read_frames(worker, session, value);
    }
}

void ws_protocol_echo(struct worker *worker, struct session *session, enum ws_opcode opcode,
                      struct str payload)
{
    unsigned bits = ws_window_bits(session);
    struct frame *frame = bits ? frame_cache_compress(&worker->frames, opcode, payload, bits)
                               : frame_create(opcode, false, payload);
    ws_session_send_frame(worker, session, frame);
    frame_unref(frame);
}
