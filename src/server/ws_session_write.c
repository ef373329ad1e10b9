/* What goes out: straight to the kernel when nothing waits, else by the session's queue. */
#include "base/err.h"
#include "base/mem.h"
#include "net/link.h"
#include "server/police.h"
#include "server/sse_frame.h"
#include "server/stats.h"
#include "server/ws_protocol.h"
#include "server/ws_session_private.h"
#include "server/ws_ticket.h"

enum { TIMED_EACH = 64 }; /* deliveries of one message: see note_written */

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

/* A poll ends when this is out; that is looked at when the turn is. What its hello is told would
 * come again with each. */
static void note_said(struct worker *worker, struct session *session)
{
    if (ws_is_poll(session) && session->flags & WS_IS_GREETED) {
        ws_session_peek_extra(worker, session)->has_said = true;
        mark_dirty(worker, session);
    }
}

/* What waits for a ticket comes again with each poll until the last message is there. */
static void note_message(struct worker *worker, struct session *session,
                         const struct message *message)
{
    if (!message_is_apart(message) || message->event.header.flags & EVENT_IS_FINAL) {
        note_said(worker, session);
    }
}

static void touch_poll(struct worker *worker, struct session *session)
{
    if (ws_is_poll(session)) {
        ws_session_touch(worker, session);
    }
}

static void set_blocked(struct worker *worker, struct session *session, bool blocked)
{
    bool was = session->flags & WS_IS_BLOCKED;
    if (was == blocked) {
        return;
    }
    session->flags ^= WS_IS_BLOCKED;
    stats_blocked(session, blocked);
    loop_rewatch_tag(worker->loop, session->fd, ws_tag_of(worker, session),
                     LOOP_READABLE | (blocked ? LOOP_WRITABLE : 0));
    if (blocked || ws_is_sse(session)) {
        ws_session_touch(worker, session); /* the queue's age counts from now; a poll may end */
    }
}

/* RFC 6455 7.1.1 and 7.1.7: the server ends the connection first, above all when it fails it. Only
 * our half: what the peer still sends is read away until it has seen our close frame. */
static void end_our_half(struct worker *worker, struct session *session)
{
    if (session->flags & WS_IS_CLOSING && ws_is_deaf(session)) {
        link_end_output(session->fd, ws_tls_of(worker, session));
    }
}

static void send_queue(struct worker *worker, struct session *session)
{
    struct out_queue *queue = session->out;
    struct out_sent sent;
    struct tls_conn *tls = ws_tls_of(worker, session);
    if (queue->is_held) {
        return;
    }
    ws_session_expire(worker, session);
    int done = out_queue_send(&worker->pool, queue, session->fd, tls, &sent);
    stats_written(worker, session, sent.frames, sent.bytes);
    if (sent.received_us) {
        stats_delivered(sent.received_us, sent.way_us);
    }
    if (done < 0) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
        return;
    }
    if (done == 1) {
        out_queue_destroy(&worker->pool, queue);
        session->out = NULL;
        end_our_half(worker, session);
    }
    set_blocked(worker, session, done == 0);
}

static void flush_now(struct worker *worker, struct session *session)
{
    send_queue(worker, session);
    if (session->state == SESSION_REPLAYING && !(session->flags & WS_IS_DOOMED) &&
        ws_session_ops.has_room(worker->shard, session)) {
        shard_replay_continue(worker->shard, session);
        worker->ring_ready = true;
    }
    ws_ticket_continue(worker, session);
}

/* A raw session has no welcome: the head of its answer says that it is in place. So nothing leaves
 * before the fence has come back. */
static bool is_held(const struct session *session)
{
    return (session->state == SESSION_STARTING || session->state == SESSION_NEW) &&
           !(session->flags & (WS_IS_V1 | WS_IS_ECHO));
}

void ws_session_flush(struct worker *worker, struct session *session)
{
    if (session->out && !is_held(session)) {
        flush_now(worker, session);
    }
}

/* Core is just starting the session: a replay is not to be asked for yet. */
void ws_session_release(struct worker *worker, struct session *session)
{
    if (session->out) {
        send_queue(worker, session);
    }
}

int ws_session_hold_back(struct worker *worker, struct session *session)
{
    struct out_queue *queue = session->out ? session->out : out_queue_create(&worker->pool);
    if (!queue) {
        return ERR_NO_MEMORY;
    }
    queue->is_held = true;
    session->out = queue;
    return 0;
}

bool ws_session_is_held_back(const struct session *session)
{
    const struct out_queue *queue = session->out;
    return queue && queue->is_held;
}

/* One that has its fence to wait for goes on waiting for that. */
void ws_session_let_out(struct worker *worker, struct session *session)
{
    struct out_queue *queue = session->out;
    if (queue && queue->is_held) {
        queue->is_held = false;
        ws_session_flush(worker, session);
    }
}

/* Over the limit a socket that is full ends the session. One that is not gets what is corked so
 * far, lest one turn gathers more than the limit. */
static void mind_limit(struct worker *worker, struct session *session)
{
    const struct out_queue *queue = session->out;
    bool over = queue->bytes > worker->settings->limits.session_queue_bytes;
    if (!(session->flags & WS_IS_BLOCKED) && !(over && queue->is_held)) {
        mark_dirty(worker, session);
        if (over && session->state == SESSION_LIVE) {
            ws_session_flush(worker, session);
        }
    } else if (over) {
        ws_session_doom(worker, session, WS_CLOSE_SLOW);
    }
}

/* Part of a frame is on its way and its rest could not be kept: whatever came next, a close frame
 * too, would go into the middle of it. What the TLS library holds is the rest of what is queued, if
 * anything is. */
static bool is_cut(const struct worker *worker, const struct session *session, uint32_t sent)
{
    const struct out_queue *queue = session->out;
    bool has_rest = queue && queue->first;
    return sent > 0 || (!has_rest && link_held(ws_tls_of(worker, session)) > 0);
}

static void doom_without_memory(struct worker *worker, struct session *session, uint32_t sent)
{
    if (!is_cut(worker, session, sent)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        return;
    }
    out_queue_destroy(&worker->pool, session->out);
    session->out = NULL;
    ws_session_doom(worker, session, WS_CLOSE_ABORT);
}

static enum session_delivery enqueue(struct worker *worker, struct session *session,
                                     struct frame *frame, uint32_t sent)
{
    ws_session_make_room(worker, session, frame);
    struct out_queue *queue = session->out;
    if (!queue) {
        queue = out_queue_create(&worker->pool);
        session->out = queue;
    }
    if (!queue || out_queue_add(&worker->pool, queue, frame, sent, ws_now_tick(worker))) {
        doom_without_memory(worker, session, sent);
        return SESSION_DROPPED;
    }
    if (frame->holds_receipt) {
        receipt_open(frame->receipt);
    }
    mind_limit(worker, session);
    return SESSION_QUEUED;
}

static ssize_t send_at_once(struct worker *worker, struct session *session,
                            const struct frame *frame)
{
    if (session->transport & WS_OVER_TLS) {
        struct iovec part = {(void *)(uintptr_t)frame->bytes, frame->len};
        return tls_conn_write(ws_tls_of(worker, session), &part, 1);
    }
    return link_result(send(session->fd, frame->bytes, frame->len, MSG_NOSIGNAL | MSG_DONTWAIT));
}

/* Nothing queued and nothing to wait for: straight to the kernel. */
static enum session_delivery send_frame(struct worker *worker, struct session *session,
                                        struct frame *frame)
{
    if (session->out || worker->corking) {
        return enqueue(worker, session, frame, 0);
    }
    ssize_t sent = send_at_once(worker, session, frame);
    if (sent == (ssize_t)frame->len) {
        stats_written(worker, session, 1, frame->len);
        return SESSION_WRITTEN;
    }
    if (sent < 0 && sent != -EAGAIN && sent != -EINTR) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
        return SESSION_DROPPED;
    }
    return enqueue(worker, session, frame, sent > 0 ? (uint32_t)sent : 0);
}

static struct frame *make_frame(struct worker *worker, const struct session *session,
                                enum ws_opcode opcode, struct str payload)
{
    if (!ws_is_sse(session)) {
        return frame_create(opcode, false, payload);
    }
    return opcode == WS_TEXT ? sse_frame_of_text(worker, STR(""), payload, NULL)
                             : sse_frame_of_ping(session->flags & WS_IS_V1);
}

void ws_session_send(struct worker *worker, struct session *session, enum ws_opcode opcode,
                     struct str payload)
{
    if (session->flags & (WS_IS_CLOSING | WS_IS_DOOMED)) {
        return;
    }
    if (opcode == WS_TEXT) {
        note_said(worker, session);
    }
    if (ws_is_watched(worker, session)) {
        watch_note(worker, session, true, opcode, payload);
    }
    struct frame *frame = make_frame(worker, session, opcode, payload);
    ws_session_send_frame(worker, session, frame);
    frame_unref(frame);
}

void ws_session_send_at(struct worker *worker, struct session *session, struct str name,
                        struct str text, const struct hub_heads *heads)
{
    if (!ws_is_sse(session)) {
        ws_session_send(worker, session, WS_TEXT, text);
        return;
    }
    if (session->flags & (WS_IS_CLOSING | WS_IS_DOOMED)) {
        return;
    }
    if (!heads) { /* a welcome and positions alone are no news */
        note_said(worker, session);
    }
    if (text.len && ws_is_watched(worker, session)) {
        watch_note(worker, session, true, WS_TEXT, text);
    }
    struct frame *frame = sse_frame_of_text(worker, name, text, heads);
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

void ws_session_hold(struct worker *worker, struct session *session, struct str handshake)
{
    struct frame *frame = frame_of_bytes(handshake.ptr, handshake.len);
    session->out = out_queue_create(&worker->pool);
    if (!frame || !session->out ||
        out_queue_add(&worker->pool, session->out, frame, 0, ws_now_tick(worker))) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT); /* no close frame without a 101 */
    }
    frame_unref(frame);
}

/* A loss must be noticed: the session comes back and resumes. */
static enum session_delivery drop_for_memory(struct worker *worker, struct session *session)
{
    ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
    return SESSION_DROPPED;
}

/* The client is asked to confirm. Without memory nobody will know whether it did. */
static void expect_ack(struct worker *worker, struct session *session,
                       const struct message *message)
{
    struct ws_extra *extra = ws_session_extra(worker, session);
    bool is_live = session->state == SESSION_LIVE;
    int given_up = extra ? acks_expect(&extra->acks, message->event.id_hash, message->receipt,
                                       is_live, (uint32_t)worker->settings->limits.session_acks,
                                       acks_clock())
                         : ERR_NO_MEMORY;
    if (given_up < 0) {
        atomic_store_explicit(&message->receipt->is_short, true, memory_order_release);
    }
    stats_acks_given_up(worker, session, given_up < 0 ? 1 : (uint32_t)given_up);
}

/* What was sent is answered for by its receipt, if it has one. */
static enum session_delivery note_sent(struct worker *worker, struct session *session,
                                       const struct message *message, const struct frame *frame,
                                       enum session_delivery result)
{
    if (!message->receipt || result == SESSION_DROPPED) {
        return result;
    }
    if (frame->wants_ack) {
        expect_ack(worker, session, message);
    } else if (frame->is_own_ack && result == SESSION_WRITTEN) {
        receipt_ack(message->receipt);
    }
    return result;
}

/* What is replayed, or waited for its ticket, was on its way for other reasons. */
static bool is_timed(const struct session *session, const struct message *message)
{
    return session->state == SESSION_LIVE && !message_is_apart(message);
}

/* What waits is timed when it is written. */
static void stamp(struct frame *frame, const struct session *session, const struct message *message)
{
    if (is_timed(session, message)) {
        frame->received_us = message->received_us;
        frame->way_us = message->way_us;
    }
}

/* The first session of a message on this worker, and each 64th behind it: the clock is not asked
 * for every one of a broadcast. */
static void note_written(struct worker *worker, const struct session *session,
                         const struct message *message)
{
    uint64_t name = message->seq << 6 | message->queue;
    if (!is_timed(session, message) ||
        (worker->measured == name && ++worker->written_since % TIMED_EACH != 0)) {
        return;
    }
    worker->measured = name;
    worker->written_since = 0;
    stats_delivered(message->received_us, message->way_us);
}

/* The frame is the message's. */
static enum session_delivery send_frame_of(struct worker *worker, struct session *session,
                                           const struct message *message, struct frame *frame)
{
    stamp(frame, session, message);
    enum session_delivery result = send_frame(worker, session, frame);
    if (result == SESSION_WRITTEN) {
        note_written(worker, session, message);
    }
    return note_sent(worker, session, message, frame, result);
}

static enum session_delivery send_own_frame(struct worker *worker, struct session *session,
                                            const struct message *message, struct frame *frame)
{
    if (!frame) {
        return drop_for_memory(worker, session);
    }
    enum session_delivery result = send_frame_of(worker, session, message, frame);
    frame_unref(frame);
    return result;
}

static enum session_delivery send_message(struct worker *worker, struct session *session,
                                          struct message *message)
{
    if (session->flags & (WS_IS_CLOSING | WS_IS_DOOMED)) {
        stats_dropped(worker, session, STATS_DROP_CLOSED, 1);
        return SESSION_DROPPED;
    }
    if (message->event.kind == EVENT_REVOKE) {
        if (ws_session_withdraw(worker, session, message)) {
            return SESSION_WITHDRAWN;
        }
        if (!(session->flags & WS_IS_V1)) {
            return SESSION_SKIPPED;
        }
    }
    if (ws_is_sse(session)) {
        note_message(worker, session, message);
        return send_own_frame(worker, session, message,
                              sse_frame_of_message(worker, session, message));
    }
    enum frame_protocol protocol = session->flags & WS_IS_V1 ? FRAME_V1 : FRAME_RAW;
    if (session->state != SESSION_LIVE) {
        struct frame *own = frame_cache_make(&worker->frames, message, protocol,
                                             ws_window_bits(session));
        return send_own_frame(worker, session, message, own);
    }
    struct frame *frame = frame_cache_get(&worker->frames, message, protocol,
                                          ws_window_bits(session));
    if (!frame) {
        return drop_for_memory(worker, session);
    }
    return send_frame_of(worker, session, message, frame);
}

static enum session_delivery deliver(struct shard *shard, struct session *session,
                                     struct message *message)
{
    struct worker *worker = ws_worker_of(shard);
    enum session_delivery result = send_message(worker, session, message);
    if (ws_is_watched(worker, session)) {
        watch_note_message(worker, session, message, result);
    }
    return result;
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
    .on_excess = police_on_excess,
};

void ws_session_flush_turn(struct worker *worker)
{
    worker->corking = false;
    for (uint32_t i = 0; i < worker->dirty_count; i++) {
        struct session *session = shard_session_at(worker->shard, worker->dirty[i]);
        if (session->state != SESSION_FREE && session->flags & WS_IS_DIRTY) {
            session->flags &= (uint8_t)~WS_IS_DIRTY;
            ws_session_flush(worker, session);
            touch_poll(worker, session);
        }
    }
    worker->dirty_count = 0;
    worker->search_budget = WORKER_SEARCHES;
    for (uint32_t i = 0; i < worker->doomed_count; i++) {
        struct doomed doomed = worker->doomed[i];
        ws_session_end_doomed(worker, &doomed);
    }
    worker->doomed_count = 0;
}
