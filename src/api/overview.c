#include "api/overview.h"

#include <stdio.h>

#include "api/gather.h"
#include "api/nodes.h"
#include "api/sampler.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/uri.h"

/* As it travels between nodes: never to be renumbered. The name of the gather is "POINTS APP": so
 * many of the past, of that app, or of the node. */
enum {
    OVERVIEW_NUMBER = 24,
    HISTORY_MAX_S = OVERVIEW_POINTS * OVERVIEW_STEP_MS / 1000,
    NAME_BYTES = OVERVIEW_NAME + 16,
    LATE_TICKS = 3, /* a node whose newest sample is older than the others' is not waited for */
};

/* What was asked, until the answers are there. */
struct asked {
    char app[OVERVIEW_NAME + 1];  /* "": all */
    char node[OVERVIEW_NAME + 1]; /* name or boot; "": all */
    uint32_t points;
};

/* The answers. */
struct view {
    const struct asked *asked;
    struct cluster_node *nodes;
    uint32_t node_count;
    struct overview_part *parts;
    uint32_t part_count;
    bool is_known; /* who is in the cluster */
    bool is_whole; /* and all of them answered */
};

/* What scopes add up to. */
struct sums {
    uint64_t connections[OVERVIEW_TRANSPORTS], connected;
    uint64_t users, cluster_users, groups;
    uint64_t accepted, written, dropped;
};

/* ---- on the node that is asked ---- */

static uint32_t read_name(struct str name, struct str *out_app)
{
    struct str rest = name;
    struct str points;
    uint64_t count = 0;
    str_split(&rest, ' ', &points);
    *out_app = rest.ptr ? rest : STR("");
    return str_to_u64(points, OVERVIEW_POINTS, &count) ? (uint32_t)count : 0;
}

static void tell(struct gather_part *part)
{
    struct sampler *sampler = part->worker->gateway->options.sampler;
    struct overview_part *own = mem_alloc(sizeof(*own));
    struct str app;
    uint32_t points = read_name(part->gather->name, &app);
    if (!sampler || !own) {
        part->text.err = own ? 0 : ERR_NO_MEMORY;
        mem_free(own);
        return;
    }
    sampler_read(sampler, app, points, own);
    own->boot = part->worker->gateway->boot;
    overview_part_write(&part->text, own);
    mem_free(own);
}

/* Whoever it is, it reaches what the whole node has. */
static int first_worker(const struct gateway *gateway, struct str name)
{
    return 0;
}

/* ---- adding up ---- */

static void add_scope(struct sums *sums, const struct overview_scope *scope)
{
    for (int i = 0; i < OVERVIEW_TRANSPORTS; i++) {
        sums->connections[i] += scope->connections[i];
        sums->connected += scope->connections[i];
    }
    sums->users += scope->users;
    if (sums->cluster_users < scope->cluster_users) {
        sums->cluster_users = scope->cluster_users; /* the same on every node, but for a moment */
    }
    sums->groups += scope->groups;
    sums->accepted += scope->flow.accepted;
    sums->written += scope->flow.written;
    sums->dropped += scope->flow.dropped;
}

static void add_app(struct sums *sums, const struct overview_part *part, const char *app)
{
    for (uint32_t i = 0; i < part->scope_count; i++) {
        if (strcmp(part->scopes[i].app, app) == 0) {
            add_scope(sums, &part->scopes[i]);
        }
    }
}

static bool is_meant(const struct view *view, const struct cluster_node *node)
{
    char boot[9];
    const char *wanted = view->asked->node;
    snprintf(boot, sizeof(boot), "%08x", node->boot);
    return !*wanted || strcmp(wanted, node->name) == 0 || strcmp(wanted, boot) == 0;
}

static const struct overview_part *part_of(const struct view *view, const struct cluster_node *node)
{
    for (uint32_t i = 0; i < view->part_count; i++) {
        if (view->parts[i].boot == node->boot) {
            return &view->parts[i];
        }
    }
    return NULL;
}

/* Over the nodes that were asked for: calls visit for each that has answered. */
static void each_part(const struct view *view,
                      void (*visit)(void *arg, const struct overview_part *part), void *arg)
{
    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct overview_part *part = part_of(view, &view->nodes[i]);
        if (part && is_meant(view, &view->nodes[i])) {
            visit(arg, part);
        }
    }
}

double overview_quantile(const uint64_t buckets[OVERVIEW_BUCKETS], double q)
{
    uint64_t count = 0;
    double below = 0;
    for (int i = 0; i < OVERVIEW_BUCKETS; i++) {
        count += buckets[i];
    }
    for (int i = 0; i < OVERVIEW_BUCKETS - 1 && count; i++) {
        double inside = (double)buckets[i];
        if (inside > 0 && below + inside >= q * (double)count) {
            double low = i ? sampler_bounds_ms[i - 1] : 0;
            return low + (sampler_bounds_ms[i] - low) * (q * (double)count - below) / inside;
        }
        below += inside;
    }
    return count ? sampler_bounds_ms[OVERVIEW_BUCKETS - 2] : -1;
}

/* ---- writing ---- */

static double a_second(uint64_t in_a_step)
{
    return (double)in_a_step * 1000 / OVERVIEW_STEP_MS;
}

static void write_ms(struct buf *out, const char *name, double ms)
{
    if (ms < 0) {
        buf_printf(out, ",\"%s\":null", name);
    } else {
        buf_printf(out, ",\"%s\":%.3f", name, ms);
    }
}

static void write_sums(struct buf *out, const struct sums *sums, uint64_t users)
{
    const uint64_t *by = sums->connections;
    json_write_key(out, STR("connections"));
    buf_printf(out,
               "{\"total\":%llu,\"v1\":%llu,\"raw\":%llu,\"sse\":%llu,"
               "\"sse_raw\":%llu}",
               (unsigned long long)sums->connected, (unsigned long long)by[OVERVIEW_V1],
               (unsigned long long)by[OVERVIEW_RAW], (unsigned long long)by[OVERVIEW_SSE],
               (unsigned long long)by[OVERVIEW_SSE_RAW]);
    json_write_u64_field(out, STR("users"), users);
    json_write_u64_field(out, STR("groups"), sums->groups);
    json_write_key(out, STR("rates"));
    buf_printf(out, "{\"accepted\":%.1f,\"written\":%.1f,\"dropped\":%.1f}",
               a_second(sums->accepted), a_second(sums->written), a_second(sums->dropped));
}

/* Of one node those that are there; of all nodes each counts once. While some don't answer, of
 * those that do, as all else: what a node knows of the others is what it last heard. */
static uint64_t users_of(const struct view *view, const struct sums *sums)
{
    bool is_all = view->is_whole && !*view->asked->node && sums->cluster_users;
    return is_all ? sums->cluster_users : sums->users;
}

struct of_app {
    struct sums sums;
    const char *app;
};

static void visit_app(void *arg, const struct overview_part *part)
{
    struct of_app *of_app = arg;
    add_app(&of_app->sums, part, of_app->app);
}

static struct sums sum_app(const struct view *view, const char *app)
{
    struct of_app of_app = {.app = app};
    each_part(view, visit_app, &of_app);
    return of_app.sums;
}

static void write_total(struct buf *out, const struct view *view)
{
    struct sums sums = sum_app(view, view->asked->app);
    json_write_key(out, STR("total"));
    buf_append_char(out, '{');
    write_sums(out, &sums, users_of(view, &sums));
    buf_append_char(out, '}');
}

/* The configuration's own, whoever has sessions. */
static void write_apps(struct buf *out, const struct view *view, const struct settings *settings)
{
    buf_append_str(out, STR(",\"apps\":["));
    for (size_t i = 0; i < settings->app_count; i++) {
        const char *name = settings->apps[i].name.ptr;
        if (*view->asked->app && strcmp(view->asked->app, name) != 0) {
            continue;
        }
        struct sums sums = sum_app(view, name);
        json_write_comma(out);
        buf_append_char(out, '{');
        json_write_string_field(out, STR("app"), settings->apps[i].name);
        write_sums(out, &sums, users_of(view, &sums));
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

static void write_node(struct buf *out, const struct view *view, const struct cluster_node *node)
{
    const struct overview_part *part = part_of(view, node);
    struct sums sums = {0};
    json_write_comma(out);
    buf_append_char(out, '{');
    nodes_write_fields(out, node);
    json_write_bool_field(out, STR("answered"), part != NULL);
    if (part) {
        json_write_bool_field(out, STR("bus_up"), part->bus_up);
        json_write_u64_field(out, STR("memory_bytes"), part->memory_bytes);
        json_write_u64_field(out, STR("alerts_firing"), part->alerts);
        add_app(&sums, part, view->asked->app);
        json_write_key(out, STR("now"));
        buf_append_char(out, '{');
        write_sums(out, &sums, sums.users);
        buf_append_char(out, '}');
    }
    buf_append_char(out, '}');
}

static void write_nodes(struct buf *out, const struct view *view)
{
    buf_append_str(out, STR(",\"nodes\":["));
    for (uint32_t i = 0; i < view->node_count; i++) {
        if (is_meant(view, &view->nodes[i])) {
            write_node(out, view, &view->nodes[i]);
        }
    }
    buf_append_char(out, ']');
}

struct of_stage {
    uint64_t buckets[OVERVIEW_BUCKETS];
    const char *name;
};

static void visit_stage(void *arg, const struct overview_part *part)
{
    struct of_stage *of_stage = arg;
    for (uint32_t i = 0; i < part->stage_count; i++) {
        for (int b = 0; b < OVERVIEW_BUCKETS && strcmp(part->stages[i].name, of_stage->name) == 0;
             b++) {
            of_stage->buckets[b] += part->stages[i].buckets[b];
        }
    }
}

static void write_quantiles(struct buf *out, const uint64_t buckets[OVERVIEW_BUCKETS])
{
    uint64_t count = 0;
    for (int i = 0; i < OVERVIEW_BUCKETS; i++) {
        count += buckets[i];
    }
    json_write_u64_field(out, STR("count"), count);
    write_ms(out, "p50_ms", overview_quantile(buckets, 0.5));
    write_ms(out, "p90_ms", overview_quantile(buckets, 0.9));
    write_ms(out, "p99_ms", overview_quantile(buckets, 0.99));
}

/* All nodes have the same stages; who answered first names them. */
static void write_latency(struct buf *out, const struct view *view)
{
    buf_append_str(out, STR(",\"latency\":["));
    for (uint32_t i = 0; view->part_count && i < view->parts[0].stage_count; i++) {
        struct of_stage of_stage = {.name = view->parts[0].stages[i].name};
        each_part(view, visit_stage, &of_stage);
        json_write_comma(out);
        buf_append_char(out, '{');
        json_write_string_field(out, STR("stage"), str_of(of_stage.name));
        write_quantiles(out, of_stage.buckets);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

/* ---- the past ---- */

struct moment {
    struct sums sums;
    uint64_t buckets[OVERVIEW_BUCKETS];
    uint64_t tick;
    bool is_there;
};

static void visit_moment(void *arg, const struct overview_part *part)
{
    struct moment *moment = arg;
    uint64_t back = part->tick - moment->tick;
    if (part->tick < moment->tick || back >= part->point_count || !part->points[back].is_there) {
        return;
    }
    const struct overview_point *point = &part->points[back];
    struct overview_scope scope = {
        .users = point->users, .cluster_users = point->cluster_users, .flow = point->flow};
    add_scope(&moment->sums, &scope);
    moment->sums.connected += point->connections;
    moment->is_there = true;
    for (int i = 0; i < OVERVIEW_BUCKETS; i++) {
        moment->buckets[i] += point->buckets[i];
    }
}

/* Up to where every node that keeps up has its samples. */
static void visit_newest(void *arg, const struct overview_part *part)
{
    uint64_t *newest = arg;
    *newest = part->tick > *newest ? part->tick : *newest;
}

static void visit_common(void *arg, const struct overview_part *part)
{
    uint64_t *common = arg;
    if (part->tick < *common && part->tick + LATE_TICKS >= *common) {
        *common = part->tick;
    }
}

struct series {
    const char *name;
    double (*value)(const struct view *view, const struct moment *moment);
};

static double value_connections(const struct view *view, const struct moment *moment)
{
    return (double)moment->sums.connected;
}

static double value_users(const struct view *view, const struct moment *moment)
{
    return (double)users_of(view, &moment->sums);
}

static double value_accepted(const struct view *view, const struct moment *moment)
{
    return a_second(moment->sums.accepted);
}

static double value_written(const struct view *view, const struct moment *moment)
{
    return a_second(moment->sums.written);
}

static double value_dropped(const struct view *view, const struct moment *moment)
{
    return a_second(moment->sums.dropped);
}

static double value_p50(const struct view *view, const struct moment *moment)
{
    return overview_quantile(moment->buckets, 0.5);
}

static double value_p90(const struct view *view, const struct moment *moment)
{
    return overview_quantile(moment->buckets, 0.9);
}

static double value_p99(const struct view *view, const struct moment *moment)
{
    return overview_quantile(moment->buckets, 0.99);
}

static const struct series series[] = {
    {"connections", value_connections},
    {"users", value_users},
    {"accepted", value_accepted},
    {"written", value_written},
    {"dropped", value_dropped},
    {"p50_ms", value_p50},
    {"p90_ms", value_p90},
    {"p99_ms", value_p99},
};

enum { SERIES_COUNT = sizeof(series) / sizeof(series[0]) };

static void write_series(struct buf *out, const struct view *view, const struct series *one,
                         const struct moment *moments, uint32_t count)
{
    buf_printf(out, ",\"%s\":[", one->name);
    for (uint32_t i = 0; i < count; i++) {
        double value = moments[i].is_there ? one->value(view, &moments[i]) : -1;
        buf_append_str(out, i ? STR(",") : STR(""));
        if (value < 0) {
            buf_append_str(out, STR("null"));
        } else {
            buf_printf(out, "%.10g", value);
        }
    }
    buf_append_char(out, ']');
}

static void write_history(struct buf *out, const struct view *view)
{
    uint32_t count = view->asked->points;
    struct moment *moments = mem_zalloc(sizeof(*moments) * count);
    uint64_t last = 0;
    each_part(view, visit_newest, &last);
    each_part(view, visit_common, &last);
    if (!moments) {
        out->err = ERR_NO_MEMORY;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        moments[i].tick = last >= count ? last - count + 1 + i : i;
        each_part(view, visit_moment, &moments[i]);
    }
    buf_append_str(out, STR(",\"history\":{"));
    json_write_u64_field(out, STR("from"), moments[0].tick * OVERVIEW_STEP_MS);
    json_write_u64_field(out, STR("step_ms"), OVERVIEW_STEP_MS);
    for (int i = 0; i < SERIES_COUNT; i++) {
        write_series(out, view, &series[i], moments, count);
    }
    buf_append_char(out, '}');
    mem_free(moments);
}

static void write_view(struct buf *out, const struct view *view, const struct gather *gather)
{
    const struct settings *settings = gather->asker->settings;
    buf_append_char(out, '{');
    json_write_string_field(out, STR("cluster"), settings->cluster.name);
    json_write_u64_field(out, STR("as_of"), clock_wall_ms());
    json_write_bool_field(out, STR("complete"), view->is_whole);
    write_total(out, view);
    write_apps(out, view, settings);
    write_nodes(out, view);
    write_latency(out, view);
    if (view->asked->points) {
        write_history(out, view);
    }
    buf_append_char(out, '}');
}

/* ---- on the node that was asked ---- */

static void read_parts(struct view *view, struct gather *gather)
{
    for (uint32_t i = 0; i < gather->part_count; i++) {
        struct str text = buf_str(&gather_part_at(gather, i)->text);
        if (overview_part_read(&view->parts[view->part_count], &text)) {
            view->part_count++;
        }
    }
}

static void finish(struct gather *gather)
{
    struct asked *asked = gather->exchange->user;
    struct view view = {.asked = asked};
    struct buf out = {0};
    view.nodes = mem_alloc(sizeof(*view.nodes) * CLUSTER_MAX_NODES);
    view.parts = mem_zalloc(sizeof(*view.parts) * (gather->part_count + 1));
    if (view.nodes && view.parts && gather->asker->gateway->cluster) {
        view.node_count = cluster_nodes(gather->asker->gateway->cluster, view.nodes,
                                        &view.is_known);
        view.is_whole = view.is_known && gather->is_complete;
        read_parts(&view, gather);
        write_view(&out, &view, gather);
    }
    if (!out.len || buf_err(&out)) {
        http_answer_retry(gather->exchange, 503, "overloaded", "The gateway is short of memory.",
                          1);
    } else {
        http_answer_json(gather->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
    mem_free(view.nodes);
    mem_free(view.parts);
    mem_free(asked);
}

static const struct gather_kind kind = {.number = OVERVIEW_NUMBER,
                                        .ask = tell,
                                        .fold = gather_fold,
                                        .finish = finish,
                                        .pick_worker = first_worker,
                                        .is_of_node = true};

const struct gather_kind *overview_kind(void)
{
    return &kind;
}

/* False: too long, or malformed. */
static bool read_text(struct str query, struct str name, char out[OVERVIEW_NAME + 1])
{
    ssize_t len = uri_query_get(query, name, out, OVERVIEW_NAME);
    out[len > 0 ? len : 0] = '\0';
    return len >= 0 || len == ERR_NOT_FOUND;
}

static bool read_history(struct str query, uint32_t *out_points)
{
    char text[16];
    uint64_t seconds = 0;
    ssize_t len = uri_query_get(query, STR("history"), text, sizeof(text));
    if (len != ERR_NOT_FOUND &&
        (len < 0 || !str_to_u64(str_make(text, (size_t)len), HISTORY_MAX_S, &seconds))) {
        return false;
    }
    *out_points = (uint32_t)(seconds * 1000 / OVERVIEW_STEP_MS);
    return true;
}

void overview_handle(struct api_call *call)
{
    struct str query = call->request->query;
    struct asked asked = {0};
    char name[NAME_BYTES];
    if (!read_text(query, STR("app"), asked.app) || !read_text(query, STR("node"), asked.node)) {
        api_refuse(call, 422, "invalid_node", "`app` and `node` are names of what is here.");
        return;
    }
    if (!read_history(query, &asked.points)) {
        api_refuse(call, 422, "invalid_history", "`history` is a number of seconds up to 900.");
        return;
    }
    int len = snprintf(name, sizeof(name), "%u %s", asked.points, asked.app);
    struct asked *kept = mem_alloc(sizeof(*kept));
    if (kept) {
        *kept = asked;
        call->exchange->user = kept;
    }
    if (!kept || !gather_try_at(call, &kind, 0, str_make(name, (size_t)len))) {
        mem_free(kept);
        http_answer_retry(call->exchange, 503, "overloaded", "The gateway is short of memory.", 1);
    }
}
