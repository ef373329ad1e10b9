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
    BUCKETS = BOUNDS + 1, /* the last one is +Inf */
    SUM = BUCKETS,        /* the sum's cell, behind the buckets */
    HISTOGRAM_CELLS = BUCKETS + 1,
};

struct metric {
    uint32_t first_cell;
    enum metric_kind kind;
    _Atomic(struct metric *) next; /* of the family, in order of making */
    double (*read)(void *arg);     /* it and its argument under the reader lock */
    void *read_arg;
    char labels[];
};

struct family {
    _Atomic(struct family *) next;  /* by name */
    const struct metric_family *is; /* borrowed for good */
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
static struct metric overflow = {.kind = METRIC_COUNTER, .labels = ""}; /* its cell is cell 0 */
static struct family overflow_family = {
    .is = &metrics_overflow,
    .first = &overflow,
    .last = &overflow,
};
static uint32_t cells_used = 1; /* under the lock */

/* The place in the list, sorted by name, where the family is or belongs. Under the lock. */
static _Atomic(struct family *) *family_place(const char *name)
{
    _Atomic(struct family *) *place = &families;
    for (struct family *family; (family = atomic_load(place)); place = &family->next) {
        if (strcmp(family->is->name, name) >= 0) {
            break;
        }
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
    _Atomic(struct family *) *place = family_place(is->name);
    struct family *family = atomic_load(place);
    if (family && strcmp(family->is->name, is->name) == 0) {
        ASSERT(family->is->kind == is->kind);
        return family;
    }
    family = mem_zalloc(sizeof(*family));
    if (family) {
        family->is = is;
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

static struct metric *make_series(struct family *family, const char *labels)
{
    uint32_t cells = family->is->kind == METRIC_HISTOGRAM ? HISTOGRAM_CELLS : 1;
    size_t labels_size = strlen(labels) + 1;
    if (cells > METRICS_MAX_CELLS - cells_used) {
        return NULL;
    }
    struct metric *metric = mem_zalloc(sizeof(*metric) + labels_size);
    if (!metric) {
        return NULL;
    }
    memcpy(metric->labels, labels, labels_size);
    metric->kind = family->is->kind;
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

const char *metric_kind_name(enum metric_kind kind)
{
    static const char *const names[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    return names[kind];
}

/* The overflow series stands in for all kinds, and counts updates. */
static inline bool is_overflow(const struct metric *metric, enum metric_kind kind)
{
    if (metric == &overflow) {
        metrics_cells_add(0, 1);
        return true;
    }
    ASSERT(metric->kind == kind);
    return false;
}

void metric_add(struct metric *metric, uint64_t n)
{
    if (!is_overflow(metric, METRIC_COUNTER)) {
        metrics_cells_add(metric->first_cell, (int64_t)n);
    }
}

void metric_gauge_add(struct metric *metric, int64_t delta)
{
    if (!is_overflow(metric, METRIC_GAUGE)) {
        metrics_cells_add(metric->first_cell, delta);
    }
}

void metric_observe_us(struct metric *metric, uint64_t us)
{
    if (is_overflow(metric, METRIC_HISTOGRAM)) {
        return;
    }
    uint32_t bucket = 0;
    while (bucket < BOUNDS && us > bounds_us[bucket]) {
        bucket++;
    }
    metrics_cells_add(metric->first_cell + bucket, 1);
    metrics_cells_add(metric->first_cell + SUM, (int64_t)us);
}

void metric_set_reader(struct metric *metric, double (*read)(void *arg), void *arg)
{
    if (metric == &overflow) {
        return;
    }
    ASSERT(metric->kind != METRIC_HISTOGRAM);
    pthread_mutex_lock(&reader_lock);
    metric->read = read;
    metric->read_arg = arg;
    pthread_mutex_unlock(&reader_lock);
}

int64_t metric_value(const struct metric *metric)
{
    if (metric->kind != METRIC_HISTOGRAM) {
        return metrics_cells_sum(metric->first_cell);
    }
    int64_t count = 0;
    for (uint32_t i = 0; i < BUCKETS; i++) {
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
                             uint64_t buckets[BUCKETS])
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        buckets[i] = (uint64_t)metrics_cells_sum(metric->first_cell + i);
        count += buckets[i];
    }
    sample->value = (double)count;
    sample->sum = (double)metrics_cells_sum(metric->first_cell + SUM) / 1e6;
    sample->bounds = bounds_s;
    sample->buckets = buckets;
    sample->bound_count = BOUNDS;
}

static void visit_series(const struct family *family, const struct metric *metric,
                         void (*visit)(void *arg, const struct metric_sample *sample), void *arg)
{
    struct metric_sample sample = {.family = family->is, .labels = metric->labels};
    uint64_t buckets[BUCKETS];
    if (metric->kind == METRIC_HISTOGRAM) {
        sample_histogram(metric, &sample, buckets);
    } else if (!ask_reader(metric, &sample.value)) {
        sample.value = (double)metrics_cells_sum(metric->first_cell);
    }
    visit(arg, &sample);
}

void metrics_visit(void (*visit)(void *arg, const struct metric_sample *sample), void *arg)
{
    for (struct family *family = atomic_load(&families); family;
         family = atomic_load(&family->next)) {
        for (struct metric *metric = atomic_load(&family->first); metric;
             metric = atomic_load(&metric->next)) {
            visit_series(family, metric, visit, arg);
        }
    }
}
