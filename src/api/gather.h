/* Asks every worker of every node something and puts the answers together: each worker fills a part
 * of its own; the parts of another node arrive folded into one. Workers run ask at their own pace;
 * nobody waits. A node that does not answer within GATHER_LIMIT_MS is left out, and the gather says
 * so. */
#ifndef TIDEGATE_API_GATHER_H
#define TIDEGATE_API_GATHER_H

#include "api/api.h"

enum { GATHER_LIMIT_MS = 1000, GATHER_COUNTS = CLUSTER_COUNTS, GATHER_ALL = -1 };

struct gather;

struct gather_part {
    struct mail mail;
    struct gather *gather;
    struct worker *worker; /* who fills it; NULL: another node did */
    uint16_t app;
    uint64_t counts[GATHER_COUNTS];
    struct buf text;  /* of another node: borrowed, and as it came */
    size_t accounted; /* bytes, as MEM_HTTP */
    bool is_held;     /* see gather_part_hold */
    void *holder;     /* of who holds it; its mail is free to be used meanwhile, too */
};

/* A kind of question. Its number travels between nodes, so it never means anything else. */
struct gather_kind {
    uint8_t number;
    /* On each worker. */
    void (*ask)(struct gather_part *part);
    /* For another node, on one worker: puts the parts of all workers into one. */
    void (*fold)(struct gather *gather, struct gather_part *out);
    /* On the asker, once all parts are filled; the gather is freed behind it. */
    void (*finish)(struct gather *gather);
    /* The worker that alone can answer, or GATHER_ALL. NULL: all. */
    int (*pick_worker)(const struct gateway *gateway, struct str name);
    /* What a text that is too long for the bus is made of: items of so many bytes, or, 0, items
     * that end with a NUL. */
    size_t unit;
    bool
        is_of_node; /* about the node: asked also where the asker's app is not; app means nothing */
};

struct gather {
    struct worker *asker;
    struct http_exchange *exchange;
    const struct gather_kind *kind;
    struct str name;                 /* owned: what is asked about */
    bool is_complete;                /* every node has said all */
    bool is_refused;                 /* there was no room to ask others: none has heard it */
    struct gather_private *of_nodes; /* gather.c */
    uint32_t open;
    uint32_t part_count; /* of workers and of other nodes */
    uint32_t worker_parts;
    struct gather_part *node_parts;
    struct gather_part parts[]; /* worker_parts of them */
};

/* Answers the call itself when memory is out. */
void gather_start(struct api_call *call, const struct gather_kind *kind, struct str name);

/* Asks one node alone, by its boot; maybe this one. boot 0: all nodes. False: memory is out, nobody
 * is asked, and the call is to be answered. */
bool gather_try_at(struct api_call *call, const struct gather_kind *kind, uint32_t boot,
                   struct str name);

/* The same, but answers the call itself when memory is out. */
void gather_start_at(struct api_call *call, const struct gather_kind *kind, uint32_t boot,
                     struct str name);

/* Another node asks: see gateway_hooks.on_node_ask. */
void gather_answer(struct gateway *gateway, const struct gather_kind *kind,
                   struct cluster_ask *ask);

static inline struct gather_part *gather_part_at(struct gather *gather, uint32_t index)
{
    return index < gather->worker_parts ? &gather->parts[index]
                                        : &gather->node_parts[index - gather->worker_parts];
}

/* Inside ask: the worker fills the part once that has returned, and then says gather_part_done,
 * once, also when it ends before (worker_add_pending). Another node's gather may be over by then,
 * unanswered. */
void gather_part_hold(struct gather_part *part);
void gather_part_done(struct gather_part *part);

uint64_t gather_sum(struct gather *gather, int count);

/* Nodes that were asked, this one included; in finish. */
uint32_t gather_nodes(const struct gather *gather);

/* A fold: sums of the counts, texts one behind the other. */
void gather_fold(struct gather *gather, struct gather_part *out);

#endif
