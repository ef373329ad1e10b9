/* What the sources of presence share with the cluster's; nobody else includes it.
 *   presence.c          the table and grace times
 *   presence_records.c  who tells
 *   presence_sync.c     what nodes say to each other */
#ifndef TIDEGATE_CORE_PRESENCE_PRIVATE_H
#define TIDEGATE_CORE_PRESENCE_PRIVATE_H

#include "base/slab.h"
#include "base/timer_wheel.h"
#include "core/cluster_private.h"
#include "core/presence.h"

enum { PRESENCE_GONE_MAX = 64 };

/* What a serial grows by when its time was told to be over, and was not. */
#define PRESENCE_NEXT_TIME (1ull << 48)

struct presence_user {
    uint64_t key; /* 0: the slot is free */
    struct presence *presence;
    struct timer timer;    /* the grace time */
    struct node_set nodes; /* that have sessions, as they said */
    struct node_set sure;  /* of these: said again since they began to tell all anew */
    uint64_t serial;       /* with boot: the name of this time online; 0: it is not online */
    uint32_t boot;
    uint32_t app;
    uint64_t since_ms, last_seen_ms; /* wall */
    uint32_t grace_ms;
    uint64_t here; /* bit w: worker w of this node has sessions, as far as its word found room */
    char *name;    /* owned */
    uint16_t len;
    uint8_t queue;
};

/* A change that another node is to tell, and has not said yet that it did. */
struct presence_record {
    struct presence_record *next;
    uint64_t due_ms; /* presence_now_ms: then this node tells it */
    uint64_t name;
    uint64_t key;
    uint32_t queue;
    bool is_done;
    struct presence_change change; /* its user is behind the struct */
};

/* What is known of another node's telling. */
struct presence_peer {
    uint32_t boot;
    uint64_t ended;    /* bit q: it has told all its users of queue q */
    uint64_t asked_ms; /* 0: not asked yet */
    bool was_gone;     /* and its users have been told to be offline */
};

struct presence {
    struct cluster *cluster;
    pthread_mutex_t lock; /* of the table, for other threads' looks at it */
    struct slab users;
    struct u64map by_key; /* → slab index */
    struct timer_wheel timers;
    uint64_t max_users;
    uint64_t serial;
    bool is_on;
    bool keeps;                               /* the table is complete */
    struct presence_record *records, *newest; /* in order of due_ms */
    struct u64map open_records;               /* name → record that is not done */
    uint32_t record_count;
    struct presence_peer peers[CLUSTER_MAX_NODES];
    uint32_t gone[PRESENCE_GONE_MAX]; /* boots of those that were gone last */
    uint32_t gone_count;              /* so far */
    bool is_renewing;                 /* who thought this node gone must hear of new times */
    struct buf out[BUS_MAX_QUEUES];   /* what is said at the end of the turn */
    uint64_t unsaid;                  /* bit q: something did not get there */
    bool is_pending;                  /* somebody wants to be told of all users here */
    uint32_t pending_to;              /* its boot; 0: more than one */
    uint64_t told_ms;                 /* when the last telling began */
    uint32_t telling_to;
    uint32_t cursor; /* next slot to be told; 0: no telling is under way */
};

static inline struct presence_user *presence_user_at(const struct presence *presence,
                                                     uint32_t index)
{
    return slab_at(&presence->users, index);
}

/* The time of graces. It stands still while nothing comes back from the bus: who is cut off can't
 * know who has come back. */
static inline uint64_t presence_now_ms(const struct presence *presence)
{
    const struct cluster *cluster = presence->cluster;
    return cluster->is_shared ? cluster->live_ms : cluster->now_ms;
}

/* presence.c; all but these two with the lock held. */
int presence_create(struct cluster *cluster);
void presence_destroy(struct presence *presence);
struct presence_user *presence_get(const struct presence *presence, uint64_t key);
void presence_on_item(struct presence *presence, uint32_t slot, uint32_t queue,
                      const struct cluster_presence_item *item);
void presence_clear_node(struct presence *presence, struct presence_user *user, uint32_t slot,
                         uint64_t wall_ms, uint32_t least_grace_ms);
void presence_forget_all(struct presence *presence);
void presence_renew(struct presence *presence, struct presence_user *user);

/* presence_records.c: likewise. */
void records_announce(struct presence *presence, const struct presence_user *user, bool is_online);
void records_on_told(struct presence *presence, const struct cluster_presence_item *item);
void records_run(struct presence *presence);
void records_forget(struct presence *presence);

/* presence_sync.c: for the cluster. */
void presence_on_event(struct cluster *cluster, uint32_t slot, uint32_t queue, struct str body);
void presence_on_gone(struct cluster *cluster, uint32_t slot);
void presence_on_doubt(struct cluster *cluster, uint32_t queue);
void presence_tick(struct cluster *cluster);
void presence_flush(struct cluster *cluster);

/* presence_sync.c: to say of one's own. */
void presence_say(struct presence *presence, uint32_t queue,
                  const struct cluster_presence_item *item);

#endif
