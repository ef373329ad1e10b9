#include "server/sse_frame.h"

#include "base/err.h"
#include "proto/base64.h"
#include "proto/json.h"
#include "proto/sse.h"
#include "server/sse_id.h"
#include "server/stats.h"
#include "server/ws_session.h"

enum { STOP_MS = 3600 * 1000 }; /* a page that was told to stop and does not comes back so late */

static struct frame *frame_of(const struct buf *text)
{
    return buf_err(text) ? NULL : frame_of_bytes(text->data, text->len);
}

static void write_id(struct buf *out, const struct worker *worker, const struct hub_heads *heads)
{
    char id[SSE_ID_MAX];
    if (heads) {
        size_t len = sse_id_write(id, shard_epoch(worker->shard), heads);
        sse_write_id(out, str_make(id, len));
    }
}

/* ---- messages ---- */

static void write_binary(struct buf *out, struct str data)
{
    size_t len = base64_encoded_len(data.len, BASE64_STANDARD);
    sse_write_name(out, STR("binary"));
    buf_append_str(out, STR("data: "));
    uint8_t *to = buf_reserve(out, len);
    if (to) {
        out->len += base64_encode((char *)to, data.ptr, data.len, BASE64_STANDARD);
    }
    buf_append_char(out, '\n');
}

static void write_payload(struct buf *out, const struct event *event)
{
    switch (event->data_kind) {
    case EVENT_DATA_NONE:
    case EVENT_DATA_TEXT: sse_write_text(out, event->data); break;
    case EVENT_DATA_JSON: sse_write_json(out, event->data); break;
    case EVENT_DATA_BINARY: write_binary(out, event->data); break;
    }
}

static void write_v1(struct buf *out, struct frame_cache *cache, const struct message *message)
{
    buf_clear(&cache->payload);
    frame_encode_v1(&cache->payload, message);
    sse_write_json(out, buf_str(&cache->payload));
    out->err = out->err ? out->err : buf_err(&cache->payload);
}

static struct frame *build(struct worker *worker, enum frame_protocol protocol,
                           const struct message *message, const struct hub_heads *heads)
{
    struct buf *out = &worker->frames.compressed; /* nothing is compressed meanwhile */
    buf_clear(out);
    write_id(out, worker, heads);
    if (protocol == FRAME_SSE_V1) {
        write_v1(out, &worker->frames, message);
    } else {
        write_payload(out, &message->event);
    }
    sse_write_end(out);
    struct frame *frame = frame_of(out);
    if (frame) {
        frame_cache_mark(frame, message, protocol);
    }
    return frame;
}

static struct frame *build_live(struct worker *worker, enum frame_protocol protocol,
                                const struct message *message, const struct hub_heads *heads)
{
    struct frame *frame = build(worker, protocol, message, heads);
    if (frame && message->receipt) {
        frame_cache_give_receipt(frame, message);
    }
    return frame;
}

/* Its own queue is as far as the message, the others as far as their lanes. One that is handed over
 * apart from its lane (a held result) turns nothing back. */
static uint64_t live_heads(const struct worker *worker, const struct message *message,
                           struct hub_heads *out_heads)
{
    uint64_t ordinal = shard_done(worker->shard, out_heads);
    struct bus_pos *own = &out_heads->pos[message->queue];
    *own = bus_pos_compare(message->pos, *own) > 0 ? message->pos : *own;
    return ordinal;
}

static struct frame *build_replayed(struct worker *worker, const struct session *session,
                                    const struct message *message, enum frame_protocol protocol)
{
    struct hub_heads heads;
    bool is_known = shard_replay_done(worker->shard, session, &heads);
    return build(worker, protocol, message, is_known ? &heads : NULL);
}

/* A session that began behind what still waits in a lane is further than that lane: it gets the
 * message without an id, and keeps the one it has. */
static struct frame *shared(struct worker *worker, const struct session *session,
                            struct message *message, enum frame_protocol protocol)
{
    struct frame_cache_entry *entry = frame_cache_entry_of(&worker->frames, message);
    struct frame **place = &entry->frames[protocol][0];
    if (!*place) {
        struct hub_heads heads;
        entry->good_before[protocol] = live_heads(worker, message, &heads);
        *place = build_live(worker, protocol, message, &heads);
    }
    if (*place && session->live_from >= entry->good_before[protocol]) {
        return build_live(worker, protocol, message, NULL);
    }
    return *place ? frame_ref(*place) : NULL;
}

struct frame *sse_frame_of_message(struct worker *worker, const struct session *session,
                                   struct message *message)
{
    enum frame_protocol protocol = session->flags & WS_IS_V1 ? FRAME_SSE_V1 : FRAME_SSE_RAW;
    if (message_is_apart(message)) {
        return build_live(worker, protocol, message, NULL);
    }
    return session->state == SESSION_LIVE ? shared(worker, session, message, protocol)
                                          : build_replayed(worker, session, message, protocol);
}

/* ---- all else ---- */

struct frame *sse_frame_of_text(struct worker *worker, struct str name, struct str json,
                                const struct hub_heads *heads)
{
    struct buf out = {0};
    write_id(&out, worker, heads);
    if (name.len) {
        sse_write_name(&out, name);
    }
    if (json.len) {
        sse_write_json(&out, json);
    }
    sse_write_end(&out);
    struct frame *frame = frame_of(&out);
    buf_fini(&out);
    return frame;
}

struct frame *sse_frame_of_ping(bool is_v1)
{
    struct str text = is_v1 ? STR("event: ping\ndata: \n\n") : STR(": ping\n\n");
    return frame_of_bytes(text.ptr, text.len);
}

/* By the classes of enum ws_close_code. 0: as at the start, where it was spread. */
static uint64_t retry_after(uint16_t code)
{
    switch (code / 100) {
    case 41:
    case 43: return WS_RETRY_MAX_MS;
    case 42: return 0;
    default: return STOP_MS;
    }
}

struct frame *sse_frame_of_close(uint16_t code)
{
    struct buf json = {0};
    struct buf out = {0};
    buf_append_char(&json, '{');
    json_write_u64_field(&json, STR("code"), code);
    json_write_string_field(&json, STR("reason"), str_of(stats_close_reason(code)));
    buf_append_char(&json, '}');
    sse_write_name(&out, STR("close"));
    if (retry_after(code)) {
        sse_write_retry(&out, retry_after(code));
    }
    sse_write_json(&out, buf_str(&json));
    sse_write_end(&out);
    struct frame *frame = buf_err(&json) ? NULL : frame_of(&out);
    buf_fini(&json);
    buf_fini(&out);
    return frame;
}
