#include "api/alert_rules.h"

#include "core/settings.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND, DAY_S = 86400 };

/* Not all of /v1/: a node that drains answers 503 to connects, and shall. */
#define PUSH_ROUTES                                                                      \
    "/v1/messages|/v1/messages:batch|/v1/broadcast|/v1/users/{}/messages|/v1/groups/{}/" \
    "messages|/v1/sessions/{}/messages|/v1/tickets/{}/messages"

static const struct alert_rule table[] = {
    {
        .name = "TidegateDown",
        .runbook = "down",
        .severity = ALERT_CRITICAL,
        .hold_ms = 1 * MINUTE,
        .value = {ALERT_NOW, "up", {{"job", false, "tidegate"}}},
        .op = ALERT_IS,
        .threshold = 0,
        .is_external = true,
        .summary = "A gateway does not answer",
        .detail = "Its clients have moved to the other nodes; without another one nobody is "
                  "connected.",
    },
    {
        .name = "TidegateNotReady",
        .runbook = "not-ready",
        .severity = ALERT_CRITICAL,
        .hold_ms = 1 * MINUTE,
        .value = {ALERT_NOW, "tidegate_not_ready", {{"reason", false, "cluster"}}},
        .op = ALERT_IS,
        .threshold = 1,
        .summary = "A node does not find its place in the cluster",
        .detail = "It takes neither clients nor pushes; the others carry its part.",
    },
    {
        .name = "TidegateBusDown",
        .runbook = "bus-down",
        .severity = ALERT_CRITICAL,
        .hold_ms = 30 * SECOND,
        .value = {ALERT_NOW, "tidegate_bus_up"},
        .op = ALERT_IS,
        .threshold = 0,
        .summary = "The bus is down",
        .detail = "Pushes get 503 and nothing is delivered; clients stay connected.",
    },
    {
        .name = "TidegateBusQueueDown",
        .runbook = "bus-queue-down",
        .severity = ALERT_WARNING,
        .hold_ms = 1 * MINUTE,
        .value = {ALERT_NOW, "tidegate_bus_queue_up", .without = "queue", .fold = ALERT_MIN},
        .op = ALERT_IS,
        .threshold = 0,
        .summary = "Some queue of the bus is away",
        .detail = "Its keys go to other queues after bus.failover_after, or their pushes get 503.",
    },
    {
        .name = "TidegateBusFailedOver",
        .runbook = "bus-failed-over",
        .severity = ALERT_WARNING,
        .value = {ALERT_NOW, "tidegate_bus_queue_failed_over", .without = "queue",
                  .fold = ALERT_MAX},
        .op = ALERT_IS,
        .threshold = 1,
        .summary = "The keys of some queue go to others",
        .detail = "Messages may overtake each other, and what the lost broker had arrives when it "
                  "is back.",
    },
    {
        .name = "TidegateBusLag",
        .runbook = "bus-lag",
        .severity = ALERT_WARNING,
        .hold_ms = 2 * MINUTE,
        .value = {ALERT_NOW, "tidegate_bus_lag_seconds"},
        .op = ALERT_OVER,
        .threshold = 2,
        .summary = "The way through the bus takes long",
        .detail = "Every message is late by that time.",
    },
    {
        .name = "TidegateBusReconnects",
        .runbook = "bus-reconnects",
        .severity = ALERT_WARNING,
        .value = {ALERT_INCREASE, "tidegate_bus_reconnects_total", .window_s = 600},
        .op = ALERT_OVER,
        .threshold = 3,
        .summary = "Links to the bus break again and again",
        .detail = "Messages are late each time; on Redis Pub/Sub some are lost, and clients get a "
                  "gap.",
    },
    {
        .name = "TidegateClusterNodeLost",
        .runbook = "cluster-node-lost",
        .severity = ALERT_CRITICAL,
        .value = {ALERT_NOW, "tidegate_cluster_nodes_lost"},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "A node went without a word",
        .detail = "Its clients have moved to the other nodes, which have less to spare now.",
    },
    {
        .name = "TidegateClusterUnknown",
        .runbook = "cluster-unknown",
        .severity = ALERT_WARNING,
        .hold_ms = 1 * MINUTE,
        .value = {ALERT_NOW, "tidegate_cluster_known"},
        .op = ALERT_IS,
        .threshold = 0,
        .summary = "A node does not know which others there are",
        .detail = "Answers of the API about users and sessions may be incomplete.",
    },
    {
        .name = "TidegateGaps",
        .runbook = "gaps",
        .severity = ALERT_WARNING,
        /* `expired` is daily life: whoever was away for longer than the window. */
        .value = {ALERT_INCREASE,
                  "tidegate_gaps_total",
                  {{"reason", false, "bus|epoch|overflow"}},
                  .window_s = 600,
                  .without = "reason"},
        .op = ALERT_OVER,
        .threshold = 5, /* a loss hits many; one may have slept over a restart of the memory bus */
        /* A restart's own are over by then. */
        .also = {.value = {ALERT_SINCE, "tidegate_start_time_seconds"},
                 .op = ALERT_OVER,
                 .threshold = 900,
                 .is_of_node = true},
        .summary = "Clients were told that they missed messages",
        .detail = "Applications fetch their state anew; one that ignores the gap shows old data.",
    },
    {
        .name = "TidegatePushesRefused",
        .runbook = "pushes-refused",
        .severity = ALERT_CRITICAL,
        .hold_ms = 1 * MINUTE,
        .value = {ALERT_RATE,
                  "tidegate_http_requests_total",
                  {{"route", false, PUSH_ROUTES}, {"status", false, "5xx"}},
                  .window_s = 300,
                  .without = "route, status"},
        .divisor = {ALERT_RATE,
                    "tidegate_http_requests_total",
                    {{"route", false, PUSH_ROUTES}},
                    .window_s = 300,
                    .without = "route, status"},
        .op = ALERT_OVER,
        .threshold = 0.01,
        .also = {.value = {ALERT_RATE,
                           "tidegate_http_requests_total",
                           {{"route", false, PUSH_ROUTES}, {"status", false, "5xx"}},
                           .window_s = 300,
                           .without = "route, status"},
                 .op = ALERT_OVER,
                 .threshold = 0.05},
        .summary = "The API answers pushes with 5xx",
        .detail = "Business systems can't push; those that don't try again lose messages.",
    },
    {
        .name = "TidegateDeliverySlow",
        .runbook = "delivery-slow",
        .severity = ALERT_WARNING,
        .hold_ms = 5 * MINUTE,
        .value = {ALERT_QUANTILE,
                  "tidegate_delivery_seconds",
                  {{"stage", false, "api_to_bus|bus_to_write"}},
                  .window_s = 300,
                  .quantile = 0.99},
        .op = ALERT_OVER,
        .threshold = 1,
        .summary = "One message in a hundred is over a second on its way",
        .detail = "Pages show news late.",
    },
    {
        .name = "TidegateSlowConsumers",
        .runbook = "slow-consumers",
        .severity = ALERT_WARNING,
        .value = {ALERT_INCREASE,
                  "tidegate_sessions_closed_total",
                  {{"reason", false, "slow_consumer"}},
                  .window_s = 600},
        .op = ALERT_OVER,
        .threshold = 50,
        .summary = "Many clients are closed since they read too slowly",
        .detail = "They connect again and resume; on a bad network again and again.",
    },
    {
        .name = "TidegateConnectsPaced",
        .runbook = "connects-paced",
        .severity = ALERT_WARNING,
        .hold_ms = 1 * MINUTE,
        .value = {ALERT_RATE, "tidegate_accepts_paced_total", .window_s = 60},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "A storm of connects is held back",
        .detail = "Clients wait until they are let in; those that are connected feel nothing.",
    },
    {
        .name = "TidegateConnectsRefused",
        .runbook = "connects-refused",
        .severity = ALERT_CRITICAL,
        .hold_ms = 2 * MINUTE,
        .value = {ALERT_RATE,
                  "tidegate_handshakes_refused_total",
                  {{"reason", false, "accept_rate|memory|session_limit"}},
                  .window_s = 60,
                  .without = "reason"},
        .op = ALERT_OVER,
        .threshold = 1,
        .summary = "Clients are turned away for want of room",
        .detail = "Some users are not connected and get nothing.",
    },
    {
        .name = "TidegateAppOverQuota",
        .runbook = "app-over-quota",
        .severity = ALERT_WARNING,
        .hold_ms = 5 * MINUTE,
        .value = {ALERT_RATE, "tidegate_quota_refused_total", .window_s = 300, .without = "quota"},
        .op = ALERT_OVER,
        .threshold = 0.1,
        .summary = "An app is over its quota",
        .detail = "Its pushes or connects get 429.",
    },
    {
        .name = "TidegateAuthFailures",
        .runbook = "auth-failures",
        .severity = ALERT_WARNING,
        .hold_ms = 5 * MINUTE,
        .value = {ALERT_RATE,
                  "tidegate_auth_results_total",
                  {{"result", true, "accepted|no_credential|expired"}},
                  .window_s = 300,
                  .without = "result"},
        .divisor = {ALERT_RATE, "tidegate_auth_results_total", .window_s = 300,
                    .without = "result"},
        .op = ALERT_OVER,
        .threshold = 0.2,
        .also = {.value = {ALERT_RATE,
                           "tidegate_auth_results_total",
                           {{"result", true, "accepted|no_credential|expired"}},
                           .window_s = 300,
                           .without = "result"},
                 .op = ALERT_OVER,
                 .threshold = 0.5},
        .summary = "Many credentials of clients are refused",
        .detail = "A key was changed on one side alone and users can't connect, or somebody tries.",
    },
    {
        .name = "TidegateWebhookDeadLetters",
        .runbook = "webhook-dead-letters",
        .severity = ALERT_WARNING,
        .value = {ALERT_INCREASE, "tidegate_webhook_dead_letters_total", .window_s = 600,
                  .without = "reason"},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "Events never reached a webhook",
        .detail = "The app does not know of sessions, users or messages that it asked to be told "
                  "of.",
    },
    {
        .name = "TidegateUsersNotFollowed",
        .runbook = "users-not-followed",
        .severity = ALERT_WARNING,
        .value = {ALERT_INCREASE, "tidegate_presence_untracked_total", .window_s = 600},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "Some users' presence is not followed",
        .detail = "They have no grace time, and no webhook tells that they come and go.",
    },
    {
        .name = "TidegateCertificateEnds",
        .runbook = "certificate-ends",
        .severity = ALERT_WARNING,
        .hold_ms = 10 * MINUTE,
        .value = {ALERT_UNTIL, "tidegate_tls_certificate_expiry_timestamp_seconds"},
        .op = ALERT_UNDER,
        .threshold = 14 * DAY_S,
        .summary = "A certificate ends soon",
        .detail = "From then on no client and no business system can connect to that listener.",
    },
    {
        .name = "TidegateTlsFailures",
        .runbook = "tls-failures",
        .severity = ALERT_WARNING,
        .hold_ms = 5 * MINUTE,
        .value = {ALERT_RATE,
                  "tidegate_tls_handshakes_total",
                  {{"result", true, "full|resumed|tls_closed"}},
                  .window_s = 300,
                  .without = "result"},
        .divisor = {ALERT_RATE, "tidegate_tls_handshakes_total", .window_s = 300,
                    .without = "result"},
        .op = ALERT_OVER,
        .threshold = 0.2,
        .also = {.value = {ALERT_RATE,
                           "tidegate_tls_handshakes_total",
                           {{"result", true, "full|resumed|tls_closed"}},
                           .window_s = 300,
                           .without = "result"},
                 .op = ALERT_OVER,
                 .threshold = 0.5},
        .summary = "Many TLS handshakes fail",
        .detail = "Clients of some kind can't connect.",
    },
    {
        .name = "TidegateWindowShort",
        .runbook = "window-short",
        .severity = ALERT_WARNING,
        .hold_ms = 5 * MINUTE,
        .value = {ALERT_NOW, "tidegate_window_age_seconds"},
        .op = ALERT_UNDER,
        .threshold = 120,
        .also = {.value = {ALERT_NOW, "tidegate_window_bytes"},
                 .divisor = {ALERT_NOW, "tidegate_window_limit_bytes"},
                 .op = ALERT_OVER,
                 .threshold = 0.9},
        .summary = "Clients can resume from less than two minutes ago",
        .detail = "Who was away for longer gets a gap and must fetch its state anew.",
    },
    {
        .name = "TidegateKeptLost",
        .runbook = "kept-lost",
        .severity = ALERT_CRITICAL,
        .value = {ALERT_INCREASE, "tidegate_kept_lost_total", .window_s = 3600},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "A node lost what should outlive the window",
        .detail = "Results for tickets, revocations or parts of groups are missing on it.",
    },
    {
        .name = "TidegateRevocationsFolded",
        .runbook = "revocations-folded",
        .severity = ALERT_CRITICAL,
        .value = {ALERT_INCREASE, "tidegate_revocations_folded_total", .window_s = 3600},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "A worker had no room for revocations",
        .detail = "It refuses all tokens that were issued until then: users must sign in again.",
    },
    {
        .name = "TidegateMemoryNearLimit",
        .runbook = "memory-near-limit",
        .severity = ALERT_CRITICAL,
        .hold_ms = 1 * MINUTE,
        .value = {ALERT_NOW, "tidegate_memory_bytes", .without = "owner"},
        .divisor = {ALERT_NOW, "tidegate_memory_limit_bytes"},
        .op = ALERT_OVER,
        .threshold = 0.8,
        .summary = "A node has used up most of its memory",
        .detail = "From 85 % on new clients are turned away.",
    },
    {
        .name = "TidegateDescriptorsNearLimit",
        .runbook = "descriptors-near-limit",
        .severity = ALERT_WARNING,
        .hold_ms = 1 * MINUTE,
        .value = {ALERT_NOW, "tidegate_connections", .without = "app, transport"},
        .divisor = {ALERT_NOW, "tidegate_descriptors_limit"},
        .op = ALERT_OVER,
        .threshold = 0.8,
        .summary = "Sessions take most of the descriptors",
        .detail = "Once there are none left, new clients wait and are not served.",
    },
    {
        .name = "TidegateAcceptsShort",
        .runbook = "accepts-short",
        .severity = ALERT_CRITICAL,
        .value = {ALERT_INCREASE, "tidegate_accept_shortages_total", .window_s = 300},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "Connections can't be accepted for want of descriptors or memory",
        .detail = "New clients wait and are not served.",
    },
    {
        .name = "TidegateLoopLate",
        .runbook = "loop-late",
        .severity = ALERT_WARNING,
        .hold_ms = 2 * MINUTE,
        .value = {ALERT_NOW, "tidegate_loop_lag_seconds", .without = "thread", .fold = ALERT_MAX},
        .op = ALERT_OVER,
        .threshold = 0.1,
        .summary = "A thread is held up",
        .detail = "Whoever is on that thread waits that long, each time.",
    },
    {
        .name = "TidegateLogLinesLost",
        .runbook = "log-lines-lost",
        .severity = ALERT_WARNING,
        .value = {ALERT_INCREASE, "tidegate_log_lines_lost_total", .window_s = 600},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "Log lines were lost",
        .detail = "Users feel nothing, but what happened can't be looked up.",
    },
    {
        .name = "TidegateAuditLinesLost",
        .runbook = "audit-lines-lost",
        .severity = ALERT_WARNING,
        .value = {ALERT_INCREASE, "tidegate_audit_lines_lost_total", .window_s = 600},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "Lines of the audit log were lost",
        .detail = "Users feel nothing, but who did what can't be shown from the audit log alone.",
    },
    {
        .name = "TidegateMetricsOverflow",
        .runbook = "metrics-overflow",
        .severity = ALERT_WARNING,
        .value = {ALERT_INCREASE, "tidegate_metrics_overflow_total", .window_s = 600},
        .op = ALERT_OVER,
        .threshold = 0,
        .summary = "A node has no room for more series",
        .detail = "Some figures are too low from now on, until the node is started anew.",
    },
    {
        .name = "TidegateConfigReloadFailed",
        .runbook = "config-reload-failed",
        .severity = ALERT_WARNING,
        .value = {ALERT_NOW, "tidegate_config_last_reload_successful"},
        .op = ALERT_IS,
        .threshold = 0,
        .summary = "The last reload of the configuration changed nothing",
        .detail = "The gateway goes on with what it had: what was to be changed is not.",
    },
    {
        .name = "TidegateExporterFailing",
        .runbook = "exporter-failing",
        .severity = ALERT_WARNING,
        .hold_ms = 5 * MINUTE,
        .value = {ALERT_INCREASE,
                  "tidegate_export_requests_total",
                  {{"result", true, "ok|partial"}},
                  .window_s = 600,
                  .without = "result"},
        .divisor = {ALERT_INCREASE, "tidegate_export_requests_total", .window_s = 600,
                    .without = "result"},
        .op = ALERT_OVER,
        .threshold = 0.5,
        .summary = "Most requests of an exporter fail",
        .detail = "Users feel nothing, but the monitoring behind it has no new figures.",
    },
    {
        .name = "TidegateAlertsUntold",
        .runbook = "alerts-untold",
        .severity = ALERT_WARNING,
        .hold_ms = 5 * MINUTE,
        .value = {ALERT_INCREASE,
                  "tidegate_alert_notices_total",
                  {{"result", true, "2xx"}},
                  .window_s = 600,
                  .without = "result"},
        .op = ALERT_OVER,
        .threshold = 2,
        .summary = "A receiver of the built-in alerter does not take its notices",
        .detail = "Users feel nothing, but nobody may be told of the next alert.",
    },
};

enum { RULES = sizeof(table) / sizeof(table[0]) };
_Static_assert((int)RULES <= (int)ALERT_RULES_MAX, "callers have room for so many");

const struct alert_rule *alert_rules(size_t *out_count)
{
    *out_count = RULES;
    return table;
}

const struct alert_rule *alert_rule_find(struct str name)
{
    for (size_t i = 0; i < RULES; i++) {
        if (str_equal(name, str_of(table[i].name))) {
            return &table[i];
        }
    }
    return NULL;
}

static const struct settings_alert_rule *changes_of(const struct settings_alerts *settings,
                                                    const struct alert_rule *rule)
{
    for (size_t i = 0; settings && i < settings->rule_count; i++) {
        if (str_equal(settings->rules[i].name, str_of(rule->name))) {
            return &settings->rules[i];
        }
    }
    return NULL;
}

size_t alert_rules_of(const struct settings_alerts *settings,
                      struct alert_rule out[ALERT_RULES_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < RULES; i++) {
        const struct settings_alert_rule *changes = changes_of(settings, &table[i]);
        if (changes && !changes->enabled) {
            continue;
        }
        out[count] = table[i];
        if (changes && changes->has_threshold) {
            out[count].threshold = changes->threshold;
        }
        if (changes && changes->has_hold) {
            out[count].hold_ms = changes->hold_ms;
        }
        count++;
    }
    return count;
}

const char *alert_severity_name(enum alert_severity severity)
{
    return severity == ALERT_CRITICAL ? "critical" : "warning";
}

void alert_write_runbook(struct buf *out, const struct alert_rule *rule, struct str folder)
{
    buf_append_str(out, folder.len ? folder : STR("docs/runbooks/"));
    buf_printf(out, "%s.md", rule->runbook);
}

static bool matches_one(struct str value, struct str pattern)
{
    if (!str_ends_with(pattern, STR(".*"))) {
        return str_equal(value, pattern);
    }
    return str_starts_with(value, str_make(pattern.ptr, pattern.len - 2));
}

bool alert_filter_matches(const struct alert_filter *filter, struct str value)
{
    struct str rest = str_of(filter->pattern);
    struct str pattern;
    while (str_split(&rest, '|', &pattern)) {
        if (matches_one(value, pattern)) {
            return !filter->is_not;
        }
    }
    return filter->is_not;
}
