#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/metrics_cells.h"

enum metric_kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

/* In microseconds, and as Prometheus reads them, in seconds. */
static const struct {
    uint64_t us;
    const char *le;
} bounds[] = {
    {10, "0.00001"},  {25, "0.000025"}, {50, "0.00005"},  {100, "0.0001"},  {250, "0.00025"},
    {500, "0.0005"},  {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},
    {25000, "0.025"}, {50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},
    {1000000, "1"},   {2500000, "2.5"}, {5000000, "5"},   {10000000, "10"},
};

enum {
    BOUNDS = sizeof(bounds) / sizeof(bounds[0]),
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
    _Atomic(struct family *) next; /* by name */
    enum metric_kind kind;
    const char *name; /* borrowed, a literal */
    const char *help; /* borrowed, a literal */
    _Atomic(struct metric *) first;
    struct metric *last; /* under the lock */
};

/* Families and series are only ever added, and published with release stores: the lock is for
 * makers, a scrape goes without. So a reader may use this module, and take locks of its own. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct family *) families;

/* Held while a reader runs: once it is taken off, it is not under way either. */
static pthread_mutex_t reader_lock = PTHREAD_MUTEX_INITIALIZER;

static struct metric overflow = {.kind = KIND_COUNTER, .labels = ""}; /* its cell is cell 0 */
static struct family overflow_family = {
    .kind = KIND_COUNTER,
    .name = "tidegate_metrics_overflow_total",
    .help = "Updates of series for which the registry had no room.",
    .first = &overflow,
    .last = &overflow,
};
static uint32_t cells_used = 1; /* under the lock */

/* The place in the list, sorted by name, where the family is or belongs. Under the lock. */
static _Atomic(struct family *) *family_place(const char *name)
{
    _Atomic(struct family *) *place = &families;
    for (struct family *family; (family = atomic_load(place)); place = &family->next) {
        if (strcmp(family->name, name) >= 0) {
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

static struct family *find_or_make_family(enum metric_kind kind, const char *name, const char *help)
{
    if (!atomic_load(&families)) {
        insert_family(&families, &overflow_family);
    }
    _Atomic(struct family *) *place = family_place(name);
    struct family *family = atomic_load(place);
    if (family && strcmp(family->name, name) == 0) {
        ASSERT(family->kind == kind);
        return family;
    }
    family = mem_zalloc(sizeof(*family));
    if (family) {
        family->kind = kind;
        family->name = name;
        family->help = help;
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
    uint32_t cells = family->kind == KIND_HISTOGRAM ? HISTOGRAM_CELLS : 1;
    size_t labels_size = strlen(labels) + 1;
    if (cells > METRICS_MAX_CELLS - cells_used) {
        return NULL;
    }
    struct metric *metric = mem_zalloc(sizeof(*metric) + labels_size);
    if (!metric) {
        return NULL;
    }
    memcpy(metric->labels, labels, labels_size);
    metric->kind = family->kind;
    metric->first_cell = cells_used;
    cells_used += cells;
    atomic_store(family->last ? &family->last->next : &family->first, metric);
    family->last = metric;
    return metric;
}

static struct metric *find_or_make(enum metric_kind kind, const char *name, const char *help,
                                   const char *labels)
{
    struct metric *metric = NULL;
    pthread_mutex_lock(&lock);
    struct family *family = find_or_make_family(kind, name, help);
    if (family) {
        metric = find_series(family, labels);
        if (!metric) {
            metric = make_series(family, labels);
        }
    }
    pthread_mutex_unlock(&lock);
    return metric ? metric : &overflow;
}

struct metric *metric_counter(const char *name, const char *help, const char *labels)
{
    return find_or_make(KIND_COUNTER, name, help, labels);
}

struct metric *metric_gauge(const char *name, const char *help, const char *labels)
{
    return find_or_make(KIND_GAUGE, name, help, labels);
}

struct metric *metric_histogram(const char *name, const char *help, const char *labels)
{
    return find_or_make(KIND_HISTOGRAM, name, help, labels);
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
    if (!is_overflow(metric, KIND_COUNTER)) {
        metrics_cells_add(metric->first_cell, (int64_t)n);
    }
}

void metric_gauge_add(struct metric *metric, int64_t delta)
{
    if (!is_overflow(metric, KIND_GAUGE)) {
        metrics_cells_add(metric->first_cell, delta);
    }
}

void metric_observe_us(struct metric *metric, uint64_t us)
{
    if (is_overflow(metric, KIND_HISTOGRAM)) {
        return;
    }
    uint32_t bucket = 0;
    while (bucket < BOUNDS && us > bounds[bucket].us) {
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
    ASSERT(metric->kind != KIND_HISTOGRAM);
    pthread_mutex_lock(&reader_lock);
    metric->read = read;
    metric->read_arg = arg;
    pthread_mutex_unlock(&reader_lock);
}

int64_t metric_value(const struct metric *metric)
{
    if (metric->kind != KIND_HISTOGRAM) {
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

static void render_head(struct buf *out, const struct family *family)
{
    static const char *const types[] = {
        [KIND_COUNTER] = "counter", [KIND_GAUGE] = "gauge", [KIND_HISTOGRAM] = "histogram"};
    buf_printf(out, "# HELP %s ", family->name);
    for (const char *at = family->help; *at; at++) {
        if (*at == '\\' || *at == '\n') {
            buf_append_char(out, '\\');
        }
        buf_append_char(out, *at == '\n' ? 'n' : *at);
    }
    buf_printf(out, "\n# TYPE %s %s\n", family->name, types[family->kind]);
}

static void render_name(struct buf *out, const struct family *family, const char *suffix,
                        const struct metric *metric)
{
    buf_append_str(out, str_of(family->name));
    buf_append_str(out, str_of(suffix));
    if (metric->labels[0]) {
        buf_printf(out, "{%s}", metric->labels);
    }
    buf_append_char(out, ' ');
}

/* The shortest of two precisions that reads back as the same number. */
static void render_double(struct buf *out, double value)
{
    char text[32];
    if (isnan(value)) {
        buf_append_str(out, STR("NaN"));
    } else if (isinf(value)) {
        buf_append_str(out, value < 0 ? STR("-Inf") : STR("+Inf"));
    } else {
        snprintf(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) != value) {
            snprintf(text, sizeof(text), "%.17g", value);
        }
        buf_append_str(out, str_of(text));
    }
    buf_append_char(out, '\n');
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

static void render_single(struct buf *out, const struct family *family, struct metric *metric)
{
    render_name(out, family, "", metric);
    double value;
    if (ask_reader(metric, &value)) {
        render_double(out, value);
    } else {
        buf_printf(out, "%lld\n", (long long)metrics_cells_sum(metric->first_cell));
    }
}

static void render_histogram(struct buf *out, const struct family *family,
                             const struct metric *metric)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        count += metrics_cells_sum(metric->first_cell + i);
        buf_printf(out, "%s_bucket{%s%sle=\"%s\"} %lld\n", family->name, metric->labels,
                   metric->labels[0] ? "," : "", i < BOUNDS ? bounds[i].le : "+Inf",
                   (long long)count);
    }
    uint64_t sum_us = (uint64_t)metrics_cells_sum(metric->first_cell + SUM);
    render_name(out, family, "_sum", metric);
    buf_printf(out, "%llu.%06llu\n", (unsigned long long)(sum_us / 1000000),
               (unsigned long long)(sum_us % 1000000));
    render_name(out, family, "_count", metric);
    buf_printf(out, "%lld\n", (long long)count);
}

int metrics_render(struct buf *out)
{
    for (struct family *family = atomic_load(&families); family;
         family = atomic_load(&family->next)) {
        struct metric *metric = atomic_load(&family->first);
        if (metric) {
            render_head(out, family);
        }
        for (; metric; metric = atomic_load(&metric->next)) {
            if (family->kind == KIND_HISTOGRAM) {
                render_histogram(out, family, metric);
            } else {
                render_single(out, family, metric);
            }
        }
    }
    return buf_err(out);
}
