#include "cli/top_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define STATS(connections, users, accepted, written, dropped)                                  \
    "\"connections\":{\"total\":" connections "},\"users\":" users ",\"groups\":3,\"rates\":{" \
    "\"accepted\":" accepted ",\"written\":" written ",\"dropped\":" dropped "}"

static const char answer[] = "{\"cluster\":\"c\",\"as_of\":91000,\"complete\":true,\"total\":{" STATS(
    "12345", "80", "4.2", "310",
    "0") "},"
         "\"apps\":[{\"app\":\"shop\"," STATS(
             "100", "80", "4", "300",
             "0") "},"
                  "{\"app\":\"news\"," STATS(
                      "20", "10", "9", "10",
                      "1") "}],"
                           "\"nodes\":[{\"node\":\"gw-1\",\"state\":\"ready\",\"started_at\":1000,\"bus_lag_ms\":0.81,"
                           "\"answered\":true,\"bus_up\":true,\"memory_bytes\":31457280,\"alerts_firing\":1,\"now\":{" STATS(
                               "70", "5", "4", "300",
                               "0") "}},"
                                    "{\"node\":\"gw-2\",\"state\":\"ready\",\"started_at\":1000,\"answered\":true,\"bus_up\":false,"
                                    "\"memory_bytes\":1048576,\"alerts_firing\":0,\"now\":{" STATS(
                                        "50", "6", "1", "10",
                                        "2") "}},"
                                             "{\"node\":\"gw-3\",\"state\":\"ready\",\"answered\":false}],"
                                             "\"latency\":[{\"stage\":\"api_to_bus\",\"count\":250,\"p50_ms\":0.61,\"p90_ms\":1.2,"
                                             "\"p99_ms\":4.4},{\"stage\":\"total\",\"count\":0,\"p50_ms\":null,\"p90_ms\":null,"
                                             "\"p99_ms\":null}]}";

static struct buf out;

static const char *show(enum top_sort sort, const char *problem)
{
    struct json_value overview;
    const struct top_view view = {.sort = sort, .problem = problem};
    buf_clear(&out);
    assert_int_equal(json_parse(&overview, str_of(answer), 16, NULL), 0);
    assert_int_equal(top_view_write(&out, overview, &view), 0);
    return buf_cstr(&out);
}

/* The names come in this order. */
static void in_order(const char *text, const char *first, const char *second)
{
    const char *a = strstr(text, first);
    const char *b = strstr(text, second);
    assert_non_null(a);
    assert_non_null(b);
    assert_true(a < b);
}

static void everything_has_its_place(void **state)
{
    setenv("TZ", "UTC", 1);
    tzset();
    assert_string_equal(
        show(TOP_BY_CONNECTIONS, NULL),
        "tidegate c   00:01:31   by connections\n"
        "12.3k connections   80 users   3 groups   4.2 accepted/s   310 written/s   0 dropped/s   "
        "1 alert\n"
        "\n"
        "NODE  STATE     UPTIME  CONNS  USERS  ACCEPTED/s  WRITTEN/s  DROPPED/s  MEM MiB  LAG ms  "
        "ALERTS\n"
        "gw-1  ready     1m 30s     70      5           4        300          0     30.0     0.8  "
        "     1\n"
        "gw-2  bus down  1m 30s     50      6           1         10          2      1.0     0.0  "
        "     0\n"
        "gw-3  silent         -      -      -           -          -          -        -       -  "
        "     -\n"
        "\n"
        "APP   CONNS  USERS  ACCEPTED/s  WRITTEN/s  DROPPED/s\n"
        "shop    100     80           4        300          0\n"
        "news     20     10           9         10          1\n"
        "\n"
        "LATENCY     COUNT  P50 ms  P90 ms  P99 ms\n"
        "api_to_bus    250    0.61    1.20    4.40\n"
        "total           0       -       -       -\n");
}

static void rows_are_sorted_by_what_was_asked(void **state)
{
    static const struct {
        char key;
        const char *app, *other_app, *node, *other_node;
    } cases[] = {{'n', "news", "shop", "gw-1", "gw-2"}, {'c', "shop", "news", "gw-1", "gw-2"},
                 {'u', "shop", "news", "gw-2", "gw-1"}, {'a', "news", "shop", "gw-1", "gw-2"},
                 {'w', "shop", "news", "gw-1", "gw-2"}, {'d', "news", "shop", "gw-2", "gw-1"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum top_sort sort;
        assert_true(top_sort_of_key(cases[i].key, &sort));
        const char *text = show(sort, NULL);
        in_order(text, cases[i].app, cases[i].other_app);
        in_order(text, cases[i].node, cases[i].other_node);
    }
    enum top_sort sort;
    assert_false(top_sort_of_key('x', &sort));
}

static void a_problem_is_shown_above_old_numbers(void **state)
{
    const char *text = show(TOP_BY_NAME, "no answer\x1b[2J");
    in_order(text, "no answer?[2J\n", "12.3k connections");
}

static int end(void **state)
{
    buf_fini(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_has_its_place),
        cmocka_unit_test(rows_are_sorted_by_what_was_asked),
        cmocka_unit_test(a_problem_is_shown_above_old_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
