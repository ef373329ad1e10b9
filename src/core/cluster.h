/* What this node knows of the others, and what they tell each other over the bus: who is there
 * (beacons), what became of an event (reports), and questions with their answers.
 *
 * All of it travels as events that are packed with the others (EVENT_BEACON …) and never enter the
 * window. On a bus that one node has for itself nothing is sent, and the node knows itself.
 *
 * A node counts a queue as current once a beacon of its own, sent since the queue came up or since
 * the node stood still, has come back on it: what is behind that is news, what was before it may be
 * old. On a queue that is not current it hears nobody and answers nothing. A member that is silent
 * for CLUSTER_SILENCE_MS while beacons of one's own come back is gone; while none come back, who is
 * there is unknown: members are kept, and answers say that they may be incomplete.
 *
 * Belongs to whoever is inside the hub's gate, but for what says "any thread". The time is an
 * argument; no socket in here. */
#ifndef TIDEGATE_CORE_CLUSTER_H
#define TIDEGATE_CORE_CLUSTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mail.h"
#include "bus/bus.h"
#include "core/cluster_wire.h"

struct cluster; /* cluster_private.h */
struct event;
struct hub;
struct presence_change;
struct publish;
struct publish_part;
struct receipt;
struct user_tally;

enum {
    CLUSTER_MAX_NODES = 128,
    CLUSTER_BEACON_MS = 1000,
    CLUSTER_SILENCE_MS = 5000,
    /* Beacons of one's own come back for so long: then the node may serve (if the others have been
     * told that it counts, too); and then it knows everybody who is not gone by definition. */
    CLUSTER_READY_MS = 1500,
    CLUSTER_SETTLE_MS = CLUSTER_SILENCE_MS,
    /* So long a node that fell silent is missed, unless one of its name comes or leaves: names of
     * pods never come back, and whoever is woken by it has been told by then. */
    CLUSTER_LOST_MS = 10 * 60 * 1000,
    CLUSTER_REPLY_BYTES = 256 * 1024, /* of an answer's text; a longer one is cut by who answers */
};

/* One gateway as it said itself. */
struct cluster_node {
    char name[CLUSTER_NAME_MAX + 1];
    char version[CLUSTER_VERSION_MAX + 1];
    enum cluster_state state;
    uint32_t boot;
    uint32_t sessions, users;
    uint32_t lag_us;     /* of its last beacon through the bus and back; 0: none yet */
    uint64_t started_ms; /* wall */
    uint64_t window_age_ms;
    uint64_t layout;
    uint64_t counts_on; /* see struct cluster_beacon */
    uint16_t queues;
    bool is_self;
    bool keeps_users; /* see presence.h */
};

/* What the node can't know in here. */
struct cluster_self {
    uint32_t sessions;
    bool is_draining;
};

enum cluster_change {
    CLUSTER_CAME,
    CLUSTER_LEFT,     /* said so */
    CLUSTER_SILENT,   /* gone without a word */
    CLUSTER_CONFLICT, /* its bus is laid out in another way; once a node */
    /* CLUSTER_MAX_NODES are there already: it is not counted, and nothing is known or complete
     * while it is there. Of all such nodes, one is told a minute. */
    CLUSTER_NO_ROOM,
};

/* A question of another node. */
struct cluster_ask {
    struct mail mail;         /* its holder's */
    void *owner;              /* its holder's */
    struct cluster_ask *next; /* the cluster's */
    uint32_t origin;
    uint64_t until_ms; /* monotonic */
    struct cluster_ask_body body;
    char payload[]; /* body.payload */
};

struct cluster_callbacks {
    void (*describe)(void *owner, struct cluster_self *out_self);
    /* Any thread: runs the mail inside the gate. */
    void (*post)(void *owner, struct mail *mail);
    /* For cluster_answer or cluster_ask_destroy, later. NULL: no question is answered. */
    void (*on_ask)(void *owner, struct cluster_ask *ask);
    /* For the log. NULL is fine. */
    void (*on_change)(void *owner, const struct cluster_node *node, enum cluster_change change);
    /* This node is to tell that a user is online or offline now; may not look into presence.h.
     * NULL: nobody is told. 0, or an error: it could not be taken, and another node tells. */
    int (*on_user)(void *owner, const struct presence_change *change);
};

struct cluster_options {
    bool is_shared; /* the bus has room for other nodes */
    uint32_t boot;
    uint64_t started_ms; /* wall */
    struct str node;     /* copied, cut to what fits */
    struct str version;  /* copied */
};

/* The hub must have its bus already and owns the cluster from then on. */
int cluster_create(struct cluster **out_cluster, struct hub *hub,
                   const struct cluster_options *options, const struct cluster_callbacks *callbacks,
                   void *owner);

/* The hub's last word to it: questions that are open come back as incomplete. NULL is fine. */
void cluster_destroy(struct cluster *cluster);

/* Any thread: others count on this node, and it agrees with them on the layout; before, it takes
 * neither sessions nor pushes. */
bool cluster_may_serve(const struct cluster *cluster);

/* ---- what the hub tells ---- */

/* Some ten times a second. */
void cluster_tick(struct cluster *cluster, uint64_t now_ms);
/* At the end of a turn, before what waits is packed. */
void cluster_flush(struct cluster *cluster, uint64_t now_ms, uint64_t now_us);
void cluster_on_event(struct cluster *cluster, uint32_t queue, const struct event *event);
void cluster_on_queue_state(struct cluster *cluster, uint32_t queue, bool up);
void cluster_on_hole(struct cluster *cluster, uint32_t queue);

/* Receipts, on the publisher's node: an event has its counter now; it failed; its own record came
 * back (is_counted: and its sessions here are being counted). */
void cluster_on_packed(struct cluster *cluster, struct publish_part *part);
void cluster_on_failed(struct cluster *cluster, struct publish_part *part);
void cluster_on_returned(struct cluster *cluster, struct publish_part *part, bool is_counted);

/* Receipts, on another node: counts what becomes of the event here, for its origin. A reference
 * with one open, for cluster_close_count when all workers were offered it; NULL: nobody waits. */
struct receipt *cluster_count(struct cluster *cluster, uint32_t queue, const struct event *event);
/* is_lost: this node can't know who got it, so nothing is reported. */
void cluster_close_count(struct cluster *cluster, struct receipt *receipt, bool is_lost);
/* The event is dropped here: an earlier one had its id. */
void cluster_count_nothing(struct cluster *cluster, uint32_t queue, const struct event *event);

/* On either: target index is a user that has a session here. */
void cluster_note_online(struct cluster *cluster, uint32_t queue, const struct event *event,
                         struct receipt *receipt, size_t index);

/* ---- questions ---- */

struct cluster_reply {
    struct cluster_reply *next;
    uint32_t boot;
    uint64_t counts[CLUSTER_COUNTS];
    struct str text; /* in memory behind the struct */
};

/* The kind of question that clients cause, who may be many and hostile. It has a quarter of the
 * room that questions have, on the asker and on who is asked, so that those of the API and of the
 * nodes find some, and waits for the bus only where a push may. */
enum { CLUSTER_KIND_OF_CLIENTS = 19 };

/* Asks the other nodes; the asker's until cluster_ask, and again in on_done. */
struct cluster_question {
    struct mail mail; /* the asker's until cluster_ask, then the cluster's */
    void *owner;      /* the asker's */
    uint32_t worker;  /* on_done runs there, exactly once */
    void (*on_done)(struct cluster_question *question);
    uint32_t only; /* boot of the node that is asked alone; 0: all */
    uint32_t limit_ms;
    uint32_t app;
    uint8_t kind;
    struct str payload; /* borrowed until on_done */
    /* The outcome. */
    struct cluster_reply *replies;
    uint32_t expected, replied; /* other nodes */
    bool is_complete;           /* it is known who is there, and each has said all */
    bool is_refused;            /* there was no room for it: nobody has heard it */
    /* The cluster's. */
    uint64_t id;
    uint64_t until_ms;
    uint64_t asked[CLUSTER_MAX_NODES / 64]; /* bit: slot of a member */
    uint64_t open[CLUSTER_MAX_NODES / 64];
    uint64_t heard[CLUSTER_MAX_NODES / 64];
    bool has_come; /* back itself: everybody who answers is known now */
    bool is_out;   /* the hub took it */
    struct cluster *cluster;
    size_t reply_bytes;
    struct publish *publish; /* its own, while the bus does not have it */
    struct cluster_question *next, *prev;
};

/* It comes back as refused at once where 1,024 are open (of clients 256, or 1 MiB), and incomplete
 * where all answers to what is open have more than 16 MiB. */
void cluster_ask(struct cluster *cluster, struct cluster_question *question, uint64_t now_ms);
void cluster_question_drop_replies(struct cluster_question *question);

/* Sends the answer and frees the question; one that comes too late is not sent. */
void cluster_answer(struct cluster *cluster, struct cluster_ask *ask,
                    const struct cluster_reply_body *reply, uint64_t now_ms);
void cluster_ask_destroy(struct cluster_ask *ask);

/* Any thread: what an answer's text may have. */
size_t cluster_reply_bytes(const struct cluster *cluster);

/* ---- users ---- */

/* Takes what one of this node's workers counted, in place of what it said before. */
void cluster_take_tally(struct cluster *cluster, struct user_tally *tally);

/* ---- what must not be forgotten ---- */

/* Whether this node is the one that publishes again what outlives the window (core/kept.h): of all
 * that serve it has the lowest boot. */
bool cluster_leads(const struct cluster *cluster);

/* Sends an EVENT_AGAIN to all. on_done destroys the publish. 0 or ERR_NO_MEMORY. */
int cluster_tell_again(struct cluster *cluster, uint32_t queue, struct str body,
                       uint64_t deadline_ms, void (*on_done)(struct publish *publish), void *owner);

/* ---- leaving ---- */

/* Says so on every queue; no beacon follows. */
void cluster_leave(struct cluster *cluster, uint64_t now_ms);

/* ---- any thread ---- */

/* Whether other nodes may have something to say: false on a bus that one node has for itself. */
bool cluster_is_shared(const struct cluster *cluster);
bool cluster_has_left(const struct cluster *cluster); /* cluster_leave was called, and is done */
/* This node first. *out_is_known: whether that is all, as far as beacons tell. */
uint32_t cluster_nodes(struct cluster *cluster, struct cluster_node out[CLUSTER_MAX_NODES],
                       bool *out_is_known);
/* How many are in each state; returns whether that is all. */
bool cluster_count_states(struct cluster *cluster, uint32_t out_counts[CLUSTER_GONE]);
/* Distinct users with a session on some node, of an app (target_app_hash; 0: of those beyond
 * USER_TALLY_APPS - 1) and of all. Some 2 s behind; see core/hll.h for how exact. */
uint64_t cluster_users(struct cluster *cluster, uint32_t app);
uint64_t cluster_all_users(struct cluster *cluster);
/* How many fell silent without a word within CLUSTER_LOST_MS and have not come back. At most 32 are
 * remembered. */
uint32_t cluster_count_lost(struct cluster *cluster, uint64_t now_ms);
/* Whether a node of that boot is there, or may be. */
bool cluster_may_have(struct cluster *cluster, uint32_t boot);
/* Why the node can't serve. False: it can. */
bool cluster_is_unready(struct cluster *cluster, char *out_reason, size_t size);
uint32_t cluster_lag_us(const struct cluster *cluster); /* of the slowest queue; 0: not known */

/* Counters for metrics (relaxed). */
struct cluster_stats {
    atomic_uint_fast64_t beacons_in, reports_in, asks_in, replies_in, bad;
    atomic_uint_fast64_t asks_dropped; /* too many at a time, or too old */
    atomic_uint_fast64_t
        questions_short; /* too many open or too much to keep: incomplete for that */
    atomic_uint_fast64_t receipts_short;  /* a node did not report */
    atomic_uint_fast64_t users_untracked; /* presence had no room for them */
};

struct cluster_stats *cluster_get_stats(struct cluster *cluster);

#endif
