#include "cli/push_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "cli/exit_code.h"

static struct buf out, words;

static int judge(int status, const char *body, const char *retry_after, bool as_json)
{
    const struct push_answer answer = {status, str_of(body), str_of(retry_after), as_json};
    buf_clear(&out);
    buf_clear(&words);
    return push_answer_judge(&answer, &out, &words);
}

static int forget(void **state)
{
    buf_fini(&out);
    buf_fini(&words);
    return 0;
}

static void an_accepted_push_prints_its_id(void **state)
{
    assert_int_equal(judge(202, "{\"id\":\"cmt-7\",\"pos\":\"2:81723.0\"}", NULL, false),
                     EXIT_CODE_OK);
    assert_string_equal(buf_cstr(&out), "cmt-7\n");
    assert_int_equal(words.len, 0);
    assert_int_equal(judge(200, "{\"id\":\"a\\u0062\",\"replayed\":true}", NULL, false),
                     EXIT_CODE_OK);
    assert_string_equal(buf_cstr(&out), "ab (was accepted before)\n");
}

static void a_receipt_is_told_in_words(void **state)
{
    const char *body =
        "{\"id\":\"m1\",\"pos\":\"0:1.0\",\"receipt\":{\"complete\":true,\"nodes\":"
        "{\"expected\":1,\"reported\":1},\"sessions\":{\"matched\":3,\"written\":2,\"acked\":0,"
        "\"dropped\":1}}}";
    assert_int_equal(judge(200, body, NULL, false), EXIT_CODE_OK);
    assert_string_equal(buf_cstr(&out), "m1 matched 3 written 2 acked 0 dropped 1\n");
    body = "{\"id\":\"m1\",\"receipt\":{\"complete\":false,\"sessions\":{\"matched\":3}}}";
    assert_int_equal(judge(202, body, NULL, false), EXIT_CODE_OK);
    assert_string_equal(buf_cstr(&out), "m1 matched 3 (incomplete: not all was counted in time)\n");
}

static void json_gives_the_answer_on_one_line(void **state)
{
    assert_int_equal(judge(202, "{\n \"id\":\"m1\"\n}\n", NULL, true), EXIT_CODE_OK);
    assert_string_equal(buf_cstr(&out), "{  \"id\":\"m1\" }\n");
    assert_int_equal(judge(401, "{\"code\":\"key_unknown\"}\n", NULL, true), EXIT_CODE_REFUSED);
    assert_string_equal(buf_cstr(&out), "{\"code\":\"key_unknown\"}\n");
    assert_non_null(strstr(buf_cstr(&words), "key_unknown"));
}

static void a_refusal_says_why_and_what_to_do_next(void **state)
{
    const char
        *body = "{\"type\":\"about:blank\",\"title\":\"Unauthorized\",\"status\":401,\"code\":"
                "\"key_unknown\",\"detail\":\"the key is not known\"}";
    assert_int_equal(judge(401, body, NULL, false), EXIT_CODE_REFUSED);
    assert_string_equal(
        buf_cstr(&words),
        "refused with 401 key_unknown: the key is not known; set TIDEGATE_API_KEY or "
        "--key-file to a key whose hash is in the configuration ('tidegate key' makes one)");
    assert_int_equal(out.len, 0);
    assert_int_equal(judge(422, "{\"title\":\"Bad\"}", NULL, false), EXIT_CODE_REFUSED);
    assert_string_equal(buf_cstr(&words), "refused with 422: Bad; correct what the detail names");
}

static void later_has_an_exit_code_of_its_own(void **state)
{
    assert_int_equal(judge(503, "{\"code\":\"bus_unavailable\"}", "2", false),
                     EXIT_CODE_UNAVAILABLE);
    assert_string_equal(buf_cstr(&words),
                        "refused with 503 bus_unavailable; try again in 2 s; the same "
                        "push with the same --id may be repeated");
    assert_int_equal(judge(429, "", "soon", false), EXIT_CODE_UNAVAILABLE);
    assert_string_equal(buf_cstr(&words), "refused with 429; push more slowly");
}

static void every_refusal_has_advice(void **state)
{
    const int statuses[] = {400, 401, 403, 404, 405, 409, 413, 422, 429, 500, 503};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        assert_true(judge(statuses[i], "<html>", NULL, false) != EXIT_CODE_OK);
        assert_non_null(strchr(buf_cstr(&words), ';'));
    }
}

static void an_answer_that_is_not_tidegates_is_told_apart(void **state)
{
    const char *bodies[] = {"", "<html>", "[]", "{}", "{\"id\":7}", "{\"id\":\"x\"", "null"};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(judge(200, bodies[i], NULL, false), EXIT_CODE_PROTOCOL);
        assert_int_equal(judge(200, bodies[i], NULL, true), EXIT_CODE_PROTOCOL);
        assert_int_equal(out.len, 0);
        assert_true(words.len > 0);
    }
    assert_int_equal(judge(302, "{}", NULL, false), EXIT_CODE_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_accepted_push_prints_its_id),
        cmocka_unit_test(a_receipt_is_told_in_words),
        cmocka_unit_test(json_gives_the_answer_on_one_line),
        cmocka_unit_test(a_refusal_says_why_and_what_to_do_next),
        cmocka_unit_test(later_has_an_exit_code_of_its_own),
        cmocka_unit_test(every_refusal_has_advice),
        cmocka_unit_test(an_answer_that_is_not_tidegates_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
