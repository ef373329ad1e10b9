/* The RocketMQ engine, as its parts see it:
 *
 *   rocketmq.c          life, and what is reported upwards
 *   rocketmq_options.c  options
 *   rocketmq_link.c     one connection (rocketmq_link.h)
 *   rocketmq_names.c    name servers: where the brokers are
 *   rocketmq_broker.c   a broker: from connected to usable, and whether it still answers
 *   rocketmq_start.c    where in a queue to begin, or to begin anew
 *   rocketmq_pull.c     reading a queue
 *   rocketmq_send.c     writing to a queue
 *
 * Queue i of the bus is the queue i / n of the i % n-th configured broker (of n). A record is one
 * message; its position is the message's offset in that queue, plus 1.
 *
 * There is no consumer group that shares queues out, and no offset that is kept anywhere but here:
 * what brokers hold for a group plays no part. */
#ifndef TIDEGATE_BUS_ROCKETMQ_PRIVATE_H
#define TIDEGATE_BUS_ROCKETMQ_PRIVATE_H

#include "bus/bus.h"
#include "bus/rocketmq_link.h"
#include "proto/rocketmq_message.h"
#include "proto/rocketmq_route.h"

enum {
    ROCKETMQ_MAX_BROKERS = BUS_MAX_QUEUES,
    ROCKETMQ_MAX_NAME_SERVERS = 16,
    ROCKETMQ_TOPIC_MAX = 100, /* bytes: group names are made of it, and have a limit */
    ROCKETMQ_GROUP_MAX = ROCKETMQ_TOPIC_MAX + 16,
    ROCKETMQ_REFRESH_MS = 30000,
};

/* Indices into rocketmq_options. */
enum rocketmq_option {
    ROCKETMQ_OPTION_NAME_SERVERS,
    ROCKETMQ_OPTION_TOPIC,
    ROCKETMQ_OPTION_BROKERS,
    ROCKETMQ_OPTION_FAILOVER_AFTER,
    ROCKETMQ_OPTION_ACCESS_KEY,
    ROCKETMQ_OPTION_SECRET_KEY,
    ROCKETMQ_OPTION_TLS,
    ROCKETMQ_OPTION_TLS_CA,
    ROCKETMQ_OPTION_TLS_VERIFY,
    ROCKETMQ_OPTIONS,
};

struct rocketmq_bus;
struct rocketmq_broker;

/* The message we have read last: should the broker show another one in its place, the history is
 * another one. */
struct rocketmq_seen {
    bool is_known;
    uint64_t offset;
    uint64_t log_offset;
    uint64_t stored_ms;
};

struct rocketmq_queue {
    struct rocketmq_bus *rocketmq;
    struct rocketmq_broker *broker;
    uint32_t index; /* in the bus */
    uint32_t id;    /* at the broker */

    /* where it begins: rocketmq_start.c */
    struct rocketmq_request ask_min, ask_max, ask_search;
    unsigned asks_left;
    bool ask_failed;
    uint64_t min, max, found; /* the answers */
    uint64_t since_ms;        /* what was stored earlier is older than the window */

    /* reading: rocketmq_pull.c */
    struct rocketmq_request pull;
    struct timer pull_timer;
    uint64_t next; /* the offset that is to be read next, once has_next */
    uint64_t pin;  /* the queue's end when the start was fixed */
    bool has_next;
    bool is_started;       /* on_start was called */
    bool is_read;          /* as far as the pin */
    bool is_verifying;     /* the pull under way looks at the last message again */
    bool is_other_history; /* it was another one */
    bool is_stepping;      /* an answer could not be read whole: one message at a time */
    bool is_pull_refused;  /* and that was logged */
    unsigned quick_empty;  /* answers in a row with nothing in them that did not wait */
    uint64_t pulled_ms;
    struct rocketmq_seen seen;

    /* writing: rocketmq_send.c */
    struct bus_publish *publish;
    struct rocketmq_request send;
    struct timer send_timer;
    struct backoff send_backoff;
    uint64_t send_again_ms; /* not before */
    bool is_sent;           /* the publish left at least once */
    bool is_probe;          /* what is under way is a probe, not the publish */
    bool is_refused;        /* the broker took part in everything but this */

    bool is_up; /* as reported */
};

struct rocketmq_broker {
    struct rocketmq_bus *rocketmq;
    struct str name; /* borrowed from the options */
    struct rocketmq_link link;
    struct rocketmq_request heartbeat, create, create_group, ping;
    struct timer create_timer;
    uint32_t queue_count; /* of ours at this broker */
    bool is_up;           /* it answers, and has the topic */
    bool is_lost_logged;
    bool is_topic_refused; /* and that was logged */
    bool is_group_refused;
    uint64_t away_since_ms; /* meaningful while it is not up */
    uint64_t heartbeat_due_ms;
    bool has_route; /* the last route has it among the topic's brokers */
    /* of the topic there, as last heard: a broker that comes back is believed to have what it had,
     * and says so if it has not */
    uint32_t topic_queues; /* that can be both read and written */
    uint32_t perm;
    char problem[ROCKETMQ_PROBLEM_MAX]; /* "": none */
};

struct rocketmq_names {
    struct rocketmq_bus *rocketmq;
    const struct str *servers; /* borrowed from the options */
    size_t count;
    size_t current;
    struct rocketmq_link link;
    struct rocketmq_request ask;
    struct timer timer; /* the next refresh */
    uint64_t asked_ms;
    bool is_lost_logged;
    struct buf body; /* an answer as proper JSON; empty between answers */
    char problem[ROCKETMQ_PROBLEM_MAX];
};

struct rocketmq_bus {
    struct bus bus; /* first */
    struct rocketmq_dial dial;
    struct rocketmq_names names;
    struct rocketmq_broker brokers[ROCKETMQ_MAX_BROKERS];
    uint32_t broker_count;
    struct rocketmq_queue queues[BUS_MAX_QUEUES];
    uint64_t unsent; /* bit i: queue i has a publish that flush must send */
    struct str topic;
    char producer_group[ROCKETMQ_GROUP_MAX + 1];
    char consumer_group[ROCKETMQ_GROUP_MAX + 1];
    char epoch[BUS_EPOCH_MAX + 1];
    uint64_t window_age_ms;
    uint64_t patience_ms; /* how long a broker that is away holds up the first on_state(up) */
    uint64_t tell_ms;     /* another reason for being down is not told before */
    struct buf heartbeat; /* the body, the same each time */
    struct timer tick;
    bool has_epoch;   /* on_epoch was called */
    bool was_ready;   /* on_state(up) was called */
    bool is_up;       /* as reported */
    char reason[512]; /* as reported */
};

/* --- rocketmq_options.c --- */

extern const struct bus_option rocketmq_options[ROCKETMQ_OPTIONS];

/* As bus_engine.check. */
int rocketmq_options_check(const struct bus_options *options, size_t *out_option,
                           const char **out_problem);

/* --- rocketmq.c --- */

static inline uint64_t rocketmq_now_ms(const struct rocketmq_bus *rocketmq)
{
    return loop_now_ms(rocketmq->dial.loop);
}

/* Call it when something changed that the state of queues or of the bus depends on. */
void rocketmq_report(struct rocketmq_bus *rocketmq);

/* --- rocketmq_names.c --- */

void rocketmq_names_init(struct rocketmq_names *names, struct rocketmq_bus *rocketmq,
                         const struct str *servers, size_t count);
void rocketmq_names_fini(struct rocketmq_names *names);

/* Asks for the route now, or a second after the last time. */
void rocketmq_names_refresh(struct rocketmq_names *names);

/* --- rocketmq_broker.c --- */

void rocketmq_broker_init(struct rocketmq_broker *broker, struct rocketmq_bus *rocketmq,
                          struct str name);
void rocketmq_broker_fini(struct rocketmq_broker *broker);

/* What a route says of it. */
void rocketmq_broker_set_route(struct rocketmq_broker *broker,
                               const struct rocketmq_route_broker *route);

/* It said that the topic is not there. */
void rocketmq_broker_miss_topic(struct rocketmq_broker *broker);

/* It said that it has no such consumer group, and makes none by itself. */
void rocketmq_broker_miss_group(struct rocketmq_broker *broker);

/* Sends heartbeats when they are due, and asks a silent broker whether it lives. */
void rocketmq_broker_tick(struct rocketmq_broker *broker);

/* Notes what a failed answer says, for people. */
void rocketmq_broker_note(struct rocketmq_broker *broker, const char *what, int err,
                          const struct rocketmq_frame *answer);

static inline bool rocketmq_broker_takes_writes(const struct rocketmq_broker *broker)
{
    return broker->is_up && broker->perm & ROCKETMQ_PERM_WRITE;
}

/* --- rocketmq_start.c --- */

/* Asks for the ends of the queue, then reads on where it left off, or from the window's start. */
void rocketmq_queue_ask(struct rocketmq_queue *queue);

/* on_start, and what follows from it, unless that was done; sends what waited for it. */
void rocketmq_queue_start(struct rocketmq_queue *queue);

/* --- rocketmq_pull.c --- */

void rocketmq_queue_init(struct rocketmq_queue *queue, struct rocketmq_bus *rocketmq,
                         uint32_t index);
void rocketmq_queue_fini(struct rocketmq_queue *queue);

/* Its broker is up (again): begins, or goes on. */
void rocketmq_queue_resume(struct rocketmq_queue *queue);

/* Reads on at queue->next. */
void rocketmq_queue_pull(struct rocketmq_queue *queue);

/* Asks or pulls again after a pause, whichever is due. */
void rocketmq_queue_pause(struct rocketmq_queue *queue, uint64_t pause_ms);

/* Reports that what lies between queue->next and to is not to be had, and goes on at to. */
void rocketmq_queue_skip_to(struct rocketmq_queue *queue, uint64_t to, enum bus_hole why);

/* --- rocketmq_send.c --- */

void rocketmq_send_init(struct rocketmq_queue *queue);
void rocketmq_send_fini(struct rocketmq_queue *queue);

/* Whether our place in it is known and was not put in doubt: before, nothing is sent, since a
 * position would be one of another history. */
static inline bool rocketmq_queue_is_settled(const struct rocketmq_queue *queue)
{
    return queue->is_started && !queue->is_verifying && !queue->is_other_history &&
           queue->asks_left == 0;
}

/* Sends what waits, if it can be sent now. */
void rocketmq_queue_send(struct rocketmq_queue *queue);

/* In the producer's flag of a message that only finds out whether a queue takes messages again. */
#define ROCKETMQ_PROBE_FLAG 0x70726f62u

#endif
