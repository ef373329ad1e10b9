#include "server/watch_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define HIDDEN WATCH_HIDDEN

static void shows(const char *text, const char *wanted, bool has_secret)
{
    struct buf out = {0};
    bool has;
    assert_true(watch_text_redact(&out, str_of(text), 8, &has));
    assert_string_equal(buf_cstr(&out), wanted);
    assert_int_equal(has, has_secret);
    buf_fini(&out);
}

static void secrets_of_frames_are_replaced(void **state)
{
    shows(
        "{\"t\":\"hello\", \"v\":1, \"token\":\"eyJ.x.y\",\"claim\":\"c\",\"grants\":[\"a\",\"b\"]}",
        "{\"t\":\"hello\",\"v\":1,\"token\":" HIDDEN ",\"claim\":" HIDDEN ",\"grants\":" HIDDEN "}",
        true);
    shows("{\"t\":\"joined\",\"g\":\"r\",\"grant\":\"x\"}",
          "{\"t\":\"joined\",\"g\":\"r\",\"grant\":" HIDDEN "}", true);
    shows("[{\"t\":\"refresh\",\"re\":3,\"token\":\"x\"},{\"t\":\"ack\",\"ids\":[\"1\"]}]",
          "[{\"t\":\"refresh\",\"re\":3,\"token\":" HIDDEN "},{\"t\":\"ack\",\"ids\":[\"1\"]}]",
          true);
}

static void a_name_is_found_however_it_is_escaped_and_of_any_type(void **state)
{
    shows("{\"t\":\"hello\",\"\\u0074oken\":\"x\"}", "{\"t\":\"hello\",\"\\u0074oken\":" HIDDEN "}",
          true);
    shows("{\"token\":{\"deep\":[1]},\"token\":7}", "{\"token\":" HIDDEN ",\"token\":" HIDDEN "}",
          true);
}

static void what_the_application_says_stays_as_it_is(void **state)
{
    const char
        *text = "{\"t\":\"msg\",\"data\":{\"token\":\"of the app\",\"x\":[1.50,\"\\u00e4\"]}}";
    shows(text, text, false);
    shows("{}", "{}", false);
    shows("[]", "[]", false);
}

static void what_is_no_frame_is_not_shown(void **state)
{
    const char *const texts[] = {"",      "{\"token\":\"eyJ",  "\"token\"",
                                 "7",     "[{\"t\":\"x\"},7]", "token=1",
                                 "{} {}", "[[[[[[[[[]]]]]]]]]"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct buf out = {0};
        bool has;
        assert_false(watch_text_redact(&out, str_of(texts[i]), 8, &has));
        assert_int_equal(out.len, 0);
        buf_fini(&out);
    }
}

static void a_cut_leaves_whole_characters(void **state)
{
    struct str text = STR("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    const size_t lens[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
    for (size_t max = 0; max < sizeof(lens) / sizeof(lens[0]); max++) {
        assert_int_equal(watch_text_cut(text, max).len, lens[max]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_of_frames_are_replaced),
        cmocka_unit_test(a_name_is_found_however_it_is_escaped_and_of_any_type),
        cmocka_unit_test(what_the_application_says_stays_as_it_is),
        cmocka_unit_test(what_is_no_frame_is_not_shown),
        cmocka_unit_test(a_cut_leaves_whole_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
