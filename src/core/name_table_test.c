#include "core/name_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/siphash.h"

struct entry {
    struct name_entry name;
    uint64_t value;
};

static const struct siphash_key secret = {1, 9};

static uint64_t key_of(struct str name)
{
    return siphash(&secret, name.ptr, name.len);
}

static void a_name_is_found_by_its_key_until_it_is_removed(void **state)
{
    struct name_table table;
    name_table_init(&table, sizeof(struct entry));
    assert_int_equal(name_table_find(&table, 5), 0);
    uint32_t index = name_table_add(&table, 5, 3, STR("alice"));
    assert_int_not_equal(index, 0);
    assert_int_equal(name_table_find(&table, 5), index);
    const struct entry *entry = name_table_at(&table, index);
    assert_int_equal(entry->name.app, 3);
    assert_int_equal(entry->value, 0);
    assert_true(str_equal(name_entry_name(&entry->name), STR("alice")));
    name_table_remove(&table, index);
    assert_int_equal(name_table_find(&table, 5), 0);
    assert_int_equal(table.count, 0);
    name_table_fini(&table);
}

static void names_of_any_length_are_kept(void **state)
{
    static const size_t lengths[] = {
        0, 1, NAME_INLINE_MAX - 1, NAME_INLINE_MAX, NAME_INLINE_MAX + 1, 256, UINT16_MAX};
    static char text[UINT16_MAX + 1];
    struct name_table table;
    name_table_init(&table, sizeof(struct entry));
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct str name = {text, lengths[i]};
        uint32_t index = name_table_add(&table, i + 1, 0, name);
        assert_true(str_equal(name_entry_name(name_table_at(&table, index)), name));
    }
    assert_int_equal(name_table_add(&table, 99, 0, str_make(text, UINT16_MAX + 1)), 0);
    name_table_fini(&table);
}

enum { NAMES = 3000, STEPS = 60000 };

static void make_name(char out[64], uint32_t number)
{
    snprintf(out, 64, number % 3 ? "u%u" : "a name that does not fit into the entry: %u", number);
}

static uint32_t roll(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* Against an array; half of the keys collide in their low bits. */
static void it_agrees_with_a_simple_model(void **state)
{
    static uint32_t model[NAMES];
    struct name_table table;
    uint32_t seed = 7;
    uint32_t count = 0;
    memset(model, 0, sizeof(model));
    name_table_init(&table, sizeof(struct entry));
    for (int step = 0; step < STEPS; step++) {
        uint32_t number = roll(&seed) % NAMES;
        char text[64];
        make_name(text, number);
        uint64_t key = key_of(str_of(text));
        key = number % 2 ? key : key & ~(uint64_t)0xfff;
        assert_int_equal(name_table_find(&table, key), model[number]);
        if (model[number]) {
            const struct entry *entry = name_table_at(&table, model[number]);
            assert_true(str_equal(name_entry_name(&entry->name), str_of(text)));
            name_table_remove(&table, model[number]);
            model[number] = 0;
            count--;
        } else {
            model[number] = name_table_add(&table, key, 1, str_of(text));
            assert_int_not_equal(model[number], 0);
            count++;
        }
        assert_int_equal(table.count, count);
    }
    name_table_fini(&table);
}

static void a_failed_addition_leaves_the_table_as_it_was(void **state)
{
    int64_t before = mem_accounted_total();
    struct name_table table;
    unsigned long failures = 0;
    name_table_init(&table, sizeof(struct entry));
    for (uint32_t i = 1; i <= 500; i++) {
        char text[64];
        make_name(text, i * 3);
        uint32_t index = 0;
        for (unsigned long nth = 1; !index; nth++) {
            mem_fail_nth(nth);
            index = name_table_add(&table, i, 0, str_of(text));
            mem_fail_nth(0);
            assert_int_equal(name_table_find(&table, i), index);
            assert_int_equal(table.count, index ? i : i - 1);
            failures += !index;
        }
    }
    assert_true(failures >= 500);
    name_table_fini(&table);
    assert_int_equal(mem_accounted_total(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_found_by_its_key_until_it_is_removed),
        cmocka_unit_test(names_of_any_length_are_kept),
        cmocka_unit_test(it_agrees_with_a_simple_model),
        cmocka_unit_test(a_failed_addition_leaves_the_table_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
