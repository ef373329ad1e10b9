#include "app/config_metrics.h"

#include <stdio.h>

#include "app/config_try.h"
#include "base/buf.h"

/* A configuration whose app has these lines under metrics.custom. */
static const char *with(const char *custom)
{
    static char yaml[8192];
    snprintf(yaml, sizeof(yaml), "apps:\n- name: shop\n  metrics:\n    custom:\n%s", custom);
    return yaml;
}

/* Refused with this one line; the first line of custom is line 5. */
static void refuses(const char *custom, const char *line)
{
    char expected[1024];
    snprintf(expected, sizeof(expected), "t.yaml:%s\n", line);
    config_must_say(with(custom), expected);
}

static void a_metric_is_read_with_all_it_has(void **state)
{
    struct settings *settings = config_must_accept(
        with("    - name: took_seconds\n"
             "      kind: histogram\n"
             "      help: From the code to the result.\n"
             "      types: [verification.done, verification.failed]\n"
             "      value: /times/0/ms\n"
             "      scale: 0.001\n"
             "      buckets: [-1, 0.5, 1e3]\n"
             "      labels:\n"
             "      - {name: result, field: /result, values: [ok, refused]}\n"
             "    - {name: waiting, kind: gauge, help: Waiting., value: /n}\n"
             "    - {name: sold_total, kind: counter, help: Sold., types: [sale]}\n"));
    const struct settings_metrics *metrics = &settings->apps[0].metrics;
    assert_int_equal(metrics->custom_count, 3);
    const struct settings_custom *took = &metrics->custom[0];
    assert_string_equal(took->name.ptr, "took_seconds");
    assert_int_equal(took->kind, SETTINGS_HISTOGRAM);
    assert_int_equal(took->type_count, 2);
    assert_string_equal(took->value.ptr, "/times/0/ms");
    assert_true(took->scale == 0.001);
    assert_int_equal(took->bucket_count, 3);
    assert_true(took->buckets[0] == -1 && took->buckets[1] == 0.5 && took->buckets[2] == 1000);
    assert_string_equal(took->labels[0].values[1].ptr, "refused");
    assert_int_equal(settings_custom_sets(took), 3);
    assert_int_equal(settings_custom_series(took), 18);
    assert_true(metrics->custom[1].scale == 1);
    assert_int_equal(settings_custom_series(&metrics->custom[1]), 2);
    assert_int_equal(settings_custom_series(&metrics->custom[2]), 1);
    settings_unref(settings);
}

static void names_keep_the_rules_of_prometheus(void **state)
{
    refuses("    - {name: sold, kind: counter, help: S., types: [a]}\n",
            "5:14: apps[0].metrics.custom[0]: expected a name that ends in \"_total\", as of all "
            "counters");
    const char *taken[] = {"a_total", "a_bucket", "a_sum", "a_count"};
    for (size_t i = 0; i < 4; i++) {
        char line[256];
        snprintf(line, sizeof(line), "    - {name: %s, kind: gauge, help: S., value: /a}\n",
                 taken[i]);
        config_must_mention(with(line), "t.yaml:5:14: apps[0].metrics.custom[0]: expected a name "
                                        "without \"_total\"");
    }
    const char *bad[] = {"1a_total", "a-b_total", "a:b_total", "\"\"", "\"\xc3\xa9_total\""};
    for (size_t i = 0; i < 5; i++) {
        char line[256];
        snprintf(line, sizeof(line), "    - {name: %s, kind: counter, help: S., types: [a]}\n",
                 bad[i]);
        config_must_mention(with(line), "t.yaml:5:14: apps[0].metrics.custom[0].name: expected a "
                                        "name of up to 64 letters, digits and \"_\"");
    }
    const char *labels[] = {"app", "le", "quantile", "job", "instance", "__a", "0a", "a-b"};
    for (size_t i = 0; i < 8; i++) {
        char line[256];
        snprintf(line, sizeof(line),
                 "    - {name: a_total, kind: counter, help: S., types: [a],\n"
                 "       labels: [{name: %s, field: /a, values: [b]}]}\n",
                 labels[i]);
        config_must_mention(with(line), "t.yaml:6:24: apps[0].metrics.custom[0].labels[0].name: ");
    }
}

static void a_kind_has_what_it_needs(void **state)
{
    refuses("    - {name: a, kind: gauge, help: A., types: [a]}\n",
            "5:7: apps[0].metrics.custom[0]: expected \"value\": what is counted of a message");
    refuses("    - {name: a_total, kind: counter, help: A.}\n",
            "5:7: apps[0].metrics.custom[0]: expected \"types\" or \"value\": which messages are "
            "counted");
    refuses("    - {name: a, kind: histogram, help: A., value: /a}\n",
            "5:7: apps[0].metrics.custom[0]: expected \"buckets\" of a histogram");
    refuses("    - {name: a, kind: gauge, help: A., value: /a, buckets: [1]}\n",
            "5:60: apps[0].metrics.custom[0]: expected \"buckets\" of a histogram alone");
    refuses("    - {name: a_total, kind: counter, help: A., types: [a], scale: 2}\n",
            "5:67: apps[0].metrics.custom[0]: expected \"value\" beside it");
    refuses("    - {name: a_total, kind: meter, help: A., value: /a}\n",
            "5:29: apps[0].metrics.custom[0].kind: expected one of counter, gauge, histogram, got "
            "\"meter\"");
    config_must_mention(with("    - {}\n"), "\"name\" is missing");
    config_must_mention(with("    - {}\n"), "\"help\" is missing");
}

static void numbers_and_pointers_are_checked(void **state)
{
    const struct {
        const char *key, *value, *says;
    } cases[] = {
        {"scale", "fast", "scale: expected a number such as 0.001, got \"fast\""},
        {"scale", "0", "scale: expected a number that is not 0, got \"0\""},
        {"buckets", "[]", "buckets: expected a list of 1 to 32 numbers"},
        {"buckets", "5", "buckets: expected a list of 1 to 32 numbers"},
        {"buckets", "[1, one]", "buckets: expected a number such as 0.5, got \"one\""},
        {"buckets", "[1, 1]", "buckets: expected a number larger than the one before, got \"1\""},
        {"buckets", "[2, 1]", "buckets: expected a number larger than the one before, got \"1\""},
        {"value", "price", "value: expected a JSON pointer into the data"},
        {"value", "/a~2", "value: expected a JSON pointer into the data"},
        {"value", "/1/2/3/4/5/6/7/8/9", "value: expected a JSON pointer into the data"},
        {"types", "[a, a]", "\"a\" stands twice in \"types\""},
        {"labels", "[{name: b, field: /b, values: []}]", "expected at least 1 item, got 0"},
        {"labels", "[{name: b, field: /b, values: [x, x]}]", "\"x\" stands twice in \"values\""},
        {"labels", "[{name: b, field: /b, values: [other]}]", "\"other\" is what all values are"},
        {"labels", "[{name: b, field: /b, values: [x]}, {name: b, field: /c, values: [x]}]",
         "\"b\" stands twice in \"labels\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char lines[512];
        snprintf(lines, sizeof(lines),
                 "    - name: a\n      kind: histogram\n      help: A.\n%s%s      %s: %s\n",
                 strcmp(cases[i].key, "value") != 0 ? "      value: /a\n" : "",
                 strcmp(cases[i].key, "buckets") != 0 ? "      buckets: [1]\n" : "", cases[i].key,
                 cases[i].value);
        config_must_mention(with(lines), cases[i].says);
    }
}

static void buckets_have_a_limit(void **state)
{
    struct buf lines = {0};
    buf_append_str(&lines, STR("    - name: a\n      kind: histogram\n      help: A.\n"
                               "      value: /a\n      buckets: [0"));
    for (int i = 1; i < 32; i++) {
        buf_printf(&lines, ", %d", i);
    }
    size_t len = lines.len;
    buf_append_str(&lines, STR("]\n"));
    settings_unref(config_must_accept(with(buf_cstr(&lines))));
    lines.len = len;
    buf_append_str(&lines, STR(", 32]\n"));
    config_must_mention(with(buf_cstr(&lines)), "expected a list of 1 to 32 numbers");
    buf_fini(&lines);
}

/* A counter with labels of so many values each. */
static void append_labelled(struct buf *lines, const char *name, const int *values, size_t labels)
{
    buf_printf(lines, "    - name: %s\n      kind: counter\n      help: A.\n      types: [a]\n",
               name);
    buf_append_str(lines, STR("      labels:\n"));
    for (size_t i = 0; i < labels; i++) {
        buf_printf(lines, "      - {name: l%zu, field: /l, values: [v0", i);
        for (int v = 1; v < values[i]; v++) {
            buf_printf(lines, ", v%d", v);
        }
        buf_append_str(lines, STR("]}\n"));
    }
}

static void sets_of_label_values_have_a_limit(void **state)
{
    static const int fitting[] = {9, 9, 9};
    static const int too_many[] = {9, 9, 10};
    struct buf lines = {0};
    append_labelled(&lines, "a_total", fitting, 3);
    settings_unref(config_must_accept(with(buf_cstr(&lines))));
    buf_clear(&lines);
    append_labelled(&lines, "a_total", too_many, 3);
    config_must_mention(
        with(buf_cstr(&lines)),
        "t.yaml:10:7: apps[0].metrics.custom[0]: expected at most 1000 sets of label "
        "values, got 1100");
    buf_fini(&lines);
}

static void series_of_all_apps_have_a_limit(void **state)
{
    static const int values[] = {9, 9, 9};
    struct buf lines = {0};
    append_labelled(&lines, "a_total", values, 3);
    append_labelled(&lines, "b_total", values, 3);
    char yaml[9000];
    snprintf(yaml, sizeof(yaml), "%slimits: {custom_series: 2000}\n", with(buf_cstr(&lines)));
    settings_unref(config_must_accept(yaml));
    snprintf(yaml, sizeof(yaml), "%slimits: {custom_series: 1999}\n", with(buf_cstr(&lines)));
    config_must_say(yaml,
                    "t.yaml:2:1: apps: the metrics of all apps can have 2000 series; expected at "
                    "most limits.custom_series, 1999\n");
    buf_fini(&lines);
}

static void fields_of_an_app_have_a_limit(void **state)
{
    struct buf lines = {0};
    for (int i = 0; i < 32; i++) {
        buf_printf(
            &lines,
            "    - {name: a%d, kind: gauge, help: A., value: /v%d, labels: [{name: l, field: "
            "/l%d, values: [x]}]}\n",
            i, i, i);
    }
    settings_unref(config_must_accept(with(buf_cstr(&lines))));
    lines.len -= strlen("}]}\n");
    buf_append_str(&lines, STR("}, {name: k, field: /k, values: [x]}]}\n"));
    config_must_mention(with(buf_cstr(&lines)),
                        "apps[0].metrics: expected at most 64 different fields, got 65");
    buf_fini(&lines);
}

static void a_name_stands_once_in_an_app(void **state)
{
    refuses("    - {name: a_total, kind: counter, help: A., types: [a]}\n"
            "    - {name: a_total, kind: counter, help: A., types: [b]}\n",
            "6:14: apps[0].metrics.custom[1].name: two metrics of the app have the same name");
    const char
        *collides = "6:14: apps[0].metrics.custom[1].name: collides with what is shown beside a "
                    "gauge: when it was set";
    refuses("    - {name: a, kind: gauge, help: A., value: /a}\n"
            "    - {name: a_timestamp_seconds, kind: gauge, help: A., value: /b}\n",
            collides);
    refuses("    - {name: a_timestamp_seconds, kind: gauge, help: A., value: /b}\n"
            "    - {name: a, kind: gauge, help: A., value: /a}\n",
            collides);
}

static void apps_that_share_a_name_agree(void **state)
{
    static const char *const shapes[] = {
        "{name: a, kind: histogram, help: B., value: /b, buckets: [1, 2]}",
        "{name: a, kind: histogram, help: A., value: /a, buckets: [1, 3]}",
        "{name: a, kind: histogram, help: A., value: /a, buckets: [1]}",
        "{name: a, kind: gauge, help: A., value: /a}",
        "{name: a, kind: histogram, help: A., value: /a, buckets: [1, 2], labels: [{name: b, field: "
        "/b, values: [c]}]}",
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        char yaml[1024];
        snprintf(yaml, sizeof(yaml),
                 "apps:\n"
                 "- {name: x, metrics: {custom: [{name: a, kind: histogram, help: A., value: /a, "
                 "buckets: [1, 2]}]}}\n"
                 "- {name: y, metrics: {custom: [%s]}}\n",
                 shapes[i]);
        if (i == 0) {
            settings_unref(config_must_accept(yaml));
            continue;
        }
        config_must_say(yaml,
                        "t.yaml:3:39: apps[1].metrics.custom[0].name: another app has a metric "
                        "of this name: expected the same kind, labels and buckets\n");
    }
}

static void types_of_an_app_stand_once(void **state)
{
    config_must_say("apps: [{name: shop, metrics: {types: [a, b, a]}}]",
                    "t.yaml:1:38: apps[0].metrics: \"a\" stands twice in \"types\"\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_metric_is_read_with_all_it_has),
        cmocka_unit_test(names_keep_the_rules_of_prometheus),
        cmocka_unit_test(a_kind_has_what_it_needs),
        cmocka_unit_test(numbers_and_pointers_are_checked),
        cmocka_unit_test(buckets_have_a_limit),
        cmocka_unit_test(sets_of_label_values_have_a_limit),
        cmocka_unit_test(series_of_all_apps_have_a_limit),
        cmocka_unit_test(fields_of_an_app_have_a_limit),
        cmocka_unit_test(a_name_stands_once_in_an_app),
        cmocka_unit_test(apps_that_share_a_name_agree),
        cmocka_unit_test(types_of_an_app_stand_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
