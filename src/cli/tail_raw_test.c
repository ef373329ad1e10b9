#include "cli/tail_raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static void assert_lines(enum ws_opcode opcode, struct str payload, const char *plain,
                         const char *json)
{
    struct buf out = {0};
    tail_raw_write(&out, opcode, payload, false);
    assert_string_equal(buf_cstr(&out), plain);
    buf_clear(&out);
    tail_raw_write(&out, opcode, payload, true);
    assert_string_equal(buf_cstr(&out), json);
    buf_fini(&out);
}

static void json_is_printed_as_it_came(void **state)
{
    assert_lines(WS_TEXT, STR("{\"n\":1.0,\n\"a\":\"\\u001b\"}"),
                 "{\"n\":1.0, \"a\":\"\\u001b\"}\n", "{\"n\":1.0, \"a\":\"\\u001b\"}\n");
}

static void other_text_can_neither_break_lines_nor_drive_the_terminal(void **state)
{
    assert_lines(WS_TEXT, STR("a\tb\n\x1b[2J\x7f\xc3\xa9"), "a\tb ?[2J?\xc3\xa9\n",
                 "\"a\\tb\\n\\u001b[2J\x7f\xc3\xa9\"\n");
    assert_lines(WS_TEXT, STR(""), "\n", "\"\"\n");
}

static void binary_is_base64(void **state)
{
    assert_lines(WS_BINARY, STR("\0\xff{}"), "AP97fQ==\n", "{\"base64\":\"AP97fQ==\"}\n");
}

static void lost_memory_shows_in_the_buffer(void **state)
{
    struct buf out = {0};
    mem_fail_nth(1);
    tail_raw_write(&out, WS_BINARY, STR("x"), false);
    assert_int_equal(buf_err(&out), ERR_NO_MEMORY);
    mem_fail_nth(0);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_printed_as_it_came),
        cmocka_unit_test(other_text_can_neither_break_lines_nor_drive_the_terminal),
        cmocka_unit_test(binary_is_base64),
        cmocka_unit_test(lost_memory_shows_in_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
