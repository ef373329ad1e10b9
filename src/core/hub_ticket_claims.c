/* Who has a ticket: the first claim in queue order, on every node; and its end. */
#include "core/hub_tickets_private.h"
#include "core/sid.h"
#include "core/ticket_id.h"

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
    ticket_drop_holder(hub, ticket, TICKET_USED);
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
    struct kept_offer offer = hub_kept_offer(hub, arrival, KEPT_CLAIM, ticket->key,
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
    if (holder && ticket_is_holder(ticket, holder)) {
        return; /* its claim came twice */
    }
    ticket_drop_holder(hub, ticket, TICKET_REPLACED);
    if (holder) {
        ticket->has_holder = true;
        ticket->holder = *holder;
        ticket->serial++;
        ticket->unsent = ticket->first;
        ticket_tell(hub, holder, TICKET_WON,
                    NULL); /* without memory it waits in vain, and comes again */
    }
}

static void on_claim(struct hub *hub, const struct arrival *arrival, bool is_again)
{
    struct ticket_holder holder;
    bool is_own = !is_again && claimer_of(hub, &arrival->event, &holder);
    struct hub_ticket *ticket = ticket_find_or_add(hub, arrival->event.header.key);
    enum ticket_news_kind verdict = ticket ? judge_claim(hub, ticket, arrival, is_again)
                                           : TICKET_NO_ROOM;
    if (verdict == TICKET_WON && !is_again) {
        bind_holder(hub, ticket, is_own ? &holder : NULL);
    } else if (is_own && verdict != TICKET_WON) {
        ticket_tell(hub, &holder, verdict, NULL);
    }
    if (ticket) {
        ticket_remove_if_unused(hub, ticket);
    }
}

/* ---- the end ---- */

static void free_messages(struct hub *hub, struct hub_ticket *ticket)
{
    while (ticket->first) {
        struct kept_entry *entry = ticket->first;
        ticket_unlink_message(ticket, entry);
        kept_drop(hub->kept, entry);
    }
}

static void end_ticket(struct hub *hub, struct hub_ticket *ticket)
{
    ticket_drop_holder(hub, ticket, TICKET_ENDED);
    free_messages(hub, ticket);
    if (ticket->claim) {
        kept_drop(hub->kept, ticket->claim);
        ticket->claim = NULL;
    }
}

/* It may have the room of the claim, which it makes void. */
static enum kept_verdict keep_end(struct hub *hub, struct hub_ticket *ticket,
                                  const struct arrival *arrival)
{
    struct kept_entry *entry;
    struct kept_offer offer = hub_kept_offer(hub, arrival, KEPT_END, ticket->key,
                                             ticket_id_expires_ms(name_of(&arrival->event)));
    enum kept_verdict verdict = kept_take(hub->kept, &offer, &entry);
    if (verdict == KEPT_FULL && ticket->claim) {
        kept_drop(hub->kept, ticket->claim);
        ticket->claim = NULL;
        verdict = kept_take(hub->kept, &offer, &entry);
    }
    if (verdict == KEPT_NEW) {
        entry->owner = ticket;
        ticket->end = entry;
    }
    return verdict;
}

/* One that can't be kept ends nothing: it would be claimed again. */
static void on_end(struct hub *hub, const struct arrival *arrival)
{
    struct hub_ticket *ticket = ticket_find_or_add(hub, arrival->event.header.key);
    if (!ticket) {
        return; /* the others tell it again */
    }
    bool is_other = ticket->end && !str_equal(arrival->event.id, ticket->end->message->event.id);
    enum kept_verdict verdict = is_other ? KEPT_KNOWN : keep_end(hub, ticket, arrival);
    if (verdict == KEPT_NEW || verdict == KEPT_EXPIRED) {
        end_ticket(hub, ticket);
    }
    ticket_remove_if_unused(hub, ticket);
}

void hub_ticket_on_event(struct hub *hub, const struct arrival *arrival, bool is_again)
{
    if (arrival->event.kind == EVENT_CLAIM) {
        on_claim(hub, arrival, is_again);
    } else {
        on_end(hub, arrival);
    }
}
