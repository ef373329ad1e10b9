/* Metrics as StatsD has them: lines `name:value|type`, packed into datagrams.
 *   counter    what was added since the last round, |c; nothing when that is 0
 *   gauge      its value, |g (a negative one behind a 0: StatsD would subtract it)
 *   histogram  NAME_count and NAME_sum, what was added, |c; and of the observations since the last
 *              round NAME_p50, NAME_p90 and NAME_p99, |g, estimated within the buckets
 * Node and labels are parts of the name (`NAME.node.n1.app.shop`) or, as DogStatsD has it, tags
 * (`|#node:n1,app:shop`). One thread. */
#ifndef TIDEGATE_API_STATSD_LINES_H
#define TIDEGATE_API_STATSD_LINES_H

#include "core/settings.h"

struct statsd_lines; /* statsd_lines.c: what was told last */

enum { STATSD_DATAGRAM_MAX = 1432 /* fits an Ethernet frame, with IPv6 and some tunnel */ };

int statsd_lines_create(struct statsd_lines **out_lines, const char *node);
void statsd_lines_destroy(struct statsd_lines *lines);

/* The next round tells what was added from now on. */
void statsd_lines_begin(struct statsd_lines *lines);

/* A datagram, lines parted by '\n'; borrowed for the call. False: it did not leave, and what its
 * counters said is part of what the next round says. */
typedef bool (*statsd_emit_cb)(void *owner, struct str datagram);

/* Every series as it is now. 0 or ERR_NO_MEMORY: some of it is missing. */
int statsd_lines_round(struct statsd_lines *lines, const struct settings_statsd *settings,
                       statsd_emit_cb emit, void *owner);

#endif
