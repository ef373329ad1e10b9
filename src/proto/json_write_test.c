/* Of json_write.c. */
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/json_test_help.h"

static void what_is_written_reads_back(void **state)
{
    char all[256 + 8];
    size_t len = 0;
    for (int c = 0; c < 128; c++) {
        all[len++] = (char)c;
    }
    memcpy(all + len, "\xc3\xa9\xf0\x9f\x98\x80", 6);
    len += 6;
    struct buf out = {0};
    struct buf back = {0};
    json_write_string(&out, str_make(all, len));
    struct json_value value;
    assert_int_equal(parse(&value, buf_str(&out), 0, NULL), 0);
    assert_int_equal(json_string_append(value, &back), 0);
    assert_true(str_equal(buf_str(&back), str_make(all, len)));
    buf_fini(&out);
    buf_fini(&back);
}

static void writers_put_commas_where_they_belong(void **state)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_string_field(&out, STR("a\""), STR("x\n\x1b"));
    json_write_u64_field(&out, STR("n"), UINT64_MAX);
    json_write_bool_field(&out, STR("b"), true);
    json_write_bool_field(&out, STR("c"), false);
    json_write_raw_field(&out, STR("d"), STR("[1, 2]"));
    json_write_key(&out, STR("e"));
    buf_append_char(&out, '[');
    for (int i = 0; i < 2; i++) {
        json_write_comma(&out);
        json_write_string(&out, STR(""));
    }
    buf_append_str(&out, STR("]}"));
    assert_text(buf_str(&out), "{\"a\\\"\":\"x\\n\\u001b\",\"n\":18446744073709551615,\"b\":true,"
                               "\"c\":false,\"d\":[1, 2],\"e\":[\"\",\"\"]}");
    buf_fini(&out);
}

static void a_failed_write_sticks_in_the_buffer(void **state)
{
    struct buf out = {0};
    mem_fail_nth(1);
    json_write_string(&out, STR("a"));
    json_write_u64_field(&out, STR("n"), 1);
    assert_int_equal(buf_err(&out), ERR_NO_MEMORY);
    assert_int_equal(out.len, 0);
    mem_fail_nth(0);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(writers_put_commas_where_they_belong),
        cmocka_unit_test(a_failed_write_sticks_in_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
