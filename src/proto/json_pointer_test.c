#include "proto/json_pointer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "proto/json_test_help.h"

static int read_pointer(struct json_pointer *out, char text[JSON_POINTER_BYTES + 2],
                        const char *from)
{
    strcpy(text, from);
    return json_pointer_read(out, text, strlen(text));
}

static void assert_finds(const char *pointer_text, const char *json, const char *expected)
{
    char text[JSON_POINTER_BYTES + 2];
    struct json_pointer pointer;
    struct json_value value;
    assert_int_equal(read_pointer(&pointer, text, pointer_text), 0);
    json_pointers_find(&pointer, 1, parsed(json).raw, &value);
    if (expected) {
        assert_text(value.raw, expected);
    } else {
        assert_int_equal(value.type, JSON_TYPE_NONE);
    }
}

static void a_pointer_names_a_member_or_an_element(void **state)
{
    const char *json = "{\"a\":{\"b\":[10,{\"c\":true}],\"\":1},\"m~n\":2,\"x/y\":3,\"0\":4,"
                       "\"\\u00e9\":5}";
    assert_finds("/a/b/0", json, "10");
    assert_finds("/a/b/1/c", json, "true");
    assert_finds("/a/b", json, "[10,{\"c\":true}]");
    assert_finds("/a/", json, "1");
    assert_finds("/m~0n", json, "2");
    assert_finds("/x~1y", json, "3");
    assert_finds("/0", json, "4"); /* of an object it is a name */
    assert_finds("/\xc3\xa9", json, "5");
}

static void what_is_not_there_is_none(void **state)
{
    const char *json = "{\"a\":{\"b\":[10]},\"s\":\"text\"}";
    const char *absent[] = {"/b",     "/a/c",     "/a/b/1", "/a/b/00", "/a/b/-",
                            "/a/b/x", "/a/b/0/z", "/s/0",   "/",       "/a/b/4294967295"};
    for (size_t i = 0; i < COUNT(absent); i++) {
        assert_finds(absent[i], json, NULL);
    }
    assert_finds("/a", "5", NULL);
    assert_finds("/a", "\"/a\"", NULL);
}

static void of_equal_names_the_first_counts(void **state)
{
    assert_finds("/a", "{\"a\":1,\"\\u0061\":2}", "1");
    assert_finds("/a/b", "{\"a\":1,\"a\":{\"b\":2}}", NULL);
}

static void several_are_found_in_one_walk(void **state)
{
    const char *texts[] = {"/a/b", "/a", "/a/c/1", "/zz", "/d", "/a/b"};
    char copies[COUNT(texts)][JSON_POINTER_BYTES + 2];
    struct json_pointer pointers[COUNT(texts)];
    struct json_value values[COUNT(texts)];
    for (size_t i = 0; i < COUNT(texts); i++) {
        assert_int_equal(read_pointer(&pointers[i], copies[i], texts[i]), 0);
    }
    values[4] = (struct json_value){JSON_TYPE_NULL, STR("untouched")};
    struct str json = parsed("{\"d\":0, \"a\" : {\"b\":1,\"c\":[2, 3]}, \"zz\":null}").raw;
    json_pointers_find(pointers, 0x2f, json, values); /* all but /d */
    assert_text(values[0].raw, "1");
    assert_text(values[1].raw, "{\"b\":1,\"c\":[2, 3]}");
    assert_text(values[2].raw, "3");
    assert_int_equal(values[3].type, JSON_TYPE_NULL);
    assert_text(values[4].raw, "untouched");
    assert_text(values[5].raw, "1");
}

static void as_many_as_may_be_are_found(void **state)
{
    static struct json_pointer pointers[JSON_POINTERS_MAX];
    static char texts[JSON_POINTERS_MAX][8];
    struct json_value values[JSON_POINTERS_MAX];
    struct buf json = {0};
    for (int i = 0; i < JSON_POINTERS_MAX; i++) {
        buf_printf(&json, "%c\"k%d\":%d", i ? ',' : '{', i, i);
        int len = snprintf(texts[i], sizeof(texts[i]), "/k%d", i);
        assert_int_equal(json_pointer_read(&pointers[i], texts[i], (size_t)len), 0);
    }
    buf_append_char(&json, '}');
    json_pointers_find(pointers, UINT64_MAX, buf_str(&json), values);
    for (int i = 0; i < JSON_POINTERS_MAX; i++) {
        uint64_t number;
        assert_true(json_u64(values[i], JSON_POINTERS_MAX, &number));
        assert_int_equal(number, i);
    }
    buf_fini(&json);
}

static void what_is_no_pointer_is_refused(void **state)
{
    char text[JSON_POINTER_BYTES + 2];
    struct json_pointer pointer;
    assert_int_equal(read_pointer(&pointer, text, ""), ERR_SYNTAX);
    assert_int_equal(read_pointer(&pointer, text, "a"), ERR_SYNTAX);
    assert_int_equal(read_pointer(&pointer, text, "/a~"), ERR_SYNTAX);
    assert_int_equal(read_pointer(&pointer, text, "/a~2"), ERR_SYNTAX);
    assert_int_equal(read_pointer(&pointer, text, "/1/2/3/4/5/6/7/8"), 0);
    assert_int_equal(pointer.step_count, JSON_POINTER_STEPS);
    assert_int_equal(read_pointer(&pointer, text, "/1/2/3/4/5/6/7/8/9"), ERR_TOO_LARGE);
    memset(text, 'x', sizeof(text));
    text[0] = '/';
    assert_int_equal(json_pointer_read(&pointer, text, JSON_POINTER_BYTES), 0);
    assert_int_equal(json_pointer_read(&pointer, text, JSON_POINTER_BYTES + 1), ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pointer_names_a_member_or_an_element),
        cmocka_unit_test(what_is_not_there_is_none),
        cmocka_unit_test(of_equal_names_the_first_counts),
        cmocka_unit_test(several_are_found_in_one_walk),
        cmocka_unit_test(as_many_as_may_be_are_found),
        cmocka_unit_test(what_is_no_pointer_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
