/* The registry behind /metrics (Prometheus text format 0.0.4). A series is looked up once, with its
 * labels, and then updated by the owner's threads without locks: each thread adds to cells of its
 * own, a scrape sums over threads. Threads that end leave their sums behind.
 *
 *     static struct metric *accepted;
 *     accepted = metric_counter("tidegate_messages_accepted_total", "Messages accepted.",
 * "app=\"demo\""); metric_add(accepted, 1);
 */
#ifndef TIDEGATE_BASE_METRICS_H
#define TIDEGATE_BASE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

struct metric; /* one series; lives as long as the process */

enum { METRICS_MAX_CELLS = 16384, METRICS_MAX_THREADS = 256 };

/* Find or make a series. name and help are literals with the base unit in the name; labels is "" or
 * `a="x",b="y"` with values already escaped (metric_label). Never NULL: when the registry is full
 * it is a common overflow series, `tidegate_metrics_overflow_total`. Any thread; takes a lock. The
 * same name and labels give the same series. */
struct metric *metric_counter(const char *name, const char *help, const char *labels);
struct metric *metric_gauge(const char *name, const char *help, const char *labels);

/* Observations in microseconds, exported in seconds; buckets from 10 us to 10 s in steps of
 * 1, 2.5, 5. */
struct metric *metric_histogram(const char *name, const char *help, const char *labels);

void metric_add(struct metric *metric, uint64_t n);          /* counter */
void metric_gauge_add(struct metric *metric, int64_t delta); /* gauge moved by several threads */
void metric_observe_us(struct metric *metric, uint64_t us);  /* histogram */

/* A gauge or counter whose value is asked for at each scrape, on the scraping thread. Set it once.
 */
void metric_set_reader(struct metric *metric, double (*read)(void *arg), void *arg);

/* The sum over all threads now: for tests and for answers of the API. */
int64_t metric_value(const struct metric *metric);

/* Appends `name="escaped value"`, with a comma before it when buf is not empty. */
void metric_label(struct buf *labels, const char *name, struct str value);

/* The whole exposition: HELP and TYPE once a family, families by name, series in order of making.
 */
int metrics_render(struct buf *out);

#endif
