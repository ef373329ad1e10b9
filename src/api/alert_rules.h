/* What an operator is to be told of, as data. This table is the one source: of Prometheus's rules
 * (alert_text.h writes deploy/prometheus/alerts.yaml from it), of the list in
 * docs/how-to/monitoring.md, and of what the built-in alerter evaluates (alerter.h). So an
 * expression says no more than both can evaluate alike: one query, maybe divided by another,
 * compared with a number, and maybe a second condition. Each rule has a page in docs/runbooks/ and
 * a unit test in deploy/prometheus/alerts_test.yaml.
 *
 * All is about one process: in Prometheus that is one `instance`, whose labels survive, since
 * queries only ever leave out labels that the gateway itself has given. */
#ifndef TIDEGATE_API_ALERT_RULES_H
#define TIDEGATE_API_ALERT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct settings_alerts;

enum alert_severity {
    ALERT_WARNING,  /* look at it in working hours */
    ALERT_CRITICAL, /* users feel it now, or will soon: wake somebody */
};

enum { ALERT_FILTERS_MAX = 2, ALERT_RULES_MAX = 64 };

/* pattern: values with "|" between them, each whole or the start of one and ".*" at its end, which
 * means the same as a regular expression of Prometheus. */
struct alert_filter {
    const char *label; /* NULL: none */
    bool is_not;
    const char *pattern;
};

enum alert_read {
    ALERT_NOW,      /* the value */
    ALERT_RATE,     /* of a counter: a second, over the window */
    ALERT_INCREASE, /* of a counter: over the window */
    ALERT_QUANTILE, /* of a histogram, over the window */
    ALERT_UNTIL,    /* of a time: how far ahead it is, in seconds */
    ALERT_SINCE,    /* of a time: how long ago it was, in seconds */
};

enum alert_fold { ALERT_SUM, ALERT_MIN, ALERT_MAX };

struct alert_query {
    enum alert_read read;
    const char *metric; /* NULL: no query */
    struct alert_filter filters[ALERT_FILTERS_MAX];
    uint32_t window_s; /* of rates, increases and quantiles */
    double quantile;
    /* Labels that are left out, "a, b": series that differ in them alone are folded into one. NULL:
     * each series is for itself. */
    const char *without;
    enum alert_fold fold; /* of a quantile always ALERT_SUM */
};

enum alert_op { ALERT_OVER, ALERT_UNDER, ALERT_IS };

struct alert_rule {
    const char *name;    /* TidegateBusDown */
    const char *runbook; /* the page in docs/runbooks/, without its ending */
    enum alert_severity severity;
    uint64_t hold_ms; /* true for so long, then it fires */
    struct alert_query value;
    struct alert_query divisor; /* matched by what labels are left */
    enum alert_op op;
    double threshold;
    /* A second condition, on the same labels that are left, or, is_of_node, on the process. */
    struct {
        struct alert_query value;
        struct alert_query divisor;
        enum alert_op op;
        double threshold;
        bool is_of_node;
    } also;
    /* The gateway can't see it in itself: Prometheus's alone. */
    bool is_external;
    const char *summary; /* a line */
    const char *detail;  /* what it means for users */
};

/* The table; in the order in which it is shown. */
const struct alert_rule *alert_rules(size_t *out_count);

/* NULL: there is none of that name. */
const struct alert_rule *alert_rule_find(struct str name);

/* The rules as a site has them: with the thresholds and hold times of the configuration, without
 * those that it has switched off. settings NULL: as they are. Returns how many. */
size_t alert_rules_of(const struct settings_alerts *settings,
                      struct alert_rule out[ALERT_RULES_MAX]);

const char *alert_severity_name(enum alert_severity severity);

/* The page of a rule, "https://wiki.example.com/tidegate/bus-down.md": behind where the
 * configuration has them ("": in this repository). */
void alert_write_runbook(struct buf *out, const struct alert_rule *rule, struct str folder);

/* Whether a label's value matches a filter's pattern. */
bool alert_filter_matches(const struct alert_filter *filter, struct str value);

/* Whether value is what the rule waits for; a NaN never is. */
static inline bool alert_compare(enum alert_op op, double value, double threshold)
{
    return op == ALERT_OVER    ? value > threshold
           : op == ALERT_UNDER ? value < threshold
                               : value == threshold;
}

#endif
