/* GET /v1/overview: what the cluster is doing, and did in the last quarter of an hour: for the
 * console and `tidegate top`. Each node answers with what its sampler has. */
#ifndef TIDEGATE_API_OVERVIEW_H
#define TIDEGATE_API_OVERVIEW_H

#include "api/api.h"
#include "api/overview_wire.h"

struct gather_kind;

void overview_handle(struct api_call *call);

/* For query_on_node_ask. */
const struct gather_kind *overview_kind(void);

/* The value under which q (0 to 1) of the observations lie, in milliseconds, between the bounds of
 * its bucket as if they were spread evenly; what is above all bounds counts as the last one.
 * Negative: there are none. */
double overview_quantile(const uint64_t buckets[OVERVIEW_BUCKETS], double q);

#endif
