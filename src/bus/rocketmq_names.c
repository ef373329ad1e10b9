/* Name servers know where the brokers are and what they have of a topic. One of them is asked at a
 * time; the next one takes its place when it fails. The route of the topic lists the brokers that
 * have it; for the others, the description of the whole cluster is asked for. */
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mail.h"
#include "bus/rocketmq_private.h"

enum { MIN_GAP_MS = 1000 /* between two questions */ };

static void on_route(struct rocketmq_request *request, int err,
                     const struct rocketmq_frame *answer);

static void schedule(struct rocketmq_names *names)
{
    bool all_up = true;
    for (uint32_t i = 0; i < names->rocketmq->broker_count; i++) {
        all_up = all_up && names->rocketmq->brokers[i].is_up;
    }
    loop_timer_start(names->rocketmq->dial.loop, &names->timer,
                     all_up ? ROCKETMQ_REFRESH_MS : MIN_GAP_MS);
}

static void note(struct rocketmq_names *names, const char *problem)
{
    snprintf(names->problem, sizeof(names->problem), "name server %.*s: %s",
             STR_ARG(names->servers[names->current]), problem);
}

/* --- asking --- */

static void ask_route(struct rocketmq_names *names)
{
    struct rocketmq_field fields[4] = {{STR("topic"), names->rocketmq->topic},
                                       {STR("acceptStandardJsonOnly"), STR("true")}};
    if (!names->link.is_open || rocketmq_request_is_open(&names->ask)) {
        return; /* on_open asks, or the answer is on its way */
    }
    names->asked_ms = rocketmq_now_ms(names->rocketmq);
    names->ask.on_answer = on_route;
    if (rocketmq_link_send(&names->link, &names->ask, ROCKETMQ_GET_ROUTE, fields, 2, STR(""), 0)) {
        schedule(names);
    }
}

void rocketmq_names_refresh(struct rocketmq_names *names)
{
    uint64_t since_ms = rocketmq_now_ms(names->rocketmq) - names->asked_ms;
    if (since_ms >= MIN_GAP_MS) {
        ask_route(names);
    } else {
        loop_timer_start(names->rocketmq->dial.loop, &names->timer, MIN_GAP_MS - since_ms);
    }
}

static void on_timer(struct timer *timer)
{
    ask_route(MAIL_OWNER(timer, struct rocketmq_names, timer));
}

/* --- answers --- */

static void end_of_question(struct rocketmq_names *names)
{
    buf_fini(&names->body);
    schedule(names);
    rocketmq_report(names->rocketmq);
}

/* A server whose answers are of no use is left like one that is gone. */
static void fail_question(struct rocketmq_names *names, int err,
                          const struct rocketmq_frame *answer)
{
    char problem[ROCKETMQ_PROBLEM_MAX / 2];
    buf_fini(&names->body);
    if (err == ERR_CLOSED) {
        return; /* on_lost follows */
    }
    if (err == ERR_TIMEOUT) {
        snprintf(problem, sizeof(problem), "%s", err_str(err));
    } else if (answer->code == ROCKETMQ_SUCCESS) {
        snprintf(problem, sizeof(problem), "answered what is no route");
    } else {
        struct str remark = answer->remark;
        remark.len = remark.len < 80 ? remark.len : 80;
        snprintf(problem, sizeof(problem), "answered code %d: %.*s", answer->code, STR_ARG(remark));
    }
    rocketmq_link_break(&names->link, problem);
}

static void on_cluster(struct rocketmq_request *request, int err,
                       const struct rocketmq_frame *answer)
{
    struct rocketmq_names *names = MAIL_OWNER(request, struct rocketmq_names, ask);
    if (err || answer->code != ROCKETMQ_SUCCESS ||
        rocketmq_route_quote_keys(&names->body, answer->body)) {
        fail_question(names, err, answer);
        return;
    }
    for (uint32_t i = 0; i < names->rocketmq->broker_count; i++) {
        struct rocketmq_broker *broker = &names->rocketmq->brokers[i];
        struct rocketmq_route_broker found;
        if (!broker->has_route &&
            !rocketmq_route_find_in_cluster(&found, buf_str(&names->body), broker->name)) {
            rocketmq_broker_set_route(broker, &found);
        }
    }
    end_of_question(names);
}

static void ask_cluster(struct rocketmq_names *names)
{
    struct rocketmq_field fields[2];
    names->ask.on_answer = on_cluster;
    if (rocketmq_link_send(&names->link, &names->ask, ROCKETMQ_GET_CLUSTER, fields, 0, STR(""),
                           0)) {
        end_of_question(names);
    }
}

/* Returns whether all brokers are in it. body is empty when no broker has the topic. */
static bool apply_route(struct rocketmq_names *names)
{
    bool all_found = true;
    for (uint32_t i = 0; i < names->rocketmq->broker_count; i++) {
        struct rocketmq_broker *broker = &names->rocketmq->brokers[i];
        struct rocketmq_route_broker found;
        broker->has_route = false;
        int err = rocketmq_route_find(&found, buf_str(&names->body), broker->name);
        if (!err) {
            rocketmq_broker_set_route(broker, &found);
        }
        all_found = all_found && broker->has_route;
    }
    return all_found;
}

static void on_route(struct rocketmq_request *request, int err, const struct rocketmq_frame *answer)
{
    struct rocketmq_names *names = MAIL_OWNER(request, struct rocketmq_names, ask);
    bool has_route = !err && answer->code == ROCKETMQ_SUCCESS;
    bool has_none = !err && answer->code == ROCKETMQ_TOPIC_NOT_EXIST;
    buf_clear(&names->body);
    if (has_route && rocketmq_route_quote_keys(&names->body, answer->body)) {
        has_route = false;
    }
    if (!has_none && !has_route) {
        fail_question(names, err, answer);
        return;
    }
    names->problem[0] = 0;
    rocketmq_link_praise(&names->link);
    if (apply_route(names)) {
        end_of_question(names);
    } else {
        ask_cluster(names);
    }
}

/* --- the connection --- */

static void aim(struct rocketmq_names *names, bool at_once)
{
    struct str host;
    uint16_t port;
    int err = rocketmq_address_parse(names->servers[names->current], &host, &port);
    ASSERT(!err); /* the options were checked */
    rocketmq_link_set_address(&names->link, host, port, at_once);
}

static void on_open(struct rocketmq_link *link)
{
    struct rocketmq_names *names = MAIL_OWNER(link, struct rocketmq_names, link);
    names->is_lost_logged = false;
    ask_route(names);
}

static void on_lost(struct rocketmq_link *link, const char *problem)
{
    struct rocketmq_names *names = MAIL_OWNER(link, struct rocketmq_names, link);
    note(names, problem);
    if (!names->is_lost_logged) {
        log_warn("bus.name_server_lost", "%s", names->problem);
        names->is_lost_logged = true;
    }
    names->current = (names->current + 1) % names->count;
    aim(names, false);
    rocketmq_report(names->rocketmq);
}

void rocketmq_names_init(struct rocketmq_names *names, struct rocketmq_bus *rocketmq,
                         const struct str *servers, size_t count)
{
    static const struct rocketmq_link_callbacks callbacks = {on_open, on_lost};
    names->rocketmq = rocketmq;
    names->servers = servers;
    names->count = count;
    names->timer.on_fire = on_timer;
    rocketmq_link_init(&names->link, &rocketmq->dial, &callbacks);
    aim(names, true);
}

void rocketmq_names_fini(struct rocketmq_names *names)
{
    if (names->rocketmq) {
        loop_timer_stop(names->rocketmq->dial.loop, &names->timer);
    }
    rocketmq_link_fini(&names->link);
    buf_fini(&names->body);
}
