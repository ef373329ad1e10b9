/* The series of limits: what others are a part of. */
#include <math.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "core/settings.h"
#include "server/stats.h"
#include "server/stats_private.h"

static _Atomic uint64_t memory_limit, window_limit, descriptors_limit; /* 0: none */

/* Without a limit a part of it is no number, and no alert comes of it. */
static double read_limit(void *arg)
{
    uint64_t limit = atomic_load((const _Atomic uint64_t *)arg);
    return limit ? (double)limit : NAN;
}

static uint64_t descriptor_limit(void)
{
    struct rlimit limit;
    bool has_limit = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return has_limit ? limit.rlim_cur : 0;
}

void stats_limits(const struct settings *settings)
{
    atomic_store(&memory_limit, settings->limits.memory_bytes);
    atomic_store(&window_limit, settings->window.max_bytes);
    atomic_store(&descriptors_limit, descriptor_limit());
    metric_set_reader(SERIES(memory_limit_bytes), read_limit, &memory_limit);
    metric_set_reader(SERIES(window_limit_bytes), read_limit, &window_limit);
    metric_set_reader(SERIES(descriptors_limit), read_limit, &descriptors_limit);
}
