/* What the sources of ws_session share; nobody else includes it.
 *   ws_session.c        opening and ending
 *   ws_session_read.c   frames in
 *   ws_session_write.c  frames out, what core asks of a transport
 *   ws_session_timer.c  deadlines */
#ifndef TIDEGATE_SERVER_WS_SESSION_PRIVATE_H
#define TIDEGATE_SERVER_WS_SESSION_PRIVATE_H

#include "server/ws_session.h"

enum { WS_PING_COUNT_MASK = 15 }; /* of session->pings; above it: the window bits */

static inline uint32_t ws_now_tick(const struct worker *worker)
{
    return (uint32_t)(worker_now_ms(worker) / TIMER_TICK_MS);
}

static inline uint64_t ws_ms_since_tick(const struct worker *worker, uint32_t tick)
{
    return (uint64_t)(uint32_t)(ws_now_tick(worker) - tick) * TIMER_TICK_MS;
}

static inline uint64_t ws_tag_of(const struct worker *worker, const struct session *session)
{
    uint32_t slot = shard_session_slot(worker->shard, session);
    return LOOP_TAG | (uint64_t)slot << 32 | session->generation;
}

static inline struct session_cold *ws_cold_of(const struct worker *worker,
                                              const struct session *session)
{
    return shard_session_cold(worker->shard, session);
}

static inline const struct tenant *ws_tenant_of(const struct worker *worker,
                                                const struct session *session)
{
    return &worker->tenants->items[session->app];
}

static inline uint64_t ws_earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ws_session.c */

/* Says goodbye and leaves core's tables; the socket stays until the peer has answered or the time
 * is up. */
void ws_session_begin_close(struct worker *worker, struct session *session, uint16_t code);
/* The client has ended the session: counted, and told to the app's webhooks. While it still is in
 * the tables. */
void ws_session_note_left(struct worker *worker, struct session *session);
void ws_session_end_doomed(struct worker *worker, const struct doomed *doomed);

/* ws_session_write.c */
void ws_session_flush(struct worker *worker, struct session *session);

/* ws_session_drop.c: of what waits in the session's queue. */

/* Drops what is past its ttl. There is a queue. */
void ws_session_expire(struct worker *worker, struct session *session);
/* The frame is about to be queued: drops those of the same collapse key that it outlives, and, if
 * it were over the limit, what is past its ttl. */
void ws_session_make_room(struct worker *worker, struct session *session,
                          const struct frame *frame);
/* Drops what the EVENT_REVOKE cancels. True: it was here, so the client never had it. Over the
 * turn's budget it is not looked for: the client gets both. */
bool ws_session_withdraw(struct worker *worker, struct session *session,
                         const struct message *revoke);

/* ws_session_timer.c */
void ws_session_on_timer(struct timer *timer);

#endif
