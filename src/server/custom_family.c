#include "server/custom_family.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

_Static_assert((int)SETTINGS_CUSTOM_LABELS_MAX < (int)METRIC_MAX_LABELS, "and app");

struct custom_family {
    struct metric_family is; /* its texts and bounds are owned */
    char *app;
    struct custom_family *next;
    bool is_wanted;
};

static struct custom_family *families;

static bool same_labels(const struct metric_family *family, const struct settings_custom *custom)
{
    for (size_t i = 0; i < custom->label_count; i++) {
        if (!str_equal(str_of(family->labels[1 + i]), custom->labels[i].name)) {
            return false;
        }
    }
    return metric_label_count(family) == 1 + custom->label_count;
}

static bool same_bounds(const struct metric_family *family, const double *bounds, size_t count)
{
    return family->bound_count == count &&
           (count == 0 || memcmp(family->bounds, bounds, count * sizeof(*bounds)) == 0);
}

static char *copy(struct str text)
{
    return mem_strndup(text.len ? text.ptr : "", text.len);
}

static void destroy(struct custom_family *family)
{
    for (size_t i = 0; i < METRIC_MAX_LABELS; i++) {
        mem_free((void *)family->is.labels[i]);
    }
    mem_free((void *)family->is.name);
    mem_free((void *)family->is.help);
    mem_free((void *)family->is.bounds);
    mem_free(family->app);
    mem_free(family);
}

static bool fill(struct custom_family *family, const char *app,
                 const struct settings_custom *custom, const char *name, const char *help)
{
    bool good = (family->app = copy(str_of(app))) && (family->is.name = copy(str_of(name))) &&
                (family->is.help = copy(str_of(help))) && (family->is.labels[0] = copy(STR("app")));
    for (size_t i = 0; good && i < custom->label_count; i++) {
        family->is.labels[1 + i] = copy(custom->labels[i].name);
        good = family->is.labels[1 + i] != NULL;
    }
    if (good && family->is.bound_count > 0) {
        size_t bytes = family->is.bound_count * sizeof(double);
        double *bounds = mem_alloc(bytes);
        good = bounds != NULL;
        family->is.bounds = good ? memcpy(bounds, custom->buckets, bytes) : NULL;
    }
    return good;
}

static struct custom_family *make(const char *app, const struct settings_custom *custom,
                                  enum metric_kind kind, const char *name, const char *help)
{
    struct custom_family *family = mem_zalloc(sizeof(*family));
    if (!family) {
        return NULL;
    }
    family->is.kind = kind;
    family->is.more = "";
    family->is.is_real = true;
    family->is.is_custom = true;
    family->is.bound_count = kind == METRIC_HISTOGRAM ? custom->bucket_count : 0;
    if (!fill(family, app, custom, name, help)) {
        destroy(family);
        return NULL;
    }
    family->next = families;
    families = family;
    return family;
}

static const struct metric_family *get(const char *app, const struct settings_custom *custom,
                                       enum metric_kind kind, const char *name, const char *help)
{
    size_t bounds = kind == METRIC_HISTOGRAM ? custom->bucket_count : 0;
    struct custom_family *family = families;
    for (; family; family = family->next) {
        if (family->is.kind == kind && strcmp(family->is.name, name) == 0 &&
            strcmp(family->app, app) == 0 && strcmp(family->is.help, help) == 0 &&
            same_labels(&family->is, custom) && same_bounds(&family->is, custom->buckets, bounds)) {
            return &family->is;
        }
    }
    family = make(app, custom, kind, name, help);
    return family ? &family->is : NULL;
}

enum { NAME_BYTES = 128, HELP_BYTES = 1100 };

const struct metric_family *custom_family_get(const char *app, const struct settings_custom *custom)
{
    static const enum metric_kind kinds[] = {[SETTINGS_COUNTER] = METRIC_COUNTER,
                                             [SETTINGS_GAUGE] = METRIC_GAUGE,
                                             [SETTINGS_HISTOGRAM] = METRIC_HISTOGRAM};
    char name[NAME_BYTES];
    char help[HELP_BYTES];
    snprintf(name, sizeof(name), SETTINGS_CUSTOM_PREFIX "%.*s", STR_ARG(custom->name));
    snprintf(help, sizeof(help), "%.*s", STR_ARG(custom->help));
    return get(app, custom, kinds[custom->kind], name, help);
}

const struct metric_family *custom_family_get_time(const char *app,
                                                   const struct settings_custom *custom)
{
    char name[NAME_BYTES];
    char help[HELP_BYTES];
    snprintf(name, sizeof(name), SETTINGS_CUSTOM_PREFIX "%.*s" CUSTOM_FAMILY_TIME,
             STR_ARG(custom->name));
    snprintf(help, sizeof(help), "When " SETTINGS_CUSTOM_PREFIX "%.*s was set, Unix time.",
             STR_ARG(custom->name));
    return get(app, custom, METRIC_GAUGE, name, help);
}

void custom_families_begin(void)
{
    for (struct custom_family *family = families; family; family = family->next) {
        family->is_wanted = false;
    }
}

void custom_families_want(const struct metric_family *family)
{
    struct custom_family *wanted = (struct custom_family *)((char *)family -
                                                            offsetof(struct custom_family, is));
    wanted->is_wanted = true;
}

/* Hides first: of one name no two that differ may be seen. */
void custom_families_end(void)
{
    for (struct custom_family *family = families; family; family = family->next) {
        if (!family->is_wanted) {
            metrics_show_family(&family->is, false);
        }
    }
    for (struct custom_family *family = families; family; family = family->next) {
        if (family->is_wanted) {
            metrics_show_family(&family->is, true);
        }
    }
}
