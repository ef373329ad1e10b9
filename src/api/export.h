/* Tells others of the metrics, and of spans, beside those who scrape: OTLP over HTTP and StatsD. A
 * thread of its own, from when something is to be told, so that a receiver that is slow or away
 * disturbs nobody; what waits for it is bounded: one body of metrics, and metrics.otlp.span_queue
 * spans. */
#ifndef TIDEGATE_API_EXPORT_H
#define TIDEGATE_API_EXPORT_H

#include "core/settings.h"
#include "server/span.h"

struct exporter; /* export.c */

/* node: its name, copied. 0, ERR_NO_MEMORY or -errno. */
int exporter_create(struct exporter **out_exporter, const char *node);

/* The main thread, at the start and in a reload; a reference is taken. Starts the thread if there
 * is something to do. 0, ERR_NO_MEMORY or -errno: nothing was changed. */
int exporter_set_settings(struct exporter *exporter, struct settings *settings);

/* Lives as long as the exporter. */
struct span_sink *exporter_span_sink(struct exporter *exporter);

/* The main thread: sends what there is once more, for a second at most, and ends the thread. From
 * here on spans are dropped. Before what the metrics' readers read goes away. NULL is fine. */
void exporter_stop(struct exporter *exporter);

/* Stops it if need be. Nobody may use the sink any more. NULL is fine. */
void exporter_destroy(struct exporter *exporter);

#endif
