/* What the sources of export share; nobody else includes it.
 *   export.c        the thread, and what comes to it
 *   export_stats.c  the exporters' own metrics, and which failures are logged
 *   otlp.c          requests to a collector; their bodies: otlp_json.h
 *   statsd.c        datagrams to a StatsD server; what is in them: statsd_lines.h */
#ifndef TIDEGATE_API_EXPORT_PRIVATE_H
#define TIDEGATE_API_EXPORT_PRIVATE_H

#include <stdatomic.h>

#include "api/export.h"
#include "api/otlp_json.h"
#include "net/loop.h"

enum export_who { EXPORT_OTLP_METRICS, EXPORT_OTLP_TRACES, EXPORT_STATSD, EXPORTERS };

/* What became of spans: see families.def. */
enum span_result {
    SPANS_OK,
    SPANS_LIMITED,
    SPANS_QUEUE_FULL,
    SPANS_REJECTED,
    SPANS_GIVEN_UP,
    SPANS_NO_MEMORY,
    SPANS_OFF,
    SPAN_RESULTS
};

/* ---- export_stats.c; any thread ---- */

void export_stats_init(void);
/* The results of one that is configured are there at 0: for Prometheus a series that comes with its
 * first count has not increased. */
void export_stats_make(enum export_who who);
void export_stats_result(enum export_who who, const char *result); /* a literal */
void export_stats_success(enum export_who who);                    /* the result, and when */
void export_stats_spans(enum span_result result, uint64_t count);
void export_stats_waiting(int64_t delta);

/* Since when requests of one kind fail, for the log. Zeroed: they don't. */
struct export_outage {
    bool is_on;
    uint64_t logged_ms; /* monotonic; 0: nothing was */
};

/* One failed: whether to log it, which is the first, and then one a minute. */
bool export_outage_note(struct export_outage *outage, uint64_t now_ms);

/* One got through: whether it is the first that does. */
bool export_outage_end(struct export_outage *outage);

/* ---- otlp.c; the exporter's thread ---- */

struct otlp;

/* source is borrowed; waiting counts the spans that are not freed yet. */
int otlp_create(struct otlp **out_otlp, struct loop *loop, const struct otlp_source *source,
                atomic_size_t *waiting);

/* Takes a reference. What is under way ends; spans that wait stay, if these are still sent. */
void otlp_set_settings(struct otlp *otlp, struct settings *settings);

/* Takes the span. */
void otlp_add_span(struct otlp *otlp, struct span *span);

/* All there is, now. */
void otlp_flush(struct otlp *otlp);
bool otlp_is_idle(const struct otlp *otlp); /* nothing is under way, and no span waits */

/* Spans that wait are dropped. NULL is fine. */
void otlp_destroy(struct otlp *otlp);

/* ---- statsd.c; the exporter's thread ---- */

struct statsd;

int statsd_create(struct statsd **out_statsd, struct loop *loop, const char *node);
void statsd_set_settings(struct statsd *statsd, struct settings *settings); /* takes a reference */
void statsd_flush(struct statsd *statsd); /* a round now, if the server's address is known */
void statsd_destroy(struct statsd *statsd);

#endif
