#include "api/statsd_lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/metrics.h"

static const struct metric_family pushes = {.kind = METRIC_COUNTER,
                                            .name = "test_pushes_total",
                                            .labels = {"app", "reason"},
                                            .help = "Pushes.",
                                            .more = ""};
static const struct metric_family level = {
    .kind = METRIC_GAUGE, .name = "test_level", .help = "May be negative.", .more = ""};
static const struct metric_family waits = {
    .kind = METRIC_HISTOGRAM, .name = "test_wait_seconds", .help = "A time.", .more = ""};

static const double one[] = {1};
static const struct metric_family sizes = {.kind = METRIC_HISTOGRAM,
                                           .name = "test_real_sizes",
                                           .help = "Of an app.",
                                           .more = "",
                                           .is_real = true,
                                           .bounds = one,
                                           .bound_count = 1};
static const struct metric_family sold = {
    .kind = METRIC_COUNTER, .name = "test_sold_total", .help = "", .more = "", .is_real = true};

static struct statsd_lines *lines;
static struct buf got; /* all lines, each with its '\n' */
static size_t longest, datagrams;
static bool is_stuck;

static int begin(void **state)
{
    return statsd_lines_create(&lines, "n.1");
}

static int end(void **state)
{
    statsd_lines_destroy(lines);
    buf_fini(&got);
    return 0;
}

static bool keep(void *owner, struct str datagram)
{
    if (is_stuck) {
        return false;
    }
    assert_in_range(datagram.len, 1, STATSD_DATAGRAM_MAX);
    longest = datagram.len > longest ? datagram.len : longest;
    datagrams++;
    buf_append_str(&got, datagram);
    buf_append_char(&got, '\n');
    return true;
}

static const char *run_round(enum settings_statsd_tags tags, const char *prefix)
{
    struct settings_statsd settings = {.prefix = str_of(prefix), .tags = tags};
    buf_clear(&got);
    assert_int_equal(statsd_lines_round(lines, &settings, keep, NULL), 0);
    return buf_cstr(&got);
}

static void must_say(const char *said, const char *line)
{
    if (!strstr(said, line)) {
        fail_msg("expected: %s\ngot: %s", line, said);
    }
}

static void counters_say_what_was_added(void **state)
{
    struct metric *metric = metric_series(&pushes, "shop", "");
    metric_add(metric, 5);
    statsd_lines_begin(lines);
    metric_add(metric, 2);
    must_say(run_round(SETTINGS_STATSD_NONE, "eu."),
             "eu.test_pushes_total.node.n_1.app.shop.reason.none:2|c\n");
    assert_null(strstr(run_round(SETTINGS_STATSD_NONE, ""), "test_pushes_total"));
    metric_add(metric_series(&pushes, "new", "a.b:c|d\xc3\xa9"), 7); /* of which nothing was told */
    must_say(run_round(SETTINGS_STATSD_NONE, ""),
             "test_pushes_total.node.n_1.app.new.reason.a_b_c_d__:7|c\n");
    metric_add(metric, 1);
    must_say(run_round(SETTINGS_STATSD_DOGSTATSD, "p."),
             "p.test_pushes_total:1|c|#node:n.1,app:shop,reason:none\n");
    metric_add(metric_series(&pushes, "new", "a.b:c|d\xc3\xa9"), 1);
    must_say(run_round(SETTINGS_STATSD_DOGSTATSD, ""), ",reason:a.b_c_d\xc3\xa9\n");
}

static void a_gauge_says_its_value_also_below_0(void **state)
{
    struct metric *metric = metric_series(&level);
    metric_gauge_add(metric, 3);
    must_say(run_round(SETTINGS_STATSD_NONE, ""), "test_level.node.n_1:3|g\n");
    must_say(run_round(SETTINGS_STATSD_NONE, ""), "test_level.node.n_1:3|g\n");
    metric_gauge_add(metric, -5);
    must_say(run_round(SETTINGS_STATSD_NONE, ""),
             "test_level.node.n_1:0|g\ntest_level.node.n_1:-2|g\n");
}

static void a_histogram_says_count_sum_and_quantiles_of_the_round(void **state)
{
    struct metric *metric = metric_series(&waits);
    metric_observe_us(metric, 9000000);
    statsd_lines_begin(lines);
    for (int i = 0; i < 100; i++) {
        metric_observe_us(metric, 75); /* in the bucket from 50 to 100 us */
    }
    const char *said = run_round(SETTINGS_STATSD_NONE, "");
    must_say(said, "test_wait_seconds_count.node.n_1:100|c\n");
    must_say(said, "test_wait_seconds_sum.node.n_1:0.0075|c\n");
    must_say(said, "test_wait_seconds_p50.node.n_1:0.000075|g\n");
    must_say(said, "test_wait_seconds_p99.node.n_1:0.0000995|g\n");
    assert_null(strstr(run_round(SETTINGS_STATSD_NONE, ""), "test_wait_seconds"));
    metric_observe_us(metric, 60000000);
    must_say(run_round(SETTINGS_STATSD_NONE, ""), "test_wait_seconds_p50.node.n_1:10|g\n");
}

static void a_number_that_no_line_can_say_is_left_out(void **state)
{
    metric_add_real(metric_series(&sold), 1e308);
    metric_observe(metric_series(&sizes), 1e308);
    const char *said = run_round(SETTINGS_STATSD_NONE, "");
    must_say(said, "test_sold_total.node.n_1:1000000000000000010979");
    must_say(said, "test_real_sizes_sum.node.n_1:1000000000000000010979");
    for (int i = 0; i < 2; i++) { /* to an infinity, and on from there */
        metric_add_real(metric_series(&sold), 1e308);
        metric_observe(metric_series(&sizes), 1e308);
        said = run_round(SETTINGS_STATSD_NONE, "");
        must_say(said, "test_real_sizes_count.node.n_1:1|c\n");
        assert_null(strstr(said, "test_real_sizes_sum"));
        assert_null(strstr(said, "test_sold_total"));
    }
}

static void what_did_not_leave_is_said_in_the_next_round(void **state)
{
    run_round(SETTINGS_STATSD_NONE, "");
    metric_add(metric_series(&pushes, "shop", "x"), 3);
    for (int i = 0; i < 10; i++) {
        metric_observe_us(metric_series(&waits), 75);
    }
    is_stuck = true;
    run_round(SETTINGS_STATSD_NONE, "");
    run_round(SETTINGS_STATSD_NONE, "");
    is_stuck = false;
    metric_add(metric_series(&pushes, "shop", "x"), 4);
    metric_observe_us(metric_series(&waits), 75);
    const char *said = run_round(SETTINGS_STATSD_NONE, "");
    must_say(said, "test_pushes_total.node.n_1.app.shop.reason.x:7|c\n");
    must_say(said, "test_wait_seconds_count.node.n_1:11|c\n");
    must_say(said, "test_wait_seconds_sum.node.n_1:0.000825|c\n");
    said = run_round(SETTINGS_STATSD_NONE, "");
    assert_null(strstr(said, "test_pushes_total"));
    assert_null(strstr(said, "test_wait_seconds"));
}

static void datagrams_are_packed_and_never_too_long(void **state)
{
    char name[80];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "%064d", i);
        metric_add(metric_series(&pushes, name, "x"), 1);
    }
    longest = datagrams = 0;
    const char *said = run_round(SETTINGS_STATSD_NONE, "");
    assert_true(longest > STATSD_DATAGRAM_MAX - 150);
    assert_true(datagrams < 200 / 8);
    size_t count = 0;
    for (; (said = strstr(said, "reason.x:1|c\n")); said++) {
        count++;
    }
    assert_int_equal(count, 200);
}

static void want_of_memory_is_said_and_the_next_round_goes_on(void **state)
{
    struct settings_statsd settings = {.prefix = STR("")};
    for (unsigned long n = 1; n < 4; n++) {
        metric_add(metric_series(&pushes, "mem", "x"), 1);
        mem_fail_nth(n);
        (void)statsd_lines_round(lines, &settings, keep, NULL);
        mem_fail_nth(0);
    }
    metric_add(metric_series(&pushes, "mem", "y"), 1);
    must_say(run_round(SETTINGS_STATSD_NONE, ""), "app.mem.reason.y:1|c\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counters_say_what_was_added, begin, end),
        cmocka_unit_test_setup_teardown(a_gauge_says_its_value_also_below_0, begin, end),
        cmocka_unit_test_setup_teardown(a_histogram_says_count_sum_and_quantiles_of_the_round,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_number_that_no_line_can_say_is_left_out, begin, end),
        cmocka_unit_test_setup_teardown(what_did_not_leave_is_said_in_the_next_round, begin, end),
        cmocka_unit_test_setup_teardown(datagrams_are_packed_and_never_too_long, begin, end),
        cmocka_unit_test_setup_teardown(want_of_memory_is_said_and_the_next_round_goes_on, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
