/* What comes in: frames are read by proto/ws_message.h, controls answered here, messages handed on.
 */
#include "base/err.h"
#include "net/link.h"
#include "proto/ws_deflate.h"
#include "proto/ws_message.h"
#include "server/stats.h"
#include "server/ws_ping.h"
#include "server/ws_protocol.h"
#include "server/ws_session_private.h"

enum { PING_WINDOW_MS = 10000 };

static void set_deaf(struct session *session)
{
    session->pings = WS_WINDOW_BITS_DEAF << 4;
}

struct reading {
    struct worker *worker;
    struct session *session;
    unsigned open_pings; /* that nothing had come for before this */
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

static void note_in(const struct reading *reading, enum ws_opcode opcode, struct str payload)
{
    if (ws_is_watched(reading->worker, reading->session)) {
        watch_note(reading->worker, reading->session, false, opcode, payload);
    }
}

static int on_ping(void *owner, struct str payload)
{
    struct reading *reading = owner;
    struct session *session = reading->session;
    if (session->flags & (WS_IS_CLOSING | WS_IS_DOOMED)) {
        return 0;
    }
    note_in(reading, WS_PING, payload);
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

/* Any byte counts as life, and a pong tells the way there and back; of those to one ping the first.
 */
static int on_pong(void *owner, struct str payload)
{
    struct reading *reading = owner;
    struct worker *worker = reading->worker;
    uint64_t us;
    note_in(reading, WS_PONG, payload);
    if (reading->open_pings > 0 &&
        ws_ping_read(&us, payload, &worker->gateway->keys.sid_keys[0],
                     ws_tag_of(worker, reading->session), loop_now_us(worker->loop))) {
        reading->open_pings = 0;
        stats_ping(us);
    }
    return 0;
}

static int on_close(void *owner, uint16_t code, struct str reason)
{
    struct reading *reading = owner;
    struct session *session = reading->session;
    if (session->flags & WS_IS_CLOSING) {
        ws_session_doom(reading->worker, session, WS_CLOSE_ABORT);
        return 1;
    }
    if (ws_is_watched(reading->worker, session)) {
        watch_note_close(reading->worker, session, false, code);
    }
    ws_session_note_left(reading->worker, session);
    session->flags |= WS_IS_DOOMED; /* nobody else ends it */
    ws_session_begin_close(reading->worker, session,
                           code == WS_CLOSE_NO_STATUS ? WS_CLOSE_NORMAL : code);
    session->flags &= (uint8_t)~WS_IS_DOOMED;
    if (!session->out) { /* both halves are done: the server closes first (RFC 6455 7.1.1) */
        ws_session_doom(reading->worker, session, WS_CLOSE_ABORT);
    }
    return 1;
}

/* A token bucket, for sessions that send: most never do, and then have none. */
static void fill_bucket(const struct settings_limits *limits, struct ws_extra *extra, uint64_t now)
{
    uint64_t most = limits->message_burst * 1000;
    if (!extra->counts_frames) {
        extra->counts_frames = true;
        extra->tokens_milli = most;
        extra->tokens_ms = now;
    }
    uint64_t added = (now - extra->tokens_ms) * limits->messages_per_second;
    extra->tokens_ms = now;
    extra->tokens_milli = ws_earlier(extra->tokens_milli + added, most);
}

static bool take_token(const struct settings_limits *limits, struct ws_extra *extra, uint64_t now)
{
    fill_bucket(limits, extra, now);
    if (extra->tokens_milli < 1000) {
        return false;
    }
    extra->tokens_milli -= 1000;
    return true;
}

bool ws_session_take_frame(struct worker *worker, struct session *session)
{
    const struct settings_limits *limits = &worker->settings->limits;
    if (!limits->messages_per_second) {
        return true;
    }
    struct ws_extra *extra = ws_session_extra(worker, session);
    if (extra && take_token(limits, extra, worker_now_ms(worker))) {
        return true;
    }
    ws_session_doom(worker, session, extra ? WS_CLOSE_RATE_LIMITED : WS_CLOSE_OVERLOADED);
    return false;
}

bool ws_session_may_take(struct worker *worker, struct session *session, uint32_t frames)
{
    const struct settings_limits *limits = &worker->settings->limits;
    struct ws_extra *extra = limits->messages_per_second ? ws_session_extra(worker, session) : NULL;
    if (!extra) {
        return limits->messages_per_second == 0;
    }
    fill_bucket(limits, extra, worker_now_ms(worker));
    return extra->tokens_milli >= frames * 1000ull;
}

static int on_message(void *owner, enum ws_opcode opcode, struct str payload)
{
    struct reading *reading = owner;
    struct session *session = reading->session;
    struct worker *worker = reading->worker;
    if (session->flags & (WS_IS_CLOSING | WS_IS_DOOMED)) {
        return 0; /* read on, for the peer's close frame */
    }
    note_in(reading, opcode, payload);
    if (session->flags & WS_IS_ECHO) {
        ws_protocol_echo(worker, session, opcode, payload);
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
        session->heard_tick = ws_now_tick(worker);
        session->pings &= (uint8_t)~WS_PING_COUNT_MASK;
    }
}

void ws_session_feed(struct worker *worker, struct session *session, uint8_t *data, size_t len)
{
    const struct settings_limits *limits = &worker->settings->limits;
    struct reading reading = {worker, session, session->pings & WS_PING_COUNT_MASK};
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

/* Who is not listened to may not keep us busy either. */
static void mind_idle_talk(struct worker *worker, struct session *session)
{
    if (ws_is_sse(session) && !(session->flags & (WS_IS_CLOSING | WS_IS_DOOMED))) {
        ws_session_take_frame(worker, session);
    }
}

static void tell_broken_tls(const struct session *session, const struct tls_conn *tls)
{
    struct addr peer = {0};
    addr_of_peer(&peer, session->fd);
    stats_http_refused("client", &peer, 0, tls_conn_reason(tls));
}

/* The page has closed its stream, or is gone: a browser says no more than that. */
static void note_stream_left(struct worker *worker, struct session *session)
{
    if (ws_is_sse(session) && !(session->flags & (WS_IS_CLOSING | WS_IS_DOOMED))) {
        ws_session_note_left(worker, session);
        session->flags |= WS_IS_CLOSING; /* it is counted */
    }
}

static void on_readable(struct worker *worker, struct session *session)
{
    bool is_deaf = ws_is_deaf(session);
    struct tls_conn *tls = is_deaf ? NULL : ws_tls_of(worker, session);
    ssize_t got = link_read(session->fd, tls, worker->receive_buffer, WORKER_RECEIVE_BYTES);
    if (got > 0 && is_deaf) {
        mind_idle_talk(worker, session);
        return;
    }
    if (got > 0) {
        stats_received(worker, session, (uint64_t)got);
        ws_session_feed(worker, session, worker->receive_buffer, (size_t)got);
    } else if (got != -EAGAIN && got != -EINTR) {
        if (got == ERR_PROTOCOL) {
            tell_broken_tls(session, tls);
        } else if (got == 0) {
            note_stream_left(worker, session);
        }
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
        ws_session_flush(worker, session);
    }
    if (events & LOOP_READABLE) {
        on_readable(worker, session);
    } else if (events & LOOP_HANGUP) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
    }
}
