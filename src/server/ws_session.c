#include "server/ws_session.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/receipt.h"
#include "proto/ws_deflate.h"
#include "proto/ws_message.h"
#include "server/stats.h"
#include "server/ws_protocol.h"

enum {
    PING_COUNT_MASK = 15,
    WINDOW_BITS_DEAF = 1, /* no window size: marks a session whose input is thrown away */
    CLOSE_WAIT_MS = 3000, /* for the peer's half of the closing handshake */
    PONG_WAIT_MAX_MS = 10000,
    WARN_BEFORE_MS = 30000, /* `expiring` before the token ends */
    PING_WINDOW_MS = 10000,
    QUEUE_CHECK_MS = 1000,
};

static uint32_t now_tick(const struct worker *worker)
{
    return (uint32_t)(worker_now_ms(worker) / TIMER_TICK_MS);
}

static uint64_t ms_since_tick(const struct worker *worker, uint32_t tick)
{
    return (uint64_t)(uint32_t)(now_tick(worker) - tick) * TIMER_TICK_MS;
}

static uint64_t tag_of(const struct worker *worker, const struct session *session)
{
    uint32_t slot = shard_session_slot(worker->shard, session);
    return LOOP_TAG | (uint64_t)slot << 32 | session->generation;
}

static struct session_cold *cold_of(const struct worker *worker, const struct session *session)
{
    return shard_session_cold(worker->shard, session);
}

static const struct tenant *tenant_of(const struct worker *worker, const struct session *session)
{
    return &worker->tenants->items[session->app];
}

struct ws_extra *ws_session_peek_extra(const struct worker *worker, const struct session *session)
{
    return cold_of(worker, session)->extra;
}

struct ws_extra *ws_session_extra(struct worker *worker, struct session *session)
{
    struct session_cold *cold = cold_of(worker, session);
    if (!cold->extra) {
        cold->extra = mem_zalloc(sizeof(struct ws_extra));
        if (cold->extra) {
            mem_account(MEM_SESSIONS, sizeof(struct ws_extra));
        }
    }
    return cold->extra;
}

static void destroy_extra(struct worker *worker, struct ws_extra *extra)
{
    if (!extra) {
        return;
    }
    if (extra->user_key) {
        admission_give(&worker->gateway->admission, extra->user_key);
    }
    if (extra->ip_key) {
        admission_give(&worker->gateway->admission, extra->ip_key);
    }
    mem_free(extra->groups);
    mem_free(extra->device);
    mem_free(extra->attrs);
    mem_account(MEM_SESSIONS, -(int64_t)sizeof(*extra));
    mem_free(extra);
}

/* ---- ending ---- */

void ws_session_doom(struct worker *worker, struct session *session, uint16_t close_code)
{
    if (session->flags & WS_IS_DOOMED) {
        return;
    }
    if (worker->doomed_count == worker->doomed_cap) {
        uint32_t cap = worker->doomed_cap ? worker->doomed_cap * 2 : 64;
        struct doomed *doomed = mem_realloc(worker->doomed, sizeof(*doomed) * cap);
        if (!doomed) {
            shutdown(session->fd, SHUT_RDWR); /* its read event brings it back here */
            return;
        }
        worker->doomed = doomed;
        worker->doomed_cap = cap;
    }
    session->flags |= WS_IS_DOOMED;
    worker->doomed[worker->doomed_count++] = (struct doomed){
        shard_session_slot(worker->shard, session), session->generation, close_code};
}

void ws_session_destroy(struct worker *worker, struct session *session)
{
    struct session_cold *cold = cold_of(worker, session);
    loop_timer_stop(worker->loop, &cold->timer);
    loop_unwatch_tag(worker->loop, session->fd);
    close(session->fd);
    out_queue_destroy(&worker->pool, session->out);
    session->out = NULL;
    ws_partial_destroy(session->in);
    session->in = NULL;
    destroy_extra(worker, cold->extra);
    cold->extra = NULL;
    stats_session_gone(worker, session);
    admission_give_session(&worker->gateway->admission);
    shard_session_free(worker->shard, session);
}

/* What was queued for it is dropped but for a frame that is half out, behind which the close frame
 * must go. */
static void trim_queue(struct worker *worker, struct session *session)
{
    struct out_queue *queue = session->out;
    if (!queue) {
        return;
    }
    struct frame *half = queue->first && queue->first->sent ? frame_ref(queue->first->frame) : NULL;
    uint32_t sent = half ? queue->first->sent : 0;
    uint32_t lost = queue->frames - (half ? 1 : 0);
    out_queue_destroy(&worker->pool, queue);
    session->out = NULL;
    stats_dropped(worker, session, STATS_DROP_CLOSED, lost);
    if (half) {
        session->out = out_queue_create(&worker->pool);
        struct frame *plain = frame_of_bytes(half->bytes + sent, half->len - sent);
        if (session->out && plain) {
            out_queue_add(&worker->pool, session->out, plain, 0, now_tick(worker));
        }
        frame_unref(plain);
    }
    frame_unref(half);
}

static void flush(struct worker *worker, struct session *session);

/* Says goodbye and leaves core's tables; the socket stays until the peer has answered or the time
 * is up. */
static void begin_close(struct worker *worker, struct session *session, uint16_t code)
{
    uint8_t frame[WS_CONTROL_MAX + 2];
    size_t len = ws_close_frame_write(frame, code, STR(""));
    trim_queue(worker, session);
    session->flags |= WS_IS_CLOSING;
    struct frame *close_frame = frame_of_bytes(frame, len);
    if (!session->out) {
        session->out = out_queue_create(&worker->pool);
    }
    if (close_frame && session->out) {
        out_queue_add(&worker->pool, session->out, close_frame, 0, now_tick(worker));
    }
    frame_unref(close_frame);
    shard_session_end(worker->shard, session);
    loop_timer_start(worker->loop, &cold_of(worker, session)->timer, CLOSE_WAIT_MS);
    flush(worker, session);
}

static void end_doomed(struct worker *worker, const struct doomed *doomed)
{
    struct session *session = shard_session_find(worker->shard, doomed->slot, doomed->generation);
    if (!session) {
        return;
    }
    session->flags &= (uint8_t)~WS_IS_DOOMED;
    bool was_closing = session->flags & WS_IS_CLOSING;
    if (!was_closing) {
        stats_session_closed(worker, session, doomed->close_code);
    }
    if (was_closing || doomed->close_code == WS_CLOSE_ABORT) {
        ws_session_destroy(worker, session);
    } else {
        begin_close(worker, session, doomed->close_code);
    }
}

/* ---- writing ---- */

static void mark_dirty(struct worker *worker, struct session *session)
{
    if (session->flags & WS_IS_DIRTY) {
        return;
    }
    if (worker->dirty_count == worker->dirty_cap) {
        uint32_t cap = worker->dirty_cap ? worker->dirty_cap * 2 : 256;
        uint32_t *dirty = mem_realloc(worker->dirty, sizeof(*dirty) * cap);
        if (!dirty) {
            ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
            return;
        }
        worker->dirty = dirty;
        worker->dirty_cap = cap;
    }
    session->flags |= WS_IS_DIRTY;
    worker->dirty[worker->dirty_count++] = shard_session_slot(worker->shard, session);
}

static void set_blocked(struct worker *worker, struct session *session, bool blocked)
{
    bool was = session->flags & WS_IS_BLOCKED;
    if (was == blocked) {
        return;
    }
    session->flags ^= WS_IS_BLOCKED;
    loop_rewatch_tag(worker->loop, session->fd, tag_of(worker, session),
                     LOOP_READABLE | (blocked ? LOOP_WRITABLE : 0));
    if (blocked) {
        ws_session_touch(worker, session); /* the queue's age counts from now */
    }
}

static void flush(struct worker *worker, struct session *session)
{
    struct out_queue *queue = session->out;
    if (!queue) {
        return;
    }
    uint32_t written;
    uint64_t bytes;
    int done = out_queue_send(&worker->pool, queue, session->fd, &written, &bytes);
    stats_written(worker, session, written, bytes);
    if (done < 0) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
        return;
    }
    if (done == 1) {
        out_queue_destroy(&worker->pool, queue);
        session->out = NULL;
    }
    set_blocked(worker, session, done == 0);
    if (session->state == SESSION_REPLAYING && ws_session_ops.has_room(worker->shard, session)) {
        shard_replay_continue(worker->shard, session);
        worker->ring_ready = true;
    }
}

static enum session_delivery enqueue(struct worker *worker, struct session *session,
                                     struct frame *frame, uint32_t sent)
{
    struct out_queue *queue = session->out;
    if (!queue) {
        queue = out_queue_create(&worker->pool);
        session->out = queue;
    }
    if (!queue || out_queue_add(&worker->pool, queue, frame, sent, now_tick(worker))) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        return SESSION_DROPPED;
    }
    if (frame->receipt) {
        receipt_open(frame->receipt);
    }
    if (queue->bytes > worker->settings->limits.session_queue_bytes &&
        (session->flags & WS_IS_BLOCKED)) {
        ws_session_doom(worker, session, WS_CLOSE_SLOW);
    }
    if (!(session->flags & WS_IS_BLOCKED)) {
        mark_dirty(worker, session);
    }
    return SESSION_QUEUED;
}

/* Nothing queued and nothing to wait for: straight to the kernel. */
static enum session_delivery send_frame(struct worker *worker, struct session *session,
                                        struct frame *frame)
{
    if (session->out || worker->corking) {
        return enqueue(worker, session, frame, 0);
    }
    ssize_t sent = send(session->fd, frame->bytes, frame->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == (ssize_t)frame->len) {
        stats_written(worker, session, 1, frame->len);
        return SESSION_WRITTEN;
    }
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
        return SESSION_DROPPED;
    }
    return enqueue(worker, session, frame, sent > 0 ? (uint32_t)sent : 0);
}

void ws_session_send(struct worker *worker, struct session *session, enum ws_opcode opcode,
                     struct str payload)
{
    if (session->flags & (WS_IS_CLOSING | WS_IS_DOOMED)) {
        return;
    }
    struct frame *frame = frame_create(opcode, false, payload);
    ws_session_send_frame(worker, session, frame);
    frame_unref(frame);
}

void ws_session_send_frame(struct worker *worker, struct session *session, struct frame *frame)
{
    if (frame) {
        send_frame(worker, session, frame);
    } else {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    }
}

static enum session_delivery deliver(struct shard *shard, struct session *session,
                                     struct message *message)
{
    struct worker *worker = ws_worker_of(shard);
    if (session->flags & (WS_IS_CLOSING | WS_IS_DOOMED)) {
        stats_dropped(worker, session, STATS_DROP_CLOSED, 1);
        return SESSION_DROPPED;
    }
    enum frame_protocol protocol = session->flags & WS_IS_V1 ? FRAME_V1 : FRAME_RAW;
    if (session->state != SESSION_LIVE) {
        struct frame *own = frame_cache_make(&worker->frames, message, protocol,
                                             ws_window_bits(session));
        enum session_delivery result = own ? send_frame(worker, session, own) : SESSION_DROPPED;
        frame_unref(own);
        return result;
    }
    struct frame *frame = frame_cache_get(&worker->frames, message, protocol,
                                          ws_window_bits(session));
    if (!frame) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        return SESSION_DROPPED;
    }
    return send_frame(worker, session, frame);
}

/* The soft mark: over half of the limit only progress counts, and a replay waits. */
static bool has_room(struct shard *shard, const struct session *session)
{
    const struct out_queue *queue = session->out;
    const struct worker *worker = ws_worker_of(shard);
    return !queue || queue->bytes < worker->settings->limits.session_queue_bytes / 2;
}

static void on_kick(struct shard *shard, struct session *session, int close_code)
{
    ws_session_doom(ws_worker_of(shard), session, (uint16_t)close_code);
}

const struct session_ops ws_session_ops = {
    .deliver = deliver,
    .on_start = ws_protocol_on_start,
    .on_joined = ws_protocol_on_joined,
    .on_left = ws_protocol_on_left,
    .on_gap = ws_protocol_on_gap,
    .on_heads = ws_protocol_on_heads,
    .has_room = has_room,
    .on_kick = on_kick,
};

void ws_session_flush_turn(struct worker *worker)
{
    worker->corking = false;
    for (uint32_t i = 0; i < worker->dirty_count; i++) {
        struct session *session = shard_session_at(worker->shard, worker->dirty[i]);
        if (session->state != SESSION_FREE && session->flags & WS_IS_DIRTY) {
            session->flags &= (uint8_t)~WS_IS_DIRTY;
            flush(worker, session);
        }
    }
    worker->dirty_count = 0;
    for (uint32_t i = 0; i < worker->doomed_count; i++) {
        struct doomed doomed = worker->doomed[i];
        end_doomed(worker, &doomed);
    }
    worker->doomed_count = 0;
}

/* ---- deadlines ---- */

/* Spread by slot over ±10 %, so that pings of sessions that came together do not stay together. */
static uint64_t ping_interval(const struct worker *worker, const struct session *session)
{
    uint64_t interval = worker->settings->heartbeat.interval_ms;
    uint64_t spread = interval / 5;
    uint32_t slot = shard_session_slot(worker->shard, session);
    return interval - spread / 2 + (spread ? slot * 2654435761u % spread : 0);
}

static uint64_t pong_wait(const struct worker *worker)
{
    uint64_t wait = worker->settings->heartbeat.interval_ms * 2 / 5;
    return wait > PONG_WAIT_MAX_MS ? PONG_WAIT_MAX_MS : wait;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t check_hello(struct worker *worker, struct session *session)
{
    if (session->flags & WS_IS_GREETED) {
        return UINT64_MAX;
    }
    uint64_t timeout = worker->settings->limits.hello_timeout_ms;
    uint64_t age = ms_since_tick(worker, session->heard_tick);
    if (age >= timeout) {
        ws_session_doom(worker, session, WS_CLOSE_HELLO_TIMEOUT);
        return UINT64_MAX;
    }
    return timeout - age;
}

static uint64_t check_heartbeat(struct worker *worker, struct session *session)
{
    if (!(session->flags & WS_IS_GREETED) || worker->settings->heartbeat.interval_ms == 0) {
        return UINT64_MAX;
    }
    uint64_t silent = ms_since_tick(worker, session->heard_tick);
    uint64_t interval = ping_interval(worker, session);
    unsigned missed = session->pings & PING_COUNT_MASK;
    uint64_t due = interval + missed * pong_wait(worker);
    if (silent < due) {
        return due - silent;
    }
    if (missed >= worker->settings->heartbeat.missed) {
        ws_session_doom(worker, session, WS_CLOSE_NO_PONG);
        return UINT64_MAX;
    }
    session->pings++;
    ws_session_send(worker, session, WS_PING, STR(""));
    return pong_wait(worker);
}

static uint64_t check_expiry(struct worker *worker, struct session *session)
{
    const struct session_cold *cold = cold_of(worker, session);
    if (!cold->expires_s) {
        return UINT64_MAX;
    }
    uint64_t now = clock_wall_ms();
    uint64_t end = (uint64_t)cold->expires_s * 1000;
    if (now >= end) {
        ws_session_doom(worker, session, WS_CLOSE_EXPIRED);
        return UINT64_MAX;
    }
    uint64_t left = end - now;
    bool is_welcomed = session->state == SESSION_REPLAYING || session->state == SESSION_LIVE;
    if (left <= WARN_BEFORE_MS && is_welcomed && !(session->flags & WS_IS_WARNED)) {
        session->flags |= WS_IS_WARNED;
        ws_protocol_send_expiring(worker, session, left);
    }
    /* The wall clock may be set: look again at least each half second before the end. */
    return left <= WARN_BEFORE_MS ? earlier(left, 500) : earlier(left - WARN_BEFORE_MS, 30000);
}

static uint64_t check_queue(struct worker *worker, struct session *session)
{
    const struct out_queue *queue = session->out;
    if (!queue || !queue->first) {
        return UINT64_MAX;
    }
    uint64_t age = ms_since_tick(worker, queue->first->tick);
    uint64_t limit = worker->settings->limits.session_queue_age_ms;
    if (age >= limit) {
        ws_session_doom(worker, session, WS_CLOSE_SLOW);
        return UINT64_MAX;
    }
    return earlier(limit - age, QUEUE_CHECK_MS);
}

static uint64_t check_drain(struct worker *worker, struct session *session)
{
    if (!worker->draining) {
        return UINT64_MAX;
    }
    uint64_t end = worker->drain_started_ms + ws_protocol_drain_due(worker, session);
    if (worker_now_ms(worker) >= end) {
        ws_session_doom(worker, session, WS_CLOSE_DRAIN);
        return UINT64_MAX;
    }
    return end - worker_now_ms(worker);
}

void ws_session_touch(struct worker *worker, struct session *session)
{
    if (session->flags & WS_IS_CLOSING) {
        return; /* its timer is the end of the closing handshake */
    }
    uint64_t wait = check_hello(worker, session);
    wait = earlier(wait, check_heartbeat(worker, session));
    wait = earlier(wait, check_expiry(worker, session));
    wait = earlier(wait, check_queue(worker, session));
    wait = earlier(wait, check_drain(worker, session));
    if (wait != UINT64_MAX) {
        loop_timer_start(worker->loop, &cold_of(worker, session)->timer, wait);
    }
}

static void on_timer(struct timer *timer)
{
    struct session_cold *cold = (struct session_cold *)((char *)timer -
                                                        offsetof(struct session_cold, timer));
    struct worker *worker = worker_current();
    struct session *session = shard_session_at(worker->shard, cold->slot);
    if (session->flags & WS_IS_CLOSING) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
    } else {
        ws_session_touch(worker, session);
    }
}

/* ---- reading ---- */

/* After a close frame or an error nothing more of the stream can be understood: it is read and
 * thrown away, so that the reset of a closed socket does not overtake our close frame. */
static void set_deaf(struct session *session)
{
    session->pings = WINDOW_BITS_DEAF << 4;
}

static bool is_deaf(const struct session *session)
{
    return ws_window_bits(session) == WINDOW_BITS_DEAF;
}

struct reading {
    struct worker *worker;
    struct session *session;
};

static bool is_over_ping_rate(struct reading *reading)
{
    struct worker *worker = reading->worker;
    uint64_t limit = worker->settings->limits.pings_per_second;
    struct ws_extra *extra = limit ? ws_session_extra(worker, reading->session) : NULL;
    if (!extra) {
        return false;
    }
    uint64_t now = worker_now_ms(worker);
    if (now - extra->pings_since_ms >= PING_WINDOW_MS) {
        extra->pings_since_ms = now;
        extra->pings = 0;
    }
    return ++extra->pings > limit * (PING_WINDOW_MS / 1000);
}

static int on_ping(void *owner, struct str payload)
{
    struct reading *reading = owner;
    struct session *session = reading->session;
    if (session->flags & (WS_IS_CLOSING | WS_IS_DOOMED)) {
        return 0;
    }
    if (!(session->flags & WS_IS_ECHO) && is_over_ping_rate(reading)) {
        ws_session_doom(reading->worker, session, WS_CLOSE_RATE_LIMITED);
        return 0;
    }
    if (session->out && session->flags & WS_IS_BLOCKED) {
        struct frame *pong = frame_create(WS_PONG, false, payload);
        struct out_queue *queue = session->out;
        frame_unref(queue->pong);
        queue->pong = pong;
        return 0;
    }
    ws_session_send(reading->worker, session, WS_PONG, payload);
    return 0;
}

static int on_pong(void *owner, struct str payload)
{
    return 0; /* any byte counts as life */
}

static int on_close(void *owner, uint16_t code, struct str reason)
{
    struct reading *reading = owner;
    struct session *session = reading->session;
    if (session->flags & WS_IS_CLOSING) {
        ws_session_doom(reading->worker, session, WS_CLOSE_ABORT);
        return 1;
    }
    stats_closed_by_peer(reading->worker, session);
    session->flags |= WS_IS_DOOMED; /* nobody else ends it */
    begin_close(reading->worker, session, code == WS_CLOSE_NO_STATUS ? WS_CLOSE_NORMAL : code);
    session->flags &= (uint8_t)~WS_IS_DOOMED;
    if (!session->out) { /* both halves are done: the server closes first (RFC 6455 7.1.1) */
        ws_session_doom(reading->worker, session, WS_CLOSE_ABORT);
    }
    return 1;
}

/* A token bucket, for sessions that send: most never do, and then have none. */
static bool is_over_frame_rate(struct worker *worker, struct session *session)
{
    const struct settings_limits *limits = &worker->settings->limits;
    if (!limits->messages_per_second || session->flags & WS_IS_ECHO) {
        return false;
    }
    struct ws_extra *extra = ws_session_extra(worker, session);
    if (!extra) {
        return true;
    }
    uint64_t now = worker_now_ms(worker);
    uint64_t most = limits->message_burst * 1000;
    if (!extra->counts_frames) {
        extra->counts_frames = true;
        extra->tokens_milli = most;
        extra->tokens_ms = now;
    }
    uint64_t added = (now - extra->tokens_ms) * limits->messages_per_second;
    extra->tokens_ms = now;
    extra->tokens_milli = earlier(extra->tokens_milli + added, most);
    if (extra->tokens_milli < 1000) {
        return true;
    }
    extra->tokens_milli -= 1000;
    return false;
}

static int on_message(void *owner, enum ws_opcode opcode, struct str payload)
{
    struct reading *reading = owner;
    struct session *session = reading->session;
    struct worker *worker = reading->worker;
    if (session->flags & (WS_IS_CLOSING | WS_IS_DOOMED)) {
        return 0; /* read on, for the peer's close frame */
    }
    if (session->flags & WS_IS_ECHO) {
        ws_protocol_echo(worker, session, opcode, payload);
        return 0;
    }
    bool first = (session->flags & (WS_IS_V1 | WS_IS_GREETED)) == WS_IS_V1;
    if (!first && is_over_frame_rate(worker, session)) {
        ws_session_doom(worker, session, WS_CLOSE_RATE_LIMITED);
        return 0;
    }
    ws_protocol_on_message(worker, session, opcode, payload);
    return 0;
}

static const struct ws_reader_events reader_events = {
    .on_message = on_message, .on_ping = on_ping, .on_pong = on_pong, .on_close = on_close};

/* Before hello the silence is measured from the connect: half a frame a second is no hello. */
static void note_life(struct worker *worker, struct session *session)
{
    if (session->flags & WS_IS_GREETED) {
        session->heard_tick = now_tick(worker);
        session->pings &= (uint8_t)~PING_COUNT_MASK;
    }
}

void ws_session_feed(struct worker *worker, struct session *session, uint8_t *data, size_t len)
{
    const struct settings_limits *limits = &worker->settings->limits;
    struct reading reading = {worker, session};
    struct ws_reader_options options = {.max_message = limits->message_bytes,
                                        .max_fragments = (uint32_t)limits->fragments,
                                        .inflater = ws_window_bits(session) ? worker->inflater
                                                                            : NULL};
    struct ws_partial *partial = session->in;
    note_life(worker, session);
    session->in = NULL;
    int err = ws_reader_feed(&partial, &options, data, len, &reader_events, &reading);
    if (err == 0) {
        session->in = partial;
    } else {
        set_deaf(session);
    }
    if (err < 0) {
        ws_session_doom(worker, session, ws_close_code_for(err));
    }
}

static void on_readable(struct worker *worker, struct session *session)
{
    ssize_t got = recv(session->fd, worker->receive_buffer, WORKER_RECEIVE_BYTES, MSG_DONTWAIT);
    if (got > 0 && is_deaf(session)) {
        return;
    }
    if (got > 0) {
        stats_received(worker, session, (uint64_t)got);
        ws_session_feed(worker, session, worker->receive_buffer, (size_t)got);
    } else if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
    }
}

void ws_session_on_event(void *owner, uint64_t tag, unsigned events)
{
    struct worker *worker = owner;
    uint32_t slot = (uint32_t)((tag & ~LOOP_TAG) >> 32);
    struct session *session = shard_session_find(worker->shard, slot, (uint32_t)tag);
    if (!session) {
        return;
    }
    if (events & LOOP_WRITABLE) {
        flush(worker, session);
    }
    if (events & LOOP_READABLE) {
        on_readable(worker, session);
    } else if (events & LOOP_HANGUP) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
    }
}

/* ---- opening ---- */

static int keep_counts(struct worker *worker, struct session *session, const struct ws_open *open)
{
    if (!open->ip_key) {
        return 0;
    }
    struct ws_extra *extra = ws_session_extra(worker, session);
    if (!extra) {
        return ERR_NO_MEMORY;
    }
    extra->ip_key = open->ip_key;
    return 0;
}

static int identify(struct worker *worker, struct session *session, const struct ws_open *open)
{
    return open->credential ? ws_protocol_identify(worker, session, open->credential) : 0;
}

struct session *ws_session_open(struct worker *worker, int fd, const struct ws_open *open)
{
    struct session *session = shard_session_create(worker->shard, open->tenant->id, WS_TRANSPORT);
    if (!session) {
        return NULL;
    }
    struct session_cold *cold = cold_of(worker, session);
    session->fd = fd;
    session->flags = open->flags;
    session->pings = (uint8_t)(open->window_bits << 4);
    session->heard_tick = now_tick(worker);
    cold->opened_s = (uint32_t)(worker_now_ms(worker) / 1000);
    cold->timer.on_fire = on_timer;
    if (loop_watch_tag(worker->loop, fd, tag_of(worker, session), LOOP_READABLE)) {
        shard_session_free(worker->shard, session);
        return NULL;
    }
    stats_session_opened(worker, session, tenant_of(worker, session));
    if (keep_counts(worker, session, open) || identify(worker, session, open)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    }
    ws_session_touch(worker, session);
    return session;
}
