/* One configured broker: its address comes from the name servers. Connected, it gets a heartbeat,
 * whose answer proves that somebody is there (a stopped process still takes connections); then the
 * topic is made if the route does not show it; then its queues are read and written. */
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mail.h"
#include "bus/rocketmq_private.h"
#include "proto/json.h"

enum {
    HEARTBEAT_MS = 30000, /* a client that was silent for 120 s is dropped */
    SILENCE_MS = 2000,    /* then a broker is asked whether it is there */
    REMARK_MAX = 120,     /* bytes of it that are shown */
};

/* --- what is wrong with it --- */

static void set_problem(struct rocketmq_broker *broker, const char *problem)
{
    if (broker->link.host[0]) {
        snprintf(broker->problem, sizeof(broker->problem), "broker %.*s at %.100s:%u: %.100s",
                 STR_ARG(broker->name), broker->link.host, broker->link.port, problem);
    } else {
        snprintf(broker->problem, sizeof(broker->problem), "broker %.*s: %s", STR_ARG(broker->name),
                 problem);
    }
}

static void format_refusal(char *out, size_t cap, const char *what, int err,
                           const struct rocketmq_frame *answer)
{
    if (err) {
        snprintf(out, cap, "%s: %s", what, err_str(err));
        return;
    }
    struct str remark = answer->remark;
    remark.len = remark.len < REMARK_MAX ? remark.len : REMARK_MAX;
    snprintf(out, cap, "%s was refused with code %d%s%.*s", what, answer->code,
             remark.len ? ": " : "", STR_ARG(remark));
}

void rocketmq_broker_note(struct rocketmq_broker *broker, const char *what, int err,
                          const struct rocketmq_frame *answer)
{
    char problem[ROCKETMQ_PROBLEM_MAX / 2 + REMARK_MAX];
    format_refusal(problem, sizeof(problem), what, err, answer);
    set_problem(broker, problem);
}

/* --- up and away --- */

static void come_up(struct rocketmq_broker *broker)
{
    struct rocketmq_bus *rocketmq = broker->rocketmq;
    broker->is_up = true;
    broker->problem[0] = 0;
    rocketmq_link_praise(&broker->link);
    if (broker->is_lost_logged) {
        log_info("bus.link_made", "broker %.*s at %s:%u answers again", STR_ARG(broker->name),
                 broker->link.host, broker->link.port);
        broker->is_lost_logged = false;
    }
    for (uint32_t i = 0; i < rocketmq->bus.queues; i++) {
        if (rocketmq->queues[i].broker == broker) {
            rocketmq_queue_resume(&rocketmq->queues[i]);
            rocketmq_queue_send(&rocketmq->queues[i]);
        }
    }
    rocketmq_report(rocketmq);
}

/* What was handed in while nothing could be sent. */
static void send_waiting(struct rocketmq_broker *broker)
{
    struct rocketmq_bus *rocketmq = broker->rocketmq;
    for (uint32_t i = 0; i < rocketmq->bus.queues; i++) {
        if (rocketmq->queues[i].broker == broker) {
            rocketmq_queue_send(&rocketmq->queues[i]);
        }
    }
}

static void on_lost(struct rocketmq_link *link, const char *problem)
{
    struct rocketmq_broker *broker = MAIL_OWNER(link, struct rocketmq_broker, link);
    if (broker->is_up) {
        broker->away_since_ms = rocketmq_now_ms(broker->rocketmq);
    }
    broker->is_up = false;
    set_problem(broker, problem);
    if (!broker->is_lost_logged) {
        log_warn("bus.link_lost", "%s", broker->problem);
        broker->is_lost_logged = true;
    }
    rocketmq_names_refresh(&broker->rocketmq->names);
    rocketmq_report(broker->rocketmq);
}

/* --- the topic --- */

static bool topic_is_short(const struct rocketmq_broker *broker)
{
    return broker->topic_queues < broker->queue_count;
}

static void on_created(struct rocketmq_request *request, int err,
                       const struct rocketmq_frame *answer)
{
    struct rocketmq_broker *broker = MAIL_OWNER(request, struct rocketmq_broker, create);
    if (err == ERR_CLOSED) {
        return;
    }
    if (err || answer->code != ROCKETMQ_SUCCESS) {
        rocketmq_broker_note(broker, "making the topic", err, answer);
        if (!broker->is_topic_refused) {
            log_warn("bus.topic_refused", "%s", broker->problem);
        }
        broker->is_topic_refused = true;
        loop_timer_start(broker->rocketmq->dial.loop, &broker->create_timer,
                         broker->rocketmq->dial.pause_ms);
        rocketmq_report(broker->rocketmq);
        return;
    }
    log_info("bus.topic_made", "topic %.*s has %u queues at broker %.*s",
             STR_ARG(broker->rocketmq->topic), broker->queue_count, STR_ARG(broker->name));
    broker->is_topic_refused = false;
    broker->topic_queues = broker->queue_count;
    broker->perm = ROCKETMQ_PERM_READ | ROCKETMQ_PERM_WRITE;
    rocketmq_names_refresh(&broker->rocketmq->names);
    if (broker->is_up) {
        send_waiting(broker);
    } else {
        come_up(broker);
    }
}

static void create_topic(struct rocketmq_broker *broker)
{
    char queues[12];
    if (rocketmq_request_is_open(&broker->create) || timer_is_running(&broker->create_timer)) {
        return;
    }
    snprintf(queues, sizeof(queues), "%u", broker->queue_count);
    struct rocketmq_field fields[ROCKETMQ_FIELDS_MAX] = {
        {STR("topic"), broker->rocketmq->topic},
        {STR("defaultTopic"), STR("TBW102")},
        {STR("readQueueNums"), str_of(queues)},
        {STR("writeQueueNums"), str_of(queues)},
        {STR("perm"), STR("6")},
        {STR("topicFilterType"), STR("SINGLE_TAG")},
        {STR("topicSysFlag"), STR("0")},
        {STR("order"), STR("false")}};
    rocketmq_link_send(&broker->link, &broker->create, ROCKETMQ_CREATE_TOPIC, fields, 8, STR(""),
                       0);
}

static void on_create_timer(struct timer *timer)
{
    struct rocketmq_broker *broker = MAIL_OWNER(timer, struct rocketmq_broker, create_timer);
    if (!topic_is_short(broker) && broker->link.is_open && !broker->is_up) {
        come_up(broker); /* somebody else made it */
    } else {
        create_topic(broker); /* not connected: on_open comes here again */
    }
}

void rocketmq_broker_miss_topic(struct rocketmq_broker *broker)
{
    broker->topic_queues = 0;
    create_topic(broker);
}

/* To where the route says that it is, if that is not where we have it. */
static void move(struct rocketmq_broker *broker, const struct rocketmq_route_broker *route)
{
    struct rocketmq_link *link = &broker->link;
    if (str_equal(str_of(link->host), route->host) && link->port == route->port) {
        return;
    }
    if (link->host[0]) {
        log_info("bus.broker_moved", "broker %.*s is at %.*s:%u now", STR_ARG(broker->name),
                 STR_ARG(route->host), route->port);
    }
    if (broker->is_up) {
        broker->away_since_ms = rocketmq_now_ms(broker->rocketmq);
        broker->is_up = false;
    }
    rocketmq_link_set_address(link, route->host, route->port, true);
    set_problem(broker, "connecting");
}

void rocketmq_broker_set_route(struct rocketmq_broker *broker,
                               const struct rocketmq_route_broker *route)
{
    broker->has_route = route->has_topic;
    broker->topic_queues = route->read_queues < route->write_queues ? route->read_queues
                                                                    : route->write_queues;
    if (route->has_topic) {
        broker->perm = route->perm;
    }
    move(broker, route);
    if (broker->is_up && topic_is_short(broker)) {
        create_topic(broker);
    }
    send_waiting(broker); /* the permission to write may be back */
}

/* --- the consumer group: nothing is kept under it, but a pull has to name one --- */

static void on_group_created(struct rocketmq_request *request, int err,
                             const struct rocketmq_frame *answer)
{
    struct rocketmq_broker *broker = MAIL_OWNER(request, struct rocketmq_broker, create_group);
    if (!err && answer->code == ROCKETMQ_SUCCESS) {
        broker->is_group_refused = false;
        log_info("bus.group_made", "consumer group %s at broker %.*s",
                 broker->rocketmq->consumer_group, STR_ARG(broker->name));
    } else if (!err && !broker->is_group_refused) {
        broker->is_group_refused = true;
        rocketmq_broker_note(broker, "making the consumer group", err, answer);
        log_warn("bus.group_refused", "%s", broker->problem);
    }
}

void rocketmq_broker_miss_group(struct rocketmq_broker *broker)
{
    struct rocketmq_field fields[2];
    struct buf body = {0};
    if (rocketmq_request_is_open(&broker->create_group)) {
        return;
    }
    buf_append_str(&body,
                   STR("{\"brokerId\":0,\"consumeBroadcastEnable\":true,\"consumeEnable\":true,"
                       "\"retryQueueNums\":1,\"retryMaxTimes\":16"));
    json_write_string_field(&body, STR("groupName"), str_of(broker->rocketmq->consumer_group));
    buf_append_str(&body, STR("}"));
    if (!buf_err(&body)) {
        rocketmq_link_send(&broker->link, &broker->create_group, ROCKETMQ_CREATE_GROUP, fields, 0,
                           buf_str(&body), 0);
    }
    buf_fini(&body);
}

/* --- does it answer --- */

static void on_heartbeat(struct rocketmq_request *request, int err,
                         const struct rocketmq_frame *answer)
{
    struct rocketmq_broker *broker = MAIL_OWNER(request, struct rocketmq_broker, heartbeat);
    if (err == ERR_CLOSED || broker->is_up) {
        return; /* any answer proves that it is there */
    }
    if (err || answer->code != ROCKETMQ_SUCCESS) {
        char problem[ROCKETMQ_PROBLEM_MAX];
        format_refusal(problem, sizeof(problem), "a heartbeat", err, answer);
        rocketmq_link_break(&broker->link, problem);
    } else if (topic_is_short(broker)) {
        create_topic(broker);
    } else {
        come_up(broker);
    }
}

static void prove(struct rocketmq_broker *broker)
{
    struct rocketmq_field fields[2];
    broker->heartbeat_due_ms = rocketmq_now_ms(broker->rocketmq) + HEARTBEAT_MS;
    if (!rocketmq_request_is_open(&broker->heartbeat)) {
        rocketmq_link_send(&broker->link, &broker->heartbeat, ROCKETMQ_HEART_BEAT, fields, 0,
                           buf_str(&broker->rocketmq->heartbeat), 0);
    }
}

static void on_open(struct rocketmq_link *link)
{
    struct rocketmq_broker *broker = MAIL_OWNER(link, struct rocketmq_broker, link);
    loop_timer_stop(broker->rocketmq->dial.loop, &broker->create_timer);
    prove(broker);
}

static void on_ping(struct rocketmq_request *request, int err, const struct rocketmq_frame *answer)
{
    /* Any answer will do, and the link sees to it that there is one. */
}

static void ping(struct rocketmq_broker *broker)
{
    struct rocketmq_field fields[4] = {{STR("topic"), broker->rocketmq->topic},
                                       {STR("queueId"), STR("0")}};
    rocketmq_link_send(&broker->link, &broker->ping, ROCKETMQ_GET_MAX_OFFSET, fields, 2, STR(""),
                       0);
}

void rocketmq_broker_tick(struct rocketmq_broker *broker)
{
    uint64_t now_ms = rocketmq_now_ms(broker->rocketmq);
    if (!broker->is_up) {
        return;
    }
    if (now_ms >= broker->heartbeat_due_ms) {
        prove(broker);
    } else if (now_ms - broker->link.received_ms >= SILENCE_MS &&
               !rocketmq_request_is_open(&broker->ping)) {
        ping(broker);
    }
}

void rocketmq_broker_init(struct rocketmq_broker *broker, struct rocketmq_bus *rocketmq,
                          struct str name)
{
    static const struct rocketmq_link_callbacks callbacks = {on_open, on_lost};
    broker->rocketmq = rocketmq;
    broker->name = name;
    broker->perm = ROCKETMQ_PERM_READ | ROCKETMQ_PERM_WRITE;
    broker->away_since_ms = rocketmq_now_ms(rocketmq);
    broker->heartbeat.on_answer = on_heartbeat;
    broker->create.on_answer = on_created;
    broker->create_group.on_answer = on_group_created;
    broker->create_timer.on_fire = on_create_timer;
    broker->ping.on_answer = on_ping;
    rocketmq_link_init(&broker->link, &rocketmq->dial, &callbacks);
    set_problem(broker, "no name server knows it");
}

void rocketmq_broker_fini(struct rocketmq_broker *broker)
{
    if (broker->rocketmq) {
        loop_timer_stop(broker->rocketmq->dial.loop, &broker->create_timer);
    }
    rocketmq_link_fini(&broker->link);
}
