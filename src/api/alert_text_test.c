#include "api/alert_text.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static void says(void (*write)(struct buf *out, const void *arg), const void *arg, const char *text)
{
    struct buf out = {0};
    write(&out, arg);
    assert_string_equal(buf_cstr(&out), text);
    buf_fini(&out);
}

static void write_time(struct buf *out, const void *arg)
{
    alert_write_time(out, *(const uint64_t *)arg);
}

static void write_number(struct buf *out, const void *arg)
{
    alert_write_number(out, *(const double *)arg);
}

static void write_json_number(struct buf *out, const void *arg)
{
    alert_write_json_number(out, *(const double *)arg);
}

static void write_expression(struct buf *out, const void *arg)
{
    alert_write_expression(out, arg);
}

static void times_have_the_largest_unit_that_fits(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {{0, "0s"},      {1, "1ms"},      {1500, "1500ms"}, {30000, "30s"},  {90000, "90s"},
                 {300000, "5m"}, {3600000, "1h"}, {5400000, "90m"}, {86400000, "1d"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        says(write_time, &cases[i].ms, cases[i].text);
    }
}

static void numbers_read_back_as_the_same(void **state)
{
    static const struct {
        double number;
        const char *text;
    } cases[] = {{0, "0"},       {1209600, "1209600"}, {0.01, "0.01"},
                 {0.1, "0.1"},   {-2.5, "-2.5"},       {1.0 / 3, "0.3333333333333333"},
                 {1e20, "1e+20"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        says(write_number, &cases[i].number, cases[i].text);
        assert_true(strtod(cases[i].text, NULL) == cases[i].number);
    }
}

static void json_has_no_word_for_what_is_no_number(void **state)
{
    const double cases[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        says(write_json_number, &cases[i], "null");
    }
    says(write_number, &cases[0], "NaN");
    says(write_number, &cases[2], "-Inf");
}

static void an_expression_says_all_of_a_rule(void **state)
{
    const struct alert_rule rule = {
        .value = {.read = ALERT_RATE,
                  .metric = "a_total",
                  .filters = {{"route", false, "/v1/.*"}, {"status", true, "2xx"}},
                  .window_s = 300,
                  .without = "route, status"},
        .divisor = {.read = ALERT_NOW, .metric = "b", .without = "x", .fold = ALERT_MAX},
        .op = ALERT_OVER,
        .threshold = 0.5,
        .also = {.value = {.read = ALERT_SINCE, .metric = "c"},
                 .divisor = {.read = ALERT_NOW, .metric = "d"},
                 .op = ALERT_UNDER,
                 .threshold = 3,
                 .is_of_node = true},
    };
    says(write_expression, &rule,
         "sum without (route, status) (rate(a_total{route=~\"/v1/.*\", status!=\"2xx\"}[5m])) / "
         "max without (x) (b) > 0.5 and on (instance) (time() - c / d < 3)");
    const struct alert_rule slow = {.value = {.read = ALERT_QUANTILE,
                                              .metric = "h_seconds",
                                              .filters = {{"stage", true, "a|b"}},
                                              .window_s = 60,
                                              .quantile = 0.99},
                                    .op = ALERT_IS,
                                    .threshold = 1};
    says(write_expression, &slow,
         "histogram_quantile(0.99, rate(h_seconds_bucket{stage!~\"a|b\"}[1m])) == 1");
    const struct alert_rule ends = {
        .value = {.read = ALERT_UNTIL, .metric = "e"}, .op = ALERT_UNDER, .threshold = 60};
    says(write_expression, &ends, "e - time() < 60");
}

static void a_bar_in_the_table_ends_no_cell(void **state)
{
    const struct alert_rule rule = {
        .name = "N",
        .runbook = "n",
        .summary = "S",
        .value = {.read = ALERT_NOW, .metric = "a", .filters = {{"x", false, "y|z"}}},
        .op = ALERT_IS};
    struct buf out = {0};
    alert_write_markdown(&out, &rule, 1);
    assert_non_null(strstr(buf_cstr(&out), "\n| [N](../runbooks/n.md): S | warning | 0s | "
                                           "`a{x=~\"y\\|z\"} == 0` |\n"));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_have_the_largest_unit_that_fits),
        cmocka_unit_test(numbers_read_back_as_the_same),
        cmocka_unit_test(json_has_no_word_for_what_is_no_number),
        cmocka_unit_test(an_expression_says_all_of_a_rule),
        cmocka_unit_test(a_bar_in_the_table_ends_no_cell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
