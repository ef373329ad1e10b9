/* The exporters' own metrics, and how often a failure is logged. */
#include <math.h>

#include "api/export_private.h"
#include "base/clock.h"
#include "server/families.h"

enum { LOG_EACH_MS = 60000 };

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

void export_stats_make(enum export_who who)
{
    static const char *const results[] = {"ok",        "partial",     "rejected",    "retry",
                                          "timeout",   "certificate", "unreachable", "no_memory",
                                          "too_large", "busy",        "no_name"};
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        (void)SERIES(export_requests_total, names[who], results[i]);
    }
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

/* Looked up once: callers decide how many spans there are. Two threads find the same one. */
static struct metric *spans_series(enum span_result result)
{
    static const char *const results[SPAN_RESULTS] = {
        [SPANS_OK] = "ok",
        [SPANS_LIMITED] = "limited",
        [SPANS_QUEUE_FULL] = "queue_full",
        [SPANS_REJECTED] = "rejected",
        [SPANS_GIVEN_UP] = "given_up",
        [SPANS_NO_MEMORY] = "no_memory",
        [SPANS_OFF] = "off",
    };
    static _Atomic(struct metric *) known[SPAN_RESULTS];
    struct metric *series = atomic_load_explicit(&known[result], memory_order_acquire);
    if (!series) {
        series = SERIES(export_spans_total, results[result]);
        atomic_store_explicit(&known[result], series, memory_order_release);
    }
    return series;
}

void export_stats_spans(enum span_result result, uint64_t count)
{
    if (count > 0) {
        metric_add(spans_series(result), count);
    }
}

void export_stats_waiting(int64_t delta)
{
    static _Atomic(struct metric *) known;
    struct metric *series = atomic_load_explicit(&known, memory_order_acquire);
    if (!series) {
        series = SERIES(export_spans_waiting);
        atomic_store_explicit(&known, series, memory_order_release);
    }
    metric_gauge_add(series, delta);
}

bool export_outage_note(struct export_outage *outage, uint64_t now_ms)
{
    bool is_due = !outage->is_on || outage->logged_ms == 0 ||
                  now_ms - outage->logged_ms >= LOG_EACH_MS;
    outage->is_on = true;
    outage->logged_ms = is_due ? now_ms : outage->logged_ms;
    return is_due;
}

bool export_outage_end(struct export_outage *outage)
{
    bool was_on = outage->is_on;
    *outage = (struct export_outage){0};
    return was_on;
}
