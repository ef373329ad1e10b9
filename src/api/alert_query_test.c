#include "api/alert_query.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"

static const struct metric_family gauge = {.kind = METRIC_GAUGE, .name = "g"};
static const struct metric_family counter = {.kind = METRIC_COUNTER, .name = "c"};
static const struct metric_family histogram = {.kind = METRIC_HISTOGRAM, .name = "h"};
static const double bounds[] = {1, 2, 4};

struct feed {
    const struct metric_family *family;
    const char *labels;
    double value;
    const uint64_t *buckets;
};

static void take(struct alert_query_state *state, const struct feed *feed)
{
    struct metric_sample sample = {.family = feed->family,
                                   .labels = feed->labels,
                                   .value = feed->value,
                                   .bounds = bounds,
                                   .buckets = feed->buckets,
                                   .bound_count = 3};
    alert_query_sample(state, &sample);
}

static void pass(struct alert_query_state *state, const struct feed *feeds, size_t count,
                 uint64_t now_ms)
{
    alert_query_begin(state);
    for (size_t i = 0; i < count; i++) {
        take(state, &feeds[i]);
    }
    alert_query_end(state, now_ms, 1000);
}

static void is_about(double value, double expected)
{
    if (fabs(value - expected) > 1e-9) {
        fail_msg("%g is not %g", value, expected);
    }
}

/* ---- folding ---- */

static const struct feed gauges[] = {
    {&gauge, "app=\"shop\",queue=\"0\"", 3, NULL},
    {&gauge, "queue=\"1\",app=\"shop\"", 5, NULL},
    {&gauge, "app=\"other\",queue=\"0\"", 7, NULL},
    {&counter, "app=\"shop\",queue=\"0\"", 100, NULL},
};

static void series_that_differ_in_what_is_left_out_are_folded(void **state)
{
    static const struct {
        enum alert_fold fold;
        double shop;
    } cases[] = {{ALERT_SUM, 8}, {ALERT_MIN, 3}, {ALERT_MAX, 5}};
    for (size_t i = 0; i < 3; i++) {
        struct alert_query query = {ALERT_NOW, "g", .without = "queue", .fold = cases[i].fold};
        struct alert_query_state at;
        alert_query_init(&at, &query);
        pass(&at, gauges, 4, 1);
        assert_int_equal(at.group_count, 2);
        is_about(alert_query_value(&at, "app=\"shop\""), cases[i].shop);
        is_about(alert_query_value(&at, "app=\"other\""), 7);
        assert_true(isnan(alert_query_value(&at, "app=\"nobody\"")));
        alert_query_fini(&at);
    }
}

static void labels_that_are_left_are_sorted(void **state)
{
    struct alert_query query = {.read = ALERT_NOW, .metric = "g"};
    struct alert_query_state at;
    alert_query_init(&at, &query);
    pass(&at, gauges, 3, 1);
    is_about(alert_query_value(&at, "app=\"shop\",queue=\"1\""), 5);
    alert_query_fini(&at);
}

static void filters_choose_series(void **state)
{
    struct alert_query query = {.read = ALERT_NOW,
                                .metric = "g",
                                .filters = {{"app", false, "sh.*"}, {"queue", true, "1|2"}}};
    struct alert_query_state at;
    alert_query_init(&at, &query);
    pass(&at, gauges, 4, 1);
    assert_int_equal(at.group_count, 1);
    is_about(alert_query_value(&at, "app=\"shop\",queue=\"0\""), 3);
    alert_query_fini(&at);
}

static void a_quote_in_a_value_ends_nothing(void **state)
{
    struct str rest = STR("a=\"x\\\",b=\\\\\",c=\"\"");
    struct str name, value;
    assert_true(alert_label_next(&rest, &name, &value));
    assert_true(str_equal(name, STR("a")));
    assert_true(str_equal(value, STR("x\\\",b=\\\\")));
    assert_true(alert_label_next(&rest, &name, &value));
    assert_true(str_equal(name, STR("c")));
    assert_int_equal(value.len, 0);
    assert_false(alert_label_next(&rest, &name, &value));
}

static void a_series_that_is_gone_has_no_value(void **state)
{
    struct alert_query query = {.read = ALERT_NOW, .metric = "g"};
    struct alert_query_state at;
    alert_query_init(&at, &query);
    pass(&at, gauges, 1, 1);
    pass(&at, NULL, 0, 2);
    assert_true(isnan(alert_query_value(&at, "app=\"shop\",queue=\"0\"")));
    alert_query_fini(&at);
}

/* ---- windows ---- */

static void pass_counter(struct alert_query_state *state, double value, uint64_t now_s)
{
    const struct feed feed = {&counter, "", value, NULL};
    pass(state, &feed, 1, 1000000 + now_s * 1000);
}

static void an_increase_is_what_came_in_the_window(void **state)
{
    struct alert_query query = {ALERT_INCREASE, "c", .window_s = 60};
    struct alert_query_state at;
    alert_query_init(&at, &query);
    for (uint64_t now_s = 0; now_s <= 600; now_s += 5) {
        pass_counter(&at, now_s < 300 ? (double)now_s : 300, now_s);
        double expected = now_s < 60    ? (double)now_s
                          : now_s < 300 ? 60
                          : now_s < 360 ? 360 - (double)now_s
                                        : 0;
        is_about(alert_query_value(&at, ""), expected);
    }
    alert_query_fini(&at);
}

/* The process began with it at 0, so a series that appears has grown by all of its value. */
static void a_counter_that_appears_has_grown_from_nothing(void **state)
{
    struct alert_query query = {ALERT_INCREASE, "c", .window_s = 60};
    struct alert_query_state at;
    alert_query_init(&at, &query);
    pass(&at, NULL, 0, 1000000);
    pass_counter(&at, 3, 5);
    is_about(alert_query_value(&at, ""), 3);
    for (uint64_t now_s = 10; now_s <= 60; now_s += 5) {
        pass_counter(&at, 3, now_s);
        is_about(alert_query_value(&at, ""), 3);
    }
    pass_counter(&at, 3, 65);
    is_about(alert_query_value(&at, ""), 0);
    alert_query_fini(&at);
}

/* However often it is looked at, the ring spans the window. */
static void a_rate_is_right_at_any_interval(void **state)
{
    static const uint64_t intervals_ms[] = {100, 1000, 5000, 15000, 60000};
    for (size_t i = 0; i < sizeof(intervals_ms) / sizeof(intervals_ms[0]); i++) {
        struct alert_query query = {ALERT_RATE, "c", .window_s = 600};
        struct alert_query_state at;
        alert_query_init(&at, &query);
        for (uint64_t now_ms = 0; now_ms <= 1500000; now_ms += intervals_ms[i]) {
            const struct feed feed = {&counter, "", (double)now_ms / 500, NULL};
            pass(&at, &feed, 1, 1000000 + now_ms);
        }
        double rate = alert_query_value(&at, "");
        assert_true(rate >= 2 && rate < 2 * 1.1); /* at most a slot more than the window */
        alert_query_fini(&at);
    }
}

/* ---- quantiles ---- */

static void a_quantile_is_of_what_came_in_the_window(void **state)
{
    struct alert_query query = {ALERT_QUANTILE, "h", .window_s = 60, .quantile = 0.5};
    struct alert_query_state at;
    alert_query_init(&at, &query);
    uint64_t buckets[] = {100, 0, 0, 0};
    const struct feed feed = {&histogram, "", 100, buckets};
    pass(&at, &feed, 1, 1000000);
    is_about(alert_query_value(&at, ""), 0.5);
    buckets[2] = 10; /* the only ones of the last minute */
    pass(&at, &feed, 1, 1060000);
    is_about(alert_query_value(&at, ""), 3);
    pass(&at, &feed, 1, 1120000);
    assert_true(isnan(alert_query_value(&at, "")));
    alert_query_fini(&at);
}

/* Values that Prometheus's histogram_quantile gives. */
static void quantiles_are_linear_within_a_bucket(void **state)
{
    static const double even[] = {10, 10, 10, 10};
    static const double top[] = {0, 0, 0, 5};
    static const double none[] = {0, 0, 0, 0};
    is_about(alert_quantile(0.25, bounds, even, 3), 1);
    is_about(alert_quantile(0.5, bounds, even, 3), 2);
    is_about(alert_quantile(0.6, bounds, even, 3), 2.8);
    is_about(alert_quantile(0.99, bounds, even, 3), 4);
    is_about(alert_quantile(0.01, bounds, even, 3), 0.04);
    is_about(alert_quantile(0.99, bounds, top, 3), 4);
    assert_true(isnan(alert_quantile(0.99, bounds, none, 3)));
}

/* ---- bounds ---- */

static void groups_beyond_the_limit_are_left_out_and_counted(void **state)
{
    struct alert_query query = {ALERT_INCREASE, "c", .window_s = 60};
    struct alert_query_state at;
    alert_query_init(&at, &query);
    alert_query_begin(&at);
    for (int i = 0; i < ALERT_GROUPS_MAX + 3; i++) {
        char labels[32];
        snprintf(labels, sizeof(labels), "app=\"%d\"", i);
        take(&at, &(struct feed){&counter, labels, 1, NULL});
    }
    alert_query_end(&at, 1, 1);
    assert_int_equal(at.group_count, ALERT_GROUPS_MAX);
    assert_int_equal(at.left_out, 3);
    alert_query_fini(&at);
}

static void labels_that_are_too_long_are_left_out_and_counted(void **state)
{
    char labels[ALERT_LABELS_BYTES + 16];
    snprintf(labels, sizeof(labels), "a=\"%0*d\"", ALERT_LABELS_BYTES, 0);
    struct alert_query query = {.read = ALERT_NOW, .metric = "g"};
    struct alert_query_state at;
    alert_query_init(&at, &query);
    pass(&at, &(struct feed){&gauge, labels, 1, NULL}, 1, 1);
    assert_int_equal(at.group_count, 0);
    assert_int_equal(at.left_out, 1);
    alert_query_fini(&at);
}

static void what_finds_no_memory_is_left_out(void **state)
{
    struct alert_query query = {ALERT_INCREASE, "c", .window_s = 60};
    for (unsigned long n = 1; n <= 3; n++) {
        struct alert_query_state at;
        alert_query_init(&at, &query);
        mem_fail_nth(n);
        pass(&at, &(struct feed){&counter, "", 1, NULL}, 1, 1);
        mem_fail_nth(0);
        assert_int_equal(at.left_out, 1);
        pass(&at, &(struct feed){&counter, "", 1, NULL}, 1, 2);
        assert_int_equal(at.left_out, 0);
        is_about(alert_query_value(&at, ""), 1);
        alert_query_fini(&at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(series_that_differ_in_what_is_left_out_are_folded),
        cmocka_unit_test(labels_that_are_left_are_sorted),
        cmocka_unit_test(filters_choose_series),
        cmocka_unit_test(a_quote_in_a_value_ends_nothing),
        cmocka_unit_test(a_series_that_is_gone_has_no_value),
        cmocka_unit_test(an_increase_is_what_came_in_the_window),
        cmocka_unit_test(a_counter_that_appears_has_grown_from_nothing),
        cmocka_unit_test(a_rate_is_right_at_any_interval),
        cmocka_unit_test(a_quantile_is_of_what_came_in_the_window),
        cmocka_unit_test(quantiles_are_linear_within_a_bucket),
        cmocka_unit_test(groups_beyond_the_limit_are_left_out_and_counted),
        cmocka_unit_test(labels_that_are_too_long_are_left_out_and_counted),
        cmocka_unit_test(what_finds_no_memory_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
