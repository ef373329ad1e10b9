#include "proto/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct buf out;

static int stop(void **state)
{
    buf_fini(&out);
    return 0;
}

static void expect(const char *wire)
{
    assert_int_equal(buf_err(&out), 0);
    assert_string_equal(buf_cstr(&out), wire);
    buf_clear(&out);
}

static void an_event_is_its_fields_and_an_empty_line(void **state)
{
    sse_write_id(&out, STR("AQ"));
    sse_write_name(&out, STR("gap"));
    sse_write_retry(&out, 500);
    sse_write_json(&out, STR("{\"a\":1}"));
    sse_write_end(&out);
    expect("id: AQ\nevent: gap\nretry: 500\ndata: {\"a\":1}\n\n");
}

static void json_stays_one_line_whatever_line_ends_it_has(void **state)
{
    sse_write_json(&out, STR("{\r\n \"a\":\r1\n}\n"));
    expect("data: {   \"a\": 1 } \n");
    sse_write_json(&out, STR(""));
    expect("data: \n");
}

static void each_line_of_a_text_is_a_line_of_data(void **state)
{
    sse_write_text(&out, STR("one\ntwo\r\nthree\rfour"));
    expect("data: one\ndata: two\ndata: three\ndata: four\n");
    sse_write_text(&out, STR(""));
    expect("data: \n");
    sse_write_text(&out, STR("\n"));
    expect("data: \ndata: \n");
    sse_write_text(&out, STR("a\n\r"));
    expect("data: a\ndata: \ndata: \n");
}

/* What begins like a field must not become one. */
static void no_text_can_end_its_event_or_begin_a_field(void **state)
{
    static const char text[] = "x\n\nid: forged\r\revent: close\n\n";
    sse_write_text(&out, str_make(text, sizeof(text) - 1));
    for (char *line = strtok((char *)buf_cstr(&out), "\n"); line; line = strtok(NULL, "\n")) {
        assert_memory_equal(line, "data: ", 6);
    }
    assert_null(memchr(out.data, '\r', out.len));
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_its_fields_and_an_empty_line),
        cmocka_unit_test(json_stays_one_line_whatever_line_ends_it_has),
        cmocka_unit_test(each_line_of_a_text_is_a_line_of_data),
        cmocka_unit_test(no_text_can_end_its_event_or_begin_a_field),
    };
    return cmocka_run_group_tests(tests, NULL, stop);
}
