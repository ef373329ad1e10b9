#include "cli/refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cli/exit_code.h"

static void explains(int status, const char *body, const char *retry_after, int code,
                     const char *expected)
{
    struct buf words = {0};
    struct refusal refusal = {
        .status = status, .retry_after = str_of(retry_after), .scope = "admin"};
    if (*body) {
        assert_int_equal(json_parse(&refusal.body, str_of(body), 8, NULL), 0);
    }
    assert_int_equal(refusal_explain(&refusal, &words), code);
    assert_string_equal(buf_cstr(&words), expected);
    buf_fini(&words);
}

static void a_refusal_says_why_and_what_to_do(void **state)
{
    explains(403, "{\"code\":\"scope_missing\",\"detail\":\"No.\"}", "", EXIT_CODE_REFUSED,
             "refused with 403 scope_missing: No.; use a key that has the scope admin");
    explains(404, "{\"code\":\"x\",\"title\":\"Not Found\"}", "", EXIT_CODE_REFUSED,
             "refused with 404 x: Not Found; check the name, and that --url is the API listener");
    explains(429, "", "7", EXIT_CODE_UNAVAILABLE,
             "refused with 429; try again in 7 s; ask more slowly");
    explains(503, "", "x", EXIT_CODE_UNAVAILABLE, "refused with 503; the same may be asked again");
    explains(418, "", "", EXIT_CODE_REFUSED, "refused with 418; the gateway's log says more");
}

static void what_is_not_tidegates_is_told(void **state)
{
    struct buf words = {0};
    assert_int_equal(refusal_not_ours(302, &words), EXIT_CODE_PROTOCOL);
    assert_non_null(strstr(buf_cstr(&words), "HTTP 302"));
    buf_fini(&words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_says_why_and_what_to_do),
        cmocka_unit_test(what_is_not_tidegates_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
