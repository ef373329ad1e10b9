/* The receiving side of the hub: each record is cut into events; repeats are dropped; what is new
 * goes into the window and to the workers that have its target. */
#include "base/err.h"
#include "core/hub_private.h"
#include "core/receipt.h"
#include "core/sid.h"

/* Nobody will find it in the window any more, so those who still owed a report can't give it. */
static void close_owed(struct message *message)
{
    uint64_t owed = message->receipt
                        ? atomic_exchange_explicit(&message->owed, 0, memory_order_relaxed)
                        : 0;
    if (owed) {
        receipt_close_many(message->receipt, (unsigned)__builtin_popcountll(owed));
    }
}

void hub_on_evict(void *owner, struct message *message)
{
    struct hub *hub = owner;
    hub_count(&hub->stats.evicted, 1);
    hub_forget_id(hub, &message->event, message->queue, message->pos);
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
        if (mask && target.kind == TARGET_USER && message->receipt) {
            atomic_fetch_add_explicit(&message->receipt->users_online, 1, memory_order_relaxed);
        }
        all |= mask;
    }
    return all;
}

static uint64_t workers_concerned(const struct hub *hub, struct message *message)
{
    switch (message->event.kind) {
    case EVENT_JOIN: return workers_of_subject(hub, &message->event);
    case EVENT_PART: /* every worker refuses grants of before it */
        return UINT64_MAX >> (HUB_MAX_WORKERS - hub->options.workers);
    default: return workers_of_targets(hub, message);
    }
}

static void hand_out(struct hub *hub, struct message *message, uint64_t mask)
{
    if (mask == 0) {
        hub_count(&hub->stats.events_foreign, 1);
    }
    for (uint32_t worker = 0; mask; worker++, mask >>= 1) {
        if (mask & 1) {
            hub_offer(hub, worker, message);
        }
    }
}

static void stamp_times(const struct hub *hub, struct message *message)
{
    message->received_us = hub->now_us;
    if (message->event.header.ttl_ms) {
        message->expires_ms = hub->now_ms + message->event.header.ttl_ms;
    }
}

/* A message that the window can't keep is a gap for every session: all workers look for it there.
 * Joins, parts and kicks reach them all the same. */
static int accept_event(struct hub *hub, struct message *message)
{
    stamp_times(hub, message);
    uint64_t mask = workers_concerned(hub, message);
    if (message->event.kind == EVENT_JOIN && hub_pin_group(hub, message->event.header.key, mask)) {
        return ERR_NO_MEMORY;
    }
    hub->bytes_since_heads += message->size;
    int err = window_append(hub->window, message, hub->now_ms);
    if (err) {
        hub_mark_all_behind(hub);
    }
    hand_out(hub, message, mask);
    if (err) {
        hub_on_evict(hub, message);
    }
    return 0;
}

/* Workers that look for what is lost in the window find the gap. */
static void lose(struct hub *hub, uint32_t queue, struct bus_pos pos)
{
    hub_mark_all_behind(hub);
    window_lose(hub->window, queue, pos);
}

static struct publish_part *own_part(struct hub *hub, uint32_t queue, const struct event *event)
{
    bool is_own = event->header.origin == hub->options.boot;
    bool asked = event->header.flags & (EVENT_HAS_ID | EVENT_WANTS_RECEIPT);
    return is_own && asked ? hub_part_find_sent(&hub->queues[queue], event->header.counter) : NULL;
}

static void finish_return(struct hub *hub, uint32_t queue, struct publish_part *own,
                          enum publish_verdict verdict)
{
    if (own->publish->receipt) {
        receipt_close(own->publish->receipt);
    }
    if (own->acknowledged) {
        hub_part_remove_sent(&hub->queues[queue], own);
    }
    hub_part_return(hub, own, verdict);
}

static void take_new(struct hub *hub, uint32_t queue, struct bus_pos pos, struct str encoded,
                     const struct event *event, struct publish_part *own)
{
    struct message *message = message_create(encoded, queue, pos);
    if (message && own && own->publish->receipt) {
        message->receipt = receipt_ref(own->publish->receipt);
    }
    if (!message || accept_event(hub, message)) {
        hub_forget_id(hub, event, queue, pos);
        if (event->kind != EVENT_MESSAGE) {
            hub_lose_control(hub, event);
        }
        lose(hub, queue, pos);
    }
    message_unref(message);
}

static void on_event(struct hub *hub, uint32_t queue, struct bus_pos pos, struct str encoded,
                     const struct event *event)
{
    if (!hub_event_is_new(hub, queue, &event->header)) {
        hub_count(&hub->stats.events_repeated, 1);
        window_advance(hub->window, queue, pos);
        return;
    }
    struct publish_part *own = own_part(hub, queue, event);
    enum publish_verdict verdict = PUBLISH_ACCEPTED;
    if (own) {
        own->pos = pos; /* a repeat gets the first one's */
    }
    if (event->header.flags & EVENT_HAS_ID) {
        verdict = hub_judge_id(hub, event, queue, pos, own);
    }
    if (verdict == PUBLISH_ACCEPTED) {
        take_new(hub, queue, pos, encoded, event, own);
    } else {
        window_advance(hub->window, queue, pos);
    }
    if (own) {
        finish_return(hub, queue, own, verdict);
    }
}

/* Returns the bytes of the first event, sound or not; 0 when the rest can't be cut. */
static size_t take_event(struct hub *hub, uint32_t queue, struct bus_pos pos, struct str rest)
{
    struct event event;
    size_t skip = 0;
    ssize_t len = event_decode(&event, (const uint8_t *)rest.ptr, rest.len, &skip);
    if (len < 0) {
        hub_count(&hub->stats.events_bad, 1);
        return skip;
    }
    hub_count(&hub->stats.events_in, 1);
    on_event(hub, queue, pos, str_make(rest.ptr, (size_t)len), &event);
    return (size_t)len;
}

static void on_epoch(void *owner, struct str epoch)
{
    struct hub *hub = owner;
    if (hub->callbacks->on_epoch) {
        hub->callbacks->on_epoch(hub->owner, epoch);
    }
}

/* What came before is not known here. */
static void on_start(void *owner, uint32_t queue, struct bus_pos from)
{
    struct hub *hub = owner;
    if (bus_pos_compare(hub->heads.pos[queue], from) == 0) {
        return;
    }
    lose(hub, queue, from);
    hub->heads.pos[queue] = from;
}

static void on_record(void *owner, uint32_t queue, struct bus_pos pos, struct str record,
                      uint64_t wall_ms)
{
    struct hub *hub = owner;
    hub_count(&hub->stats.records_in, 1);
    struct str rest = record;
    while (rest.len > 0) {
        size_t len = take_event(hub, queue, pos, rest);
        hub->heads.pos[queue] = pos;
        if (len == 0) {
            break;
        }
        rest = str_make(rest.ptr + len, rest.len - len);
        pos.lo++;
    }
}

static struct bus_pos pos_before(struct bus_pos pos)
{
    return pos.lo ? (struct bus_pos){pos.hi, pos.lo - 1} : (struct bus_pos){pos.hi - 1, UINT64_MAX};
}

static void on_hole(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to,
                    enum bus_hole why)
{
    struct hub *hub = owner;
    struct bus_pos last = pos_before(to); /* what is at to is not lost */
    hub_count(&hub->stats.holes, 1);
    lose(hub, queue, last);
    hub->heads.pos[queue] = last;
}

static void on_queue_state(void *owner, uint32_t queue, bool up)
{
}

static void on_state(void *owner, bool up, const char *reason)
{
    struct hub *hub = owner;
    atomic_store_explicit(&hub->bus_up, up, memory_order_release);
    hub->callbacks->on_bus_state(hub->owner, up, reason);
}

const struct bus_callbacks hub_bus_callbacks = {
    .on_epoch = on_epoch,
    .on_start = on_start,
    .on_record = on_record,
    .on_hole = on_hole,
    .on_queue_state = on_queue_state,
    .on_state = on_state,
};
