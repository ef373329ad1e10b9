/* The receiving side of the hub: each record is cut into events; repeats are dropped; what is new
 * goes into the window and to the workers that have its target. */
#include "base/err.h"
#include "base/mem.h"
#include "core/hub_private.h"
#include "core/message.h"
#include "core/receipt.h"
#include "core/sid.h"

static bool is_own(const struct hub *hub, const struct event *event)
{
    return event->header.origin == hub->options.boot;
}

/* False for an event whose (origin, queue, counter) was seen: a record that was published twice. A
 * counter compares as a serial number (RFC 1982), so it may wrap. */
static bool is_new(struct hub *hub, uint32_t queue, const struct event_header *header)
{
    uint32_t name[2] = {header->origin, queue};
    uint64_t *mark = u64map_put(&hub->marks, siphash(&hub->options.sid_key, name, sizeof(name)));
    if (!mark) {
        return true;
    }
    bool known = *mark != 0;
    uint32_t last = (uint32_t)(*mark - 1);
    if (known && (int32_t)(header->counter - last) <= 0) {
        return false;
    }
    *mark = (uint64_t)header->counter + 1;
    return true;
}

static void id_add_part(struct hub_id *id, uint32_t queue, struct bus_pos pos)
{
    if (id->part_count < id->part_cap) {
        id->parts[id->part_count++] = (struct hub_id_part){queue, pos};
    }
}

static struct hub_id *id_create(const struct event *event)
{
    struct hub_id *id = mem_zalloc(sizeof(*id) + sizeof(struct hub_id_part) * event->parts);
    if (id) {
        id->body_hash = event->body_hash;
        id->part_cap = event->parts;
        mem_account(MEM_WINDOW, (int64_t)(sizeof(*id) + sizeof(struct hub_id_part) * id->part_cap));
    }
    return id;
}

static void id_destroy(struct hub_id *id)
{
    if (id) {
        mem_account(MEM_WINDOW,
                    -(int64_t)(sizeof(*id) + sizeof(struct hub_id_part) * id->part_cap));
        mem_free(id);
    }
}

static bool id_has_queue(const struct hub_id *id, uint32_t queue)
{
    for (uint32_t i = 0; i < id->part_count; i++) {
        if (id->parts[i].queue == queue) {
            return true;
        }
    }
    return false;
}

/* Positions of the first push go into the answer of its repeat. */
static void copy_first_positions(const struct hub_id *id, struct publish_part *part)
{
    for (uint32_t i = 0; i < id->part_count; i++) {
        if (id->parts[i].queue == part->queue) {
            part->pos = id->parts[i].pos;
        }
    }
}

/* The first push of an id in queue order wins: same body, a repeat; another body, a conflict. */
static enum publish_verdict judge_id(struct hub *hub, const struct event *event, uint32_t queue,
                                     struct bus_pos pos, struct publish_part *own)
{
    uint64_t *place = u64map_put(&hub->ids, event->id_hash);
    struct hub_id *id = place ? (struct hub_id *)(uintptr_t)*place : NULL;
    if (!place) {
        return PUBLISH_ACCEPTED;
    }
    if (!id) {
        id = id_create(event);
        if (!id) {
            u64map_remove(&hub->ids, event->id_hash);
            return PUBLISH_ACCEPTED;
        }
        *place = (uint64_t)(uintptr_t)id;
        id_add_part(id, queue, pos);
        return PUBLISH_ACCEPTED;
    }
    if (id->body_hash != event->body_hash) {
        return PUBLISH_CONFLICT;
    }
    if (!id_has_queue(id, queue)) {
        id_add_part(id, queue, pos);
        return PUBLISH_ACCEPTED;
    }
    if (own) {
        copy_first_positions(id, own);
    }
    return PUBLISH_REPLAYED;
}

void hub_on_evict(void *owner, struct message *message)
{
    struct hub *hub = owner;
    hub_count(&hub->stats.evicted, 1);
    if (!(message->event.header.flags & EVENT_HAS_ID)) {
        return;
    }
    uint64_t *place = u64map_find(&hub->ids, message->event.id_hash);
    if (place) {
        id_destroy((struct hub_id *)(uintptr_t)*place);
        u64map_remove(&hub->ids, message->event.id_hash);
    }
}

void hub_forget_ids(struct hub *hub)
{
    size_t at = 0;
    for (struct u64map_entry *entry = u64map_next(&hub->ids, &at); entry;
         entry = u64map_next(&hub->ids, &at)) {
        id_destroy((struct hub_id *)(uintptr_t)entry->value);
    }
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

static uint64_t workers_of_key(const struct hub *hub, uint64_t key)
{
    const uint64_t *mask = u64map_find(&hub->interest, key);
    return mask ? *mask : 0;
}

/* Joins and parts travel on the group's queue but concern the workers that have the user. */
static uint64_t workers_of_subject(const struct hub *hub, const struct event *event)
{
    return workers_of_key(
        hub, target_key(&hub->options.cluster_key, event->header.app, TARGET_USER, event->subject));
}

static uint64_t workers_of_targets(const struct hub *hub, struct message *message)
{
    const struct event *event = &message->event;
    struct str rest = event->target_bytes;
    struct target target;
    uint64_t all = 0;
    for (size_t i = 0; event_next_target(&rest, &target); i++) {
        uint64_t mask = target.kind == TARGET_SESSION ? workers_of_sid(hub, target.name)
                                                      : workers_of_key(hub, event_key(event, i));
        if (mask && target.kind == TARGET_USER && message->receipt) {
            atomic_fetch_add_explicit(&message->receipt->users_online, 1, memory_order_relaxed);
        }
        all |= mask;
    }
    return all;
}

/* From here on the workers that have the user get the group's messages too, before they know why:
 * the join event is in their ring first. The pin outlives a removal that crosses it; the worker's
 * answer ends it. */
static void pin_group(struct hub *hub, const struct event *event, uint64_t mask)
{
    uint64_t key = event->header.key;
    uint64_t *interest = mask ? u64map_put(&hub->interest, key) : NULL;
    if (!interest) {
        return;
    }
    *interest |= mask;
    for (uint32_t worker = 0; mask >> worker; worker++) {
        uint64_t *pins = mask >> worker & 1 ? u64map_put(&hub->pins, hub_pin_key(key, worker))
                                            : NULL;
        if (pins) {
            (*pins)++;
        }
    }
}

static uint64_t workers_concerned(struct hub *hub, struct message *message)
{
    const struct event *event = &message->event;
    uint64_t mask;
    switch (event->kind) {
    case EVENT_JOIN:
        mask = workers_of_subject(hub, event);
        pin_group(hub, event, mask);
        return mask;
    case EVENT_PART: /* every worker refuses grants of before it */
        return UINT64_MAX >> (HUB_MAX_WORKERS - hub->options.workers);
    default: return workers_of_targets(hub, message);
    }
}

static void hand_out(struct hub *hub, struct message *message)
{
    uint64_t mask = workers_concerned(hub, message);
    if (mask == 0) {
        hub_count(&hub->stats.events_foreign, 1);
    }
    for (uint32_t worker = 0; mask; worker++, mask >>= 1) {
        if (mask & 1) {
            hub_offer(hub, worker, message);
        }
    }
}

static void accept_event(struct hub *hub, struct message *message, struct publish_part *own)
{
    message->received_us = hub->now_us;
    if (message->event.header.ttl_ms) {
        message->expires_ms = hub->now_ms + message->event.header.ttl_ms;
    }
    if (own && own->publish->receipt) {
        message->receipt = receipt_ref(own->publish->receipt);
    }
    hub->bytes_since_heads += message->size;
    if (window_append(hub->window, message, hub->now_ms)) {
        hub_mark_all_behind(hub);
    }
    hand_out(hub, message);
    if (message->receipt) {
        receipt_close(message->receipt);
    }
}

static struct publish_part *own_part(struct hub *hub, uint32_t queue, const struct event *event)
{
    bool asked = event->header.flags & (EVENT_HAS_ID | EVENT_WANTS_RECEIPT);
    return asked && is_own(hub, event)
               ? hub_part_find_sent(&hub->queues[queue], event->header.counter)
               : NULL;
}

static void finish_return(struct hub *hub, uint32_t queue, struct bus_pos pos,
                          struct publish_part *own, enum publish_verdict verdict)
{
    if (own) {
        if (verdict != PUBLISH_REPLAYED) {
            own->pos = pos;
        }
        if (own->acknowledged) {
            hub_part_remove_sent(&hub->queues[queue], own);
        }
        hub_part_return(hub, own, verdict);
    }
}

/* What can't be kept is a gap for every session: workers that look for it in the window won't find
 * it. */
static void lose(struct hub *hub, uint32_t queue, struct bus_pos pos)
{
    hub_mark_all_behind(hub);
    window_lose(hub->window, queue, pos);
}

static void on_event(struct hub *hub, uint32_t queue, struct bus_pos pos, struct str encoded,
                     const struct event *event)
{
    if (!is_new(hub, queue, &event->header)) {
        hub_count(&hub->stats.events_repeated, 1);
        window_advance(hub->window, queue, pos);
        return;
    }
    struct publish_part *own = own_part(hub, queue, event);
    enum publish_verdict verdict = PUBLISH_ACCEPTED;
    if (event->header.flags & EVENT_HAS_ID) {
        verdict = judge_id(hub, event, queue, pos, own);
    }
    struct message *message = verdict == PUBLISH_ACCEPTED ? message_create(encoded, queue, pos)
                                                          : NULL;
    if (message) {
        accept_event(hub, message, own);
        message_unref(message);
    } else if (verdict == PUBLISH_ACCEPTED) {
        lose(hub, queue, pos);
    } else {
        window_advance(hub->window, queue, pos);
    }
    finish_return(hub, queue, pos, own, verdict);
}

static void on_record(void *owner, uint32_t queue, struct bus_pos pos, struct str record)
{
    struct hub *hub = owner;
    hub_count(&hub->stats.records_in, 1);
    const uint8_t *data = (const uint8_t *)record.ptr;
    for (size_t at = 0; at < record.len;) {
        struct event event;
        size_t skip = 0;
        ssize_t len = event_decode(&event, data + at, record.len - at, &skip);
        if (len < 0 && skip == 0) {
            hub_count(&hub->stats.events_bad, 1);
            break;
        }
        if (len < 0) {
            hub_count(&hub->stats.events_bad, 1);
        } else {
            hub_count(&hub->stats.events_in, 1);
            on_event(hub, queue, pos, str_make(data + at, (size_t)len), &event);
        }
        hub->heads.pos[queue] = pos;
        at += skip;
        pos.lo++;
    }
}

static void on_hole(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to)
{
    struct hub *hub = owner;
    hub_count(&hub->stats.holes, 1);
    lose(hub, queue, to);
    hub->heads.pos[queue] = to;
}

static void on_state(void *owner, bool up, const char *reason)
{
    struct hub *hub = owner;
    atomic_store_explicit(&hub->bus_up, up, memory_order_release);
    hub->callbacks->on_bus_state(hub->owner, up, reason);
}

const struct bus_callbacks hub_bus_callbacks = {
    .on_record = on_record,
    .on_hole = on_hole,
    .on_state = on_state,
};
