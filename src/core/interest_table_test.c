#include "core/interest_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/target.h"

enum { KEYS = 3000, STEPS = 200000 };

/* Neighbours, so that runs are long. */
static uint64_t key_of(unsigned i)
{
    return (uint64_t)(i / 2 + 1) * 0x10001u + (i & 1);
}

static void it_behaves_like_a_plain_array(void **state)
{
    static uint64_t model[KEYS];
    const uint32_t workers[] = {1, 8, 9, 33, 64};
    for (size_t w = 0; w < sizeof(workers) / sizeof(workers[0]); w++) {
        struct interest_table table;
        uint32_t count = 0;
        int64_t before = mem_accounted(MEM_TABLES);
        interest_table_init(&table, workers[w]);
        for (unsigned i = 0; i < KEYS; i++) {
            model[i] = 0;
        }
        srand48(7);
        for (int step = 0; step < STEPS; step++) {
            unsigned i = (unsigned)lrand48() % KEYS;
            uint64_t bit = 1ull << ((unsigned)lrand48() % workers[w]);
            uint64_t old = model[i];
            if (lrand48() & 1) {
                assert_int_equal(interest_table_add(&table, key_of(i), bit), 0);
                model[i] |= bit;
            } else {
                interest_table_clear(&table, key_of(i), bit);
                model[i] &= ~bit;
            }
            count += (model[i] != 0) - (old != 0);
            assert_int_equal(table.count, count);
        }
        for (unsigned i = 0; i < KEYS; i++) {
            assert_true(interest_table_find(&table, key_of(i)) == model[i]);
            interest_table_clear(&table, key_of(i), UINT64_MAX);
        }
        for (int i = 0; i < 20; i++) {
            interest_table_shrink(&table);
        }
        assert_int_equal(table.places, 64);
        interest_table_fini(&table);
        assert_true(mem_accounted(MEM_TABLES) == before);
    }
}

static void keys_are_counted_by_kind(void **state)
{
    struct interest_table table;
    struct target_space space = {.keys = {1, 2}};
    uint64_t user = target_key(&space, 7, TARGET_USER, STR("u"));
    uint64_t group = target_key(&space, 7, TARGET_GROUP, STR("u"));
    interest_table_init(&table, 4);
    assert_int_equal(interest_table_add(&table, user, 1), 0);
    assert_int_equal(interest_table_add(&table, user, 2), 0);
    assert_int_equal(interest_table_add(&table, group, 1), 0);
    assert_int_equal(table.kinds[TARGET_USER], 1);
    assert_int_equal(table.kinds[TARGET_GROUP], 1);
    interest_table_clear(&table, user, 1);
    assert_int_equal(table.kinds[TARGET_USER], 1);
    interest_table_clear(&table, user, 2);
    assert_int_equal(table.kinds[TARGET_USER], 0);
    interest_table_fini(&table);
}

static void eight_workers_take_one_byte_of_mask(void **state)
{
    struct interest_table table;
    interest_table_init(&table, 8);
    assert_int_equal(table.mask_bytes, 1);
    interest_table_init(&table, 9);
    assert_int_equal(table.mask_bytes, 2);
    interest_table_init(&table, 64);
    assert_int_equal(table.mask_bytes, 8);
}

static void a_failed_growth_changes_nothing_and_known_keys_still_work(void **state)
{
    struct interest_table table;
    interest_table_init(&table, 2);
    for (unsigned i = 0; i < 56; i++) {
        assert_int_equal(interest_table_add(&table, key_of(i), 1), 0);
    }
    for (unsigned long nth = 1; nth <= 2; nth++) {
        mem_fail_nth(nth);
        assert_int_equal(interest_table_add(&table, key_of(56), 1), ERR_NO_MEMORY);
        mem_fail_nth(1);
        assert_int_equal(interest_table_add(&table, key_of(3), 2), 0);
        mem_fail_nth(0);
    }
    assert_int_equal(table.count, 56);
    assert_int_equal(interest_table_find(&table, key_of(3)), 3);
    assert_int_equal(interest_table_find(&table, key_of(56)), 0);
    interest_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_behaves_like_a_plain_array),
        cmocka_unit_test(keys_are_counted_by_kind),
        cmocka_unit_test(eight_workers_take_one_byte_of_mask),
        cmocka_unit_test(a_failed_growth_changes_nothing_and_known_keys_still_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
