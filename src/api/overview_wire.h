/* What one node says of itself for GET /v1/overview: numbers of the last sample, and of those
 * before. As it travels between nodes: versioned, little-endian, and read with mistrust. Pure. */
#ifndef TIDEGATE_API_OVERVIEW_WIRE_H
#define TIDEGATE_API_OVERVIEW_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum {
    OVERVIEW_STEP_MS = 5000, /* between two samples, at whole multiples of it since 1970 */
    OVERVIEW_POINTS = 180,   /* that are kept: a quarter of an hour */
    OVERVIEW_SCOPES = 66,    /* the node, its apps, and "other" */
    OVERVIEW_STAGES = 8,
    OVERVIEW_BUCKETS = 20, /* of metrics' histograms of time, the one above all bounds included */
    OVERVIEW_NAME = 64,
};

enum { OVERVIEW_V1, OVERVIEW_RAW, OVERVIEW_SSE, OVERVIEW_SSE_RAW, OVERVIEW_TRANSPORTS };

/* Counts of one step. */
struct overview_flow {
    uint32_t accepted, written, dropped;
};

/* The node (app ""), or one of its apps. */
struct overview_scope {
    char app[OVERVIEW_NAME + 1];
    uint32_t connections[OVERVIEW_TRANSPORTS];
    uint32_t users;         /* with a session here */
    uint32_t cluster_users; /* with a session on some node, as this one knows it */
    uint32_t groups;
    struct overview_flow flow;
};

/* Times of a stage of delivery, over the last minute. */
struct overview_stage {
    char name[OVERVIEW_NAME + 1];
    uint32_t buckets[OVERVIEW_BUCKETS];
};

/* One sample of the past, of the scope that was asked for; buckets are the node's. */
struct overview_point {
    uint32_t connections, users, cluster_users;
    struct overview_flow flow;
    uint32_t buckets[OVERVIEW_BUCKETS];
    bool is_there; /* false: none was taken then */
};

struct overview_part {
    uint32_t boot;
    uint64_t tick; /* of the newest sample: ms since 1970 / OVERVIEW_STEP_MS. 0: none yet */
    uint64_t memory_bytes;
    bool bus_up;
    uint32_t alerts; /* that fire here */
    uint32_t scope_count, stage_count, point_count;
    struct overview_scope scopes[OVERVIEW_SCOPES]; /* the first is the node */
    struct overview_stage stages[OVERVIEW_STAGES];
    struct overview_point points[OVERVIEW_POINTS]; /* newest first: of tick, tick - 1, … */
};

/* Appends. 0, or the buffer's error. */
int overview_part_write(struct buf *out, const struct overview_part *part);

/* Reads what is at the start of *text and takes it from there. False: it is none, or of a version
 * that is not known here. */
bool overview_part_read(struct overview_part *out_part, struct str *text);

#endif
