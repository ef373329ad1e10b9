/* The families of metrics that apps define. A family is one app's: its name, kind, labels, help and
 * buckets. It is kept for as long as the process lives, as its series are, so a definition that is
 * taken out and comes back goes on counting; one that changed begins anew. Main thread. */
#ifndef TIDEGATE_SERVER_CUSTOM_FAMILY_H
#define TIDEGATE_SERVER_CUSTOM_FAMILY_H

#include "base/metrics.h"
#include "core/settings.h"

#define CUSTOM_FAMILY_TIME "_timestamp_seconds"

/* Found or made; hidden when it is made. NULL when memory is out. The labels are app, then those of
 * custom. */
const struct metric_family *custom_family_get(const char *app,
                                              const struct settings_custom *custom);

/* The gauge beside a gauge: when it was set. */
const struct metric_family *custom_family_get_time(const char *app,
                                                   const struct settings_custom *custom);

/* Which families scrapes see: between begin and end those that are wanted, and no others. */
void custom_families_begin(void);
void custom_families_want(const struct metric_family *family);
void custom_families_end(void);

#endif
