#include "api/export_private.h"

#include "api/collector_test_help.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/families.h"

static int64_t spans_of(const char *result)
{
    return metric_value(SERIES(export_spans_total, result));
}

static struct exporter *create(void)
{
    struct exporter *exporter;
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(exporter_create(&exporter, "n1"), 0);
    return exporter;
}

/* Nobody listens there: what is taken stays. */
static struct exporter *create_for(uint64_t span_queue, uint64_t max_traces)
{
    struct exporter *exporter = create();
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    settings->metrics.otlp.url = STR("http://127.0.0.1:1");
    settings->metrics.otlp.metrics = false;
    settings->metrics.otlp.traces = true;
    settings->metrics.otlp.span_queue = span_queue;
    settings->metrics.otlp.max_traces = max_traces;
    assert_int_equal(exporter_set_settings(exporter, settings), 0);
    settings_unref(settings);
    return exporter;
}

static void give(struct span_sink *sink, int count)
{
    for (int i = 0; i < count; i++) {
        struct span span = {.kind = SPAN_SERVER, .name = "x"};
        sink->take(sink, span_copy(&span));
    }
}

static void without_a_receiver_nothing_is_open(void **state)
{
    struct exporter *exporter = create();
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    assert_int_equal(exporter_set_settings(exporter, settings), 0);
    assert_false(span_sink_is_open(exporter_span_sink(exporter)));
    assert_false(span_sink_is_open(NULL));
    exporter_destroy(exporter);
    settings_unref(settings);
    exporter_destroy(NULL);
}

static void spans_of_any_thread_are_sent_before_the_end(void **state)
{
    collector_start();
    struct exporter *exporter = create();
    struct settings *settings = collector_settings();
    assert_int_equal(exporter_set_settings(exporter, settings), 0);
    assert_true(span_sink_is_open(exporter_span_sink(exporter)));
    give(exporter_span_sink(exporter), 10);
    exporter_stop(exporter);
    assert_int_equal(atomic_load(&collector.spans), 10);
    assert_false(span_sink_is_open(exporter_span_sink(exporter)));
    int64_t full = spans_of("queue_full");
    give(exporter_span_sink(exporter), 1);
    assert_int_equal(spans_of("queue_full") - full, 1);
    exporter_destroy(exporter);
    settings_unref(settings);
    collector_stop();
}

static void spans_over_the_limit_are_dropped_and_counted(void **state)
{
    struct exporter *exporter = create_for(64, 0);
    int64_t full = spans_of("queue_full");
    int64_t lost = spans_of("no_memory");
    give(exporter_span_sink(exporter), 64);
    assert_int_equal(spans_of("queue_full") - full, 0);
    give(exporter_span_sink(exporter), 3);
    assert_int_equal(spans_of("queue_full") - full, 3);
    exporter_span_sink(exporter)->take(exporter_span_sink(exporter), NULL);
    assert_int_equal(spans_of("no_memory") - lost, 1);
    exporter_destroy(exporter);
    assert_int_equal(mem_accounted(MEM_HTTP), 0);
}

static void pushes_and_deliveries_over_the_rate_are_not_begun(void **state)
{
    struct exporter *exporter = create_for(64, 1);
    struct span_sink *sink = exporter_span_sink(exporter);
    int64_t limited = spans_of("limited");
    assert_true(span_sink_admits(sink, SPAN_SERVER));
    assert_true(span_sink_admits(sink, SPAN_CONSUMER));
    assert_int_equal(spans_of("limited") - limited, 0);
    assert_false(span_sink_admits(sink, SPAN_SERVER)); /* a second has not gone by */
    assert_int_equal(spans_of("limited") - limited, 2);
    assert_false(span_sink_admits(sink, SPAN_CONSUMER));
    assert_int_equal(spans_of("limited") - limited, 3);
    exporter_destroy(exporter);
    assert_false(span_sink_admits(NULL, SPAN_SERVER));
}

static void without_a_rate_the_queue_is_the_bound(void **state)
{
    struct exporter *exporter = create_for(64, 0);
    struct span_sink *sink = exporter_span_sink(exporter);
    int64_t full = spans_of("queue_full");
    for (int i = 0; i < 1000; i++) {
        assert_true(span_sink_admits(sink, SPAN_SERVER));
    }
    give(sink, 63);
    assert_true(span_sink_admits(sink, SPAN_CONSUMER));
    assert_false(span_sink_admits(sink, SPAN_SERVER)); /* has two spans */
    give(sink, 1);
    assert_false(span_sink_admits(sink, SPAN_CONSUMER));
    assert_int_equal(spans_of("queue_full") - full, 3);
    exporter_stop(exporter);
    assert_false(span_sink_admits(sink, SPAN_CONSUMER));
    assert_int_equal(spans_of("queue_full") - full, 3);
    exporter_destroy(exporter);
}

static void an_outage_is_logged_when_it_begins_and_once_a_minute(void **state)
{
    struct export_outage outage = {0};
    assert_false(export_outage_end(&outage));
    assert_true(export_outage_note(&outage, 1000));
    assert_false(export_outage_note(&outage, 1000));
    assert_false(export_outage_note(&outage, 60999));
    assert_true(export_outage_note(&outage, 61000));
    assert_false(export_outage_note(&outage, 61001));
    assert_true(export_outage_end(&outage));
    assert_false(export_outage_end(&outage));
    assert_true(export_outage_note(&outage, 61002));
}

static void an_exporter_that_finds_no_memory_is_none(void **state)
{
    unsigned long n = 0;
    int err;
    do {
        struct exporter *exporter;
        mem_fail_nth(++n);
        err = exporter_create(&exporter, "n1");
        mem_fail_nth(0);
        if (!err) {
            exporter_destroy(exporter);
        }
    } while (err == ERR_NO_MEMORY);
    assert_int_equal(err, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_receiver_nothing_is_open),
        cmocka_unit_test(spans_of_any_thread_are_sent_before_the_end),
        cmocka_unit_test(spans_over_the_limit_are_dropped_and_counted),
        cmocka_unit_test(pushes_and_deliveries_over_the_rate_are_not_begun),
        cmocka_unit_test(without_a_rate_the_queue_is_the_bound),
        cmocka_unit_test(an_outage_is_logged_when_it_begins_and_once_a_minute),
        cmocka_unit_test(an_exporter_that_finds_no_memory_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
