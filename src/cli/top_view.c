#include "cli/top_view.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/api_client.h"
#include "cli/table.h"

enum {
    NAME_MAX_BYTES = 256,
    SAMPLED_COLUMNS = 8, /* of a node: those that it tells itself */
};

static const struct {
    char key;
    const char *name;
} sorts[TOP_SORTS] = {
    [TOP_BY_NAME] = {'n', "name"},       [TOP_BY_CONNECTIONS] = {'c', "connections"},
    [TOP_BY_USERS] = {'u', "users"},     [TOP_BY_ACCEPTED] = {'a', "accepted"},
    [TOP_BY_WRITTEN] = {'w', "written"}, [TOP_BY_DROPPED] = {'d', "dropped"},
};

bool top_sort_of_key(char key, enum top_sort *out_sort)
{
    for (int i = 0; i < TOP_SORTS; i++) {
        if (sorts[i].key == key) {
            *out_sort = (enum top_sort)i;
            return true;
        }
    }
    return false;
}

/* ---- rows in their order ---- */

struct row {
    struct json_value item;
    struct json_value stats;
    char name[NAME_MAX_BYTES];
    double rank; /* the largest first */
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *left = a;
    const struct row *right = b;
    if (left->rank != right->rank) {
        return left->rank > right->rank ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

static double rank_of(struct json_value stats, enum top_sort sort)
{
    static const char *const rates[TOP_SORTS] = {
        [TOP_BY_ACCEPTED] = "accepted", [TOP_BY_WRITTEN] = "written", [TOP_BY_DROPPED] = "dropped"};
    switch (sort) {
    case TOP_BY_CONNECTIONS: return api_real(api_member(stats, "connections"), "total");
    case TOP_BY_USERS: return api_real(stats, "users");
    case TOP_BY_ACCEPTED:
    case TOP_BY_WRITTEN:
    case TOP_BY_DROPPED: return api_real(api_member(stats, "rates"), rates[sort]);
    default: return 0;
    }
}

/* The items of an array; the caller frees them. nested: the member that has an item's numbers. */
static struct row *read_rows(struct json_value array, const char *name, const char *nested,
                             enum top_sort sort, size_t *out_count)
{
    struct row *rows = calloc(TOP_ROWS_MAX, sizeof(*rows));
    struct json_iter iter;
    struct json_value item;
    *out_count = 0;
    json_iter_init(&iter, array);
    while (rows && *out_count < TOP_ROWS_MAX && json_next(&iter, NULL, &item)) {
        struct row *row = &rows[(*out_count)++];
        char scratch[NAME_MAX_BYTES];
        struct str text = api_text(item, name, scratch, sizeof(scratch) - 1);
        memcpy(row->name, text.ptr, text.len);
        row->item = item;
        row->stats = nested ? api_member(item, nested) : item;
        row->rank = rank_of(row->stats, sort);
    }
    if (rows) {
        qsort(rows, *out_count, sizeof(*rows), compare_rows);
    }
    return rows;
}

/* ---- cells ---- */

static void add_count(struct table *table, double count)
{
    struct buf text = {0};
    table_append_count(&text, count);
    table_add(table, buf_str(&text));
    buf_fini(&text);
}

static void add_duration(struct table *table, uint64_t ms)
{
    struct buf text = {0};
    table_append_duration(&text, ms);
    table_add(table, buf_str(&text));
    buf_fini(&text);
}

static void add_stats(struct table *table, struct json_value stats)
{
    struct json_value rates = api_member(stats, "rates");
    add_count(table, api_real(api_member(stats, "connections"), "total"));
    add_count(table, api_real(stats, "users"));
    add_count(table, api_real(rates, "accepted"));
    add_count(table, api_real(rates, "written"));
    add_count(table, api_real(rates, "dropped"));
}

/* So many cells that nobody can fill. */
static void add_unknown(struct table *table, int columns)
{
    for (int i = 0; i < columns; i++) {
        table_add(table, STR("-"));
    }
}

/* ---- parts ---- */

static void write_nodes(struct buf *out, struct json_value overview, const struct top_view *view)
{
    static const char *const headings[] = {"NODE",     "STATE",       ">UPTIME",    ">CONNS",
                                           ">USERS",   ">ACCEPTED/s", ">WRITTEN/s", ">DROPPED/s",
                                           ">MEM MiB", ">LAG ms",     ">ALERTS"};
    struct table table = {headings, sizeof(headings) / sizeof(headings[0]), {0}};
    uint64_t now_ms = api_number(overview, "as_of");
    size_t count;
    struct row *rows = read_rows(api_member(overview, "nodes"), "node", "now", view->sort, &count);
    for (size_t i = 0; i < count; i++) {
        char scratch[64];
        struct json_value node = rows[i].item;
        uint64_t started_ms = api_number(node, "started_at");
        bool answered = api_flag(node, "answered");
        /* A node that has just started has taken no sample yet. */
        bool has_sample = api_number(node, "memory_bytes") > 0;
        bool bus_down = answered && has_sample && !api_flag(node, "bus_up");
        table_add(&table, str_of(rows[i].name));
        table_add(&table, !answered  ? STR("silent")
                          : bus_down ? STR("bus down")
                                     : api_text(node, "state", scratch, sizeof(scratch)));
        if (started_ms) {
            add_duration(&table, started_ms < now_ms ? now_ms - started_ms : 0);
        } else {
            add_unknown(&table, 1);
        }
        if (!answered) {
            add_unknown(&table, SAMPLED_COLUMNS);
            continue;
        }
        add_stats(&table, rows[i].stats);
        table_addf(&table, "%.1f", api_real(node, "memory_bytes") / (1 << 20));
        table_addf(&table, "%.1f", api_real(node, "bus_lag_ms"));
        table_addf(&table, "%llu", (unsigned long long)api_number(node, "alerts_firing"));
    }
    free(rows);
    table_write(&table, out, view->is_bold);
}

static void write_apps(struct buf *out, struct json_value overview, const struct top_view *view)
{
    static const char *const headings[] = {"APP",         ">CONNS",     ">USERS",
                                           ">ACCEPTED/s", ">WRITTEN/s", ">DROPPED/s"};
    struct table table = {headings, sizeof(headings) / sizeof(headings[0]), {0}};
    size_t count;
    struct row *rows = read_rows(api_member(overview, "apps"), "app", NULL, view->sort, &count);
    for (size_t i = 0; i < count; i++) {
        table_add(&table, str_of(rows[i].name));
        add_stats(&table, rows[i].stats);
    }
    free(rows);
    table_write(&table, out, view->is_bold);
}

static void add_percentile(struct table *table, struct json_value stage, const char *name)
{
    if (api_member(stage, name).type == JSON_TYPE_NUMBER) {
        table_addf(table, "%.2f", api_real(stage, name));
    } else {
        table_add(table, STR("-"));
    }
}

static void write_latency(struct buf *out, struct json_value overview, const struct top_view *view)
{
    static const char *const headings[] = {"LATENCY", ">COUNT", ">P50 ms", ">P90 ms", ">P99 ms"};
    struct table table = {headings, sizeof(headings) / sizeof(headings[0]), {0}};
    struct json_iter iter;
    struct json_value stage;
    json_iter_init(&iter, api_member(overview, "latency"));
    while (json_next(&iter, NULL, &stage)) {
        char scratch[64];
        table_add(&table, api_text(stage, "stage", scratch, sizeof(scratch)));
        add_count(&table, api_real(stage, "count"));
        add_percentile(&table, stage, "p50_ms");
        add_percentile(&table, stage, "p90_ms");
        add_percentile(&table, stage, "p99_ms");
    }
    table_write(&table, out, view->is_bold);
}

uint64_t top_view_firing(struct json_value overview)
{
    struct json_iter iter;
    struct json_value node;
    uint64_t firing = 0;
    json_iter_init(&iter, api_member(overview, "nodes"));
    while (json_next(&iter, NULL, &node)) {
        firing += api_number(node, "alerts_firing");
    }
    return firing;
}

static void write_total(struct buf *out, struct json_value overview)
{
    static const struct {
        const char *name;
        const char *unit;
    } rates[] = {{"accepted", "accepted/s"}, {"written", "written/s"}, {"dropped", "dropped/s"}};
    struct json_value total = api_member(overview, "total");
    table_append_count(out, api_real(api_member(total, "connections"), "total"));
    buf_append_str(out, STR(" connections   "));
    table_append_count(out, api_real(total, "users"));
    buf_append_str(out, STR(" users   "));
    table_append_count(out, api_real(total, "groups"));
    buf_append_str(out, STR(" groups"));
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        buf_append_str(out, STR("   "));
        table_append_count(out, api_real(api_member(total, "rates"), rates[i].name));
        buf_printf(out, " %s", rates[i].unit);
    }
    uint64_t firing = top_view_firing(overview);
    buf_printf(out, "   %llu alert%s\n", (unsigned long long)firing, firing == 1 ? "" : "s");
}

/* Which of them; those that may fire soon are not here. */
static void write_alerts(struct buf *out, struct json_value overview, const struct top_view *view)
{
    static const char *const headings[] = {"ALERT", "SEVERITY", "NODE", ">SINCE", "SUMMARY"};
    static const char *const texts[] = {"alert", "severity", "node"};
    struct table table = {headings, sizeof(headings) / sizeof(headings[0]), {0}};
    uint64_t now_ms = api_number(overview, "as_of");
    struct json_iter iter;
    struct json_value alert;
    json_iter_init(&iter, api_member(view->alerts, "alerts"));
    while (json_next(&iter, NULL, &alert)) {
        char scratch[1024];
        uint64_t since_ms = api_number(alert, "active_at");
        if (!json_equals(api_member(alert, "state"), STR("firing"))) {
            continue;
        }
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            table_add(&table, api_text(alert, texts[i], scratch, sizeof(scratch)));
        }
        add_duration(&table, now_ms > since_ms ? now_ms - since_ms : 0);
        table_add(&table, api_text(alert, "summary", scratch, sizeof(scratch)));
    }
    if (table.cells.len > 0) {
        table_write(&table, out, view->is_bold);
        buf_append_char(out, '\n');
    }
    buf_fini(&table.cells);
}

static void write_title(struct buf *out, struct json_value overview, const struct top_view *view)
{
    char scratch[NAME_MAX_BYTES];
    char clock[16];
    time_t now = (time_t)(api_number(overview, "as_of") / 1000);
    struct tm local;
    localtime_r(&now, &local);
    strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    buf_append_str(out, STR("tidegate "));
    table_append_clean(out, api_text(overview, "cluster", scratch, sizeof(scratch)));
    buf_printf(out, "   %s   by %s", clock, sorts[view->sort].name);
    if (!api_flag(overview, "complete")) {
        buf_append_str(out, STR("   (not all nodes answered)"));
    }
    buf_append_char(out, '\n');
    if (view->problem) {
        table_append_clean(out, str_of(view->problem));
        buf_append_char(out, '\n');
    }
}

int top_view_write(struct buf *out, struct json_value overview, const struct top_view *view)
{
    write_title(out, overview, view);
    write_total(out, overview);
    buf_append_char(out, '\n');
    write_alerts(out, overview, view);
    write_nodes(out, overview, view);
    buf_append_char(out, '\n');
    write_apps(out, overview, view);
    buf_append_char(out, '\n');
    write_latency(out, overview, view);
    return buf_err(out);
}
