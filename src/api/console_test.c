#include "api/console.h"

#include "api/admin_test_help.h"

#define OWN "Host: localhost\r\nOrigin: http://localhost\r\nX-Tidegate-Console: 1\r\n"
#define JSON "Content-Type: application/json\r\n"

static int ask(struct admin_test *test, const char *line, const char *headers, const char *body)
{
    return gateway_test_ask_with(&test->base, NULL, line, headers, body);
}

static int post_key(struct admin_test *test, const char *key)
{
    char body[128];
    snprintf(body, sizeof(body), "{\"key\":\"%s\"}", key);
    return ask(test, "POST /console/session", OWN JSON, body);
}

/* Signs in, and writes the header that shows the cookie. */
static void sign_in(struct admin_test *test, const char *key, char out_headers[256])
{
    assert_int_equal(post_key(test, key), 200);
    const char *cookie = strstr(test->base.head, "Set-Cookie: ");
    assert_non_null(cookie);
    cookie += strlen("Set-Cookie: ");
    snprintf(out_headers, 256, OWN "Cookie: %.*s\r\n", (int)strcspn(cookie, ";"), cookie);
}

static void a_key_of_scope_monitor_reads_one_of_scope_admin_operates(void **state)
{
    struct admin_test *test = *state;
    assert_int_equal(post_key(test, KEY_MONITOR), 200);
    gateway_test_says(&test->base, "\"role\":\"read\",\"key\":\"tg_monitor\",\"app\":\"shop\"");
    gateway_test_says(&test->base, "\"apps\":[\"shop\",\"other\"]");
    assert_null(strstr(test->base.head, "Secure"));
    gateway_test_says(&test->base, "\"ends_in_ms\":1800000");
    assert_int_equal(post_key(test, KEY_ADMIN), 200);
    gateway_test_says(&test->base, "\"role\":\"operate\"");
    assert_non_null(strstr(test->base.head, "Set-Cookie: tidegate_console="));
    assert_non_null(strstr(test->base.head, "; Path=/; HttpOnly; SameSite=Strict\r\n"));
    gateway_test_has_header(&test->base, "Cache-Control: no-store");
    gateway_test_has_header(&test->base, "X-Content-Type-Options: nosniff");
}

static void behind_a_proxy_that_speaks_tls_the_cookie_is_secure(void **state)
{
    struct admin_test *test = *state;
    char headers[512];
    const char *proxied = "Host: localhost:8443\r\nOrigin: https://localhost:8443\r\n"
                          "X-Tidegate-Console: 1\r\n";
    snprintf(headers, sizeof(headers), "%s%s", proxied, JSON);
    assert_int_equal(ask(test, "POST /console/session", headers, "{\"key\":\"" KEY_ADMIN "\"}"),
                     200);
    const char *cookie = strstr(test->base.head, "Set-Cookie: __Host-tidegate_console=");
    assert_non_null(cookie);
    assert_non_null(strstr(test->base.head, "; Path=/; HttpOnly; SameSite=Strict; Secure\r\n"));
    snprintf(headers, sizeof(headers), "Host: localhost:8443\r\nCookie: %.*s\r\n",
             (int)strcspn(cookie, ";") - 12, cookie + 12);
    assert_int_equal(ask(test, "GET /console/session", headers, NULL), 200);
    gateway_test_says(&test->base, "\"signed_in\":true");
}

static void other_keys_do_not_sign_in(void **state)
{
    struct admin_test *test = *state;
    assert_int_equal(post_key(test, "tg_wrong"), 401);
    gateway_test_says_code(&test->base, "unauthorized");
    assert_int_equal(post_key(test, KEY_ALL), 403);
    gateway_test_says_code(&test->base, "scope_missing");
    assert_int_equal(ask(test, "POST /console/session", OWN JSON, "{}"), 400);
    assert_int_equal(ask(test, "POST /console/session", OWN JSON, "key=x"), 400);
    assert_int_equal(ask(test, "POST /console/session", OWN, "{\"key\":\"" KEY_ADMIN "\"}"), 415);
    assert_null(strstr(test->base.head, "Set-Cookie"));
}

static void what_changes_anything_comes_from_our_own_page(void **state)
{
    struct admin_test *test = *state;
    const char *const foreign[] = {
        "Origin: https://www.example.com\r\nX-Tidegate-Console: 1\r\n" JSON,
        "Origin: null\r\nX-Tidegate-Console: 1\r\n" JSON,
        "Origin: http://localhost\r\n" JSON, /* a form's */
        "X-Tidegate-Console: 1\r\n" JSON,    /* no browser's, but a cookie is the credential */
        OWN "Sec-Fetch-Site: same-site\r\n" JSON,
    };
    for (int i = 0; i < 5; i++) {
        assert_int_equal(
            ask(test, "POST /console/session", foreign[i], "{\"key\":\"" KEY_ADMIN "\"}"), 403);
        gateway_test_says_code(&test->base, "foreign_origin");
    }
    assert_int_equal(ask(test, "GET /console/session", "Sec-Fetch-Site: cross-site\r\n", NULL),
                     403);
    assert_int_equal(ask(test, "GET /console/session", "Host: rebound.example\r\n", NULL), 421);
}

static void hasty_tries_are_held_back(void **state)
{
    struct admin_test *test = *state;
    int status = 0;
    for (int i = 0; i < 20 && status != 429; i++) {
        status = post_key(test, "tg_wrong");
        assert_true(status == 401 || (status == 429 && i >= 10));
    }
    assert_int_equal(status, 429);
    gateway_test_has_header(&test->base, "Retry-After: 1");
    assert_int_equal(post_key(test, KEY_ADMIN), 200); /* who has a key is not locked out */
}

static void who_signs_in_anew_leaves_no_session_behind(void **state)
{
    struct admin_test *test = *state;
    char before[256];
    char headers[512];
    sign_in(test, KEY_ADMIN, before);
    snprintf(headers, sizeof(headers), "%s%s", before, JSON);
    assert_int_equal(ask(test, "POST /console/session", headers, "{\"key\":\"tg_wrong\"}"), 401);
    assert_int_equal(ask(test, "GET /console/api/v1/nodes", before, NULL), 200);
    assert_int_equal(ask(test, "POST /console/session", headers, "{\"key\":\"" KEY_MONITOR "\"}"),
                     200);
    assert_int_equal(ask(test, "GET /console/api/v1/nodes", before, NULL), 401);
}

static void who_is_signed_in_is_told_and_may_go(void **state)
{
    struct admin_test *test = *state;
    char headers[256];
    assert_int_equal(ask(test, "GET /console/session", "", NULL), 200);
    assert_string_equal(test->base.body, "{\"signed_in\":false}");
    sign_in(test, KEY_MONITOR, headers);
    assert_int_equal(ask(test, "GET /console/session", headers, NULL), 200);
    gateway_test_says(&test->base, "\"signed_in\":true,\"open\":false,\"role\":\"read\"");
    assert_int_equal(ask(test, "PUT /console/session", headers, ""), 405);
    assert_int_equal(ask(test, "DELETE /console/session", headers, NULL), 204);
    assert_non_null(strstr(test->base.head, "Max-Age=0"));
    assert_int_equal(ask(test, "GET /console/session", headers, NULL), 200);
    assert_string_equal(test->base.body, "{\"signed_in\":false}");
}

static void a_reader_sees_and_changes_nothing(void **state)
{
    struct admin_test *test = *state;
    char headers[256];
    assert_int_equal(ask(test, "GET /console/api/v1/nodes", "", NULL), 401);
    gateway_test_says_code(&test->base, "signed_out");
    sign_in(test, KEY_MONITOR, headers);
    assert_int_equal(ask(test, "GET /console/api/v1/nodes", headers, NULL), 200);
    gateway_test_says(&test->base, "\"nodes\":[{");
    assert_int_equal(ask(test, "GET /console/api/v1/users/42?app=other", headers, NULL), 200);
    assert_int_equal(ask(test, "POST /console/api/v1/broadcast?app=other", headers, "1"), 403);
    gateway_test_says_code(&test->base, "scope_missing");
    assert_int_equal(ask(test, "POST /console/api/v1/nodes/x:drain", headers, ""), 403);
    assert_int_equal(ask(test, "GET /console/api/v1/nothing", headers, NULL), 404);
    assert_int_equal(ask(test, "GET /console/api/v1/../nodes", headers, NULL), 400);
}

static void an_operator_may_do_everything_in_every_app(void **state)
{
    struct admin_test *test = *state;
    char headers[256];
    sign_in(test, KEY_ADMIN, headers);
    assert_int_equal(ask(test, "POST /console/api/v1/broadcast?app=other", headers, "1"), 202);
    assert_int_equal(ask(test, "POST /console/api/v1/broadcast", headers, "1"), 202);
    assert_int_equal(ask(test, "POST /console/api/v1/nodes/nobody:drain", headers, ""), 404);
    gateway_test_says_code(&test->base, "node_not_found");
}

static void take_the_admin_key(struct settings *settings)
{
    settings->apps[0].api_key_count--; /* the last one of the app */
}

static void a_key_that_a_reload_takes_ends_its_sessions(void **state)
{
    struct admin_test *test = *state;
    char headers[256];
    struct settings *settings = gateway_test_settings(take_the_admin_key);
    sign_in(test, KEY_ADMIN, headers);
    admin_set_settings(test->admin, settings, NULL);
    assert_int_equal(ask(test, "GET /console/api/v1/nodes", headers, NULL), 401);
    admin_set_settings(test->admin, test->base.settings, NULL);
    assert_int_equal(ask(test, "GET /console/api/v1/nodes", headers, NULL), 401);
    settings_unref(settings);
}

/* ---- where no key is needed, and where there is no console ---- */

static void take_keys(struct settings *settings)
{
    settings->apps[0].api_key_count = 0;
    settings->apps[1].api_key_count = 0;
}

static int setup_open(void **state)
{
    return admin_test_setup_tuned(state, take_keys);
}

static void without_keys_it_is_open_to_this_machine(void **state)
{
    struct admin_test *test = *state;
    assert_int_equal(ask(test, "GET /console/session", "", NULL), 200);
    gateway_test_says(&test->base, "\"open\":true,\"role\":\"operate\"");
    assert_int_equal(ask(test, "POST /console/api/v1/broadcast?app=shop", OWN, "1"), 202);
    assert_int_equal(ask(test, "POST /console/api/v1/broadcast?app=shop",
                         "Origin: http://evil.example\r\nX-Tidegate-Console: 1\r\n", "1"),
                     403);
    assert_int_equal(
        ask(test, "GET /console/api/v1/nodes?app=shop", "Host: rebound.example\r\n", NULL), 421);
}

static void turn_off(struct settings *settings)
{
    settings->console.enabled = false;
}

static int setup_off(void **state)
{
    return admin_test_setup_tuned(state, turn_off);
}

static void where_it_is_off_there_is_nothing(void **state)
{
    struct admin_test *test = *state;
    assert_int_equal(ask(test, "GET /console/", "", NULL), 401);
    assert_int_equal(post_key(test, KEY_ADMIN), 401);
}

#define ADMIN_TEST(name) \
    cmocka_unit_test_setup_teardown(name, admin_test_setup, admin_test_teardown)
#define TUNED(name, setup) cmocka_unit_test_setup_teardown(name, setup, admin_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ADMIN_TEST(a_key_of_scope_monitor_reads_one_of_scope_admin_operates),
        ADMIN_TEST(behind_a_proxy_that_speaks_tls_the_cookie_is_secure),
        ADMIN_TEST(other_keys_do_not_sign_in),
        ADMIN_TEST(what_changes_anything_comes_from_our_own_page),
        ADMIN_TEST(hasty_tries_are_held_back),
        ADMIN_TEST(who_signs_in_anew_leaves_no_session_behind),
        ADMIN_TEST(who_is_signed_in_is_told_and_may_go),
        ADMIN_TEST(a_reader_sees_and_changes_nothing),
        ADMIN_TEST(an_operator_may_do_everything_in_every_app),
        ADMIN_TEST(a_key_that_a_reload_takes_ends_its_sessions),
        TUNED(without_keys_it_is_open_to_this_machine, setup_open),
        TUNED(where_it_is_off_there_is_nothing, setup_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
