#include "api/overview.h"

#include "api/gateway_test_help.h"
#include "api/sampler.h"

static void quantiles_lie_between_the_bounds_of_their_bucket(void **state)
{
    uint64_t buckets[OVERVIEW_BUCKETS] = {0};
    assert_true(overview_quantile(buckets, 0.5) < 0);
    buckets[9] = 100; /* 5 to 10 ms */
    assert_float_equal(overview_quantile(buckets, 0.5), 7.5, 1e-9);
    assert_float_equal(overview_quantile(buckets, 1), 10, 1e-9);
    buckets[0] = 100; /* up to 0.01 ms */
    assert_float_equal(overview_quantile(buckets, 0.25), 0.005, 1e-9);
    buckets[OVERVIEW_BUCKETS - 1] = 10000; /* over 10 s */
    assert_float_equal(overview_quantile(buckets, 0.99), 10000, 1e-9);
}

static void who_is_there_and_what_goes_out_is_told_of_the_cluster_apps_and_nodes(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    uint64_t wall_ms = clock_wall_ms();
    gateway_test_open(test, &client, "shop", "42", "[\"room:1\"]");
    assert_int_equal(
        gateway_test_ask(test, KEY_ALL, "POST /v1/users/42/messages?wait=written", "1"), 200);
    sampler_take(test->sampler, wall_ms + OVERVIEW_STEP_MS);
    assert_int_equal(gateway_test_ask(test, KEY_MONITOR, "GET /v1/overview", NULL), 200);
    gateway_test_says(test, "{\"cluster\":\"tidegate\",\"as_of\":");
    gateway_test_says(test, "\"complete\":true,\"total\":{\"connections\":{\"total\":1,\"v1\":1,");
    gateway_test_says(test, "\"groups\":1,\"rates\":{\"accepted\":0.2,\"written\":"); /* a second */
    gateway_test_says(test,
                      "\"apps\":[{\"app\":\"shop\",\"connections\":{\"total\":1,\"v1\":1,\"raw\":0,"
                      "\"sse\":0,\"sse_raw\":0},\"users\":1,\"groups\":1,"
                      "\"rates\":{\"accepted\":0.2,\"written\":");
    gateway_test_says(test, "{\"app\":\"other\",\"connections\":{\"total\":0,");
    gateway_test_says(test, "\"self\":true,\"answered\":true,\"bus_up\":true,\"memory_bytes\":");
    gateway_test_says(test, "\"latency\":[{\"stage\":\"api_to_bus\",\"count\":1,\"p50_ms\":");
    assert_null(strstr(test->body, "history"));
    gateway_test_close(&client);
}

static void an_app_or_a_node_is_looked_at_alone(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    char line[128];
    gateway_test_open(test, &client, "shop", "42", "[]");
    sampler_take(test->sampler, clock_wall_ms() + OVERVIEW_STEP_MS);
    assert_int_equal(gateway_test_ask(test, KEY_MONITOR, "GET /v1/overview?app=other", NULL), 200);
    gateway_test_says(test, "\"total\":{\"connections\":{\"total\":0,");
    assert_null(strstr(test->body, "\"app\":\"shop\""));
    snprintf(line, sizeof(line), "GET /v1/overview?node=%08x", test->gateway->boot);
    assert_int_equal(gateway_test_ask(test, KEY_MONITOR, line, NULL), 200);
    gateway_test_says(test, "\"total\":{\"connections\":{\"total\":1,");
    assert_int_equal(gateway_test_ask(test, KEY_MONITOR, "GET /v1/overview?node=nobody", NULL),
                     200);
    gateway_test_says(test, "\"nodes\":[]");
    assert_int_equal(gateway_test_ask(test, KEY_MONITOR, "GET /v1/overview?node=%zz", NULL), 422);
    gateway_test_close(&client);
}

static void the_past_is_told_oldest_first_with_holes_where_nothing_was_seen(void **state)
{
    struct gateway_test *test = *state;
    uint64_t tick = clock_wall_ms() / OVERVIEW_STEP_MS;
    for (uint64_t i = 1; i <= 4; i++) {
        if (i != 3) {
            sampler_take(test->sampler, (tick + i) * OVERVIEW_STEP_MS);
        }
    }
    assert_int_equal(gateway_test_ask(test, KEY_MONITOR, "GET /v1/overview?history=20", NULL), 200);
    char from[64];
    snprintf(from, sizeof(from), "\"history\":{\"from\":%llu,\"step_ms\":5000,\"connections\":[",
             (unsigned long long)((tick + 1) * OVERVIEW_STEP_MS));
    gateway_test_says(test, from);
    gateway_test_says(test, "\"connections\":[0,0,null,0],\"users\":[0,0,null,0]");
    gateway_test_says(test, "\"p99_ms\":[null,null,null,null]");
    assert_int_equal(gateway_test_ask(test, KEY_MONITOR, "GET /v1/overview?history=900", NULL),
                     200);
    const char *const bad[] = {"901", "-1", "x", ""};
    for (int i = 0; i < 4; i++) {
        char line[64];
        snprintf(line, sizeof(line), "GET /v1/overview?history=%s", bad[i]);
        assert_int_equal(gateway_test_ask(test, KEY_MONITOR, line, NULL), 422);
        gateway_test_says_code(test, "invalid_history");
    }
}

static void it_is_for_who_monitors(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_ALL, "GET /v1/overview", NULL), 403);
    assert_int_equal(gateway_test_ask(*state, KEY_ADMIN, "GET /v1/overview", NULL), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_lie_between_the_bounds_of_their_bucket),
        GATEWAY_TEST(who_is_there_and_what_goes_out_is_told_of_the_cluster_apps_and_nodes),
        GATEWAY_TEST(an_app_or_a_node_is_looked_at_alone),
        GATEWAY_TEST(the_past_is_told_oldest_first_with_holes_where_nothing_was_seen),
        GATEWAY_TEST(it_is_for_who_monitors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
