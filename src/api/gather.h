/* Asks every worker something and puts the answers together: each worker fills a part of its own,
 * the asker reads them all. Workers run ask at their own pace; nobody waits. */
#ifndef TIDEGATE_API_GATHER_H
#define TIDEGATE_API_GATHER_H

#include "api/api.h"

struct gather_part {
    struct mail mail;
    struct gather *gather;
    struct worker *worker; /* who fills it */
    uint64_t counts[4];
    struct buf text;
    size_t accounted; /* bytes, as MEM_HTTP */
};

struct gather {
    struct worker *asker;
    struct http_exchange *exchange;
    uint16_t app;
    struct str name; /* owned: what is asked about */
    /* On each worker. */
    void (*ask)(struct gather_part *part);
    /* On the asker, once all parts are filled; the gather is freed behind it. */
    void (*finish)(struct gather *gather);
    uint32_t open;
    uint32_t part_count;
    struct gather_part parts[];
};

/* only: the worker that is asked alone, or -1. Answers the call itself when memory is out. */
void gather_start(struct api_call *call, int only, struct str name,
                  void (*ask)(struct gather_part *part), void (*finish)(struct gather *gather));

uint64_t gather_sum(const struct gather *gather, int count);

#endif
