#include "cli/http_call.h"

#include "base/clock.h"
#include "base/err.h"
#include "cli/test_http_server.h"

static struct test_http server;

/* The verb that the helper runs: one call to its --url. */
static int call_err;
static bool connected;
static char body[256];

static int call(int argc, char **argv)
{
    struct url url;
    const char *reason;
    struct buf request = {0};
    struct http_reply reply = {0};
    assert_int_equal(url_parse(&url, argv[argc - 1], &reason), 0);
    buf_append_str(&request, STR("GET / HTTP/1.1\r\n\r\n"));
    call_err = http_call(&reply, &url, NULL, &request, clock_monotonic_ms() + 10000, &connected);
    assert_null(request.data);
    snprintf(body, sizeof(body), "%.*s", (int)reply.body.len, buf_cstr(&reply.body));
    http_reply_fini(&reply);
    return 0;
}

static void try(const char *answer)
{
    test_http_run(&server, call, TEST_HTTP_WORDS("call"), (const char *const[]){answer, NULL});
}

static void the_answer_is_taken_whole(void **state)
{
    try("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_int_equal(call_err, 0);
    assert_true(connected);
    assert_string_equal(body, "hi");
    try(TEST_HTTP_OK("to the end"));
    assert_int_equal(call_err, 0);
    assert_string_equal(body, "to the end");
}

static void one_that_ends_early_is_no_answer(void **state)
{
    try("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi");
    assert_int_equal(call_err, ERR_CLOSED);
    assert_true(connected);
    try(NULL);
    assert_int_equal(call_err, ERR_CLOSED);
    try("hello\r\n\r\n");
    assert_int_equal(call_err, ERR_PROTOCOL);
}

static void nobody_there_is_no_connection(void **state)
{
    test_http_listen(&server);
    close(server.listener);
    test_http_verb(&server, call, TEST_HTTP_WORDS("call"));
    assert_false(connected);
    assert_true(call_err < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_answer_is_taken_whole),
        cmocka_unit_test(one_that_ends_early_is_no_answer),
        cmocka_unit_test(nobody_there_is_no_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
