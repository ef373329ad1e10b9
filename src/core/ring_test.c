#include "core/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "base/err.h"
#include "base/mem.h"

static uint64_t things[64];

static void what_goes_in_comes_out_in_order_with_its_kind(void **state)
{
    struct ring ring;
    assert_int_equal(ring_init(&ring, 8), 0);
    for (int i = 0; i < 4; i++) {
        assert_true(ring_push(&ring, (enum ring_kind)i, &things[i]));
    }
    for (int i = 0; i < 4; i++) {
        enum ring_kind kind;
        assert_ptr_equal(ring_pop(&ring, &kind), &things[i]);
        assert_int_equal(kind, i);
    }
    ring_fini(&ring);
}

static void an_empty_ring_gives_nothing(void **state)
{
    struct ring ring;
    enum ring_kind kind;
    assert_int_equal(ring_init(&ring, 1), 0);
    assert_true(ring_is_empty(&ring));
    assert_null(ring_pop(&ring, &kind));
    assert_true(ring_push(&ring, RING_HEADS, things));
    assert_false(ring_is_empty(&ring));
    assert_ptr_equal(ring_pop(&ring, &kind), things);
    assert_true(ring_is_empty(&ring));
    assert_null(ring_pop(&ring, &kind));
    ring_fini(&ring);
}

static void a_full_ring_refuses_until_something_leaves(void **state)
{
    for (uint64_t capacity = 1; capacity <= 32; capacity *= 2) {
        struct ring ring;
        enum ring_kind kind;
        assert_int_equal(ring_init(&ring, capacity), 0);
        for (int round = 0; round < 5; round++) { /* wraps around */
            for (uint64_t i = 0; i < capacity; i++) {
                assert_true(ring_push(&ring, RING_MESSAGE, &things[i]));
            }
            assert_false(ring_push(&ring, RING_MESSAGE, &things[40]));
            assert_int_equal(ring_count(&ring), capacity);
            assert_ptr_equal(ring_pop(&ring, &kind), &things[0]);
            assert_true(ring_push(&ring, RING_FENCE, &things[41]));
            for (uint64_t i = 1; i < capacity; i++) {
                assert_ptr_equal(ring_pop(&ring, &kind), &things[i]);
            }
            assert_ptr_equal(ring_pop(&ring, &kind), &things[41]);
            assert_int_equal(kind, RING_FENCE);
        }
        ring_fini(&ring);
    }
}

enum { PASSED = 200000 };

static void *push_all(void *arg)
{
    struct ring *ring = arg;
    for (uintptr_t i = 1; i <= PASSED;) {
        if (ring_push(ring, (enum ring_kind)(i & 3), (void *)(i * 8))) {
            i++;
        } else {
            sched_yield();
        }
    }
    return NULL;
}

static void two_threads_pass_everything_in_order(void **state)
{
    struct ring ring;
    pthread_t producer;
    assert_int_equal(ring_init(&ring, 64), 0);
    assert_int_equal(pthread_create(&producer, NULL, push_all, &ring), 0);
    for (uintptr_t i = 1; i <= PASSED;) {
        enum ring_kind kind;
        void *ptr = ring_pop(&ring, &kind);
        if (!ptr) {
            sched_yield();
            continue;
        }
        assert_ptr_equal(ptr, (void *)(i * 8));
        assert_int_equal(kind, i & 3);
        i++;
    }
    pthread_join(producer, NULL);
    ring_fini(&ring);
}

static void without_memory_there_is_none(void **state)
{
    struct ring ring;
    mem_fail_nth(1);
    assert_int_equal(ring_init(&ring, 8), ERR_NO_MEMORY);
    ring_fini(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out_in_order_with_its_kind),
        cmocka_unit_test(an_empty_ring_gives_nothing),
        cmocka_unit_test(a_full_ring_refuses_until_something_leaves),
        cmocka_unit_test(two_threads_pass_everything_in_order),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
