#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/hub.h"

enum { MANY = 100 };

static void a_batch_keeps_items_and_waiters_in_order(void **state)
{
    struct interest_batch *batch = interest_batch_create(3);
    assert_int_equal(batch->worker, 3);
    for (uint32_t i = 0; i < MANY; i++) {
        struct interest_waiter waiter = {.slot = i, .tag = i + 1};
        assert_int_equal(interest_batch_add(batch, i, i & 1 ? INTEREST_ADD : INTEREST_REMOVE), 0);
        assert_int_equal(interest_batch_wait(batch, waiter), 0);
    }
    assert_int_equal(batch->item_count, MANY);
    assert_int_equal(batch->waiter_count, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(batch->items[i].key, i);
        assert_int_equal(batch->items[i].op, i & 1 ? INTEREST_ADD : INTEREST_REMOVE);
        assert_int_equal(batch->waiters[i].slot, i);
        assert_int_equal(batch->waiters[i].tag, i + 1);
    }
    interest_batch_destroy(batch);
}

static void a_failed_addition_leaves_the_batch_as_it_was(void **state)
{
    struct interest_batch *batch = interest_batch_create(0);
    struct interest_waiter waiter = {0};
    uint32_t failures = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        mem_fail_nth(1);
        failures += interest_batch_add(batch, i, INTEREST_ADD) == ERR_NO_MEMORY;
        mem_fail_nth(1);
        failures += interest_batch_wait(batch, waiter) == ERR_NO_MEMORY;
        mem_fail_nth(0);
        if (batch->item_count <= i) {
            assert_int_equal(interest_batch_add(batch, i, INTEREST_ADD), 0);
        }
        if (batch->waiter_count <= i) {
            assert_int_equal(interest_batch_wait(batch, waiter), 0);
        }
        assert_int_equal(batch->item_count, i + 1);
        assert_int_equal(batch->waiter_count, i + 1);
        assert_int_equal(batch->items[i].key, i);
    }
    assert_in_range(failures, 2, 20);
    interest_batch_destroy(batch);
}

static void without_memory_there_is_none(void **state)
{
    mem_fail_nth(1);
    assert_null(interest_batch_create(0));
    interest_batch_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_keeps_items_and_waiters_in_order),
        cmocka_unit_test(a_failed_addition_leaves_the_batch_as_it_was),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
