#include "api/webhook_emit.h"

#include <string.h>

#include "api/push.h"
#include "api/session_json.h"
#include "api/webhook.h"
#include "base/clock.h"
#include "base/err.h"
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

/* Ends data. id: "" gives it one that is its own. 0 or ERR_UNAVAILABLE. */
static int emit(struct worker *worker, const struct session *session, enum settings_event type,
                struct str id, struct buf *data)
{
    const struct tenant *tenant = tenant_of(worker, session);
    char sid[SID_LEN + 1];
    write_sid(sid, worker, session);
    struct webhook_event_parts parts = {.type = type,
                                        .app = tenant->id,
                                        .app_name = str_of(tenant->name),
                                        .cluster = worker->settings->cluster.name,
                                        .node = str_of(worker->gateway->node),
                                        .id = id,
                                        .subject_kind = STR("sessions"),
                                        .subject_name = str_make(sid, SID_LEN),
                                        .wall_ms = clock_wall_ms(),
                                        .now_ms = clock_monotonic_ms()};
    buf_append_char(data, '}');
    parts.data = buf_str(data);
    struct webhook_event *event = buf_err(data) ? NULL : webhook_event_create(&parts);
    buf_fini(data);
    return webhooks_post(worker->gateway->options.webhooks, tenant, event,
                         worker->settings->limits.webhook_queue_bytes);
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
    emit(worker, session, type, str_of(id), &data);
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
    return emit(worker, session, SETTINGS_EVENT_CLIENT_MESSAGE, str_make(id, sizeof(id)), &out)
               ? "overloaded"
               : NULL;
}
