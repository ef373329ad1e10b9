/* What is inside the events that nodes send each other: beacons, questions, answers and reports.
 * Little-endian. A later version may append to each of these; what is behind the known fields is
 * skipped, so old and new nodes understand each other. Pure: reading copies nothing. */
#ifndef TIDEGATE_CORE_CLUSTER_WIRE_H
#define TIDEGATE_CORE_CLUSTER_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    CLUSTER_WIRE_VERSION = 1,
    CLUSTER_NAME_MAX = 64,    /* bytes of a node's name */
    CLUSTER_VERSION_MAX = 32, /* bytes of its program's version */
    CLUSTER_COUNTS = 4,
};

enum cluster_state {
    CLUSTER_STARTING = 1, /* not ready yet */
    CLUSTER_READY = 2,
    CLUSTER_DRAINING = 3,
    CLUSTER_GONE = 4, /* its last word */
};

/* "I am here", once a second on every queue. */
struct cluster_beacon {
    enum cluster_state state;
    uint32_t seq;        /* of the node's beacons; the same on all queues */
    uint16_t queues;     /* of its bus configuration */
    uint64_t layout;     /* bus.layout */
    uint64_t counts_on;  /* bit q: it counts what comes on queue q, and answers there */
    uint64_t started_ms; /* wall */
    uint64_t window_age_ms;
    uint32_t sessions;
    uint32_t users;
    uint32_t lag_us;  /* of its last beacon, through the bus and back */
    uint64_t history; /* hub_history */
    bool keeps_users; /* knows of all users who is online: see presence.h */
    struct str node;
    struct str version;
    bool tells_users;       /* a node of an earlier version does not: what follows is then empty */
    uint8_t key_tag;        /* of target_space: whose keys the users' are */
    struct str user_counts; /* for cluster_next_users: some of its apps, others in other beacons */
};

int cluster_write_beacon(struct buf *out, const struct cluster_beacon *beacon);
/* False when it is no beacon. A state of a later version reads as CLUSTER_STARTING; names that are
 * too long or have bytes that are not printable are refused. */
bool cluster_read_beacon(struct cluster_beacon *out_beacon, struct str body);

/* Which users of an app have sessions on the node. */
struct cluster_users_item {
    uint32_t app;     /* target_app_hash; 0: of several */
    struct str count; /* for hll_merge_wire */
};

int cluster_write_users(struct buf *out, const struct cluster_users_item *item);
/* Start with rest = the beacon's user_counts; false at the end or where it is not sound. */
bool cluster_next_users(struct str *rest, struct cluster_users_item *out_item);

struct cluster_ask_body {
    uint64_t id;        /* of the asker's questions */
    uint32_t within_ms; /* an answer that takes longer is of no use */
    uint32_t app;       /* target_app_hash */
    uint8_t kind;       /* the asker's word */
    struct str payload;
};

int cluster_write_ask(struct buf *out, const struct cluster_ask_body *ask);
bool cluster_read_ask(struct cluster_ask_body *out_ask, struct str body);

struct cluster_reply_body {
    uint64_t id;  /* of the question */
    bool is_part; /* there was more than fits, or it could not be gathered whole */
    uint64_t counts[CLUSTER_COUNTS];
    struct str text;
};

int cluster_write_reply(struct buf *out, const struct cluster_reply_body *reply);
bool cluster_read_reply(struct cluster_reply_body *out_reply, struct str body);

/* What became of one event on one node. A report is a version and a run of these. */
struct cluster_count_body {
    uint8_t queue;
    uint32_t counter; /* of the event, in its origin's numbering of the queue */
    uint32_t matched, written, dropped;
    struct str online; /* bit i: target i is a user that has a session there */
    uint32_t acked;
    bool is_part; /* counted so far: another count of the event follows, which holds this one too */
};

/* Begins a report when out is empty. */
int cluster_write_count(struct buf *out, const struct cluster_count_body *count);

/* Start with rest = the body; false at the end or where it is not sound. */
bool cluster_begin_counts(struct str *rest);
bool cluster_next_count(struct str *rest, struct cluster_count_body *out_count);

enum cluster_presence_op {
    PRESENCE_ASK = 1,   /* tell me all your users; serial 1: you were gone, as far as I know */
    PRESENCE_BEGIN = 2, /* of this queue follow: forget who isn't named again */
    PRESENCE_HERE = 3,  /* has sessions here, since a while */
    PRESENCE_END = 4,   /* of this queue that was all */
    PRESENCE_UP = 5,    /* has sessions here from now on */
    PRESENCE_DOWN = 6,  /* has none here any more */
    /* The app was told; boot and serial: of what time online. */
    PRESENCE_TOLD_ONLINE = 7,
    PRESENCE_TOLD_OFFLINE = 8,
};

/* A user of a node. A body is a version and a run of these. */
struct cluster_presence_item {
    uint8_t op; /* of enum cluster_presence_op; others are of a later version */
    uint32_t app;
    uint32_t grace_ms;
    uint32_t boot; /* with serial: the name of this time online, if nobody knows another */
    uint64_t serial;
    uint64_t time_ms; /* wall: UP, HERE: online since; DOWN: when */
    struct str user;
};

/* Begins a body when out is empty. */
int cluster_write_presence(struct buf *out, const struct cluster_presence_item *item);
bool cluster_begin_presence(struct str *rest);
bool cluster_next_presence(struct str *rest, struct cluster_presence_item *out_item);

#endif
