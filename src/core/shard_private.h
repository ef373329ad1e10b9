/* What the shard's sources share; nobody else includes it.
 *   shard.c          sessions, users, apps
 *   shard_groups.c   membership and interest
 *   shard_deliver.c  ring, lanes, broadcasts in slices
 *   shard_replay.c   what a returning session missed */
#ifndef TIDEGATE_CORE_SHARD_PRIVATE_H
#define TIDEGATE_CORE_SHARD_PRIVATE_H

#include "base/u64map.h"
#include "core/message.h"
#include "core/name_table.h"
#include "core/shard.h"

/* A user with at least one session here. name.count: its sessions. */
struct user {
    struct name_entry name;
    uint32_t first_session;
    uint32_t padding;
};

_Static_assert(sizeof(struct user) == 40, "counted in the budget of an idle session");

/* A group with at least one member here. name.count: its members. */
struct group {
    struct name_entry name;
    uint32_t *members; /* member indices, in no order */
    uint32_t cap;
    uint32_t casts; /* broadcasts under way: the group is kept while there are some */
};

/* One session in one group. A member is served in a broadcast of ordinal n when stamp < n, and is
 * then stamped. */
struct member {
    uint64_t stamp; /* the last ordinal it was served at, or that it joined at; MEMBER_PENDING |
                       serial: not in force */
    uint32_t slot;
    uint32_t group;
    uint32_t next;  /* of the session */
    uint32_t index; /* its place in group->members */
};

#define MEMBER_PENDING (1ull << 63)

struct shard_app {
    bool known;
    uint32_t hash;
    uint64_t all_key;
    uint32_t sessions; /* started ones */
};

/* Which sessions have got a message that has several targets. */
struct served {
    struct u64map slots;
    uint64_t parts_seen; /* bit i: part i */
    uint64_t until_ms;   /* kept until all parts were seen or then */
    uint32_t casts;      /* under way */
};

/* A message on its way through the targets of this worker. */
struct cast {
    struct message *message; /* a reference; NULL: the lane is idle */
    uint64_t ordinal;
    struct str targets; /* what is left of event.target_bytes */
    size_t target_index;
    enum target_kind walking; /* 0: take the next target */
    uint32_t group;           /* while walking a group */
    uint32_t cursor;          /* group: members left; all: the next slot */
    struct served *served;    /* only for several targets */
    uint64_t *excepts; /* slot << 32 | generation of sessions here that don't get it; NULL: none */
    uint32_t except_count;
    uint32_t origin; /* of the page that doesn't get it; 0: none */
    uint32_t matched, written, dropped;
};

struct lane_item {
    struct message *message;
    uint64_t ordinal;
};

/* One queue on this worker: its messages go out one after the other. */
struct lane {
    struct cast cast;
    struct lane_item *items; /* a ring of what waits behind the cast */
    uint32_t cap, head, count;
    struct bus_pos drained; /* everything up to here left the ring */
    struct bus_pos done;    /* everything up to here was sent to whom it concerned */
};

struct shard {
    struct shard_options options;
    const struct shard_callbacks *callbacks;
    void *owner;
    const struct session_ops *ops[SHARD_TRANSPORTS];
    struct slab sessions;
    struct slab colds;
    struct slab members;
    struct name_table users;
    struct name_table groups;
    struct shard_app *apps;
    uint32_t app_count;
    struct lane lanes[BUS_MAX_QUEUES];
    uint64_t busy_lanes; /* bit q: lane q has a cast or items */
    uint64_t ordinal;    /* of the last ring entry */
    uint64_t now_ms;
    struct interest_batch *batch; /* gathers in this turn */
    uint32_t generation;          /* of the last session made */
    uint64_t join_serial;
    uint32_t heads_cursor; /* next slot to be told the positions; 0: nobody */
    uint64_t next_sweep_ms;
    bool asked_catch_up;
    struct u64map served; /* message id hash → struct served, for messages of several parts */
    struct u64map voids;  /* (user, group) → wall ms of a part by the API */
    uint32_t voids_swept_at;
    struct replay *replay_queue; /* wait for a place, oldest first */
    struct replay **replay_queue_end;
    uint32_t replays; /* that have a place */
    struct shard_stats stats;
};

/* A session's way back to the present. */
struct replay {
    struct shard *shard;
    struct replay *next; /* in the queue */
    uint32_t slot;
    bool has_place;
    bool queued;
    struct session_resume resume;
    struct hub_heads cursor; /* seen up to here, or about to be */
    bool listed;             /* seqs are those of queue */
    uint32_t queue;          /* whose turn it is */
    uint64_t *seqs;          /* ascending */
    uint32_t seq_count, seq_at, seq_cap;
    struct bus_pos list_end; /* cursor of queue once the list is through */
    struct replay_join {
        uint32_t member;
        struct bus_pos from;
    } * joins; /* groups joined meanwhile count from there */
    uint32_t join_count, join_cap;
};

/* shard.c */
static inline struct session *session_at(const struct shard *shard, uint32_t slot)
{
    return slab_at(&shard->sessions, slot);
}

static inline const struct session_ops *ops_of(const struct shard *shard,
                                               const struct session *session)
{
    return shard->ops[session->transport];
}

static inline uint32_t slot_of(const struct shard *shard, const struct session *session)
{
    const struct session_cold *cold = slab_at(&shard->colds, session->cold);
    return cold->slot;
}

static inline void shard_count(atomic_uint_fast64_t *counter, int64_t n)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + (uint64_t)n, memory_order_relaxed);
}

uint64_t shard_key(const struct shard *shard, uint16_t app, enum target_kind kind, struct str name);

/* shard_groups.c */
int interest_add(struct shard *shard, uint64_t key, enum interest_op op);
int interest_wait(struct shard *shard, const struct session *session, uint32_t member,
                  uint64_t serial, uint32_t tag);
void groups_on_fence(struct shard *shard, struct session *session,
                     const struct interest_waiter *waiter, const struct hub_heads *heads);
void groups_start_members(struct shard *shard, struct session *session, uint64_t ordinal);
void groups_leave_all(struct shard *shard, struct session *session);
void groups_on_join_event(struct shard *shard, struct message *message, uint64_t ordinal,
                          uint32_t *out_matched);
void groups_on_part_event(struct shard *shard, struct message *message, uint32_t *out_matched);
void group_release(struct shard *shard, uint32_t index);

/* shard_deliver.c */
enum session_delivery deliver_one(struct shard *shard, struct session *session,
                                  struct message *message);
bool message_excludes(const struct shard *shard, const struct message *message,
                      const struct session *session);
void session_on_fence(struct shard *shard, struct session *session, const struct hub_heads *heads);
void lanes_destroy(struct shard *shard);

/* shard_replay.c */
struct replay *replay_create(struct shard *shard, struct session *session,
                             const struct session_resume *resume);
void replay_destroy(struct shard *shard, struct replay *replay);
void replay_on_fence(struct shard *shard, struct session *session, const struct hub_heads *heads);
int replay_note_join(struct replay *replay, uint32_t member, struct bus_pos from);
void replay_forget_member(struct replay *replay, uint32_t member);
bool replay_run_queue(struct shard *shard);

#endif
