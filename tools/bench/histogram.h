/* Counts values in buckets that are at most 1/64 of the value wide, as an HDR histogram does.
 * Plain memory: {0} is empty, and one thread at a time uses it. */
#ifndef TIDEGATE_BENCH_HISTOGRAM_H
#define TIDEGATE_BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_STEPS = 64,                          /* linear steps in each power of two */
    HISTOGRAM_BUCKETS = HISTOGRAM_STEPS * (64 - 5) /* enough for every uint64_t */
};

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t max;
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The upper bound of the bucket that holds the given share (0 to 1) of the values, never above
 * the largest value seen; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
