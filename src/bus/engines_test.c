/* Each engine of the list keeps the rules that its description must keep. */
#include "bus/engines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void memory_is_the_first_and_the_list_ends(void **state)
{
    size_t count = 0;
    assert_ptr_equal(bus_engine_at(0), &bus_memory_engine);
    while (bus_engine_at(count)) {
        count++;
    }
    assert_null(bus_engine_at(count + 1));
}

static void an_engine_has_a_name_of_its_own_and_all_that_is_called(void **state)
{
    const struct bus_engine *engine;
    for (size_t i = 0; (engine = bus_engine_at(i)); i++) {
        assert_ptr_equal(bus_engine_find(str_of(engine->name)), engine);
        assert_non_null(engine->create);
        assert_non_null(engine->destroy);
        assert_non_null(engine->publish);
        assert_non_null(engine->flush);
        assert_false(engine->any_thread && engine->broker); /* a broker is reached by descriptors */
    }
}

static bool has_option(const struct bus_engine *engine, const char *name)
{
    for (size_t i = 0; i < engine->option_count; i++) {
        if (strcmp(engine->options[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The configuration makes "x_file" of a secret "x". */
static void must_not_clash(const struct bus_engine *engine, size_t index)
{
    char file[64];
    const char *name = engine->options[index].name;
    for (size_t i = 0; i < index; i++) {
        assert_string_not_equal(engine->options[i].name, name);
    }
    assert_in_range(snprintf(file, sizeof(file), "%s_file", name), 6, sizeof(file) - 1);
    assert_false(engine->options[index].type == BUS_OPTION_SECRET && has_option(engine, file));
}

static void must_be_named_well(const char *name)
{
    assert_in_range(strlen(name), 1, BUS_OPTION_NAME_MAX);
    assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name));
}

static bool is_number(enum bus_option_type type)
{
    return type == BUS_OPTION_COUNT || type == BUS_OPTION_BYTES || type == BUS_OPTION_TIME;
}

static void must_be_complete(const struct bus_option *option)
{
    assert_non_null(option->help);
    assert_true(option->initial || option->example || option->type == BUS_OPTION_SECRET);
    assert_false(option->required && option->initial);
    assert_int_equal(option->type == BUS_OPTION_CHOICE, option->choices != NULL);
    bool is_text = option->type == BUS_OPTION_TEXT || option->type == BUS_OPTION_SECRET ||
                   option->type == BUS_OPTION_FILE;
    assert_true(is_text || option->type == BUS_OPTION_TEXTS || option->required || option->initial);
    assert_false(option->type == BUS_OPTION_TEXTS && option->initial);
    if (is_number(option->type) || option->type == BUS_OPTION_TEXTS) {
        assert_true(option->min <= option->max && option->max > 0);
    }
    assert_true(!option->zero || is_number(option->type));
}

static void the_options_of_each_engine_can_be_read(void **state)
{
    const struct bus_engine *engine;
    for (size_t i = 0; (engine = bus_engine_at(i)); i++) {
        assert_in_range(engine->option_count, 0, BUS_MAX_OPTIONS);
        for (size_t k = 0; k < engine->option_count; k++) {
            print_message("%s: %s\n", engine->name, engine->options[k].name);
            must_be_named_well(engine->options[k].name);
            must_not_clash(engine, k);
            must_be_complete(&engine->options[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_the_first_and_the_list_ends),
        cmocka_unit_test(an_engine_has_a_name_of_its_own_and_all_that_is_called),
        cmocka_unit_test(the_options_of_each_engine_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
