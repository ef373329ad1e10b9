#include "proto/trace_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static void a_traceparent_is_read_and_written(void **state)
{
    struct str text = STR("00-" TRACE "-" SPAN "-01");
    struct trace_context context;
    char again[TRACE_PARENT_LEN];
    assert_true(trace_parent_parse(&context, text));
    assert_int_equal(context.trace_id[0], 0x0a);
    assert_int_equal(context.trace_id[15], 0x9c);
    assert_int_equal(context.span_id[0], 0xb7);
    assert_true(trace_is_sampled(&context));
    trace_parent_format(again, &context);
    assert_memory_equal(again, text.ptr, TRACE_PARENT_LEN);
}

static void flags_that_are_not_known_are_cleared(void **state)
{
    struct trace_context context;
    assert_true(trace_parent_parse(&context, STR("00-" TRACE "-" SPAN "-ff")));
    assert_int_equal(context.flags, TRACE_SAMPLED);
    assert_true(trace_parent_parse(&context, STR("00-" TRACE "-" SPAN "-fe")));
    assert_false(trace_is_sampled(&context));
}

static void of_a_later_version_the_beginning_is_read(void **state)
{
    struct trace_context context;
    assert_true(trace_parent_parse(&context, STR("cc-" TRACE "-" SPAN "-01")));
    assert_true(trace_parent_parse(&context, STR("cc-" TRACE "-" SPAN "-01-what-comes")));
    assert_true(trace_parent_parse(&context, STR("01-" TRACE "-" SPAN "-01-")));
}

static void what_is_no_traceparent_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-01-",
        "00-" TRACE "-" SPAN "-01-more",
        "00-" TRACE "-" SPAN "-01 ",
        " 00-" TRACE "-" SPAN "-01",
        "ff-" TRACE "-" SPAN "-01",
        "cc-" TRACE "-" SPAN "-01.what-comes",
        "FF-" TRACE "-" SPAN "-01",
        "0g-" TRACE "-" SPAN "-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
        "00-" TRACE "-B7AD6B7169203331-01",
        "00-" TRACE "-" SPAN "-0A",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "00-" TRACE SPAN "--01-",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct trace_context context;
        if (trace_parent_parse(&context, str_of(bad[i]))) {
            fail_msg("%s", bad[i]);
        }
    }
}

static void a_traceparent_cut_anywhere_is_refused(void **state)
{
    struct str text = STR("00-" TRACE "-" SPAN "-01");
    struct trace_context context;
    for (size_t len = 0; len < text.len; len++) {
        assert_false(trace_parent_parse(&context, str_make(text.ptr, len)));
    }
}

static void a_child_is_of_the_same_trace(void **state)
{
    struct trace_context parent;
    assert_true(trace_parent_parse(&parent, STR("00-" TRACE "-" SPAN "-01")));
    struct trace_context child = trace_context_child(&parent, 0x0102030405060708);
    assert_memory_equal(child.trace_id, parent.trace_id, TRACE_ID_LEN);
    assert_memory_not_equal(child.span_id, parent.span_id, TRACE_SPAN_ID_LEN);
    assert_true(trace_is_sampled(&child));
}

static void a_context_packs_into_25_bytes(void **state)
{
    struct trace_context context, again;
    uint8_t packed[TRACE_PACKED_LEN + 3] = {0};
    assert_true(trace_parent_parse(&context, STR("00-" TRACE "-" SPAN "-01")));
    trace_context_pack(packed, &context);
    assert_true(trace_context_unpack(&again, str_make(packed, sizeof(packed))));
    assert_memory_equal(&again, &context, sizeof(context));
    for (size_t len = 0; len < TRACE_PACKED_LEN; len++) {
        assert_false(trace_context_unpack(&again, str_make(packed, len)));
    }
    memset(packed, 0, TRACE_ID_LEN);
    assert_false(trace_context_unpack(&again, str_make(packed, sizeof(packed))));
}

static void a_tracestate_is_a_list_of_members(void **state)
{
    static const char *const good[] = {
        "",
        "a=b",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "a=b , c=d\t,, e=f",
        "fw529a3039@dt=FfAxu;x:y",
        "0tenant@v=1",
        "a_-*/9=!\"#$% &'()+~",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (!trace_state_is_sound(str_of(good[i]))) {
            fail_msg("%s", good[i]);
        }
    }
}

static void what_is_no_tracestate_is_refused(void **state)
{
    static const char *const bad[] = {
        "a",       "=b",     "a=",     "A=b",        "0a=b",  "a b=c",
        "a=b=c",   "a=b;\n", "a=\x7f", "@v=1",       "t@=1",  "t@0v=1",
        "t@v@w=1", "a@V=1",  "a=b,c",  "a=\xc3\xa9", "a=b,=", "a@averylongsystem1=1",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (trace_state_is_sound(str_of(bad[i]))) {
            fail_msg("%s", bad[i]);
        }
    }
}

static void a_tracestate_has_limits(void **state)
{
    char text[1024];
    size_t len = 0;
    for (int i = 0; i < TRACE_STATE_MEMBERS; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "k%d=v,", i);
    }
    assert_true(trace_state_is_sound(str_make(text, len)));
    len += (size_t)snprintf(text + len, sizeof(text) - len, "one=more");
    assert_false(trace_state_is_sound(str_make(text, len)));
    memset(text, 'x', sizeof(text));
    memcpy(text, "k=", 2);
    assert_true(trace_state_is_sound(str_make(text, 2 + 256)));
    assert_false(trace_state_is_sound(str_make(text, 2 + 257)));
    memset(text, ',', sizeof(text));
    assert_true(trace_state_is_sound(str_make(text, TRACE_STATE_MAX)));
    assert_false(trace_state_is_sound(str_make(text, TRACE_STATE_MAX + 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_traceparent_is_read_and_written),
        cmocka_unit_test(flags_that_are_not_known_are_cleared),
        cmocka_unit_test(of_a_later_version_the_beginning_is_read),
        cmocka_unit_test(what_is_no_traceparent_is_refused),
        cmocka_unit_test(a_traceparent_cut_anywhere_is_refused),
        cmocka_unit_test(a_child_is_of_the_same_trace),
        cmocka_unit_test(a_context_packs_into_25_bytes),
        cmocka_unit_test(a_tracestate_is_a_list_of_members),
        cmocka_unit_test(what_is_no_tracestate_is_refused),
        cmocka_unit_test(a_tracestate_has_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
