#include "server/ws_protocol.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/json.h"
#include "proto/uri.h"
#include "server/grant.h"
#include "server/stats.h"

const struct str WS_PROTOCOL_V1 = {"tidegate.v1.json", 16};

enum { ATTRS_MAX = 1024, RETRY_BASE_MS = 500, RETRY_MAX_MS = 30000 };

/* Tags of joins: the request number plus one; these two are no numbers. */
#define TAG_NO_ANSWER UINT32_MAX

static const struct tenant *tenant_of(const struct worker *worker, const struct session *session)
{
    return &worker->tenants->items[session->app];
}

static const struct settings_limits *limits_of(const struct worker *worker)
{
    return &worker->settings->limits;
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

/* ---- answers ---- */

static void write_re(struct buf *out, uint32_t tag)
{
    if (tag != TAG_NO_ANSWER) {
        json_write_u64_field(out, STR("re"), tag - 1);
    }
}

static void send_ok(struct worker *worker, struct session *session, uint32_t tag)
{
    struct buf out = {0};
    if (tag == TAG_NO_ANSWER) {
        return;
    }
    begin_frame(&out, "ok");
    write_re(&out, tag);
    end_frame(worker, session, &out);
}

static void send_err(struct worker *worker, struct session *session, uint32_t tag, struct str group,
                     const char *code, const char *title)
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

static void write_positions(struct buf *out, const struct worker *worker,
                            const struct hub_heads *heads)
{
    json_write_key(out, STR("pos"));
    buf_append_char(out, '{');
    for (uint32_t q = 0; q < shard_get_options(worker->shard)->queues; q++) {
        char pos[MESSAGE_POS_MAX];
        size_t len = message_format_pos(pos, heads->pos[q]);
        buf_printf(out, "%s\"%u\":\"%.*s\"", q ? "," : "", q, (int)len, pos);
    }
    buf_append_char(out, '}');
}

static void write_sid(struct buf *out, const struct worker *worker, const struct session *session)
{
    struct sid sid;
    char text[SID_LEN + 1];
    shard_session_sid(worker->shard, session, &sid);
    sid_format(text, &worker->gateway->sid_key, &sid);
    json_write_string_field(out, STR("sid"), str_make(text, SID_LEN));
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

void ws_protocol_on_start(struct shard *shard, struct session *session,
                          enum session_resumed resumed, const struct hub_heads *pos)
{
    struct worker *worker = ws_worker_of(shard);
    if (!(session->flags & WS_IS_V1)) {
        return;
    }
    const struct session_cold *cold = shard_session_cold(shard, session);
    struct buf out = {0};
    begin_frame(&out, "welcome");
    write_sid(&out, worker, session);
    if (session->user) {
        json_write_string_field(&out, STR("user"), shard_session_user(shard, session));
    }
    json_write_string_field(&out, STR("epoch"), str_of(worker->gateway->epoch));
    json_write_string_field(&out, STR("resumed"), resumed_name(resumed));
    write_positions(&out, worker, pos);
    json_write_u64_field(&out, STR("ping_ms"), worker->settings->heartbeat.interval_ms);
    if (cold->expires_s) {
        json_write_u64_field(&out, STR("exp"), cold->expires_s);
    }
    buf_printf(&out, ",\"limits\":{\"msg\":%llu},\"retry\":{\"base_ms\":%d,\"max_ms\":%d}",
               (unsigned long long)limits_of(worker)->message_bytes, RETRY_BASE_MS, RETRY_MAX_MS);
    stats_resumed(worker, session, resumed);
    end_frame(worker, session, &out);
}

static int write_grant(struct buf *out, const struct worker *worker, const struct session *session,
                       struct str group)
{
    uint64_t now = clock_wall_ms();
    struct grant grant = {.app = str_of(tenant_of(worker, session)->name),
                          .user = shard_session_user(worker->shard, session),
                          .group = group,
                          .issued_ms = now,
                          .expires_ms = now + SHARD_GRANT_LIFE_MS};
    struct buf text = {0};
    int err = grant_write(&text, worker->gateway->grant_key, &grant);
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
        send_ok(worker, session, tag);
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

/* q "*": every queue; such a gap has no from and to. */
void ws_protocol_on_gap(struct shard *shard, struct session *session, uint32_t queue,
                        struct bus_pos from, struct bus_pos to, enum session_gap_why why)
{
    struct worker *worker = ws_worker_of(shard);
    stats_gap(worker, session);
    if (!(session->flags & WS_IS_V1)) {
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
    end_frame(worker, session, &out);
}

void ws_protocol_on_heads(struct shard *shard, struct session *session,
                          const struct hub_heads *heads)
{
    struct worker *worker = ws_worker_of(shard);
    if (session->flags & WS_IS_V1) {
        struct buf out = {0};
        begin_frame(&out, "pos");
        write_positions(&out, worker, heads);
        end_frame(worker, session, &out);
    }
}

void ws_protocol_send_expiring(struct worker *worker, struct session *session, uint64_t in_ms)
{
    if (session->flags & WS_IS_V1) {
        struct buf out = {0};
        begin_frame(&out, "expiring");
        json_write_u64_field(&out, STR("in_ms"), in_ms);
        end_frame(worker, session, &out);
    }
}

/* ---- going away ---- */

static uint64_t drain_slot(const struct worker *worker, const struct session *session)
{
    uint32_t slot = shard_session_slot(worker->shard, session);
    uint64_t part = (slot * 2654435761u) & UINT32_MAX;
    return part * worker->drain_window_ms >> 32;
}

uint64_t ws_protocol_drain_due(const struct worker *worker, const struct session *session)
{
    bool listens = (session->flags & WS_IS_V1) && (session->flags & WS_IS_GREETED);
    return listens ? worker->drain_window_ms : drain_slot(worker, session);
}

void ws_protocol_send_goaway(struct worker *worker, struct session *session)
{
    if (session->flags & WS_IS_V1 && session->flags & WS_IS_GREETED) {
        struct buf out = {0};
        begin_frame(&out, "goaway");
        json_write_u64_field(&out, STR("slot_ms"), drain_slot(worker, session));
        json_write_u64_field(&out, STR("window_ms"), worker->drain_window_ms);
        json_write_string_field(&out, STR("why"), STR("drain"));
        end_frame(worker, session, &out);
    }
    ws_session_touch(worker, session);
}

/* ---- who it is ---- */

static int keep_groups(struct ws_extra *extra, const struct credential *credential)
{
    size_t bytes = sizeof(struct str) * credential->group_count;
    for (size_t i = 0; i < credential->group_count; i++) {
        bytes += credential->groups[i].len;
    }
    struct str *groups = mem_alloc(bytes);
    if (!groups) {
        return ERR_NO_MEMORY;
    }
    char *text = (char *)(groups + credential->group_count);
    for (size_t i = 0; i < credential->group_count; i++) {
        memcpy(text, credential->groups[i].ptr, credential->groups[i].len);
        groups[i] = str_make(text, credential->groups[i].len);
        text += groups[i].len;
    }
    mem_free(extra->groups);
    extra->groups = groups;
    extra->group_count = credential->group_count;
    return 0;
}

static void keep_expiry(struct worker *worker, struct session *session, uint64_t exp_ms)
{
    struct session_cold *cold = shard_session_cold(worker->shard, session);
    uint64_t seconds = exp_ms / 1000;
    cold->expires_s = seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

static int count_user(struct worker *worker, struct session *session, struct str user)
{
    uint64_t limit = limits_of(worker)->sessions_per_user;
    if (!limit) {
        return 0;
    }
    struct ws_extra *extra = ws_session_extra(worker, session);
    if (!extra) {
        return ERR_NO_MEMORY;
    }
    uint64_t key = admission_key_of_user(&worker->gateway->admission, session->app, user);
    if (!admission_take(&worker->gateway->admission, key, limit)) {
        ws_session_doom(worker, session, WS_CLOSE_SESSION_LIMIT);
        return ERR_EXISTS;
    }
    extra->user_key = key;
    return 0;
}

static int keep_identity(struct worker *worker, struct session *session,
                         const struct credential *credential)
{
    if (credential->group_count == 0 && credential->user.len > 0) {
        return 0; /* the user's entry says it all */
    }
    struct ws_extra *extra = ws_session_extra(worker, session);
    if (!extra) {
        return ERR_NO_MEMORY;
    }
    extra->is_identified = true;
    return credential->group_count ? keep_groups(extra, credential) : 0;
}

int ws_protocol_identify(struct worker *worker, struct session *session,
                         const struct credential *credential)
{
    int err = keep_identity(worker, session, credential);
    if (!err && credential->user.len > 0) {
        err = count_user(worker, session, credential->user);
        err = err ? err : shard_session_set_user(worker->shard, session, credential->user);
    }
    if (!err && credential->exp_ms) {
        keep_expiry(worker, session, credential->exp_ms);
    }
    return err;
}

static bool is_identified(const struct worker *worker, const struct session *session)
{
    const struct ws_extra *extra = ws_session_peek_extra(worker, session);
    return session->user || (extra && extra->is_identified);
}

static enum credential_refusal read_token(struct worker *worker, const struct session *session,
                                          struct str token, struct credential *out_credential)
{
    const struct tenant *tenant = tenant_of(worker, session);
    if (!tenant->settings) {
        *out_credential = (struct credential){0};
        return CREDENTIAL_REFUSED_NONE; /* the app was taken out of the configuration */
    }
    struct keyset *keys = keyring_get(tenant->keyring);
    struct credential_context context = {.app = tenant->settings,
                                         .limits = limits_of(worker),
                                         .keys = keys,
                                         .now_ms = clock_wall_ms()};
    enum credential_refusal refusal = credential_from_token(out_credential, &context, token);
    keyset_unref(keys);
    stats_auth(refusal, out_credential);
    if (out_credential->is_kid_unknown) {
        keyring_want_refresh(tenant->keyring);
    }
    return refusal;
}

/* ---- groups ---- */

static bool may_join(const struct worker *worker, const struct session *session, struct str group)
{
    const struct ws_extra *extra = ws_session_peek_extra(worker, session);
    const struct settings_app *app = tenant_of(worker, session)->settings;
    return app && credential_may_join(app, extra ? extra->groups : NULL,
                                      extra ? extra->group_count : 0, group);
}

/* 0, or a code for `err`. */
static const char *join(struct worker *worker, struct session *session, struct str group,
                        uint32_t tag, bool is_allowed)
{
    if (!token_name_is_clean(group, limits_of(worker)->name_bytes)) {
        return "invalid_group";
    }
    if (!is_allowed && !may_join(worker, session, group)) {
        return "forbidden";
    }
    if (session->group_count >= limits_of(worker)->groups_per_session) {
        return "group_limit";
    }
    switch (shard_join(worker->shard, session, group, tag)) {
    case 0: return NULL;
    case ERR_EXISTS: return "";
    default: return "overloaded";
    }
}

static const char *title_of(const char *code)
{
    static const struct {
        const char *code;
        const char *title;
    } titles[] = {
        {"invalid_group", "The group's name is empty, too long, or has control characters."},
        {"forbidden", "This session may not join the group."},
        {"group_limit", "The session is in as many groups as it may be."},
        {"overloaded", "The gateway is short of memory."},
        {"not_found", "The session is not in the group."},
        {"unsupported", "The gateway does not take this frame."},
        {"invalid_frame", "A key of the frame is missing or of the wrong type."},
    };
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
        if (str_equal(str_of(code), str_of(titles[i].code))) {
            return titles[i].title;
        }
    }
    return "";
}

static void refuse(struct worker *worker, struct session *session, uint32_t tag, struct str group,
                   const char *code)
{
    stats_frame_refused(worker, session, code);
    send_err(worker, session, tag, group, code, title_of(code));
}

static void join_in_hello(struct worker *worker, struct session *session, struct str group,
                          bool is_allowed)
{
    const char *code = join(worker, session, group, 0, is_allowed);
    if (code && *code) {
        bool shown = token_name_is_clean(group, limits_of(worker)->name_bytes);
        refuse(worker, session, TAG_NO_ANSWER, shown ? group : STR(""), code);
    }
}

static void join_by_grant(struct worker *worker, struct session *session, struct str text)
{
    struct grant grant;
    char memory[GRANT_MAX];
    struct str user = shard_session_user(worker->shard, session);
    int err = grant_read(&grant, memory, worker->gateway->grant_key, text, clock_wall_ms());
    bool good = !err && user.len && str_equal(grant.user, user) &&
                str_equal(grant.app, str_of(tenant_of(worker, session)->name)) &&
                !shard_grant_is_revoked(worker->shard, session->app, user, grant.group,
                                        grant.issued_ms);
    if (good) {
        join_in_hello(worker, session, grant.group, true);
    } else {
        refuse(worker, session, TAG_NO_ANSWER, STR(""), "forbidden");
    }
}

/* ---- frames of the client ---- */

enum field {
    F_T,
    F_RE,
    F_V,
    F_TOKEN,
    F_DEVICE,
    F_ATTRS,
    F_ORIGIN,
    F_GROUPS,
    F_GRANTS,
    F_RESUME,
    F_G,
    F_IDS,
    FIELDS,
};

struct frame_reading {
    struct worker *worker;
    struct session *session;
    struct json_field fields[FIELDS];
    uint32_t tag; /* of the answer */
};

static const char *const field_names[FIELDS] = {
    [F_T] = "t",           [F_RE] = "re",         [F_V] = "v",           [F_TOKEN] = "token",
    [F_DEVICE] = "device", [F_ATTRS] = "attrs",   [F_ORIGIN] = "origin", [F_GROUPS] = "groups",
    [F_GRANTS] = "grants", [F_RESUME] = "resume", [F_G] = "g",           [F_IDS] = "ids",
};

static void bad_frame(struct frame_reading *reading)
{
    ws_session_doom(reading->worker, reading->session, WS_CLOSE_BAD_FRAME);
}

/* The text of a field; an absent one is "". False when it is no string or too long. */
static bool text_field(struct frame_reading *reading, enum field field, char *scratch, size_t cap,
                       struct str *out_text)
{
    *out_text = STR("");
    struct json_value value = reading->fields[field].value;
    return value.type == JSON_TYPE_NONE || json_string_text(value, scratch, cap, out_text) == 0;
}

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
    char scratch[64];
    struct str epoch;
    if (json_read_fields(reading->fields[F_RESUME].value, fields, 2, NULL) ||
        json_string_text(fields[0].value, scratch, sizeof(scratch), &epoch) ||
        fields[1].value.type != JSON_TYPE_OBJECT) {
        return false;
    }
    resume->same_epoch = str_equal(epoch, str_of(worker->gateway->epoch));
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
    size_t cap = limits_of(reading->worker)->name_bytes;
    cap = cap < sizeof(scratch) ? cap : sizeof(scratch);
    if (!text_field(reading, F_DEVICE, scratch, cap, &device)) {
        return false;
    }
    if (attrs.type == JSON_TYPE_NONE && device.len == 0) {
        return true;
    }
    bool bad = attrs.type != JSON_TYPE_NONE &&
               (attrs.type != JSON_TYPE_OBJECT || attrs.raw.len > ATTRS_MAX);
    struct ws_extra *extra = bad ? NULL : ws_session_extra(reading->worker, reading->session);
    return extra && (!device.len || keep_text(&extra->device, device)) &&
           (attrs.type == JSON_TYPE_NONE || keep_text(&extra->attrs, attrs.raw));
}

static bool keep_origin(struct frame_reading *reading)
{
    char scratch[256];
    struct str origin;
    if (!text_field(reading, F_ORIGIN, scratch, sizeof(scratch), &origin)) {
        return false;
    }
    reading->session->origin_hash = shard_origin_hash(reading->worker->shard, origin);
    return true;
}

/* Calls take for each string of an array. False when the field is there and is no array of strings.
 */
static bool each_text(struct frame_reading *reading, enum field field, size_t max,
                      void (*take)(struct worker *, struct session *, struct str))
{
    struct json_value array = reading->fields[field].value;
    struct json_iter iter;
    struct json_value value;
    if (array.type != JSON_TYPE_NONE && array.type != JSON_TYPE_ARRAY) {
        return false;
    }
    json_iter_init(&iter, array);
    for (size_t count = 0; json_next(&iter, NULL, &value); count++) {
        char scratch[GRANT_MAX];
        struct str text;
        if (json_string_text(value, scratch, sizeof(scratch), &text) || count >= max) {
            return false;
        }
        take(reading->worker, reading->session, text);
    }
    return true;
}

static void take_group(struct worker *worker, struct session *session, struct str group)
{
    join_in_hello(worker, session, group, false);
}

static void greet(struct worker *worker, struct session *session,
                  const struct session_resume *resume)
{
    session->flags |= WS_IS_GREETED;
    session->heard_tick = (uint32_t)(worker_now_ms(worker) / TIMER_TICK_MS);
    if (shard_session_start(worker->shard, session, resume)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        return;
    }
    ws_session_touch(worker, session);
}

static bool identify_by_hello(struct frame_reading *reading)
{
    struct worker *worker = reading->worker;
    struct session *session = reading->session;
    struct str token;
    struct json_value value = reading->fields[F_TOKEN].value;
    if (is_identified(worker, session)) {
        return true;
    }
    if (value.type == JSON_TYPE_NONE) {
        token = STR("");
    } else if (!json_string_plain(value, &token)) {
        bad_frame(reading);
        return false;
    }
    struct credential credential;
    if (read_token(worker, session, token, &credential)) {
        credential_fini(&credential);
        ws_session_doom(worker, session, WS_CLOSE_TOKEN_INVALID);
        return false;
    }
    int err = ws_protocol_identify(worker, session, &credential);
    credential_fini(&credential);
    if (err) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    }
    return err == 0;
}

static void on_hello(struct frame_reading *reading)
{
    uint64_t version;
    struct session_resume resume = {0};
    bool resumes = reading->fields[F_RESUME].value.type != JSON_TYPE_NONE;
    if (reading->session->flags & WS_IS_GREETED ||
        !json_u64(reading->fields[F_V].value, 1, &version) || version != 1 ||
        (resumes && !read_resume(reading, &resume))) {
        bad_frame(reading);
        return;
    }
    if (!identify_by_hello(reading)) {
        return;
    }
    size_t most = limits_of(reading->worker)->groups_per_session + 1;
    if (!keep_attrs(reading) || !keep_origin(reading) ||
        !each_text(reading, F_GROUPS, most, take_group) ||
        !each_text(reading, F_GRANTS, most, join_by_grant)) {
        bad_frame(reading);
        return;
    }
    greet(reading->worker, reading->session, resumes ? &resume : NULL);
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
    bool good = read_token(reading->worker, reading->session, text, &credential) ==
                    CREDENTIAL_REFUSED_NOT &&
                str_equal(credential.user, user) &&
                credential_may_join(tenant_of(reading->worker, reading->session)->settings,
                                    credential.groups, credential.group_count, group);
    credential_fini(&credential);
    return good;
}

static bool group_field(struct frame_reading *reading, char *scratch, size_t cap,
                        struct str *out_group)
{
    if (text_field(reading, F_G, scratch, cap, out_group) && out_group->len) {
        return true;
    }
    refuse(reading->worker, reading->session, reading->tag, STR(""), "invalid_group");
    return false;
}

static void on_join(struct frame_reading *reading)
{
    char scratch[1024];
    struct str group;
    if (!group_field(reading, scratch, sizeof(scratch), &group)) {
        return;
    }
    const char *code = join(reading->worker, reading->session, group, reading->tag,
                            token_allows(reading, group));
    if (code && *code) {
        refuse(reading->worker, reading->session, reading->tag, STR(""), code);
    } else if (code) {
        send_ok(reading->worker, reading->session, reading->tag); /* a member already */
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
        refuse(reading->worker, reading->session, reading->tag, STR(""), "not_found");
    } else {
        send_ok(reading->worker, reading->session, reading->tag);
    }
}

static void take_ack(struct worker *worker, struct session *session, struct str id)
{
    stats_acked(worker, session);
}

static void on_ack(struct frame_reading *reading)
{
    if (!each_text(reading, F_IDS, SIZE_MAX, take_ack)) {
        refuse(reading->worker, reading->session, reading->tag, STR(""), "invalid_frame");
    }
}

static void on_refresh(struct frame_reading *reading)
{
    struct worker *worker = reading->worker;
    struct session *session = reading->session;
    struct str token;
    struct credential credential;
    if (!json_string_plain(reading->fields[F_TOKEN].value, &token) || !token.len ||
        read_token(worker, session, token, &credential)) {
        ws_session_doom(worker, session, WS_CLOSE_TOKEN_INVALID);
        return;
    }
    if (!str_equal(credential.user, shard_session_user(worker->shard, session))) {
        ws_session_doom(worker, session, WS_CLOSE_FORBIDDEN);
    } else {
        struct ws_extra *extra = credential.group_count ? ws_session_extra(worker, session) : NULL;
        if (extra) {
            keep_groups(extra, &credential);
        }
        keep_expiry(worker, session, credential.exp_ms);
        session->flags &= (uint8_t)~WS_IS_WARNED;
        ws_session_touch(worker, session);
        send_ok(worker, session, reading->tag);
    }
    credential_fini(&credential);
}

static void on_send(struct frame_reading *reading)
{
    refuse(reading->worker, reading->session, reading->tag, STR(""), "unsupported");
}

static const struct {
    struct str name;
    void (*handle)(struct frame_reading *reading);
    bool before_hello;
} frame_types[] = {
    {{"hello", 5}, on_hello, true},      {{"ack", 3}, on_ack, false},
    {{"join", 4}, on_join, false},       {{"leave", 5}, on_leave, false},
    {{"refresh", 7}, on_refresh, false}, {{"send", 4}, on_send, false},
};

static void dispatch(struct frame_reading *reading)
{
    bool greeted = reading->session->flags & WS_IS_GREETED;
    for (size_t i = 0; i < sizeof(frame_types) / sizeof(frame_types[0]); i++) {
        if (!json_equals(reading->fields[F_T].value, frame_types[i].name)) {
            continue;
        }
        if (!greeted && !frame_types[i].before_hello) {
            bad_frame(reading);
        } else {
            frame_types[i].handle(reading);
        }
        return;
    }
}

/* One frame object. An unknown t is ignored, as are unknown keys. */
static void read_frame(struct worker *worker, struct session *session, struct json_value object)
{
    struct frame_reading reading = {.worker = worker, .session = session, .tag = TAG_NO_ANSWER};
    for (int i = 0; i < FIELDS; i++) {
        reading.fields[i].name = str_of(field_names[i]);
    }
    uint64_t re;
    if (json_read_fields(object, reading.fields, FIELDS, NULL) ||
        reading.fields[F_T].value.type != JSON_TYPE_STRING) {
        bad_frame(&reading);
        return;
    }
    if (json_u64(reading.fields[F_RE].value, UINT32_MAX - 2, &re)) {
        reading.tag = (uint32_t)re + 1;
    }
    dispatch(&reading);
}

void ws_protocol_on_message(struct worker *worker, struct session *session, enum ws_opcode opcode,
                            struct str payload)
{
    struct json_value value;
    if (!(session->flags & WS_IS_V1)) {
        return; /* a raw session has nothing to say that we would understand */
    }
    if (opcode != WS_TEXT ||
        json_parse(&value, payload, (unsigned)limits_of(worker)->json_depth, NULL) ||
        (value.type != JSON_TYPE_OBJECT && value.type != JSON_TYPE_ARRAY)) {
        ws_session_doom(worker, session, WS_CLOSE_BAD_FRAME);
        return;
    }
    if (value.type == JSON_TYPE_OBJECT) {
        read_frame(worker, session, value);
        return;
    }
    struct json_iter iter;
    struct json_value item;
    json_iter_init(&iter, value);
    for (uint64_t n = 0; !(session->flags & WS_IS_DOOMED) && json_next(&iter, NULL, &item); n++) {
        if (n > limits_of(worker)->groups_per_session + limits_of(worker)->message_burst) {
            ws_session_doom(worker, session, WS_CLOSE_RATE_LIMITED);
            return;
        }
        read_frame(worker, session, item);
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

/* ---- raw ---- */

void ws_protocol_start_raw(struct worker *worker, struct session *session, struct str query)
{
    struct str rest = query;
    struct str name;
    struct str value;
    while (uri_query_next(&rest, &name, &value)) {
        char group[1024];
        if (!str_equal(name, STR("group"))) {
            continue;
        }
        ssize_t len = value.len <= sizeof(group) ? uri_decode_query(value, group, sizeof(group))
                                                 : ERR_TOO_LARGE;
        const char *code = len < 0 ? "invalid_group"
                                   : join(worker, session, str_make(group, (size_t)len), 0, false);
        if (code && *code) {
            stats_frame_refused(worker, session, code);
            ws_session_doom(worker, session, WS_CLOSE_FORBIDDEN);
            return;
        }
    }
    greet(worker, session, NULL);
}
