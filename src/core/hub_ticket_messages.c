/* What waits for tickets: kept one for each ticket, and handed to the session that has it. */
#include "base/err.h"
#include "core/hub_tickets_private.h"
#include "core/receipt.h"
#include "core/ticket_id.h"

static bool is_behind(const struct message *message, const struct kept_entry *final)
{
    return final && (message->queue != final->message->queue ||
                     bus_pos_compare(message->pos, final->message->pos) > 0);
}

static bool is_before(const struct kept_entry *a, const struct kept_entry *b)
{
    return a->message->queue == b->message->queue &&
           bus_pos_compare(a->message->pos, b->message->pos) < 0;
}

/* One that this node hears of late goes where it belongs. */
static void link_message(struct hub_ticket *ticket, struct kept_entry *entry)
{
    struct kept_entry *before = ticket->last;
    while (before && is_before(entry, before)) {
        before = before->prev;
    }
    entry->prev = before;
    entry->next = before ? before->next : ticket->first;
    *(before ? &before->next : &ticket->first) = entry;
    *(entry->next ? &entry->next->prev : &ticket->last) = entry;
    if (entry->next) {
        ticket->unsent = ticket->first;
    } else if (!ticket->unsent) {
        ticket->unsent = entry;
    }
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
    if (ticket_tell(hub, &ticket->holder, TICKET_MESSAGE, message)) {
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
    struct kept_offer offer = hub_kept_offer(hub, arrival, KEPT_RESULT, ticket->key, expires_ms);
    if (kept_find(hub->kept, KEPT_VOID, ticket->key, arrival->event.id)) {
        return; /* cancelled, and told again by who did not know that */
    }
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
    ticket_hand_over(hub, ticket);
}

/* Its event has the message's id. Who has the message is told; who has it not never gets it. */
static void cancel_message(struct hub *hub, struct hub_ticket *ticket,
                           const struct arrival *arrival, uint64_t expires_ms)
{
    struct kept_entry *cancelled;
    struct kept_offer offer = hub_kept_offer(hub, arrival, KEPT_VOID, ticket->key, expires_ms);
    if (kept_take(hub->kept, &offer, &cancelled) != KEPT_NEW) {
        return;
    }
    struct kept_entry *entry = kept_find(hub->kept, KEPT_RESULT, ticket->key, arrival->event.id);
    bool has_it = entry && ticket->is_ready && entry->mark == ticket->serial;
    if (has_it &&
        !ticket_tell(hub, &ticket->holder, TICKET_MESSAGE, message_ref(cancelled->message))) {
        message_unref(cancelled->message);
    }
    if (entry) {
        ticket_unlink_message(ticket, entry);
        kept_drop(hub->kept, entry);
    }
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
    struct hub_ticket *ticket = ticket_find_or_add(hub, key);
    if (!ticket) {
        hub_count(&kept_get_stats(hub->kept)->lost, 1);
        return;
    }
    uint64_t expires_ms = expires_of_message(&arrival->event, id);
    if (!ticket->end && arrival->event.kind == EVENT_REVOKE) {
        cancel_message(hub, ticket, arrival, expires_ms);
    } else if (!ticket->end) {
        add_message(hub, ticket, arrival, expires_ms, receipt);
    }
    ticket_remove_if_unused(hub, ticket);
}

/* As if the ticket were its only target. */
static void take_message_apart(struct hub *hub, const struct arrival *arrival, uint64_t key,
                               const struct target *target, struct receipt *receipt)
{
    struct arrival alone = *arrival;
    struct buf wire = {0};
    size_t skip;
    if (alone.event.kind == EVENT_REVOKE) {
        alone.event.id = alone.event.subject;
    }
    if (event_encode(&wire, &alone.event, target, &key, 1, NULL, 0)) {
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
    if (!event_kind_is_shown(event->kind) || !has_tickets(event)) {
        return;
    }
    for (size_t i = 0; event_next_target(&rest, &target); i++) {
        if (target.kind != TARGET_TICKET) {
            continue;
        }
        if (event->header.target_count == 1 && event->kind == EVENT_MESSAGE) {
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

/* A final message is always let in: the page would wait in vain. */
static int admit_to(const struct hub *hub, const struct hub_ticket *ticket,
                    const struct event *event)
{
    if (ticket->end || ticket->final) {
        return ERR_CLOSED;
    }
    bool is_full = ticket->message_count >= hub->options.ticket_messages;
    return is_full && !(event->header.flags & EVENT_IS_FINAL) ? ERR_TOO_MANY : 0;
}

int hub_ticket_admit(const struct hub *hub, const struct event *event, uint32_t *out_tickets)
{
    for (size_t i = 0; i < event->header.target_count; i++) {
        uint64_t key = event_key(event, i);
        if (target_key_kind(key) != TARGET_TICKET) {
            continue;
        }
        const struct hub_ticket *ticket = ticket_find(hub, key);
        int err = ticket && !came_before(hub, event) ? admit_to(hub, ticket, event) : 0;
        if (err) {
            return err;
        }
        ++*out_tickets;
    }
    return 0;
}
