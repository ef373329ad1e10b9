/* The sending side of the hub: pushes wait in their queue, leave in one record a queue, and are
 * finished when the bus has acknowledged them (and, where an id or a receipt asks for it, when
 * their own record came back). */
#include "base/err.h"
#include "core/cluster.h"
#include "core/hub_private.h"
#include "core/receipt.h"

static void run_done(struct mail *mail)
{
    struct publish *publish = MAIL_OWNER(mail, struct publish, mail);
    publish->on_done(publish);
}

static void finish_publish(struct hub *hub, struct publish *publish)
{
    hub_kept_release(hub, publish);
    if (publish->worker == HUB_NO_WORKER) {
        publish->on_done(publish);
        return;
    }
    publish->mail.run = run_done;
    mail_chain_add(&hub->workers[publish->worker].done, &publish->mail);
}

static void finish_part(struct hub *hub, struct publish_part *part)
{
    part->finished = true;
    if (--part->publish->open_parts == 0) {
        finish_publish(hub, part->publish);
    }
}

/* A part that did not come back will never be counted: its receipt need not wait for it. */
static void fail_part(struct hub *hub, struct publish_part *part, int err)
{
    struct publish *publish = part->publish;
    if (part->finished) {
        return;
    }
    if (part->expected) {
        cluster_on_failed(hub->cluster, part);
    }
    if (publish->receipt && !part->returned) {
        receipt_close(publish->receipt);
    }
    publish->verdict = PUBLISH_FAILED;
    publish->err = err;
    finish_part(hub, part);
}

static void finish_if_complete(struct hub *hub, struct publish_part *part)
{
    if (!part->finished && part->acknowledged &&
        (part->returned || !part->publish->awaits_return)) {
        finish_part(hub, part);
    }
}

void hub_part_acknowledge(struct hub *hub, struct publish_part *part, struct bus_pos pos)
{
    part->acknowledged = true;
    part->publish->accepted_parts++;
    if (!part->returned) {
        part->pos = pos;
    }
    finish_if_complete(hub, part);
}

/* The worst verdict of all parts is the push's; the enum is in that order. */
void hub_part_return(struct hub *hub, struct publish_part *part, enum publish_verdict verdict)
{
    part->returned = true;
    if (verdict > part->publish->verdict) {
        part->publish->verdict = verdict;
    }
    finish_if_complete(hub, part);
}

void hub_wait_in_line(struct hub *hub, struct publish_part *part)
{
    struct hub_queue *queue = &hub->queues[part->queue];
    hub->waiting_bytes += part->event.len;
    queue->waiting_bytes += part->event.len;
    part->next = NULL;
    *queue->waiting_end = part;
    queue->waiting_end = &part->next;
}

static uint64_t bytes_of_those_away(const struct hub *hub)
{
    uint64_t bytes = 0;
    for (uint32_t q = 0; q < hub->options.queues; q++) {
        bytes += hub->queues[q].is_up ? 0 : hub->queues[q].waiting_bytes;
    }
    return bytes;
}

/* What waits for brokers that are away may take half the room: while there are others, these go on.
 */
static bool is_full_for(const struct hub *hub, const struct publish_part *part)
{
    uint64_t room = hub->options.backlog_bytes;
    bool waits_for_others = !hub->queues[part->queue].is_up && hub_is_any_queue_up(hub);
    return hub->waiting_bytes + part->event.len > room ||
           (waits_for_others && bytes_of_those_away(hub) + part->event.len > room / 2);
}

/* Before the window is read back, and while this node must not serve, others could not count on
 * what it takes. */
static bool may_serve(const struct hub *hub)
{
    return atomic_load_explicit(&hub->bus_was_up, memory_order_relaxed) &&
           (!hub->cluster || cluster_may_serve(hub->cluster));
}

/* 0, or why the part can't even wait for the bus. What nodes tell each other is little and goes
 * first, but for what a client can make them tell. */
static int refuse_part(const struct hub *hub, const struct publish_part *part)
{
    if (hub->bus && part->event.len > hub->bus->max_record) {
        return ERR_TOO_LARGE;
    }
    if (part->publish->stays && !part->publish->yields) {
        return 0;
    }
    return may_serve(hub) && !is_full_for(hub, part) ? 0 : ERR_UNAVAILABLE;
}

void hub_publish(struct hub *hub, struct publish *publish, uint64_t now_ms)
{
    uint32_t part_count = publish->part_count; /* it may be gone after the last part */
    ASSERT(part_count > 0);
    hub->now_ms = now_ms;
    publish->open_parts = part_count;
    publish->verdict = PUBLISH_ACCEPTED;
    int refusal = hub_kept_admit(hub, publish);
    for (uint32_t i = 0; i < part_count; i++) {
        struct publish_part *part = &publish->parts[i];
        hub_choose_queue(hub, part);
        int err = refusal ? refusal : refuse_part(hub, part);
        if (err) {
            fail_part(hub, part, err);
        } else {
            hub_wait_in_line(hub, part);
        }
    }
}

struct publish_part *hub_pop_waiting(struct hub *hub, struct hub_queue *queue)
{
    struct publish_part *part = queue->waiting;
    queue->waiting = part->next;
    if (!queue->waiting) {
        queue->waiting_end = &queue->waiting;
    }
    hub->waiting_bytes -= part->event.len;
    queue->waiting_bytes -= part->event.len;
    part->next = NULL;
    return part;
}

static void push_sent(struct hub_queue *queue, struct publish_part *part)
{
    part->prev = queue->sent_last;
    part->next = NULL;
    *(part->prev ? &part->prev->next : &queue->sent) = part;
    queue->sent_last = part;
}

void hub_part_remove_sent(struct hub_queue *queue, struct publish_part *part)
{
    if (part->in_record) {
        part->in_record = false;
        queue->record_parts--;
        queue->record_first = queue->record_first == part ? part->next : queue->record_first;
    }
    if (queue->next_return == part) {
        queue->next_return = part->next;
    }
    *(part->prev ? &part->prev->next : &queue->sent) = part->next;
    *(part->next ? &part->next->prev : &queue->sent_last) = part->prev;
}

/* Own records come back in the order sent, so the search goes on where the last one ended. */
struct publish_part *hub_part_find_sent(struct hub_queue *queue, uint32_t counter)
{
    struct publish_part *part = queue->next_return;
    if (!part || part->counter != counter) {
        part = queue->sent;
    }
    while (part && part->counter != counter) {
        part = part->next;
    }
    queue->next_return = part ? part->next : NULL;
    return part;
}

static int pack_part(struct hub_queue *queue, struct publish_part *part)
{
    part->counter = queue->counter + 1;
    event_set_counter(part->event.data, part->counter);
    int err = buf_append(&queue->record_bytes, part->event.data, part->event.len);
    if (err) {
        queue->record_bytes.err = 0; /* what is in it may go */
        return err;
    }
    queue->counter++;
    part->in_record = true;
    part->record_at = queue->record_parts++;
    hub_probe_pack(queue, part);
    return 0;
}

/* Where memory is out, the record goes with what is in it; the first one must fit or fails. */
static void pack(struct hub *hub, struct hub_queue *queue)
{
    uint32_t max_bytes = hub->options.record_bytes < hub->bus->max_record
                             ? hub->options.record_bytes
                             : hub->bus->max_record;
    buf_clear(&queue->record_bytes);
    queue->record_parts = 0;
    while (queue->waiting) {
        struct publish_part *part = queue->waiting;
        bool is_first = queue->record_parts == 0;
        if (!is_first && queue->record_bytes.len + part->event.len > max_bytes) {
            return;
        }
        if (pack_part(queue, part)) {
            if (is_first) {
                fail_part(hub, hub_pop_waiting(hub, queue), ERR_NO_MEMORY);
            }
            return;
        }
        push_sent(queue, hub_pop_waiting(hub, queue));
        if (part->publish->receipt && hub->cluster) {
            cluster_on_packed(hub->cluster, part);
        }
        if (is_first) {
            queue->record_first = part;
        }
    }
}

/* Nobody acknowledged it, but what came back is in the bus for all that. */
static void give_up_part(struct hub *hub, struct publish_part *part, int err)
{
    if (part->returned) {
        hub_part_acknowledge(hub, part, part->pos);
    } else {
        fail_part(hub, part, err);
    }
}

static void settle_part(struct hub *hub, struct hub_queue *queue, struct publish_part *part,
                        int err, struct bus_pos pos)
{
    bool stays = !err && part->publish->awaits_return && !part->returned;
    if (stays) {
        part->in_record = false;
        queue->record_parts--;
    } else {
        hub_part_remove_sent(queue, part);
    }
    if (err) {
        give_up_part(hub, part, err);
    } else {
        hub_part_acknowledge(hub, part, pos);
    }
}

static void on_record_done(struct bus_publish *record, int err, struct bus_pos pos)
{
    struct hub_queue *queue = (struct hub_queue *)((char *)record -
                                                   offsetof(struct hub_queue, record));
    struct hub *hub = (struct hub *)((char *)(queue - record->queue) -
                                     offsetof(struct hub, queues));
    queue->under_way = false;
    if (!err && hub->callbacks->on_published) {
        hub->callbacks->on_published(hub->owner, queue->record_sent_us);
    }
    struct publish_part *part = queue->record_first;
    while (queue->record_parts > 0) {
        struct publish_part *next = part->next;
        settle_part(hub, queue, part, err, (struct bus_pos){pos.hi, pos.lo + part->record_at});
        part = next;
    }
    queue->record_first = NULL;
}

/* Each part fails at its own; the record is tried for as long as somebody waits for it. */
static uint64_t latest_deadline(const struct hub_queue *queue)
{
    uint64_t latest = 0;
    const struct publish_part *part = queue->record_first;
    for (; part; part = part->next) {
        uint64_t deadline = part->publish->deadline_ms;
        if (!deadline) {
            return 0;
        }
        latest = deadline > latest ? deadline : latest;
    }
    return latest;
}

static void send_record(struct hub *hub, uint32_t index)
{
    struct hub_queue *queue = &hub->queues[index];
    pack(hub, queue);
    if (queue->record_parts == 0) {
        return;
    }
    queue->under_way = true;
    queue->record_sent_us = hub->now_us;
    hub_probe_send(hub, queue);
    queue->record = (struct bus_publish){.on_done = on_record_done,
                                         .queue = index,
                                         .record = buf_str(&queue->record_bytes),
                                         .deadline_ms = latest_deadline(queue)};
    hub_count(&hub->stats.records_out, 1);
    hub_count(&hub->stats.events_out, queue->record_parts);
    int err = bus_publish(hub->bus, &queue->record);
    if (err) {
        on_record_done(&queue->record, err, (struct bus_pos){0, 0});
    }
}

bool hub_send_waiting(struct hub *hub)
{
    bool more = false;
    if (!hub->bus) {
        return false;
    }
    for (uint32_t i = 0; i < hub->options.queues; i++) {
        struct hub_queue *queue = &hub->queues[i];
        if (queue->waiting && !queue->under_way) {
            send_record(hub, i);
            more = more || queue->waiting;
        }
    }
    return more;
}

static bool is_late(const struct hub *hub, const struct publish_part *part)
{
    return part->publish->deadline_ms && part->publish->deadline_ms <= hub->now_ms;
}

static void fail_late_waiting(struct hub *hub, struct hub_queue *queue)
{
    while (queue->waiting && is_late(hub, queue->waiting)) {
        fail_part(hub, hub_pop_waiting(hub, queue), ERR_UNAVAILABLE);
    }
}

/* The record under way is the engine's to end, but nobody waits longer for a part of it than it
 * said; nor for what was acknowledged and did not come back. */
static void fail_late_sent(struct hub *hub, struct hub_queue *queue)
{
    for (struct publish_part *part = queue->sent; part;) {
        struct publish_part *next = part->next;
        if (is_late(hub, part)) {
            hub_part_remove_sent(queue, part);
            give_up_part(hub, part, ERR_TIMEOUT);
        }
        part = next;
    }
}

void hub_fail_late(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->options.queues; i++) {
        fail_late_waiting(hub, &hub->queues[i]);
        fail_late_sent(hub, &hub->queues[i]);
    }
}

void hub_fail_all(struct hub *hub, int err)
{
    for (uint32_t i = 0; i < hub->options.queues; i++) {
        struct hub_queue *queue = &hub->queues[i];
        while (queue->waiting) {
            fail_part(hub, hub_pop_waiting(hub, queue), err);
        }
        while (queue->sent) {
            struct publish_part *part = queue->sent;
            hub_part_remove_sent(queue, part);
            fail_part(hub, part, err);
        }
    }
}
