/* What carries events between nodes: a fixed number of ordered queues of records.
 *
 * A record is a run of bytes that the bus does not look into. Publishing it either fails or is
 * acknowledged, never both and never neither; every node then receives every acknowledged record of
 * a queue in one order, each with its position. A hole in that order is reported, never silent.
 *
 * An engine is a struct bus_engine; engines.c lists them. One thread (the bus thread) calls
 * everything here and gets every callback; no callback runs inside bus_publish. */
#ifndef TIDEGATE_BUS_BUS_H
#define TIDEGATE_BUS_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct loop;

enum { BUS_MAX_QUEUES = 64 };

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

/* One publish under way; lives in the caller until on_done. */
struct bus_publish {
    /* Exactly once: err 0 and the position of the record, or why it is not in the queue. */
    void (*on_done)(struct bus_publish *publish, int err, struct bus_pos pos);
    uint32_t queue;
    struct str record;        /* borrowed from the caller, unchanged until on_done */
    struct bus_publish *next; /* the engine's */
};

struct bus_callbacks {
    /* A record arrived; borrowed for the call. One's own comes back before its on_done or after it.
     */
    void (*on_record)(void *owner, uint32_t queue, struct bus_pos pos, struct str record);
    /* The records between from and to (both exclusive) of a queue are lost to this node. */
    void (*on_hole)(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to);
    /* up: the start position of every queue is fixed and publishing may succeed. reason is for
     * people. */
    void (*on_state)(void *owner, bool up, const char *reason);
};

struct bus_options {
    uint32_t queues; /* 1 to BUS_MAX_QUEUES */
};

struct bus; /* each engine embeds struct bus first */

struct bus_engine {
    const char *name; /* as in the configuration */
    bool replay;      /* records of before the start can be read */
    bool lossless;    /* an acknowledged record reaches every node, if late */
    bool nodes;       /* several nodes can share it */
    bool broker;      /* it needs a server of its own */
    bool any_thread;  /* no descriptors: whichever thread holds the hub may call it */
    int (*create)(struct bus **out_bus, struct loop *loop, const struct bus_options *options,
                  const struct bus_callbacks *callbacks, void *owner);
    /* Fails what is under way with ERR_CANCELED. */
    void (*destroy)(struct bus *bus);
    int (*publish)(struct bus *bus, struct bus_publish *publish);
    /* The end of the caller's turn: what was gathered leaves now. */
    void (*flush)(struct bus *bus);
};

struct bus {
    const struct bus_engine *engine;
    const struct bus_callbacks *callbacks;
    void *owner;
    uint32_t queues;
};

/* NULL when no engine has that name. */
const struct bus_engine *bus_engine_find(struct str name);

/* The engines' names, comma-separated, for messages. */
const char *bus_engine_names(void);

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
