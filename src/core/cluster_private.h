/* What the cluster's sources share; nobody else includes it.
 *   cluster.c          life, turns, what is sent
 *   cluster_beacon.c   beacons out and back: which queues are current
 *   cluster_members.c  who is there
 *   cluster_report.c   receipts over nodes: what others report
 *   cluster_count.c    and what is reported to them
 *   cluster_ask.c      questions and answers
 *   cluster_users.c    distinct users over all nodes */
#ifndef TIDEGATE_CORE_CLUSTER_PRIVATE_H
#define TIDEGATE_CORE_CLUSTER_PRIVATE_H

#include <pthread.h>

#include "base/u64map.h"
#include "core/cluster.h"
#include "core/event.h"
#include "core/hub.h"
#include "core/publish.h"
#include "core/receipt.h"
#include "core/user_tally.h"

enum {
    NODE_WORDS = CLUSTER_MAX_NODES / 64,
    MAX_EXPECTED = 65536, /* events whose reports are awaited */
    MAX_ASKS = 1024,      /* questions of others that are open here */
    MAX_ASKS_BYTES = 4 * 1024 * 1024,
    MAX_QUESTIONS = 1024,                 /* of this node that are open */
    CLIENTS_SHARE = 4,                    /* of these, one in so many may be what clients cause */
    MAX_REPLIES_BYTES = 16 * 1024 * 1024, /* answers to these; and of one's own, on their way */
    MAX_REPORT_BYTES = 60 * 1024,
    LONGEST_WAIT_MS = 60000, /* for a report, or for clients that confirm */
    STANDSTILL_MS = CLUSTER_SILENCE_MS,
};

struct node_set {
    uint64_t bits[NODE_WORDS];
};

static inline bool node_set_has(const struct node_set *set, uint32_t slot)
{
    return set->bits[slot / 64] >> slot % 64 & 1;
}

static inline void node_set_add(struct node_set *set, uint32_t slot)
{
    set->bits[slot / 64] |= 1ull << slot % 64;
}

static inline void node_set_remove(struct node_set *set, uint32_t slot)
{
    set->bits[slot / 64] &= ~(1ull << slot % 64);
}

static inline void node_set_subtract(struct node_set *set, const struct node_set *other)
{
    for (int i = 0; i < NODE_WORDS; i++) {
        set->bits[i] &= ~other->bits[i];
    }
}

static inline void node_set_unite(struct node_set *set, const struct node_set *other)
{
    for (int i = 0; i < NODE_WORDS; i++) {
        set->bits[i] |= other->bits[i];
    }
}

static inline uint32_t node_set_count(const struct node_set *set)
{
    uint32_t count = 0;
    for (int i = 0; i < NODE_WORDS; i++) {
        count += (uint32_t)__builtin_popcountll(set->bits[i]);
    }
    return count;
}

/* Slot 0 is this node. */
struct member {
    struct cluster_node node; /* boot 0: the slot is free */
    uint64_t heard_ms;        /* of live_ms */
    uint32_t seq;             /* of its newest beacon */
    bool is_told;             /* that it conflicts */
};

struct beacon_queue {
    uint64_t sent_us;
    uint32_t sent_seq;
    uint64_t returned_ms; /* when the last one of one's own came back */
    uint32_t required;    /* the beacon that makes the queue current */
    uint32_t lag_us;
    bool is_up;
    bool is_out;      /* one is under way */
    bool is_returned; /* since the last turn */
};

/* What a node has counted so far of an event that asks for acks. */
struct count_so_far {
    struct count_so_far *next;
    uint32_t slot;
    uint32_t matched, written, acked, dropped;
};

/* Of one event of this node: who has not reported. */
struct expectation {
    struct expectation *next, *prev;
    struct expectation *next_of_receipt;
    struct receipt *receipt; /* a reference */
    uint64_t name;           /* of queue and counter */
    struct node_set open;
    struct node_set reported;
    bool is_open;  /* some are open, for which the receipt is held open once */
    bool has_come; /* its own record: everybody who counts it is known now */
    uint16_t target_count;
    struct count_so_far *so_far;
    uint64_t until_ms;
    uint8_t online[]; /* bit i: somebody has said that target i is online */
};

/* What goes to one origin at the end of the turn. */
struct report {
    struct report *next;
    uint32_t origin;
    struct buf body;
};

/* Outlives the cluster, since workers may close a count at any time. */
struct cluster_door {
    atomic_uint refs;
    atomic_bool is_shut;
    struct cluster *cluster;
};

/* What is taken of a share. */
struct room {
    uint32_t count;
    size_t bytes;
};

enum { CLUSTER_LOST_MAX = 32 };

/* A node that went without a word. */
struct cluster_lost {
    char name[CLUSTER_NAME_MAX + 1];
    uint64_t at_ms; /* 0: a free place */
};

struct cluster {
    struct hub *hub;
    const struct cluster_callbacks *callbacks;
    void *owner;
    bool is_shared;
    char boot_name[9];
    struct cluster_door *door;
    uint32_t queues;
    uint64_t now_ms, now_us;
    uint64_t last_ms;     /* of the turn before */
    uint64_t live_ms;     /* grows while beacons of one's own come back */
    uint64_t returned_ms; /* when the last one did, on any queue */

    struct beacon_queue beacons[BUS_MAX_QUEUES];
    uint64_t current;          /* bit q */
    uint64_t was_current;      /* bit q: at some time, so that what comes on it is counted */
    uint64_t announced;        /* bit q: and this was said on it, before what comes now */
    uint64_t current_since_ms; /* of live_ms */
    uint64_t beacon_sent_ms;
    uint32_t seq;
    uint32_t next_queue;
    uint32_t users_queue; /* whose beacon tells the users next */
    atomic_uint lag_us;
    bool is_due; /* a beacon, at the next tick */
    bool is_leaving;
    uint32_t farewells; /* under way, + 1 until all are sent */
    atomic_bool has_left;
    bool has_settled;   /* at some time */
    atomic_bool serves; /* it has, and no member was here first with another layout */

    pthread_mutex_t lock; /* of writing what follows, and of others' reading it */
    struct member members[CLUSTER_MAX_NODES];
    bool is_known;
    struct cluster_lost lost[CLUSTER_LOST_MAX];
    bool is_crowded;    /* somebody has no slot */
    char conflict[224]; /* "": none */

    uint64_t crowded_ms; /* of live_ms: when the last beacon of such a node came */
    uint64_t told_crowded_ms;

    struct u64map expected; /* hash of (queue, counter) → struct expectation */
    struct expectation *expectations;
    struct report *reports;
    struct cluster_count *open_counts; /* of others' events that ask for acks */
    uint32_t open_count;

    struct presence *presence;
    struct cluster_users *users;

    struct cluster_question *questions;
    uint32_t question_count;
    struct room of_clients; /* questions that are open */
    size_t reply_bytes;     /* that they have so far */
    uint64_t last_question;
    struct cluster_ask *asks; /* come in this turn, newest first */
    uint32_t ask_count;       /* these, and those that are being answered */
    size_t ask_bytes;
    struct room asks_of_clients; /* of these: see CLUSTER_KIND_OF_CLIENTS */
    size_t answer_bytes;         /* to these, that the bus does not have yet */
    struct cluster_stats stats;
};

/* cluster.c: sends a body to one node (its boot) or all (0). on_done destroys the publish, whose
 * owner is owner, and may run inside the call; NULL: nobody cares. 0, or ERR_NO_MEMORY and
 * on_done is not called. */
int cluster_send(struct cluster *cluster, enum event_kind kind, uint32_t to, uint32_t queue,
                 struct str body, uint64_t deadline_ms, void (*on_done)(struct publish *publish),
                 void *owner);
/* The same in two steps. The publish destroys itself unless on_done is set; NULL: no memory. */
struct publish *cluster_make_publish(struct cluster *cluster, enum event_kind kind, uint32_t to,
                                     uint32_t queue, struct str body, uint64_t deadline_ms);
void cluster_publish(struct cluster *cluster, struct publish *publish);
int cluster_pick_queue(struct cluster *cluster);
void cluster_copy_text(char *out, size_t size, struct str text); /* cut to what fits */
void door_unref(struct cluster_door *door);

static inline void cluster_add(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* A bit for each target. */
static inline size_t online_bytes(uint16_t target_count)
{
    return ((size_t)target_count + 7) / 8;
}

/* cluster_beacon.c */
void beacons_advance(struct cluster *cluster);
void beacons_measure(struct cluster *cluster);
void beacons_send(struct cluster *cluster);
void beacons_on_own(struct cluster *cluster, uint32_t queue, const struct cluster_beacon *beacon);
void beacons_doubt(struct cluster *cluster, uint32_t queue);
void beacons_settle(struct cluster *cluster);

/* cluster_members.c */
void members_on_beacon(struct cluster *cluster, uint32_t queue, uint32_t boot, struct str body);
void members_expire(struct cluster *cluster);
void members_describe_self(struct cluster *cluster);
bool members_is_there(const struct member *member);
uint32_t members_find(const struct cluster *cluster, uint32_t boot); /* slot; 0: none */

/* cluster_lost.c */
void lost_add(struct cluster *cluster, const struct cluster_node *node);
void lost_forget(struct cluster *cluster, const struct cluster_node *node); /* it is there */
/* Who counts and answers what has just come on the queue; false: there may be others. */
bool members_expected(const struct cluster *cluster, uint32_t queue, struct node_set *out_set);

/* cluster_report.c */
void reports_on_event(struct cluster *cluster, uint32_t boot, struct str body);
void reports_expire(struct cluster *cluster);
void reports_on_gone(struct cluster *cluster, uint32_t slot);
void reports_drop_all(struct cluster *cluster);

/* cluster_count.c */
void counts_send(struct cluster *cluster);
void counts_tell_acks(struct cluster *cluster);
void counts_note_online(struct receipt *receipt, size_t index); /* of cluster_count */
void counts_drop_all(struct cluster *cluster);

/* cluster_users.c */
int users_create(struct cluster *cluster);
void users_destroy(struct cluster *cluster);
int users_tell(struct cluster *cluster, struct buf *out); /* appends what a beacon says of them */
void users_on_beacon(struct cluster *cluster, uint32_t slot, const struct cluster_beacon *beacon);
void users_on_gone(struct cluster *cluster, uint32_t slot);
void users_tick(struct cluster *cluster);

/* cluster_ask.c */
void asks_on_ask(struct cluster *cluster, uint32_t queue, uint32_t boot, struct str body);
void asks_on_own(struct cluster *cluster, uint32_t queue, struct str body);
void asks_on_reply(struct cluster *cluster, uint32_t boot, struct str body);
void asks_end(struct cluster *cluster, struct cluster_ask *ask); /* without an answer; frees it */
void asks_dispatch(struct cluster *cluster);
void asks_drop_pending(struct cluster *cluster);
void asks_expire(struct cluster *cluster);
void asks_on_gone(struct cluster *cluster, uint32_t slot);
void asks_drop_all(struct cluster *cluster);

#endif
