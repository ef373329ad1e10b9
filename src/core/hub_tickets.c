#include "core/tickets.h"

#include "base/err.h"
#include "base/mem.h"
#include "core/hub_private.h"
#include "core/receipt.h"
#include "core/sid.h"
#include "core/ticket_id.h"

/* One that somebody has claimed, pushed to or ended, until it expires. */
struct hub_ticket {
    uint64_t key;
    struct kept_entry *claim; /* the one that binds it */
    struct kept_entry *end;
    struct kept_entry *first, *last; /* messages, in the order of their queue */
    struct kept_entry *final;
    uint32_t message_count;
    uint32_t serial; /* of the holder: messages marked with it were handed to it */
    struct ticket_holder holder;
    bool has_holder; /* of this node */
    bool is_ready;
};

/* ---- the table ---- */

static struct hub_ticket *find(const struct hub *hub, uint64_t key)
{
    uint64_t *place = u64map_find(&hub->tickets, key);
    return place ? (struct hub_ticket *)(uintptr_t)*place : NULL;
}

static struct hub_ticket *find_or_add(struct hub *hub, uint64_t key)
{
    struct hub_ticket *ticket = find(hub, key);
    if (ticket) {
        return ticket;
    }
    ticket = mem_zalloc(sizeof(*ticket));
    uint64_t *place = ticket ? u64map_put(&hub->tickets, key) : NULL;
    if (!place) {
        mem_free(ticket);
        return NULL;
    }
    *place = (uint64_t)(uintptr_t)ticket;
    ticket->key = key;
    mem_account(MEM_KEPT, sizeof(*ticket));
    return ticket;
}

/* Nothing of it is kept: all nodes see it as before. */
static void remove_if_unused(struct hub *hub, struct hub_ticket *ticket)
{
    if (!ticket->claim && !ticket->end && !ticket->first) {
        u64map_remove(&hub->tickets, ticket->key);
        mem_account(MEM_KEPT, -(int64_t)sizeof(*ticket));
        mem_free(ticket);
    }
}

static void unlink_message(struct hub_ticket *ticket, struct kept_entry *entry)
{
    struct kept_entry *before = NULL;
    for (struct kept_entry *at = ticket->first; at != entry; at = at->next) {
        before = at;
    }
    *(before ? &before->next : &ticket->first) = entry->next;
    ticket->last = ticket->last == entry ? before : ticket->last;
    ticket->final = ticket->final == entry ? NULL : ticket->final;
    ticket->message_count--;
}

void hub_ticket_on_expire(struct hub *hub, struct kept_entry *entry)
{
    struct hub_ticket *ticket = entry->owner;
    switch (entry->kind) {
    case KEPT_CLAIM: ticket->claim = NULL; break;
    case KEPT_END: ticket->end = NULL; break;
    case KEPT_RESULT: unlink_message(ticket, entry); break;
    default: return;
    }
    remove_if_unused(hub, ticket);
}

void hub_tickets_destroy(struct hub *hub)
{
    size_t at = 0;
    for (struct u64map_entry *entry = u64map_next(&hub->tickets, &at); entry;
         entry = u64map_next(&hub->tickets, &at)) {
        mem_account(MEM_KEPT, -(int64_t)sizeof(struct hub_ticket));
        mem_free((void *)(uintptr_t)entry->value);
    }
    u64map_fini(&hub->tickets);
}

/* ---- to the workers ---- */

static void close_receipt(struct ticket_news *news)
{
    if (news->message && news->message->receipt) {
        receipt_close(news->message->receipt);
    }
}

void ticket_news_destroy(struct ticket_news *news)
{
    close_receipt(news);
    message_unref(news->message);
    mem_free(news);
}

void ticket_news_report(struct ticket_news *news, bool is_matched, bool is_written)
{
    struct receipt *receipt = news->message->receipt;
    if (receipt) {
        atomic_fetch_add_explicit(&receipt->matched, is_matched, memory_order_relaxed);
        atomic_fetch_add_explicit(&receipt->written, is_written, memory_order_relaxed);
    }
}

static void run_nothing(struct mail *mail)
{
    ticket_news_destroy(MAIL_OWNER(mail, struct ticket_news, mail));
}

/* False: no memory; the message is still the caller's. */
static bool tell(struct hub *hub, const struct ticket_holder *holder, enum ticket_news_kind kind,
                 struct message *message)
{
    struct ticket_news *news = mem_zalloc(sizeof(*news));
    if (!news) {
        return false;
    }
    *news = (struct ticket_news){
        .kind = kind, .slot = holder->slot, .generation = holder->generation, .message = message};
    news->mail.run = hub->callbacks->run_ticket_news ? hub->callbacks->run_ticket_news
                                                     : run_nothing;
    hub_give_back(hub, holder->worker, &news->mail);
    return true;
}

static void drop_holder(struct hub *hub, struct hub_ticket *ticket, enum ticket_news_kind why)
{
    if (ticket->has_holder) {
        tell(hub, &ticket->holder, why, NULL); /* without memory it ends when the ticket expires */
    }
    ticket->has_holder = ticket->is_ready = false;
}

/* What the holder does not have yet. Where memory is out it gets it at a tick. */
static void hand_over(struct hub *hub, struct hub_ticket *ticket)
{
    for (struct kept_entry *entry = ticket->is_ready ? ticket->first : NULL; entry;
         entry = entry->next) {
        if (entry->mark == ticket->serial) {
            continue;
        }
        if (!tell(hub, &ticket->holder, TICKET_MESSAGE, message_ref(entry->message))) {
            message_unref(entry->message);
            hub->tickets_are_short = true;
            return;
        }
        entry->mark = ticket->serial;
    }
}

void hub_tickets_tick(struct hub *hub)
{
    size_t at = 0;
    if (!hub->tickets_are_short) {
        return;
    }
    hub->tickets_are_short = false;
    for (struct u64map_entry *entry = u64map_next(&hub->tickets, &at); entry;
         entry = u64map_next(&hub->tickets, &at)) {
        hand_over(hub, (struct hub_ticket *)(uintptr_t)entry->value);
    }
}

static bool is_holder(const struct hub_ticket *ticket, const struct ticket_holder *holder)
{
    return ticket->has_holder && ticket->holder.worker == holder->worker &&
           ticket->holder.slot == holder->slot && ticket->holder.generation == holder->generation;
}

void hub_ticket_ready(struct hub *hub, const struct ticket_holder *holder)
{
    struct hub_ticket *ticket = find(hub, holder->key);
    if (ticket && is_holder(ticket, holder)) {
        ticket->is_ready = true;
        hand_over(hub, ticket);
    }
}

void hub_ticket_look(const struct hub *hub, uint64_t key, struct ticket_look *out_look)
{
    const struct hub_ticket *ticket = find(hub, key);
    *out_look = (struct ticket_look){TICKET_IS_WAITING, 0};
    if (ticket) {
        out_look->state = ticket->end     ? TICKET_IS_DONE
                          : ticket->claim ? TICKET_IS_CLAIMED
                                          : TICKET_IS_WAITING;
        out_look->messages = ticket->message_count;
    }
}

/* ---- claims ---- */

static struct kept_offer offer_of(const struct hub *hub, const struct arrival *arrival,
                                  enum kept_kind kind, uint64_t key, uint64_t expires_ms)
{
    return (struct kept_offer){.encoded = arrival->encoded,
                               .event = &arrival->event,
                               .queue = arrival->queue,
                               .first = arrival->pos,
                               .kind = kind,
                               .key = key,
                               .expires_ms = expires_ms,
                               .now_ms = hub->now_ms,
                               .wall_ms = hub_wall_ms(hub)};
}

static struct str name_of(const struct event *event)
{
    struct str rest = event->target_bytes;
    struct target target = {TARGET_TICKET, STR("")};
    event_next_target(&rest, &target);
    return target.name;
}

/* Whether the claimer is a session of this node. */
static bool claimer_of(const struct hub *hub, const struct event *event,
                       struct ticket_holder *out_holder)
{
    struct sid sid;
    if (!sid_parse(&sid, &hub->options.sid_key, event->subject) || sid.node != hub->options.boot ||
        sid.worker >= hub->options.workers) {
        return false;
    }
    *out_holder = (struct ticket_holder){event->header.key, sid.worker, sid.slot, sid.generation};
    return true;
}

/* One that is told again stood before the one that this node took for the first. */
static bool precedes(const struct arrival *arrival, const struct kept_entry *claim)
{
    const struct message *message = claim->message;
    return arrival->queue == message->queue && bus_pos_compare(arrival->pos, message->pos) < 0;
}

static bool is_same_claim(const struct arrival *arrival, const struct kept_entry *claim)
{
    return str_equal(arrival->event.data, claim->message->event.data);
}

static void unbind(struct hub *hub, struct hub_ticket *ticket)
{
    drop_holder(hub, ticket, TICKET_USED);
    kept_drop(hub->kept, ticket->claim);
    ticket->claim = NULL;
}

/* TICKET_WON: it binds the ticket or is the same as the one that does. */
static enum ticket_news_kind judge_claim(struct hub *hub, struct hub_ticket *ticket,
                                         const struct arrival *arrival, bool is_again)
{
    if (ticket->end) {
        return TICKET_USED;
    }
    if (ticket->claim && !is_same_claim(arrival, ticket->claim)) {
        if (!is_again || !precedes(arrival, ticket->claim)) {
            return TICKET_USED;
        }
        unbind(hub, ticket);
    }
    struct kept_entry *entry;
    struct kept_offer offer = offer_of(hub, arrival, KEPT_CLAIM, ticket->key,
                                       ticket_id_expires_ms(name_of(&arrival->event)));
    if (ticket->claim && !str_equal(arrival->event.id, ticket->claim->message->event.id)) {
        return TICKET_WON; /* the first is kept, and no reload after it */
    }
    switch (kept_take(hub->kept, &offer, &entry)) {
    case KEPT_NEW:
        entry->owner = ticket;
        ticket->claim = entry;
        return TICKET_WON;
    case KEPT_KNOWN: return TICKET_WON;
    case KEPT_EXPIRED: return TICKET_EXPIRED;
    case KEPT_FULL:
    case KEPT_NO_MEMORY: break;
    }
    return TICKET_NO_ROOM;
}

static void bind_holder(struct hub *hub, struct hub_ticket *ticket,
                        const struct ticket_holder *holder)
{
    if (holder && is_holder(ticket, holder)) {
        return; /* its claim came twice */
    }
    drop_holder(hub, ticket, TICKET_REPLACED);
    if (holder) {
        ticket->has_holder = true;
        ticket->holder = *holder;
        ticket->serial++;
        tell(hub, holder, TICKET_WON, NULL); /* without memory it waits in vain, and comes again */
    }
}

static void on_claim(struct hub *hub, const struct arrival *arrival, bool is_again)
{
    struct ticket_holder holder;
    bool is_own = !is_again && claimer_of(hub, &arrival->event, &holder);
    struct hub_ticket *ticket = find_or_add(hub, arrival->event.header.key);
    enum ticket_news_kind verdict = ticket ? judge_claim(hub, ticket, arrival, is_again)
                                           : TICKET_NO_ROOM;
    if (verdict == TICKET_WON && !is_again) {
        bind_holder(hub, ticket, is_own ? &holder : NULL);
    } else if (is_own && verdict != TICKET_WON) {
        tell(hub, &holder, verdict, NULL);
    }
    if (ticket) {
        remove_if_unused(hub, ticket);
    }
}

/* ---- the end ---- */

static void free_messages(struct hub *hub, struct hub_ticket *ticket)
{
    while (ticket->first) {
        struct kept_entry *entry = ticket->first;
        unlink_message(ticket, entry);
        kept_drop(hub->kept, entry);
    }
}

static void end_ticket(struct hub *hub, struct hub_ticket *ticket)
{
    drop_holder(hub, ticket, TICKET_ENDED);
    free_messages(hub, ticket);
    if (ticket->claim) {
        kept_drop(hub->kept, ticket->claim);
        ticket->claim = NULL;
    }
}

static void on_end(struct hub *hub, const struct arrival *arrival)
{
    struct hub_ticket *ticket = find_or_add(hub, arrival->event.header.key);
    struct kept_entry *entry;
    if (!ticket) {
        return; /* the others tell it again */
    }
    end_ticket(hub, ticket);
    struct kept_offer offer = offer_of(hub, arrival, KEPT_END, ticket->key,
                                       ticket_id_expires_ms(name_of(&arrival->event)));
    if (!ticket->end && kept_take(hub->kept, &offer, &entry) == KEPT_NEW) {
        entry->owner = ticket;
        ticket->end = entry;
    } else if (ticket->end && str_equal(arrival->event.id, ticket->end->message->event.id)) {
        kept_take(hub->kept, &offer, &entry); /* is seen */
    }
    remove_if_unused(hub, ticket);
}

void hub_ticket_on_event(struct hub *hub, const struct arrival *arrival, bool is_again)
{
    if (arrival->event.kind == EVENT_CLAIM) {
        on_claim(hub, arrival, is_again);
    } else {
        on_end(hub, arrival);
    }
}

/* ---- messages ---- */

static bool is_behind(const struct message *message, const struct kept_entry *final)
{
    return final && (message->queue != final->message->queue ||
                     bus_pos_compare(message->pos, final->message->pos) > 0);
}

/* One that this node hears of late goes where it belongs. */
static void link_message(struct hub_ticket *ticket, struct kept_entry *entry)
{
    struct kept_entry *before = ticket->last;
    if (before && before->message->queue == entry->message->queue &&
        bus_pos_compare(entry->message->pos, before->message->pos) < 0) {
        before = NULL;
        for (struct kept_entry *at = ticket->first;
             at && bus_pos_compare(at->message->pos, entry->message->pos) < 0; at = at->next) {
            before = at;
        }
    }
    struct kept_entry **link = before ? &before->next : &ticket->first;
    entry->next = *link;
    *link = entry;
    ticket->last = entry->next ? ticket->last : entry;
    ticket->message_count++;
    if (entry->message->event.header.flags & EVENT_IS_FINAL && !ticket->final) {
        ticket->final = entry;
    }
}

/* For a push that waits for its receipt: a message of its own, which carries it. */
static void hand_over_counted(struct hub *hub, struct hub_ticket *ticket, struct kept_entry *entry,
                              struct receipt *receipt)
{
    const struct message *kept = entry->message;
    struct message *message = message_create(message_encoded(kept), &kept->event, kept->queue,
                                             kept->pos);
    if (!message) {
        return; /* goes with the rest, and is not counted */
    }
    message->receipt = receipt_ref(receipt);
    message->received_us = kept->received_us;
    receipt_open(receipt);
    if (tell(hub, &ticket->holder, TICKET_MESSAGE, message)) {
        entry->mark = ticket->serial;
    } else {
        receipt_close(receipt);
        message_unref(message);
    }
}

static void add_message(struct hub *hub, struct hub_ticket *ticket, const struct arrival *arrival,
                        uint64_t expires_ms, struct receipt *receipt)
{
    struct kept_entry *entry;
    struct kept_offer offer = offer_of(hub, arrival, KEPT_RESULT, ticket->key, expires_ms);
    if (kept_take(hub->kept, &offer, &entry) != KEPT_NEW) {
        return;
    }
    entry->owner = ticket;
    entry->mark = ticket->serial - 1;
    entry->message->received_us = hub->now_us;
    if (is_behind(entry->message, ticket->final)) {
        kept_drop(hub->kept, entry);
        return;
    }
    link_message(ticket, entry);
    if (receipt && ticket->is_ready && !hub->tickets_are_short) {
        hand_over_counted(hub, ticket, entry, receipt);
    }
    hand_over(hub, ticket);
}

static uint64_t expires_of_message(const struct event *event, struct str id)
{
    uint64_t expires_ms = ticket_id_expires_ms(id);
    uint64_t ttl_ends_ms = event->time_ms + event->header.ttl_ms;
    return event->header.ttl_ms && ttl_ends_ms < expires_ms ? ttl_ends_ms : expires_ms;
}

static void take_message(struct hub *hub, const struct arrival *arrival, uint64_t key,
                         struct str id, struct receipt *receipt)
{
    struct hub_ticket *ticket = find_or_add(hub, key);
    if (!ticket) {
        hub_count(&kept_get_stats(hub->kept)->lost, 1);
        return;
    }
    if (!ticket->end) {
        add_message(hub, ticket, arrival, expires_of_message(&arrival->event, id), receipt);
    }
    remove_if_unused(hub, ticket);
}

/* As if the ticket were its only target. */
static void take_message_apart(struct hub *hub, const struct arrival *arrival, uint64_t key,
                               const struct target *target, struct receipt *receipt)
{
    struct arrival alone = *arrival;
    struct buf wire = {0};
    size_t skip;
    if (event_encode(&wire, &arrival->event, target, &key, 1, NULL, 0)) {
        hub_count(&kept_get_stats(hub->kept)->lost, 1);
    } else {
        alone.encoded = buf_str(&wire);
        ssize_t len = event_decode(&alone.event, wire.data, wire.len, &skip);
        ASSERT(len > 0);
        take_message(hub, &alone, key, target->name, receipt);
    }
    buf_fini(&wire);
}

static bool has_tickets(const struct event *event)
{
    for (size_t i = 0; i < event->header.target_count; i++) {
        if (target_key_kind(event_key(event, i)) == TARGET_TICKET) {
            return true;
        }
    }
    return false;
}

void hub_ticket_on_message(struct hub *hub, const struct arrival *arrival, struct receipt *receipt)
{
    const struct event *event = &arrival->event;
    struct str rest = event->target_bytes;
    struct target target;
    if (event->kind != EVENT_MESSAGE || !has_tickets(event)) {
        return;
    }
    for (size_t i = 0; event_next_target(&rest, &target); i++) {
        if (target.kind != TARGET_TICKET) {
            continue;
        }
        if (event->header.target_count == 1) {
            take_message(hub, arrival, event_key(event, i), target.name, receipt);
        } else {
            take_message_apart(hub, arrival, event_key(event, i), &target, receipt);
        }
    }
}

/* ---- pushes ---- */

/* A push of before that is tried again is answered as it was. */
static bool came_before(const struct hub *hub, const struct event *event)
{
    return event->header.flags & EVENT_HAS_ID && u64map_find(&hub->ids, event->id_hash);
}

int hub_ticket_admit(const struct hub *hub, const struct event *event, uint32_t *out_tickets)
{
    for (size_t i = 0; i < event->header.target_count; i++) {
        uint64_t key = event_key(event, i);
        if (target_key_kind(key) != TARGET_TICKET) {
            continue;
        }
        const struct hub_ticket *ticket = find(hub, key);
        if (ticket && (ticket->end || ticket->final) && !came_before(hub, event)) {
            return ERR_CLOSED;
        }
        ++*out_tickets;
    }
    return 0;
}
