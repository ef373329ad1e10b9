#include "server/ws_session.h"

#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/link.h"
#include "proto/ws_message.h"
#include "server/sse_frame.h"
#include "server/stats.h"
#include "server/ws_protocol.h"
#include "server/ws_session_private.h"
#include "server/ws_ticket.h"

enum {
    CLOSE_WAIT_MS = 3000, /* for the peer's half of the closing handshake */
    DOOM_AGAIN_MS = 100,
};

struct ws_extra *ws_session_peek_extra(const struct worker *worker, const struct session *session)
{
    return ws_cold_of(worker, session)->extra;
}

struct ws_extra *ws_session_extra(struct worker *worker, struct session *session)
{
    struct session_cold *cold = ws_cold_of(worker, session);
    if (!cold->extra) {
        cold->extra = mem_zalloc(sizeof(struct ws_extra));
        if (cold->extra) {
            ws_session_account_extra(cold->extra);
        }
    }
    return cold->extra;
}

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

void ws_session_account_extra(struct ws_extra *extra)
{
    size_t bytes = sizeof(*extra) + (extra->resume ? sizeof(*extra->resume) : 0) +
                   extra->group_bytes + text_bytes(extra->device) + text_bytes(extra->attrs);
    mem_account(MEM_SESSIONS, (int64_t)bytes - (int64_t)extra->accounted);
    extra->accounted = (uint32_t)bytes;
}

static void destroy_extra(struct worker *worker, struct ws_extra *extra)
{
    if (!extra) {
        return;
    }
    acks_drop_all(&extra->acks, RECEIPT_CLOSED);
    ws_ticket_destroy(extra->ticket);
    if (extra->user_key) {
        admission_give(&worker->gateway->admission, extra->user_key);
    }
    if (extra->ip_key) {
        admission_give(&worker->gateway->admission, extra->ip_key);
    }
    tls_conn_destroy(extra->tls);
    mem_free(extra->groups);
    mem_free(extra->device);
    mem_free(extra->attrs);
    mem_free(extra->resume);
    mem_account(MEM_SESSIONS, -(int64_t)extra->accounted);
    mem_free(extra);
}

/* ---- ending ---- */

/* The app's webhooks, if they ask, hear that a started session ends. */
static void tell_closed(struct worker *worker, struct session *session, const char *reason)
{
    const struct settings_app *app = ws_tenant_of(worker, session)->settings;
    bool is_told = app && app->webhook_events & SETTINGS_EVENT_SESSION_CLOSED &&
                   session->state >= SESSION_REPLAYING && session->state != SESSION_ENDED &&
                   !ws_session_is_held_back(session);
    if (is_told && worker->gateway->options.hooks.on_session_closed) {
        worker->gateway->options.hooks.on_session_closed(worker, session, reason);
    }
}

void ws_session_note_left(struct worker *worker, struct session *session)
{
    stats_closed_by_peer(worker, session);
    tell_closed(worker, session, "client");
}

/* No room in the list: nothing is sent or read any more, and its timer tries again. */
static void doom_later(struct worker *worker, struct session *session)
{
    session->flags |= WS_IS_CLOSING;
    loop_rewatch_tag(worker->loop, session->fd, ws_tag_of(worker, session), 0);
    loop_timer_start(worker->loop, &ws_cold_of(worker, session)->timer, DOOM_AGAIN_MS);
}

void ws_session_doom(struct worker *worker, struct session *session, uint16_t close_code)
{
    if (session->flags & WS_IS_DOOMED) {
        return;
    }
    if (worker->doomed_count == worker->doomed_cap) {
        uint32_t cap = worker->doomed_cap ? worker->doomed_cap * 2 : 64;
        struct doomed *doomed = mem_realloc(worker->doomed, sizeof(*doomed) * cap);
        if (!doomed) {
            doom_later(worker, session);
            return;
        }
        worker->doomed = doomed;
        worker->doomed_cap = cap;
    }
    session->flags |= WS_IS_DOOMED;
    shard_session_leaves(worker->shard, session);
    worker->doomed[worker->doomed_count++] = (struct doomed){
        shard_session_slot(worker->shard, session), session->generation, close_code};
}

void ws_session_destroy(struct worker *worker, struct session *session)
{
    struct session_cold *cold = ws_cold_of(worker, session);
    if (ws_is_watched(worker, session)) {
        watch_note_gone(worker, session);
    }
    loop_timer_stop(worker->loop, &cold->timer);
    loop_unwatch_tag(worker->loop, session->fd);
    if (ws_ticket_of(worker, session)) {
        stats_ticket_session(session, -1);
    }
    destroy_extra(worker, cold->extra);
    cold->extra = NULL;
    close(session->fd);
    out_queue_destroy(&worker->pool, session->out);
    session->out = NULL;
    ws_partial_destroy(session->in);
    session->in = NULL;
    stats_session_gone(worker, session);
    admission_give_session(&worker->gateway->admission);
    quota_give_session(worker->tenants->items[session->app].quota);
    shard_session_free(worker->shard, session);
}

static enum receipt_drop why_dropped(uint16_t close_code)
{
    switch (close_code) {
    case WS_CLOSE_SLOW: return RECEIPT_SLOW;
    case WS_CLOSE_OVERLOADED: return RECEIPT_OVERLOADED;
    default: return RECEIPT_CLOSED;
    }
}

/* The close frame goes behind a frame that is half out; all else is dropped. */
static void trim_queue(struct worker *worker, struct session *session, enum receipt_drop why)
{
    if (session->out) {
        size_t held = link_held(ws_tls_of(worker, session));
        uint32_t lost = out_queue_trim(&worker->pool, session->out, held, why);
        stats_dropped(worker, session, STATS_DROP_CLOSED, lost);
    } else {
        session->out = out_queue_create(&worker->pool);
    }
}

static void drop_acks(const struct worker *worker, const struct session *session,
                      enum receipt_drop why)
{
    struct ws_extra *extra = ws_session_peek_extra(worker, session);
    if (extra) {
        acks_drop_all(&extra->acks, why);
    }
}

static struct frame *close_frame_of(const struct session *session, uint16_t code)
{
    uint8_t frame[WS_CONTROL_MAX + 2];
    if (!ws_is_sse(session)) {
        return frame_of_bytes(frame, ws_close_frame_write(frame, code, STR("")));
    }
    return code == SSE_END_OF_POLL ? NULL : sse_frame_of_close(code);
}

/* What is held back of one that may not stay is dropped; but no close frame without a 101. */
static void end_hold(struct worker *worker, struct session *session)
{
    struct out_queue *queue = session->out;
    bool was_held = queue && queue->is_held;
    if (was_held) {
        queue->is_held = false;
    }
    if (session->state <= SESSION_STARTING || (was_held && !(session->flags & WS_IS_V1))) {
        ws_session_release(worker, session);
    }
}

void ws_session_begin_close(struct worker *worker, struct session *session, uint16_t code)
{
    if (ws_is_watched(worker, session)) {
        watch_note_close(worker, session, true, code);
    }
    end_hold(worker, session);
    trim_queue(worker, session, why_dropped(code));
    drop_acks(worker, session, why_dropped(code));
    session->flags |= WS_IS_CLOSING;
    struct frame *close_frame = close_frame_of(session, code);
    if (close_frame && session->out) {
        out_queue_add(&worker->pool, session->out, close_frame, 0, ws_now_tick(worker));
    }
    frame_unref(close_frame);
    shard_session_end(worker->shard, session);
    loop_timer_start(worker->loop, &ws_cold_of(worker, session)->timer, CLOSE_WAIT_MS);
    ws_session_flush(worker, session);
}

void ws_session_end_doomed(struct worker *worker, const struct doomed *doomed)
{
    struct session *session = shard_session_find(worker->shard, doomed->slot, doomed->generation);
    if (!session) {
        return;
    }
    session->flags &= (uint8_t)~WS_IS_DOOMED;
    bool was_closing = session->flags & WS_IS_CLOSING;
    if (!was_closing) {
        stats_session_closed(worker, session, doomed->close_code);
        tell_closed(worker, session, stats_close_reason(doomed->close_code));
    }
    if (was_closing || doomed->close_code == WS_CLOSE_ABORT) {
        ws_session_destroy(worker, session);
    } else {
        ws_session_begin_close(worker, session, doomed->close_code);
    }
}

/* ---- opening ---- */

void ws_session_format_sid(const struct worker *worker, const struct session *session,
                           char out[SID_LEN + 1])
{
    struct sid sid;
    shard_session_sid(worker->shard, session, &sid);
    sid_format(out, &worker->gateway->keys.sid_keys[0], &sid);
}

static int keep_extras(struct worker *worker, struct session *session, struct tls_conn *tls,
                       const struct ws_open *open)
{
    if (!open->ip_key && !open->poll_ms && !tls && !open->ticket) {
        return 0;
    }
    struct ws_ticket *ticket = open->ticket ? ws_ticket_create(open->ticket) : NULL;
    struct ws_extra *extra = !open->ticket || ticket ? ws_session_extra(worker, session) : NULL;
    if (!extra) {
        ws_ticket_destroy(ticket);
        return ERR_NO_MEMORY;
    }
    extra->ticket = ticket;
    extra->ip_key = open->ip_key;
    extra->poll_until_ms = open->poll_ms ? worker_now_ms(worker) + open->poll_ms : 0;
    extra->tls = tls;
    return 0;
}

static int identify(struct worker *worker, struct session *session, const struct ws_open *open)
{
    return open->credential ? ws_protocol_identify(worker, session, open->credential) : 0;
}

struct session *ws_session_open(struct worker *worker, int fd, struct tls_conn *tls,
                                const struct ws_open *open)
{
    struct session *session = shard_session_create(worker->shard, open->tenant->id,
                                                   open->transport | (tls ? WS_OVER_TLS : 0));
    if (!session) {
        return NULL;
    }
    struct session_cold *cold = ws_cold_of(worker, session);
    session->fd = fd;
    session->flags = open->flags;
    /* A client of an event stream says nothing on it. */
    session->pings = (uint8_t)((ws_is_sse(session) ? WS_WINDOW_BITS_DEAF : open->window_bits) << 4 |
                               (open->poll_ms ? SSE_IS_POLL : 0));
    session->heard_tick = ws_now_tick(worker);
    cold->opened_s = (uint32_t)(worker_now_ms(worker) / 1000);
    cold->timer.on_fire = ws_session_on_timer;
    if (loop_watch_tag(worker->loop, fd, ws_tag_of(worker, session), LOOP_READABLE)) {
        shard_session_free(worker->shard, session);
        return NULL;
    }
    if (keep_extras(worker, session, tls, open)) {
        loop_unwatch_tag(worker->loop, fd);
        shard_session_free(worker->shard, session);
        return NULL;
    }
    stats_session_opened(worker, session, ws_tenant_of(worker, session));
    if (open->ticket) {
        stats_ticket_session(session, 1);
    }
    if (identify(worker, session, open)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    }
    ws_session_touch(worker, session);
    return session;
}
