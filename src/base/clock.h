/* The two clocks. Everything measures on the monotonic one; only token expiry and time stamps shown
 * to people follow the wall clock. Modules that need time take it as an argument; only loops read
 * it. */
#ifndef TIDEGATE_BASE_CLOCK_H
#define TIDEGATE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_monotonic_us(void)
{
    return clock_ns(CLOCK_MONOTONIC) / 1000;
}

static inline uint64_t clock_monotonic_ms(void)
{
    return clock_ns(CLOCK_MONOTONIC) / 1000000;
}

/* Since 1970-01-01 UTC. */
static inline uint64_t clock_wall_us(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000;
}

static inline uint64_t clock_wall_ms(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000000;
}

#endif
