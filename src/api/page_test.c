#include "api/page.h"

#include "api/admin_test_help.h"

/* The console's files, which need no key. */
static int ask(struct admin_test *test, const char *line, const char *headers, const char *body)
{
    return gateway_test_ask_with(&test->base, NULL, line, headers, body);
}

static void test_h19_files_are_those_that_were_embedded(void **state)
{
    struct admin_test *test = *state;
    const char *const lines[] = {"GET /console/../console/",
                                 "GET /console/..%2fdemo/",
                                 "GET /console/%2e%2e/demo/",
                                 "GET /console//app.js",
                                 "GET /console/app.js%00",
                                 "GET /console/%252e%252e/",
                                 "GET /console/../../etc/passwd",
                                 "GET /console/index.html",
                                 "GET /console/views",
                                 "GET /consoles/",
                                 "GET /console/..%5c..%5cindex.js"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        int status = ask(test, lines[i], "", NULL);
        assert_true(status == 404 || status == 400 || status == 401);
    }
    assert_int_equal(ask(test, "GET /console", "", NULL), 308);
    gateway_test_has_header(&test->base, "Location: /console/");
}

static void a_file_comes_compressed_or_not_at_all_when_it_is_known(void **state)
{
    struct admin_test *test = *state;
    char headers[256];
    assert_int_equal(ask(test, "GET /console/chart.js", "", NULL), 200);
    gateway_test_has_header(&test->base, "Content-Type: text/javascript; charset=utf-8");
    gateway_test_has_header(&test->base, "Cache-Control: no-cache");
    gateway_test_has_header(&test->base, "Vary: Accept-Encoding");
    assert_null(strstr(test->base.head, "Content-Encoding"));
    size_t whole = test->base.answer.len;
    assert_int_equal(
        ask(test, "GET /console/chart.js", "Accept-Encoding: br, GZIP;q=0.5\r\n", NULL), 200);
    gateway_test_has_header(&test->base, "Content-Encoding: gzip");
    assert_true(test->base.answer.len < whole / 2);
    const char *etag = strstr(test->base.head, "ETag: ");
    assert_non_null(etag);
    snprintf(headers, sizeof(headers), "Accept-Encoding: gzip\r\nIf-None-Match: \"x\", W/%.*s\r\n",
             (int)strcspn(etag + 6, "\r"), etag + 6);
    assert_int_equal(ask(test, "GET /console/chart.js", headers, NULL), 304);
    assert_string_equal(test->base.body, "");
    assert_int_equal(ask(test, "GET /console/chart.js", "Accept-Encoding: gzip;q=0\r\n", NULL),
                     200);
    assert_null(strstr(test->base.head, "Content-Encoding"));
    assert_int_equal(ask(test, "POST /console/", "Origin: http://localhost\r\n", ""), 405);
}

static void every_file_comes_with_what_keeps_others_out(void **state)
{
    struct admin_test *test = *state;
    assert_int_equal(ask(test, "GET /console/", "", NULL), 200);
    gateway_test_has_header(&test->base, "X-Content-Type-Options: nosniff");
    gateway_test_has_header(&test->base, "Referrer-Policy: no-referrer");
    gateway_test_has_header(&test->base, "Cross-Origin-Resource-Policy: same-origin");
    const char *policy = strstr(test->base.head, "Content-Security-Policy: default-src 'none'; ");
    assert_non_null(policy);
    assert_null(strstr(test->base.head, "unsafe"));
    assert_non_null(strstr(policy, "frame-ancestors 'none'"));
    assert_non_null(strstr(policy, "require-trusted-types-for 'script'"));
}

#define PAGE_TEST(name) cmocka_unit_test_setup_teardown(name, admin_test_setup, admin_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAGE_TEST(test_h19_files_are_those_that_were_embedded),
        PAGE_TEST(a_file_comes_compressed_or_not_at_all_when_it_is_known),
        PAGE_TEST(every_file_comes_with_what_keeps_others_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
