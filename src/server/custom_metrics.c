#include "server/custom_metrics.h"

#include <math.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "base/u64map.h"
#include "proto/json_pointer.h"
#include "server/custom_family.h"
#include "server/families.h"

_Static_assert(SETTINGS_CUSTOM_MAX <= 32, "a type's metrics are bits");

enum { NO_FIELD = JSON_POINTERS_MAX };

/* So small that no number of pushes adds up to what no exporter can say: an infinity. */
static const double value_max = 1e15;

enum failure { NO_FAILURE, NO_JSON, MISSING, NOT_A_NUMBER, TOO_LARGE, NEGATIVE, LABEL, FAILURES };

typedef _Atomic(struct metric *) series_place;

/* The series of one set of label values; each made when it is needed first. */
struct set {
    series_place value;
    series_place time; /* of a gauge */
};

struct custom_metric {
    const struct settings_custom *is;
    const struct metric_family *family;
    const struct metric_family *time_family; /* of a gauge */
    uint64_t fields;                         /* of the pointers, those that it looks for */
    uint8_t value_field;
    uint8_t label_fields[SETTINGS_CUSTOM_LABELS_MAX];
    struct set *sets;
    series_place failures[FAILURES];
};

/* A type of messages that is named, and the metrics that it feeds. */
struct feed {
    struct str type;
    uint32_t metrics;
};

struct custom_metrics {
    const char *app;
    struct custom_metric *items;
    size_t count;
    uint32_t by_any;     /* fed by messages of any type */
    struct u64map types; /* hash → feed */
    struct feed *feeds;
    size_t feed_count;
    struct json_pointer pointers[JSON_POINTERS_MAX];
    struct str pointer_texts[JSON_POINTERS_MAX]; /* as configured */
    char *pointer_copies;                        /* which the pointers borrow from */
    size_t pointer_count;
};

/* ---- from settings ---- */

/* The configuration fills the table, so no peer chooses what is in it and any key will do. */
static uint64_t hash_of(struct str type)
{
    static const struct siphash_key key;
    return siphash(&key, type.ptr, type.len);
}

static int add_feed(struct custom_metrics *metrics, struct str type, uint32_t metric)
{
    uint64_t *place = u64map_put(&metrics->types, hash_of(type));
    if (!place) {
        return ERR_NO_MEMORY;
    }
    if (*place == 0) {
        metrics->feeds[metrics->feed_count++].type = type;
        *place = metrics->feed_count;
    }
    metrics->feeds[*place - 1].metrics |= metric;
    return 0;
}

static int add_feeds(struct custom_metrics *metrics, const struct settings_custom *custom,
                     uint32_t metric)
{
    int err = 0;
    for (size_t i = 0; i < custom->type_count && !err; i++) {
        err = add_feed(metrics, custom->types[i], metric);
    }
    metrics->by_any |= custom->type_count == 0 ? metric : 0;
    return err;
}

/* The place of the pointer; the configuration has seen that there is room and that it reads. */
static uint8_t add_field(struct custom_metrics *metrics, struct str field)
{
    size_t i = 0;
    while (i < metrics->pointer_count && !str_equal(metrics->pointer_texts[i], field)) {
        i++;
    }
    if (i == metrics->pointer_count) {
        ASSERT(i < JSON_POINTERS_MAX);
        char *copy = metrics->pointer_copies + i * JSON_POINTER_BYTES;
        memcpy(copy, field.ptr, field.len);
        int err = json_pointer_read(&metrics->pointers[i], copy, field.len);
        ASSERT(!err);
        metrics->pointer_texts[i] = field;
        metrics->pointer_count++;
    }
    return (uint8_t)i;
}

static void add_fields(struct custom_metrics *metrics, struct custom_metric *item)
{
    const struct settings_custom *is = item->is;
    item->value_field = NO_FIELD;
    if (is->value.len > 0) {
        item->value_field = add_field(metrics, is->value);
        item->fields |= 1ull << item->value_field;
    }
    for (size_t i = 0; i < is->label_count; i++) {
        item->label_fields[i] = add_field(metrics, is->labels[i].field);
        item->fields |= 1ull << item->label_fields[i];
    }
}

static struct metric *series_at(const struct custom_metrics *metrics,
                                const struct custom_metric *item, size_t set, bool is_time);

/* A counter or histogram without labels is seen from the start: its first event is an increase. */
static int add_item(struct custom_metrics *metrics, const struct settings_custom *custom)
{
    struct custom_metric *item = &metrics->items[metrics->count];
    uint32_t bit = 1u << metrics->count++;
    item->is = custom;
    item->family = custom_family_get(metrics->app, custom);
    item->time_family = custom->kind == SETTINGS_GAUGE
                            ? custom_family_get_time(metrics->app, custom)
                            : NULL;
    item->sets = mem_zalloc(sizeof(*item->sets) * settings_custom_sets(custom));
    if (!item->family || !item->sets || (custom->kind == SETTINGS_GAUGE && !item->time_family)) {
        return ERR_NO_MEMORY;
    }
    add_fields(metrics, item);
    if (custom->label_count == 0 && custom->kind != SETTINGS_GAUGE) {
        series_at(metrics, item, 0, false);
    }
    return add_feeds(metrics, custom, bit);
}

static size_t count_types(const struct settings_metrics *settings)
{
    size_t count = 0;
    for (size_t i = 0; i < settings->custom_count; i++) {
        count += settings->custom[i].type_count;
    }
    return count;
}

int custom_metrics_create(struct custom_metrics **out_metrics,
                          const struct settings_metrics *settings, const char *app)
{
    struct custom_metrics *metrics = mem_zalloc(sizeof(*metrics));
    if (!metrics) {
        return ERR_NO_MEMORY;
    }
    metrics->app = app;
    metrics->items = mem_zalloc(sizeof(*metrics->items) * settings->custom_count);
    metrics->feeds = mem_zalloc(sizeof(*metrics->feeds) * (count_types(settings) + 1));
    metrics->pointer_copies = mem_alloc((size_t)JSON_POINTERS_MAX * JSON_POINTER_BYTES);
    int err = metrics->items && metrics->feeds && metrics->pointer_copies ? 0 : ERR_NO_MEMORY;
    for (size_t i = 0; i < settings->custom_count && !err; i++) {
        err = add_item(metrics, &settings->custom[i]);
    }
    if (err) {
        custom_metrics_destroy(metrics);
        return err;
    }
    *out_metrics = metrics;
    return 0;
}

void custom_metrics_destroy(struct custom_metrics *metrics)
{
    if (!metrics) {
        return;
    }
    for (size_t i = 0; i < metrics->count; i++) {
        mem_free(metrics->items[i].sets);
    }
    u64map_fini(&metrics->types);
    mem_free(metrics->items);
    mem_free(metrics->feeds);
    mem_free(metrics->pointer_copies);
    mem_free(metrics);
}

void custom_metrics_want(const struct custom_metrics *metrics)
{
    for (size_t i = 0; i < metrics->count; i++) {
        custom_families_want(metrics->items[i].family);
        if (metrics->items[i].time_family) {
            custom_families_want(metrics->items[i].time_family);
        }
    }
}

/* ---- series ---- */

/* The values of a set, whose number has a digit a label. */
static struct metric *make_series(const struct custom_metrics *metrics,
                                  const struct custom_metric *item, size_t set, bool is_time)
{
    const char *values[METRIC_MAX_LABELS] = {metrics->app};
    for (size_t i = 0; i < item->is->label_count; i++) {
        const struct settings_custom_label *label = &item->is->labels[i];
        size_t value = set % (label->value_count + 1);
        set /= label->value_count + 1;
        values[1 + i] = value < label->value_count ? label->values[value].ptr : "other";
    }
    return metric_series_with(is_time ? item->time_family : item->family, values,
                              1 + item->is->label_count);
}

/* Two threads that make it find the same one. */
static struct metric *series_at(const struct custom_metrics *metrics,
                                const struct custom_metric *item, size_t set, bool is_time)
{
    series_place *place = is_time ? &item->sets[set].time : &item->sets[set].value;
    struct metric *series = atomic_load_explicit(place, memory_order_acquire);
    if (!series) {
        series = make_series(metrics, item, set, is_time);
        atomic_store_explicit(place, series, memory_order_release);
    }
    return series;
}

static struct metric *failure_series(const struct custom_metrics *metrics,
                                     struct custom_metric *item, enum failure failure)
{
    static const char *const reasons[FAILURES] = {
        [NO_JSON] = "no_json",     [MISSING] = "missing",   [NOT_A_NUMBER] = "not_a_number",
        [TOO_LARGE] = "too_large", [NEGATIVE] = "negative", [LABEL] = "label"};
    series_place *place = &item->failures[failure];
    struct metric *series = atomic_load_explicit(place, memory_order_acquire);
    if (!series) {
        series = SERIES(custom_metric_errors_total, metrics->app, item->is->name.ptr,
                        reasons[failure]);
        atomic_store_explicit(place, series, memory_order_release);
    }
    return series;
}

/* ---- from a push ---- */

static uint32_t metrics_fed_by(const struct custom_metrics *metrics, struct str type)
{
    const uint64_t *place = metrics->types.count && type.len
                                ? u64map_find(&metrics->types, hash_of(type))
                                : NULL;
    const struct feed *feed = place ? &metrics->feeds[*place - 1] : NULL;
    return metrics->by_any | (feed && str_equal(feed->type, type) ? feed->metrics : 0);
}

static enum failure read_value(const struct custom_metric *item, bool is_json,
                               const struct json_value *values, double *out_value)
{
    *out_value = 1;
    if (item->value_field != NO_FIELD) {
        struct json_value value = values[item->value_field];
        if (!is_json || value.type == JSON_TYPE_NONE || value.type == JSON_TYPE_NULL) {
            return is_json ? MISSING : NO_JSON;
        }
        if (!json_double(value, out_value)) {
            return NOT_A_NUMBER;
        }
    }
    *out_value *= item->is->scale;
    if (!(fabs(*out_value) <= value_max)) {
        return TOO_LARGE;
    }
    return item->is->kind != SETTINGS_GAUGE && *out_value < 0 ? NEGATIVE : NO_FAILURE;
}

/* A text as it reads, a number and true or false as they are written. */
static bool read_label(struct json_value value, char scratch[SETTINGS_LABEL_BYTES],
                       struct str *out_text)
{
    switch (value.type) {
    case JSON_TYPE_STRING:
        if (json_string_text(value, scratch, SETTINGS_LABEL_BYTES, out_text)) {
            *out_text = STR(""); /* longer than any that is listed */
        }
        return true;
    case JSON_TYPE_NUMBER:
    case JSON_TYPE_TRUE:
    case JSON_TYPE_FALSE: *out_text = value.raw; return true;
    default: return false;
    }
}

static size_t find_value(const struct settings_custom_label *label, struct str text)
{
    size_t i = 0;
    while (i < label->value_count && !str_equal(label->values[i], text)) {
        i++;
    }
    return i;
}

/* The number of the set of label values; *out_failed when a label has none. */
static size_t read_set(const struct custom_metric *item, const struct json_value *values,
                       bool *out_failed)
{
    size_t set = 0;
    *out_failed = false;
    for (size_t i = item->is->label_count; i > 0; i--) {
        const struct settings_custom_label *label = &item->is->labels[i - 1];
        char scratch[SETTINGS_LABEL_BYTES];
        struct str text = STR("");
        if (!read_label(values[item->label_fields[i - 1]], scratch, &text)) {
            *out_failed = true;
        }
        set = set * (label->value_count + 1) + find_value(label, text);
    }
    return set;
}

/* One that any message feeds takes those that have its value, so others are no mistake. */
static bool is_worth_telling(const struct custom_metric *item, enum failure failure)
{
    return item->is->type_count > 0 || (failure != MISSING && failure != NO_JSON);
}

static size_t read_item(const struct custom_metrics *metrics, struct custom_metric *item,
                        bool is_json, const struct json_value *values, struct custom_reading *out)
{
    double value;
    enum failure failure = read_value(item, is_json, values, &value);
    if (failure) {
        if (!is_worth_telling(item, failure)) {
            return 0;
        }
        out[0] = (struct custom_reading){.series = failure_series(metrics, item, failure)};
        return 1;
    }
    bool label_failed;
    size_t set = read_set(item, values, &label_failed);
    out[0] = (struct custom_reading){series_at(metrics, item, set, false),
                                     item->time_family ? series_at(metrics, item, set, true) : NULL,
                                     value};
    if (label_failed) {
        out[1] = (struct custom_reading){.series = failure_series(metrics, item, LABEL)};
    }
    return label_failed ? 2 : 1;
}

size_t custom_metrics_read(struct custom_metrics *metrics, struct str type, struct str json,
                           struct custom_reading out_readings[CUSTOM_READINGS_MAX])
{
    struct json_value values[JSON_POINTERS_MAX];
    uint32_t fed = metrics_fed_by(metrics, type);
    uint64_t fields = 0;
    size_t count = 0;
    for (uint32_t rest = fed; rest; rest &= rest - 1) {
        fields |= metrics->items[__builtin_ctz(rest)].fields;
    }
    json_pointers_find(metrics->pointers, fields, json, values);
    for (uint32_t rest = fed; rest; rest &= rest - 1) {
        count += read_item(metrics, &metrics->items[__builtin_ctz(rest)], json.len > 0, values,
                           out_readings + count);
    }
    return count;
}

static void count_one(const struct custom_reading *reading)
{
    const struct metric_family *family = metric_family_of(reading->series);
    if (!family->is_real) {
        metric_add(reading->series, 1); /* an error, or there was no room for the series */
        return;
    }
    switch (family->kind) {
    case METRIC_COUNTER: metric_add_real(reading->series, reading->value); break;
    case METRIC_HISTOGRAM: metric_observe(reading->series, reading->value); break;
    case METRIC_GAUGE: metric_set(reading->series, reading->value); break;
    }
}

void custom_readings_count(const struct custom_reading *readings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        count_one(&readings[i]);
        if (readings[i].time) {
            struct custom_reading now = {readings[i].time, NULL, (double)clock_wall_ms() / 1000};
            count_one(&now);
        }
    }
}
