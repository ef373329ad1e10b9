/* What travels on the bus: a record is a run of events. An event is a 32-byte header, so that a
 * node can skip what is not for it without reading further, then the keys and the body.
 * Little-endian. Pure.
 *
 *      0  version 1, flags 1, target count 2, app 4 (target_app_hash)
 *      8  target key 8 (the first)
 *     16  ttl in ms 4 (0: none), origin 4 (the sender's boot), counter 4 (of origin and queue),
 *        length 4 (of what follows the header)
 *     32  [id hash 8, body hash 8] when EVENT_HAS_ID
 *         the other target keys, 8 each
 *         body: kind 1, part 1, parts 1, data kind (2 bits) and key tag (6 bits) 1,
 *               time 8 (wall, ms),
 *               id, type, collapse, origin tag, subject (2-byte length each),
 *                 the subject of a message: its trace, if it has one (event_trace),
 *               targets (kind 1, 2-byte length each),
 *               excepted sessions (2-byte count, 2-byte length each),
 *               data (4-byte length) */
#ifndef TIDEGATE_CORE_EVENT_H
#define TIDEGATE_CORE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "core/target.h"

enum { EVENT_VERSION = 1, EVENT_HEADER_LEN = 32, EVENT_MAX_TARGETS = 4096, EVENT_MAX_PARTS = 64 };

enum event_flag {
    EVENT_HAS_ID = 1,        /* the caller chose the id: it is an idempotency key */
    EVENT_WANTS_RECEIPT = 2, /* its publisher counts who got it */
    EVENT_IS_CONTROL = 4,    /* not a message: never replayed, never shown to a client as one */
    EVENT_COUNTS_WRITES = 8, /* what its receipt counts are frames that are written or dropped */
    EVENT_IS_STRAY = 16,     /* in another queue than its targets' home, whose broker is away */
    EVENT_WANTS_ACKS = 32,   /* clients are asked to confirm it; its receipt counts who did */
    EVENT_IS_FINAL = 64,     /* the last message of the tickets that are its targets */
    EVENT_IS_AGAIN = 128,    /* came before, and is told again to those who don't know it */
};

enum event_kind {
    EVENT_MESSAGE = 1,
    EVENT_JOIN = 2, /* target: one group; subject: the user whose sessions join it */
    EVENT_PART = 3, /* the same */
    EVENT_KICK = 4, /* target: a user or a session */
    /* What nodes tell each other: never in the window. Target: one node, or all. */
    EVENT_BEACON = 5,
    EVENT_ASK = 6,
    EVENT_REPLY = 7,
    EVENT_REPORT = 8,
    /* Target: one ticket. Hub and kept store have them, no worker does: see tickets.h. */
    EVENT_CLAIM = 9,       /* subject: the session's id; data: SHA-256 of the claim, or nothing */
    EVENT_TICKET_END = 10, /* it is over */
    EVENT_AGAIN = 12,      /* of nodes: data is a position and an event that stood there: kept.h */
    /* What a user's sessions tell each other where the app has a policy for them (core/shard.h).
     * Target: the user; subject: the device; time and data: where it stands among the others. */
    EVENT_OPEN = 13,       /* one more has begun; its receipt counts those of before */
    EVENT_RANK = 14,       /* its receipt counts those that are younger than the one that asks */
    EVENT_REVOCATION = 15, /* of tokens; target: a user, or all; see shard_revoke.c. Kept */
    /* Targets: those of a message; subject: its id. It is cancelled: who has it not yet does not
     * get it, and who may have it is told, also in a replay. */
    EVENT_REVOKE = 16,
    EVENT_PRESENCE = 21, /* of nodes: see presence.h */
};

enum event_data_kind { EVENT_DATA_NONE, EVENT_DATA_JSON, EVENT_DATA_BINARY, EVENT_DATA_TEXT };

struct event_header {
    uint8_t version;
    uint8_t flags;
    uint16_t target_count;
    uint32_t app;
    uint64_t key;
    uint32_t ttl_ms;
    uint32_t origin;
    uint32_t counter;
    uint32_t length;
};

_Static_assert(sizeof(struct event_header) == EVENT_HEADER_LEN,
               "the header is 32 bytes on the wire");

static inline bool event_kind_is_of_police(enum event_kind kind)
{
    return kind == EVENT_OPEN || kind == EVENT_RANK;
}

static inline bool event_kind_is_of_nodes(enum event_kind kind)
{
    return (kind >= EVENT_BEACON && kind <= EVENT_REPORT) || kind == EVENT_AGAIN ||
           kind == EVENT_PRESENCE;
}

static inline bool event_kind_is_of_tickets(enum event_kind kind)
{
    return kind == EVENT_CLAIM || kind == EVENT_TICKET_END;
}

/* What goes to sessions, live or out of the window; all else acts on them when it comes. */
static inline bool event_kind_is_shown(enum event_kind kind)
{
    return kind == EVENT_MESSAGE || kind == EVENT_REVOKE;
}

/* What changes what a worker knows: it is told also of those that the window has lost. */
static inline bool event_kind_must_arrive(enum event_kind kind)
{
    return !event_kind_is_shown(kind) && !event_kind_is_of_police(kind);
}

/* An event in parts: borrowed on the way in, pointing into the bytes on the way out. */
struct event {
    struct event_header header;
    uint64_t id_hash;
    uint64_t body_hash;
    enum event_kind kind;
    uint8_t part; /* 0 to parts - 1 */
    uint8_t parts;
    enum event_data_kind data_kind;
    uint8_t key_tag; /* of target_space: whose keys these are */
    uint64_t time_ms;
    struct str id;
    struct str type;
    struct str collapse;
    struct str origin_tag; /* sessions that said hello with this tag don't get it */
    struct str subject;
    struct str data;
    const uint8_t *keys;     /* decoded: header.target_count - 1 keys, unaligned; see event_key */
    struct str target_bytes; /* decoded: for event_next_target */
    struct str except_bytes; /* decoded: for event_next_except */
    uint16_t except_count;
};

/* Appends an event. targets and keys run in parallel; header.length, target_count and key are set
 * here. ERR_TOO_LARGE when a name is over 64 KiB or there are too many targets. */
int event_encode(struct buf *out, const struct event *event, const struct target *targets,
                 const uint64_t *keys, size_t target_count, const struct str *excepts,
                 size_t except_count);

/* Puts the counter, or a further flag, into an encoded event, which the bus thread does as it
 * packs.
 */
void event_set_counter(uint8_t *encoded, uint32_t counter);
void event_add_flag(uint8_t *encoded, enum event_flag flag);

/* For an event whose keys were made with another secret: appends it to out with those of space, its
 * id hash too. 0 or ERR_NO_MEMORY. */
int event_rekey(struct buf *out, const struct event *event, struct str encoded,
                const struct target_space *space);

/* Of an id that a caller chose: what stands for it in the tables. */
uint64_t event_id_hash(const struct target_space *space, uint32_t app_hash, struct str id);

/* Of an event that has a collapse key: the same for those of the same targets that leave the same
 * ones out (excepts, origin_tag). Odd, so never 0. */
uint64_t event_collapse_key(const struct event *event);

/* Returns the bytes of the first event in data, or ERR_SYNTAX, or ERR_UNSUPPORTED for another
 * version. *out_skip is set to the bytes that lead to the next event as soon as these are known,
 * else left alone. Everything is checked; nothing is copied. */
ssize_t event_decode(struct event *out_event, const uint8_t *data, size_t len, size_t *out_skip);

/* Of a decoded event whose bytes, at from, were copied to to: it points into the copy now. */
void event_rebase(struct event *event, const void *from, const void *to);

/* Of a message that its pusher follows by W3C Trace Context: trace id 16, span id 8, flags 1, and
 * the tracestate behind them. "": it has none. A node that does not know of it passes it over. */
enum { EVENT_TRACE_LEN = 25, EVENT_TRACE_SAMPLED = 1 };
struct str event_trace(const struct event *event);
bool event_is_sampled(const struct event *event);

/* Key of target i. */
uint64_t event_key(const struct event *event, size_t i);

/* Walk over targets: start with rest = event->target_bytes; false at the end. */
bool event_next_target(struct str *rest, struct target *out_target);
bool event_next_except(struct str *rest, struct str *out_sid);

#endif
