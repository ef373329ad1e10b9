#include "api/nodes.h"

#include "api/gateway_test_help.h"

static void a_node_alone_lists_itself(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_ADMIN, "GET /v1/nodes", NULL), 200);
    gateway_test_says(*state, "{\"nodes\":[{\"node\":\"");
    gateway_test_says(*state, "\"version\":\"" TIDEGATE_VERSION "\"");
    gateway_test_says(*state, "\"bus_lag_ms\":0.000,");
    gateway_test_says(*state, "\"self\":true}],\"as_of\":");
    gateway_test_says(*state, "\"complete\":true}");
}

static void the_list_is_for_keys_of_scope_admin(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_READ, "GET /v1/nodes", NULL), 403);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(a_node_alone_lists_itself),
        GATEWAY_TEST(the_list_is_for_keys_of_scope_admin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
