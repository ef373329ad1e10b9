#include "server/families.h"

#define LABELS(...) \
    {               \
        __VA_ARGS__ \
    }
#define DECLARE(kind_, name_, labels_, help_, ...)  \
    [FAMILY_##name_] = {.kind = (kind_),            \
                        .name = "tidegate_" #name_, \
                        .labels = LABELS labels_,   \
                        .help = (help_),            \
                        .more = "" __VA_ARGS__},

/* Of how many there are. */
static const double sizes[] = {0,    1,    2,    5,     10,    20,    50,     100,    200,    500,
                               1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1e6};

const struct metric_family families[FAMILIES] = {
#define TEXT(text)
#define SECTION(title)
#define COUNTER(...) DECLARE(METRIC_COUNTER, __VA_ARGS__)
#define GAUGE(...) DECLARE(METRIC_GAUGE, __VA_ARGS__)
#define HISTOGRAM(...) DECLARE(METRIC_HISTOGRAM, __VA_ARGS__)
#define PROCESS(kind_, name_, help_, ...) \
    [FAMILY_##name_] = {.kind = (kind_), .name = #name_, .help = (help_), .more = "" __VA_ARGS__},
#define SIZES(name_, labels_, help_, ...)           \
    [FAMILY_##name_] = {.kind = METRIC_HISTOGRAM,   \
                        .name = "tidegate_" #name_, \
                        .labels = LABELS labels_,   \
                        .help = (help_),            \
                        .more = "" __VA_ARGS__,     \
                        .is_real = true,            \
                        .bounds = sizes,            \
                        .bound_count = sizeof(sizes) / sizeof(sizes[0])},
#define BASE(name)
#include "server/families.def"
#undef TEXT
#undef SECTION
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
#undef SIZES
#undef PROCESS
#undef BASE
};

/* What the page has, one after the other; one of the three is set. */
static const struct item {
    const char *section;
    const char *text;
    const struct metric_family *family;
} items[] = {
#define TEXT(text_) {.text = (text_)},
#define SECTION(title) {.section = (title)},
#define COUNTER(name, ...) {.family = FAMILY(name)},
#define GAUGE(name, ...) {.family = FAMILY(name)},
#define HISTOGRAM(name, ...) {.family = FAMILY(name)},
#define SIZES(name, ...) {.family = FAMILY(name)},
#define PROCESS(kind, name, ...) {.family = FAMILY(name)},
#define BASE(name) {.family = &(name)},
#include "server/families.def"
};

enum { ITEMS = sizeof(items) / sizeof(items[0]) };

void families_visit(void (*visit)(void *arg, const char *section,
                                  const struct metric_family *family),
                    void *arg)
{
    const char *section = NULL;
    for (size_t i = 0; i < ITEMS; i++) {
        section = items[i].section ? items[i].section : section;
        if (items[i].family) {
            visit(arg, section, items[i].family);
        }
    }
}

static void write_row(struct buf *out, const struct metric_family *family)
{
    buf_printf(out, "| `%s` | %s |", family->name, metric_kind_name(family->kind));
    for (size_t i = 0; i < metric_label_count(family); i++) {
        buf_printf(out, "%s `%s`", i ? "," : "", family->labels[i]);
    }
    buf_printf(out, " | %s%s%s |\n", family->help, family->more[0] ? " " : "", family->more);
}

static void write_item(struct buf *out, const struct item *item, bool follows_row)
{
    if (item->section) {
        buf_printf(out, "\n## %s\n", item->section);
    } else if (item->text) {
        buf_printf(out, "\n%s\n", item->text);
    } else {
        if (!follows_row) {
            buf_append_str(out, STR("\n| metric | kind | labels | meaning |\n|---|---|---|---|\n"));
        }
        write_row(out, item->family);
    }
}

void families_write_markdown(struct buf *out)
{
    buf_append_str(out, STR("# Metrics\n"));
    for (size_t i = 0; i < ITEMS; i++) {
        write_item(out, &items[i], i > 0 && items[i - 1].family);
    }
}
