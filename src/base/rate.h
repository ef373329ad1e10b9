/* A rate with a burst, for all threads, in one word and without a lock: the moment at which all
 * that was taken is paid for (the generic cell rate algorithm; a token bucket, seen from the other
 * side). Zeroed, it is full. The time is an argument, monotonic; threads whose clocks differ a
 * little do no harm. */
#ifndef TIDEGATE_BASE_RATE_H
#define TIDEGATE_BASE_RATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct rate {
    atomic_uint_fast64_t paid_ns;
};

/* Takes one; 0, or the µs after which there may be one again (and none is taken). per_second, up to
 * a billion, and burst are at least 1. */
uint64_t rate_take(struct rate *rate, uint64_t per_second, uint64_t burst, uint64_t now_us);

/* Takes one in any case: the µs that it is over the burst, 0 when it is not. It is never over by
 * more than max_us. */
uint64_t rate_spend(struct rate *rate, uint64_t per_second, uint64_t burst, uint64_t now_us,
                    uint64_t max_us);

#endif
