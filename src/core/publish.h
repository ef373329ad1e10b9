/* One push on its way: a worker fills it, the bus thread publishes its parts and hands it back.
 * Several targets may hash to several queues: one part (an event) for each queue. */
#ifndef TIDEGATE_CORE_PUBLISH_H
#define TIDEGATE_CORE_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mail.h"
#include "bus/bus.h"

struct hub;
struct publish;
struct receipt;

enum publish_verdict {
    PUBLISH_ACCEPTED, /* the bus has it */
    PUBLISH_REPLAYED, /* the same id and body came before: the first one's positions are in parts */
    PUBLISH_CONFLICT, /* the same id came before with another body */
    PUBLISH_FAILED,   /* see err; some parts may be in the bus all the same: see accepted_parts */
};

struct publish_part {
    struct publish *publish;
    struct publish_part *next;
    struct publish_part *prev; /* the bus thread's */
    uint32_t queue;     /* its targets' home; in the end where it went: with pos the answer */
    uint32_t counter;   /* the bus thread's */
    uint64_t expected;  /* the cluster's: 0, or the name of what it expects of other nodes */
    struct buf event;   /* encoded */
    struct bus_pos pos; /* once accepted */
    bool acknowledged;  /* the bus thread's */
    bool returned;      /* the bus thread's: its own record came back */
    bool in_record;     /* the bus thread's: of the one under way */
    uint32_t record_at; /* the bus thread's: its place in the record */
    bool finished;      /* the bus thread's */
};

struct publish {
    struct mail mail; /* to the bus thread, then back; run is set by who posts it */
    void *owner;      /* the worker's */
    struct hub *hub;  /* the worker's */
    uint32_t worker;  /* who gets it back; HUB_NO_WORKER: the poster frees it in on_done */
    void (*on_done)(struct publish *publish); /* on the worker, once */
    uint64_t deadline_ms;                     /* monotonic */
    uint64_t started_us; /* monotonic, when its request was taken; 0: not of interest */
    /* A reference, or NULL; its events then have EVENT_WANTS_RECEIPT. */
    struct receipt *receipt;
    /* What it says is to outlive the window (core/kept.h): done with ERR_TOO_MANY when its app has
     * no room for that, and with ERR_CLOSED when a ticket that it is for is over. */
    bool keeps;
    uint32_t kept_app;      /* the hub's, like the next: set aside for it; 0 bytes: nothing */
    uint64_t kept_bytes[3]; /* by enum kept_budget */
    bool stays;  /* in the queues of its parts, also while these are away; of a node, so first */
    bool yields; /* though it stays: refused with ERR_UNAVAILABLE where a push would be */
    /* Done only when its records came back; for events with EVENT_HAS_ID or EVENT_WANTS_RECEIPT. */
    bool awaits_return;
    enum publish_verdict verdict;
    int err;
    uint32_t open_parts; /* the bus thread's */
    uint32_t accepted_parts;
    uint32_t part_count;
    struct publish_part parts[];
};

/* At least one part. All zero but for part_count and the parts' publish. NULL when memory is out.
 */
struct publish *publish_create(uint32_t part_count);

/* Frees the parts' events and drops the receipt too. NULL is fine. */
void publish_destroy(struct publish *publish);

#endif
