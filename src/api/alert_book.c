#include "api/alert_book.h"

#include <math.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/settings.h"

int alert_book_init(struct alert_book *book)
{
    size_t count;
    const struct alert_rule *rules = alert_rules(&count);
    *book = (struct alert_book){0};
    book->rules = mem_zalloc(sizeof(*book->rules) * count);
    if (!book->rules) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        if (rules[i].is_external) {
            continue;
        }
        struct alert_rule_state *state = &book->rules[book->rule_count++];
        state->rule = rules[i];
        alert_query_init(&state->queries[ALERT_VALUE], &state->rule.value);
        alert_query_init(&state->queries[ALERT_DIVISOR], &state->rule.divisor);
        alert_query_init(&state->queries[ALERT_ALSO], &state->rule.also.value);
        alert_query_init(&state->queries[ALERT_ALSO_DIVISOR], &state->rule.also.divisor);
    }
    alert_book_set(book, NULL);
    return 0;
}

static void drop_alerts(struct alert_rule_state *state)
{
    while (state->alerts) {
        struct alert *next = state->alerts->next;
        mem_free(state->alerts);
        state->alerts = next;
    }
}

void alert_book_fini(struct alert_book *book)
{
    for (size_t i = 0; i < book->rule_count; i++) {
        struct alert_rule_state *state = &book->rules[i];
        drop_alerts(state);
        for (int k = 0; k < ALERT_QUERIES; k++) {
            alert_query_fini(&state->queries[k]);
        }
    }
    mem_free(book->rules);
    *book = (struct alert_book){0};
}

void alert_book_set(struct alert_book *book, const struct settings_alerts *settings)
{
    struct alert_rule rules[ALERT_RULES_MAX];
    size_t count = settings && !settings->enabled ? 0 : alert_rules_of(settings, rules);
    for (size_t i = 0; i < book->rule_count; i++) {
        struct alert_rule_state *state = &book->rules[i];
        state->is_on = false;
        for (size_t k = 0; k < count; k++) {
            if (strcmp(rules[k].name, state->rule.name) == 0) {
                state->is_on = true;
                state->rule.threshold = rules[k].threshold;
                state->rule.hold_ms = rules[k].hold_ms;
            }
        }
    }
}

/* ---- a pass ---- */

void alert_book_begin(struct alert_book *book)
{
    book->family = NULL;
    book->left_out = 0;
    for (size_t i = 0; i < book->rule_count; i++) {
        for (int k = 0; k < ALERT_QUERIES; k++) {
            alert_query_begin(&book->rules[i].queries[k]);
        }
    }
}

/* Samples come family by family, so this is asked once for each. */
static void find_takers(struct alert_book *book, const char *family)
{
    book->family = family;
    book->taker_count = 0;
    for (size_t i = 0; i < book->rule_count; i++) {
        for (int k = 0; k < ALERT_QUERIES; k++) {
            struct alert_query_state *query = &book->rules[i].queries[k];
            if (query->query->metric && strcmp(query->query->metric, family) == 0) {
                book->takers[book->taker_count++] = query;
            }
        }
    }
}

void alert_book_sample(void *arg, const struct metric_sample *sample)
{
    struct alert_book *book = arg;
    if (sample->family->name != book->family) {
        find_takers(book, sample->family->name);
    }
    for (size_t i = 0; i < book->taker_count; i++) {
        alert_query_sample(book->takers[i], sample);
    }
}

/* ---- conditions ---- */

/* Of a query and the one behind it, by which it is divided if there is one. */
static double quotient(const struct alert_rule_state *state, enum alert_part part,
                       const char *labels)
{
    const struct alert_query_state *divisor = &state->queries[part + 1];
    double value = alert_query_value(&state->queries[part], labels);
    return divisor->query->metric ? value / alert_query_value(divisor, labels) : value;
}

/* NaN compares as false. */
static bool holds(const struct alert_rule_state *state, const char *labels)
{
    const struct alert_rule *rule = &state->rule;
    if (!state->is_on ||
        !alert_compare(rule->op, quotient(state, ALERT_VALUE, labels), rule->threshold)) {
        return false;
    }
    return !rule->also.value.metric ||
           alert_compare(rule->also.op,
                         quotient(state, ALERT_ALSO, rule->also.is_of_node ? "" : labels),
                         rule->also.threshold);
}

/* ---- states ---- */

static void change(struct alert_book *book, struct alert *alert, enum alert_state state,
                   uint64_t now_ms)
{
    alert->state = state;
    alert->changed_ms = now_ms;
    if (book->on_change && state != ALERT_PENDING) {
        book->on_change(book->owner, alert);
    }
}

static void begin_pending(struct alert *alert, uint64_t now_ms, uint64_t wall_ms)
{
    alert->state = ALERT_PENDING;
    alert->since_ms = alert->changed_ms = now_ms;
    alert->active_at = wall_ms;
}

/* Some receiver believes that it fires. */
static bool is_believed(const struct alert *alert)
{
    for (int i = 0; i < ALERT_RECEIVERS_MAX; i++) {
        const struct alert_told *told = &alert->told[i];
        if ((told->at_ms && !told->is_resolved) || (told->sending_ms && !told->sending_resolved)) {
            return true;
        }
    }
    return false;
}

static struct alert *find_or_add(struct alert_book *book, struct alert_rule_state *state,
                                 const char *labels, uint64_t now_ms, uint64_t wall_ms)
{
    for (struct alert *alert = state->alerts; alert; alert = alert->next) {
        if (strcmp(alert->labels, labels) == 0) {
            return alert;
        }
    }
    size_t size = strlen(labels) + 1;
    struct alert *alert = mem_zalloc(sizeof(*alert) + size);
    if (!alert) {
        book->left_out++;
        return NULL;
    }
    memcpy(alert->labels, labels, size);
    alert->rule = &state->rule;
    begin_pending(alert, now_ms, wall_ms);
    alert->next = state->alerts;
    state->alerts = alert;
    return alert;
}

static void on_true(struct alert_book *book, struct alert_rule_state *state, const char *labels,
                    double value, uint64_t now_ms, uint64_t wall_ms)
{
    struct alert *alert = find_or_add(book, state, labels, now_ms, wall_ms);
    if (!alert) {
        return;
    }
    alert->value = value;
    if (alert->state == ALERT_RESOLVED) {
        begin_pending(alert, now_ms, wall_ms);
    }
    if (alert->state == ALERT_PENDING && now_ms - alert->since_ms >= state->rule.hold_ms) {
        alert->fired_at = wall_ms;
        alert->resolved_at = 0;
        change(book, alert, ALERT_FIRING, now_ms);
    }
}

/* True: the alert is forgotten. */
static bool on_false(struct alert_book *book, struct alert *alert, uint64_t now_ms,
                     uint64_t wall_ms)
{
    if (alert->state == ALERT_FIRING) {
        alert->resolved_at = wall_ms;
        change(book, alert, ALERT_RESOLVED, now_ms);
    } else if (alert->state == ALERT_PENDING && is_believed(alert)) {
        /* Its end was not taken before it was pending again: that is still to be told. */
        alert->state = ALERT_RESOLVED;
        alert->changed_ms = now_ms;
    }
    return alert->state == ALERT_PENDING ||
           (alert->state == ALERT_RESOLVED && now_ms - alert->changed_ms >= ALERT_KEEP_MS);
}

static void sweep(struct alert_book *book, struct alert_rule_state *state, uint64_t now_ms,
                  uint64_t wall_ms)
{
    for (struct alert **link = &state->alerts; *link;) {
        struct alert *alert = *link;
        if (!holds(state, alert->labels) && on_false(book, alert, now_ms, wall_ms)) {
            *link = alert->next;
            mem_free(alert);
        } else {
            link = &alert->next;
        }
    }
}

static void evaluate(struct alert_book *book, struct alert_rule_state *state, uint64_t now_ms,
                     uint64_t wall_ms)
{
    for (int k = 0; k < ALERT_QUERIES; k++) {
        alert_query_end(&state->queries[k], now_ms, (double)wall_ms / 1000);
        book->left_out += state->queries[k].left_out;
    }
    sweep(book, state, now_ms, wall_ms);
    const struct alert_query_state *value = &state->queries[ALERT_VALUE];
    for (size_t i = 0; i < value->group_count; i++) {
        const char *labels = value->groups[i].labels;
        if (holds(state, labels)) {
            on_true(book, state, labels, quotient(state, ALERT_VALUE, labels), now_ms, wall_ms);
        }
    }
}

void alert_book_end(struct alert_book *book, uint64_t now_ms, uint64_t wall_ms)
{
    for (size_t i = 0; i < book->rule_count; i++) {
        evaluate(book, &book->rules[i], now_ms, wall_ms);
    }
}

const char *alert_state_name(enum alert_state state)
{
    static const char *const names[] = {
        [ALERT_PENDING] = "pending", [ALERT_FIRING] = "firing", [ALERT_RESOLVED] = "resolved"};
    return names[state];
}
