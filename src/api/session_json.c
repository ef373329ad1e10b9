#include "api/session_json.h"

#include "base/clock.h"
#include "core/sid.h"
#include "server/ws_session.h"

void session_json_begin(struct buf *out, struct worker *worker, const struct session *session)
{
    const struct session_cold *cold = shard_session_cold(worker->shard, session);
    struct sid sid;
    char text[SID_LEN + 1];
    shard_session_sid(worker->shard, session, &sid);
    sid_format(text, &worker->gateway->keys.sid_keys[0], &sid);
    uint64_t age_ms = worker_now_ms(worker) - (uint64_t)cold->opened_s * 1000;
    buf_append_char(out, '{');
    json_write_string_field(out, STR("sid"), str_make(text, SID_LEN));
    json_write_string_field(out, STR("transport"),
                            ws_is_sse(session) ? STR("sse") : STR("websocket"));
    json_write_string_field(out, STR("protocol"),
                            session->flags & WS_IS_V1 ? STR("tidegate.v1.json") : STR("raw"));
    json_write_u64_field(out, STR("since_ms"), clock_wall_ms() - age_ms);
}

void session_json_about(struct buf *out, struct worker *worker, const struct session *session)
{
    const struct ws_extra *extra = ws_session_peek_extra(worker, session);
    if (extra && extra->device) {
        json_write_string_field(out, STR("device"), str_of(extra->device));
    }
    if (extra && extra->attrs) {
        json_write_raw_field(out, STR("attrs"), str_of(extra->attrs));
    }
}

void session_json_user(struct buf *out, struct worker *worker, const struct session *session)
{
    if (session->user) {
        json_write_string_field(out, STR("user"), shard_session_user(worker->shard, session));
    }
}
