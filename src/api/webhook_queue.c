#include "api/webhook_queue.h"

#include "base/err.h"
#include "base/mem.h"

enum { TOO_MANY = 429, TOO_EARLY = 425, REQUEST_TIMEOUT = 408 };

enum webhook_verdict webhook_judge(int err, int status)
{
    if (status >= 200 && status < 300) {
        return WEBHOOK_TAKEN;
    }
    if (err == ERR_CANCELED) {
        return WEBHOOK_CANCELED;
    }
    bool is_for_now = status == REQUEST_TIMEOUT || status == TOO_EARLY || status == TOO_MANY;
    return !err && status >= 400 && status < 500 && !is_for_now ? WEBHOOK_REJECTED : WEBHOOK_RETRY;
}

void webhook_queue_init(struct webhook_queue *queue, uint64_t give_up_ms)
{
    *queue = (struct webhook_queue){
        .give_up_ms = give_up_ms,
        .rest = {.base_ms = WEBHOOK_RETRY_MS, .max_ms = WEBHOOK_REST_MAX_MS}};
}

/* ---- lines ---- */

static void push_back(struct webhook_line *line, struct webhook_item *item)
{
    item->next = NULL;
    if (line->last) {
        line->last->next = item;
    } else {
        line->first = item;
    }
    line->last = item;
}

static void push_front(struct webhook_line *line, struct webhook_item *item)
{
    item->next = line->first;
    line->first = item;
    line->last = line->last ? line->last : item;
}

static struct webhook_item *pop(struct webhook_line *line)
{
    struct webhook_item *item = line->first;
    if (item) {
        line->first = item->next;
        line->last = line->first ? line->last : NULL;
    }
    return item;
}

static uint32_t lane_of(const struct webhook_item *item)
{
    return item->event->subject_hash % WEBHOOK_LANES;
}

int webhook_queue_add(struct webhook_queue *queue, struct webhook_event *event)
{
    struct webhook_item *item = mem_zalloc(sizeof(*item));
    if (!item) {
        return ERR_NO_MEMORY;
    }
    event->refs++;
    item->event = event;
    push_back(&queue->lanes[lane_of(item)], item);
    queue->count++;
    return 0;
}

/* ---- tries ---- */

/* Ahead of the younger ones of its lane. */
static void bring_back_due(struct webhook_queue *queue, uint64_t now_ms)
{
    for (int i = WEBHOOK_DELAYS - 1; i >= 0; i--) {
        while (queue->aside[i].first && queue->aside[i].first->due_ms <= now_ms) {
            struct webhook_item *item = pop(&queue->aside[i]);
            push_front(&queue->lanes[lane_of(item)], item);
        }
    }
}

static bool may_send(const struct webhook_queue *queue, uint64_t now_ms)
{
    bool is_trying = queue->rest.tries > 0;
    return now_ms >= queue->rests_until_ms && !(is_trying && queue->under_way > 0);
}

struct webhook_item *webhook_queue_take(struct webhook_queue *queue, uint64_t now_ms)
{
    if (!may_send(queue, now_ms)) {
        return NULL;
    }
    bring_back_due(queue, now_ms);
    for (uint32_t i = 0; i < WEBHOOK_LANES; i++) {
        uint32_t lane = (queue->next_lane + i) % WEBHOOK_LANES;
        if (!queue->is_busy[lane] && queue->lanes[lane].first) {
            queue->is_busy[lane] = true;
            queue->under_way++;
            queue->next_lane = lane + 1;
            return pop(&queue->lanes[lane]);
        }
    }
    return NULL;
}

static struct webhook_event *leave(struct webhook_queue *queue, struct webhook_item *item)
{
    struct webhook_event *event = item->event;
    queue->count--;
    mem_free(item);
    return event;
}

/* Who made the event may have read the clock a moment later. */
static bool is_too_old(const struct webhook_queue *queue, const struct webhook_event *event,
                       uint64_t now_ms)
{
    return now_ms >= event->born_ms + queue->give_up_ms;
}

struct webhook_event *webhook_queue_expire(struct webhook_queue *queue, uint64_t now_ms)
{
    for (int i = 0; i < WEBHOOK_LANES; i++) {
        const struct webhook_item *first = queue->lanes[i].first;
        if (first && is_too_old(queue, first->event, now_ms)) {
            return leave(queue, pop(&queue->lanes[i]));
        }
    }
    return NULL;
}

static uint64_t delay_of(unsigned tries)
{
    uint64_t delay_ms = (uint64_t)WEBHOOK_RETRY_MS << (tries < 30 ? tries : 30);
    return delay_ms < WEBHOOK_RETRY_MAX_MS ? delay_ms : WEBHOOK_RETRY_MAX_MS;
}

static void rest(struct webhook_queue *queue, uint64_t retry_after_ms, uint64_t now_ms,
                 uint64_t random)
{
    uint64_t asked_ms = retry_after_ms < WEBHOOK_RETRY_AFTER_MAX_MS ? retry_after_ms
                                                                    : WEBHOOK_RETRY_AFTER_MAX_MS;
    bool is_resting = now_ms < queue->rests_until_ms; /* it began before the last failure */
    uint64_t rest_ms = is_resting ? 0 : backoff_next_ms(&queue->rest, random);
    uint64_t until_ms = now_ms + (asked_ms > rest_ms ? asked_ms : rest_ms);
    queue->rests_until_ms = until_ms > queue->rests_until_ms ? until_ms : queue->rests_until_ms;
}

static struct webhook_event *put_aside(struct webhook_queue *queue, struct webhook_item *item,
                                       uint64_t now_ms)
{
    unsigned line = item->tries < WEBHOOK_DELAYS ? item->tries : WEBHOOK_DELAYS - 1;
    item->due_ms = now_ms + delay_of(line);
    item->tries++;
    if (is_too_old(queue, item->event, item->due_ms)) {
        return leave(queue, item);
    }
    push_back(&queue->aside[line], item);
    return NULL;
}

struct webhook_event *webhook_queue_done(struct webhook_queue *queue, struct webhook_item *item,
                                         enum webhook_verdict verdict, uint64_t retry_after_ms,
                                         uint64_t now_ms, uint64_t random)
{
    queue->is_busy[lane_of(item)] = false;
    queue->under_way--;
    if (verdict == WEBHOOK_CANCELED) {
        push_front(&queue->lanes[lane_of(item)], item);
        return NULL;
    }
    if (verdict == WEBHOOK_RETRY) {
        rest(queue, retry_after_ms, now_ms, random);
        return put_aside(queue, item, now_ms);
    }
    if (now_ms >= queue->rests_until_ms) { /* else it was sent before the failure */
        queue->rest.tries = 0;
        queue->rests_until_ms = 0;
    }
    return leave(queue, item);
}

static bool has_ready(const struct webhook_queue *queue)
{
    for (int i = 0; i < WEBHOOK_LANES; i++) {
        if (queue->lanes[i].first && !queue->is_busy[i]) {
            return true;
        }
    }
    return false;
}

static uint64_t first_due_ms(const struct webhook_queue *queue)
{
    uint64_t due_ms = UINT64_MAX;
    for (int i = 0; i < WEBHOOK_DELAYS; i++) {
        const struct webhook_item *item = queue->aside[i].first;
        due_ms = item && item->due_ms < due_ms ? item->due_ms : due_ms;
    }
    return due_ms;
}

uint64_t webhook_queue_wait_ms(const struct webhook_queue *queue, uint64_t now_ms)
{
    uint64_t due_ms = has_ready(queue) ? now_ms : first_due_ms(queue);
    if (due_ms == UINT64_MAX || (queue->rest.tries > 0 && queue->under_way > 0)) {
        return UINT64_MAX; /* what is under way will say more */
    }
    due_ms = due_ms > queue->rests_until_ms ? due_ms : queue->rests_until_ms;
    return due_ms > now_ms ? due_ms - now_ms : 0;
}

bool webhook_queue_is_busy(const struct webhook_queue *queue)
{
    return queue->under_way > 0 || (queue->rest.tries == 0 && has_ready(queue));
}

static struct webhook_event *drop_of(struct webhook_queue *queue, struct webhook_line *lines,
                                     int count)
{
    for (int i = 0; i < count; i++) {
        struct webhook_item *item = pop(&lines[i]);
        if (item) {
            return leave(queue, item);
        }
    }
    return NULL;
}

struct webhook_event *webhook_queue_drop(struct webhook_queue *queue)
{
    struct webhook_event *event = drop_of(queue, queue->lanes, WEBHOOK_LANES);
    return event ? event : drop_of(queue, queue->aside, WEBHOOK_DELAYS);
}
