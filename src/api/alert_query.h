/* Evaluates one query of an alert rule (alert_rules.h) over the series of this process, again and
 * again. Pure but for memory: samples and the time are arguments.
 *
 * Series that differ only in labels that the query leaves out are one group, which has a value.
 * Counters of a process only grow and begin at 0, so what a group was a window ago is all that is
 * needed for a rate: each keeps its sums in a ring of ALERT_RING slots, spread over the window, and
 * where that does not reach back far enough, 0. For series that have been there for longer than the
 * window the values are those of Prometheus, but for its extrapolation of a scrape at each end. */
#ifndef TIDEGATE_API_ALERT_QUERY_H
#define TIDEGATE_API_ALERT_QUERY_H

#include "api/alert_rules.h"
#include "base/metrics.h"

enum {
    ALERT_RING = 128,
    ALERT_BUCKETS = 32,       /* of a histogram, at most */
    ALERT_GROUPS_MAX = 256,   /* of a query; what is beyond is left out, and counted */
    ALERT_LABELS_BYTES = 256, /* of a group; longer ones are left out likewise */
};

/* What the labels that are left say, as in the text format, sorted by name: `app="shop"`. */
struct alert_group {
    char *labels;
    double value; /* NaN: none */
    bool is_seen; /* in this pass */
    double sums[ALERT_BUCKETS];
    double *ring; /* ALERT_RING rows of as many as are summed; NULL: the query needs none */
};

struct alert_query_state {
    const struct alert_query *query; /* borrowed */
    struct alert_group *groups;
    size_t group_count;
    size_t width; /* sums of a group: 1, or the buckets of a histogram */
    const double *bounds;
    uint64_t left_out; /* series, in this pass */
    /* The ring's slots: when each was written, the newest at (written - 1) % ALERT_RING. */
    uint64_t slot_ms[ALERT_RING];
    uint64_t written;
};

/* {0} and a query. */
void alert_query_init(struct alert_query_state *state, const struct alert_query *query);
void alert_query_fini(struct alert_query_state *state);

/* One pass: begin, every sample that there is (those of other families are skipped), end. now_ms is
 * monotonic, wall_s the time as ALERT_UNTIL needs it. */
void alert_query_begin(struct alert_query_state *state);
void alert_query_sample(struct alert_query_state *state, const struct metric_sample *sample);
void alert_query_end(struct alert_query_state *state, uint64_t now_ms, double wall_s);

/* The value of the group with these labels; NaN: there is none. */
double alert_query_value(const struct alert_query_state *state, const char *labels);

/* As Prometheus computes it: linear within a bucket, the last bound for what is above it, NaN of
 * nothing. counts: of each bucket alone, one more than bounds. */
double alert_quantile(double quantile, const double *bounds, const double *counts, size_t bounds_n);

/* Reads the next of `a="x",b="y"` and moves *rest behind it; out_value is still escaped. */
bool alert_label_next(struct str *rest, struct str *out_name, struct str *out_value);

#endif
