/* Of cli_push as a whole, against a server on a thread that plays one canned answer. */
#include "cli/cli.h"

#include "cli/exit_code.h"
#include "cli/test_http_server.h"

static struct test_http server;

static int push(const char *answer)
{
    return test_http_run(&server, cli_push,
                         TEST_HTTP_WORDS("push", "--user", "u", "--data", "\"end\""),
                         (const char *const[]){answer, NULL});
}

static void an_accepted_push_prints_its_id_and_ends_with_0(void **state)
{
    setenv("TIDEGATE_API_KEY", "tg_secret", 1);
    assert_int_equal(push("HTTP/1.1 202 Accepted\r\nContent-Length: 11\r\n\r\n{\"id\":\"m1\"}"),
                     EXIT_CODE_OK);
    assert_string_equal(server.out, "m1\n");
    assert_non_null(strstr(server.requests[0], "POST /v1/messages HTTP/1.1\r\n"));
    assert_non_null(strstr(server.requests[0], "Authorization: Bearer tg_secret\r\n"));
}

static void a_refusal_ends_with_1_and_prints_nothing(void **state)
{
    unsetenv("TIDEGATE_API_KEY");
    assert_int_equal(push("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
                     EXIT_CODE_REFUSED);
    assert_string_equal(server.out, "");
    assert_null(strstr(server.requests[0], "Authorization"));
}

static void what_is_lost_or_foreign_has_its_own_code(void **state)
{
    assert_int_equal(push(NULL), EXIT_CODE_CONNECT);
    assert_int_equal(push("HTTP/1.1 202 Accepted\r\nContent-Le"), EXIT_CODE_CONNECT);
    assert_int_equal(push("220 smtp.example ESMTP\r\n\r\n"), EXIT_CODE_PROTOCOL);
    assert_int_equal(push("HTTP/1.1 200 OK\r\n\r\n<html>"), EXIT_CODE_PROTOCOL);
    assert_string_equal(server.out, "");
}

static void nobody_there_ends_with_3(void **state)
{
    test_http_listen(&server);
    close(server.listener);
    assert_int_equal(
        test_http_verb(&server, cli_push, TEST_HTTP_WORDS("push", "--all", "--data", "1")),
        EXIT_CODE_CONNECT);
}

static void silence_ends_with_4(void **state)
{
    test_http_listen(&server);
    assert_int_equal(
        test_http_verb(&server, cli_push,
                       TEST_HTTP_WORDS("push", "--all", "--data", "1", "--timeout", "20ms")),
        EXIT_CODE_TIMEOUT);
    close(server.listener);
}

static void a_key_that_cannot_be_sent_is_a_usage_error(void **state)
{
    setenv("TIDEGATE_API_KEY", "two words", 1);
    char *argv[] = {"push", "--all", "--data", "1", NULL};
    assert_int_equal(cli_push(4, argv), EXIT_CODE_USAGE);
    unsetenv("TIDEGATE_API_KEY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_accepted_push_prints_its_id_and_ends_with_0),
        cmocka_unit_test(a_refusal_ends_with_1_and_prints_nothing),
        cmocka_unit_test(what_is_lost_or_foreign_has_its_own_code),
        cmocka_unit_test(nobody_there_ends_with_3),
        cmocka_unit_test(silence_ends_with_4),
        cmocka_unit_test(a_key_that_cannot_be_sent_is_a_usage_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
