/* The sending side of the hub: pushes wait in their queue, leave in one record a queue, and are
 * finished when the bus has acknowledged them (and, where an id or a receipt asks for it, when
 * their own record came back). */
#include "base/err.h"
#include "core/hub_private.h"
#include "core/receipt.h"

static void run_done(struct mail *mail)
{
    struct publish *publish = MAIL_OWNER(mail, struct publish, mail);
    publish->on_done(publish);
}

static void finish_publish(struct hub *hub, struct publish *publish)
{
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

void hub_part_fail(struct hub *hub, struct publish_part *part, int err)
{
    if (!part->finished) {
        part->publish->verdict = PUBLISH_FAILED;
        part->publish->err = err;
        finish_part(hub, part);
    }
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

void hub_part_return(struct hub *hub, struct publish_part *part, enum publish_verdict verdict)
{
    part->returned = true;
    if (verdict != PUBLISH_ACCEPTED && part->publish->verdict != PUBLISH_FAILED) {
        part->publish->verdict = verdict;
    }
    finish_if_complete(hub, part);
}

void hub_publish(struct hub *hub, struct publish *publish, uint64_t now_ms)
{
    hub->now_ms = now_ms;
    publish->open_parts = publish->part_count;
    publish->verdict = PUBLISH_ACCEPTED;
    for (uint32_t i = 0; i < publish->part_count; i++) {
        struct publish_part *part = &publish->parts[i];
        if (hub->waiting_bytes + part->event.len > hub->options.backlog_bytes) {
            hub_part_fail(hub, part, ERR_UNAVAILABLE);
            continue;
        }
        struct hub_queue *queue = &hub->queues[part->queue];
        hub->waiting_bytes += part->event.len;
        part->next = NULL;
        *queue->waiting_end = part;
        queue->waiting_end = &part->next;
    }
}

static struct publish_part *pop_waiting(struct hub *hub, struct hub_queue *queue)
{
    struct publish_part *part = queue->waiting;
    queue->waiting = part->next;
    if (!queue->waiting) {
        queue->waiting_end = &queue->waiting;
    }
    hub->waiting_bytes -= part->event.len;
    part->next = NULL;
    return part;
}

static void push_sent(struct hub_queue *queue, struct publish_part *part)
{
    part->next = NULL;
    *queue->sent_end = part;
    queue->sent_end = &part->next;
}

void hub_part_remove_sent(struct hub_queue *queue, struct publish_part *gone)
{
    if (queue->next_return == gone) {
        queue->next_return = gone->next;
    }
    for (struct publish_part **at = &queue->sent; *at; at = &(*at)->next) {
        if (*at == gone) {
            *at = gone->next;
            if (!*at) {
                queue->sent_end = at;
            }
            return;
        }
    }
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

static int pack(struct hub *hub, struct hub_queue *queue)
{
    buf_clear(&queue->record_bytes);
    queue->record_parts = 0;
    while (queue->waiting) {
        struct publish_part *part = queue->waiting;
        if (queue->record_parts > 0 &&
            queue->record_bytes.len + part->event.len > hub->options.record_bytes) {
            break;
        }
        part->counter = queue->counter + 1;
        event_set_counter(part->event.data, part->counter);
        if (buf_append(&queue->record_bytes, part->event.data, part->event.len)) {
            buf_clear(&queue->record_bytes);
            hub_part_fail(hub, pop_waiting(hub, queue), ERR_NO_MEMORY);
            return ERR_NO_MEMORY;
        }
        queue->counter++;
        queue->record_parts++;
        push_sent(queue, pop_waiting(hub, queue));
    }
    return 0;
}

/* The first part that belongs to the record under way: the last record_parts of sent. */
static struct publish_part *first_of_record(const struct hub_queue *queue)
{
    uint32_t count = 0;
    for (struct publish_part *part = queue->sent; part; part = part->next) {
        count++;
    }
    struct publish_part *part = queue->sent;
    for (uint32_t skip = count - queue->record_parts; skip > 0; skip--) {
        part = part->next;
    }
    return part;
}

static void settle_part(struct hub *hub, struct hub_queue *queue, struct publish_part *part,
                        int err, struct bus_pos pos)
{
    bool stays = !err && part->publish->awaits_return && !part->returned;
    if (!stays) {
        hub_part_remove_sent(queue, part);
    }
    if (err) {
        hub_part_fail(hub, part, err);
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
    struct publish_part *part = first_of_record(queue);
    for (uint32_t i = 0; i < queue->record_parts; i++) {
        struct publish_part *next = part->next;
        struct bus_pos own = {pos.hi, pos.lo + i};
        settle_part(hub, queue, part, err, own);
        part = next;
    }
    queue->record_parts = 0;
}

static void send_record(struct hub *hub, uint32_t index)
{
    struct hub_queue *queue = &hub->queues[index];
    if (pack(hub, queue) || queue->record_parts == 0) {
        return;
    }
    queue->under_way = true;
    queue->record = (struct bus_publish){
        .on_done = on_record_done, .queue = index, .record = buf_str(&queue->record_bytes)};
    int err = bus_publish(hub->bus, &queue->record);
    if (err) {
        on_record_done(&queue->record, err, (struct bus_pos){0, 0});
    }
    hub_count(&hub->stats.records_out, 1);
    hub_count(&hub->stats.events_out, queue->record_parts);
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

/* The record under way is the engine's to end; what waits behind it ends here. */
void hub_fail_late(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->options.queues; i++) {
        struct hub_queue *queue = &hub->queues[i];
        while (queue->waiting && is_late(hub, queue->waiting)) {
            hub_part_fail(hub, pop_waiting(hub, queue), ERR_UNAVAILABLE);
        }
        while (!queue->under_way && queue->sent && is_late(hub, queue->sent)) {
            struct publish_part *part = queue->sent;
            hub_part_remove_sent(queue, part);
            hub_part_fail(hub, part, ERR_TIMEOUT);
        }
    }
}

void hub_fail_all(struct hub *hub, int err)
{
    for (uint32_t i = 0; i < hub->options.queues; i++) {
        struct hub_queue *queue = &hub->queues[i];
        while (queue->waiting) {
            hub_part_fail(hub, pop_waiting(hub, queue), err);
        }
        while (queue->sent) {
            struct publish_part *part = queue->sent;
            hub_part_remove_sent(queue, part);
            hub_part_fail(hub, part, err);
        }
    }
}
