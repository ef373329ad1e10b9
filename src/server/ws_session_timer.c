/* A session's deadlines: hello, heartbeat, the token's end, the age of its queue, the drain. One
 * timer a session, armed for the earliest. */
#include "base/clock.h"
#include "server/ws_ping.h"
#include "server/ws_protocol.h"
#include "server/ws_session_private.h"
#include "server/ws_ticket.h"

enum {
    PONG_WAIT_MAX_MS = 10000,
    WARN_BEFORE_MS = 30000, /* `expiring` before the token ends */
    QUEUE_CHECK_MS = 1000,
    POLL_CHECK_MS = 50,
};

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

static uint64_t check_hello(struct worker *worker, struct session *session)
{
    if (session->flags & WS_IS_GREETED) {
        return UINT64_MAX;
    }
    uint64_t timeout = worker->settings->limits.hello_timeout_ms;
    uint64_t age = ws_ms_since_tick(worker, session->heard_tick);
    if (age >= timeout) {
        ws_session_doom(worker, session, WS_CLOSE_HELLO_TIMEOUT);
        return UINT64_MAX;
    }
    return timeout - age;
}

/* Nobody answers on an event stream: a dead one shows by what it does not take (check_queue), or by
 * the kernel's TCP_USER_TIMEOUT. heard_tick is when it was last said that the stream lives. */
static uint64_t check_stream(struct worker *worker, struct session *session)
{
    uint64_t silent = ws_ms_since_tick(worker, session->heard_tick);
    uint64_t interval = ping_interval(worker, session);
    if (silent < interval) {
        return interval - silent;
    }
    session->heard_tick = ws_now_tick(worker);
    ws_session_send(worker, session, WS_PING, STR(""));
    return interval;
}

static void send_ping(struct worker *worker, struct session *session)
{
    char payload[WS_PING_BYTES];
    ws_ping_write(payload, &worker->gateway->keys.sid_keys[0], ws_tag_of(worker, session),
                  loop_now_us(worker->loop));
    ws_session_send(worker, session, WS_PING, str_make(payload, sizeof(payload)));
}

static uint64_t check_heartbeat(struct worker *worker, struct session *session)
{
    if (!(session->flags & WS_IS_GREETED) || worker->settings->heartbeat.interval_ms == 0) {
        return UINT64_MAX;
    }
    if (ws_is_sse(session)) {
        return check_stream(worker, session);
    }
    uint64_t silent = ws_ms_since_tick(worker, session->heard_tick);
    uint64_t interval = ping_interval(worker, session);
    unsigned missed = session->pings & WS_PING_COUNT_MASK;
    uint64_t due = interval + missed * pong_wait(worker);
    if (silent < due) {
        return due - silent;
    }
    if (missed >= worker->settings->heartbeat.missed) {
        ws_session_doom(worker, session, WS_CLOSE_NO_PONG);
        return UINT64_MAX;
    }
    session->pings++;
    send_ping(worker, session);
    return pong_wait(worker);
}

static uint64_t check_expiry(struct worker *worker, struct session *session)
{
    const struct session_cold *cold = ws_cold_of(worker, session);
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
    return left <= WARN_BEFORE_MS ? ws_earlier(left, 500)
                                  : ws_earlier(left - WARN_BEFORE_MS, 30000);
}

static uint64_t check_queue(struct worker *worker, struct session *session)
{
    const struct out_queue *queue = session->out;
    if (!queue) {
        return UINT64_MAX;
    }
    ws_session_expire(worker, session); /* what nobody wants any more is not late */
    if (!queue->first) {
        return UINT64_MAX;
    }
    uint64_t age = ws_ms_since_tick(worker, queue->first->tick);
    uint64_t limit = worker->settings->limits.session_queue_age_ms;
    if (age >= limit) {
        ws_session_doom(worker, session, WS_CLOSE_SLOW);
        return UINT64_MAX;
    }
    return ws_earlier(limit - age, QUEUE_CHECK_MS);
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

/* A response that a proxy holds back reaches the client when it ends: as soon as a message is out,
 * and at the latest when its time is up. */
static uint64_t check_poll(struct worker *worker, struct session *session)
{
    const struct ws_extra *extra = ws_session_peek_extra(worker, session);
    if (!extra || !extra->poll_until_ms || !(session->flags & WS_IS_GREETED)) {
        return UINT64_MAX;
    }
    uint64_t now = worker_now_ms(worker);
    bool has_said_all = extra->has_said && session->state == SESSION_LIVE && !session->out;
    if (has_said_all || now >= extra->poll_until_ms) {
        ws_session_doom(worker, session, SSE_END_OF_POLL);
        return UINT64_MAX;
    }
    return extra->has_said ? POLL_CHECK_MS : extra->poll_until_ms - now;
}

void ws_session_touch(struct worker *worker, struct session *session)
{
    if (session->flags & WS_IS_CLOSING) {
        return; /* its timer is the end of the closing handshake */
    }
    uint64_t wait = check_hello(worker, session);
    wait = ws_earlier(wait, check_heartbeat(worker, session));
    wait = ws_earlier(wait, check_expiry(worker, session));
    wait = ws_earlier(wait, check_queue(worker, session));
    wait = ws_earlier(wait, check_drain(worker, session));
    wait = ws_earlier(wait, check_poll(worker, session));
    wait = ws_earlier(wait, ws_ticket_check(worker, session));
    if (wait != UINT64_MAX) {
        loop_timer_start(worker->loop, &ws_cold_of(worker, session)->timer, wait);
    }
}

/* What no window has any more need not be confirmed. */
static void sweep_acks(const struct worker *worker, const struct session *session)
{
    struct ws_extra *extra = ws_session_peek_extra(worker, session);
    if (extra) {
        acks_sweep(&extra->acks);
    }
}

void ws_session_on_timer(struct timer *timer)
{
    struct session_cold *cold = (struct session_cold *)((char *)timer -
                                                        offsetof(struct session_cold, timer));
    struct worker *worker = worker_current();
    struct session *session = shard_session_at(worker->shard, cold->slot);
    if (session->flags & WS_IS_CLOSING) {
        ws_session_doom(worker, session, WS_CLOSE_ABORT);
    } else {
        sweep_acks(worker, session);
        ws_session_touch(worker, session);
    }
}
