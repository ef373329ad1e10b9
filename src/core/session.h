/* One connected client as core and server see it: a 64-byte hot slot, which a broadcast walks over,
 * and a cold part for what is rarely touched. Both live in slabs of one worker. */
#ifndef TIDEGATE_CORE_SESSION_H
#define TIDEGATE_CORE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/timer_wheel.h"
#include "core/hub.h"

struct shard;
struct message;
struct session;
struct replay;

enum session_state {
    SESSION_FREE,      /* the slot is not in use */
    SESSION_NEW,       /* connected, not yet identified */
    SESSION_STARTING,  /* waits for the fence */
    SESSION_REPLAYING, /* is sent what it missed; nothing live meanwhile */
    SESSION_LIVE,
    SESSION_ENDED, /* out of all tables; its transport still says goodbye */
};

enum session_resumed { SESSION_RESUMED_NONE, SESSION_RESUMED_PARTIAL, SESSION_RESUMED_FULL };

/* live_from of a session that gets nothing live. */
#define SESSION_NOT_LIVE UINT64_MAX

struct session {
    uint32_t generation; /* of the slot: a stale reference never meets another session */
    int32_t fd;          /* the transport's */
    uint64_t live_from;  /* gets what came through the ring after this ordinal */
    uint8_t state;       /* enum session_state */
    uint8_t transport;   /* index into the shard's ops */
    uint8_t flags;       /* the transport's */
    uint8_t pings;       /* the transport's: sent and not answered */
    uint16_t app;        /* index of the app */
    uint16_t group_count;
    uint32_t user;         /* slab index in the shard's users; 0: anonymous */
    uint32_t user_next;    /* next session of the user */
    uint32_t first_member; /* its memberships */
    uint32_t cold;         /* slab index; the same as the slot */
    uint32_t heard_tick;   /* the transport's: last byte received, in ticks of 10 ms */
    uint32_t origin_hash;  /* of the page's tag from hello; 0: none */
    void *out;             /* the transport's: what waits to be written; NULL: nothing */
    void *in;              /* the transport's: an incomplete frame or message; NULL: none */
};

_Static_assert(sizeof(struct session) == 64, "the hot slot is one cache line");

struct session_cold {
    struct timer timer;    /* the transport's */
    uint32_t slot;         /* back to the hot slot */
    uint32_t opened_s;     /* monotonic */
    uint32_t expires_s;    /* wall clock, of the token; 0: never */
    uint32_t facts;        /* slab index of what core knows of few sessions; 0: nothing */
    struct replay *replay; /* while REPLAYING or STARTING with a resume */
    void *extra;           /* the transport's: what few sessions have; NULL mostly */
};

_Static_assert(sizeof(struct session_cold) <= 64, "the cold part is one cache line");

/* Where a client says it was. A queue that it does not name counts as not seen. */
struct session_resume {
    char epoch[HUB_EPOCH_MAX + 1]; /* compared at the fence: the bus may begin another until then */
    bool has[BUS_MAX_QUEUES];
    struct hub_heads seen;
};

/* queue of a gap that concerns them all. */
enum { SESSION_ALL_QUEUES = UINT32_MAX };

enum session_delivery {
    SESSION_WRITTEN, /* the kernel took all bytes, or will at the end of this turn */
    SESSION_QUEUED,
    SESSION_DROPPED,   /* the session is being closed */
    SESSION_SKIPPED,   /* nothing that such a session can be told */
    SESSION_WITHDRAWN, /* of a revoke: what it cancels was still here */
};

/* What a transport does for core. All run on the worker; none may call back into the shard but
 * where the line says so. A transport that wants to end a session inside one of them defers it to
 * the turn's end. */
struct session_ops {
    /* In state LIVE the message's receipt, if any, counts the session; in REPLAYING it does not. */
    enum session_delivery (*deliver)(struct shard *shard, struct session *session,
                                     struct message *message);
    /* The session is known to the hub; pos is where its stream begins. Before any deliver. */
    void (*on_start)(struct shard *shard, struct session *session, enum session_resumed resumed,
                     const struct hub_heads *pos);
    /* A join is in force. tag 0: the API did it. Else it answers shard_join: exactly once for each
     * tag, unless the session is kicked or ends; group is empty when that membership is gone
     * already. */
    void (*on_joined)(struct shard *shard, struct session *session, struct str group, uint32_t tag);
    /* The API took the session out of the group. */
    void (*on_left)(struct shard *shard, struct session *session, struct str group);
    /* Messages between from and to of a queue (or SESSION_ALL_QUEUES) are lost to this session. */
    void (*on_gap)(struct shard *shard, struct session *session, uint32_t queue,
                   struct bus_pos from, struct bus_pos to, enum session_gap_why why);
    /* Positions moved on without traffic. */
    void (*on_heads)(struct shard *shard, struct session *session, const struct hub_heads *heads);
    /* Whether a replay may go on; if not, the transport calls shard_replay_continue when it may. */
    bool (*has_room)(struct shard *shard, const struct session *session);
    /* Kicked by the API, or memory is out. The transport ends the session later in this turn or
     * soon. */
    void (*on_kick)(struct shard *shard, struct session *session, int close_code);
    /* So many younger ones have begun that this one may be in excess: whoever minds the policy asks
     * how many there are (EVENT_RANK), and says so by shard_session_ranked. */
    void (*on_excess)(struct shard *shard, struct session *session);
};

#endif
