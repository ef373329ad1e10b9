/* The receiving side of the hub: each record is cut into events; repeats are dropped; what is new
 * goes into the window and to the workers that have its target. */
#include <stdio.h>

#include "base/err.h"
#include "core/hub_private.h"
#include "core/receipt.h"
#include "core/sid.h"

/* Nobody will find it in the window any more, so those who still owed a report can't give it. */
static void close_owed(struct message *message)
{
    uint64_t owed = message_is_counted(message)
                        ? atomic_exchange_explicit(&message->owed, 0, memory_order_relaxed)
                        : 0;
    unsigned count = (unsigned)__builtin_popcountll(owed);
    if (owed && message->receipt) {
        atomic_store_explicit(&message->receipt->is_short, true, memory_order_release);
        receipt_close_many(message->receipt, count);
    }
    message_trace_close(message, count);
}

void hub_on_evict(void *owner, struct message *message)
{
    struct hub *hub = owner;
    hub_count(&hub->stats.evicted, 1);
    hub_forget_id(hub, &message->event, message->queue, message->pos);
    hub_forget_collapse(hub, message);
    receipt_remove_asker(message->receipt);
    close_owed(message);
}

static uint64_t workers_of_sid(const struct hub *hub, struct str name)
{
    struct sid sid;
    if (!sid_parse(&sid, &hub->options.sid_key, name) || sid.node != hub->options.boot ||
        sid.worker >= hub->options.workers) {
        return 0;
    }
    return 1ull << sid.worker;
}

/* Joins and parts travel on the group's queue but concern the workers that have the user. */
static uint64_t workers_of_subject(const struct hub *hub, const struct event *event)
{
    return hub_workers_of_key(
        hub, target_key(&hub->options.space, event->header.app, TARGET_USER, event->subject));
}

/* A user who has sessions on several nodes counts once. */
static void note_online(const struct hub *hub, const struct message *message, size_t index)
{
    if (hub->cluster) {
        cluster_note_online(hub->cluster, message->queue, &message->event, message->receipt, index);
    } else {
        atomic_fetch_add_explicit(&message->receipt->users_online, 1, memory_order_relaxed);
    }
}

static uint64_t workers_of_targets(const struct hub *hub, struct message *message)
{
    const struct event *event = &message->event;
    struct str rest = event->target_bytes;
    struct target target;
    uint64_t all = 0;
    for (size_t i = 0; event_next_target(&rest, &target); i++) {
        uint64_t mask = target.kind == TARGET_SESSION
                            ? workers_of_sid(hub, target.name)
                            : hub_workers_of_key(hub, event_key(event, i));
        if (mask && target.kind == TARGET_USER && message->receipt &&
            !message->receipt->is_for_later) {
            note_online(hub, message, i);
        }
        all |= mask;
    }
    return all;
}

static uint64_t workers_concerned(const struct hub *hub, struct message *message)
{
    switch (message->event.kind) {
    case EVENT_JOIN: return workers_of_subject(hub, &message->event);
    case EVENT_PART:       /* every worker refuses grants of before it */
    case EVENT_REVOCATION: /* and tokens */
        return UINT64_MAX >> (HUB_MAX_WORKERS - hub->options.workers);
    default: return workers_of_targets(hub, message);
    }
}

static void hand_out(struct hub *hub, struct message *message, uint64_t mask)
{
    if (mask == 0) {
        hub_count(&hub->stats.events_foreign, 1);
    }
    atomic_store_explicit(&message->open_workers, (unsigned char)__builtin_popcountll(mask),
                          memory_order_relaxed);
    for (uint32_t worker = 0; mask; worker++, mask >>= 1) {
        if (mask & 1) {
            hub_offer(hub, worker, message);
        }
    }
}

/* How long the event has been on the bus, while the queue is read back. What comes later has just
 * come, whatever the clocks of others say. */
static uint64_t age_ms(const struct hub *hub, uint32_t queue, const struct event *event,
                       uint64_t wall_ms)
{
    uint64_t since_ms = wall_ms ? wall_ms : event->time_ms;
    uint64_t now_ms = hub->now_ms + (uint64_t)hub->wall_offset_ms;
    bool is_old = hub->reading_back >> queue & 1 && hub->wall_offset_ms && since_ms > 0 &&
                  now_ms > since_ms;
    uint64_t age = is_old ? now_ms - since_ms : 0;
    return age < hub->now_ms ? age : hub->now_ms;
}

/* 1 is the past too, and not "never". */
static void stamp_times(const struct hub *hub, struct message *message,
                        const struct arrival *arrival)
{
    uint64_t age = age_ms(hub, message->queue, &message->event, arrival->wall_ms);
    message->received_us = hub->now_us - age * 1000;
    if (arrival->started_us && hub->now_us > arrival->started_us) {
        uint64_t way_us = hub->now_us - arrival->started_us;
        message->way_us = way_us > UINT32_MAX ? UINT32_MAX : (uint32_t)way_us;
    }
    if (message->event.header.ttl_ms) {
        uint64_t expires_ms = hub->now_ms - age + message->event.header.ttl_ms;
        message->expires_ms = expires_ms ? expires_ms : 1;
    }
}

/* A message that the window can't keep is a gap for every session: all workers look for it there.
 * Joins, parts and kicks reach them all the same. */
static int accept_event(struct hub *hub, struct message *message, const struct arrival *arrival)
{
    stamp_times(hub, message, arrival);
    uint64_t mask = workers_concerned(hub, message);
    if (message->event.kind == EVENT_JOIN &&
        hub_pin_group(hub, message->event.header.app, message->event.header.key, mask)) {
        return ERR_NO_MEMORY;
    }
    hub->bytes_since_heads += message->size;
    receipt_add_asker(message->receipt);
    int err = window_append(hub->window, message, hub->now_ms);
    if (err) {
        hub_mark_all_behind(hub);
    } else if (message->event.collapse.len) {
        hub_supersede(hub, message);
    }
    hand_out(hub, message, mask);
    if (err) {
        hub_on_evict(hub, message);
    }
    return 0;
}

static struct publish_part *own_part(struct hub *hub, uint32_t queue, const struct event *event)
{
    bool is_own = event->header.origin == hub->options.boot;
    bool asked = event->header.flags & (EVENT_HAS_ID | EVENT_WANTS_RECEIPT);
    struct publish_part *part = is_own && asked
                                    ? hub_part_find_sent(&hub->queues[queue], event->header.counter)
                                    : NULL;
    return part && !part->returned ? part : NULL;
}

static void finish_return(struct hub *hub, uint32_t queue, struct publish_part *own,
                          enum publish_verdict verdict)
{
    if (own->expected) {
        cluster_on_returned(hub->cluster, own, verdict == PUBLISH_ACCEPTED);
    }
    if (own->publish->receipt) {
        receipt_close(own->publish->receipt);
    }
    if (own->acknowledged) {
        hub_part_remove_sent(&hub->queues[queue], own);
    }
    hub_part_return(hub, own, verdict);
}

/* Of an event whose publisher counts who got it; of a message that has an id, in any case. */
static struct receipt *receipt_of(struct hub *hub, uint32_t queue, const struct event *event,
                                  const struct publish_part *own)
{
    if (own && own->publish->receipt) {
        return receipt_ref(own->publish->receipt);
    }
    bool is_foreign = event->header.origin != hub->options.boot;
    struct receipt *counted = is_foreign && hub->cluster &&
                                      (event->header.flags & EVENT_WANTS_RECEIPT)
                                  ? cluster_count(hub->cluster, queue, event)
                                  : NULL;
    bool has_id = event->kind == EVENT_MESSAGE && (event->header.flags & EVENT_HAS_ID);
    return counted || !has_id ? counted : receipt_create_for_later();
}

/* All workers were offered it. That of one's own push is closed with its part. */
static void close_receipt(struct hub *hub, struct receipt *receipt, bool is_lost)
{
    if (!receipt->is_for_later) {
        cluster_close_count(hub->cluster, receipt, is_lost);
        return;
    }
    if (is_lost) {
        atomic_store_explicit(&receipt->is_short, true, memory_order_release);
    }
    receipt_close(receipt);
}

/* Each node does that where the event stands in the queue, which is behind the message. Whoever
 * holds messages elsewhere than in the window withdraws them here. */
static void void_messages(struct hub *hub, const struct event *revoke)
{
    struct message *messages[EVENT_MAX_PARTS];
    size_t count = hub_find_messages(hub, revoke->header.app, revoke->subject, messages);
    for (size_t i = 0; i < count; i++) {
        message_add_fate(messages[i], MESSAGE_IS_VOID);
        message_unref(messages[i]);
    }
}

/* What is read back was followed when it came. */
static bool is_followed(const struct hub *hub, const struct arrival *arrival)
{
    return event_is_sampled(&arrival->event) && hub->callbacks->wants_traces &&
           !(hub->reading_back >> arrival->queue & 1) &&
           target_key_kind(arrival->event.header.key) != TARGET_TICKET &&
           hub->callbacks->wants_traces(hub->owner);
}

static struct message *create_message(struct hub *hub, const struct arrival *arrival)
{
    struct message_trace trace = {.on_done = hub->callbacks->on_traced, .owner = hub->owner};
    return is_followed(hub, arrival)
               ? message_create_traced(arrival->encoded, &arrival->event, arrival->queue,
                                       arrival->pos, &trace)
               : message_create(arrival->encoded, &arrival->event, arrival->queue, arrival->pos);
}

static void take_new(struct hub *hub, const struct arrival *arrival, struct publish_part *own)
{
    if (arrival->event.kind == EVENT_REVOKE) {
        void_messages(hub, &arrival->event);
    }
    struct message *message = create_message(hub, arrival);
    if (message) {
        message->receipt = receipt_of(hub, arrival->queue, &arrival->event, own);
    }
    bool is_lost = !message || accept_event(hub, message, arrival);
    hub_ticket_on_message(hub, arrival, message ? message->receipt : NULL);
    if (is_lost) {
        hub_forget_id(hub, &arrival->event, arrival->queue, arrival->pos);
        if (event_kind_must_arrive(arrival->event.kind)) {
            hub_lose_control(hub, &arrival->event);
        }
        hub_lose(hub, arrival->queue, arrival->pos, SESSION_GAP_OVERFLOW);
    }
    if (is_lost && own && own->publish->receipt) {
        atomic_store_explicit(&own->publish->receipt->is_short, true, memory_order_release);
    }
    bool is_of_push = own && own->publish->receipt;
    if (message && message->receipt && !is_of_push) {
        close_receipt(hub, message->receipt, is_lost);
    }
    if (message) {
        message_trace_close(message, 1);
    }
    message_unref(message);
}

/* Its id came before. */
static void drop_repeat(struct hub *hub, const struct arrival *arrival)
{
    if (hub->cluster && (arrival->event.header.flags & EVENT_WANTS_RECEIPT)) {
        cluster_count_nothing(hub->cluster, arrival->queue, &arrival->event);
    }
    window_advance(hub->window, arrival->queue, arrival->pos);
}

/* False: it is to be passed over. */
static bool judge(struct hub *hub, const struct arrival *arrival, struct publish_part *own,
                  enum publish_verdict *out_verdict)
{
    *out_verdict = PUBLISH_ACCEPTED;
    if (own) {
        own->pos = arrival->pos; /* a repeat gets the first one's */
    }
    if (arrival->event.header.flags & EVENT_HAS_ID) {
        *out_verdict = hub_judge_id(hub, &arrival->event, arrival->queue, arrival->pos, own);
    }
    return *out_verdict == PUBLISH_ACCEPTED;
}

/* Our own word of after the start is there: so what comes now is of after it, too. */
static void end_reading_back(struct hub *hub, uint32_t queue, const struct event_header *header)
{
    uint32_t before = hub->queues[queue].read_back_to;
    if (header->origin == hub->options.boot && (int32_t)(header->counter - before) > 0) {
        hub->reading_back &= ~(1ull << queue);
    }
}

/* What came before is told again: who does not know it takes it as it took the first. */
static void take_again(struct hub *hub, const struct arrival *arrival)
{
    struct arrival inner = *arrival;
    if (!hub_unwrap(hub, &arrival->event, &inner)) {
        hub_count(&hub->stats.events_bad, 1);
    } else if (event_kind_is_of_tickets(inner.event.kind)) {
        hub_ticket_on_event(hub, &inner, true);
    } else if (event_kind_is_shown(inner.event.kind)) {
        hub_ticket_on_message(hub, &inner, NULL);
    } else if (hub_keep(hub, &inner) == KEPT_NEW) {
        inner.pos = arrival->pos;
        take_new(hub, &inner, NULL);
        return;
    }
    window_advance(hub->window, arrival->queue, arrival->pos);
}

static void on_event_of_nodes(struct hub *hub, const struct arrival *arrival)
{
    if (arrival->event.kind == EVENT_AGAIN) {
        take_again(hub, arrival);
        return;
    }
    if (hub->cluster) {
        cluster_on_event(hub->cluster, arrival->queue, &arrival->event);
    }
    window_advance(hub->window, arrival->queue, arrival->pos);
}

/* No session of a worker is counted for it. */
static void take_ticket_event(struct hub *hub, const struct arrival *arrival,
                              struct publish_part *own)
{
    hub_ticket_on_event(hub, arrival, false);
    if (own) {
        own->pos = arrival->pos;
    } else if (hub->cluster && (arrival->event.header.flags & EVENT_WANTS_RECEIPT)) {
        cluster_count_nothing(hub->cluster, arrival->queue, &arrival->event);
    }
    window_advance(hub->window, arrival->queue, arrival->pos);
}

/* What is read back was on its way for other reasons. */
static void measure(struct hub *hub, struct arrival *arrival)
{
    bool is_own = arrival->event.header.origin == hub->options.boot;
    struct hub_probe probe = {0};
    if (hub->reading_back >> arrival->queue & 1) {
        return;
    }
    if (is_own) {
        hub_probe_own(hub, arrival->queue, arrival->event.header.counter, &probe);
        arrival->started_us = probe.started_us;
    } else if (arrival->is_first) {
        hub_probe_foreign(hub, arrival);
    }
}

static void on_event(struct hub *hub, struct arrival *arrival)
{
    uint32_t queue = arrival->queue;
    end_reading_back(hub, queue, &arrival->event.header);
    if (!hub_event_is_new(hub, queue, &arrival->event.header)) {
        hub_count(&hub->stats.events_repeated, 1);
        window_advance(hub->window, queue, arrival->pos);
        return;
    }
    if (event_kind_is_of_nodes(arrival->event.kind)) {
        on_event_of_nodes(hub, arrival);
        return;
    }
    measure(hub, arrival);
    struct publish_part *own = own_part(hub, queue, &arrival->event);
    enum publish_verdict verdict = PUBLISH_ACCEPTED;
    if (event_kind_is_of_tickets(arrival->event.kind)) {
        take_ticket_event(hub, arrival, own);
    } else if (judge(hub, arrival, own, &verdict)) {
        hub_keep(hub, arrival);
        take_new(hub, arrival, own);
    } else {
        drop_repeat(hub, arrival);
    }
    if (own) {
        finish_return(hub, queue, own, verdict);
    }
}

/* Its keys were made with another secret of the cluster. False: no memory. */
bool hub_rekey(struct hub *hub, struct arrival *arrival)
{
    size_t skip;
    buf_clear(&hub->rekeyed);
    if (event_rekey(&hub->rekeyed, &arrival->event, arrival->encoded, &hub->options.space)) {
        return false;
    }
    hub_count(&hub->stats.rekeyed, 1);
    arrival->encoded = buf_str(&hub->rekeyed);
    ssize_t len = event_decode(&arrival->event, hub->rekeyed.data, hub->rekeyed.len, &skip);
    ASSERT(len > 0);
    return true;
}

/* What nodes tell each other has no key that a secret makes. */
static bool has_own_keys(const struct hub *hub, const struct event *event)
{
    return event->key_tag == hub->options.space.tag || event_kind_is_of_nodes(event->kind);
}

/* Returns the bytes of the first event, sound or not; 0 when the rest can't be cut. */
static size_t take_event(struct hub *hub, struct arrival *arrival, struct str rest)
{
    size_t skip = 0;
    ssize_t len = event_decode(&arrival->event, (const uint8_t *)rest.ptr, rest.len, &skip);
    if (len < 0) {
        hub_count(&hub->stats.events_bad, 1);
        return skip;
    }
    hub_count(&hub->stats.events_in, 1);
    arrival->encoded = str_make(rest.ptr, (size_t)len);
    arrival->age_ms = age_ms(hub, arrival->queue, &arrival->event, arrival->wall_ms);
    if (has_own_keys(hub, &arrival->event) || hub_rekey(hub, arrival)) {
        on_event(hub, arrival);
    } else {
        hub_lose(hub, arrival->queue, arrival->pos, SESSION_GAP_OVERFLOW);
    }
    return (size_t)len;
}

static void take_events(struct hub *hub, struct arrival *arrival, struct str rest)
{
    while (rest.len > 0) {
        size_t len = take_event(hub, arrival, rest);
        hub->heads.pos[arrival->queue] = arrival->pos;
        if (len == 0) {
            break;
        }
        rest = str_make(rest.ptr + len, rest.len - len);
        arrival->pos.lo++;
        arrival->is_first = false;
        arrival->started_us = 0;
    }
}

/* One that is not behind the last is a mistake of the engine, and has been seen. */
static void on_record(void *owner, uint32_t queue, struct bus_pos pos, struct str record,
                      uint64_t wall_ms)
{
    struct hub *hub = owner;
    struct arrival arrival = {.queue = queue, .pos = pos, .wall_ms = wall_ms, .is_first = true};
    if (bus_pos_compare(pos, hub->heads.pos[queue]) <= 0) {
        hub_count(&hub->stats.events_repeated, 1);
        return;
    }
    hub_count(&hub->stats.records_in, 1);
    take_events(hub, &arrival, record);
    if (record.len == 0) {
        window_advance(hub->window, queue, pos);
        hub->heads.pos[queue] = pos;
    }
}

static void on_queue_state(void *owner, uint32_t queue, bool up)
{
    struct hub *hub = owner;
    hub_set_queue_state(hub, queue, up);
    if (hub->cluster) {
        cluster_on_queue_state(hub->cluster, queue, up);
    }
}

static void on_state(void *owner, bool up, const char *reason)
{
    struct hub *hub = owner;
    atomic_store_explicit(&hub->bus_up, up, memory_order_release);
    if (up && !hub->up_since_ms) {
        hub->reading_back = 0; /* all that can be reached was read to its end */
        hub->up_since_ms = hub->now_ms ? hub->now_ms : 1;
    }
    if (up) {
        hub_name_history(hub);
        atomic_store_explicit(&hub->bus_was_up, true, memory_order_release);
    }
    hub->callbacks->on_bus_state(hub->owner, up, reason);
}

const struct bus_callbacks hub_bus_callbacks = {
    .on_epoch = hub_on_epoch,
    .on_start = hub_on_start,
    .on_record = on_record,
    .on_hole = hub_on_hole,
    .on_queue_state = on_queue_state,
    .on_state = on_state,
};
