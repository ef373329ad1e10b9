/* The exporters' own metrics. */
#include <math.h>

#include "api/export_private.h"
#include "base/clock.h"
#include "server/families.h"

static const char *const names[] = {[EXPORT_OTLP_METRICS] = "otlp_metrics",
                                    [EXPORT_OTLP_TRACES] = "otlp_traces",
                                    [EXPORT_STATSD] = "statsd"};

static _Atomic uint64_t successes_ms[EXPORTERS]; /* wall; 0: never */

static double read_success(void *arg)
{
    uint64_t ms = atomic_load((const _Atomic uint64_t *)arg);
    return ms ? (double)ms / 1000 : NAN;
}

void export_stats_init(void)
{
    for (int who = 0; who < EXPORTERS; who++) {
        metric_set_reader(SERIES(export_last_success_timestamp_seconds, names[who]), read_success,
                          &successes_ms[who]);
    }
    export_stats_waiting(0);
}

void export_stats_result(enum export_who who, const char *result)
{
    metric_add(SERIES(export_requests_total, names[who], result), 1);
}

void export_stats_success(enum export_who who)
{
    atomic_store(&successes_ms[who], clock_wall_ms());
    export_stats_result(who, "ok");
}

void export_stats_spans(const char *result, uint64_t count)
{
    if (count > 0) {
        metric_add(SERIES(export_spans_total, result), count);
    }
}

void export_stats_waiting(int64_t delta)
{
    metric_gauge_add(SERIES(export_spans_waiting), delta);
}
