#include "api/webhook_stats.h"

#include "base/err.h"
#include "net/fetch.h"
#include "server/families.h"
#include "server/stats.h"

static const char *label_of(struct webhook_app app)
{
    return stats_app_label(app.name, app.id);
}

void webhook_stats_event(struct webhook_app app, enum settings_event type)
{
    metric_add(SERIES(webhook_events_total, label_of(app), settings_event_name(type).ptr), 1);
}

static const char *result_of(int err, const struct fetch_response *response)
{
    static const char *const classes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    if (response->status >= 100 && response->status < 600) {
        return classes[response->status / 100];
    }
    switch (err) {
    case ERR_TIMEOUT: return "timeout";
    case ERR_DENIED: return response->address_refused ? "address_refused" : "certificate";
    default: return "unreachable";
    }
}

void webhook_stats_try(struct webhook_app app, int err, const struct fetch_response *response,
                       uint64_t us)
{
    metric_add(SERIES(webhook_requests_total, label_of(app), result_of(err, response)), 1);
    metric_observe_us(SERIES(webhook_request_seconds, label_of(app)), us);
}

void webhook_stats_dead(struct webhook_app app, const char *reason)
{
    metric_add(SERIES(webhook_dead_letters_total, label_of(app), reason), 1);
}

void webhook_stats_make(struct webhook_app app)
{
    static const char *const reasons[] = {"queue_full", "rejected", "given_up",
                                          "removed",    "shutdown", "no_memory"};
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        (void)SERIES(webhook_dead_letters_total, label_of(app), reasons[i]);
    }
}

void webhook_stats_queued(struct webhook_app app, int64_t bytes)
{
    metric_gauge_add(SERIES(webhook_queued_bytes, label_of(app)), bytes);
}
