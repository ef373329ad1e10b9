#include "api/alert_query.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

void alert_query_init(struct alert_query_state *state, const struct alert_query *query)
{
    *state = (struct alert_query_state){.query = query, .width = 1};
}

void alert_query_fini(struct alert_query_state *state)
{
    for (size_t i = 0; i < state->group_count; i++) {
        mem_free(state->groups[i].labels);
        mem_free(state->groups[i].ring);
    }
    mem_free(state->groups);
    state->groups = NULL;
    state->group_count = 0;
}

/* ---- labels ---- */

bool alert_label_next(struct str *rest, struct str *out_name, struct str *out_value)
{
    const char *equal = rest->len ? memchr(rest->ptr, '=', rest->len) : NULL;
    if (!equal) {
        return false;
    }
    const char *end = rest->ptr + rest->len;
    const char *value = equal + 2; /* behind the quote */
    const char *at = value;
    while (at < end && *at != '"') {
        at += *at == '\\' ? 2 : 1;
    }
    *out_name = str_make(rest->ptr, (size_t)(equal - rest->ptr));
    *out_value = str_make(value, (size_t)(at - value));
    at = at + 1 < end ? at + 2 : end; /* the quote, and the comma if there is one */
    *rest = str_make(at, (size_t)(end - at));
    return true;
}

static bool is_left_out(const struct alert_query *query, struct str name)
{
    struct str rest = str_of(query->without);
    struct str label;
    while (rest.ptr && str_split(&rest, ',', &label)) {
        if (str_equal(str_trim(label), name)) {
            return true;
        }
    }
    return false;
}

/* A label that a series has not is empty. */
static bool passes(const struct alert_query *query, struct str labels)
{
    for (int i = 0; i < ALERT_FILTERS_MAX && query->filters[i].label; i++) {
        struct str rest = labels;
        struct str name, value, found = STR("");
        while (alert_label_next(&rest, &name, &value)) {
            found = str_equal(name, str_of(query->filters[i].label)) ? value : found;
        }
        if (!alert_filter_matches(&query->filters[i], found)) {
            return false;
        }
    }
    return true;
}

struct label {
    struct str name, value;
};

enum { LABELS_MAX = 16 };

static int compare_labels(const void *a, const void *b)
{
    struct str left = ((const struct label *)a)->name;
    struct str right = ((const struct label *)b)->name;
    int order = memcmp(left.ptr, right.ptr, left.len < right.len ? left.len : right.len);
    return order ? order : (int)left.len - (int)right.len;
}

/* What is left of them, sorted; false: too many or too long. */
static bool write_labels(const struct alert_query *query, struct str labels,
                         char out[ALERT_LABELS_BYTES])
{
    struct label kept[LABELS_MAX];
    size_t count = 0, len = 0;
    struct label label;
    while (alert_label_next(&labels, &label.name, &label.value)) {
        if (is_left_out(query, label.name)) {
            continue;
        }
        if (count == LABELS_MAX) {
            return false;
        }
        kept[count++] = label;
    }
    qsort(kept, count, sizeof(kept[0]), compare_labels);
    out[0] = '\0';
    for (size_t i = 0; i < count && len < ALERT_LABELS_BYTES; i++) {
        len += (size_t)snprintf(out + len, ALERT_LABELS_BYTES - len, "%s%.*s=\"%.*s\"",
                                i ? "," : "", STR_ARG(kept[i].name), STR_ARG(kept[i].value));
    }
    return len < ALERT_LABELS_BYTES;
}

/* ---- groups ---- */

static bool is_windowed(const struct alert_query *query)
{
    return query->read == ALERT_RATE || query->read == ALERT_INCREASE ||
           query->read == ALERT_QUANTILE;
}

static struct alert_group *find_group(const struct alert_query_state *state, const char *labels)
{
    for (size_t i = 0; i < state->group_count; i++) {
        if (strcmp(state->groups[i].labels, labels) == 0) {
            return &state->groups[i];
        }
    }
    return NULL;
}

/* Its ring is 0 in all slots that are older than it, which is what its counters were. */
static bool fill_group(const struct alert_query_state *state, struct alert_group *group,
                       const char *labels)
{
    *group = (struct alert_group){.labels = mem_strndup(labels, strlen(labels)), .value = NAN};
    if (is_windowed(state->query)) {
        group->ring = mem_zalloc(sizeof(double) * ALERT_RING * state->width);
    }
    if (!group->labels || (is_windowed(state->query) && !group->ring)) {
        mem_free(group->labels);
        mem_free(group->ring);
        return false;
    }
    return true;
}

static struct alert_group *add_group(struct alert_query_state *state, const char *labels)
{
    size_t count = state->group_count;
    if (count == ALERT_GROUPS_MAX) {
        return NULL;
    }
    if ((count & (count - 1)) == 0) { /* full at each power of two */
        size_t size = sizeof(struct alert_group) * (count ? count * 2 : 1);
        struct alert_group *groups = mem_realloc(state->groups, size);
        if (!groups) {
            return NULL;
        }
        state->groups = groups;
    }
    if (!fill_group(state, &state->groups[count], labels)) {
        return NULL;
    }
    state->group_count++;
    return &state->groups[count];
}

/* ---- a pass ---- */

void alert_query_begin(struct alert_query_state *state)
{
    state->left_out = 0;
    for (size_t i = 0; i < state->group_count; i++) {
        struct alert_group *group = &state->groups[i];
        group->is_seen = false;
        memset(group->sums, 0, sizeof(double) * state->width);
    }
}

static double fold(enum alert_fold how, double folded, double value)
{
    switch (how) {
    case ALERT_MIN: return value < folded || isnan(folded) ? value : folded;
    case ALERT_MAX: return value > folded || isnan(folded) ? value : folded;
    default: return folded + value;
    }
}

static void take_value(const struct alert_query_state *state, struct alert_group *group,
                       const struct metric_sample *sample)
{
    for (size_t i = 0; i < state->width; i++) {
        double value = state->query->read == ALERT_QUANTILE ? (double)sample->buckets[i]
                                                            : sample->value;
        group->sums[i] = group->is_seen ? fold(state->query->fold, group->sums[i], value) : value;
    }
    group->is_seen = true;
}

/* The bounds are the registry's, the same in each pass. */
static bool take_width(struct alert_query_state *state, const struct metric_sample *sample)
{
    if (state->query->read != ALERT_QUANTILE) {
        return sample->family->kind != METRIC_HISTOGRAM;
    }
    if (sample->family->kind != METRIC_HISTOGRAM || sample->bound_count + 1 > ALERT_BUCKETS ||
        (state->bounds && state->width != sample->bound_count + 1)) {
        return false;
    }
    state->bounds = sample->bounds;
    state->width = sample->bound_count + 1;
    return true;
}

void alert_query_sample(struct alert_query_state *state, const struct metric_sample *sample)
{
    char labels[ALERT_LABELS_BYTES];
    struct str all = str_of(sample->labels);
    if (strcmp(sample->family->name, state->query->metric) != 0 || !passes(state->query, all)) {
        return;
    }
    struct alert_group *group = NULL;
    if (take_width(state, sample) && write_labels(state->query, all, labels)) {
        group = find_group(state, labels);
        group = group ? group : add_group(state, labels);
    }
    if (group) {
        take_value(state, group, sample);
    } else {
        state->left_out++;
    }
}

/* The newest slot that is a window old; -1: none reaches back so far. */
static int find_slot(const struct alert_query_state *state, uint64_t now_ms)
{
    uint64_t window_ms = (uint64_t)state->query->window_s * 1000;
    for (uint64_t age = 0; age < ALERT_RING && age < state->written; age++) {
        int slot = (int)((state->written - 1 - age) % ALERT_RING);
        if (now_ms - state->slot_ms[slot] >= window_ms) {
            return slot;
        }
    }
    return -1;
}

static double windowed_value(const struct alert_query_state *state, const struct alert_group *group,
                             int slot)
{
    const struct alert_query *query = state->query;
    double grown[ALERT_BUCKETS];
    for (size_t i = 0; i < state->width; i++) {
        double before = slot < 0 ? 0 : group->ring[(size_t)slot * state->width + i];
        grown[i] = group->sums[i] - before;
    }
    switch (query->read) {
    case ALERT_RATE: return grown[0] / query->window_s;
    case ALERT_QUANTILE:
        return alert_quantile(query->quantile, state->bounds, grown, state->width - 1);
    default: return grown[0];
    }
}

static double value_of(const struct alert_query_state *state, const struct alert_group *group,
                       int slot, double wall_s)
{
    switch (state->query->read) {
    case ALERT_NOW: return group->sums[0];
    case ALERT_UNTIL: return group->sums[0] - wall_s;
    case ALERT_SINCE: return wall_s - group->sums[0];
    default: return windowed_value(state, group, slot);
    }
}

/* One for each step of the window, so that the ring spans it however often it is looked at. */
static void keep_slot(struct alert_query_state *state, uint64_t now_ms)
{
    uint64_t step_ms = (uint64_t)state->query->window_s * 1000 / (ALERT_RING - 4);
    uint64_t newest = state->written ? state->slot_ms[(state->written - 1) % ALERT_RING] : 0;
    if (!is_windowed(state->query) || (state->written && now_ms - newest < step_ms)) {
        return;
    }
    size_t slot = state->written++ % ALERT_RING;
    state->slot_ms[slot] = now_ms;
    for (size_t i = 0; i < state->group_count; i++) {
        const struct alert_group *group = &state->groups[i];
        memcpy(group->ring + slot * state->width, group->sums, sizeof(double) * state->width);
    }
}

void alert_query_end(struct alert_query_state *state, uint64_t now_ms, double wall_s)
{
    int slot = find_slot(state, now_ms);
    for (size_t i = 0; i < state->group_count; i++) {
        struct alert_group *group = &state->groups[i];
        group->value = group->is_seen ? value_of(state, group, slot, wall_s) : NAN;
    }
    keep_slot(state, now_ms);
}

double alert_query_value(const struct alert_query_state *state, const char *labels)
{
    const struct alert_group *group = find_group(state, labels);
    return group ? group->value : NAN;
}

/* ---- quantiles ---- */

double alert_quantile(double quantile, const double *bounds, const double *counts, size_t bounds_n)
{
    double total = 0;
    for (size_t i = 0; i <= bounds_n; i++) {
        total += counts[i];
    }
    if (total == 0 || bounds_n == 0) {
        return NAN;
    }
    double rank = quantile * total;
    size_t i = 0;
    double below = 0; /* how many are in the buckets before */
    while (i < bounds_n && below + counts[i] < rank) {
        below += counts[i++];
    }
    if (i == bounds_n) {
        return bounds[bounds_n - 1];
    }
    double from = i ? bounds[i - 1] : 0;
    return from + (bounds[i] - from) * (rank - below) / counts[i];
}
