#include "base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/metrics_cells.h"

static const uint64_t bounds_us[] = {
    10,    25,    50,     100,    250,    500,     1000,    2500,    5000,     10000,
    25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000,
};
static const double bounds_s[] = {
    1e-5,   2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2,
    2.5e-2, 5e-2,   0.1,  0.25, 0.5,    1,    2.5,  5,      10,
};

enum {
    BOUNDS = sizeof(bounds_us) / sizeof(bounds_us[0]),
    BUCKETS_MAX = METRIC_MAX_BOUNDS + 1, /* the last one is +Inf */
};

_Static_assert((int)BOUNDS <= (int)METRIC_MAX_BOUNDS, "a sample has room for any histogram");

struct metric {
    const struct metric_family *family; /* borrowed for good */
    uint32_t first_cell;                /* a histogram's buckets, then its sum */
    atomic_bool is_set;                 /* a real gauge was, and to: */
    _Atomic double value;
    _Atomic(struct metric *) next; /* of the family, in order of making */
    double (*read)(void *arg);     /* it and its argument under the reader lock */
    void *read_arg;
    char labels[];
};

struct family {
    _Atomic(struct family *) next;  /* by name */
    const struct metric_family *is; /* borrowed for good */
    atomic_bool is_hidden;
    _Atomic(struct metric *) first;
    struct metric *last; /* under the lock */
};

/* Families and series are only ever added, and published with release stores: the lock is for
 * makers, a scrape goes without. So a reader may use this module, and take locks of its own. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct family *) families;

/* Held while a reader runs: once it is taken off, it is not under way either. */
static pthread_mutex_t reader_lock = PTHREAD_MUTEX_INITIALIZER;

const struct metric_family metrics_overflow = {
    .kind = METRIC_COUNTER,
    .name = "tidegate_metrics_overflow_total",
    .help = "Updates of series for which the registry had no room.",
    .more = "Should be 0.",
};
static struct metric overflow = {.family = &metrics_overflow,
                                 .labels = ""}; /* its cell is cell 0 */
static struct family overflow_family = {
    .is = &metrics_overflow,
    .first = &overflow,
    .last = &overflow,
};
static uint32_t cells_used = 1; /* under the lock */

/* The place in the list, sorted by name, where the family is or belongs: of one name the first.
 * Under the lock. */
static _Atomic(struct family *) *family_place(const struct metric_family *is)
{
    _Atomic(struct family *) *place = &families;
    for (struct family *family; (family = atomic_load(place)); place = &family->next) {
        int order = strcmp(family->is->name, is->name);
        if (order > 0 || family->is == is) {
            break;
        }
        ASSERT(order < 0 || (family->is->is_custom && is->is_custom));
    }
    return place;
}

static void insert_family(_Atomic(struct family *) *place, struct family *family)
{
    atomic_store(&family->next, atomic_load(place));
    atomic_store(place, family);
}

static struct family *find_or_make_family(const struct metric_family *is)
{
    if (!atomic_load(&families)) {
        insert_family(&families, &overflow_family);
    }
    _Atomic(struct family *) *place = family_place(is);
    struct family *family = atomic_load(place);
    if (family && family->is == is) {
        return family;
    }
    family = mem_zalloc(sizeof(*family));
    if (family) {
        family->is = is;
        atomic_init(&family->is_hidden, is->is_custom);
        insert_family(place, family);
    }
    return family;
}

static struct metric *find_series(struct family *family, const char *labels)
{
    struct metric *metric = atomic_load(&family->first);
    while (metric && strcmp(metric->labels, labels) != 0) {
        metric = atomic_load(&metric->next);
    }
    return metric;
}

static uint32_t bound_count(const struct metric_family *family)
{
    return family->is_real ? (uint32_t)family->bound_count : BOUNDS;
}

static struct metric *make_series(struct family *family, const char *labels)
{
    uint32_t cells = family->is->kind == METRIC_HISTOGRAM ? bound_count(family->is) + 2 : 1;
    size_t labels_size = strlen(labels) + 1;
    uint32_t end = family->is->is_custom ? METRICS_CUSTOM_CELLS : METRICS_MAX_CELLS;
    if (cells_used + cells > end) {
        return NULL;
    }
    struct metric *metric = mem_zalloc(sizeof(*metric) + labels_size);
    if (!metric) {
        return NULL;
    }
    memcpy(metric->labels, labels, labels_size);
    metric->family = family->is;
    metric->first_cell = cells_used;
    cells_used += cells;
    atomic_store(family->last ? &family->last->next : &family->first, metric);
    family->last = metric;
    return metric;
}

static struct metric *find_or_make(const struct metric_family *is, const char *labels)
{
    struct metric *metric = NULL;
    pthread_mutex_lock(&lock);
    struct family *family = find_or_make_family(is);
    if (family) {
        metric = find_series(family, labels);
        if (!metric) {
            metric = make_series(family, labels);
        }
    }
    pthread_mutex_unlock(&lock);
    return metric ? metric : &overflow;
}

void metrics_show_family(const struct metric_family *is, bool is_shown)
{
    ASSERT(is->is_custom);
    pthread_mutex_lock(&lock);
    struct family *family = find_or_make_family(is);
    if (family) {
        atomic_store(&family->is_hidden, !is_shown);
    }
    pthread_mutex_unlock(&lock);
}

struct metric *metric_series_with(const struct metric_family *family, const char *const *values,
                                  size_t count)
{
    struct buf labels = {0};
    ASSERT(count == metric_label_count(family));
    for (size_t i = 0; i < count; i++) {
        metric_label(&labels, family->labels[i], str_of(values[i]));
    }
    const char *text = count ? buf_cstr(&labels) : "";
    struct metric *metric = buf_err(&labels) ? &overflow : find_or_make(family, text);
    buf_fini(&labels);
    return metric;
}

size_t metric_label_count(const struct metric_family *family)
{
    size_t count = 0;
    while (count < METRIC_MAX_LABELS && family->labels[count]) {
        count++;
    }
    return count;
}

const struct metric_family *metric_family_of(const struct metric *metric)
{
    return metric->family;
}

const char *metric_kind_name(enum metric_kind kind)
{
    static const char *const names[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    return names[kind];
}

/* The overflow series stands in for all kinds, and counts updates. */
static inline bool is_overflow(const struct metric *metric, enum metric_kind kind, bool is_real)
{
    if (metric == &overflow) {
        metrics_cells_add(0, 1);
        return true;
    }
    ASSERT(metric->family->kind == kind && metric->family->is_real == is_real);
    return false;
}

void metric_add(struct metric *metric, uint64_t n)
{
    if (!is_overflow(metric, METRIC_COUNTER, false)) {
        metrics_cells_add(metric->first_cell, (int64_t)n);
    }
}

void metric_add_real(struct metric *metric, double value)
{
    if (!is_overflow(metric, METRIC_COUNTER, true)) {
        metrics_cells_add_real(metric->first_cell, value);
    }
}

void metric_gauge_add(struct metric *metric, int64_t delta)
{
    if (!is_overflow(metric, METRIC_GAUGE, false)) {
        metrics_cells_add(metric->first_cell, delta);
    }
}

void metric_set(struct metric *metric, double value)
{
    if (!is_overflow(metric, METRIC_GAUGE, true)) {
        atomic_store_explicit(&metric->value, value, memory_order_relaxed);
        atomic_store_explicit(&metric->is_set, true, memory_order_release);
    }
}

void metric_observe_us(struct metric *metric, uint64_t us)
{
    if (is_overflow(metric, METRIC_HISTOGRAM, false)) {
        return;
    }
    uint32_t bucket = 0;
    while (bucket < BOUNDS && us > bounds_us[bucket]) {
        bucket++;
    }
    metrics_cells_add(metric->first_cell + bucket, 1);
    metrics_cells_add(metric->first_cell + BOUNDS + 1, (int64_t)us);
}

void metric_observe(struct metric *metric, double value)
{
    if (is_overflow(metric, METRIC_HISTOGRAM, true)) {
        return;
    }
    const struct metric_family *family = metric->family;
    uint32_t bucket = 0;
    while (bucket < family->bound_count && value > family->bounds[bucket]) {
        bucket++;
    }
    metrics_cells_add(metric->first_cell + bucket, 1);
    metrics_cells_add_real(metric->first_cell + bound_count(family) + 1, value);
}

void metric_set_reader(struct metric *metric, double (*read)(void *arg), void *arg)
{
    if (metric == &overflow) {
        return;
    }
    ASSERT(metric->family->kind != METRIC_HISTOGRAM && !metric->family->is_real);
    pthread_mutex_lock(&reader_lock);
    metric->read = read;
    metric->read_arg = arg;
    pthread_mutex_unlock(&reader_lock);
}

int64_t metric_value(const struct metric *metric)
{
    const struct metric_family *family = metric->family;
    if (family->kind != METRIC_HISTOGRAM) {
        return metrics_cells_sum(metric->first_cell);
    }
    int64_t count = 0;
    for (uint32_t i = 0; i <= bound_count(family); i++) {
        count += metrics_cells_sum(metric->first_cell + i);
    }
    return count;
}

void metric_label(struct buf *labels, const char *name, struct str value)
{
    if (labels->len > 0) {
        buf_append_char(labels, ',');
    }
    buf_append_str(labels, str_of(name));
    buf_append_str(labels, STR("=\""));
    while (value.len > 0) {
        /* The format is UTF-8; a scraper would refuse the whole page for one bad byte. */
        size_t width = str_utf8_width(value);
        if (width == 0) {
            buf_append_str(labels, STR("\xef\xbf\xbd"));
        } else if (*value.ptr == '\n') {
            buf_append_str(labels, STR("\\n"));
        } else {
            if (*value.ptr == '"' || *value.ptr == '\\') {
                buf_append_char(labels, '\\');
            }
            buf_append(labels, value.ptr, width);
        }
        size_t step = width ? width : 1;
        value = (struct str){value.ptr + step, value.len - step};
    }
    buf_append_char(labels, '"');
}

static bool ask_reader(const struct metric *metric, double *out_value)
{
    pthread_mutex_lock(&reader_lock);
    bool has_reader = metric->read != NULL;
    if (has_reader) {
        *out_value = metric->read(metric->read_arg);
    }
    pthread_mutex_unlock(&reader_lock);
    return has_reader;
}

static void sample_histogram(const struct metric *metric, struct metric_sample *sample,
                             uint64_t buckets[BUCKETS_MAX])
{
    const struct metric_family *family = metric->family;
    uint32_t bounds = bound_count(family);
    uint64_t count = 0;
    for (uint32_t i = 0; i <= bounds; i++) {
        buckets[i] = (uint64_t)metrics_cells_sum(metric->first_cell + i);
        count += buckets[i];
    }
    uint32_t sum = metric->first_cell + bounds + 1;
    sample->value = (double)count;
    sample->sum = family->is_real ? metrics_cells_sum_real(sum)
                                  : (double)metrics_cells_sum(sum) / 1e6;
    sample->bounds = family->is_real ? family->bounds : bounds_s;
    sample->buckets = buckets;
    sample->bound_count = bounds;
}

/* False: there is nothing to show yet. */
static bool sample_real(const struct metric *metric, struct metric_sample *sample)
{
    if (metric->family->kind == METRIC_COUNTER) {
        sample->value = metrics_cells_sum_real(metric->first_cell);
        return true;
    }
    sample->value = atomic_load_explicit(&metric->value, memory_order_relaxed);
    return atomic_load_explicit(&metric->is_set, memory_order_acquire);
}

static bool sample_single(const struct metric *metric, struct metric_sample *sample)
{
    if (metric->family->is_real) {
        return sample_real(metric, sample);
    }
    if (!ask_reader(metric, &sample->value)) {
        sample->value = (double)metrics_cells_sum(metric->first_cell);
    }
    return true;
}

static void visit_series(const struct metric *metric,
                         void (*visit)(void *arg, const struct metric_sample *sample), void *arg)
{
    struct metric_sample sample = {.family = metric->family, .labels = metric->labels};
    uint64_t buckets[BUCKETS_MAX];
    if (metric->family->kind == METRIC_HISTOGRAM) {
        sample_histogram(metric, &sample, buckets);
    } else if (!sample_single(metric, &sample)) {
        return;
    }
    visit(arg, &sample);
}

static void visit_family(const struct family *family,
                         void (*visit)(void *arg, const struct metric_sample *sample), void *arg)
{
    for (struct metric *metric = atomic_load(&family->first); metric;
         metric = atomic_load(&metric->next)) {
        visit_series(metric, visit, arg);
    }
}

void metrics_visit(void (*visit)(void *arg, const struct metric_sample *sample), void *arg)
{
    for (struct family *family = atomic_load(&families); family;
         family = atomic_load(&family->next)) {
        if (!atomic_load(&family->is_hidden)) {
            visit_family(family, visit, arg);
        }
    }
}
