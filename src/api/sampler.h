/* Looks at the metrics each OVERVIEW_STEP_MS and keeps a quarter of an hour of what the overview
 * shows: how many are connected, how much goes out, how long it takes, of the node and of each app.
 * Runs on the main loop; workers read. A sample walks the series of /metrics once, and a node keeps
 * 4 KiB an app and 14 KiB a stage of delivery. */
#ifndef TIDEGATE_API_SAMPLER_H
#define TIDEGATE_API_SAMPLER_H

#include "api/overview_wire.h"

struct loop;
struct sampler; /* sampler.c */

/* Takes its first sample at once, and others once the loop turns. */
int sampler_create(struct sampler **out_sampler, struct loop *loop);
void sampler_destroy(struct sampler *sampler); /* NULL is fine */

/* The loop's thread: takes a sample now, as of wall_ms. For tests; the timer calls it. */
void sampler_take(struct sampler *sampler, uint64_t wall_ms);

/* Any thread: the newest numbers, and points of the past of an app ("": of the node), of which none
 * has been taken where the app is not known. boot is left to the caller. */
void sampler_read(struct sampler *sampler, struct str app, uint32_t points,
                  struct overview_part *out_part);

/* The upper ends of the buckets, in milliseconds, OVERVIEW_BUCKETS - 1 of them. */
extern const double sampler_bounds_ms[OVERVIEW_BUCKETS - 1];

#endif
