/* What carries events between nodes: a fixed number of ordered queues of records.
 *
 * A record is a run of bytes that the bus does not look into. Publishing it either fails or is
 * acknowledged, never both and never neither; every node then receives every acknowledged record of
 * a queue in one order, each with its position, which is the same on every node. A hole in that
 * order is reported, never silent. A record may come twice (a publish of unknown outcome is tried
 * again); whoever needs each once puts a counter into it.
 *
 * An engine is a struct bus_engine; engines.c lists them. One thread (the bus thread) calls
 * everything here and gets every callback; no callback runs inside bus_publish.
 *
 * Life of an engine, as its callbacks tell it:
 *   on_epoch             which history this is; before the first on_start, and again when it is
 *                        another one (a broker that was set up anew): then every queue starts again
 *   on_start(queue)      once the queue's start is fixed: records follow, from the window's age on
 *   on_record …          what is there already, then what comes
 *   on_queue_state       a queue became reachable or not; reachable at first when it has started
 *   on_state(up)         every queue that is reachable has started and been read to where its end
 *                        was then: the node may serve. Later: down when no queue is reachable, up
 *                        again when one is.
 *   on_state(down)       also before it is up for the first time, once there is a reason to tell,
 *                        and again when the reason is another one */
#ifndef TIDEGATE_BUS_BUS_H
#define TIDEGATE_BUS_BUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct loop;

enum { BUS_MAX_QUEUES = 64, BUS_EPOCH_MAX = 64 /* bytes */ };

/* A place in one queue, in the engine's own coordinates. Records ascend in hi, events inside a
 * record in lo; {0, 0} is before everything. */
struct bus_pos {
    uint64_t hi;
    uint64_t lo;
};

static inline int bus_pos_compare(struct bus_pos a, struct bus_pos b)
{
    if (a.hi != b.hi) {
        return a.hi < b.hi ? -1 : 1;
    }
    return a.lo < b.lo ? -1 : a.lo > b.lo;
}

static inline struct bus_pos bus_pos_max(struct bus_pos a, struct bus_pos b)
{
    return bus_pos_compare(a, b) > 0 ? a : b;
}

static inline struct bus_pos bus_pos_min(struct bus_pos a, struct bus_pos b)
{
    return bus_pos_compare(a, b) < 0 ? a : b;
}

/* Behind all that has this hi; 0: nothing was ever before. */
static inline struct bus_pos bus_pos_behind(uint64_t hi)
{
    return (struct bus_pos){hi, hi ? UINT64_MAX : 0};
}

/* One publish under way; lives in the caller until on_done. */
struct bus_publish {
    /* Exactly once: err 0 and the position of the record, or why it is not in the queue.
     * ERR_TIMEOUT: the deadline passed and nobody knows; it may still arrive, but never behind a
     * record of this caller that is published later and acknowledged without arriving as its
     * repeat (its counters tell). ERR_UNAVAILABLE: the deadline passed, and it certainly is not in
     * the queue. ERR_TOO_LARGE: the bus refuses its size. */
    void (*on_done)(struct bus_publish *publish, int err, struct bus_pos pos);
    uint32_t queue;
    struct str record;        /* borrowed from the caller, unchanged until on_done */
    uint64_t deadline_ms;     /* monotonic; 0: none. Until then an unknown outcome is tried again,
                               * byte for byte, on the same queue */
    struct bus_publish *next; /* the engine's */
};

enum bus_hole {
    BUS_HOLE_LOST,    /* nothing keeps what passed while the link was down */
    BUS_HOLE_EXPIRED, /* the bus has dropped it already */
    BUS_HOLE_EPOCH,   /* the queue's history is another one: positions start anew, maybe lower */
};

struct bus_callbacks {
    void (*on_epoch)(void *owner, struct str epoch); /* 1 to BUS_EPOCH_MAX printable bytes */
    /* The first record comes behind from; {0, 0}: nothing came before it, ever. */
    void (*on_start)(void *owner, uint32_t queue, struct bus_pos from);
    /* A record arrived; borrowed for the call. One's own comes back before its on_done or after it.
     * Empty: what is at pos can't be a record (counted as skipped by the engine). wall_ms: when the
     * bus got it, 0 if unknown. */
    void (*on_record)(void *owner, uint32_t queue, struct bus_pos pos, struct str record,
                      uint64_t wall_ms);
    /* The records between from and to (both exclusive) of a queue are lost to this node. */
    void (*on_hole)(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to,
                    enum bus_hole why);
    void (*on_queue_state)(void *owner, uint32_t queue, bool up);
    /* reason is for people: what is wrong and with whom, without secrets. */
    void (*on_state)(void *owner, bool up, const char *reason);
};

/* ---- options of an engine: keys under `bus:` that only it has ---- */

enum bus_option_type {
    BUS_OPTION_TEXT,
    BUS_OPTION_SECRET, /* a text that is never shown */
    BUS_OPTION_FILE,   /* a text: the name of a file, which the engine reads; in the configuration
                        * relative to its folder, here to where the process runs */
    BUS_OPTION_TEXTS,  /* a list */
    BUS_OPTION_COUNT,
    BUS_OPTION_BYTES,
    BUS_OPTION_TIME, /* ms */
    BUS_OPTION_BOOL,
    BUS_OPTION_CHOICE, /* an index into choices */
};

enum { BUS_MAX_OPTIONS = 32, BUS_OPTION_NAME_MAX = 32 /* bytes */ };

struct bus_option {
    const char *name; /* of a-z, 0-9 and _ */
    enum bus_option_type type;
    bool required;              /* without initial; a text or list must not be empty then */
    const char *initial;        /* what it is when nobody says, as in the file; NULL: nothing, which
                                 * only texts and lists can be */
    uint64_t min, max;          /* of a number; of the items of a list */
    const char *zero;           /* what 0 means when it is below min ("never", which may be written
                                 * too, and ": " with more of it); NULL: it is not allowed */
    const char *const *choices; /* ends with NULL */
    const char *help;           /* one line for the reference page */
    const char *example;        /* for a key without initial */
};

/* In the order of the engine's options. Texts are NUL-terminated behind .len. */
struct bus_value {
    bool is_set;     /* by somebody; else it is the initial one */
    uint64_t number; /* counts, bytes, ms, 0 or 1, a choice's index */
    struct str text;
    const struct str *texts;
    size_t text_count;
};

struct bus_options {
    uint32_t queues;                /* 1 to BUS_MAX_QUEUES */
    const struct bus_value *values; /* borrowed until destroy */
    uint64_t window_age_ms; /* how far back a start reads; the bus keeps it at least so long */
    uint32_t boot;          /* this run of this node, for names of its own on the bus */
    struct str node;        /* the node's name, for people; borrowed until destroy */
};

/* Written by the bus thread, read by any (relaxed). */
struct bus_stats {
    atomic_uint_fast64_t reconnects;          /* links that were lost and made again */
    atomic_uint_fast64_t retries;             /* publishes that were sent again */
    atomic_uint_fast64_t skipped;             /* what was on a queue and is no record */
    atomic_uint_fast64_t bytes_out, bytes_in; /* of records */
    atomic_uint_fast64_t links;               /* open now */
};

static inline void bus_count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

struct bus; /* each engine embeds struct bus first */

struct bus_engine {
    const char *name; /* as in the configuration */
    bool replay;      /* records of before the start can be read */
    bool lossless;    /* an acknowledged record reaches every node, if late */
    bool nodes;       /* several nodes can share it */
    bool broker;      /* it needs a server of its own */
    bool any_thread;  /* no descriptors: whichever thread holds the hub may call it */
    const struct bus_option *options;
    size_t option_count;
    /* Whether the values fit together and mean something. 0, or ERR_SYNTAX with *out_option (an
     * index into options, or option_count for none of them) and *out_problem (static, completes
     * "bus.NAME: …"). NULL is fine. */
    int (*check)(const struct bus_options *options, size_t *out_option, const char **out_problem);
    int (*create)(struct bus **out_bus, struct loop *loop, const struct bus_options *options,
                  const struct bus_callbacks *callbacks, void *owner);
    /* Fails what is under way with ERR_CANCELED. */
    void (*destroy)(struct bus *bus);
    /* One record a queue at a time. A non-zero return: on_done never runs. */
    int (*publish)(struct bus *bus, struct bus_publish *publish);
    /* The end of the caller's turn: what was gathered leaves now. */
    void (*flush)(struct bus *bus);
};

struct bus {
    const struct bus_engine *engine;
    const struct bus_callbacks *callbacks;
    void *owner;
    uint32_t queues;     /* in use: create may make it fewer than the options say */
    uint32_t max_record; /* bytes; a longer one is ERR_TOO_LARGE */
    bool is_nameless;    /* the epoch does not change with the history: nodes must name that */
    bool is_lossy;       /* the mode chosen keeps neither the engine's replay nor its lossless */
    /* A queue that is away for so long hands its keys to others; UINT64_MAX: never. */
    uint64_t failover_after_ms;
    uint64_t layout; /* a hash of what all nodes must have alike: name of the topic, brokers, … */
    struct bus_stats stats;
};

/* The engines in the order of engines.c, memory first; NULL behind the last. */
const struct bus_engine *bus_engine_at(size_t index);

/* NULL when no engine has that name. */
const struct bus_engine *bus_engine_find(struct str name);

/* The engines' names, comma-separated, for messages. */
const char *bus_engine_names(void);

/* Whether records of before the start can be read, on this bus as it is configured. */
static inline bool bus_can_replay(const struct bus *bus)
{
    return bus->engine->replay && !bus->is_lossy;
}

/* Whether an acknowledged record reaches every node, if late. */
static inline bool bus_is_lossless(const struct bus *bus)
{
    return bus->engine->lossless && !bus->is_lossy;
}

static inline int bus_publish(struct bus *bus, struct bus_publish *publish)
{
    return bus->engine->publish(bus, publish);
}

static inline void bus_flush(struct bus *bus)
{
    bus->engine->flush(bus);
}

static inline void bus_destroy(struct bus *bus)
{
    if (bus) {
        bus->engine->destroy(bus);
    }
}

#endif
