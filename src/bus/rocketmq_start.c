/* Where in a queue reading begins. The queue's two ends are asked for, and the first message that
 * was stored since the window's start. The same questions settle it when an answer to a pull says
 * that our place is not in the queue any more: nothing is believed that only one answer says. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mail.h"
#include "bus/rocketmq_private.h"

#include <stdio.h>

/* How much earlier than the window we look: the broker's clock and ours differ a little, and 4.9
 * answers a question for a time from what it knows of whole files. */
enum { CLOCK_MARGIN_MS = 10000 };

static void begin(struct rocketmq_queue *queue)
{
    queue->has_next = true;
    queue->next = queue->found;
    queue->pin = queue->max;
}

/* Another history: whatever we knew of the queue is void. */
static void begin_anew(struct rocketmq_queue *queue)
{
    struct rocketmq_bus *rocketmq = queue->rocketmq;
    log_warn("bus.history_changed",
             "queue %u: broker %.*s has another history (its end is %llu, we were at %llu)",
             queue->index, STR_ARG(queue->broker->name), (unsigned long long)queue->max,
             (unsigned long long)queue->next);
    if (queue->is_started) {
        rocketmq->bus.callbacks->on_hole(rocketmq->bus.owner, queue->index,
                                         bus_pos_behind(queue->next),
                                         (struct bus_pos){queue->found + 1, 0}, BUS_HOLE_EPOCH);
    }
    queue->next = queue->found;
    queue->pin = queue->max;
    queue->seen.is_known = false;
    queue->is_other_history = false;
}

/* False: all is as we thought, and what made us ask was a false alarm. */
static bool settle(struct rocketmq_queue *queue)
{
    queue->max = queue->max < queue->min ? queue->min : queue->max;
    queue->found = queue->found < queue->min ? queue->min : queue->found;
    queue->found = queue->found > queue->max ? queue->max : queue->found;
    if (!queue->has_next) {
        begin(queue);
    } else if (queue->is_other_history || queue->next > queue->max) {
        begin_anew(queue);
    } else if (queue->next < queue->min) {
        rocketmq_queue_skip_to(queue, queue->min, BUS_HOLE_EXPIRED);
    } else {
        return false;
    }
    return true;
}

static void on_all_answered(struct rocketmq_queue *queue)
{
    if (!queue->broker->is_up) {
        return; /* its coming back asks anew */
    }
    if (queue->ask_failed) {
        rocketmq_queue_pause(queue, queue->rocketmq->dial.pause_ms);
        return;
    }
    bool changed = settle(queue);
    queue->is_verifying = false;
    if (changed) {
        rocketmq_queue_pull(queue);
    } else {
        rocketmq_queue_pause(queue, queue->rocketmq->dial.pause_ms); /* it may be raised again */
    }
    rocketmq_queue_send(queue);
    rocketmq_report(queue->rocketmq);
}

static void take_offset(struct rocketmq_queue *queue, int err, const struct rocketmq_frame *answer,
                        uint64_t *out_offset)
{
    int64_t offset;
    if (!err && answer->code == ROCKETMQ_SUCCESS &&
        rocketmq_frame_i64(answer, STR("offset"), &offset)) {
        *out_offset = offset > 0 ? (uint64_t)offset : 0; /* -1: nothing was ever there */
    } else {
        queue->ask_failed = true;
    }
    if (!err && answer->code == ROCKETMQ_TOPIC_NOT_EXIST) {
        rocketmq_broker_miss_topic(queue->broker);
    } else if (err != ERR_CLOSED && queue->ask_failed) {
        rocketmq_broker_note(queue->broker, "asking for an offset", err, answer);
    }
    if (--queue->asks_left == 0) {
        on_all_answered(queue);
    }
}

static void on_min(struct rocketmq_request *request, int err, const struct rocketmq_frame *answer)
{
    struct rocketmq_queue *queue = MAIL_OWNER(request, struct rocketmq_queue, ask_min);
    take_offset(queue, err, answer, &queue->min);
}

static void on_max(struct rocketmq_request *request, int err, const struct rocketmq_frame *answer)
{
    struct rocketmq_queue *queue = MAIL_OWNER(request, struct rocketmq_queue, ask_max);
    take_offset(queue, err, answer, &queue->max);
}

static void on_found(struct rocketmq_request *request, int err, const struct rocketmq_frame *answer)
{
    struct rocketmq_queue *queue = MAIL_OWNER(request, struct rocketmq_queue, ask_search);
    take_offset(queue, err, answer, &queue->found);
}

static void ask(struct rocketmq_queue *queue, struct rocketmq_request *request, int32_t code,
                struct str timestamp)
{
    char id[12];
    snprintf(id, sizeof(id), "%u", queue->id);
    struct rocketmq_field fields[ROCKETMQ_FIELDS_MAX] = {{STR("topic"), queue->rocketmq->topic},
                                                         {STR("queueId"), str_of(id)},
                                                         {STR("timestamp"), timestamp}};
    queue->asks_left++;
    if (rocketmq_link_send(&queue->broker->link, request, code, fields, timestamp.len ? 3 : 2,
                           STR(""), 0)) {
        queue->ask_failed = true;
        queue->asks_left--;
    }
}

void rocketmq_queue_ask(struct rocketmq_queue *queue)
{
    char timestamp[24];
    uint64_t age_ms = queue->rocketmq->window_age_ms + CLOCK_MARGIN_MS;
    uint64_t wall_ms = clock_wall_ms();
    if (queue->asks_left > 0) {
        return;
    }
    queue->since_ms = wall_ms > age_ms ? wall_ms - age_ms : 0;
    queue->ask_failed = false;
    queue->ask_min.on_answer = on_min;
    queue->ask_max.on_answer = on_max;
    queue->ask_search.on_answer = on_found;
    snprintf(timestamp, sizeof(timestamp), "%llu", (unsigned long long)queue->since_ms);
    ask(queue, &queue->ask_search, ROCKETMQ_SEARCH_OFFSET, str_of(timestamp));
    ask(queue, &queue->ask_min, ROCKETMQ_GET_MIN_OFFSET, STR(""));
    ask(queue, &queue->ask_max, ROCKETMQ_GET_MAX_OFFSET, STR(""));
    if (queue->asks_left == 0) {
        rocketmq_queue_pause(queue, queue->rocketmq->dial.pause_ms);
    }
}

void rocketmq_queue_start(struct rocketmq_queue *queue)
{
    struct rocketmq_bus *rocketmq = queue->rocketmq;
    struct bus *bus = &rocketmq->bus;
    if (!queue->is_started) {
        if (!rocketmq->has_epoch) {
            rocketmq->has_epoch = true;
            bus->callbacks->on_epoch(bus->owner, str_of(rocketmq->epoch));
        }
        queue->is_started = true;
        bus->callbacks->on_start(bus->owner, queue->index, bus_pos_behind(queue->next));
    }
    if (!queue->is_read && queue->next >= queue->pin) {
        queue->is_read = true;
    }
    rocketmq_report(rocketmq);
    rocketmq_queue_send(queue); /* what was handed in before it started */
}
