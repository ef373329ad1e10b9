/* Publishes one record to a queue: one message, sent until the broker says that it is stored or
 * that it never will be, or until its deadline passes. The same bytes each time and always to the
 * same queue: where a first try had arrived after all, the reader drops the repeat.
 *
 * A broker may answer everything but take no messages (its disk is full, it is to be shut down, the
 * right is missing). Then the queue is reported down, so that its keys go elsewhere, and once
 * nothing waits for it, a probe is sent now and then: a message that readers pass over. */
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mail.h"
#include "bus/rocketmq_private.h"

enum {
    BUSY_BASE_MS = 40,
    BUSY_MAX_MS = 1000,

};

/* --- when to try again --- */

static void arm(struct rocketmq_queue *queue)
{
    uint64_t now_ms = rocketmq_now_ms(queue->rocketmq);
    uint64_t due_ms = queue->send_again_ms > now_ms ? queue->send_again_ms : UINT64_MAX;
    if (queue->publish && queue->publish->deadline_ms && queue->publish->deadline_ms < due_ms) {
        due_ms = queue->publish->deadline_ms;
    }
    if (due_ms != UINT64_MAX) {
        loop_timer_start(queue->rocketmq->dial.loop, &queue->send_timer,
                         due_ms > now_ms ? due_ms - now_ms : 0);
    }
}

static void try_again_in(struct rocketmq_queue *queue, uint64_t pause_ms)
{
    queue->send_again_ms = rocketmq_now_ms(queue->rocketmq) + pause_ms;
    arm(queue);
}

static void back_off(struct rocketmq_queue *queue)
{
    uint64_t spread = (uint64_t)queue->index * 0x9e3779b97f4a7c15ull ^
                      loop_now_us(queue->rocketmq->dial.loop);
    try_again_in(queue, backoff_next_ms(&queue->send_backoff, spread));
}

/* --- the end of a publish --- */

static void finish(struct rocketmq_queue *queue, int err, struct bus_pos pos)
{
    struct bus_publish *publish = queue->publish;
    queue->publish = NULL;
    queue->rocketmq->unsent &= ~(1ull << queue->index);
    queue->send_again_ms = 0;
    queue->send_backoff.tries = 0;
    if (queue->is_refused) {
        try_again_in(queue, 2 * queue->rocketmq->dial.pause_ms);
    } else {
        loop_timer_stop(queue->rocketmq->dial.loop, &queue->send_timer);
    }
    publish->on_done(publish, err, pos);
}

static void set_refused(struct rocketmq_queue *queue, bool is_refused)
{
    if (queue->is_refused == is_refused) {
        return;
    }
    queue->is_refused = is_refused;
    if (is_refused) {
        log_warn("bus.queue_refused", "queue %u: %s", queue->index, queue->broker->problem);
    } else {
        log_info("bus.queue_accepted", "queue %u takes messages again", queue->index);
        queue->broker->problem[0] = 0;
    }
    rocketmq_report(queue->rocketmq);
}

/* --- answers --- */

/* False: not what an answer to this must be. */
static bool read_place(const struct rocketmq_queue *queue, const struct rocketmq_frame *answer,
                       struct bus_pos *out_pos)
{
    int64_t id, offset;
    if (!rocketmq_frame_i64(answer, STR("queueId"), &id) || id != queue->id ||
        !rocketmq_frame_i64(answer, STR("queueOffset"), &offset) || offset < 0) {
        return false;
    }
    *out_pos = (struct bus_pos){(uint64_t)offset + 1, 0};
    return true;
}

static void on_stored(struct rocketmq_queue *queue, const struct rocketmq_frame *answer)
{
    struct bus_pos pos;
    if (!read_place(queue, answer, &pos)) {
        back_off(queue);
        rocketmq_link_break(&queue->broker->link, "an answer to a send does not say where it is");
        return;
    }
    set_refused(queue, false);
    if (!queue->is_probe && queue->publish) {
        bus_count(&queue->rocketmq->bus.stats.bytes_out, queue->publish->record.len);
        finish(queue, 0, pos);
    } else {
        rocketmq_queue_send(queue);
    }
}

static void on_refused(struct rocketmq_queue *queue, const struct rocketmq_frame *answer)
{
    rocketmq_broker_note(queue->broker, "a send", 0, answer);
    switch (answer->code) {
    case ROCKETMQ_SYSTEM_BUSY: back_off(queue); return;
    case ROCKETMQ_TOPIC_NOT_EXIST: rocketmq_broker_miss_topic(queue->broker); break;
    case ROCKETMQ_SERVICE_NOT_AVAILABLE:
    case ROCKETMQ_NO_PERMISSION: set_refused(queue, true); break;
    default: rocketmq_names_refresh(&queue->rocketmq->names);
    }
    try_again_in(queue, queue->rocketmq->dial.pause_ms);
}

static void on_answer(struct rocketmq_request *request, int err,
                      const struct rocketmq_frame *answer)
{
    struct rocketmq_queue *queue = MAIL_OWNER(request, struct rocketmq_queue, send);
    if (err == ERR_TIMEOUT) {
        rocketmq_queue_send(queue);
        return;
    }
    if (err) {
        return; /* the broker's coming back sends it again */
    }
    switch (answer->code) {
    case ROCKETMQ_SUCCESS:
    case ROCKETMQ_FLUSH_DISK_TIMEOUT: /* stored, but perhaps not yet on the disk or a slave */
    case ROCKETMQ_FLUSH_SLAVE_TIMEOUT:
    case ROCKETMQ_SLAVE_NOT_AVAILABLE: on_stored(queue, answer); break;
    case ROCKETMQ_MESSAGE_ILLEGAL:
        if (!queue->is_probe && queue->publish) {
            finish(queue, ERR_TOO_LARGE, (struct bus_pos){0, 0});
        }
        break;
    default: on_refused(queue, answer);
    }
}

/* --- sending --- */

static int send_message(struct rocketmq_queue *queue, struct str body, struct str flag)
{
    char id[12], born[24];
    snprintf(id, sizeof(id), "%u", queue->id);
    snprintf(born, sizeof(born), "%llu", (unsigned long long)clock_wall_ms());
    struct rocketmq_field fields[ROCKETMQ_FIELDS_MAX] = {
        {STR("a"), str_of(queue->rocketmq->producer_group)},
        {STR("b"), queue->rocketmq->topic},
        {STR("c"), STR("TBW102")},
        {STR("d"), STR("4")},
        {STR("e"), str_of(id)},
        {STR("f"), STR("0")},
        {STR("g"), str_of(born)},
        {STR("h"), flag},
        {STR("j"), STR("0")},
        {STR("k"), STR("false")},
        {STR("m"), STR("false")}};
    return rocketmq_link_send(&queue->broker->link, &queue->send, ROCKETMQ_SEND_MESSAGE_V2, fields,
                              11, body, 0);
}

static void send_publish(struct rocketmq_queue *queue)
{
    struct bus_stats *stats = &queue->rocketmq->bus.stats;
    queue->is_probe = false;
    int err = send_message(queue, queue->publish->record, STR("0"));
    if (err) {
        back_off(queue);
        return;
    }
    if (queue->is_sent) {
        bus_count(&stats->retries, 1);
    }
    queue->is_sent = true;
}

static void send_probe(struct rocketmq_queue *queue)
{
    char flag[12];
    snprintf(flag, sizeof(flag), "%u", ROCKETMQ_PROBE_FLAG);
    queue->is_probe = true;
    send_message(queue, STR("?"), str_of(flag));
    try_again_in(queue, 2 * queue->rocketmq->dial.pause_ms);
}

static bool is_late(const struct rocketmq_queue *queue, uint64_t now_ms)
{
    return queue->publish->deadline_ms && now_ms >= queue->publish->deadline_ms;
}

void rocketmq_queue_send(struct rocketmq_queue *queue)
{
    uint64_t now_ms = rocketmq_now_ms(queue->rocketmq);
    queue->rocketmq->unsent &= ~(1ull << queue->index);
    if (queue->publish && is_late(queue, now_ms)) {
        rocketmq_request_forget(&queue->send);
        finish(queue, queue->is_sent ? ERR_TIMEOUT : ERR_UNAVAILABLE, (struct bus_pos){0, 0});
        return;
    }
    bool can_send = rocketmq_queue_is_settled(queue) &&
                    rocketmq_broker_takes_writes(queue->broker) && now_ms >= queue->send_again_ms &&
                    !rocketmq_request_is_open(&queue->send);
    if (can_send && queue->publish) {
        send_publish(queue);
    } else if (can_send && queue->is_refused) {
        send_probe(queue);
    }
    arm(queue);
}

static void on_timer(struct timer *timer)
{
    rocketmq_queue_send(MAIL_OWNER(timer, struct rocketmq_queue, send_timer));
}

void rocketmq_send_init(struct rocketmq_queue *queue)
{
    queue->send.on_answer = on_answer;
    queue->send_timer.on_fire = on_timer;
    queue->send_backoff = (struct backoff){BUSY_BASE_MS, BUSY_MAX_MS, 0};
}

void rocketmq_send_fini(struct rocketmq_queue *queue)
{
    loop_timer_stop(queue->rocketmq->dial.loop, &queue->send_timer);
    if (queue->publish) {
        finish(queue, ERR_CANCELED, (struct bus_pos){0, 0});
    }
}
