/* The rules are about metrics that exist, and the files that are made from them are up to date.
 * Runs in the repository's root. */
#include "api/alert_rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "api/alert_text.h"
#include "core/settings.h"
#include "server/families.h"

enum { FILE_MAX = 1 << 18 };

static void read_file(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        fail_msg("there is no %s", path);
    }
    uint8_t *room = buf_reserve(out, FILE_MAX);
    out->len = fread(room, 1, FILE_MAX - 1, file);
    fclose(file);
}

/* ---- what rules name exists ---- */

static const struct metric_family *find_family(const char *name)
{
    for (int i = 0; i < FAMILIES; i++) {
        if (strcmp(families[i].name, name) == 0) {
            return &families[i];
        }
    }
    assert_string_equal(name, metrics_overflow.name);
    return &metrics_overflow;
}

static bool has_label(const struct metric_family *family, struct str label)
{
    for (size_t i = 0; i < metric_label_count(family); i++) {
        if (str_equal(label, str_of(family->labels[i]))) {
            return true;
        }
    }
    return false;
}

static void check_labels(const struct alert_query *query, const struct metric_family *family)
{
    struct str rest = str_of(query->without);
    struct str label;
    while (rest.ptr && str_split(&rest, ',', &label)) {
        assert_true(has_label(family, str_trim(label)));
    }
    for (int i = 0; i < ALERT_FILTERS_MAX && query->filters[i].label; i++) {
        assert_true(has_label(family, str_of(query->filters[i].label)));
    }
}

static void check_query(const struct alert_query *query)
{
    static const enum metric_kind kinds[] = {
        [ALERT_NOW] = METRIC_GAUGE,        [ALERT_RATE] = METRIC_COUNTER,
        [ALERT_INCREASE] = METRIC_COUNTER, [ALERT_QUANTILE] = METRIC_HISTOGRAM,
        [ALERT_UNTIL] = METRIC_GAUGE,      [ALERT_SINCE] = METRIC_GAUGE};
    if (query->metric) {
        const struct metric_family *family = find_family(query->metric);
        assert_int_equal(family->kind, kinds[query->read]);
        check_labels(query, family);
    }
}

static void every_metric_and_label_of_a_rule_exists(void **state)
{
    size_t count;
    const struct alert_rule *rules = alert_rules(&count);
    for (size_t i = 0; i < count; i++) {
        if (!rules[i].is_external) {
            check_query(&rules[i].value);
            check_query(&rules[i].divisor);
            check_query(&rules[i].also.value);
            check_query(&rules[i].also.divisor);
        }
    }
}

static void names_and_pages_are_unlike_each_other(void **state)
{
    size_t count;
    const struct alert_rule *rules = alert_rules(&count);
    assert_in_range(count, 20, ALERT_RULES_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_true(str_starts_with(str_of(rules[i].name), STR("Tidegate")));
        assert_ptr_equal(alert_rule_find(str_of(rules[i].name)), &rules[i]);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(rules[i].runbook, rules[k].runbook);
        }
    }
    assert_null(alert_rule_find(STR("TidegateNothing")));
}

/* ---- files ---- */

static void the_rules_of_prometheus_are_up_to_date(void **state)
{
    struct buf made = {0}, committed = {0};
    size_t count;
    const struct alert_rule *rules = alert_rules(&count);
    alert_write_prometheus(&made, rules, count, STR(""));
    read_file("deploy/prometheus/alerts.yaml", &committed);
    if (!str_equal(buf_str(&made), buf_str(&committed))) {
        fail_msg("deploy/prometheus/alerts.yaml is not what the rules say: write it with "
                 "./dev docs");
    }
    buf_fini(&made);
    buf_fini(&committed);
}

static void the_page_on_monitoring_lists_the_rules(void **state)
{
    struct buf made = {0}, page = {0};
    size_t count;
    const struct alert_rule *rules = alert_rules(&count);
    alert_write_markdown(&made, rules, count);
    read_file("docs/how-to/monitoring.md", &page);
    if (!strstr(buf_cstr(&page), buf_cstr(&made))) {
        fail_msg("docs/how-to/monitoring.md has not the rules' table: write it with ./dev docs");
    }
    buf_fini(&made);
    buf_fini(&page);
}

static void every_rule_has_a_page_that_says_what_to_do(void **state)
{
    static const char *const headings[] = {"## What it means", "## What users feel",
                                           "## How to look", "## What to do", "## When it ends"};
    size_t count;
    const struct alert_rule *rules = alert_rules(&count);
    for (size_t i = 0; i < count; i++) {
        char path[128];
        struct buf page = {0};
        snprintf(path, sizeof(path), "docs/runbooks/%s.md", rules[i].runbook);
        read_file(path, &page);
        assert_true(str_starts_with(buf_str(&page), STR("# Tidegate")));
        assert_non_null(strstr(buf_cstr(&page), rules[i].name));
        for (size_t k = 0; k < sizeof(headings) / sizeof(headings[0]); k++) {
            if (!strstr(buf_cstr(&page), headings[k])) {
                fail_msg("%s has no \"%s\"", path, headings[k]);
            }
        }
        buf_fini(&page);
    }
}

/* ---- a site's changes ---- */

static void a_site_changes_thresholds_and_switches_rules_off(void **state)
{
    struct settings_alert_rule changes[] = {
        {.name = STR("TidegateBusLag"), .enabled = true, .has_threshold = true, .threshold = 9},
        {.name = STR("TidegateBusDown"), .enabled = true, .has_hold = true, .hold_ms = 1},
        {.name = STR("TidegateGaps"), .enabled = false},
    };
    struct settings_alerts settings = {.rules = changes, .rule_count = 3};
    struct alert_rule rules[ALERT_RULES_MAX];
    size_t all;
    alert_rules(&all);
    size_t count = alert_rules_of(&settings, rules);
    assert_int_equal(count, all - 1);
    for (size_t i = 0; i < count; i++) {
        assert_string_not_equal(rules[i].name, "TidegateGaps");
        if (strcmp(rules[i].name, "TidegateBusLag") == 0) {
            assert_true(rules[i].threshold == 9);
            assert_int_equal(rules[i].hold_ms, 120000);
        } else if (strcmp(rules[i].name, "TidegateBusDown") == 0) {
            assert_true(rules[i].threshold == 0);
            assert_int_equal(rules[i].hold_ms, 1);
        }
    }
}

static void a_page_is_where_the_site_has_it(void **state)
{
    struct buf out = {0};
    const struct alert_rule *rule = alert_rule_find(STR("TidegateBusDown"));
    alert_write_runbook(&out, rule, STR("https://wiki.example.com/"));
    assert_string_equal(buf_cstr(&out), "https://wiki.example.com/bus-down.md");
    buf_fini(&out);
}

/* ---- filters ---- */

static void a_filter_takes_whole_values_and_starts(void **state)
{
    struct alert_filter filter = {"route", false, "/v1/.*|other"};
    assert_true(alert_filter_matches(&filter, STR("/v1/messages")));
    assert_true(alert_filter_matches(&filter, STR("/v1/")));
    assert_true(alert_filter_matches(&filter, STR("other")));
    assert_false(alert_filter_matches(&filter, STR("others")));
    assert_false(alert_filter_matches(&filter, STR("/v1")));
    assert_false(alert_filter_matches(&filter, STR("")));
    filter.is_not = true;
    assert_false(alert_filter_matches(&filter, STR("other")));
    assert_true(alert_filter_matches(&filter, STR("")));
}

static void a_comparison_with_no_number_is_false(void **state)
{
    double nan = strtod("nan", NULL);
    assert_false(alert_compare(ALERT_OVER, nan, 1));
    assert_false(alert_compare(ALERT_UNDER, nan, 1));
    assert_false(alert_compare(ALERT_IS, nan, 1));
    assert_true(alert_compare(ALERT_OVER, 1.5, 1));
    assert_false(alert_compare(ALERT_OVER, 1, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_metric_and_label_of_a_rule_exists),
        cmocka_unit_test(names_and_pages_are_unlike_each_other),
        cmocka_unit_test(the_rules_of_prometheus_are_up_to_date),
        cmocka_unit_test(the_page_on_monitoring_lists_the_rules),
        cmocka_unit_test(every_rule_has_a_page_that_says_what_to_do),
        cmocka_unit_test(a_site_changes_thresholds_and_switches_rules_off),
        cmocka_unit_test(a_page_is_where_the_site_has_it),
        cmocka_unit_test(a_filter_takes_whole_values_and_starts),
        cmocka_unit_test(a_comparison_with_no_number_is_false),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
