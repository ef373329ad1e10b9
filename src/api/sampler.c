#include "api/sampler.h"

#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/loop.h"
#include "server/families.h"

enum { MINUTE_POINTS = 60 * 1000 / OVERVIEW_STEP_MS };

const double sampler_bounds_ms[OVERVIEW_BUCKETS - 1] = {0.01, 0.025, 0.05, 0.1,  0.25, 0.5, 1,
                                                        2.5,  5,     10,   25,   50,   100, 250,
                                                        500,  1000,  2500, 5000, 10000};

/* Counters since the process began. */
struct totals {
    uint64_t accepted, written, dropped;
};

struct scope_point {
    uint32_t connections, users, cluster_users;
    struct overview_flow flow;
};

struct scope {
    struct overview_scope now;
    struct totals totals;
    struct scope_point points[OVERVIEW_POINTS]; /* by tick */
};

struct stage {
    char name[OVERVIEW_NAME + 1];
    uint64_t totals[OVERVIEW_BUCKETS];
    uint32_t points[OVERVIEW_POINTS][OVERVIEW_BUCKETS];
};

/* What one walk over the series found. */
struct found {
    struct overview_scope scopes[OVERVIEW_SCOPES];
    struct totals totals[OVERVIEW_SCOPES];
    char stages[OVERVIEW_STAGES][OVERVIEW_NAME + 1];
    uint64_t buckets[OVERVIEW_STAGES][OVERVIEW_BUCKETS];
    uint32_t scope_count, stage_count;
    double memory_bytes, alerts;
    bool bus_up;
};

struct sampler {
    struct loop *loop;
    struct timer timer;
    struct found found; /* the loop's thread alone; too large for a stack */

    pthread_mutex_t lock;
    struct scope *scopes[OVERVIEW_SCOPES]; /* the first is the node */
    struct stage *stages[OVERVIEW_STAGES];
    uint64_t ticks[OVERVIEW_POINTS]; /* when the point of this place was taken */
    uint64_t tick;
    uint64_t memory_bytes;
    uint32_t alerts;
    bool bus_up;
};

/* ---- reading the series ---- */

/* The value of a label in `app="shop",target="user"`: names of apps and our own words, which have
 * nothing to escape. */
static bool label_of(const char *labels, const char *name, char out[OVERVIEW_NAME + 1])
{
    char wanted[32];
    int len = snprintf(wanted, sizeof(wanted), "%s=\"", name);
    const char *at = strstr(labels, wanted);
    while (at && at != labels && at[-1] != ',') {
        at = strstr(at + 1, wanted);
    }
    if (!at) {
        return false;
    }
    size_t value = strcspn(at + len, "\"");
    value = value > OVERVIEW_NAME ? OVERVIEW_NAME : value;
    memcpy(out, at + len, value);
    out[value] = '\0';
    return true;
}

/* NULL: there is no room. */
static struct overview_scope *scope_of(struct found *found, const char *labels,
                                       struct totals **out_totals)
{
    char app[OVERVIEW_NAME + 1];
    if (!label_of(labels, "app", app)) {
        return NULL;
    }
    uint32_t i = 1;
    while (i < found->scope_count && strcmp(found->scopes[i].app, app) != 0) {
        i++;
    }
    if (i == OVERVIEW_SCOPES) {
        return NULL;
    }
    if (i == found->scope_count) {
        found->scope_count++;
        memcpy(found->scopes[i].app, app, sizeof(app));
    }
    *out_totals = &found->totals[i];
    return &found->scopes[i];
}

static void add_connections(struct overview_scope *scope, const struct metric_sample *sample)
{
    static const char *const transports[OVERVIEW_TRANSPORTS] = {"v1", "raw", "sse", "sse_raw"};
    char transport[OVERVIEW_NAME + 1] = "";
    label_of(sample->labels, "transport", transport);
    for (int i = 0; i < OVERVIEW_TRANSPORTS; i++) {
        if (strcmp(transport, transports[i]) == 0) {
            scope->connections[i] += (uint32_t)sample->value;
        }
    }
}

static void add_of_app(struct found *found, const struct metric_sample *sample)
{
    const struct metric_family *family = sample->family;
    struct totals *totals;
    struct overview_scope *scope = scope_of(found, sample->labels, &totals);
    if (!scope) {
        return;
    }
    if (family == FAMILY(connections)) {
        add_connections(scope, sample);
    } else if (family == FAMILY(users)) {
        scope->users += (uint32_t)sample->value;
    } else if (family == FAMILY(cluster_users)) {
        scope->cluster_users += (uint32_t)sample->value;
    } else if (family == FAMILY(groups)) {
        scope->groups += (uint32_t)sample->value;
    } else if (family == FAMILY(messages_accepted_total)) {
        totals->accepted += (uint64_t)sample->value;
    } else if (family == FAMILY(messages_written_total)) {
        totals->written += (uint64_t)sample->value;
    } else if (family == FAMILY(messages_dropped_total)) {
        totals->dropped += (uint64_t)sample->value;
    }
}

static void add_stage(struct found *found, const struct metric_sample *sample)
{
    if (found->stage_count == OVERVIEW_STAGES || sample->bound_count != OVERVIEW_BUCKETS - 1 ||
        !label_of(sample->labels, "stage", found->stages[found->stage_count])) {
        return;
    }
    memcpy(found->buckets[found->stage_count++], sample->buckets,
           sizeof(uint64_t) * OVERVIEW_BUCKETS);
}

static void visit(void *arg, const struct metric_sample *sample)
{
    struct found *found = arg;
    if (sample->family == FAMILY(delivery_seconds)) {
        add_stage(found, sample);
    } else if (sample->family == FAMILY(memory_bytes)) {
        found->memory_bytes += sample->value;
    } else if (sample->family == FAMILY(alerts_firing)) {
        found->alerts += sample->value;
    } else if (sample->family == FAMILY(bus_up)) {
        found->bus_up = sample->value > 0;
    } else {
        add_of_app(found, sample);
    }
}

static void add_up(struct found *found)
{
    struct overview_scope *node = &found->scopes[0];
    for (uint32_t i = 1; i < found->scope_count; i++) {
        const struct overview_scope *scope = &found->scopes[i];
        for (int t = 0; t < OVERVIEW_TRANSPORTS; t++) {
            node->connections[t] += scope->connections[t];
        }
        node->users += scope->users;
        node->cluster_users += scope->cluster_users;
        node->groups += scope->groups;
        found->totals[0].accepted += found->totals[i].accepted;
        found->totals[0].written += found->totals[i].written;
        found->totals[0].dropped += found->totals[i].dropped;
    }
}

static void look(struct found *found)
{
    *found = (struct found){.scope_count = 1};
    metrics_visit(visit, found);
    add_up(found);
}

/* ---- keeping ---- */

/* Counters of readers may be a little behind themselves: less than before is nothing. */
static uint32_t grown(uint64_t now, uint64_t *before)
{
    uint64_t by = now > *before ? now - *before : 0;
    *before = now > *before ? now : *before;
    return by > UINT32_MAX ? UINT32_MAX : (uint32_t)by;
}

/* What was counted before the first sample belongs to no step. */
static struct scope *keep_scope(struct sampler *sampler, const struct overview_scope *found,
                                const struct totals *totals)
{
    for (uint32_t i = 0; i < OVERVIEW_SCOPES; i++) {
        struct scope *scope = sampler->scopes[i];
        if (!scope) {
            scope = sampler->scopes[i] = mem_zalloc(sizeof(*scope));
            if (scope) {
                memcpy(scope->now.app, found->app, sizeof(found->app));
                scope->totals = sampler->tick ? (struct totals){0} : *totals;
            }
            return scope;
        }
        if (strcmp(scope->now.app, found->app) == 0) {
            return scope;
        }
    }
    return NULL;
}

static void commit_scope(struct sampler *sampler, const struct overview_scope *found,
                         const struct totals *totals, uint32_t at)
{
    struct scope *scope = keep_scope(sampler, found, totals);
    if (!scope) {
        return;
    }
    struct overview_flow flow = {.accepted = grown(totals->accepted, &scope->totals.accepted),
                                 .written = grown(totals->written, &scope->totals.written),
                                 .dropped = grown(totals->dropped, &scope->totals.dropped)};
    scope->now = *found;
    scope->now.flow = flow;
    struct scope_point *point = &scope->points[at];
    *point = (struct scope_point){
        .users = found->users, .cluster_users = found->cluster_users, .flow = flow};
    for (int i = 0; i < OVERVIEW_TRANSPORTS; i++) {
        point->connections += found->connections[i];
    }
}

static void commit_stage(struct sampler *sampler, uint32_t index, const struct found *found,
                         uint32_t at)
{
    struct stage *stage = sampler->stages[index];
    if (!stage) {
        stage = sampler->stages[index] = mem_zalloc(sizeof(*stage));
        if (!stage) {
            return;
        }
        memcpy(stage->name, found->stages[index], sizeof(stage->name));
        if (!sampler->tick) {
            memcpy(stage->totals, found->buckets[index], sizeof(stage->totals));
        }
    }
    for (int i = 0; i < OVERVIEW_BUCKETS; i++) {
        stage->points[at][i] = grown(found->buckets[index][i], &stage->totals[i]);
    }
}

void sampler_take(struct sampler *sampler, uint64_t wall_ms)
{
    struct found *found = &sampler->found;
    uint64_t tick = wall_ms / OVERVIEW_STEP_MS;
    uint32_t at = (uint32_t)(tick % OVERVIEW_POINTS);
    look(found);
    pthread_mutex_lock(&sampler->lock);
    for (uint32_t i = 0; i < found->scope_count; i++) {
        commit_scope(sampler, &found->scopes[i], &found->totals[i], at);
    }
    for (uint32_t i = 0; i < found->stage_count; i++) {
        commit_stage(sampler, i, found, at);
    }
    sampler->ticks[at] = tick;
    sampler->tick = tick;
    sampler->memory_bytes = (uint64_t)found->memory_bytes;
    sampler->alerts = (uint32_t)found->alerts;
    sampler->bus_up = found->bus_up;
    pthread_mutex_unlock(&sampler->lock);
}

/* ---- telling ---- */

/* Only points of this very tick: the clock may have been set, and a sample may be missing. */
static bool has_point(const struct sampler *sampler, uint64_t tick)
{
    return tick > 0 && sampler->ticks[tick % OVERVIEW_POINTS] == tick;
}

static void read_stage(const struct sampler *sampler, const struct stage *stage,
                       struct overview_stage *out)
{
    memcpy(out->name, stage->name, sizeof(out->name));
    for (uint64_t back = 0; back < MINUTE_POINTS && back < sampler->tick; back++) {
        uint64_t tick = sampler->tick - back;
        for (int i = 0; i < OVERVIEW_BUCKETS && has_point(sampler, tick); i++) {
            out->buckets[i] += stage->points[tick % OVERVIEW_POINTS][i];
        }
    }
}

static bool is_measured(const struct stage *stage)
{
    uint64_t count = 0;
    for (int i = 0; i < OVERVIEW_BUCKETS; i++) {
        count += stage->totals[i];
    }
    return count > 0;
}

/* Of the whole way, where that is measured; else of the last part of it that is. */
static const struct stage *whole_stage(const struct sampler *sampler)
{
    const struct stage *found = NULL;
    for (int i = 0; i < OVERVIEW_STAGES && sampler->stages[i]; i++) {
        const struct stage *stage = sampler->stages[i];
        bool is_whole = strcmp(stage->name, "total") == 0;
        found = is_measured(stage) ? stage : found;
        if (is_whole && found == stage) {
            break;
        }
    }
    return found;
}

static void read_point(const struct sampler *sampler, const struct scope *scope, uint64_t tick,
                       struct overview_point *out)
{
    const struct stage *stage = whole_stage(sampler);
    const struct scope_point *point = &scope->points[tick % OVERVIEW_POINTS];
    *out = (struct overview_point){.is_there = has_point(sampler, tick)};
    if (!out->is_there) {
        return;
    }
    out->connections = point->connections;
    out->users = point->users;
    out->cluster_users = point->cluster_users;
    out->flow = point->flow;
    if (stage) {
        memcpy(out->buckets, stage->points[tick % OVERVIEW_POINTS], sizeof(out->buckets));
    }
}

static const struct scope *find_scope(const struct sampler *sampler, struct str app)
{
    for (int i = 0; i < OVERVIEW_SCOPES && sampler->scopes[i]; i++) {
        if (str_equal(str_of(sampler->scopes[i]->now.app), app)) {
            return sampler->scopes[i];
        }
    }
    return NULL;
}

static void read_all(const struct sampler *sampler, struct str app, uint32_t points,
                     struct overview_part *out)
{
    for (; out->scope_count < OVERVIEW_SCOPES && sampler->scopes[out->scope_count];
         out->scope_count++) {
        out->scopes[out->scope_count] = sampler->scopes[out->scope_count]->now;
    }
    for (; out->stage_count < OVERVIEW_STAGES && sampler->stages[out->stage_count];
         out->stage_count++) {
        read_stage(sampler, sampler->stages[out->stage_count], &out->stages[out->stage_count]);
    }
    const struct scope *scope = find_scope(sampler, app);
    points = points < OVERVIEW_POINTS ? points : OVERVIEW_POINTS;
    for (; scope && out->point_count < points && out->point_count < sampler->tick;
         out->point_count++) {
        read_point(sampler, scope, sampler->tick - out->point_count,
                   &out->points[out->point_count]);
    }
}

void sampler_read(struct sampler *sampler, struct str app, uint32_t points,
                  struct overview_part *out_part)
{
    pthread_mutex_lock(&sampler->lock);
    *out_part = (struct overview_part){.tick = sampler->tick,
                                       .memory_bytes = sampler->memory_bytes,
                                       .alerts = sampler->alerts,
                                       .bus_up = sampler->bus_up};
    read_all(sampler, app, points, out_part);
    pthread_mutex_unlock(&sampler->lock);
}

/* ---- life ---- */

static void on_timer(struct timer *timer)
{
    struct sampler *sampler = (struct sampler *)((char *)timer - offsetof(struct sampler, timer));
    uint64_t wall_ms = clock_wall_ms();
    sampler_take(sampler, wall_ms);
    loop_timer_start(sampler->loop, timer, OVERVIEW_STEP_MS - wall_ms % OVERVIEW_STEP_MS);
}

int sampler_create(struct sampler **out_sampler, struct loop *loop)
{
    struct sampler *sampler = mem_zalloc(sizeof(*sampler));
    if (!sampler) {
        return ERR_NO_MEMORY;
    }
    sampler->loop = loop;
    sampler->timer.on_fire = on_timer;
    pthread_mutex_init(&sampler->lock, NULL);
    on_timer(&sampler->timer);
    *out_sampler = sampler;
    return 0;
}

void sampler_destroy(struct sampler *sampler)
{
    if (!sampler) {
        return;
    }
    loop_timer_stop(sampler->loop, &sampler->timer);
    for (int i = 0; i < OVERVIEW_SCOPES; i++) {
        mem_free(sampler->scopes[i]);
    }
    for (int i = 0; i < OVERVIEW_STAGES; i++) {
        mem_free(sampler->stages[i]);
    }
    pthread_mutex_destroy(&sampler->lock);
    mem_free(sampler);
}
