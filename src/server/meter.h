/* What is counted of one app's pushes once the bus has them: by target and type, and by the metrics
 * that the app defines. Made when a
 * configuration is read and never changed then, but for series that are made when they are first
 * needed; so workers look up without a lock, and without memory. */
#ifndef TIDEGATE_SERVER_METER_H
#define TIDEGATE_SERVER_METER_H

#include "base/metrics.h"
#include "core/settings.h"
#include "server/custom_metrics.h"

struct meter;

enum meter_target {
    METER_USER,
    METER_GROUP,
    METER_SESSION,
    METER_TICKET,
    METER_ALL,
    METER_SEVERAL,
    METER_TARGETS
};

/* app and name are borrowed and outlive the meter. 0 or ERR_NO_MEMORY. Main thread. */
int meter_create(struct meter **out_meter, const struct settings_app *app, const char *name,
                 uint16_t id);

/* No worker may use it any more; the series stay. NULL is fine. */
void meter_destroy(struct meter *meter);

/* The series of accepted pushes of this target and type ("" for none). Any thread. */
struct metric *meter_accepted(struct meter *meter, enum meter_target target, struct str type);

/* NULL when the app defines no metrics. */
struct custom_metrics *meter_custom(struct meter *meter);

#endif
