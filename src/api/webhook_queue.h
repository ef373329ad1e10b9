/* What waits for one webhook endpoint, and when it is tried. Pure: the time is an argument, and
 * sending is the caller's.
 *
 * Events of one subject go out one after the other, in WEBHOOK_LANES lanes; one whose try failed
 * waits aside for its next one (1 s, doubled up to 5 min) and lets those behind it pass. So while
 * the endpoint answers, a subject's events arrive in order. After a failure the whole endpoint
 * rests, longer each time and with chance in it (or as long as its Retry-After says), and then gets
 * one request at a time until one succeeds: an endpoint that is down is not hammered, however much
 * waits for it. An event that is older than give_up_ms is not tried again. */
#ifndef TIDEGATE_API_WEBHOOK_QUEUE_H
#define TIDEGATE_API_WEBHOOK_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/webhook_event.h"
#include "base/backoff.h"

enum {
    WEBHOOK_LANES = 8,
    WEBHOOK_DELAYS = 10, /* of different length between tries */
    WEBHOOK_RETRY_MS = 1000,
    WEBHOOK_RETRY_MAX_MS = 5 * 60 * 1000,
    WEBHOOK_REST_MAX_MS = 60 * 1000,      /* of the endpoint */
    WEBHOOK_RETRY_AFTER_MAX_MS = 3600000, /* what it may ask for */
};

struct webhook_item {
    struct webhook_item *next;
    struct webhook_event *event; /* a reference */
    unsigned tries;
    uint64_t due_ms; /* while it waits aside */
};

struct webhook_line {
    struct webhook_item *first, *last;
};

struct webhook_queue {
    uint64_t give_up_ms;
    struct webhook_line lanes[WEBHOOK_LANES];
    bool is_busy[WEBHOOK_LANES];               /* one of it is under way */
    struct webhook_line aside[WEBHOOK_DELAYS]; /* by tries: each line is in order of due_ms */
    struct backoff rest;                       /* tries > 0: the last one failed */
    uint64_t rests_until_ms;
    uint32_t next_lane;
    uint32_t under_way;
    uint32_t count; /* of items, those under way too */
};

enum webhook_verdict {
    WEBHOOK_TAKEN,
    WEBHOOK_RETRY,
    WEBHOOK_REJECTED, /* the endpoint will never take this one */
    WEBHOOK_CANCELED, /* by the gateway itself: no fault of the endpoint's */
};

/* Of one try: err and status as fetch.h tells them. 2xx is success, whatever becomes of the
 * answer's body; ERR_CANCELED is no try at all; 408, 425, 429, 3xx and 5xx are for now, other 4xx
 * for good. */
enum webhook_verdict webhook_judge(int err, int status);

void webhook_queue_init(struct webhook_queue *queue, uint64_t give_up_ms);

/* 0 or ERR_NO_MEMORY. Takes a reference to the event. */
int webhook_queue_add(struct webhook_queue *queue, struct webhook_event *event);

/* The next one that waits for its turn and is too old for it; NULL: none. The reference is the
 * caller's. */
struct webhook_event *webhook_queue_expire(struct webhook_queue *queue, uint64_t now_ms);

/* What is to be sent now; NULL: nothing. To be answered by webhook_queue_done. */
struct webhook_item *webhook_queue_take(struct webhook_queue *queue, uint64_t now_ms);

/* A try has ended. Returns the event (a reference, with the caller from now on) when it leaves the
 * queue: taken, rejected, or given up; NULL when it waits for another try. A canceled one is where
 * it was before it was taken. */
struct webhook_event *webhook_queue_done(struct webhook_queue *queue, struct webhook_item *item,
                                         enum webhook_verdict verdict, uint64_t retry_after_ms,
                                         uint64_t now_ms, uint64_t random);

/* How long until webhook_queue_take may have something, when nothing ends before; UINT64_MAX:
 * never. */
uint64_t webhook_queue_wait_ms(const struct webhook_queue *queue, uint64_t now_ms);

/* Something is under way, or waits for no failure to be over. */
bool webhook_queue_is_busy(const struct webhook_queue *queue);

/* The next of those that are not under way, out of order; NULL: none is left. The reference is the
 * caller's. For the end. */
struct webhook_event *webhook_queue_drop(struct webhook_queue *queue);

#endif
