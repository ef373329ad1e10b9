#include "core/tickets.h"

#include "base/err.h"
#include "base/mem.h"
#include "core/hub_tickets_private.h"
#include "core/receipt.h"

/* ---- the table ---- */

struct hub_ticket *ticket_find(const struct hub *hub, uint64_t key)
{
    uint64_t *place = u64map_find(&hub->tickets, key);
    return place ? (struct hub_ticket *)(uintptr_t)*place : NULL;
}

struct hub_ticket *ticket_find_or_add(struct hub *hub, uint64_t key)
{
    struct hub_ticket *ticket = ticket_find(hub, key);
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

void ticket_remove_if_unused(struct hub *hub, struct hub_ticket *ticket)
{
    if (!ticket->claim && !ticket->end && !ticket->first) {
        u64map_remove(&hub->tickets, ticket->key);
        mem_account(MEM_KEPT, -(int64_t)sizeof(*ticket));
        mem_free(ticket);
    }
}

void ticket_unlink_message(struct hub_ticket *ticket, struct kept_entry *entry)
{
    *(entry->prev ? &entry->prev->next : &ticket->first) = entry->next;
    *(entry->next ? &entry->next->prev : &ticket->last) = entry->prev;
    ticket->unsent = ticket->unsent == entry ? entry->next : ticket->unsent;
    ticket->final = ticket->final == entry ? NULL : ticket->final;
    ticket->message_count--;
}

void hub_ticket_on_expire(struct hub *hub, struct kept_entry *entry)
{
    struct hub_ticket *ticket = entry->owner;
    switch (entry->kind) {
    case KEPT_CLAIM: ticket->claim = NULL; break;
    case KEPT_END: ticket->end = NULL; break;
    case KEPT_RESULT: ticket_unlink_message(ticket, entry); break;
    default: return;
    }
    ticket_remove_if_unused(hub, ticket);
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

bool ticket_tell(struct hub *hub, const struct ticket_holder *holder, enum ticket_news_kind kind,
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

void ticket_drop_holder(struct hub *hub, struct hub_ticket *ticket, enum ticket_news_kind why)
{
    if (ticket->has_holder) {
        ticket_tell(hub, &ticket->holder, why,
                    NULL); /* without memory it ends when the ticket expires */
    }
    ticket->has_holder = ticket->is_ready = false;
}

void ticket_hand_over(struct hub *hub, struct hub_ticket *ticket)
{
    for (struct kept_entry *entry; ticket->is_ready && (entry = ticket->unsent);
         ticket->unsent = entry->next) {
        if (entry->mark == ticket->serial) {
            continue;
        }
        if (!ticket_tell(hub, &ticket->holder, TICKET_MESSAGE, message_ref(entry->message))) {
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
    u64map_shrink(&hub->tickets);
    if (!hub->tickets_are_short) {
        return;
    }
    hub->tickets_are_short = false;
    for (struct u64map_entry *entry = u64map_next(&hub->tickets, &at); entry;
         entry = u64map_next(&hub->tickets, &at)) {
        ticket_hand_over(hub, (struct hub_ticket *)(uintptr_t)entry->value);
    }
}

bool ticket_is_holder(const struct hub_ticket *ticket, const struct ticket_holder *holder)
{
    return ticket->has_holder && ticket->holder.worker == holder->worker &&
           ticket->holder.slot == holder->slot && ticket->holder.generation == holder->generation;
}

void hub_ticket_ready(struct hub *hub, const struct ticket_holder *holder)
{
    struct hub_ticket *ticket = ticket_find(hub, holder->key);
    if (ticket && ticket_is_holder(ticket, holder)) {
        ticket->is_ready = true;
        ticket_hand_over(hub, ticket);
    }
}

void hub_ticket_look(const struct hub *hub, uint64_t key, struct ticket_look *out_look)
{
    const struct hub_ticket *ticket = ticket_find(hub, key);
    *out_look = (struct ticket_look){TICKET_IS_WAITING, 0};
    if (ticket) {
        out_look->state = ticket->end     ? TICKET_IS_DONE
                          : ticket->claim ? TICKET_IS_CLAIMED
                                          : TICKET_IS_WAITING;
        out_look->messages = ticket->message_count;
    }
}

/* ---- the list ---- */

/* What binds it names it, or what waits for it. */
static const struct event *event_of(const struct hub_ticket *ticket)
{
    const struct kept_entry *entry = ticket->claim ? ticket->claim : ticket->first;
    return entry && !ticket->end ? &entry->message->event : NULL;
}

static void show(const struct hub_ticket *ticket, uint32_t app,
                 void (*visit)(void *arg, const struct ticket_row *row), void *arg)
{
    const struct event *event = event_of(ticket);
    struct target target;
    if (!event || event->header.app != app) {
        return;
    }
    struct str rest = event->target_bytes;
    if (event_next_target(&rest, &target)) {
        struct ticket_row row = {.id = target.name,
                                 .claimed_ms = ticket->claim ? event->time_ms : 0,
                                 .messages = ticket->message_count};
        visit(arg, &row);
    }
}

size_t hub_ticket_places(const struct hub *hub)
{
    return u64map_places(&hub->tickets);
}

size_t hub_ticket_walk(const struct hub *hub, uint32_t app, size_t from, size_t steps,
                       void (*visit)(void *arg, const struct ticket_row *row), void *arg)
{
    size_t until = from > steps ? from - steps : 0;
    for (size_t at = from; at > until; at--) {
        const struct u64map_entry *entry = u64map_at(&hub->tickets, at - 1);
        if (entry) {
            show((const struct hub_ticket *)(uintptr_t)entry->value, app, visit, arg);
        }
    }
    return until;
}
