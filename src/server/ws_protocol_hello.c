/* How a session begins: hello with its token, groups and positions; a raw one without. */
#include "base/err.h"
#include "base/mem.h"
#include "proto/uri.h"
#include "server/grant.h"
#include "server/police.h"
#include "server/stats.h"
#include "server/ws_protocol_private.h"
#include "server/ws_ticket.h"

const struct str WS_PROTOCOL_V1 = {"tidegate.v1.json", 16};

enum { ATTRS_MAX = 1024 };

static bool read_resume_pos(struct session_resume *resume, struct json_value positions,
                            uint32_t queues)
{
    struct json_iter iter;
    struct json_value key;
    struct json_value value;
    json_iter_init(&iter, positions);
    while (json_next(&iter, &key, &value)) {
        char scratch[MESSAGE_POS_MAX];
        struct str name;
        struct str text;
        uint64_t queue;
        if (!json_string_plain(key, &name) || !str_to_u64(name, BUS_MAX_QUEUES - 1, &queue) ||
            json_string_text(value, scratch, sizeof(scratch), &text) ||
            !message_parse_pos(&resume->seen.pos[queue], text)) {
            return false;
        }
        resume->has[queue] = queue < queues;
    }
    return true;
}

static bool read_resume(struct frame_reading *reading, struct session_resume *resume)
{
    const struct worker *worker = reading->worker;
    struct json_field fields[] = {{.name = STR("epoch")}, {.name = STR("pos")}};
    char scratch[HUB_EPOCH_MAX + 1];
    struct str epoch;
    if (json_read_fields(reading->fields[F_RESUME].value, fields, 2, NULL) ||
        json_string_text(fields[0].value, scratch, sizeof(scratch), &epoch) ||
        fields[1].value.type != JSON_TYPE_OBJECT) {
        return false;
    }
    if (epoch.len <= HUB_EPOCH_MAX) { /* a longer one is none of ours */
        memcpy(resume->epoch, epoch.ptr, epoch.len);
    }
    return read_resume_pos(resume, fields[1].value, shard_get_options(worker->shard)->queues);
}

static bool keep_text(char **place, struct str text)
{
    char *copy = mem_strndup(text.ptr, text.len);
    if (!copy) {
        return false;
    }
    mem_free(*place);
    *place = copy;
    return true;
}

static bool keep_attrs(struct frame_reading *reading)
{
    struct json_value attrs = reading->fields[F_ATTRS].value;
    char scratch[1024];
    struct str device;
    size_t cap = ws_protocol_limits(reading->worker)->name_bytes;
    cap = cap < sizeof(scratch) ? cap : sizeof(scratch);
    if (!ws_protocol_text_field(reading, F_DEVICE, scratch, cap, &device)) {
        return false;
    }
    if (attrs.type == JSON_TYPE_NONE && device.len == 0) {
        return true;
    }
    bool bad = attrs.type != JSON_TYPE_NONE &&
               (attrs.type != JSON_TYPE_OBJECT || attrs.raw.len > ATTRS_MAX);
    struct ws_extra *extra = bad ? NULL : ws_session_extra(reading->worker, reading->session);
    bool kept = extra && (!device.len || keep_text(&extra->device, device)) &&
                (attrs.type == JSON_TYPE_NONE || keep_text(&extra->attrs, attrs.raw));
    if (extra) {
        ws_session_account_extra(extra);
    }
    return kept;
}

static bool keep_origin(struct frame_reading *reading)
{
    char scratch[1024];
    struct str origin;
    if (!ws_protocol_text_field(reading, F_ORIGIN, scratch, sizeof(scratch), &origin)) {
        return false;
    }
    reading->session->origin_hash = shard_origin_hash(reading->worker->shard, origin);
    return true;
}

static void take_group(struct worker *worker, struct session *session, struct str group)
{
    ws_protocol_join_in_hello(worker, session, group, false);
}

void ws_protocol_start(struct worker *worker, struct session *session,
                       const struct session_resume *resume)
{
    if (shard_session_start(worker->shard, session, resume)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        return;
    }
    police_begin(worker, session);
    ws_session_touch(worker, session);
}

static void greet(struct worker *worker, struct session *session,
                  const struct session_resume *resume)
{
    session->flags |= WS_IS_GREETED;
    session->heard_tick = (uint32_t)(worker_now_ms(worker) / TIMER_TICK_MS);
    if (ws_ticket_of(worker, session)) {
        ws_ticket_claim(worker, session, resume);
    } else {
        ws_protocol_start(worker, session, resume);
    }
}

/* Without another credential the ticket is one. */
static bool identify_by_ticket(struct worker *worker, struct session *session)
{
    if (ws_protocol_is_identified(worker, session)) {
        return true;
    }
    if (ws_ticket_identify(worker, session)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        return false;
    }
    return true;
}

static bool keep_claim(struct frame_reading *reading)
{
    char scratch[WS_CLAIM_MAX + 1];
    struct ws_ticket *ticket = ws_ticket_of(reading->worker, reading->session);
    struct str claim;
    return !ticket || (ws_protocol_text_field(reading, F_CLAIM, scratch, sizeof(scratch), &claim) &&
                       ws_ticket_set_claim(ticket, claim));
}

bool ws_protocol_identify_by_token(struct worker *worker, struct session *session, struct str token)
{
    struct credential credential;
    enum credential_refusal refusal = ws_protocol_read_token(worker, session, token, &credential);
    if (refusal) {
        credential_fini(&credential);
        ws_session_doom(worker, session, ws_protocol_close_of(refusal));
        return false;
    }
    int err = ws_protocol_identify(worker, session, &credential);
    credential_fini(&credential);
    if (err) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    }
    return err == 0;
}

static bool identify_by_hello(struct frame_reading *reading)
{
    struct worker *worker = reading->worker;
    struct session *session = reading->session;
    struct str token;
    struct json_value value = reading->fields[F_TOKEN].value;
    if (ws_protocol_is_identified(worker, session)) {
        return true;
    }
    if (value.type == JSON_TYPE_NONE && ws_ticket_of(worker, session)) {
        return identify_by_ticket(worker, session);
    }
    if (value.type == JSON_TYPE_NONE) {
        token = STR("");
    } else if (!json_string_plain(value, &token)) {
        ws_protocol_bad_frame(reading);
        return false;
    }
    return ws_protocol_identify_by_token(worker, session, token);
}

void ws_protocol_await_hello(struct worker *worker, struct session *session,
                             const struct session_resume *resume)
{
    struct ws_extra *extra = resume ? ws_session_extra(worker, session) : NULL;
    if (extra) {
        extra->resume = mem_alloc(sizeof(*resume));
    }
    if (resume && (!extra || !extra->resume)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        return;
    }
    if (resume) {
        *extra->resume = *resume;
        ws_session_account_extra(extra);
    }
    ws_protocol_send_sid(worker, session);
}

/* What was kept for this hello is of no use behind it. */
static void drop_kept(struct worker *worker, struct session *session)
{
    struct ws_extra *extra = ws_session_peek_extra(worker, session);
    if (extra && extra->resume) {
        mem_free(extra->resume);
        extra->resume = NULL;
        ws_session_account_extra(extra);
    }
}

static const struct session_resume *find_resume(const struct frame_reading *reading,
                                                const struct session_resume *of_frame)
{
    const struct ws_extra *extra = ws_session_peek_extra(reading->worker, reading->session);
    if (reading->resume) {
        return reading->resume;
    }
    return extra && extra->resume ? extra->resume : of_frame;
}

void ws_protocol_on_hello(struct frame_reading *reading)
{
    uint64_t version;
    struct session_resume resume = {0};
    bool resumes = reading->fields[F_RESUME].value.type != JSON_TYPE_NONE;
    if (reading->session->flags & WS_IS_GREETED ||
        !json_u64(reading->fields[F_V].value, 1, &version) || version != 1 ||
        (resumes && !read_resume(reading, &resume))) {
        ws_protocol_bad_frame(reading);
        return;
    }
    if (!identify_by_hello(reading)) {
        return;
    }
    /* The first one over the limit is told so; those behind it are not looked at. */
    size_t most = ws_protocol_limits(reading->worker)->groups_per_session + 1;
    if (!keep_attrs(reading) || !keep_origin(reading) || !keep_claim(reading) ||
        !ws_protocol_each_text(reading, F_GROUPS, most, take_group) ||
        !ws_protocol_each_text(reading, F_GRANTS, most, ws_protocol_join_by_grant)) {
        ws_protocol_bad_frame(reading);
        return;
    }
    greet(reading->worker, reading->session, find_resume(reading, resumes ? &resume : NULL));
    drop_kept(reading->worker, reading->session);
}

void ws_protocol_start_raw(struct worker *worker, struct session *session, struct str query,
                           const struct session_resume *resume)
{
    struct str rest = query;
    struct str name;
    struct str value;
    if (ws_ticket_of(worker, session) && !identify_by_ticket(worker, session)) {
        return;
    }
    while (uri_query_next(&rest, &name, &value)) {
        char group[1024];
        if (!str_equal(name, STR("group"))) {
            continue;
        }
        ssize_t len = value.len <= sizeof(group) ? uri_decode_query(value, group, sizeof(group))
                                                 : ERR_TOO_LARGE;
        const char *code = len < 0 ? "invalid_group"
                                   : ws_protocol_join(worker, session, str_make(group, (size_t)len),
                                                      false);
        if (code && *code) {
            stats_frame_refused(worker, session, code);
            ws_session_doom(worker, session, WS_CLOSE_FORBIDDEN);
            return;
        }
    }
    greet(worker, session, resume);
}
