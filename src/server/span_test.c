#include "server/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"

static void a_copy_has_its_own_texts(void **state)
{
    char text[] = "m1";
    char list[] = "a=b";
    struct span span = {.kind = SPAN_SERVER, .name = "x", .state = str_of(list)};
    span_add_text(&span, "id", str_of(text));
    span_add_number(&span, "n", 7);
    struct span *copy = span_copy(&span);
    assert_non_null(copy);
    memset(text, 'z', 2);
    memset(list, 'z', 3);
    assert_true(str_equal(copy->attributes[0].text, STR("m1")));
    assert_true(str_equal(copy->state, STR("a=b")));
    assert_null(copy->attributes[1].text.ptr);
    assert_int_equal(copy->attributes[1].number, 7);
    assert_int_equal(copy->size, sizeof(span) + 5);
    mem_free(copy);
}

static void attributes_over_the_limit_are_left_out(void **state)
{
    struct span span = {.attribute_count = 0};
    for (int i = 0; i <= SPAN_ATTRIBUTES; i++) {
        span_add_number(&span, "n", i);
    }
    assert_int_equal(span.attribute_count, SPAN_ATTRIBUTES);
}

static void ids_differ(void **state)
{
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t id = span_draw_id();
        assert_true(id != 0 && id != last);
        last = id;
    }
}

static void without_memory_there_is_no_copy(void **state)
{
    struct span span = {.name = "x"};
    mem_fail_nth(1);
    assert_null(span_copy(&span));
    mem_fail_nth(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_has_its_own_texts),
        cmocka_unit_test(attributes_over_the_limit_are_left_out),
        cmocka_unit_test(ids_differ),
        cmocka_unit_test(without_memory_there_is_no_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
