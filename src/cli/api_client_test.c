#include "cli/api_client.h"

#include "cli/exit_code.h"
#include "cli/test_http_server.h"

static struct test_http server;
static struct api_client client;
static uint64_t number;

/* The verb that the helper runs. */
static int ask(int argc, char **argv)
{
    int code = EXIT_CODE_USAGE;
    client = (struct api_client){.verb = "ask",
                                 .scope = "read",
                                 .url_text = argv[argc - 1],
                                 .app = argc > 3 ? argv[1] : NULL,
                                 .timeout_text = "5s",
                                 .quiet = true};
    if (api_client_open(&client)) {
        code = api_client_call(&client, "GET", STR("/v1/x?y=1"), (struct str){NULL, 0}, 0);
        number = api_number(client.body, "n");
    }
    return code;
}

static int call(const char *answer)
{
    api_client_close(&client);
    return test_http_run(&server, ask, TEST_HTTP_WORDS("ask", "shop"),
                         (const char *const[]){answer, NULL});
}

static int close_client(void **state)
{
    api_client_close(&client);
    unsetenv("TIDEGATE_API_KEY");
    return 0;
}

static void a_success_is_an_object(void **state)
{
    setenv("TIDEGATE_API_KEY", "tg_secret", 1);
    assert_int_equal(call(TEST_HTTP_OK("{\"n\":7}")), EXIT_CODE_OK);
    assert_int_equal(number, 7);
    assert_non_null(strstr(server.requests[0], "GET /v1/x?y=1&app=shop HTTP/1.1\r\n"));
    assert_non_null(strstr(server.requests[0], "Authorization: Bearer tg_secret\r\n"));
    assert_int_equal(call(TEST_HTTP_OK("[7]")), EXIT_CODE_PROTOCOL);
    assert_int_equal(call(TEST_HTTP_OK("<html>")), EXIT_CODE_PROTOCOL);
}

static void a_failure_says_why(void **state)
{
    assert_int_equal(call("HTTP/1.1 401 No\r\nContent-Length: 15\r\n\r\n{\"code\":\"nope\"}"),
                     EXIT_CODE_REFUSED);
    assert_non_null(strstr(buf_cstr(&client.words), "401 nope"));
    assert_int_equal(call(NULL), EXIT_CODE_CONNECT);
    assert_non_null(strstr(buf_cstr(&client.words), "lost before the answer"));
    assert_int_equal(call("220 smtp\r\n\r\n"), EXIT_CODE_PROTOCOL);
    assert_true(api_client_may_retry(EXIT_CODE_CONNECT));
    assert_false(api_client_may_retry(EXIT_CODE_REFUSED));
}

static void what_can_not_be_used_is_refused_before_any_call(void **state)
{
    static const char *const urls[] = {"ws://a", "http://a/?q=1", "a", "http://u@a"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct api_client bad = {.verb = "ask", .url_text = urls[i]};
        assert_false(api_client_open(&bad));
        api_client_close(&bad);
    }
    struct api_client slow = {.verb = "ask", .timeout_text = "5"};
    assert_false(api_client_open(&slow));
    setenv("TIDEGATE_API_KEY", "two words", 1);
    struct api_client keyed = {.verb = "ask"};
    assert_false(api_client_open(&keyed));
}

static void members_are_read_whatever_is_there(void **state)
{
    struct json_value object;
    char scratch[8];
    assert_int_equal(json_parse(&object,
                                STR("{\"s\":\"a\\u0062\",\"n\":12,\"r\":1.75,\"m\":-3,\"t\":true,"
                                    "\"long\":\"123456789\",\"e\":1e300}"),
                                4, NULL),
                     0);
    assert_true(str_equal(api_text(object, "s", scratch, sizeof(scratch)), STR("ab")));
    assert_int_equal(api_text(object, "long", scratch, sizeof(scratch)).len, 0);
    assert_int_equal(api_text(object, "n", scratch, sizeof(scratch)).len, 0);
    assert_int_equal(api_number(object, "n"), 12);
    assert_int_equal(api_number(object, "r"), 1);
    assert_int_equal(api_number(object, "m"), 0);
    assert_int_equal(api_number(object, "e"), 0);
    assert_int_equal(api_number(object, "none"), 0);
    assert_true(api_real(object, "r") == 1.75);
    assert_true(api_flag(object, "t"));
    assert_false(api_flag(object, "n"));
    assert_int_equal(api_member(object, "none").type, JSON_TYPE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_success_is_an_object, close_client),
        cmocka_unit_test_teardown(a_failure_says_why, close_client),
        cmocka_unit_test_teardown(what_can_not_be_used_is_refused_before_any_call, close_client),
        cmocka_unit_test(members_are_read_whatever_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
