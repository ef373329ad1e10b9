#include "app/verbs.h"

#include "app/verb_test_help.h"

static void each_rule_is_a_line(void **state)
{
    assert_int_equal(VERB_RUN(app_alerts_main, "alerts"), EXIT_CODE_OK);
    assert_non_null(strstr(verb_wrote, "TidegateBusDown              critical  The bus is down\n"));
}

static void json_tells_all_of_each(void **state)
{
    assert_int_equal(VERB_RUN(app_alerts_main, "alerts", "--json", "--runbooks", "https://w/"),
                     EXIT_CODE_OK);
    assert_non_null(strstr(verb_wrote, "{\"name\":\"TidegateBusDown\",\"severity\":\"critical\","
                                       "\"for_ms\":30000,\"expression\":\"tidegate_bus_up == 0\""));
    assert_non_null(
        strstr(verb_wrote, "\"runbook\":\"https://w/bus-down.md\",\"external\":false}\n"));
}

static void a_configuration_changes_the_rules_of_prometheus(void **state)
{
    verb_test_write_config("alerts:\n  runbooks: https://wiki/\n  rules:\n"
                           "    - {name: TidegateBusLag, threshold: 0.25, for: 7m}\n"
                           "    - {name: TidegateBusDown, enabled: false}\n");
    assert_int_equal(VERB_RUN(app_alerts_main, "alerts", "--prometheus", "--config", verb_config),
                     EXIT_CODE_OK);
    assert_non_null(strstr(verb_wrote, "expr: 'tidegate_bus_lag_seconds > 0.25'\n        for: 7m"));
    assert_non_null(strstr(verb_wrote, "runbook_url: \"https://wiki/bus-lag.md\""));
    assert_null(strstr(verb_wrote, "TidegateBusDown\n"));
}

static void mistakes_in_the_rules_are_told(void **state)
{
    verb_test_write_config("alerts:\n  labels:\n    - {name: severity, value: x}\n"
                           "    - {name: 9a, value: x}\n  receivers:\n"
                           "    - {url: \"http://x\", user: \"a:b\"}\n  rules:\n"
                           "    - {name: TidegateBusLagg, threshold: much}\n"
                           "    - {name: TidegateGaps}\n    - {name: TidegateGaps}\n");
    assert_int_equal(VERB_RUN(app_alerts_main, "alerts", "--config", verb_config), EXIT_CODE_USAGE);
    verb_test_must_say("every alert has a label of that name already");
    verb_test_must_say("and no digit first");
    verb_test_must_say("\"user\" needs secret_file");
    verb_test_must_say("expected a user without \":\"");
    verb_test_must_say("did you mean \"TidegateBusLag\"?");
    verb_test_must_say("expected a number such as 0.5");
    verb_test_must_say("rule TidegateGaps is changed twice");
}

static void one_form_at_a_time(void **state)
{
    assert_int_equal(VERB_RUN(app_alerts_main, "alerts", "--json", "--markdown"), EXIT_CODE_USAGE);
    verb_test_must_say("exclude each other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_is_a_line),
        cmocka_unit_test(json_tells_all_of_each),
        cmocka_unit_test(a_configuration_changes_the_rules_of_prometheus),
        cmocka_unit_test(mistakes_in_the_rules_are_told),
        cmocka_unit_test(one_form_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
