#include "cli/api_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void write(struct buf *out, const char *text, const char *key, const char *method,
                  struct str body)
{
    struct url url;
    const char *reason;
    assert_int_equal(url_parse(&url, text, &reason), 0);
    assert_int_equal(api_request_write(out, &url, key, method, STR("/v1/nodes"), body), 0);
}

static void a_request_without_a_body_has_no_length(void **state)
{
    struct buf out = {0};
    write(&out, "http://a:81/base/", "tg_k", "GET", (struct str){NULL, 0});
    assert_string_equal(buf_cstr(&out), "GET /base/v1/nodes HTTP/1.1\r\nHost: a:81\r\n"
                                        "Authorization: Bearer tg_k\r\n"
                                        "User-Agent: tidegate/" TIDEGATE_VERSION "\r\n"
                                        "Connection: close\r\n\r\n");
    buf_fini(&out);
}

static void a_body_has_its_type_and_length(void **state)
{
    struct buf out = {0};
    write(&out, "http://a", "", "POST", STR("{}"));
    assert_string_equal(buf_cstr(&out), "POST /v1/nodes HTTP/1.1\r\nHost: a\r\n"
                                        "User-Agent: tidegate/" TIDEGATE_VERSION "\r\n"
                                        "Content-Type: application/json\r\nConnection: close\r\n"
                                        "Content-Length: 2\r\n\r\n{}");
    buf_fini(&out);
}

static void options_are_encoded(void **state)
{
    struct buf path = {0};
    buf_append_str(&path, STR("/p"));
    api_request_add_option(&path, "app", STR("x y"));
    api_request_add_option(&path, "after", STR("a&b=\n"));
    assert_string_equal(buf_cstr(&path), "/p?app=x%20y&after=a%26b%3D%0A");
    buf_fini(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_without_a_body_has_no_length),
        cmocka_unit_test(a_body_has_its_type_and_length),
        cmocka_unit_test(options_are_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
