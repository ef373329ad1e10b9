/* What is taken out of a session's queue before its client has read that far: messages that are
 * past their ttl, superseded by a newer one of their collapse key, or cancelled. */
#include "net/link.h"
#include "server/stats.h"
#include "server/ws_session_private.h"
#include "server/ws_ticket.h"

/* A frame that the client would have been asked to confirm, or the last of a ticket. */
static void on_drop(void *owner, const struct frame *frame, enum receipt_drop why)
{
    struct ws_extra *extra = owner;
    if (extra && frame->wants_ack) {
        acks_drop(&extra->acks, frame->id, why);
    }
    if (extra && extra->ticket && frame->is_final) {
        ws_ticket_on_drop(extra->ticket);
    }
}

static uint32_t drop(struct worker *worker, struct session *session, struct out_drop what)
{
    what.on_drop = on_drop;
    what.owner = ws_session_peek_extra(worker, session);
    return out_queue_drop(&worker->pool, session->out, link_held(ws_tls_of(worker, session)),
                          &what);
}

void ws_session_expire(struct worker *worker, struct session *session)
{
    const struct out_queue *queue = session->out;
    uint64_t now = worker_now_ms(worker);
    if (queue->next_expiry_ms && queue->next_expiry_ms <= now) {
        uint32_t count = drop(worker, session,
                              (struct out_drop){.matches = out_queue_is_expired,
                                                .value = now,
                                                .why = RECEIPT_EXPIRED});
        stats_dropped(worker, session, STATS_DROP_EXPIRED, count);
    }
}

static void collapse(struct worker *worker, struct session *session, const struct frame *frame)
{
    const struct out_queue *queue = session->out;
    if (frame->collapse && queue->has_collapse) {
        uint32_t count = drop(worker, session,
                              (struct out_drop){.matches = out_queue_is_of_key,
                                                .value = frame->collapse,
                                                .until_ms = frame->expires_ms,
                                                .budget = &worker->search_budget,
                                                .why = RECEIPT_COLLAPSED});
        stats_dropped(worker, session, STATS_DROP_COLLAPSED, count);
    }
}

void ws_session_make_room(struct worker *worker, struct session *session, const struct frame *frame)
{
    const struct out_queue *queue = session->out;
    if (!queue || !(session->flags & WS_IS_BLOCKED)) {
        return; /* just corked for this turn */
    }
    collapse(worker, session, frame);
    if (queue->bytes + (uint64_t)frame->len > worker->settings->limits.session_queue_bytes) {
        ws_session_expire(worker, session);
    }
}

bool ws_session_withdraw(struct worker *worker, struct session *session,
                         const struct message *revoke)
{
    if (!session->out) {
        return false;
    }
    const struct event *event = &revoke->event;
    uint64_t id = event_id_hash(&worker->gateway->keys.space, event->header.app, event->subject);
    uint32_t count = drop(worker, session,
                          (struct out_drop){.matches = out_queue_is_of_message,
                                            .value = id,
                                            .budget = &worker->search_budget,
                                            .why = RECEIPT_REVOKED});
    stats_dropped(worker, session, STATS_DROP_REVOKED, count);
    return count > 0;
}
