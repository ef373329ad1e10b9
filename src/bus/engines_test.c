#include "bus/engines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void an_engine_is_found_by_its_name(void **state)
{
    assert_ptr_equal(bus_engine_find(STR("memory")), &bus_memory_engine);
    assert_null(bus_engine_find(STR("memor")));
    assert_null(bus_engine_find(STR("MEMORY")));
    assert_null(bus_engine_find(STR("")));
}

static void every_name_listed_is_an_engine_of_that_name(void **state)
{
    struct str rest = str_of(bus_engine_names());
    struct str name;
    int count = 0;
    while (str_split(&rest, ',', &name)) {
        const struct bus_engine *engine = bus_engine_find(str_trim(name));
        assert_non_null(engine);
        assert_true(str_equal(str_of(engine->name), str_trim(name)));
        count++;
    }
    assert_true(count >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_engine_is_found_by_its_name),
        cmocka_unit_test(every_name_listed_is_an_engine_of_that_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
