#include "server/meter.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "base/u64map.h"
#include "server/families.h"
#include "server/stats.h"

/* Rows of the table of accepted pushes: the types of the allow-list behind these. */
enum { ROW_NONE, ROW_OTHER, ROWS_FIXED };

typedef _Atomic(struct metric *) series_place;

struct meter {
    const struct settings_app *app;
    const char *label;
    struct u64map types;                     /* hash → row */
    struct custom_metrics *custom;           /* NULL: none */
    series_place (*accepted)[METER_TARGETS]; /* by row; each made when it is needed first */
};

/* The configuration fills the table, so no peer chooses what is in it and any key will do. */
static uint64_t hash_of(struct str type)
{
    static const struct siphash_key key;
    return siphash(&key, type.ptr, type.len);
}

static int add_custom(struct meter *meter, const char *name)
{
    const struct settings_metrics *metrics = &meter->app->metrics;
    return metrics->custom_count ? custom_metrics_create(&meter->custom, metrics, name) : 0;
}

static int add_types(struct meter *meter)
{
    const struct settings_metrics *metrics = &meter->app->metrics;
    for (size_t i = 0; i < metrics->type_count; i++) {
        uint64_t *row = u64map_put(&meter->types, hash_of(metrics->types[i]));
        if (!row) {
            return ERR_NO_MEMORY;
        }
        *row = ROWS_FIXED + i;
    }
    return 0;
}

int meter_create(struct meter **out_meter, const struct settings_app *app, const char *name,
                 uint16_t id)
{
    struct meter *meter = mem_zalloc(sizeof(*meter));
    if (!meter) {
        return ERR_NO_MEMORY;
    }
    meter->app = app;
    meter->label = stats_app_label(name, id);
    meter->accepted = mem_zalloc(sizeof(*meter->accepted) * (ROWS_FIXED + app->metrics.type_count));
    int err = meter->accepted ? add_types(meter) : ERR_NO_MEMORY;
    err = err ? err : add_custom(meter, name);
    if (err) {
        meter_destroy(meter);
        return err;
    }
    *out_meter = meter;
    return 0;
}

void meter_destroy(struct meter *meter)
{
    if (meter) {
        custom_metrics_destroy(meter->custom);
        u64map_fini(&meter->types);
        mem_free(meter->accepted);
        mem_free(meter);
    }
}

static size_t row_of(const struct meter *meter, struct str type)
{
    if (type.len == 0) {
        return ROW_NONE;
    }
    const uint64_t *row = meter->types.count ? u64map_find(&meter->types, hash_of(type)) : NULL;
    bool is_listed = row && str_equal(meter->app->metrics.types[*row - ROWS_FIXED], type);
    return is_listed ? *row : ROW_OTHER;
}

static const char *row_label(const struct meter *meter, size_t row)
{
    switch (row) {
    case ROW_NONE: return "none";
    case ROW_OTHER: return "other";
    default: return meter->app->metrics.types[row - ROWS_FIXED].ptr;
    }
}

struct metric *meter_accepted(struct meter *meter, enum meter_target target, struct str type)
{
    static const char *const targets[METER_TARGETS] = {"user",   "group", "session",
                                                       "ticket", "all",   "several"};
    size_t row = row_of(meter, type);
    series_place *place = &meter->accepted[row][target];
    struct metric *series = atomic_load_explicit(place, memory_order_acquire);
    if (!series) { /* two threads find the same one */
        series = SERIES(messages_accepted_total, meter->label, targets[target],
                        row_label(meter, row));
        atomic_store_explicit(place, series, memory_order_release);
    }
    return series;
}

struct custom_metrics *meter_custom(struct meter *meter)
{
    return meter->custom;
}
