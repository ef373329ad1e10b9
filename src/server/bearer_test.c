#include "server/bearer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void the_credential_stands_behind_the_scheme(void **state)
{
    struct str credential;
    assert_true(bearer_parse(STR("Bearer abc"), &credential));
    assert_true(str_equal(credential, STR("abc")));
    assert_true(bearer_parse(STR("bEARER   a.b-c_d~+/=  "), &credential));
    assert_true(str_equal(credential, STR("a.b-c_d~+/=")));
}

static void anything_else_is_no_credential(void **state)
{
    static const struct str bad[] = {
        {"", 0},          {"Bearer", 6},      {"Bearer ", 7},         {"Basic abc", 9},
        {"Bearerabc", 9}, {"Bearer a b", 10}, {"Bearer a\0b", 10},    {"Bearer \xc3\xa9", 9},
        {" Bearer a", 9}, {"Bearer\ta", 8},   {"Bearer a,b\x7f", 11},
    };
    struct str credential = STR("untouched");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(bearer_parse(bad[i], &credential));
    }
    assert_false(bearer_parse((struct str){NULL, 0}, &credential));
    assert_true(str_equal(credential, STR("untouched")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_credential_stands_behind_the_scheme),
        cmocka_unit_test(anything_else_is_no_credential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
