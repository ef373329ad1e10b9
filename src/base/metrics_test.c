#include "base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

#define FAMILY(kind_, name_, help_, ...)        \
    static const struct metric_family name_ = { \
        .kind = METRIC_##kind_, .name = #name_, .help = (help_), .more = "", ##__VA_ARGS__}

FAMILY(COUNTER, test_pushes_total, "Pushes taken.", .labels = {"app"});
FAMILY(COUNTER, test_seen_total, "Seen.", .labels = {"a"});
FAMILY(HISTOGRAM, test_seen_seconds, "Seen.");
FAMILY(COUNTER, test_bare_total, "Bare.");
FAMILY(COUNTER, test_same_total, "Same.", .labels = {"a"});
FAMILY(GAUGE, test_open, "Open things.");
FAMILY(HISTOGRAM, test_time_seconds, "Time.", .labels = {"route"});
FAMILY(HISTOGRAM, test_lag_seconds, "Lag.");
FAMILY(COUNTER, test_zz_total, "Z.");
FAMILY(COUNTER, test_aa_total, "A.", .labels = {"x"});
FAMILY(COUNTER, test_mm_total, "M.");
FAMILY(COUNTER, test_escaped_total, "One\\two\nthree \"four\".",
       .labels = {"app", "reason", "empty"});
FAMILY(GAUGE, test_asked_bytes, "Asked.", .labels = {"owner"});
FAMILY(COUNTER, test_scrapes_total, "Scrapes.");
FAMILY(GAUGE, test_reentrant, "Reentrant.");
FAMILY(COUNTER, test_ended_total, "Ended.");
FAMILY(COUNTER, test_crowd_total, "Crowd.");
FAMILY(COUNTER, test_no_memory_total, "No memory.");
FAMILY(HISTOGRAM, test_race_seconds, "Race.");
FAMILY(GAUGE, test_unborn, "Unborn.");
FAMILY(COUNTER, test_race_total, "Race.", .labels = {"n"});
FAMILY(HISTOGRAM, test_full_seconds, "Full.", .labels = {"n"});

static char *render(void)
{
    struct buf page = {0};
    assert_int_equal(metrics_render(&page), 0);
    char *text = strdup(buf_cstr(&page));
    buf_fini(&page);
    return text;
}

static void assert_page_has(const char *part)
{
    char *page = render();
    if (!strstr(page, part)) {
        print_error("missing: %s\nin: %s\n", part, page);
        fail();
    }
    free(page);
}

static void assert_page_lacks(const char *part)
{
    char *page = render();
    assert_null(strstr(page, part));
    free(page);
}

static void a_counter_is_rendered_with_help_and_type(void **state)
{
    struct metric *web = metric_series(&test_pushes_total, "web");
    struct metric *shop = metric_series(&test_pushes_total, "shop");
    metric_add(web, 2);
    metric_add(web, 3);
    metric_add(shop, 1);
    assert_int_equal(metric_value(web), 5);
    assert_page_has("# HELP test_pushes_total Pushes taken.\n"
                    "# TYPE test_pushes_total counter\n"
                    "test_pushes_total{app=\"web\"} 5\n"
                    "test_pushes_total{app=\"shop\"} 1\n");
}

static void keep_if_named(void *arg, const struct metric_sample *sample)
{
    struct metric_sample *found = arg;
    if (sample->family == found->family && strcmp(sample->labels, found->labels) == 0) {
        *found = *sample;
    }
}

static void a_visit_shows_values_and_the_counts_of_each_bucket(void **state)
{
    metric_add(metric_series(&test_seen_total, "1"), 4);
    struct metric *time = metric_series(&test_seen_seconds);
    metric_observe_us(time, 10);
    metric_observe_us(time, 20000000);
    struct metric_sample counter = {.family = &test_seen_total, .labels = "a=\"1\""};
    metrics_visit(keep_if_named, &counter);
    assert_int_equal(counter.family->kind, METRIC_COUNTER);
    assert_true(counter.value == 4);
    struct metric_sample histogram = {.family = &test_seen_seconds, .labels = ""};
    metrics_visit(keep_if_named, &histogram);
    assert_int_equal(histogram.family->kind, METRIC_HISTOGRAM);
    assert_true(histogram.value == 2);
    assert_true(histogram.sum == 20.00001);
    assert_true(histogram.bounds[0] == 0.00001);
    assert_true(histogram.bounds[histogram.bound_count - 1] == 10);
}

static void a_series_without_labels_has_no_braces(void **state)
{
    metric_add(metric_series(&test_bare_total), 7);
    assert_page_has("# TYPE test_bare_total counter\ntest_bare_total 7\n");
}

static void the_same_name_and_labels_give_the_same_series(void **state)
{
    struct metric *first = metric_series(&test_same_total, "1");
    assert_ptr_equal(metric_series(&test_same_total, "1"), first);
    assert_ptr_not_equal(metric_series(&test_same_total, "2"), first);
}

static void a_gauge_goes_up_and_down(void **state)
{
    struct metric *gauge = metric_series(&test_open);
    metric_gauge_add(gauge, 5);
    metric_gauge_add(gauge, -8);
    assert_int_equal(metric_value(gauge), -3);
    assert_page_has("# TYPE test_open gauge\ntest_open -3\n");
}

static void a_histogram_has_ascending_buckets_a_sum_and_a_count(void **state)
{
    struct metric *time = metric_series(&test_time_seconds, "push");
    const uint64_t observed_us[] = {0, 10, 11, 1000, 2500000, 10000000, 10000001};
    for (size_t i = 0; i < 7; i++) {
        metric_observe_us(time, observed_us[i]);
    }
    assert_int_equal(metric_value(time), 7);
    assert_page_has("# HELP test_time_seconds Time.\n"
                    "# TYPE test_time_seconds histogram\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.00001\"} 2\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.000025\"} 3\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.00005\"} 3\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.0001\"} 3\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.00025\"} 3\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.0005\"} 3\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.001\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.0025\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.005\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.01\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.025\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.05\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.1\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.25\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"0.5\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"1\"} 4\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"2.5\"} 5\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"5\"} 5\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"10\"} 6\n"
                    "test_time_seconds_bucket{route=\"push\",le=\"+Inf\"} 7\n"
                    "test_time_seconds_sum{route=\"push\"} 22.501022\n"
                    "test_time_seconds_count{route=\"push\"} 7\n");
}

static void a_histogram_without_labels_has_le_alone(void **state)
{
    metric_observe_us(metric_series(&test_lag_seconds), 3);
    assert_page_has("test_lag_seconds_bucket{le=\"0.00001\"} 1\n");
    assert_page_has("test_lag_seconds_bucket{le=\"+Inf\"} 1\n"
                    "test_lag_seconds_sum 0.000003\n"
                    "test_lag_seconds_count 1\n");
}

static const struct metric_family custom_amount = {.kind = METRIC_COUNTER,
                                                   .name = "test_amount_total",
                                                   .labels = {"app"},
                                                   .help = "Amount.",
                                                   .more = "",
                                                   .is_real = true,
                                                   .is_custom = true};

static void a_custom_family_is_seen_while_it_is_shown(void **state)
{
    metric_add_real(metric_series(&custom_amount, "a"), 1.5);
    assert_page_lacks("test_amount_total");
    metrics_show_family(&custom_amount, true);
    metric_add_real(metric_series(&custom_amount, "a"), 0.25);
    assert_page_has("# TYPE test_amount_total counter\ntest_amount_total{app=\"a\"} 1.75\n");
    metrics_show_family(&custom_amount, false);
    assert_page_lacks("test_amount_total");
    metrics_show_family(&custom_amount, true);
    assert_page_has("\ntest_amount_total{app=\"a\"} 1.75\n");
}

static void custom_families_of_one_name_have_one_head(void **state)
{
    static const struct metric_family other = {.kind = METRIC_COUNTER,
                                               .name = "test_amount_total",
                                               .labels = {"app"},
                                               .help = "Amount.",
                                               .more = "",
                                               .is_real = true,
                                               .is_custom = true};
    metrics_show_family(&custom_amount, true);
    metrics_show_family(&other, true);
    metric_add_real(metric_series(&custom_amount, "a"), 1);
    metric_add_real(metric_series(&other, "b"), 2);
    assert_page_has("# HELP test_amount_total Amount.\n"
                    "# TYPE test_amount_total counter\n"
                    "test_amount_total{app=\"a\"} 2.75\n"
                    "test_amount_total{app=\"b\"} 2\n");
}

static void a_real_gauge_shows_what_was_set_last(void **state)
{
    FAMILY(GAUGE, test_level, "Level.", .is_real = true);
    struct metric *series = metric_series(&test_level);
    assert_page_lacks("test_level");
    metric_set(series, 2.5);
    metric_set(series, -0.125);
    assert_page_has("# TYPE test_level gauge\ntest_level -0.125\n");
}

static void a_real_histogram_has_the_bounds_of_its_family(void **state)
{
    static const double bounds[] = {0.5, 1, 60};
    FAMILY(HISTOGRAM, test_took_seconds, "Took.", .labels = {"how"}, .is_real = true,
           .bounds = bounds, .bound_count = 3);
    struct metric *series = metric_series(&test_took_seconds, "x");
    const double observed[] = {-1, 0.5, 0.75, 60.5, 1e9};
    for (size_t i = 0; i < 5; i++) {
        metric_observe(series, observed[i]);
    }
    assert_int_equal(metric_value(series), 5);
    assert_page_has("# TYPE test_took_seconds histogram\n"
                    "test_took_seconds_bucket{how=\"x\",le=\"0.5\"} 2\n"
                    "test_took_seconds_bucket{how=\"x\",le=\"1\"} 3\n"
                    "test_took_seconds_bucket{how=\"x\",le=\"60\"} 3\n"
                    "test_took_seconds_bucket{how=\"x\",le=\"+Inf\"} 5\n"
                    "test_took_seconds_sum{how=\"x\"} 1000000060.75\n"
                    "test_took_seconds_count{how=\"x\"} 5\n");
}

static void families_come_by_name_and_once(void **state)
{
    metric_add(metric_series(&test_zz_total), 1);
    metric_add(metric_series(&test_aa_total, "1"), 1);
    metric_add(metric_series(&test_mm_total), 1);
    metric_add(metric_series(&test_aa_total, "2"), 1);
    char *page = render();
    char last[64] = "";
    int families = 0;
    for (char *at = page; (at = strstr(at, "# TYPE ")); families++) {
        char name[64];
        assert_int_equal(sscanf(at, "# TYPE %63s", name), 1);
        assert_true(strcmp(last, name) < 0);
        strcpy(last, name);
        at += 7;
    }
    assert_true(families >= 4);
    free(page);
}

static double read_number(void *arg)
{
    return *(double *)arg;
}

static void a_reader_is_asked_at_each_scrape(void **state)
{
    double value = 0.1;
    struct metric *gauge = metric_series(&test_asked_bytes, "x");
    metric_set_reader(gauge, read_number, &value);
    assert_page_has("\ntest_asked_bytes{owner=\"x\"} 0.1\n");
    const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, " 0\n"},
        {4096, " 4096\n"},
        {1767225600123, " 1767225600123\n"},
        {9007199254740993, " 9007199254740992\n"},
        {-2.5, " -2.5\n"},
        {1.0 / 3, " 0.33333333333333331\n"},
        {NAN, " NaN\n"},
        {INFINITY, " +Inf\n"},
        {-INFINITY, " -Inf\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        value = cases[i].value;
        char line[96];
        snprintf(line, sizeof(line), "\ntest_asked_bytes{owner=\"x\"}%s", cases[i].text);
        assert_page_has(line);
    }
    metric_set_reader(gauge, NULL, NULL);
    assert_page_has("\ntest_asked_bytes{owner=\"x\"} 0\n");
}

static double count_scrapes(void *arg)
{
    metric_add(arg, 1);
    return (double)metric_value(metric_series(&test_scrapes_total));
}

static void a_reader_may_use_the_registry(void **state)
{
    struct metric *scrapes = metric_series(&test_scrapes_total);
    struct metric *gauge = metric_series(&test_reentrant);
    metric_set_reader(gauge, count_scrapes, scrapes);
    assert_page_has("\ntest_reentrant 1\n");
    assert_page_has("\ntest_reentrant 2\n");
    metric_set_reader(gauge, NULL, NULL);
}

static void label_values_and_help_are_escaped(void **state)
{
    struct buf labels = {0};
    metric_label(&labels, "app", STR("a\"b\\c\nd"));
    metric_label(&labels, "reason", STR("\xc3\xa9\xff}"));
    metric_label(&labels, "empty", STR(""));
    assert_string_equal(buf_cstr(&labels), "app=\"a\\\"b\\\\c\\nd\","
                                           "reason=\"\xc3\xa9\xef\xbf\xbd}\",empty=\"\"");
    metric_add(metric_series(&test_escaped_total, "a\"b\\c\nd", "\xc3\xa9\xff}", ""), 1);
    assert_page_has("# HELP test_escaped_total One\\\\two\\nthree \"four\".\n");
    assert_page_has("\ntest_escaped_total{app=\"a\\\"b\\\\c\\nd\",reason=\"\xc3\xa9\xef\xbf\xbd}\","
                    "empty=\"\"} 1\n");
    buf_fini(&labels);
}

static void a_page_that_does_not_fit_is_an_error(void **state)
{
    struct buf page;
    buf_init(&page, 100);
    assert_int_equal(metrics_render(&page), ERR_TOO_LARGE);
    buf_fini(&page);
    buf_init(&page, 0);
    mem_fail_nth(1);
    assert_int_equal(metrics_render(&page), ERR_NO_MEMORY);
    buf_fini(&page);
}

static void *add_1000(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        metric_add(arg, 1);
    }
    return NULL;
}

static void threads_that_end_leave_their_sums(void **state)
{
    /* More threads in all than may live at once: their places are used again. */
    struct metric *counter = metric_series(&test_ended_total);
    for (int i = 0; i < METRICS_MAX_THREADS + 50; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, add_1000, counter), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(metric_value(counter), (i + 1) * 1000);
    }
}

static pthread_barrier_t barrier;

FAMILY(COUNTER, test_crowd_real_total, "Crowd.", .is_real = true);

static void *add_1000_together(void *arg)
{
    struct metric *real = metric_series(&test_crowd_real_total);
    metric_add(arg, 1); /* takes a place, if there is one */
    pthread_barrier_wait(&barrier);
    add_1000(arg);
    for (int i = 0; i < 100; i++) {
        metric_add_real(real, 0.5);
    }
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void threads_beyond_the_limit_are_counted_too(void **state)
{
    enum { THREADS = METRICS_MAX_THREADS + 4 };
    struct metric *counter = metric_series(&test_crowd_total);
    pthread_t threads[THREADS];
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_1000_together, counter), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    pthread_barrier_destroy(&barrier);
    assert_int_equal(metric_value(counter), THREADS * 1001);
    assert_page_has("\ntest_crowd_real_total 13000\n"); /* THREADS times 100 halves */
}

static void *add_without_memory(void *arg)
{
    mem_fail_nth(1);
    metric_add(arg, 1);
    int failed = !mem_fail_pending();
    metric_add(arg, 1);
    return failed ? arg : NULL;
}

static void *hold_a_place(void *arg)
{
    metric_add(arg, 1);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

/* Runs first, so that a second thread needs an array of its own. */
static void a_thread_without_memory_for_cells_is_counted_too(void **state)
{
    struct metric *counter = metric_series(&test_no_memory_total);
    pthread_t holder, thread;
    void *result;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&holder, NULL, hold_a_place, counter), 0);
    pthread_barrier_wait(&barrier);
    assert_int_equal(pthread_create(&thread, NULL, add_without_memory, counter), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, counter);
    pthread_barrier_wait(&barrier);
    assert_int_equal(pthread_join(holder, NULL), 0);
    pthread_barrier_destroy(&barrier);
    assert_int_equal(metric_value(counter), 3);
}

static void *make_and_add(void *arg)
{
    for (int i = 0; i < 200; i++) {
        char number[32];
        snprintf(number, sizeof(number), "%d", i % 50);
        metric_add(metric_series(&test_race_total, number), 1);
        metric_observe_us(metric_series(&test_race_seconds), 5);
    }
    return NULL;
}

static void scrapes_run_beside_makers_and_updates(void **state)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, make_and_add, NULL), 0);
    }
    for (int i = 0; i < 20; i++) {
        free(render());
    }
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < 50; i++) {
        char number[32];
        snprintf(number, sizeof(number), "%d", i);
        sum += metric_value(metric_series(&test_race_total, number));
    }
    assert_int_equal(sum, 800);
    assert_int_equal(metric_value(metric_series(&test_race_seconds)), 800);
}

static void a_series_without_memory_is_the_overflow_series(void **state)
{
    struct metric *overflow = metric_series(&metrics_overflow);
    int64_t before = metric_value(overflow);
    for (unsigned long nth = 1; nth <= 2; nth++) {
        mem_fail_nth(nth); /* the family, then the series */
        struct metric *metric = metric_series(&test_unborn);
        assert_ptr_equal(metric, overflow);
        assert_false(mem_fail_pending());
        metric_gauge_add(metric, -5);
    }
    assert_int_equal(metric_value(overflow), before + 2);
    assert_page_lacks("test_unborn"); /* a family without series */
    assert_ptr_not_equal(metric_series(&test_unborn), overflow);
}

static const double test_32_bounds[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                        12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
                                        23, 24, 25, 26, 27, 28, 29, 30, 31, 32};
static const struct metric_family test_custom_full = {.kind = METRIC_HISTOGRAM,
                                                      .name = "test_custom_full",
                                                      .labels = {"n"},
                                                      .help = "Many.",
                                                      .more = "",
                                                      .is_real = true,
                                                      .bounds = test_32_bounds,
                                                      .bound_count = 32,
                                                      .is_custom = true};

/* Runs as the last but one: no custom series fits any more afterwards. */
static void custom_series_leave_room_for_others(void **state)
{
    struct metric *overflow = metric_series(&metrics_overflow);
    struct metric *metric = NULL;
    int count = 0;
    for (; metric != overflow; count++) {
        char number[32];
        snprintf(number, sizeof(number), "%d", count);
        metric = metric_series(&test_custom_full, number);
    }
    assert_in_range(count, 1, METRICS_CUSTOM_CELLS / 34 + 1);
    for (int i = 0; i < 200; i++) {
        char number[32];
        snprintf(number, sizeof(number), "reserve %d", i);
        assert_ptr_not_equal(metric_series(&test_full_seconds, number), overflow);
    }
}

/* Runs last: nothing fits any more afterwards. */
static void a_full_registry_counts_into_the_overflow_series(void **state)
{
    struct metric *overflow = metric_series(&metrics_overflow);
    int64_t before = metric_value(overflow);
    struct metric *known = metric_series(&test_pushes_total, "web");
    int64_t pushes = metric_value(known);
    struct metric *metric = NULL;
    for (int i = 0; metric != overflow; i++) {
        char number[32];
        snprintf(number, sizeof(number), "%d", i);
        metric = metric_series(&test_full_seconds, number);
        metric_observe_us(metric, 1000);
        assert_in_range(i, 0, METRICS_MAX_CELLS);
    }
    metric_observe_us(metric, 1000);
    metric_set_reader(metric, read_number, NULL); /* has no effect */
    assert_int_equal(metric_value(overflow), before + 2);
    metric_add(known, 1);
    assert_int_equal(metric_value(known), pushes + 1);
    char line[64];
    snprintf(line, sizeof(line), "\ntidegate_metrics_overflow_total %lld\n", (long long)before + 2);
    assert_page_has(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_without_memory_for_cells_is_counted_too),
        cmocka_unit_test(a_counter_is_rendered_with_help_and_type),
        cmocka_unit_test(a_visit_shows_values_and_the_counts_of_each_bucket),
        cmocka_unit_test(a_series_without_labels_has_no_braces),
        cmocka_unit_test(the_same_name_and_labels_give_the_same_series),
        cmocka_unit_test(a_gauge_goes_up_and_down),
        cmocka_unit_test(a_histogram_has_ascending_buckets_a_sum_and_a_count),
        cmocka_unit_test(a_histogram_without_labels_has_le_alone),
        cmocka_unit_test(a_custom_family_is_seen_while_it_is_shown),
        cmocka_unit_test(custom_families_of_one_name_have_one_head),
        cmocka_unit_test(a_real_gauge_shows_what_was_set_last),
        cmocka_unit_test(a_real_histogram_has_the_bounds_of_its_family),
        cmocka_unit_test(families_come_by_name_and_once),
        cmocka_unit_test(a_reader_is_asked_at_each_scrape),
        cmocka_unit_test(a_reader_may_use_the_registry),
        cmocka_unit_test(label_values_and_help_are_escaped),
        cmocka_unit_test(a_page_that_does_not_fit_is_an_error),
        cmocka_unit_test(threads_that_end_leave_their_sums),
        cmocka_unit_test(threads_beyond_the_limit_are_counted_too),
        cmocka_unit_test(scrapes_run_beside_makers_and_updates),
        cmocka_unit_test(a_series_without_memory_is_the_overflow_series),
        cmocka_unit_test(custom_series_leave_room_for_others),
        cmocka_unit_test(a_full_registry_counts_into_the_overflow_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
