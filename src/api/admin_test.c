#include "api/admin.h"

#include "api/admin_test_help.h"

static int ask(struct admin_test *test, const char *key, const char *line)
{
    return gateway_test_ask(&test->base, key, line, NULL);
}

static void a_process_that_answers_is_alive(void **state)
{
    struct admin_test *test = *state;
    assert_int_equal(ask(test, NULL, "GET /livez"), 200);
    assert_string_equal(test->base.body, "alive\n");
    gateway_test_has_header(&test->base, "Content-Type: text/plain; charset=utf-8");
}

static void a_node_is_ready_once_the_bus_is_up_and_until_it_drains(void **state)
{
    struct admin_test *test = *state;
    uint64_t ends_ms = clock_monotonic_ms() + GATEWAY_TEST_WAIT_MS;
    while (ask(test, NULL, "GET /readyz") != 200) {
        gateway_test_says(&test->base, "not ready: the bus is not up: ");
        assert_true(clock_monotonic_ms() < ends_ms);
    }
    assert_string_equal(test->base.body, "ready\n");
    gateway_drain(test->base.gateway, &test->base.settings->drain, 1000, false);
    assert_int_equal(ask(test, NULL, "GET /readyz"), 503);
    assert_string_equal(test->base.body, "not ready: draining\n");
    assert_int_equal(ask(test, NULL, "GET /livez"), 200);
}

static void metrics_are_in_the_format_of_prometheus(void **state)
{
    struct admin_test *test = *state;
    assert_int_equal(ask(test, NULL, "GET /metrics"), 200);
    gateway_test_has_header(&test->base, "Content-Type: text/plain; version=0.0.4");
    gateway_test_says(&test->base, "# TYPE tidegate_sent_bytes_total counter\n");
    assert_int_equal(ask(test, NULL, "GET /metrics"), 200);
    gateway_test_says(&test->base, "route=\"/metrics\"");
}

static void head_of_a_page_has_no_body(void **state)
{
    struct admin_test *test = *state;
    assert_int_equal(ask(test, NULL, "HEAD /livez"), 200);
    gateway_test_has_header(&test->base, "Content-Length: 6");
    assert_string_equal(test->base.body, "");
}

static void a_page_takes_no_other_method(void **state)
{
    const char *const lines[] = {"POST /livez", "PUT /readyz", "DELETE /metrics"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gateway_test_ask(*state, KEY_ADMIN, lines[i], ""), 405);
        gateway_test_has_header(*state, "Allow: GET, HEAD");
    }
}

static void all_else_needs_a_key_of_scope_admin(void **state)
{
    struct admin_test *test = *state;
    const char *const lines[] = {"GET /", "GET /livez/", "GET /v1/users/42", "POST /livezz"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask(test, NULL, lines[i]), 401);
        gateway_test_says_code(&test->base, "unauthorized");
        assert_int_equal(ask(test, "tg_wrong", lines[i]), 401);
        assert_int_equal(ask(test, KEY_ALL, lines[i]), 403);
        gateway_test_says_code(&test->base, "scope_missing");
        assert_int_equal(ask(test, KEY_ADMIN, lines[i]), 404);
        gateway_test_says_code(&test->base, "not_found");
    }
    assert_int_equal(gateway_test_ask_with(&test->base, KEY_ADMIN, "GET /",
                                           "Authorization: Bearer " KEY_ADMIN "\r\n", NULL),
                     401);
}

static void on_loopback_it_has_names_of_this_machine_alone(void **state)
{
    struct admin_test *test = *state;
    assert_int_equal(
        gateway_test_ask_with(&test->base, KEY_ADMIN, "GET /", "Host: rebound.example\r\n", NULL),
        421);
    gateway_test_says_code(&test->base, "misdirected_request");
    const char *const pages[] = {"GET /metrics", "GET /livez", "GET /readyz"};
    for (int i = 0; i < 3; i++) {
        const char *rebound = "Host: rebound.example\r\n";
        assert_int_equal(gateway_test_ask_with(&test->base, NULL, pages[i], rebound, NULL), 421);
        assert_int_equal(
            gateway_test_ask_with(&test->base, NULL, pages[i], "Host: localhost:1\r\n", NULL), 200);
    }
}

static void a_page_of_another_origin_may_not_change_anything(void **state)
{
    struct admin_test *test = *state;
    const char *foreign = "Origin: https://www.example.com\r\n";
    assert_int_equal(gateway_test_ask_with(&test->base, KEY_ADMIN, "POST /x", foreign, ""), 403);
    gateway_test_says_code(&test->base, "foreign_origin");
    assert_int_equal(gateway_test_ask_with(&test->base, KEY_ADMIN, "GET /x", foreign, NULL), 404);
    assert_int_equal(gateway_test_ask_with(&test->base, KEY_ADMIN, "POST /x",
                                           "Host: localhost:1\r\nOrigin: http://localhost:1\r\n",
                                           ""),
                     404);
}

static void take_the_admin_key(struct settings *settings)
{
    settings->apps[0].api_key_count--; /* the last one of the app */
}

static void new_settings_bring_new_keys(void **state)
{
    struct admin_test *test = *state;
    struct settings *settings = gateway_test_settings(take_the_admin_key);
    assert_int_equal(ask(test, KEY_ADMIN, "GET /x"), 404);
    admin_set_settings(test->admin, settings, NULL);
    settings_unref(settings);
    assert_int_equal(ask(test, KEY_ADMIN, "GET /x"), 401);
}

/* A node without an admin listener reloads, too. */
static void where_there_is_none_new_settings_are_ignored(void **state)
{
    struct admin_test *test = *state;
    admin_set_settings(NULL, test->base.settings, NULL);
    admin_destroy(NULL);
}

static void an_address_that_is_not_here_is_an_error(void **state)
{
    struct admin_test *test = *state;
    struct admin *other = NULL;
    struct addr addr;
    assert_int_equal(addr_parse(&addr, STR("192.0.2.1:0")), 0); /* RFC 5737: nobody's */
    assert_true(admin_create(&other, test->base.loop, &addr, test->base.gateway,
                             test->base.settings, NULL) < 0);
    assert_null(other);
    admin_destroy(NULL);
}

static void every_failed_allocation_of_making_one_is_told(void **state)
{
    struct admin_test *test = *state;
    struct admin *other = NULL;
    struct addr addr;
    assert_int_equal(addr_parse(&addr, STR("127.0.0.1:0")), 0);
    for (unsigned long nth = 1; !other; nth++) {
        assert_in_range(nth, 1, 100);
        mem_fail_nth(nth);
        int err = admin_create(&other, test->base.loop, &addr, test->base.gateway,
                               test->base.settings, NULL);
        bool has_failed = !mem_fail_pending();
        mem_fail_nth(0);
        assert_int_equal(err < 0, has_failed);
    }
    admin_destroy(other);
}

#define ADMIN_TEST(name) \
    cmocka_unit_test_setup_teardown(name, admin_test_setup, admin_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ADMIN_TEST(a_process_that_answers_is_alive),
        ADMIN_TEST(a_node_is_ready_once_the_bus_is_up_and_until_it_drains),
        ADMIN_TEST(metrics_are_in_the_format_of_prometheus),
        ADMIN_TEST(head_of_a_page_has_no_body),
        ADMIN_TEST(a_page_takes_no_other_method),
        ADMIN_TEST(all_else_needs_a_key_of_scope_admin),
        ADMIN_TEST(on_loopback_it_has_names_of_this_machine_alone),
        ADMIN_TEST(a_page_of_another_origin_may_not_change_anything),
        ADMIN_TEST(new_settings_bring_new_keys),
        ADMIN_TEST(where_there_is_none_new_settings_are_ignored),
        ADMIN_TEST(an_address_that_is_not_here_is_an_error),
        ADMIN_TEST(every_failed_allocation_of_making_one_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
