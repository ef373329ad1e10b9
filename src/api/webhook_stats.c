#include "api/webhook_stats.h"

#include "base/err.h"
#include "base/metrics.h"
#include "net/fetch.h"

enum { MAX_APPS = 63 }; /* as in server/stats.c */

static struct metric *series(struct metric *(*make)(const char *, const char *, const char *),
                             const char *name, const char *help, struct webhook_app app,
                             const char *label, struct str value)
{
    struct buf labels = {0};
    metric_label(&labels, "app", app.id < MAX_APPS ? str_of(app.name) : STR("other"));
    if (label) {
        metric_label(&labels, label, value);
    }
    struct metric *metric = make(name, help, buf_cstr(&labels));
    buf_fini(&labels);
    return metric;
}

void webhook_stats_event(struct webhook_app app, enum settings_event type)
{
    metric_add(series(metric_counter, "tidegate_webhook_events_total",
                      "Events that were to be told to webhooks, by type.", app, "type",
                      settings_event_name(type)),
               1);
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
    metric_add(series(metric_counter, "tidegate_webhook_requests_total",
                      "Requests to webhooks, by what came of them.", app, "result",
                      str_of(result_of(err, response))),
               1);
    metric_observe_us(series(metric_histogram, "tidegate_webhook_request_seconds",
                             "Time of a request to a webhook.", app, NULL, STR("")),
                      us);
}

void webhook_stats_dead(struct webhook_app app, const char *reason)
{
    metric_add(series(metric_counter, "tidegate_webhook_dead_letters_total",
                      "Events that a webhook never took, by reason.", app, "reason",
                      str_of(reason)),
               1);
}

void webhook_stats_queued(struct webhook_app app, int64_t bytes)
{
    metric_gauge_add(series(metric_gauge, "tidegate_webhook_queued_bytes",
                            "Events that wait for webhooks.", app, NULL, STR("")),
                     bytes);
}
