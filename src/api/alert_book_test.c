#include "api/alert_book.h"

#include "api/alert_test_help.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/settings.h"

static void is_in(const char *rule, enum alert_state state)
{
    const struct alert *alert = alert_test_find(rule);
    assert_non_null(alert);
    assert_int_equal(alert->state, state);
}

static void an_alert_fires_when_its_condition_has_held(void **state)
{
    alert_test_bus(0, 1);
    assert_null(alert_test_find("TidegateBusDown"));
    alert_test_bus(5000, 0);
    is_in("TidegateBusDown", ALERT_PENDING);
    alert_test_bus(29999, 0);
    is_in("TidegateBusDown", ALERT_PENDING);
    assert_int_equal(alert_test.fired, 0);
    alert_test_bus(1, 0);
    is_in("TidegateBusDown", ALERT_FIRING);
    const struct alert *alert = alert_test_find("TidegateBusDown");
    assert_string_equal(alert->labels, "bus=\"redis\"");
    assert_int_equal(alert->active_at, ALERT_TEST_WALL + 1005000);
    assert_int_equal(alert->fired_at, ALERT_TEST_WALL + 1035000);
    alert_test_bus(5000, 0);
    assert_int_equal(alert_test.fired, 1);
}

static void a_condition_that_ends_early_was_nothing(void **state)
{
    alert_test_bus(0, 0);
    alert_test_bus(20000, 1);
    assert_null(alert_test_find("TidegateBusDown"));
    alert_test_bus(1000, 0); /* its time begins anew */
    alert_test_bus(29000, 0);
    is_in("TidegateBusDown", ALERT_PENDING);
    assert_int_equal(alert_test.fired + alert_test.resolved, 0);
}

static void a_resolved_alert_is_kept_for_a_while(void **state)
{
    alert_test_bus(0, 0);
    alert_test_bus(30000, 0);
    alert_test_bus(5000, 1);
    is_in("TidegateBusDown", ALERT_RESOLVED);
    assert_int_equal(alert_test_find("TidegateBusDown")->resolved_at, ALERT_TEST_WALL + 1035000);
    assert_int_equal(alert_test.resolved, 1);
    alert_test_bus(ALERT_KEEP_MS - 1, 1);
    is_in("TidegateBusDown", ALERT_RESOLVED);
    alert_test_bus(1, 1);
    assert_null(alert_test_find("TidegateBusDown"));
    assert_int_equal(alert_test.resolved, 1);
}

static void a_resolved_alert_can_fire_again(void **state)
{
    alert_test_bus(0, 0);
    alert_test_bus(30000, 0);
    alert_test_bus(5000, 1);
    alert_test_bus(5000, 0);
    is_in("TidegateBusDown", ALERT_PENDING);
    alert_test_bus(30000, 0);
    is_in("TidegateBusDown", ALERT_FIRING);
    assert_int_equal(alert_test_find("TidegateBusDown")->resolved_at, 0);
    assert_int_equal(alert_test.fired, 2);
}

/* The receiver was away when it ended; it must not believe for ever that it fires. */
static void what_was_pending_again_is_resolved_while_a_receiver_thinks_that_it_fires(void **state)
{
    alert_test_bus(0, 0);
    alert_test_bus(30000, 0);
    alert_test_find("TidegateBusDown")->told[0].at_ms = 1;
    alert_test_bus(5000, 1);
    uint64_t resolved_at = alert_test_find("TidegateBusDown")->resolved_at;
    alert_test_bus(5000, 0);
    is_in("TidegateBusDown", ALERT_PENDING);
    alert_test_bus(5000, 1);
    is_in("TidegateBusDown", ALERT_RESOLVED);
    assert_int_equal(alert_test_find("TidegateBusDown")->resolved_at, resolved_at);
    assert_int_equal(alert_test.resolved, 1); /* nothing has changed for who counts */
    alert_test_find("TidegateBusDown")->told[0].is_resolved = true;
    alert_test_bus(5000, 0);
    alert_test_bus(5000, 1);
    assert_null(alert_test_find("TidegateBusDown"));
}

static void a_rule_without_a_time_fires_at_once(void **state)
{
    alert_test_pass(0, FAMILY(bus_queue_failed_over), "bus=\"rocketmq\",queue=\"3\"", 1);
    is_in("TidegateBusFailedOver", ALERT_FIRING);
    assert_string_equal(alert_test_find("TidegateBusFailedOver")->labels, "bus=\"rocketmq\"");
}

static void a_site_may_switch_a_rule_off_while_it_fires(void **state)
{
    struct settings_alert_rule off = {.name = STR("TidegateBusDown")};
    struct settings_alerts settings = {.enabled = true, .rules = &off, .rule_count = 1};
    alert_test_bus(0, 0);
    alert_test_bus(30000, 0);
    alert_book_set(&alert_test.book, &settings);
    alert_test_bus(5000, 0);
    is_in("TidegateBusDown", ALERT_RESOLVED);
    settings.rule_count = 0;
    settings.enabled = false;
    alert_book_set(&alert_test.book, &settings);
    alert_test_bus(60000, 0);
    is_in("TidegateBusDown", ALERT_RESOLVED);
}

static void a_site_may_change_threshold_and_time(void **state)
{
    struct settings_alert_rule changed = {.name = STR("TidegateBusLag"),
                                          .enabled = true,
                                          .has_threshold = true,
                                          .threshold = 0.5,
                                          .has_hold = true};
    struct settings_alerts settings = {.enabled = true, .rules = &changed, .rule_count = 1};
    alert_test_pass(0, FAMILY(bus_lag_seconds), "", 0.6);
    assert_null(alert_test_find("TidegateBusLag"));
    alert_book_set(&alert_test.book, &settings);
    alert_test_pass(5000, FAMILY(bus_lag_seconds), "", 0.6);
    is_in("TidegateBusLag", ALERT_FIRING);
}

/* ---- conditions of two parts ---- */

struct part {
    const struct metric_family *family;
    const char *labels;
    double value;
};

static void pass_parts(uint64_t after_ms, const struct part *parts, size_t count)
{
    alert_test.now_ms += after_ms;
    alert_book_begin(&alert_test.book);
    for (size_t i = 0; i < count; i++) {
        struct metric_sample sample = {
            .family = parts[i].family, .labels = parts[i].labels, .value = parts[i].value};
        alert_book_sample(&alert_test.book, &sample);
    }
    alert_book_end(&alert_test.book, alert_test.now_ms, ALERT_TEST_WALL + alert_test.now_ms);
}

static void a_part_of_a_limit_is_compared(void **state)
{
    struct part parts[] = {{FAMILY(memory_bytes), "owner=\"http\"", 30},
                           {FAMILY(memory_bytes), "owner=\"window\"", 49},
                           {FAMILY(memory_limit_bytes), "", 100}};
    pass_parts(0, parts, 3);
    assert_null(alert_test_find("TidegateMemoryNearLimit"));
    parts[0].value = 32;
    pass_parts(5000, parts, 3);
    is_in("TidegateMemoryNearLimit", ALERT_PENDING);
    assert_true(alert_test_find("TidegateMemoryNearLimit")->value == 0.81);
    pass_parts(5000, parts, 2); /* no limit any more */
    assert_null(alert_test_find("TidegateMemoryNearLimit"));
}

static void a_second_condition_must_hold_too(void **state)
{
    double now_s = (double)(ALERT_TEST_WALL + alert_test.now_ms) / 1000;
    struct part parts[] = {{FAMILY(gaps_total), "app=\"shop\",reason=\"bus\"", 0},
                           {FAMILY(start_time_seconds), "", now_s - 800}};
    pass_parts(0, parts, 2);
    parts[0].value = 6;
    pass_parts(5000, parts, 2);
    assert_null(alert_test_find("TidegateGaps")); /* it has just started */
    parts[1].value = now_s - 1000;
    pass_parts(5000, parts, 2);
    is_in("TidegateGaps", ALERT_FIRING);
    assert_string_equal(alert_test_find("TidegateGaps")->labels, "app=\"shop\"");
}

/* ---- memory ---- */

static void without_memory_it_is_not_made(void **state)
{
    struct alert_book book;
    mem_fail_nth(1);
    assert_int_equal(alert_book_init(&book), ERR_NO_MEMORY);
    mem_fail_nth(0);
    alert_book_fini(&book);
}

static void an_alert_that_finds_no_memory_is_left_out_and_comes_later(void **state)
{
    alert_test_bus(0, 1);
    mem_fail_nth(1);
    alert_test_bus(1000, 0);
    mem_fail_nth(0);
    assert_int_equal(alert_test.book.left_out, 1);
    alert_test_bus(1000, 0);
    is_in("TidegateBusDown", ALERT_PENDING);
    assert_int_equal(alert_test.book.left_out, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, alert_test_setup, alert_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_alert_fires_when_its_condition_has_held),
        TEST(a_condition_that_ends_early_was_nothing),
        TEST(a_resolved_alert_is_kept_for_a_while),
        TEST(a_resolved_alert_can_fire_again),
        TEST(what_was_pending_again_is_resolved_while_a_receiver_thinks_that_it_fires),
        TEST(a_rule_without_a_time_fires_at_once),
        TEST(a_site_may_switch_a_rule_off_while_it_fires),
        TEST(a_site_may_change_threshold_and_time),
        TEST(a_part_of_a_limit_is_compared),
        TEST(a_second_condition_must_hold_too),
        TEST(an_alert_that_finds_no_memory_is_left_out_and_comes_later),
        cmocka_unit_test(without_memory_it_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
