#include "server/ws_ticket.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/publish.h"
#include "core/tickets.h"
#include "server/stats.h"
#include "server/ws_protocol.h"

enum { LOOK_MS = 100, END_AGAIN_MS = 1000 };

/* A claim or an end on its way to the bus. */
struct ticket_publish {
    struct worker *worker;
    uint32_t slot, generation;
};

/* ---- life ---- */

/* There is one. */
static struct ticket_news *take_first(struct mail_chain *chain)
{
    struct mail *first = chain->first;
    chain->first = first->next;
    chain->last = chain->first ? chain->last : NULL;
    return MAIL_OWNER(first, struct ticket_news, mail);
}

struct ws_ticket *ws_ticket_create(const struct ticket *ticket)
{
    size_t bytes = sizeof(struct ws_ticket) + ticket->user.len + 1;
    struct ws_ticket *made = mem_zalloc(bytes);
    if (made) {
        memcpy(made->id, ticket->id.ptr,
               ticket->id.len < TICKET_ID_LEN ? ticket->id.len : TICKET_ID_LEN);
        memcpy(made->user, ticket->user.ptr, ticket->user.len);
        made->expires_ms = ticket->expires_ms;
        made->issued_ms = ticket->issued_ms;
        made->memory_bytes = (uint32_t)(bytes + sizeof(struct session_resume));
        mem_account(MEM_SESSIONS, made->memory_bytes);
    }
    return made;
}

void ws_ticket_destroy(struct ws_ticket *ticket)
{
    if (ticket) {
        while (ticket->waiting.first) {
            ticket_news_destroy(take_first(&ticket->waiting));
        }
        mem_account(MEM_SESSIONS, -(int64_t)ticket->memory_bytes);
        mem_free(ticket->resume);
        mem_free(ticket->final_id);
        mem_free(ticket);
    }
}

struct ws_ticket *ws_ticket_of(const struct worker *worker, const struct session *session)
{
    const struct ws_extra *extra = ws_session_peek_extra(worker, session);
    return extra ? extra->ticket : NULL;
}

int ws_ticket_identify(struct worker *worker, struct session *session)
{
    const struct ws_ticket *ticket = ws_ticket_of(worker, session);
    struct credential credential = {.kind = CREDENTIAL_ANONYMOUS, .user = str_of(ticket->user)};
    credential.issued_ms = credential.user.len ? ticket->issued_ms : 0;
    return ws_protocol_identify(worker, session, &credential);
}

bool ws_ticket_set_claim(struct ws_ticket *ticket, struct str claim)
{
    ticket->has_claim = claim.len > 0;
    return claim.len <= WS_CLAIM_MAX && digest_sha256(ticket->claim, claim.ptr, claim.len) == 0;
}

/* ---- to the bus ---- */

static struct target target_of(const struct ws_ticket *ticket)
{
    return (struct target){TARGET_TICKET, str_of(ticket->id)};
}

static int encode(struct publish_part *part, struct worker *worker, const struct session *session,
                  enum event_kind kind)
{
    const struct ws_ticket *ticket = ws_ticket_of(worker, session);
    const struct target_space *space = &worker->gateway->keys.space;
    struct target target = target_of(ticket);
    struct event event = {.kind = kind,
                          .parts = 1,
                          .key_tag = space->tag,
                          .time_ms = clock_wall_ms(),
                          .id = STR("end"),
                          .data_kind = EVENT_DATA_BINARY};
    char sid[SID_LEN + 1];
    event.header.app = shard_app_hash(worker->shard, session->app);
    event.header.origin = worker->gateway->boot;
    event.header.flags = EVENT_IS_CONTROL;
    if (kind == EVENT_CLAIM) {
        ws_session_format_sid(worker, session, sid);
        event.id = event.subject = str_make(sid, SID_LEN);
        event.data = str_make(ticket->claim, ticket->has_claim ? sizeof(ticket->claim) : 0);
    }
    uint64_t key = target_key(space, event.header.app, TARGET_TICKET, target.name);
    part->queue = target_queue(space, event.header.app, TARGET_TICKET, target.name,
                               shard_get_options(worker->shard)->queues);
    return event_encode(&part->event, &event, &target, &key, 1, NULL, 0);
}

static int publish(struct worker *worker, struct session *session, enum event_kind kind,
                   void (*on_done)(struct publish *publish))
{
    struct publish *made = publish_create(1);
    struct ticket_publish *owner = mem_alloc(sizeof(*owner));
    if (!made || !owner || encode(&made->parts[0], worker, session, kind)) {
        publish_destroy(made);
        mem_free(owner);
        return ERR_NO_MEMORY;
    }
    *owner = (struct ticket_publish){worker, shard_session_slot(worker->shard, session),
                                     session->generation};
    made->owner = owner;
    made->on_done = on_done;
    made->keeps = made->stays = kind == EVENT_CLAIM; /* which claim is first: one queue must say */
    made->deadline_ms = worker_now_ms(worker) + worker->settings->bus.publish_timeout_ms;
    gateway_publish(worker, made);
    return 0;
}

/* The session that it was for, if it is still there; frees both. *out_err: 0, or why it failed. */
static struct session *end_publish(struct publish *publish, struct worker **out_worker,
                                   int *out_err)
{
    struct ticket_publish owner = *(struct ticket_publish *)publish->owner;
    *out_worker = owner.worker;
    *out_err = publish->verdict == PUBLISH_ACCEPTED ? 0 : publish->err;
    mem_free(publish->owner);
    publish_destroy(publish);
    struct session *session = shard_session_find(owner.worker->shard, owner.slot, owner.generation);
    return session && session->state != SESSION_ENDED && ws_ticket_of(owner.worker, session)
               ? session
               : NULL;
}

/* ---- the claim ---- */

static void refuse(struct worker *worker, struct session *session, const char *reason,
                   uint16_t close_code)
{
    stats_ticket_refused(&worker->tenants->items[session->app], reason);
    ws_session_doom(worker, session, close_code);
}

static void on_claimed(struct publish *publish)
{
    struct worker *worker;
    int err;
    struct session *session = end_publish(publish, &worker, &err);
    if (session && err) {
        refuse(worker, session, err == ERR_TOO_MANY ? "kept_budget" : "bus", WS_CLOSE_OVERLOADED);
    }
}

static bool keep_resume(struct ws_ticket *ticket, const struct session_resume *resume)
{
    ticket->resume = resume ? mem_alloc(sizeof(*resume)) : NULL;
    if (ticket->resume) {
        *ticket->resume = *resume;
    }
    return !resume || ticket->resume;
}

void ws_ticket_claim(struct worker *worker, struct session *session,
                     const struct session_resume *resume)
{
    struct ws_ticket *ticket = ws_ticket_of(worker, session);
    ticket->claim_until_ms = worker_now_ms(worker) + worker->settings->limits.hello_timeout_ms;
    if (!keep_resume(ticket, resume) || publish(worker, session, EVENT_CLAIM, on_claimed)) {
        ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        return;
    }
    ws_session_touch(worker, session);
}

static void on_won(struct worker *worker, struct session *session)
{
    struct ws_ticket *ticket = ws_ticket_of(worker, session);
    if (ticket->is_won) {
        return;
    }
    ticket->is_won = true;
    ticket->claim_until_ms = 0;
    stats_ticket(&worker->tenants->items[session->app], STATS_TICKET_CLAIMED);
    ws_protocol_start(worker, session, ticket->resume);
    mem_free(ticket->resume);
    ticket->resume = NULL;
}

struct ready_call {
    struct mail mail;
    struct hub *hub;
    struct ticket_holder holder;
};

/* Inside the hub's gate. */
static void run_ready(struct mail *mail)
{
    struct ready_call *call = MAIL_OWNER(mail, struct ready_call, mail);
    hub_ticket_ready(call->hub, &call->holder);
    mem_free(call);
}

void ws_ticket_on_start(struct worker *worker, struct session *session)
{
    const struct ws_ticket *ticket = ws_ticket_of(worker, session);
    struct ready_call *call = ticket ? mem_zalloc(sizeof(*call)) : NULL;
    if (!call) {
        if (ticket) {
            ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        }
        return;
    }
    call->mail.run = run_ready;
    call->hub = worker->gateway->hub;
    call->holder = (struct ticket_holder){
        .key = target_key(&worker->gateway->keys.space, shard_app_hash(worker->shard, session->app),
                          TARGET_TICKET, str_of(ticket->id)),
        .worker = worker->index,
        .slot = shard_session_slot(worker->shard, session),
        .generation = session->generation};
    worker_send_to_hub(worker, &call->mail);
}

/* ---- the last message ---- */

/* Until the end is known to be out, it is tried again. */
static void on_ended(struct publish *publish)
{
    struct worker *worker;
    int err;
    struct session *session = end_publish(publish, &worker, &err);
    if (session && err) {
        ws_ticket_of(worker, session)->end_again_ms = worker_now_ms(worker) + END_AGAIN_MS;
        ws_session_touch(worker, session);
    }
}

static void end_ticket(struct worker *worker, struct session *session)
{
    struct ws_ticket *ticket = ws_ticket_of(worker, session);
    ticket->waits_for_queue = false;
    ticket->end_again_ms = 0;
    if (publish(worker, session, EVENT_TICKET_END, on_ended)) {
        ticket->end_again_ms = worker_now_ms(worker) + END_AGAIN_MS;
        ws_session_touch(worker, session);
    }
}

/* The last message has reached the page. */
static void finish(struct worker *worker, struct session *session)
{
    stats_ticket(&worker->tenants->items[session->app], STATS_TICKET_DONE);
    end_ticket(worker, session);
}

/* A raw session confirms nothing: for it, written is. */
static void await_end(struct worker *worker, struct session *session, const struct message *message)
{
    struct ws_ticket *ticket = ws_ticket_of(worker, session);
    if (session->flags & WS_IS_V1) {
        mem_free(ticket->final_id);
        ticket->final_id = mem_strndup(message->event.id.ptr, message->event.id.len);
        if (!ticket->final_id) {
            ws_session_doom(worker, session, WS_CLOSE_OVERLOADED);
        }
    } else if (session->out) {
        ticket->waits_for_queue = true;
        ws_session_touch(worker, session);
    } else {
        finish(worker, session);
    }
}

void ws_ticket_on_ack(struct worker *worker, struct session *session, struct str id)
{
    struct ws_ticket *ticket = ws_ticket_of(worker, session);
    if (ticket && ticket->final_id && str_equal(str_of(ticket->final_id), id)) {
        mem_free(ticket->final_id);
        ticket->final_id = NULL;
        finish(worker, session);
    }
}

void ws_ticket_on_drop(struct ws_ticket *ticket)
{
    mem_free(ticket->final_id);
    ticket->final_id = NULL;
    ticket->waits_for_queue = false;
}

/* ---- messages ---- */

/* One that the page has and that is cancelled is not the last any more. */
static void note_cancel(struct ws_ticket *ticket, const struct event *event)
{
    if (event->kind == EVENT_REVOKE && ticket->final_id &&
        str_equal(event->subject, str_of(ticket->final_id))) {
        ws_ticket_on_drop(ticket);
    }
}

static bool is_expired(const struct worker *worker, const struct message *message)
{
    return message->expires_ms && message->expires_ms <= worker_now_ms(worker);
}

/* What is held over is kept by the hub, too: it is there for who comes next. */
static void deliver(struct worker *worker, struct session *session, struct ticket_news *news)
{
    bool can = (session->state == SESSION_LIVE || session->state == SESSION_REPLAYING) &&
               !(session->flags & (WS_IS_DOOMED | WS_IS_CLOSING));
    const struct message *message = news->message;
    if (!can || is_expired(worker, message)) {
        return;
    }
    note_cancel(ws_ticket_of(worker, session), &message->event);
    enum session_delivery result = shard_deliver(worker->shard, session, news->message);
    ticket_news_report(news, true, result == SESSION_WRITTEN);
    if (result != SESSION_DROPPED && message->event.header.flags & EVENT_IS_FINAL) {
        await_end(worker, session, message);
    }
}

/* As a replay: all that waits at once could be more than a session's queue may hold. */
static bool has_room_for(const struct worker *worker, const struct session *session,
                         const struct message *message)
{
    const struct out_queue *queue = session->out;
    uint64_t limit = worker->settings->limits.session_queue_bytes;
    return !queue || (queue->bytes < limit / 2 && queue->bytes + message->size <= limit);
}

static bool may_send_first(const struct worker *worker, const struct session *session,
                           const struct mail_chain *waiting)
{
    return waiting->first &&
           has_room_for(worker, session,
                        MAIL_OWNER(waiting->first, struct ticket_news, mail)->message);
}

void ws_ticket_continue(struct worker *worker, struct session *session)
{
    struct ws_ticket *ticket = ws_ticket_of(worker, session);
    if (!ticket || ticket->is_sending) {
        return; /* a message that fills the queue sends the queue */
    }
    ticket->is_sending = true;
    while (may_send_first(worker, session, &ticket->waiting)) {
        struct ticket_news *news = take_first(&ticket->waiting);
        ticket->waiting_count--;
        deliver(worker, session, news);
        ticket_news_destroy(news);
    }
    ticket->is_sending = false;
}

/* The news cancels the message or takes its place. */
static bool takes_out(const struct ticket_news *news, const struct ticket_news *waiting)
{
    const struct event *event = &news->message->event;
    const struct event *older = &waiting->message->event;
    if (older->kind != EVENT_MESSAGE) {
        return false;
    }
    return event->kind == EVENT_REVOKE
               ? str_equal(event->subject, older->id)
               : event->collapse.len && str_equal(event->collapse, older->collapse);
}

/* And what is past its ttl. True: something was that the news is about. */
static bool take_out(const struct worker *worker, struct ws_ticket *ticket,
                     const struct ticket_news *news)
{
    struct mail_chain all = ticket->waiting;
    bool has_found = false;
    ticket->waiting = (struct mail_chain){0};
    while (all.first) {
        struct ticket_news *waiting = take_first(&all);
        bool is_meant = takes_out(news, waiting);
        has_found |= is_meant;
        if (is_meant || is_expired(worker, waiting->message)) {
            ticket->waiting_count--;
            ticket_news_destroy(waiting);
        } else {
            mail_chain_add(&ticket->waiting, &waiting->mail);
        }
    }
    return has_found;
}

/* What a page that hardly reads is handed may go on while the hub forgets what is past its ttl. */
static void take_message(struct worker *worker, struct session *session, struct ticket_news *news)
{
    struct ws_ticket *ticket = ws_ticket_of(worker, session);
    const struct event *event = &news->message->event;
    uint64_t most = 2 * worker->settings->limits.ticket_messages;
    bool looks = event->kind == EVENT_REVOKE || event->collapse.len || ticket->waiting_count > most;
    if (looks && take_out(worker, ticket, news) && event->kind == EVENT_REVOKE) {
        ticket_news_destroy(news); /* the page never had it */
        return;
    }
    if (ticket->waiting_count > most) {
        ws_session_doom(worker, session, WS_CLOSE_SLOW);
    }
    mail_chain_add(&ticket->waiting, &news->mail);
    ticket->waiting_count++;
    ws_ticket_continue(worker, session);
}

/* ---- what the hub tells ---- */

static void take_news(struct worker *worker, struct session *session, struct ticket_news *news)
{
    switch (news->kind) {
    case TICKET_WON: on_won(worker, session); break;
    case TICKET_USED: refuse(worker, session, "ticket_used", WS_CLOSE_TICKET_DONE); break;
    case TICKET_EXPIRED: refuse(worker, session, "ticket_expired", WS_CLOSE_TICKET_DONE); break;
    case TICKET_NO_ROOM: refuse(worker, session, "kept_budget", WS_CLOSE_OVERLOADED); break;
    case TICKET_REPLACED: ws_session_doom(worker, session, WS_CLOSE_REPLACED); break;
    case TICKET_ENDED: ws_session_doom(worker, session, WS_CLOSE_TICKET_DONE); break;
    case TICKET_MESSAGE: take_message(worker, session, news); return;
    }
    ticket_news_destroy(news);
}

void ws_ticket_run_news(struct mail *mail)
{
    struct ticket_news *news = MAIL_OWNER(mail, struct ticket_news, mail);
    struct worker *worker = worker_current(); /* NULL: all is being torn down */
    struct session *session = worker
                                  ? shard_session_find(worker->shard, news->slot, news->generation)
                                  : NULL;
    if (session && session->state != SESSION_ENDED && ws_ticket_of(worker, session)) {
        take_news(worker, session, news);
    } else {
        ticket_news_destroy(news);
    }
}

/* ---- deadlines ---- */

static bool is_over(const struct ws_ticket *ticket, uint64_t *out_left_ms)
{
    uint64_t now_ms = clock_wall_ms();
    *out_left_ms = ticket->expires_ms > now_ms ? ticket->expires_ms - now_ms : 0;
    return *out_left_ms == 0;
}

static void try_end(struct worker *worker, struct session *session)
{
    const struct ws_ticket *ticket = ws_ticket_of(worker, session);
    if (ticket->waits_for_queue && !session->out) {
        finish(worker, session);
    } else if (ticket->end_again_ms && worker_now_ms(worker) >= ticket->end_again_ms) {
        end_ticket(worker, session);
    }
}

uint64_t ws_ticket_check(struct worker *worker, struct session *session)
{
    const struct ws_ticket *ticket = ws_ticket_of(worker, session);
    uint64_t left_ms;
    if (!ticket) {
        return UINT64_MAX;
    }
    if (is_over(ticket, &left_ms)) {
        ws_session_doom(worker, session, WS_CLOSE_TICKET_DONE);
        return UINT64_MAX;
    }
    if (ticket->claim_until_ms && worker_now_ms(worker) >= ticket->claim_until_ms) {
        refuse(worker, session, "claim_timeout", WS_CLOSE_OVERLOADED);
        return UINT64_MAX;
    }
    try_end(worker, session);
    bool is_soon = ticket->claim_until_ms || ticket->waits_for_queue || ticket->end_again_ms;
    uint64_t most = is_soon ? LOOK_MS : 30000; /* the wall clock may be set */
    return left_ms < most ? left_ms + 1 : most;
}
