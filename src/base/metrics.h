/* The registry behind /metrics (Prometheus text format 0.0.4). A series is looked up once, with its
 * label values, and then updated by the owner's threads without locks: each thread adds to cells of
 * its own, a scrape sums over threads. Threads that end leave their sums behind.
 *
 *     static const struct metric_family pushes = {.kind = METRIC_COUNTER,
 *         .name = "tidegate_pushes_total", .labels = {"app"}, .help = "Pushes taken.", .more = ""};
 *     struct metric *series = metric_series(&pushes, "shop");
 *     metric_add(series, 1);
 *
 * The families of the gateway are declared in server/families.h, all in one place.
 */
#ifndef TIDEGATE_BASE_METRICS_H
#define TIDEGATE_BASE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct metric; /* one series; lives as long as the process */

enum {
    METRICS_MAX_CELLS = 65536, /* a counter or gauge takes one, a histogram one a bucket and two */
    METRICS_CUSTOM_CELLS = 60000, /* series of custom families are made in these alone, so that
                                   * definitions that come and go leave room for the others */
    METRICS_MAX_THREADS = 256,
    METRIC_MAX_LABELS = 6,
    METRIC_MAX_BOUNDS = 32,
};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* What the series of one name have in common. Once a series is made, it and its texts stay where
 * they are for as long as the process lives. */
struct metric_family {
    enum metric_kind kind;
    const char *name;                      /* with the base unit in it; counters end in _total */
    const char *labels[METRIC_MAX_LABELS]; /* their names, in the order of the values; then NULL */
    const char *help;                      /* one short sentence without markup: HELP */
    const char *more; /* the rest of what there is to say, Markdown; may be "" */
    /* Its numbers are doubles: counters by metric_add_real, gauges by metric_set, histograms by
     * metric_observe over bounds. Else whole numbers, and microseconds. A real gauge shows a series
     * once it was set. */
    bool is_real;
    /* Made at run time, and there may be several of its name; shown by metrics_show_family alone.
     */
    bool is_custom;
    const double *bounds; /* the buckets' upper ends, ascending; of a real histogram */
    size_t bound_count;   /* up to METRIC_MAX_BOUNDS */
};

/* tidegate_metrics_overflow_total */
extern const struct metric_family metrics_overflow;

size_t metric_label_count(const struct metric_family *family);

/* What the series belongs to. */
const struct metric_family *metric_family_of(const struct metric *metric);

/* "counter", "gauge", "histogram" */
const char *metric_kind_name(enum metric_kind kind);

/* The series with these label values, const char *, one for each label of the family: found or
 * made. Never NULL: when the registry is full it is a common overflow series,
 * `tidegate_metrics_overflow_total`. Any thread; takes a lock. A name stays of one kind. Updates
 * are for the kind that the family has. Observations of a histogram are microseconds, exported in
 * seconds; its buckets go from 10 us to 10 s in steps of 1, 2.5, 5. */
#define metric_series(family, ...)                                             \
    metric_series_with(family, (const char *const[]){NULL, ##__VA_ARGS__} + 1, \
                       sizeof((const char *const[]){NULL, ##__VA_ARGS__}) / sizeof(char *) - 1)
struct metric *metric_series_with(const struct metric_family *family, const char *const *values,
                                  size_t count);

/* Any thread, a few nanoseconds; the first of a thread takes a lock and 512 KiB of address space.
 */
void metric_add(struct metric *metric, uint64_t n);          /* counter */
void metric_gauge_add(struct metric *metric, int64_t delta); /* gauge moved by several threads */
void metric_observe_us(struct metric *metric, uint64_t us);  /* histogram */

/* The same for real families. value is finite; of a counter it is not negative. */
void metric_add_real(struct metric *metric, double value); /* counter */
void metric_set(struct metric *metric, double value);      /* gauge; the last one of all threads */
void metric_observe(struct metric *metric, double value);  /* histogram */

/* From now on a custom family is seen by scrapes, or no longer. Of one name show those alone that
 * agree in kind, and no two with equal series. */
void metrics_show_family(const struct metric_family *family, bool is_shown);

/* A gauge or counter whose value is asked for at each scrape, on the scraping thread. Setting again
 * replaces it and NULL takes it off; after the call the old one is not running any more. So read
 * may use this module but must not set a reader, nor wait for a lock that a setter may hold. */
void metric_set_reader(struct metric *metric, double (*read)(void *arg), void *arg);

/* The sum over all threads now (of a histogram the observations), without what a reader would say:
 * for tests and for answers of the API. Not of a real counter or gauge. */
int64_t metric_value(const struct metric *metric);

/* Appends `name="escaped value"`, with a comma before it when buf is not empty. Bytes that are not
 * UTF-8 become U+FFFD: the format is UTF-8, and a scraper would refuse the page. */
void metric_label(struct buf *labels, const char *name, struct str value);

/* A series at this moment; borrowed for the call. */
struct metric_sample {
    const struct metric_family *family;
    const char *labels;      /* `app="shop",reason="expired"`; "" without */
    double value;            /* of a histogram the number of observations */
    double sum;              /* of a histogram, in its base unit */
    const double *bounds;    /* of a histogram: the upper ends of its buckets, ascending */
    const uint64_t *buckets; /* bound_count + 1 counts, the last one of what is above; no sums */
    size_t bound_count;
};

/* Every series that is shown: families by name, series in order of making. Any thread, several at a
 * time; visit may use this module. */
void metrics_visit(void (*visit)(void *arg, const struct metric_sample *sample), void *arg);

/* Appends the whole exposition: HELP and TYPE once a family, families by name, series in order of
 * making. 0 or the buffer's error. Any thread, several at a time. */
int metrics_render(struct buf *out);

#endif
