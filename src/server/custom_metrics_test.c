#include "server/custom_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/json.h"
#include "server/custom_family.h"
#include "server/families.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static struct str created[] = {STR("comment.created")};
static struct str done[] = {STR("verification.done"), STR("verification.failed")};
static struct str channels[] = {STR("news"), STR("a\"b")};
static struct str passed[] = {STR("true"), STR("false")};
static struct str codes[] = {STR("7")};
static double bounds[] = {0.5, 1, 60};

static struct settings_custom_label by_channel[] = {
    {STR("channel"), STR("/meta/channel"), channels, 2}};
static struct settings_custom_label by_result[] = {{STR("passed"), STR("/ok"), passed, 2},
                                                   {STR("code"), STR("/code"), codes, 1}};

static struct settings_custom definitions[] = {
    {.name = STR("comments_total"),
     .kind = SETTINGS_COUNTER,
     .help = STR("Comments."),
     .scale = 1,
     .types = created,
     .type_count = 1,
     .labels = by_channel,
     .label_count = 1},
    {.name = STR("took_seconds"),
     .kind = SETTINGS_HISTOGRAM,
     .help = STR("Took."),
     .scale = 0.001,
     .types = done,
     .type_count = 2,
     .value = STR("/ms"),
     .labels = by_result,
     .label_count = 2,
     .buckets = bounds,
     .bucket_count = 3},
    {.name = STR("waiting"),
     .kind = SETTINGS_GAUGE,
     .help = STR("Waiting."),
     .scale = 1,
     .value = STR("/waiting")},
    {.name = STR("sold_total"),
     .kind = SETTINGS_COUNTER,
     .help = STR("Sold."),
     .scale = 1,
     .types = created,
     .type_count = 1,
     .value = STR("/price")},
};
static const struct settings_metrics settings = {.custom = definitions, .custom_count = 4};

static struct custom_metrics *metrics;

static int start(void **state)
{
    assert_int_equal(custom_metrics_create(&metrics, &settings, "shop"), 0);
    custom_families_begin();
    custom_metrics_want(metrics);
    custom_families_end();
    return 0;
}

static int stop(void **state)
{
    custom_metrics_destroy(metrics);
    return 0;
}

/* One push, from its data to its counts. */
static size_t push(const char *type, const char *json)
{
    struct custom_reading readings[CUSTOM_READINGS_MAX];
    struct json_value value = {0};
    if (json) {
        assert_int_equal(json_parse(&value, str_of(json), 16, NULL), 0);
    }
    size_t count = custom_metrics_read(metrics, str_of(type), value.raw, readings);
    custom_readings_count(readings, count);
    return count;
}

/* The value of a line of the exposition; -1: there is no such line. */
static double shown(const char *series)
{
    struct buf text = {0};
    char line[256];
    assert_int_equal(metrics_render(&text), 0);
    snprintf(line, sizeof(line), "\n%s ", series);
    const char *at = strstr(buf_cstr(&text), line);
    double value = at ? strtod(at + strlen(line), NULL) : -1;
    buf_fini(&text);
    return value;
}

static int64_t failures(const char *metric, const char *reason)
{
    return metric_value(SERIES(custom_metric_errors_total, "shop", metric, reason));
}

static void a_counter_counts_messages_by_their_labels(void **state)
{
    push("comment.created", "{\"meta\":{\"channel\":\"news\"},\"price\":1}");
    push("comment.created", "{\"meta\":{\"channel\":\"n\\u0065ws\"},\"price\":2.5}");
    push("comment.created", "{\"price\":0,\"meta\":{\"channel\":\"a\\\"b\"}}");
    push("comment.created", "{\"price\":0,\"meta\":{\"channel\":\"weather\"}}");
    assert_true(shown("tidegate_app_comments_total{app=\"shop\",channel=\"news\"}") == 2);
    assert_true(shown("tidegate_app_comments_total{app=\"shop\",channel=\"a\\\"b\"}") == 1);
    assert_true(shown("tidegate_app_comments_total{app=\"shop\",channel=\"other\"}") == 1);
    assert_true(shown("tidegate_app_sold_total{app=\"shop\"}") == 3.5);
}

static void a_histogram_scales_its_value(void **state)
{
    push("verification.done", "{\"ms\":750,\"ok\":true,\"code\":7}");
    push("verification.failed", "{\"ms\":59000.5,\"ok\":true,\"code\":7}");
    push("verification.done", "{\"ms\":1e9,\"ok\":false,\"code\":8}");
    const char *line = "tidegate_app_took_seconds_sum{app=\"shop\",passed=\"true\",code=\"7\"}";
    assert_true(shown(line) == 0.75 + 59.0005);
    line = "tidegate_app_took_seconds_bucket{app=\"shop\",passed=\"true\",code=\"7\",le=\"1\"}";
    assert_true(shown(line) == 1);
    line = "tidegate_app_took_seconds_count{app=\"shop\",passed=\"false\",code=\"other\"}";
    assert_true(shown(line) == 1);
}

static void a_gauge_takes_the_last_value_of_any_message_that_has_it(void **state)
{
    assert_true(shown("tidegate_app_waiting{app=\"shop\"}") == -1);
    assert_int_equal(push("queue", "{\"waiting\":12}"), 1);
    assert_int_equal(push("", "{\"waiting\":-0.5}"), 1);
    assert_true(shown("tidegate_app_waiting{app=\"shop\"}") == -0.5);
    assert_true(shown("tidegate_app_waiting_timestamp_seconds{app=\"shop\"}") > 1.7e9);
    /* Others are no mistake. */
    assert_int_equal(push("queue", "{\"waiting\":null}"), 0);
    assert_int_equal(push("queue", "[12]"), 0);
    assert_int_equal(push("queue", NULL), 0);
    assert_int_equal(push("queue", "{\"waiting\":\"12\"}"), 1);
    assert_int_equal(failures("waiting", "missing"), 0);
    assert_int_equal(failures("waiting", "no_json"), 0);
    assert_int_equal(failures("waiting", "not_a_number"), 1);
}

static void what_is_not_found_is_counted_as_an_error(void **state)
{
    const struct {
        const char *type, *json, *metric, *reason;
    } cases[] = {
        {"comment.created", "{\"meta\":{\"channel\":\"news\"}}", "sold_total", "missing"},
        {"comment.created", "{\"price\":\"1\"}", "sold_total", "not_a_number"},
        {"comment.created", "{\"price\":-1}", "sold_total", "negative"},
        {"comment.created", "{\"price\":1}", "comments_total", "label"},
        {"comment.created", "{\"meta\":{\"channel\":[]}}", "comments_total", "label"},
        {"verification.done", NULL, "took_seconds", "no_json"},
        {"verification.done", "{\"ms\":1e400}", "took_seconds", "not_a_number"},
        {"verification.done", "{\"ms\":-1}", "took_seconds", "negative"},
        {"verification.done", "{\"ms\":null}", "took_seconds", "missing"},
        {"verification.done", "{\"ms\":1,\"ok\":null,\"code\":1}", "took_seconds", "label"},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        int64_t before = failures(cases[i].metric, cases[i].reason);
        push(cases[i].type, cases[i].json);
        assert_int_equal(failures(cases[i].metric, cases[i].reason), before + 1);
    }
}

/* Twice 1e308 is more than a double holds; no sum may get there. */
static void what_is_too_large_is_refused_before_it_is_added(void **state)
{
    const char *sum = "tidegate_app_took_seconds_sum{app=\"shop\",passed=\"other\",code=\"7\"}";
    const char *numbers[] = {"1e308", "1e308", "-1e308", "1.1e18"};
    int64_t refused = failures("sold_total", "too_large");
    char json[64];
    push("verification.done", "{\"ms\":1e18,\"ok\":1,\"code\":7}"); /* scaled 1e15: just so */
    for (size_t i = 0; i < LENGTH(numbers); i++) {
        snprintf(json, sizeof(json), "{\"ms\":%s,\"ok\":1,\"code\":7}", numbers[i]);
        push("verification.done", json);
        snprintf(json, sizeof(json), "{\"price\":%s}", numbers[i]);
        push("comment.created", json);
        snprintf(json, sizeof(json), "{\"waiting\":%s}", numbers[i]);
        push("queue", json);
    }
    assert_true(shown(sum) == 1e15);
    assert_true(shown("tidegate_app_sold_total{app=\"shop\"}") < 1e15);
    assert_true(shown("tidegate_app_waiting{app=\"shop\"}") == -0.5);
    assert_int_equal(failures("took_seconds", "too_large"), LENGTH(numbers));
    assert_int_equal(failures("sold_total", "too_large") - refused, LENGTH(numbers));
    assert_int_equal(failures("waiting", "too_large"), LENGTH(numbers));
}

static void a_message_without_its_label_is_counted_as_other(void **state)
{
    double before = shown("tidegate_app_comments_total{app=\"shop\",channel=\"other\"}");
    push("comment.created", NULL);
    push("comment.created", "{\"meta\":{\"channel\":{}}}");
    assert_true(shown("tidegate_app_comments_total{app=\"shop\",channel=\"other\"}") == before + 2);
}

static void other_types_feed_nothing(void **state)
{
    assert_int_equal(push("comment.deleted", "{\"meta\":{\"channel\":\"news\"}}"), 0);
    assert_int_equal(push("", "{\"price\":1}"), 0);
}

static void label_texts_of_any_length_are_looked_at(void **state)
{
    char json[1024];
    char text[700];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    snprintf(json, sizeof(json), "{\"meta\":{\"channel\":\"%s\"},\"price\":0}", text);
    assert_int_equal(push("comment.created", json), 2);
    snprintf(json, sizeof(json), "{\"meta\":{\"channel\":\"\\u0000news\"},\"price\":0}");
    assert_int_equal(push("comment.created", json), 2);
}

/* The same app after a reload with other definitions. */
static struct custom_metrics *reload(const struct settings_metrics *next)
{
    struct custom_metrics *made;
    assert_int_equal(custom_metrics_create(&made, next, "shop"), 0);
    custom_families_begin();
    custom_metrics_want(made);
    custom_families_end();
    return made;
}

static void a_definition_may_go_and_come_back(void **state)
{
    push("comment.created", "{\"meta\":{\"channel\":\"news\"},\"price\":4}");
    double sold = shown("tidegate_app_sold_total{app=\"shop\"}");
    struct settings_metrics fewer = {.custom = definitions, .custom_count = 3};
    struct custom_metrics *next = reload(&fewer);
    assert_true(shown("tidegate_app_sold_total{app=\"shop\"}") == -1);
    assert_true(shown("tidegate_app_comments_total{app=\"shop\",channel=\"news\"}") >= 1);
    push("comment.created", "{\"price\":4}"); /* a worker that has not heard of it yet */
    custom_metrics_destroy(next);
    next = reload(&settings);
    assert_true(shown("tidegate_app_sold_total{app=\"shop\"}") == sold + 4);
    custom_metrics_destroy(next);
}

static void a_metric_that_changes_its_kind_begins_anew(void **state)
{
    struct settings_custom changed = definitions[2];
    changed.kind = SETTINGS_HISTOGRAM;
    changed.buckets = bounds;
    changed.bucket_count = 2;
    struct settings_metrics other = {.custom = &changed, .custom_count = 1};
    push("queue", "{\"waiting\":12}");
    struct custom_metrics *next = reload(&other);
    assert_true(shown("tidegate_app_waiting{app=\"shop\"}") == -1);
    assert_true(shown("tidegate_app_waiting_timestamp_seconds{app=\"shop\"}") == -1);
    assert_true(shown("tidegate_app_waiting_count{app=\"shop\"}") == 0);
    assert_true(shown("tidegate_app_waiting_bucket{app=\"shop\",le=\"1\"}") == 0);
    custom_metrics_destroy(next);
    next = reload(&settings);
    assert_true(shown("tidegate_app_waiting{app=\"shop\"}") == 12);
    assert_true(shown("tidegate_app_waiting_count{app=\"shop\"}") == -1);
    custom_metrics_destroy(next);
}

static void apps_may_share_a_name(void **state)
{
    struct custom_metrics *other;
    struct custom_reading readings[CUSTOM_READINGS_MAX];
    struct settings_metrics one = {.custom = &definitions[3], .custom_count = 1};
    assert_int_equal(custom_metrics_create(&other, &one, "blog"), 0);
    custom_families_begin();
    custom_metrics_want(metrics);
    custom_metrics_want(other);
    custom_families_end();
    size_t count = custom_metrics_read(other, STR("comment.created"), STR("{\"price\":9}"),
                                       readings);
    custom_readings_count(readings, count);
    assert_true(shown("tidegate_app_sold_total{app=\"blog\"}") == 9);
    struct buf text = {0};
    assert_int_equal(metrics_render(&text), 0);
    const char *head = strstr(buf_cstr(&text), "# TYPE tidegate_app_sold_total");
    assert_non_null(head);
    assert_null(strstr(head + 1, "# TYPE tidegate_app_sold_total"));
    buf_fini(&text);
    custom_metrics_destroy(other);
}

static void *push_500(void *arg)
{
    for (int i = 0; i < 500; i++) {
        push("comment.created", i % 2 ? "{\"meta\":{\"channel\":\"news\"},\"price\":0.5}"
                                      : "{\"meta\":{\"channel\":\"a\\\"b\"},\"price\":0.5}");
    }
    return NULL;
}

static void workers_read_side_by_side(void **state)
{
    struct settings_metrics both = {.custom = definitions, .custom_count = 4};
    struct custom_metrics *ours = metrics;
    assert_int_equal(custom_metrics_create(&metrics, &both, "crowd"),
                     0); /* no series is made yet */
    custom_families_begin();
    custom_metrics_want(metrics);
    custom_families_end();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, push_500, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_true(shown("tidegate_app_comments_total{app=\"crowd\",channel=\"news\"}") == 1000);
    assert_true(shown("tidegate_app_sold_total{app=\"crowd\"}") == 1000);
    custom_metrics_destroy(metrics);
    metrics = ours;
}

static void memory_may_be_out(void **state)
{
    struct settings_custom fresh = definitions[1];
    struct settings_metrics one = {.custom = &fresh, .custom_count = 1};
    for (unsigned long nth = 1;; nth++) {
        struct custom_metrics *made = NULL;
        fresh.name = STR("fresh_seconds");
        mem_fail_nth(nth);
        int err = custom_metrics_create(&made, &one, "shop");
        bool went_through = mem_fail_pending();
        mem_fail_nth(0);
        custom_metrics_destroy(made);
        assert_int_equal(err, went_through ? 0 : ERR_NO_MEMORY);
        if (went_through) {
            break;
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_gauge_takes_the_last_value_of_any_message_that_has_it),
        TEST(a_counter_counts_messages_by_their_labels),
        TEST(a_histogram_scales_its_value),
        TEST(what_is_not_found_is_counted_as_an_error),
        TEST(what_is_too_large_is_refused_before_it_is_added),
        TEST(a_message_without_its_label_is_counted_as_other),
        TEST(other_types_feed_nothing),
        TEST(label_texts_of_any_length_are_looked_at),
        TEST(a_definition_may_go_and_come_back),
        TEST(a_metric_that_changes_its_kind_begins_anew),
        TEST(apps_may_share_a_name),
        TEST(workers_read_side_by_side),
        TEST(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
