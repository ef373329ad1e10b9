/* Reads one queue: a pull is always under way. The broker holds it until there is something (a long
 * poll), and the next one leaves before what came is handed on.
 *
 * Our place is ours alone: the broker's word for where to go on is taken only forwards, and what
 * lies between is then reported as a hole. Backwards it is asked about first (rocketmq_start.c).
 * After a reconnect the last message is pulled again: another one in its place means that the
 * broker was set up anew, or restored from an older copy. */
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mail.h"
#include "bus/rocketmq_private.h"

enum {
    SUSPEND_MS = 15000, /* brokers look for polls that are over every 5 s only */
    LATE_MS = 12000,    /* so late may an answer come when nothing was there */
    QUICK_MS = 100,     /* an empty answer that comes sooner was no long poll */
    QUICK_MAX = 3,      /* in a row: then a pause, so that such a broker does not keep us busy */
    SYS_SUSPEND = 2,
    SYS_SUBSCRIPTION = 4, /* it is in the request: no heartbeat is needed first */
};

/* --- handing on --- */

static void skip_record(struct rocketmq_queue *queue, uint64_t offset, uint64_t stored_ms)
{
    struct bus *bus = &queue->rocketmq->bus;
    bus_count(&bus->stats.skipped, 1);
    log_warn("bus.record_skipped", "queue %u: what is at offset %llu of broker %.*s is no record",
             queue->index, (unsigned long long)offset, STR_ARG(queue->broker->name));
    bus->callbacks->on_record(bus->owner, queue->index, (struct bus_pos){offset + 1, 0}, STR(""),
                              stored_ms);
}

/* What is next can't be read at all. */
static void skip_unread(struct rocketmq_queue *queue)
{
    rocketmq_queue_start(queue);
    queue->next++;
    skip_record(queue, queue->next - 1, 0);
}

void rocketmq_queue_skip_to(struct rocketmq_queue *queue, uint64_t to, enum bus_hole why)
{
    struct bus *bus = &queue->rocketmq->bus;
    if (queue->is_started) {
        struct bus_pos from = bus_pos_behind(queue->next);
        log_warn("bus.hole", "queue %u: offsets %llu to %llu of broker %.*s are gone", queue->index,
                 (unsigned long long)queue->next, (unsigned long long)(to - 1),
                 STR_ARG(queue->broker->name));
        bus->callbacks->on_hole(bus->owner, queue->index, from, (struct bus_pos){to + 1, 0}, why);
    }
    queue->next = to;
}

static bool is_ours(const struct rocketmq_queue *queue, const struct rocketmq_message *message)
{
    return message->state == ROCKETMQ_MESSAGE_OK && message->queue_id == queue->id &&
           str_equal(message->topic, queue->rocketmq->topic);
}

static void remember(struct rocketmq_queue *queue, const struct rocketmq_message *message)
{
    queue->seen = (struct rocketmq_seen){true, message->queue_offset, message->log_offset,
                                         message->stored_ms};
}

/* Messages older than the window may come first: of a queue that was away for long they would
 * surprise everybody. */
static bool is_too_old(const struct rocketmq_queue *queue, const struct rocketmq_message *message)
{
    return !queue->is_started && message->stored_ms < queue->since_ms;
}

static void take_message(struct rocketmq_queue *queue, const struct rocketmq_message *message)
{
    struct bus *bus = &queue->rocketmq->bus;
    if (message->queue_offset > queue->next) {
        rocketmq_queue_skip_to(queue, message->queue_offset, BUS_HOLE_EXPIRED);
    }
    remember(queue, message);
    if (!queue->is_started && !is_too_old(queue, message)) {
        rocketmq_queue_start(queue);
    }
    queue->next++;
    if (!queue->is_started || message->flag == ROCKETMQ_PROBE_FLAG) {
        return;
    }
    if (!is_ours(queue, message)) {
        skip_record(queue, message->queue_offset, message->stored_ms);
        return;
    }
    bus_count(&bus->stats.bytes_in, message->body.len);
    bus->callbacks->on_record(bus->owner, queue->index, (struct bus_pos){queue->next, 0},
                              message->body, message->stored_ms);
}

/* Hands on what can be read of a body. Returns whether that is all of it. */
static bool take_messages(struct rocketmq_queue *queue, struct str body)
{
    struct rocketmq_message message;
    ssize_t len;
    while ((len = rocketmq_message_read(&message, body)) > 0) {
        body = str_make(body.ptr + len, body.len - (size_t)len);
        if (message.state == ROCKETMQ_MESSAGE_MALFORMED) {
            skip_unread(queue);
        } else if (message.queue_offset >= queue->next) {
            take_message(queue, &message);
        }
    }
    return len == 0 && body.len == 0;
}

/* Whether the body is a row of records, by their sizes alone. */
static bool is_whole(struct str body)
{
    while (body.len > 0) {
        size_t len = rocketmq_message_size(body);
        if (len == 0 || len > body.len) {
            return false;
        }
        body = str_make(body.ptr + len, body.len - len);
    }
    return true;
}

/* --- answers --- */

static int64_t field_or(const struct rocketmq_frame *answer, struct str name, int64_t fallback)
{
    int64_t value;
    return rocketmq_frame_i64(answer, name, &value) && value >= 0 ? value : fallback;
}

/* The end of what can be read now. */
static void reach_end(struct rocketmq_queue *queue)
{
    queue->pin = queue->pin < queue->next ? queue->pin : queue->next;
    rocketmq_queue_start(queue);
}

/* What was refused before is not any more. */
static void end_refusal(struct rocketmq_queue *queue)
{
    if (queue->is_pull_refused) {
        queue->is_pull_refused = false;
        queue->broker->problem[0] = 0;
        rocketmq_report(queue->rocketmq);
    }
}

static void on_found(struct rocketmq_queue *queue, const struct rocketmq_frame *answer)
{
    uint64_t asked = queue->next;
    uint64_t after = (uint64_t)field_or(answer, STR("nextBeginOffset"), (int64_t)asked);
    bool whole = after > asked && is_whole(answer->body);
    queue->quick_empty = 0;
    queue->is_stepping = queue->is_stepping && !whole;
    if (whole) {
        queue->next = after;
        rocketmq_queue_pull(queue);
        queue->next = asked;
    }
    if (!take_messages(queue, answer->body) && queue->next == asked && queue->is_stepping) {
        skip_unread(queue); /* it can't be read even when it comes alone */
        queue->is_stepping = false;
    } else if (!whole) {
        queue->is_stepping = true;
    }
    if (whole && queue->next < after) {
        rocketmq_queue_skip_to(queue, after, BUS_HOLE_EXPIRED);
    }
    if (queue->is_started ? !queue->is_read : queue->next >= queue->pin) {
        rocketmq_queue_start(queue); /* the pin may be reached */
    }
    if (!whole) {
        rocketmq_queue_pull(queue);
    }
}

static bool answered_quickly(struct rocketmq_queue *queue)
{
    bool quick = rocketmq_now_ms(queue->rocketmq) - queue->pulled_ms < QUICK_MS;
    queue->quick_empty = quick ? queue->quick_empty + 1 : 0;
    return queue->quick_empty > QUICK_MAX;
}

static void on_nothing(struct rocketmq_queue *queue, const struct rocketmq_frame *answer)
{
    int64_t end = field_or(answer, STR("maxOffset"), (int64_t)queue->next);
    if ((uint64_t)end < queue->next) {
        rocketmq_queue_ask(queue);
        return;
    }
    if ((uint64_t)end == queue->next) {
        reach_end(queue);
    }
    if (answered_quickly(queue)) {
        rocketmq_queue_pause(queue, QUICK_MS);
    } else {
        rocketmq_queue_pull(queue);
    }
}

static void on_moved(struct rocketmq_queue *queue, const struct rocketmq_frame *answer)
{
    uint64_t to = (uint64_t)field_or(answer, STR("nextBeginOffset"), (int64_t)queue->next);
    if (to < queue->next) {
        rocketmq_queue_ask(queue);
    } else if (to > queue->next) {
        rocketmq_queue_skip_to(queue, to, BUS_HOLE_EXPIRED);
        rocketmq_queue_pull(queue);
    } else {
        rocketmq_queue_pause(queue, queue->rocketmq->dial.pause_ms);
    }
}

/* A queue that can't be read is down: what is published to it would not reach this node. */
static void refuse(struct rocketmq_queue *queue, const struct rocketmq_frame *answer)
{
    rocketmq_broker_note(queue->broker, "a pull", 0, answer);
    if (!queue->is_pull_refused) {
        log_warn("bus.pull_refused", "queue %u: %s", queue->index, queue->broker->problem);
        queue->is_pull_refused = true;
    }
    rocketmq_report(queue->rocketmq);
}

static void on_refused(struct rocketmq_queue *queue, int err, const struct rocketmq_frame *answer)
{
    int32_t code = err ? ROCKETMQ_SYSTEM_BUSY : answer->code;
    switch (code) {
    case ROCKETMQ_SYSTEM_BUSY: break;
    case ROCKETMQ_TOPIC_NOT_EXIST: rocketmq_broker_miss_topic(queue->broker); break;
    case ROCKETMQ_GROUP_NOT_EXIST:
        rocketmq_broker_miss_group(queue->broker);
        queue->is_pull_refused = true; /* it is logged when the group can't be made */
        refuse(queue, answer);
        break;
    default: refuse(queue, answer);
    }
    rocketmq_queue_pause(queue, queue->rocketmq->dial.pause_ms);
}

static void take_answer(struct rocketmq_queue *queue, const struct rocketmq_frame *answer)
{
    switch (answer->code) {
    case ROCKETMQ_SUCCESS: on_found(queue, answer); break;
    case ROCKETMQ_PULL_NOT_FOUND: on_nothing(queue, answer); break;
    case ROCKETMQ_PULL_RETRY:
    case ROCKETMQ_PULL_OFFSET_MOVED: on_moved(queue, answer); break;
    default: on_refused(queue, 0, answer);
    }
}

/* --- looking at the last message again --- */

static bool is_as_seen(const struct rocketmq_seen *seen, const struct rocketmq_message *message)
{
    return message->queue_offset != seen->offset ||
           (message->log_offset == seen->log_offset && message->stored_ms == seen->stored_ms);
}

/* Answers of a pull that began one message back. False: the history is another one. */
static bool history_is_ours(struct rocketmq_queue *queue, const struct rocketmq_frame *answer)
{
    struct rocketmq_message first;
    if (answer->code != ROCKETMQ_SUCCESS) {
        /* Nothing there any more: before the broker's start, which is no matter, or past its end.
         */
        return answer->code != ROCKETMQ_PULL_NOT_FOUND;
    }
    return rocketmq_message_read(&first, answer->body) <= 0 ||
           first.state == ROCKETMQ_MESSAGE_MALFORMED || is_as_seen(&queue->seen, &first);
}

static void take_verifying_answer(struct rocketmq_queue *queue, const struct rocketmq_frame *answer)
{
    uint64_t to = (uint64_t)field_or(answer, STR("nextBeginOffset"), (int64_t)queue->next);
    if (!history_is_ours(queue, answer)) {
        queue->is_other_history = answer->code == ROCKETMQ_SUCCESS;
        rocketmq_queue_ask(queue);
    } else if (answer->code == ROCKETMQ_PULL_OFFSET_MOVED && to < queue->next) {
        rocketmq_queue_ask(queue);
    } else if (answer->code == ROCKETMQ_SUCCESS || answer->code == ROCKETMQ_PULL_OFFSET_MOVED ||
               answer->code == ROCKETMQ_PULL_RETRY) {
        queue->is_verifying = false;
        rocketmq_queue_pull(queue);
        rocketmq_queue_send(queue);
        rocketmq_report(queue->rocketmq);
    } else {
        on_refused(queue, 0, answer);
    }
}

static bool is_good(int32_t code)
{
    return code == ROCKETMQ_SUCCESS || code == ROCKETMQ_PULL_NOT_FOUND ||
           code == ROCKETMQ_PULL_RETRY || code == ROCKETMQ_PULL_OFFSET_MOVED;
}

static void on_answer(struct rocketmq_request *request, int err,
                      const struct rocketmq_frame *answer)
{
    struct rocketmq_queue *queue = MAIL_OWNER(request, struct rocketmq_queue, pull);
    if (err == ERR_CLOSED) {
        return; /* the broker's coming back begins anew */
    }
    if (!err && is_good(answer->code)) {
        end_refusal(queue);
    }
    if (err) {
        on_refused(queue, err, NULL);
    } else if (queue->is_verifying) {
        take_verifying_answer(queue, answer);
    } else {
        take_answer(queue, answer);
    }
}

/* --- asking --- */

void rocketmq_queue_pull(struct rocketmq_queue *queue)
{
    char id[12], offset[24];
    bool verifying = queue->is_verifying;
    bool waits = queue->is_read && !verifying; /* before, an answer must come: is it readable? */
    snprintf(id, sizeof(id), "%u", queue->id);
    snprintf(offset, sizeof(offset), "%llu", (unsigned long long)(queue->next - verifying));
    /* In the order of their names, as a signature wants them. */
    struct rocketmq_field fields[ROCKETMQ_FIELDS_MAX] = {
        {STR("commitOffset"), STR("0")},
        {STR("consumerGroup"), str_of(queue->rocketmq->consumer_group)},
        {STR("expressionType"), STR("TAG")},
        {STR("maxMsgNums"), queue->is_stepping || verifying ? STR("1") : STR("32")},
        {STR("queueId"), str_of(id)},
        {STR("queueOffset"), str_of(offset)},
        {STR("subVersion"), STR("0")},
        {STR("subscription"), STR("*")},
        {STR("suspendTimeoutMillis"), STR("15000")},
        {STR("sysFlag"), waits ? STR("6") : STR("4")},
        {STR("topic"), queue->rocketmq->topic}};
    _Static_assert(SUSPEND_MS == 15000 && SYS_SUSPEND + SYS_SUBSCRIPTION == 6, "as written above");
    if (rocketmq_request_is_open(&queue->pull) || !queue->broker->is_up) {
        return;
    }
    queue->pulled_ms = rocketmq_now_ms(queue->rocketmq);
    if (rocketmq_link_send(&queue->broker->link, &queue->pull, ROCKETMQ_PULL_MESSAGE, fields, 11,
                           STR(""), waits ? SUSPEND_MS + LATE_MS : 0)) {
        rocketmq_queue_pause(queue, queue->rocketmq->dial.pause_ms);
    }
}

void rocketmq_queue_pause(struct rocketmq_queue *queue, uint64_t pause_ms)
{
    loop_timer_start(queue->rocketmq->dial.loop, &queue->pull_timer, pause_ms);
}

static void on_pull_timer(struct timer *timer)
{
    struct rocketmq_queue *queue = MAIL_OWNER(timer, struct rocketmq_queue, pull_timer);
    if (!queue->broker->is_up) {
        return;
    }
    if (queue->has_next && !queue->is_other_history) {
        rocketmq_queue_pull(queue);
    } else {
        rocketmq_queue_ask(queue);
    }
}

void rocketmq_queue_resume(struct rocketmq_queue *queue)
{
    loop_timer_stop(queue->rocketmq->dial.loop, &queue->pull_timer);
    if (!queue->has_next || queue->is_other_history) {
        rocketmq_queue_ask(queue);
        return;
    }
    queue->is_verifying = queue->seen.is_known && queue->seen.offset + 1 == queue->next;
    rocketmq_queue_pull(queue);
}

void rocketmq_queue_init(struct rocketmq_queue *queue, struct rocketmq_bus *rocketmq,
                         uint32_t index)
{
    queue->rocketmq = rocketmq;
    queue->broker = &rocketmq->brokers[index % rocketmq->broker_count];
    queue->index = index;
    queue->id = index / rocketmq->broker_count;
    queue->pull.on_answer = on_answer;
    queue->pull_timer.on_fire = on_pull_timer;
    rocketmq_send_init(queue);
}

void rocketmq_queue_fini(struct rocketmq_queue *queue)
{
    if (!queue->rocketmq) {
        return;
    }
    loop_timer_stop(queue->rocketmq->dial.loop, &queue->pull_timer);
    rocketmq_send_fini(queue);
}
