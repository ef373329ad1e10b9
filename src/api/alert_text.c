#include "api/alert_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/json.h"

void alert_write_time(struct buf *out, uint64_t ms)
{
    static const struct {
        uint64_t ms;
        const char *unit;
    } units[] = {{24 * 3600000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (ms == 0 ? i < 3 : ms % units[i].ms != 0) {
        i++;
    }
    buf_append_u64(out, ms / units[i].ms);
    buf_append_str(out, str_of(units[i].unit));
}

void alert_write_number(struct buf *out, double number)
{
    char text[32];
    if (isnan(number) || isinf(number)) {
        buf_append_str(out, isnan(number) ? STR("NaN") : number < 0 ? STR("-Inf") : STR("+Inf"));
        return;
    }
    if (number == floor(number) && fabs(number) < 1e15) {
        buf_printf(out, "%.0f", number);
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    buf_append_str(out, str_of(text));
}

void alert_write_json_number(struct buf *out, double number)
{
    if (isfinite(number)) {
        alert_write_number(out, number);
    } else {
        buf_append_str(out, STR("null"));
    }
}

/* ---- PromQL ---- */

static bool is_plain(const char *pattern)
{
    return !strchr(pattern, '|') && !strstr(pattern, ".*");
}

static void write_filters(struct buf *out, const struct alert_query *query)
{
    if (!query->filters[0].label) {
        return;
    }
    buf_append_char(out, '{');
    for (int i = 0; i < ALERT_FILTERS_MAX && query->filters[i].label; i++) {
        const struct alert_filter *filter = &query->filters[i];
        const char *op = is_plain(filter->pattern) ? (filter->is_not ? "!=" : "=")
                                                   : (filter->is_not ? "!~" : "=~");
        buf_printf(out, "%s%s%s\"%s\"", i > 0 ? ", " : "", filter->label, op, filter->pattern);
    }
    buf_append_char(out, '}');
}

static void write_range(struct buf *out, const struct alert_query *query, const char *function,
                        const char *suffix)
{
    buf_printf(out, "%s(%s%s", function, query->metric, suffix);
    write_filters(out, query);
    buf_append_char(out, '[');
    alert_write_time(out, (uint64_t)query->window_s * 1000);
    buf_append_str(out, STR("])"));
}

static void write_read(struct buf *out, const struct alert_query *query)
{
    switch (query->read) {
    case ALERT_RATE: write_range(out, query, "rate", ""); break;
    case ALERT_INCREASE: write_range(out, query, "increase", ""); break;
    case ALERT_QUANTILE: write_range(out, query, "rate", "_bucket"); break;
    default:
        buf_append_str(out, str_of(query->metric));
        write_filters(out, query);
        break;
    }
}

static void write_folded(struct buf *out, const struct alert_query *query)
{
    static const char *const folds[] = {
        [ALERT_SUM] = "sum", [ALERT_MIN] = "min", [ALERT_MAX] = "max"};
    if (query->without) {
        buf_printf(out, "%s without (%s) (", folds[query->fold], query->without);
    }
    write_read(out, query);
    if (query->without) {
        buf_append_char(out, ')');
    }
}

static void write_query(struct buf *out, const struct alert_query *query)
{
    if (query->read == ALERT_QUANTILE) {
        buf_append_str(out, STR("histogram_quantile("));
        alert_write_number(out, query->quantile);
        buf_append_str(out, STR(", "));
    } else if (query->read == ALERT_SINCE) {
        buf_append_str(out, STR("time() - "));
    }
    write_folded(out, query);
    if (query->read == ALERT_QUANTILE) {
        buf_append_char(out, ')');
    } else if (query->read == ALERT_UNTIL) {
        buf_append_str(out, STR(" - time()"));
    }
}

static void write_quotient(struct buf *out, const struct alert_query *value,
                           const struct alert_query *divisor)
{
    write_query(out, value);
    if (divisor->metric) {
        buf_append_str(out, STR(" / "));
        write_query(out, divisor);
    }
}

static void write_comparison(struct buf *out, enum alert_op op, double threshold)
{
    static const char *const ops[] = {
        [ALERT_OVER] = " > ", [ALERT_UNDER] = " < ", [ALERT_IS] = " == "};
    buf_append_str(out, str_of(ops[op]));
    alert_write_number(out, threshold);
}

void alert_write_expression(struct buf *out, const struct alert_rule *rule)
{
    write_quotient(out, &rule->value, &rule->divisor);
    write_comparison(out, rule->op, rule->threshold);
    if (rule->also.value.metric) {
        buf_append_str(out, rule->also.is_of_node ? STR(" and on (instance) (") : STR(" and ("));
        write_quotient(out, &rule->also.value, &rule->also.divisor);
        write_comparison(out, rule->also.op, rule->also.threshold);
        buf_append_char(out, ')');
    }
}

/* ---- a rules file ---- */

static void write_yaml_string(struct buf *out, const char *key, struct str text)
{
    buf_append_str(out, str_of(key));
    json_write_string(out, text); /* JSON's are YAML's, too */
    buf_append_char(out, '\n');
}

/* Between single quotes only the quote itself means anything, and PromQL here has none. */
static void write_rule(struct buf *out, const struct alert_rule *rule, struct str runbooks)
{
    struct buf page = {0};
    alert_write_runbook(&page, rule, runbooks);
    buf_printf(out, "\n      - alert: %s\n        expr: '", rule->name);
    alert_write_expression(out, rule);
    buf_append_str(out, STR("'\n        for: "));
    alert_write_time(out, rule->hold_ms);
    buf_printf(out, "\n        labels:\n          severity: %s\n        annotations:\n",
               alert_severity_name(rule->severity));
    write_yaml_string(out, "          summary: ", str_of(rule->summary));
    write_yaml_string(out, "          description: ", str_of(rule->detail));
    write_yaml_string(out, "          value: ", STR("{{ $value }}"));
    write_yaml_string(out, "          runbook_url: ", buf_str(&page));
    out->err = out->err ? out->err : page.err;
    buf_fini(&page);
}

void alert_write_prometheus(struct buf *out, const struct alert_rule *rules, size_t count,
                            struct str runbooks)
{
    buf_append_str(out, STR("# Rules of Prometheus for tidegate, as `tidegate alerts --prometheus` "
                            "prints them; not to be edited.\n"
                            "groups:\n  - name: tidegate\n    rules:"));
    for (size_t i = 0; i < count; i++) {
        write_rule(out, &rules[i], runbooks);
    }
}

/* ---- for people ---- */

/* A "|" would end the cell. */
static void write_cell(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '|') {
            buf_append_char(out, '\\');
        }
        buf_append_char(out, text.ptr[i]);
    }
}

void alert_write_markdown(struct buf *out, const struct alert_rule *rules, size_t count)
{
    buf_append_str(out, STR("| alert | severity | for | expression |\n|---|---|---|---|\n"));
    for (size_t i = 0; i < count; i++) {
        const struct alert_rule *rule = &rules[i];
        struct buf expression = {0};
        alert_write_expression(&expression, rule);
        buf_printf(out, "| [%s](../runbooks/%s.md): %s | %s | ", rule->name, rule->runbook,
                   rule->summary, alert_severity_name(rule->severity));
        alert_write_time(out, rule->hold_ms);
        buf_append_str(out, STR(" | `"));
        write_cell(out, buf_str(&expression));
        buf_append_str(out, STR("` |\n"));
        out->err = out->err ? out->err : expression.err;
        buf_fini(&expression);
    }
}

/* ---- for programs ---- */

void alert_write_json(struct buf *out, const struct alert_rule *rule, struct str runbooks)
{
    struct buf text = {0};
    buf_append_char(out, '{');
    json_write_string_field(out, STR("name"), str_of(rule->name));
    json_write_string_field(out, STR("severity"), str_of(alert_severity_name(rule->severity)));
    json_write_u64_field(out, STR("for_ms"), rule->hold_ms);
    alert_write_expression(&text, rule);
    json_write_string_field(out, STR("expression"), buf_str(&text));
    json_write_string_field(out, STR("summary"), str_of(rule->summary));
    json_write_string_field(out, STR("detail"), str_of(rule->detail));
    buf_clear(&text);
    alert_write_runbook(&text, rule, runbooks);
    json_write_string_field(out, STR("runbook"), buf_str(&text));
    json_write_bool_field(out, STR("external"), rule->is_external);
    out->err = out->err ? out->err : text.err;
    buf_fini(&text);
}
