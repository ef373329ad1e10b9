#include "api/otlp_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "proto/json.h"
#include "server/span.h"

static const struct otlp_source source = {"n1", "eu", 1000000};

static const struct metric_family pushes = {.kind = METRIC_COUNTER,
                                            .name = "test_pushes_total",
                                            .labels = {"app"},
                                            .help = "Pushes.",
                                            .more = ""};
static const struct metric_family waits = {
    .kind = METRIC_HISTOGRAM, .name = "test_wait_seconds", .help = "How long it took.", .more = ""};
static const struct metric_family none = {
    .kind = METRIC_GAUGE, .name = "test_none_bytes", .help = "It has no value.", .more = ""};

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

static double read_nothing(void *arg)
{
    return __builtin_nan("");
}

static void must_have(const struct buf *out, const char *part)
{
    if (!memmem(out->data, out->len, part, strlen(part))) {
        fail_msg("expected: %s\ngot: %.*s", part, (int)out->len, (const char *)out->data);
    }
}

static void must_be_json(const struct buf *out)
{
    struct json_value value;
    assert_int_equal(json_parse(&value, buf_str(out), 16, NULL), 0);
}

static void every_series_is_a_point_of_its_family(void **state)
{
    struct buf out = {0};
    metric_add(metric_series(&pushes, "a\"b"), 3);
    metric_add(metric_series(&pushes, "c"), 4);
    metric_observe_us(metric_series(&waits), 20);
    metric_observe_us(metric_series(&waits), 20000000);
    assert_int_equal(otlp_write_metrics(&out, &source, 2000000), 0);
    must_be_json(&out);
    must_have(&out,
              "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
              "\"value\":{\"stringValue\":\"tidegate\"}}");
    must_have(
        &out,
        "{\"name\":\"test_pushes_total\",\"description\":\"Pushes.\",\"sum\":{\"dataPoints\":["
        "{\"attributes\":[{\"key\":\"app\",\"value\":{\"stringValue\":\"a\\\"b\"}}],"
        "\"startTimeUnixNano\":\"1000000000\",\"timeUnixNano\":\"2000000000\",\"asDouble\":3},");
    must_have(&out, "\"asDouble\":4}],\"aggregationTemporality\":2,\"isMonotonic\":true}}");
    must_have(
        &out,
        "\"unit\":\"s\",\"histogram\":{\"dataPoints\":[{\"attributes\":[],"
        "\"startTimeUnixNano\":\"1000000000\",\"timeUnixNano\":\"2000000000\",\"count\":\"2\","
        "\"sum\":20.00002,\"bucketCounts\":[\"0\",\"1\",");
    must_have(&out, "\"0\",\"1\"],\"explicitBounds\":[1e-05,2.5e-05,");
    buf_fini(&out);
}

static void what_has_no_value_is_left_out(void **state)
{
    struct buf out = {0};
    metric_set_reader(metric_series(&none), read_nothing, NULL);
    assert_int_equal(otlp_write_metrics(&out, &source, 2000000), 0);
    must_be_json(&out);
    assert_null(memmem(out.data, out.len, "test_none", 9));
    buf_fini(&out);
}

static void what_json_cannot_say_is_left_out(void **state)
{
    struct buf out = {0};
    for (int i = 0; i < 2; i++) {
        metric_observe(metric_series(&sizes), 1e308);
        metric_add_real(metric_series(&sold), 1e308);
    }
    assert_int_equal(otlp_write_metrics(&out, &source, 2000000), 0);
    must_be_json(&out);
    must_have(&out, "\"count\":\"2\",\"bucketCounts\":[\"0\",\"2\"],\"explicitBounds\":[1]");
    assert_null(memmem(out.data, out.len, "test_sold_total", 15));
    buf_fini(&out);
}

static void no_point_lies_before_its_start(void **state)
{
    struct buf out = {0};
    assert_int_equal(otlp_write_metrics(&out, &source, 500000), 0); /* the clock was set back */
    must_have(&out, "\"timeUnixNano\":\"1000000000\"");
    assert_null(memmem(out.data, out.len, "500000000", 9));
    buf_fini(&out);
}

static void a_body_has_a_limit(void **state)
{
    struct buf out;
    buf_init(&out, 1000);
    assert_int_equal(otlp_write_metrics(&out, &source, 2000000), ERR_TOO_LARGE);
    buf_fini(&out);
}

static void spans_have_ids_in_hex_and_numbers_as_texts(void **state)
{
    struct buf out = {0};
    struct span second = {.kind = SPAN_CONSUMER, .name = "deliver", .error = "bus_unavailable"};
    struct span first = {.kind = SPAN_SERVER,
                         .name = "push",
                         .next = &second,
                         .context = {{0xab}, {0xcd}, 1},
                         .parent = {0xef},
                         .state = STR("a=b"),
                         .start_us = 5,
                         .end_us = 7};
    span_add_text(&first, "id", STR("x\"y"));
    span_add_number(&first, "n", -7);
    assert_int_equal(otlp_write_spans(&out, &source, &first), 0);
    must_be_json(&out);
    must_have(&out,
              "\"spans\":[{\"traceId\":\"ab000000000000000000000000000000\",\"spanId\":"
              "\"cd00000000000000\",\"parentSpanId\":\"ef00000000000000\",\"traceState\":\"a=b\","
              "\"flags\":1,\"name\":\"push\",\"kind\":2,\"startTimeUnixNano\":\"5000\","
              "\"endTimeUnixNano\":\"7000\",\"attributes\":[{\"key\":\"id\",\"value\":"
              "{\"stringValue\":\"x\\\"y\"}},{\"key\":\"n\",\"value\":{\"intValue\":\"-7\"}}]},");
    must_have(&out, "\"status\":{\"code\":2,\"message\":\"bus_unavailable\"}}]}]}]}");
    buf_fini(&out);
}

static void an_answer_may_say_that_some_was_refused(void **state)
{
    assert_int_equal(otlp_read_rejected(STR("")), 0);
    assert_int_equal(otlp_read_rejected(STR("[]")), 0);
    assert_int_equal(otlp_read_rejected(STR("{\"partialSuccess\":{}}")), 0);
    assert_int_equal(otlp_read_rejected(STR("{\"partialSuccess\":{\"rejectedSpans\":\"x\"}}")), 0);
    assert_int_equal(otlp_read_rejected(STR("{\"partialSuccess\":{\"rejectedDataPoints\":\"5\"}}")),
                     5);
    assert_int_equal(otlp_read_rejected(STR("{\"partialSuccess\":{\"rejectedSpans\":7}}")), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_series_is_a_point_of_its_family),
        cmocka_unit_test(what_has_no_value_is_left_out),
        cmocka_unit_test(what_json_cannot_say_is_left_out),
        cmocka_unit_test(no_point_lies_before_its_start),
        cmocka_unit_test(a_body_has_a_limit),
        cmocka_unit_test(spans_have_ids_in_hex_and_numbers_as_texts),
        cmocka_unit_test(an_answer_may_say_that_some_was_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
