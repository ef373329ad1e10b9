#include "app/config_metrics.h"

#include "app/config_material.h"
#include "app/config_read.h"
#include "app/config_units.h"
#include "base/err.h"
#include "base/metrics.h"
#include "proto/json_pointer.h"
#include "server/custom_family.h"

/* --- Numbers with a fraction --- */

static bool read_real(struct config_reader *reader, const struct config_node *node,
                      const char *expected, double *out_value)
{
    bool good = node->kind == CONFIG_NODE_SCALAR && !node->is_null &&
                config_real_parse(node->text, out_value) == 0;
    if (!good) {
        config_read_expected(reader, node, expected);
    }
    return good;
}

void config_scale_read(struct config_reader *reader, const struct config_key *key,
                       const struct config_node *node, void *object)
{
    struct settings_custom *custom = object;
    double scale;
    if (read_real(reader, node, "a number such as 0.001", &scale)) {
        custom->scale = scale;
        if (scale == 0) {
            config_read_expected(reader, node, "a number that is not 0");
        }
    }
}

static void read_buckets(struct config_reader *reader, const struct config_node *node,
                         double *buckets)
{
    size_t i = 0;
    for (const struct config_node *item = node->first; item; item = item->next, i++) {
        if (!read_real(reader, item, "a number such as 0.5", &buckets[i])) {
            return;
        }
        if (i > 0 && buckets[i] <= buckets[i - 1]) {
            config_read_expected(reader, item, "a number larger than the one before");
            return;
        }
    }
}

void config_buckets_read(struct config_reader *reader, const struct config_key *key,
                         const struct config_node *node, void *object)
{
    struct settings_custom *custom = object;
    size_t count = 0;
    for (const struct config_node *item = node->first; item; item = item->next) {
        count++;
    }
    if (node->kind != CONFIG_NODE_LIST || count == 0 || count > METRIC_MAX_BOUNDS) {
        config_read_mistake(reader, node->place, "expected a list of 1 to %d numbers",
                            METRIC_MAX_BOUNDS);
        return;
    }
    custom->buckets = settings_array(reader->settings, count, sizeof(*custom->buckets));
    if (!custom->buckets) {
        reader->err = ERR_NO_MEMORY;
        return;
    }
    custom->bucket_count = count;
    read_buckets(reader, node, custom->buckets);
}

/* --- One metric --- */

/* The index of the first text that equals an earlier one; count when there is none. */
static size_t find_repeated(const struct str *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (texts[i].len > 0 && str_equal(texts[i], texts[j])) {
                return i;
            }
        }
    }
    return count;
}

static void refuse_repeated(struct config_reader *reader, const struct config_node *node,
                            const char *key, const struct str *texts, size_t count)
{
    size_t i = find_repeated(texts, count);
    if (i < count) {
        char quoted[CONFIG_QUOTE_MAX];
        config_read_mistake(reader, config_tree_place(node, str_of(key)),
                            "%s stands twice in \"%s\"", config_quote(texts[i], quoted), key);
    }
}

void config_custom_label_finish(struct config_reader *reader, const struct config_node *node,
                                void *object)
{
    const struct settings_custom_label *label = object;
    refuse_repeated(reader, node, "values", label->values, label->value_count);
    for (size_t i = 0; i < label->value_count; i++) {
        if (str_equal(label->values[i], STR("other"))) {
            config_read_mistake(reader, config_tree_place(node, STR("values")),
                                "\"other\" is what all values are that are not listed");
        }
    }
}

static bool ends_with_any(struct str text, const char *const *endings)
{
    for (; *endings; endings++) {
        if (str_ends_with(text, str_of(*endings))) {
            return true;
        }
    }
    return false;
}

/* Prometheus: _total is for counters, and the others are what a histogram is shown as. */
static void check_name(struct config_reader *reader, const struct config_node *node,
                       const struct settings_custom *custom)
{
    static const char *const taken[] = {"_total", "_bucket", "_sum", "_count", NULL};
    struct config_place place = config_tree_place(node, STR("name"));
    if (custom->name.len == 0) {
        return; /* a mistake by itself */
    }
    if (custom->kind == SETTINGS_COUNTER && !str_ends_with(custom->name, STR("_total"))) {
        config_read_mistake(reader, place,
                            "expected a name that ends in \"_total\", as of all counters");
    } else if (custom->kind != SETTINGS_COUNTER && ends_with_any(custom->name, taken)) {
        config_read_mistake(
            reader, place,
            "expected a name without \"_total\", \"_bucket\", \"_sum\" or \"_count\" "
            "at its end, as of no counter");
    }
}

static void check_parts(struct config_reader *reader, const struct config_node *node,
                        const struct settings_custom *custom)
{
    bool has_value = custom->value.len > 0;
    if (custom->kind != SETTINGS_COUNTER && !has_value) {
        config_read_mistake(reader, node->place,
                            "expected \"value\": what is counted of a message");
    } else if (!has_value && custom->type_count == 0) {
        config_read_mistake(reader, node->place,
                            "expected \"types\" or \"value\": which messages are counted");
    }
    if (!has_value && config_tree_child(node, STR("scale"))) {
        config_read_mistake(reader, config_tree_place(node, STR("scale")),
                            "expected \"value\" beside it");
    }
    if ((custom->kind == SETTINGS_HISTOGRAM) != (config_tree_child(node, STR("buckets")) != NULL)) {
        config_read_mistake(reader, config_tree_place(node, STR("buckets")),
                            custom->kind == SETTINGS_HISTOGRAM
                                ? "expected \"buckets\" of a histogram"
                                : "expected \"buckets\" of a histogram alone");
    }
}

static void check_labels(struct config_reader *reader, const struct config_node *node,
                         const struct settings_custom *custom)
{
    struct str names[SETTINGS_CUSTOM_LABELS_MAX];
    for (size_t i = 0; i < custom->label_count; i++) {
        names[i] = custom->labels[i].name;
    }
    refuse_repeated(reader, node, "labels", names, custom->label_count);
    if (settings_custom_sets(custom) > SETTINGS_CUSTOM_SETS_MAX) {
        config_read_mistake(reader, config_tree_place(node, STR("labels")),
                            "expected at most %d sets of label values, got %llu",
                            SETTINGS_CUSTOM_SETS_MAX,
                            (unsigned long long)settings_custom_sets(custom));
    }
}

void config_custom_finish(struct config_reader *reader, const struct config_node *node,
                          void *object)
{
    struct settings_custom *custom = object;
    if (!config_tree_child(node, STR("scale"))) {
        custom->scale = 1;
    }
    check_name(reader, node, custom);
    check_parts(reader, node, custom);
    check_labels(reader, node, custom);
    refuse_repeated(reader, node, "types", custom->types, custom->type_count);
}

/* --- The metrics of one app --- */

static size_t add_field(struct str *fields, size_t count, struct str field)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal(fields[i], field)) {
            return count;
        }
    }
    fields[count] = field;
    return count + 1;
}

static size_t count_fields(const struct settings_metrics *metrics)
{
    struct str fields[SETTINGS_CUSTOM_MAX * (SETTINGS_CUSTOM_LABELS_MAX + 1)];
    size_t count = 0;
    for (size_t i = 0; i < metrics->custom_count; i++) {
        const struct settings_custom *custom = &metrics->custom[i];
        if (custom->value.len > 0) {
            count = add_field(fields, count, custom->value);
        }
        for (size_t k = 0; k < custom->label_count; k++) {
            count = add_field(fields, count, custom->labels[k].field);
        }
    }
    return count;
}

void config_metrics_finish(struct config_reader *reader, const struct config_node *node,
                           void *object)
{
    const struct settings_metrics *metrics = object;
    refuse_repeated(reader, node, "types", metrics->types, metrics->type_count);
    size_t fields = count_fields(metrics);
    if (fields > JSON_POINTERS_MAX) {
        config_read_mistake(reader, config_tree_place(node, STR("custom")),
                            "expected at most %d different fields, got %zu", JSON_POINTERS_MAX,
                            fields);
    }
}

/* --- Among apps --- */

/* One metric and where it stands. */
struct defined {
    size_t app, index;
    const struct settings_custom *custom;
};

static const struct config_node *nth_child(const struct config_node *list, size_t n)
{
    const struct config_node *child = list ? list->first : NULL;
    while (child && n > 0) {
        child = child->next;
        n--;
    }
    return child;
}

static void refuse_name(struct config_reader *reader, const struct config_tree *tree,
                        const struct defined *defined, const char *why)
{
    const struct config_node *app = nth_child(config_tree_find(tree, STR("apps")), defined->app);
    const struct config_node *metrics = app ? config_tree_child(app, STR("metrics")) : NULL;
    const struct config_node *list = metrics ? config_tree_child(metrics, STR("custom")) : NULL;
    const struct config_node *item = nth_child(list, defined->index);
    size_t before = config_read_enter(reader, "apps[%zu].metrics.custom[%zu].name", defined->app,
                                      defined->index);
    config_read_mistake(
        reader, item ? config_tree_place(item, STR("name")) : (struct config_place){0}, "%s", why);
    config_read_leave(reader, before);
}

static bool same_labels(const struct settings_custom *a, const struct settings_custom *b)
{
    for (size_t i = 0; a->label_count == b->label_count && i < a->label_count; i++) {
        if (!str_equal(a->labels[i].name, b->labels[i].name)) {
            return false;
        }
    }
    return a->label_count == b->label_count;
}

static bool same_buckets(const struct settings_custom *a, const struct settings_custom *b)
{
    return a->bucket_count == b->bucket_count &&
           (a->bucket_count == 0 ||
            memcmp(a->buckets, b->buckets, a->bucket_count * sizeof(*a->buckets)) == 0);
}

/* Is name that of the gauge beside this gauge? */
static bool is_time_of(const struct settings_custom *gauge, struct str name)
{
    size_t len = gauge->name.len;
    return gauge->kind == SETTINGS_GAUGE && name.len > len &&
           memcmp(name.ptr, gauge->name.ptr, len) == 0 &&
           str_equal(str_make(name.ptr + len, name.len - len), STR(CUSTOM_FAMILY_TIME));
}

/* earlier: defined before one, in the order of the file. */
static void compare(struct config_reader *reader, const struct config_tree *tree,
                    const struct defined *one, const struct defined *earlier)
{
    const struct settings_custom *a = one->custom;
    const struct settings_custom *b = earlier->custom;
    if (is_time_of(a, b->name) || is_time_of(b, a->name)) {
        refuse_name(reader, tree, one,
                    "collides with what is shown beside a gauge: when it was set");
    }
    if (a->name.len == 0 || !str_equal(a->name, b->name)) {
        return;
    }
    if (one->app == earlier->app) {
        refuse_name(reader, tree, one, "two metrics of the app have the same name");
    } else if (a->kind != b->kind || !same_labels(a, b) || !same_buckets(a, b)) {
        refuse_name(reader, tree, one,
                    "another app has a metric of this name: expected the same kind, labels and "
                    "buckets");
    }
}

static void compare_with_earlier(struct config_reader *reader, const struct config_tree *tree,
                                 const struct defined *one)
{
    const struct settings *settings = reader->settings;
    struct defined earlier = {0};
    for (; earlier.app <= one->app; earlier.app++) {
        const struct settings_metrics *metrics = &settings->apps[earlier.app].metrics;
        size_t count = earlier.app == one->app ? one->index : metrics->custom_count;
        for (earlier.index = 0; earlier.index < count; earlier.index++) {
            earlier.custom = &metrics->custom[earlier.index];
            compare(reader, tree, one, &earlier);
        }
    }
}

void config_metrics_check(struct config_reader *reader, const struct config_tree *tree)
{
    const struct settings *settings = reader->settings;
    struct defined one = {0};
    uint64_t series = 0;
    for (; one.app < settings->app_count; one.app++) {
        const struct settings_metrics *metrics = &settings->apps[one.app].metrics;
        for (one.index = 0; one.index < metrics->custom_count; one.index++) {
            one.custom = &metrics->custom[one.index];
            series += settings_custom_series(one.custom);
            compare_with_earlier(reader, tree, &one);
        }
    }
    if (series > settings->limits.custom_series) {
        const struct config_node *apps = config_tree_find(tree, STR("apps"));
        config_report_add(
            reader->report, false, apps ? apps->place : (struct config_place){0}, STR("apps"),
            "the metrics of all apps can have %llu series; expected at most "
            "limits.custom_series, %llu",
            (unsigned long long)series, (unsigned long long)settings->limits.custom_series);
    }
}
