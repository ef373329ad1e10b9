/* What the shard's sources share; nobody else includes it.
 *   shard.c              sessions, users, apps
 *   shard_groups.c       membership and interest
 *   shard_control.c      joins and parts by the API
 *   shard_ring.c         what the bus thread hands over: messages, fences, heads, catch-ups
 *   shard_lane.c         each queue's messages, one after the other
 *   shard_police.c       sessions under a policy
 *   shard_revoke.c       tokens that are good no longer
 *   shard_cast.c         one message to whom it concerns, in slices
 *   shard_served.c       who got a message that has several targets
 *   shard_tally.c        which users are here, by app
 *   shard_replay.c       a returning session on its way to the present
 *   shard_replay_hold.c  one that has seen more than this node
 *   shard_replay_list.c  what it missed in one queue */
#ifndef TIDEGATE_CORE_SHARD_PRIVATE_H
#define TIDEGATE_CORE_SHARD_PRIVATE_H

#include "base/u64map.h"
#include "core/message.h"
#include "core/name_table.h"
#include "core/revocations.h"
#include "core/shard.h"

/* A user with at least one session here. name.count: its sessions. */
struct user {
    struct name_entry name;
    uint32_t first_session;
    uint32_t casts : 31;  /* messages under way to it: it is kept while there are some */
    uint32_t is_told : 1; /* on_user has taken that it is here */
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
 * then stamped. All messages of a group come through one lane, or are strays for which the lanes
 * wait for each other, so their ordinals ascend here. */
struct member {
    uint64_t stamp; /* the last ordinal it was served at, or that it joined at; MEMBER_PENDING |
                       serial: not in force */
    uint32_t slot;
    uint32_t group;
    uint32_t next;  /* of the session */
    uint32_t index; /* its place in group->members */
};

_Static_assert(sizeof(struct member) == 24, "counted in the budget of an idle session");

#define MEMBER_PENDING (1ull << 63)

struct shard_app {
    bool known;
    uint32_t hash;
    uint64_t all_key;
    uint32_t sessions; /* started ones */
    bool tracks_users;
};

/* Which sessions have got a message that has several targets. */
struct served {
    struct served *next; /* younger */
    struct served *prev;
    uint64_t key; /* in shard.served */
    struct u64map sessions;
    uint64_t parts_seen; /* bit i: part i */
    uint64_t until_ms;   /* kept until all parts were seen or then */
    uint32_t casts;      /* under way */
    bool incomplete;     /* memory was out: some that got it are not in sessions */
};

struct lane_item {
    struct message *message; /* a reference */
    uint64_t ordinal;
    struct bus_pos before; /* what its queue had passed when it came */
    bool reports;          /* its receipt, or its trace, waits for this worker */
};

/* A message on its way through the targets of this worker. */
struct cast {
    struct lane_item item; /* message NULL: the lane is idle */
    struct str targets;    /* what is left of event.target_bytes */
    size_t target_index;
    enum target_kind walking; /* 0: take the next target */
    uint32_t held;            /* while walking a group or a user: its index */
    uint32_t cursor;          /* group: members left; user, all: the next slot */
    struct served *served;    /* only for several targets */
    uint64_t *excepts; /* slot << 32 | generation of sessions here that don't get it; NULL: none */
    uint32_t except_count;
    bool excepts_unread; /* memory was out: each session is compared with the event itself */
    uint32_t origin;     /* of the page that doesn't get it; 0: none */
    uint32_t matched, written, dropped, withdrawn;
};

/* One queue on this worker: its messages go out one after the other. */
struct lane {
    struct cast cast;
    struct lane_item *items; /* a ring of what waits behind the cast */
    uint32_t cap, head, count;
    uint32_t controls;      /* joins, parts and kicks in the cast and in line */
    struct bus_pos drained; /* everything up to here left the ring */
    struct bus_pos done;    /* everything up to here was sent to whom it concerned */
    uint32_t history;       /* of the queue; what the window has of another one is not read yet */
};

/* What is known of a session that has a token or is under a policy. */
struct session_facts {
    uint64_t token;    /* hash of the token's id; 0: none */
    uint32_t issued_s; /* of the token; 0: it has none */
    uint32_t policed;  /* slab index; 0: it is under none */
};

_Static_assert(sizeof(struct session_facts) == 16, "what a token costs");

struct policed {
    struct session_rank rank;
    uint64_t device; /* 0: it named none */
    struct session_policy policy;
    bool is_open; /* its own event has come: it counts for those of later ones */
    bool asks;
    bool is_leaving;            /* its transport is about to end it: it takes nobody's place */
    struct session_count heard; /* who may be younger, perhaps too many: some are gone again */
};

struct replay_list {
    struct replay *first;
    struct replay *last;
};

struct shard {
    struct shard_options options;
    const struct shard_callbacks *callbacks;
    void *owner;
    const struct session_ops *ops[SHARD_TRANSPORTS];
    struct slab sessions;
    struct slab colds;
    struct slab members;
    struct slab facts;
    struct slab policed;
    struct name_table users;
    struct name_table groups;
    struct shard_app *apps;
    uint32_t app_count;
    struct lane lanes[BUS_MAX_QUEUES];
    uint64_t busy_lanes; /* bit q: lane q has a cast or items */
    uint64_t full_lanes; /* bit q: lane q takes no more, so the ring waits */
    uint64_t ordinal;    /* of the last ring entry */
    uint32_t strays;     /* messages in the lanes that are not in their home queue */
    uint64_t now_ms;
    struct interest_batch *batch; /* gathers in this turn */
    uint32_t generation;          /* of the last session made */
    uint32_t max_groups;          /* of a session */
    uint64_t join_serial;
    uint32_t heads_cursor; /* next slot to be told the positions; 0: nobody */
    bool asked_catch_up;
    bool is_leaving;               /* its sessions are being sent to other nodes */
    struct hub_catch_up *catch_up; /* under way: span.from is how far it got; NULL: none */
    uint64_t started;              /* bit q: queue q is known */
    uint64_t promised;             /* bit q: it is not, but clients wait for what is behind … */
    struct bus_pos promised_from[BUS_MAX_QUEUES]; /* … the least of what they have seen */
    char epoch[HUB_EPOCH_MAX + 1];                /* of the bus's history */
    struct u64map served;                         /* message id hash → struct served */
    struct served *served_oldest;
    struct served *served_newest;
    struct revocations revocations;
    struct u64map voids;  /* (user, group) → wall ms of a part by the API */
    uint64_t all_void_ms; /* no grant of before is good: a part then could not be remembered */
    uint32_t voids_swept_at;
    struct replay_list waiting_replays; /* for a place */
    struct replay_list running_replays; /* have one and may go on */
    uint32_t replay_places;             /* taken */
    struct replay_list held_replays;    /* wait until this node has come as far */
    uint64_t held_until_ms;             /* when they look again */
    struct user_tally *tally;           /* a count of users under way; NULL: none is */
    uint32_t tally_cursor;              /* the next slot to count */
    bool users_changed;                 /* since the last count began */
    struct shard_stats stats;
};

/* A session's way back to the present. */
struct replay {
    struct shard *shard;
    struct replay_list *in; /* NULL: waits for room in its transport */
    struct replay *next;
    struct replay *prev;
    uint32_t slot;
    bool has_place;
    uint64_t named;         /* bit q: the client said where it was in queue q */
    uint64_t held_since_ms; /* the client is ahead of this node since then; 0: it is not */
    bool listed;            /* seqs are those of queue */
    bool cut;               /* there are more after them: list again from there */
    uint32_t queue;         /* whose turn it is */

    uint64_t since; /* the ordinal of its fence */
    uint64_t *seqs; /* ascending */
    uint32_t seq_count, seq_at, seq_cap;
    struct bus_pos list_end; /* cursor of queue once the list is through, unless it was cut */
    struct replay_listing {  /* how far it got with the list */
        enum { LIST_BEGIN, LIST_ALL, LIST_USER, LIST_SESSION, LIST_GROUPS } stage;
        uint32_t member; /* while at the groups */
        bool searching;
        struct window_search search;
        struct bus_pos from;
        uint64_t from_seq; /* of the first message after from */
        uint64_t to_seq;
    } listing;
    struct replay_join { /* groups joined meanwhile count from there, in each queue */
        uint32_t member;
        struct bus_pos *from;
    } * joins;
    uint32_t join_count, join_cap;
    char epoch[HUB_EPOCH_MAX + 1]; /* as the client says */
    struct replay_queue {
        struct bus_pos seen;   /* what the client says it has */
        struct bus_pos cursor; /* seen up to here, or about to be; held: the head at first */
    } queues[];
};

/* shard.c */
static inline struct session *session_at(const struct shard *shard, uint32_t slot)
{
    return slab_at(&shard->sessions, slot);
}

static inline struct user *user_at(const struct shard *shard, uint32_t index)
{
    return name_table_at(&shard->users, index);
}

static inline const struct session_ops *ops_of(const struct shard *shard,
                                               const struct session *session)
{
    return shard->ops[session->transport];
}

static inline uint32_t slot_of(const struct shard *shard, const struct session *session)
{
    return session->cold; /* the two slabs hand out the same indices */
}

static inline struct replay *replay_of(const struct shard *shard, const struct session *session)
{
    const struct session_cold *cold = slab_at(&shard->colds, session->cold);
    return cold->replay;
}

static inline bool bit_is_set(uint64_t bits, uint32_t index)
{
    return bits >> index & 1;
}

static inline uint64_t with_bit(uint64_t bits, uint32_t index, bool on)
{
    return on ? bits | 1ull << index : bits & ~(1ull << index);
}

static inline void shard_count(atomic_uint_fast64_t *counter, int64_t n)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + (uint64_t)n, memory_order_relaxed);
}

uint64_t shard_key(const struct shard *shard, uint16_t app, enum target_kind kind, struct str name);
void session_go_live(struct shard *shard, struct session *session);
int session_wait_for_fence(struct shard *shard, struct session *session);
void user_hold(struct shard *shard, uint32_t index);
void user_release(struct shard *shard, uint32_t index);

/* shard_groups.c */
int interest_add(struct shard *shard, uint32_t app, uint64_t key, enum interest_op op);
int interest_wait(struct shard *shard, struct interest_waiter waiter);
void groups_on_fence(struct shard *shard, struct session *session,
                     const struct interest_waiter *waiter, const struct hub_heads *heads);
void groups_start_members(struct shard *shard, struct session *session);
void groups_leave_all(struct shard *shard, struct session *session);
struct group *group_at(const struct shard *shard, uint32_t index);
struct member *member_at(const struct shard *shard, uint32_t index);
struct str group_name(const struct shard *shard, uint32_t index);
uint32_t group_find_or_add(struct shard *shard, uint16_t app, struct str name);
void group_hold(struct shard *shard, uint32_t index);
void group_release(struct shard *shard, uint32_t index);
uint32_t member_find(const struct shard *shard, const struct session *session, uint32_t group);
uint32_t member_add(struct shard *shard, struct session *session, uint32_t group, uint64_t stamp);
void member_forget(struct shard *shard, struct session *session, uint32_t index);

/* shard_control.c */
uint32_t control_join(struct shard *shard, struct message *message, uint64_t ordinal);
uint32_t control_part(struct shard *shard, struct message *message);
void shard_void_all(struct shard *shard, uint64_t time_ms);

/* shard_police.c */
struct session_facts *facts_of(const struct shard *shard, const struct session *session);
struct session_facts *facts_make(struct shard *shard, struct session *session);
void facts_drop(struct shard *shard, struct session *session);
struct session_count control_police(struct shard *shard, const struct message *message);

/* shard_revoke.c */
void control_revoke(struct shard *shard, const struct message *message);
bool revocation_ends(const struct shard *shard, const struct session *session,
                     const struct message *message);
bool session_is_revoked(const struct shard *shard, const struct session *session);
void cover_revocations(struct shard *shard, uint64_t until_ms);

/* shard_ring.c */
void shard_drain_ring(struct shard *shard);
void shard_tell_heads(struct shard *shard);

/* shard_lane.c */
void lane_add(struct shard *shard, struct message *message, bool reports);
void lane_pass(struct shard *shard, uint32_t queue, struct bus_pos pos);
void lane_restart(struct shard *shard, uint32_t queue, struct bus_pos pos, uint32_t history);
bool lane_is_busy(const struct shard *shard, uint32_t queue);
bool lane_is_full(const struct shard *shard, uint32_t queue);
void lanes_run(struct shard *shard);
struct bus_pos lane_settled(const struct shard *shard, uint32_t queue);
void lanes_destroy(struct shard *shard);

/* shard_cast.c */
void cast_begin(struct shard *shard, struct cast *cast, struct lane_item item);
bool cast_run(struct shard *shard, struct cast *cast, uint32_t *budget);
void cast_end(struct shard *shard, struct cast *cast);
void cast_abandon(struct shard *shard, struct cast *cast);
bool cast_fits(const struct shard *shard, const struct message *message, uint32_t budget);
void casts_skip_session(struct shard *shard, const struct session *session);
enum session_delivery deliver_one(struct shard *shard, struct session *session,
                                  struct message *message);
bool message_excludes(const struct shard *shard, const struct message *message,
                      const struct session *session);
bool session_was_before(const struct shard *shard, const struct session *session, uint64_t ordinal);
bool session_is_younger(const struct shard *shard, const struct session *session,
                        const struct message *message);
bool message_is_expired(const struct shard *shard, const struct message *message);

/* shard_served.c */
struct served *served_begin(struct shard *shard, const struct event *event);
bool served_note(struct served *served, const struct session *session);
void served_end(struct shard *shard, struct served *served, const struct event *event);
void served_sweep(struct shard *shard);
void served_destroy_all(struct shard *shard);

/* shard_replay.c */
struct replay *replay_create(struct shard *shard, struct session *session,
                             const struct session_resume *resume);
void replay_destroy(struct shard *shard, struct replay *replay);
void replay_on_fence(struct shard *shard, struct session *session, const struct hub_heads *heads);
bool replays_run(struct shard *shard);
void replay_tell_gap(struct shard *shard, struct replay *replay, struct bus_pos to,
                     enum session_gap_why why);
struct bus_pos replay_restart(struct replay *replay, uint32_t queue, struct bus_pos from);
bool replay_must_wait(const struct replay *replay, uint64_t seq);

void replay_list_add(struct replay_list *list, struct replay *replay);
void replay_list_remove(struct replay *replay);

/* shard_replay_hold.c */
enum replay_comparison { REPLAY_FITS, REPLAY_HELD, REPLAY_FOREIGN };
enum replay_comparison replay_compare(struct shard *shard, struct session *session,
                                      const struct hub_heads *heads);
void replays_look_again(struct shard *shard);

/* shard_replay_list.c */
enum list_step { LIST_DONE, LIST_MORE, LIST_FAILED };
enum list_step replay_list(struct replay *replay, struct session *session, uint32_t *turn_finds);
void replay_shorten_list(struct replay *replay);
void replay_drop_list(struct replay *replay);
int replay_note_join(struct replay *replay, uint32_t member, const struct bus_pos *from);
void replay_drop_joins(struct replay *replay);
void replay_forget_member(struct replay *replay, uint32_t member);

#endif
