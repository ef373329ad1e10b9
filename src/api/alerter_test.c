#include "api/alerter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/fetch.h"
#include "proto/json.h"
#include "server/families.h"

static struct loop *loop;
static struct fetcher *fetcher;
static struct settings *settings;
static struct alerter *alerter;

static int setup(void **state)
{
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(settings_create_default(&settings), 0);
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(fetcher_create(&fetcher, loop, NULL, NULL), 0);
    assert_int_equal(alerter_create(&alerter, loop, fetcher, settings), 0);
    return 0;
}

static int teardown(void **state)
{
    alerter_destroy(alerter);
    fetcher_destroy(fetcher);
    loop_destroy(loop);
    settings_unref(settings);
    return 0;
}

static double down(void *arg)
{
    return *(double *)arg;
}

static int64_t firing(void)
{
    return metric_value(SERIES(alerts_firing, "TidegateBusDown", "critical"));
}

static bool is_told(const char *part)
{
    struct buf out = {0};
    alerter_write(alerter, &out);
    struct str rest = buf_str(&out);
    struct str alert;
    struct json_value value;
    bool found = false;
    while (rest.len && str_split(&rest, '\0', &alert) && alert.len) {
        assert_int_equal(json_parse(&value, alert, 3, NULL), 0);
        found = found || memmem(alert.ptr, alert.len, part, strlen(part));
    }
    buf_fini(&out);
    return found;
}

static void what_the_registry_says_fires_and_is_over(void **state)
{
    double up = 0;
    metric_set_reader(SERIES(bus_up, "memory"), down, &up);
    alerter_look(alerter, 1000, 1000);
    assert_true(is_told("\"alert\":\"TidegateBusDown\",\"severity\":\"critical\",\"state\":"
                        "\"pending\""));
    assert_int_equal(alerter_firing(alerter), 0);
    alerter_look(alerter, 31000, 31000);
    assert_true(is_told("\"labels\":{\"bus\":\"memory\"},\"value\":0,\"summary\":\"The bus is "
                        "down\",\"active_at\":1000,\"fired_at\":31000}"));
    assert_int_equal(alerter_firing(alerter), 1);
    assert_int_equal(firing(), 1);
    up = 1;
    alerter_look(alerter, 36000, 36000);
    assert_true(is_told("\"fired_at\":31000,\"resolved_at\":36000}"));
    assert_int_equal(alerter_firing(alerter), 0);
    assert_int_equal(firing(), 0);
    metric_set_reader(SERIES(bus_up, "memory"), NULL, NULL);
}

static void it_looks_by_itself_each_interval(void **state)
{
    double up = 0;
    struct settings *quick;
    assert_int_equal(settings_create_default(&quick), 0);
    quick->alerts.interval_ms = 1;
    metric_set_reader(SERIES(bus_up, "memory"), down, &up);
    alerter_set_settings(alerter, quick);
    settings_unref(quick);
    for (int i = 0; i < 1000 && !is_told("TidegateBusDown"); i++) {
        assert_int_equal(loop_turn(loop, 10), 0);
    }
    assert_true(is_told("TidegateBusDown"));
    metric_set_reader(SERIES(bus_up, "memory"), NULL, NULL);
}

static void the_rules_are_told_as_json(void **state)
{
    struct buf out = {0};
    struct json_value value;
    alerter_write_rules(alerter, &out);
    assert_int_equal(json_parse(&value, buf_str(&out), 3, NULL), 0);
    assert_non_null(strstr(buf_cstr(&out), "{\"name\":\"TidegateBusDown\",\"severity\":"
                                           "\"critical\",\"for_ms\":30000,\"expression\":"));
    buf_fini(&out);
}

static void without_memory_it_is_not_made(void **state)
{
    for (unsigned long n = 1;; n++) {
        struct alerter *other = NULL;
        mem_fail_nth(n);
        int err = alerter_create(&other, loop, fetcher, settings);
        bool went_through = mem_fail_pending();
        mem_fail_nth(0);
        if (went_through) {
            assert_int_equal(err, 0);
            alerter_destroy(other);
            break;
        }
        alerter_destroy(err ? NULL : other);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_registry_says_fires_and_is_over),
        TEST(it_looks_by_itself_each_interval),
        TEST(the_rules_are_told_as_json),
        TEST(without_memory_it_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
