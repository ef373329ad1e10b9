#include "api/webhook_emit.h"

#include <string.h>

#include "api/push.h"
#include "api/session_json.h"
#include "api/webhook.h"
#include "base/clock.h"
#include "base/err.h"
#include "core/presence.h"
#include "core/sid.h"

static const struct tenant *tenant_of(const struct worker *worker, const struct session *session)
{
    return &worker->tenants->items[session->app];
}

static void write_sid(char out[SID_LEN + 1], const struct worker *worker,
                      const struct session *session)
{
    struct sid sid;
    shard_session_sid(worker->shard, session, &sid);
    sid_format(out, &worker->gateway->keys.sid_keys[0], &sid);
}

/* What an event says beside its data. */
struct emission {
    const struct tenant *tenant;
    enum settings_event type;
    struct str id;
    struct str subject_kind, subject_name;
};

/* Ends data. 0 or ERR_UNAVAILABLE. */
static int emit(struct worker *worker, const struct emission *emission, struct buf *data)
{
    const struct tenant *tenant = emission->tenant;
    struct webhook_event_parts parts = {.type = emission->type,
                                        .app = tenant->id,
                                        .app_name = str_of(tenant->name),
                                        .cluster = worker->settings->cluster.name,
                                        .node = str_of(worker->gateway->node),
                                        .id = emission->id,
                                        .subject_kind = emission->subject_kind,
                                        .subject_name = emission->subject_name,
                                        .wall_ms = clock_wall_ms(),
                                        .now_ms = clock_monotonic_ms()};
    buf_append_char(data, '}');
    parts.data = buf_str(data);
    struct webhook_event *event = buf_err(data) ? NULL : webhook_event_create(&parts);
    buf_fini(data);
    return webhooks_post(worker->gateway->options.webhooks, tenant, event,
                         worker->settings->limits.webhook_queue_bytes);
}

static int emit_of_session(struct worker *worker, const struct session *session,
                           enum settings_event type, struct str id, struct buf *data)
{
    char sid[SID_LEN + 1];
    write_sid(sid, worker, session);
    struct emission emission = {tenant_of(worker, session), type, id, STR("sessions"),
                                str_make(sid, SID_LEN)};
    return emit(worker, &emission, data);
}

static void emit_session(struct worker *worker, struct session *session, enum settings_event type,
                         const char *suffix, const char *reason)
{
    struct buf data = {0};
    char id[SID_LEN + 16];
    write_sid(id, worker, session);
    strcpy(id + SID_LEN, suffix);
    session_json_begin(&data, worker, session);
    session_json_user(&data, worker, session);
    session_json_about(&data, worker, session);
    if (reason) {
        json_write_string_field(&data, STR("reason"), str_of(reason));
    }
    emit_of_session(worker, session, type, str_of(id), &data);
}

void webhook_on_session_opened(struct worker *worker, struct session *session)
{
    emit_session(worker, session, SETTINGS_EVENT_SESSION_OPENED, ".opened", NULL);
}

void webhook_on_session_closed(struct worker *worker, struct session *session, const char *reason)
{
    emit_session(worker, session, SETTINGS_EVENT_SESSION_CLOSED, ".closed", reason);
}

const char *webhook_on_client_message(struct worker *worker, struct session *session,
                                      struct str type, struct str data)
{
    struct buf out = {0};
    char id[PUSH_ID_LEN];
    push_make_id(worker, id);
    session_json_begin(&out, worker, session);
    session_json_user(&out, worker, session);
    json_write_string_field(&out, STR("type"), type);
    json_write_raw_field(&out, STR("data"), data);
    int err = emit_of_session(worker, session, SETTINGS_EVENT_CLIENT_MESSAGE,
                              str_make(id, sizeof(id)), &out);
    return err ? "overloaded" : NULL;
}

static const struct tenant *tenant_of_hash(const struct worker *worker, uint32_t app_hash)
{
    for (uint32_t i = 0; i < worker->tenants->count; i++) {
        const struct tenant *tenant = &worker->tenants->items[i];
        if (tenant->settings && shard_has_app(worker->shard, tenant->id) &&
            shard_app_hash(worker->shard, tenant->id) == app_hash) {
            return tenant;
        }
    }
    return NULL;
}

void webhook_on_user_changed(struct worker *worker, const struct presence_change *change)
{
    const struct tenant *tenant = tenant_of_hash(worker, change->app);
    enum settings_event type = change->is_online ? SETTINGS_EVENT_USER_ONLINE
                                                 : SETTINGS_EVENT_USER_OFFLINE;
    struct buf data = {0};
    char id[PUSH_ID_LEN];
    if (!tenant || !(tenant->settings->webhook_events & type)) {
        return;
    }
    push_make_id(worker, id);
    buf_append_char(&data, '{');
    json_write_string_field(&data, STR("user"), change->user);
    json_write_u64_field(&data, STR("since_ms"), change->since_ms);
    if (!change->is_online) {
        json_write_u64_field(&data, STR("last_seen_ms"), change->last_seen_ms);
    }
    struct emission emission = {tenant, type, str_make(id, sizeof(id)), STR("users"), change->user};
    emit(worker, &emission, &data);
}

void webhook_on_undelivered(struct worker *worker, const struct tenant *tenant, struct str id,
                            struct str users)
{
    struct buf data = {0};
    char own_id[PUSH_ID_LEN];
    push_make_id(worker, own_id);
    buf_append_char(&data, '{');
    json_write_string_field(&data, STR("message"), id);
    json_write_raw_field(&data, STR("users"), users);
    json_write_u64_field(&data, STR("as_of"), clock_wall_ms());
    struct emission emission = {tenant, SETTINGS_EVENT_MESSAGE_UNDELIVERED,
                                str_make(own_id, sizeof(own_id)), STR("messages"), id};
    emit(worker, &emission, &data);
}
