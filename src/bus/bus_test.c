#include "bus/bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct bus_engine one = {.name = "one"};
static const struct bus_engine two = {.name = "two"};

/* Instead of that of engines.c. */
const struct bus_engine *bus_engine_at(size_t index)
{
    return index == 0 ? &one : index == 1 ? &two : NULL;
}

static void an_engine_is_found_by_its_name(void **state)
{
    assert_ptr_equal(bus_engine_find(STR("one")), &one);
    assert_ptr_equal(bus_engine_find(STR("two")), &two);
    assert_null(bus_engine_find(STR("on")));
    assert_null(bus_engine_find(STR("ONE")));
    assert_null(bus_engine_find(STR("")));
}

static void the_names_are_listed_in_order(void **state)
{
    assert_string_equal(bus_engine_names(), "one, two");
    assert_string_equal(bus_engine_names(), "one, two");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_engine_is_found_by_its_name),
        cmocka_unit_test(the_names_are_listed_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
