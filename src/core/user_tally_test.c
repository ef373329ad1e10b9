#include "core/user_tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/target.h"

static uint64_t key_of(uint32_t app, uint32_t user)
{
    static const struct target_space space = {.keys = {1, 2}};
    return target_key(&space, app, TARGET_USER, str_make((const char *)&user, sizeof(user)));
}

static void add(struct user_tally *tally, uint32_t app, uint32_t first, uint32_t last)
{
    for (uint32_t user = first; user < last; user++) {
        assert_int_equal(user_tally_add(tally, app, key_of(app, user)), 0);
    }
}

static void users_are_counted_by_app(void **state)
{
    struct user_tally *tally = user_tally_create(3);
    add(tally, 7, 0, 5);
    add(tally, 8, 0, 2);
    add(tally, 7, 0, 6);
    assert_int_equal(tally->worker, 3);
    assert_int_equal(hll_count(user_tally_find(tally, 7)), 6);
    assert_int_equal(hll_count(user_tally_find(tally, 8)), 2);
    assert_null(user_tally_find(tally, 9));
    user_tally_destroy(tally);
    user_tally_destroy(NULL);
}

static void apps_beyond_the_table_share_the_last_place(void **state)
{
    struct user_tally *tally = user_tally_create(0);
    for (uint32_t app = 1; app <= 2 * USER_TALLY_APPS; app++) {
        add(tally, app, 0, 1);
    }
    assert_int_equal(tally->count, USER_TALLY_APPS);
    assert_int_equal(hll_count(user_tally_find(tally, USER_TALLY_APPS - 1)), 1);
    assert_null(user_tally_find(tally, USER_TALLY_APPS));
    assert_int_equal(hll_count(user_tally_find(tally, USER_TALLY_OTHERS)), USER_TALLY_APPS + 1);
    user_tally_destroy(tally);
}

static void merged_ones_have_the_users_of_both(void **state)
{
    struct user_tally *into = user_tally_create(0);
    struct user_tally *from = user_tally_create(1);
    add(into, 7, 0, 5);
    add(from, 7, 3, 9);
    add(from, 8, 0, 1);
    assert_int_equal(user_tally_merge(into, from), 0);
    assert_int_equal(hll_count(user_tally_find(into, 7)), 9);
    assert_int_equal(hll_count(user_tally_find(into, 8)), 1);
    user_tally_destroy(into);
    user_tally_destroy(from);
}

static void memory_that_is_out_is_told(void **state)
{
    mem_fail_nth(1);
    assert_null(user_tally_create(0));
    struct user_tally *tally = user_tally_create(0);
    mem_fail_nth(1);
    assert_int_equal(user_tally_add(tally, 7, key_of(7, 1)), ERR_NO_MEMORY);
    assert_int_equal(user_tally_add(tally, 7, key_of(7, 1)), 0);
    assert_true(mem_accounted(MEM_TABLES) > 0);
    user_tally_destroy(tally);
    assert_int_equal(mem_accounted(MEM_TABLES), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_are_counted_by_app),
        cmocka_unit_test(apps_beyond_the_table_share_the_last_place),
        cmocka_unit_test(merged_ones_have_the_users_of_both),
        cmocka_unit_test(memory_that_is_out_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
