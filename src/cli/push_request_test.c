#include "cli/push_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/http_request.h"
#include "proto/json.h"

static struct push_options make_options(const char *url)
{
    struct push_options options = {.users = {{"u1", "\"x\""}, 2}, .timeout_ms = 1000};
    const char *reason;
    assert_int_equal(url_parse(&options.url, url, &reason), 0);
    buf_append_str(&options.data, STR("{\"n\": 123456789012345678901234567890}"));
    return options;
}

static void assert_body(const struct push_options *options, const char *expected)
{
    struct buf out = {0};
    struct json_value value;
    assert_int_equal(push_request_write_body(&out, options), 0);
    assert_string_equal(buf_cstr(&out), expected);
    assert_int_equal(json_parse(&value, buf_str(&out), JSON_MAX_DEPTH, NULL), 0);
    buf_fini(&out);
}

static void only_what_was_given_is_sent(void **state)
{
    struct push_options options = make_options("http://a");
    assert_body(&options, "{\"to\":{\"users\":[\"u1\",\"\\\"x\\\"\"]},"
                          "\"data\":{\"n\": 123456789012345678901234567890}}");
    push_options_fini(&options);
}

static void every_option_has_its_place(void **state)
{
    struct push_options options = make_options("http://a");
    options.users.count = 1;
    options.groups = (struct args_list){{"g"}, 1};
    options.sessions = (struct args_list){{"s_1"}, 1};
    options.tickets = (struct args_list){{"t_1"}, 1};
    options.all = true;
    options.is_final = true;
    options.type = "t";
    options.id = "i";
    options.wait = "routed";
    options.ttl_ms = 60000;
    buf_clear(&options.data);
    buf_append_str(&options.data, STR("null"));
    assert_body(
        &options,
        "{\"to\":{\"users\":[\"u1\"],\"groups\":[\"g\"],\"sessions\":[\"s_1\"],"
        "\"tickets\":[\"t_1\"],\"all\":true},"
        "\"type\":\"t\",\"id\":\"i\",\"wait\":\"routed\",\"final\":true,\"ttl_ms\":60000,\"data\":null}");
    push_options_fini(&options);
}

static void the_request_is_one_that_a_strict_server_takes(void **state)
{
    const char *urls[] = {"http://host:81", "http://host:81/", "http://host:81/base/"};
    const char *paths[] = {"/v1/messages", "/v1/messages", "/base/v1/messages"};
    for (size_t i = 0; i < 3; i++) {
        struct push_options options = make_options(urls[i]);
        struct buf out = {0};
        struct http_request request;
        const struct http_limits limits = HTTP_LIMITS_DEFAULT;
        assert_int_equal(push_request_write(&out, &options, "tg_key"), 0);
        ssize_t head = http_request_parse(&request, &limits, out.data, out.len, NULL);
        assert_true(head > 0);
        assert_int_equal(request.method, HTTP_METHOD_POST);
        assert_true(str_equal(request.path, str_of(paths[i])));
        assert_true(str_equal(request.host, STR("host:81")));
        assert_int_equal(request.content_length, out.len - (size_t)head);
        assert_true(
            str_equal(http_request_header(&request, "authorization"), STR("Bearer tg_key")));
        buf_fini(&out);
        push_options_fini(&options);
    }
}

static void without_a_key_no_authorization_is_sent(void **state)
{
    struct push_options options = make_options("http://a");
    struct buf out = {0};
    assert_int_equal(push_request_write(&out, &options, ""), 0);
    assert_null(strstr(buf_cstr(&out), "Authorization"));
    buf_fini(&out);
    push_options_fini(&options);
}

static void every_failed_allocation_is_reported(void **state)
{
    struct push_options options = make_options("http://a");
    int failures = 0;
    for (unsigned long nth = 1;; nth++, failures++) {
        struct buf out = {0};
        mem_fail_nth(nth);
        int err = push_request_write(&out, &options, "tg_key");
        buf_fini(&out);
        if (mem_fail_pending()) {
            mem_fail_nth(0);
            break;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
    }
    assert_true(failures > 2);
    push_options_fini(&options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_was_given_is_sent),
        cmocka_unit_test(every_option_has_its_place),
        cmocka_unit_test(the_request_is_one_that_a_strict_server_takes),
        cmocka_unit_test(without_a_key_no_authorization_is_sent),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
