#include "api/collector_test_help.h"
#include "api/export_private.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/families.h"

static struct {
    struct loop *loop;
    struct otlp *otlp;
    struct settings *settings;
    atomic_size_t waiting;
    int64_t taken, refused, given_up, off; /* at the test's start */
} test;

static const struct otlp_source source = {"n1", "eu", 1000000};

static int64_t spans_of(const char *result)
{
    return metric_value(SERIES(export_spans_total, result));
}

static void begin(void)
{
    collector_start();
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(loop_create(&test.loop), 0);
    atomic_init(&test.waiting, 0);
    assert_int_equal(otlp_create(&test.otlp, test.loop, &source, &test.waiting), 0);
    test.settings = collector_settings();
    otlp_set_settings(test.otlp, test.settings);
    test.taken = spans_of("ok");
    test.refused = spans_of("rejected");
    test.off = spans_of("off");
}

static void end(void)
{
    otlp_destroy(test.otlp);
    assert_int_equal(atomic_load(&test.waiting), 0);
    loop_destroy(test.loop);
    settings_unref(test.settings);
    collector_stop();
}

static void add_spans(int count)
{
    for (int i = 0; i < count; i++) {
        struct span span = {.kind = SPAN_SERVER, .name = "x"};
        struct span *copy = span_copy(&span);
        assert_non_null(copy);
        atomic_fetch_add(&test.waiting, 1);
        otlp_add_span(test.otlp, copy);
    }
}

static void turn_until_idle(void)
{
    while (!otlp_is_idle(test.otlp)) {
        assert_int_equal(loop_turn(test.loop, 5000), 0);
    }
}

static void spans_go_out_in_batches(void **state)
{
    begin();
    add_spans(600); /* 512, and the rest a moment later */
    turn_until_idle();
    assert_int_equal(atomic_load(&collector.spans), 600);
    assert_int_equal(atomic_load(&collector.requests), 2);
    assert_int_equal(spans_of("ok") - test.taken, 600);
    assert_non_null(strstr(collector.last, "POST /v1/traces HTTP/1.1\r\n"));
    end();
}

static void spans_that_were_not_taken_are_sent_again(void **state)
{
    begin();
    collector.answers[0] = "503 Busy";
    add_spans(512);
    turn_until_idle();
    assert_int_equal(atomic_load(&collector.requests), 2);
    assert_int_equal(atomic_load(&collector.spans), 512);
    assert_int_equal(spans_of("ok") - test.taken, 512);
    end();
}

static void spans_that_are_refused_are_lost(void **state)
{
    begin();
    collector.answers[0] = "400 No";
    add_spans(512);
    turn_until_idle();
    assert_int_equal(atomic_load(&collector.requests), 1);
    assert_int_equal(spans_of("rejected") - test.refused, 512);
    end();
}

static void what_waits_goes_out_at_the_end(void **state)
{
    begin();
    add_spans(1);
    otlp_flush(test.otlp);
    turn_until_idle();
    assert_int_equal(atomic_load(&collector.spans), 1);
    end();
}

static void spans_are_dropped_when_tracing_is_turned_off(void **state)
{
    begin();
    add_spans(3);
    test.settings->metrics.otlp.traces = false;
    otlp_set_settings(test.otlp, test.settings);
    assert_true(otlp_is_idle(test.otlp));
    assert_int_equal(spans_of("off") - test.off, 3);
    assert_int_equal(atomic_load(&collector.requests), 0);
    end();
}

static void a_reload_keeps_what_waits(void **state)
{
    begin();
    add_spans(512);
    assert_int_equal(loop_turn(test.loop, 5000), 0); /* it is perhaps under way */
    otlp_set_settings(test.otlp, test.settings);
    turn_until_idle();
    assert_int_equal(spans_of("ok") - test.taken, 512);
    end();
}

static void want_of_memory_loses_spans_and_nothing_else(void **state)
{
    unsigned long n = 0;
    bool is_pending;
    begin();
    do {
        add_spans(1);
        mem_fail_nth(++n);
        otlp_flush(test.otlp);
        is_pending = mem_fail_pending();
        mem_fail_nth(0);
        turn_until_idle();
    } while (!is_pending && n < 200);
    assert_true(is_pending);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_go_out_in_batches),
        cmocka_unit_test(spans_that_were_not_taken_are_sent_again),
        cmocka_unit_test(spans_that_are_refused_are_lost),
        cmocka_unit_test(what_waits_goes_out_at_the_end),
        cmocka_unit_test(spans_are_dropped_when_tracing_is_turned_off),
        cmocka_unit_test(a_reload_keeps_what_waits),
        cmocka_unit_test(want_of_memory_loses_spans_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
