/* One worker's part of the node: its sessions, users and groups, and the delivery to them. What the
 * bus thread hands over arrives through a ring; what the worker wants of it leaves in interest
 * batches. Workers share nothing with each other. No socket and no clock in here; one thread calls
 * everything. */
#ifndef TIDEGATE_CORE_SHARD_H
#define TIDEGATE_CORE_SHARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/hub.h"
#include "core/session.h"
#include "core/session_policy.h"
#include "core/sid.h"
#include "core/user_tally.h"

struct shard; /* shard_private.h */

enum { SHARD_TRANSPORTS = 4, SHARD_SLICE = 512, SHARD_LANE_ITEMS = 4096, SHARD_VOIDS = 65536 };
enum { SHARD_REVOCATIONS = 1024 * 1024, SHARD_TALLY_SLOTS = 4096 };

/* A grant of group membership lives no longer, so a part need not be remembered longer. */
#define SHARD_GRANT_LIFE_MS (24u * 3600u * 1000u)

struct shard_options {
    uint32_t worker;
    uint32_t queues;
    uint32_t boot;
    struct target_space space;
    struct siphash_key sid_key;
    struct window *window;
    struct hub_link *link;
    uint32_t max_replays; /* that hold a list at a time; others wait their turn */
    uint32_t slice;       /* steps of a message before others have their turn; 0: SHARD_SLICE */
    uint32_t
        lane_items; /* messages of one queue in line before the ring waits; 0: SHARD_LANE_ITEMS */
    /* For how long a client may be ahead of this node, which is a moment behind the one it comes
     * from, before its positions are taken for another history's; 0: not at all. */
    uint32_t hold_ms;
    uint32_t max_revocations; /* remembered; 0: SHARD_REVOCATIONS */
    uint32_t max_voids;       /* parts remembered by user and group; 0: SHARD_VOIDS */
};

struct shard_callbacks {
    /* Takes the batch to the bus thread. */
    void (*send_interest)(void *owner, struct interest_batch *batch);
    /* The ring is drained and the hub had marked us behind. */
    void (*ask_catch_up)(void *owner);
    /* Let shard_run be called again in so many ms. Only where hold_ms is set. */
    void (*ask_run)(void *owner, uint32_t delay_ms);
    /* So many sessions of the node were matched by a message. May be NULL. */
    void (*on_fan_out)(void *owner, uint32_t sessions);
    /* The first session of a user is here, or the last one is gone; of apps whose users are
     * tracked. May be NULL. False: it could not be told, so its end is not; the next session of
     * the user tries again. The end of one that was told must not fail. */
    bool (*on_user)(void *owner, uint16_t app, uint64_t key, struct str user, bool is_there);
};

/* Read by any thread (relaxed), written by the worker. */
struct shard_stats {
    atomic_uint_fast64_t users, groups, members;
    atomic_uint_fast64_t matched, written, queued, dropped;
    atomic_uint_fast64_t expired; /* messages past their ttl */
    atomic_uint_fast64_t replayed, gaps, catch_ups;
    atomic_uint_fast64_t revocations_folded; /* likewise of revocations, and all tokens */
    atomic_uint_fast64_t voids_folded; /* too many parts: all grants of before were made void */
};

int shard_create(struct shard **out_shard, const struct shard_options *options,
                 const struct shard_callbacks *callbacks, void *owner);

/* All sessions must be gone. */
void shard_destroy(struct shard *shard);

void *shard_owner(const struct shard *shard);
const struct shard_options *shard_get_options(const struct shard *shard);
struct shard_stats *shard_get_stats(struct shard *shard);
/* The identity of the bus's history; "" before the bus was up. Changes with shard_run. */
struct str shard_epoch(const struct shard *shard);
/* Whether queue q is known here: its broker has been there. */
bool shard_queue_is_known(const struct shard *shard, uint32_t queue);

/* How many groups a join by the API may bring a session to, below 65,536; sessions that have more
 * keep them. At first 65,535. */
void shard_set_max_groups(struct shard *shard, uint32_t max_groups);

void shard_set_transport(struct shard *shard, uint8_t transport, const struct session_ops *ops);

/* Apps are indices that the owner hands out, the same on every worker, below 65,536. Makes it known
 * here. */
int shard_add_app(struct shard *shard, uint16_t app, struct str name);
bool shard_has_app(const struct shard *shard, uint16_t app);
/* Whether on_user is called for the app's users. It is called at once for those that are here. */
void shard_track_users(struct shard *shard, uint16_t app, bool is_on);
uint32_t shard_app_hash(const struct shard *shard, uint16_t app);
uint32_t shard_app_sessions(const struct shard *shard, uint16_t app);

/* A slot in state NEW. NULL when memory is out. */
struct session *shard_session_create(struct shard *shard, uint16_t app, uint8_t transport);

/* Takes it out of all tables; the slot stays until shard_session_free. Any state. */
void shard_session_end(struct shard *shard, struct session *session);
void shard_session_free(struct shard *shard, struct session *session);

/* NULL when the slot is free or holds another generation. */
struct session *shard_session_find(struct shard *shard, uint32_t slot, uint32_t generation);
uint32_t shard_session_slot(const struct shard *shard, const struct session *session);
struct session *shard_session_at(const struct shard *shard, uint32_t slot);
struct session_cold *shard_session_cold(const struct shard *shard, const struct session *session);
uint32_t shard_slot_limit(const struct shard *shard);
uint32_t shard_session_count(const struct shard *shard);
void shard_session_sid(const struct shard *shard, const struct session *session,
                       struct sid *out_sid);

/* In state NEW, once. 0 or ERR_NO_MEMORY. */
int shard_session_set_user(struct shard *shard, struct session *session, struct str user);
struct str shard_session_user(const struct shard *shard, const struct session *session);

/* NEW → STARTING: asks for the fence. resume is copied; NULL for a new client. on_start follows,
 * later. */
int shard_session_start(struct shard *shard, struct session *session,
                        const struct session_resume *resume);

/* In state NEW: joins that come into force with the start (no on_joined). Later: on_joined with the
 * tag follows. 0, ERR_EXISTS (is a member already) or ERR_NO_MEMORY. Limits are the caller's. */
int shard_join(struct shard *shard, struct session *session, struct str group, uint32_t tag);
int shard_leave(struct shard *shard, struct session *session,
                struct str group); /* or ERR_NOT_FOUND */

/* The session has shown a token, or another one than before: by its id ("" for none) and the time
 * of its issue (wall, ms) it is found when it is revoked. 0 or ERR_NO_MEMORY. */
int shard_session_set_token(struct shard *shard, struct session *session, struct str id,
                            uint64_t issued_ms);

/* Whether such a token was revoked (EVENT_REVOCATION). */
bool shard_token_is_revoked(const struct shard *shard, uint16_t app, struct str user, struct str id,
                            uint64_t issued_ms);

/* Puts a session that has a user under a policy, once. Its owner then publishes EVENT_OPEN to the
 * user, whose receipt counts those of the user that were there before it (matched), and of these
 * those of its device (written). 0 or ERR_NO_MEMORY. */
int shard_session_police(struct shard *shard, struct session *session,
                         const struct session_policy *policy, struct session_rank rank,
                         struct str device);

/* False: it is under none. */
bool shard_session_policy(const struct shard *shard, const struct session *session,
                          struct session_policy *out_policy, struct session_rank *out_rank);

/* It may stay, as far as those of before are concerned. It counts for others from now on also if
 * its event has not come, since the bus did not take that. on_excess may follow at once. */
void shard_session_admit(struct shard *shard, struct session *session, struct session_count older);

/* After on_excess: how many are younger, and the session stays. on_excess may follow at once. */
void shard_session_ranked(struct shard *shard, struct session *session,
                          struct session_count younger);

/* It ends before this turn does, and so counts for no policy any more. */
void shard_session_leaves(struct shard *shard, const struct session *session);

/* The sessions of here are being sent to other nodes, and so count for no policy. */
void shard_set_leaving(struct shard *shard, bool is_leaving);

/* What session->origin_hash is for a page's tag. */
uint32_t shard_origin_hash(const struct shard *shard, struct str tag);

/* For transports that tell positions with a message: everything up to out_heads was handed to the
 * LIVE sessions whose live_from is below the ordinal that is returned; others are further.
 * out_heads->started: the queues that are known here. */
uint64_t shard_done(const struct shard *shard, struct hub_heads *out_heads);
/* The same of a session in REPLAYING: how far it is. False: of any other. */
bool shard_replay_done(const struct shard *shard, const struct session *session,
                       struct hub_heads *out_heads);

/* A message that comes another way than through the ring: its session is the caller's to choose,
 * and what becomes of it the caller's to tell. In state LIVE or REPLAYING. */
enum session_delivery shard_deliver(struct shard *shard, struct session *session,
                                    struct message *message);

/* The transport has room again. */
void shard_replay_continue(struct shard *shard, struct session *session);

/* Takes what is in the ring and goes on with broadcasts, a slice each. True: there is more to do at
 * once. */
bool shard_run(struct shard *shard, uint64_t now_ms);

/* How many entries wait in the ring and behind broadcasts, more or less. */
uint64_t shard_backlog(const struct shard *shard);

/* The end of the worker's turn: what the hub must know leaves now. */
void shard_flush(struct shard *shard);

/* Queries by target key's name. Return the count; call visit for each session. */
uint32_t shard_visit_user(struct shard *shard, uint16_t app, struct str user,
                          void (*visit)(void *arg, struct session *session), void *arg);
/* Walks over the app's users that have sessions here, in no order: looks at `steps` places from
 * `from` (1 at first) on, and returns where to go on, 0 at the end. Between two calls anything may
 * change: who is there all the time is seen once. The name is good inside visit. */
uint32_t shard_walk_users(struct shard *shard, uint16_t app, uint32_t from, uint32_t steps,
                          void (*visit)(void *arg, uint32_t user, struct str name), void *arg);
/* In visit: the user's sessions that are welcomed, as shard_visit_user counts them. */
uint32_t shard_user_sessions(const struct shard *shard, uint32_t user);
uint32_t shard_group_size(const struct shard *shard, uint16_t app, struct str group);
/* Appends the 8-byte target keys of the users in the group (with repeats); returns how many. */
uint32_t shard_group_users(const struct shard *shard, uint16_t app, struct str group,
                           struct buf *out);
uint32_t shard_visit_group(struct shard *shard, uint16_t app, struct str group,
                           void (*visit)(void *arg, struct session *session), void *arg);

/* Names of the groups a session is in; visit may not change membership. */
void shard_visit_session_groups(struct shard *shard, const struct session *session,
                                void (*visit)(void *arg, struct str group), void *arg);

enum shard_tally {
    SHARD_TALLY_IDLE, /* nobody has come or gone since the last count */
    SHARD_TALLY_MORE, /* call it again */
    SHARD_TALLY_DONE,
};

/* Goes on counting which users are here, SHARD_TALLY_SLOTS of the table a call. DONE: *out_tally is
 * the caller's. Where memory is out it is IDLE, and begins anew with the next call. */
enum shard_tally shard_tally_users(struct shard *shard, struct user_tally **out_tally);

/* Whether a grant for this user and group, issued at that time (wall, ms), was made void by a part.
 */
bool shard_grant_is_revoked(const struct shard *shard, uint16_t app, struct str user,
                            struct str group, uint64_t issued_ms);

#endif
