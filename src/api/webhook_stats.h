/* What webhooks count; see docs/metrics.md. Any thread. */
#ifndef TIDEGATE_API_WEBHOOK_STATS_H
#define TIDEGATE_API_WEBHOOK_STATS_H

#include "core/settings.h"

struct fetch_response;

/* An app as its series name it. */
struct webhook_app {
    const char *name;
    uint16_t id;
};

void webhook_stats_event(struct webhook_app app, enum settings_event type);
/* Of one try; status 0: there was no answer. */
void webhook_stats_try(struct webhook_app app, int err, const struct fetch_response *response,
                       uint64_t us);
/* reason: a literal. */
void webhook_stats_dead(struct webhook_app app, const char *reason);
/* The dead letters of an app that has a webhook are there at 0: that the first one is there is no
 * increase for Prometheus. */
void webhook_stats_make(struct webhook_app app);
void webhook_stats_queued(struct webhook_app app, int64_t bytes);

#endif
