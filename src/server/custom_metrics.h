/* The metrics that one app defines (apps[].metrics.custom), fed by its pushes. A push is read when
 * it comes, since its data are gone later, and counted once the bus has it. What a metric looks for
 * and does not find is counted as an error, and never the push's trouble.
 *
 * Made when a configuration is read and never changed then, but for series that are made when they
 * are needed first; so any number of workers may read. */
#ifndef TIDEGATE_SERVER_CUSTOM_METRICS_H
#define TIDEGATE_SERVER_CUSTOM_METRICS_H

#include "base/metrics.h"
#include "core/settings.h"

struct custom_metrics;

/* What one metric takes from one push; counts by itself. The series live as long as the process. */
struct custom_reading {
    struct metric *series;
    struct metric *time; /* when a gauge is set; else NULL */
    double value;
};

enum { CUSTOM_READINGS_MAX = 2 * SETTINGS_CUSTOM_MAX /* a value, and an error */ };

/* settings and app (the name) are borrowed and outlive it. 0 or ERR_NO_MEMORY. Main thread. */
int custom_metrics_create(struct custom_metrics **out_metrics,
                          const struct settings_metrics *settings, const char *app);
void custom_metrics_destroy(struct custom_metrics *metrics); /* NULL is fine */

/* Between custom_families_begin and _end: scrapes shall see these. Main thread. */
void custom_metrics_want(const struct custom_metrics *metrics);

/* json: the message's data, as json_parse has passed them; .len 0 when they are no JSON. Returns
 * how many readings there are. Bounded by limits.message times the depth of pointers; no memory. */
size_t custom_metrics_read(struct custom_metrics *metrics, struct str type, struct str json,
                           struct custom_reading out_readings[CUSTOM_READINGS_MAX]);

/* Any thread, also after custom_metrics_destroy. */
void custom_readings_count(const struct custom_reading *readings, size_t count);

#endif
