#include "app/metrics.h"

#include "app/verb_test_help.h"

static void each_metric_is_a_line(void **state)
{
    assert_int_equal(VERB_RUN(app_metrics_main, "metrics"), EXIT_CODE_OK);
    assert_non_null(strstr(verb_wrote, "gauge     tidegate_connections{app,transport}\n"));
    assert_non_null(strstr(verb_wrote, "gauge     tidegate_users{app}\n"));
    assert_non_null(strstr(verb_wrote, "histogram tidegate_delivery_seconds{stage}\n"));
    assert_non_null(strstr(verb_wrote, "counter   tidegate_metrics_overflow_total\n"));
}

static void json_tells_what_each_means(void **state)
{
    assert_int_equal(VERB_RUN(app_metrics_main, "metrics", "--json"), EXIT_CODE_OK);
    assert_non_null(strstr(
        verb_wrote,
        "{\"name\":\"tidegate_messages_acked_total\",\"kind\":\"counter\","
        "\"labels\":[\"app\"],\"section\":\"Messages\","
        "\"help\":\"Messages that clients confirmed by ack, having been asked to.\",\"more\":\"\"}\n"));
}

static void markdown_is_the_page(void **state)
{
    assert_int_equal(VERB_RUN(app_metrics_main, "metrics", "--markdown"), EXIT_CODE_OK);
    assert_non_null(strstr(verb_wrote, "# Metrics\n\nServed at `/metrics`"));
    assert_non_null(strstr(verb_wrote, "\n## Sessions\n\n| metric | kind | labels | meaning |\n"));
    assert_int_equal(VERB_RUN(app_metrics_main, "metrics", "--markdown", "--json"),
                     EXIT_CODE_USAGE);
    verb_test_must_say("--markdown goes with nothing else");
}

static void a_configuration_adds_the_metrics_of_its_apps(void **state)
{
    verb_test_write_config("apps: [{name: shop, metrics: {custom: [{name: waiting, kind: gauge, "
                           "help: Waiting., value: /n}]}}]\n");
    assert_int_equal(VERB_RUN(app_metrics_main, "metrics", "--config", verb_config), EXIT_CODE_OK);
    assert_non_null(strstr(verb_wrote, "gauge     tidegate_app_waiting{app}\n"));
    assert_non_null(strstr(verb_wrote, "gauge     tidegate_app_waiting_timestamp_seconds{app}\n"));
    assert_int_equal(VERB_RUN(app_metrics_main, "metrics", "--json", "--config", verb_config),
                     EXIT_CODE_OK);
    assert_non_null(strstr(verb_wrote, "{\"name\":\"tidegate_app_waiting\",\"kind\":\"gauge\","
                                       "\"labels\":[\"app\"],\"app\":\"shop\","
                                       "\"section\":\"Metrics of your own\","
                                       "\"help\":\"Waiting.\",\"more\":\"\"}\n"));
    verb_test_remove_config();
}

static void a_bad_configuration_lists_nothing(void **state)
{
    verb_test_write_config("apps: [{name: shop, metrics: {custom: [{name: a b}]}}]\n");
    assert_int_equal(VERB_RUN(app_metrics_main, "metrics", "--config", verb_config),
                     EXIT_CODE_REFUSED);
    verb_test_must_say("apps[0].metrics.custom[0].name: expected a name");
    assert_string_equal(verb_wrote, "");
    verb_test_remove_config();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_metric_is_a_line),
        cmocka_unit_test(json_tells_what_each_means),
        cmocka_unit_test(markdown_is_the_page),
        cmocka_unit_test(a_configuration_adds_the_metrics_of_its_apps),
        cmocka_unit_test(a_bad_configuration_lists_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
