#include "base/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { SLOT_SIZE = 12 };

static void setup(struct slab *slab)
{
    slab_init(slab, SLOT_SIZE, MEM_SESSIONS);
}

/* Index 1 is the first: count slots fill 1 .. count when nothing was freed. */
static void fill_up_to(struct slab *slab, uint32_t last)
{
    while (slab->used < last) {
        uint32_t index = slab_alloc(slab);
        assert_int_equal(index, slab->used);
    }
}

static void index_0_is_never_handed_out_and_the_lowest_is_first(void **state)
{
    struct slab slab;
    setup(&slab);
    for (uint32_t index = 1; index < 3 * SLAB_CHUNK_SLOTS; index++) {
        assert_int_equal(slab_alloc(&slab), index);
    }
    assert_int_equal(slab_limit(&slab), 3 * SLAB_CHUNK_SLOTS);
    assert_int_equal(slab.used, 3 * SLAB_CHUNK_SLOTS - 1);
    slab_fini(&slab);
}

static void freed_slots_come_back_lowest_first_and_zeroed(void **state)
{
    struct slab slab;
    setup(&slab);
    fill_up_to(&slab, 2500);
    const uint32_t freed[] = {2400, 70, 1023, 1024, 5};
    const uint32_t expected[] = {5, 70, 1023, 1024, 2400, 2501};
    for (size_t i = 0; i < 5; i++) {
        memset(slab_at(&slab, freed[i]), 0xee, SLOT_SIZE);
        slab_free(&slab, freed[i]);
    }
    const uint8_t zeroes[SLOT_SIZE] = {0};
    for (size_t i = 0; i < 6; i++) {
        uint32_t index = slab_alloc(&slab);
        assert_int_equal(index, expected[i]);
        assert_memory_equal(slab_at(&slab, index), zeroes, SLOT_SIZE);
    }
    slab_fini(&slab);
}

static void a_freed_slot_keeps_what_its_owner_left(void **state)
{
    struct slab slab;
    setup(&slab);
    uint32_t index = slab_alloc(&slab);
    uint8_t mark[SLOT_SIZE];
    memset(mark, 0xa5, sizeof(mark));
    memcpy(slab_at(&slab, index), mark, sizeof(mark));
    slab_free(&slab, index);
    assert_memory_equal(slab_at(&slab, index), mark, sizeof(mark));
    slab_fini(&slab);
}

static void pointers_stay_good_while_the_slab_grows(void **state)
{
    struct slab slab;
    setup(&slab);
    uint32_t first = slab_alloc(&slab);
    uint32_t *value = slab_at(&slab, first);
    *value = 77;
    /* Over 64 chunks the tables grow too. */
    fill_up_to(&slab, 70 * SLAB_CHUNK_SLOTS);
    assert_ptr_equal(slab_at(&slab, first), value);
    assert_int_equal(*value, 77);
    for (uint32_t index = 2; index <= slab.used; index++) {
        assert_int_equal(*(uint32_t *)slab_at(&slab, index), 0);
    }
    slab_fini(&slab);
}

static void slots_do_not_overlap(void **state)
{
    struct slab slab;
    setup(&slab);
    for (uint32_t i = 1; i <= 2 * SLAB_CHUNK_SLOTS; i++) {
        memset(slab_at(&slab, slab_alloc(&slab)), (int)(i & 0xff), SLOT_SIZE);
    }
    for (uint32_t i = 1; i <= 2 * SLAB_CHUNK_SLOTS; i++) {
        uint8_t expected[SLOT_SIZE];
        memset(expected, (int)(i & 0xff), SLOT_SIZE);
        assert_memory_equal(slab_at(&slab, i), expected, SLOT_SIZE);
    }
    slab_fini(&slab);
}

static void empty_chunks_at_the_end_go_but_for_one(void **state)
{
    struct slab slab;
    setup(&slab);
    fill_up_to(&slab, 5 * SLAB_CHUNK_SLOTS - 1);
    for (uint32_t index = 4 * SLAB_CHUNK_SLOTS; index < 5 * SLAB_CHUNK_SLOTS; index++) {
        slab_free(&slab, index);
    }
    assert_int_equal(slab.chunk_count, 5); /* kept: the population may swing back */
    for (uint32_t index = 2 * SLAB_CHUNK_SLOTS; index < 3 * SLAB_CHUNK_SLOTS; index++) {
        slab_free(&slab, index);
    }
    assert_int_equal(slab.chunk_count, 5); /* a hole in the middle stays */
    for (uint32_t index = 3 * SLAB_CHUNK_SLOTS; index < 4 * SLAB_CHUNK_SLOTS; index++) {
        slab_free(&slab, index);
    }
    assert_int_equal(slab.chunk_count, 3);
    assert_int_equal(slab_limit(&slab), 3 * SLAB_CHUNK_SLOTS);
    assert_int_equal(slab_alloc(&slab), 2 * SLAB_CHUNK_SLOTS);
    slab_fini(&slab);
}

static void a_population_that_swings_at_a_chunk_border_maps_no_memory(void **state)
{
    struct slab slab;
    setup(&slab);
    fill_up_to(&slab, SLAB_CHUNK_SLOTS); /* one more than the first chunk holds */
    size_t bytes = slab_bytes(&slab);
    for (int i = 0; i < 10; i++) {
        slab_free(&slab, SLAB_CHUNK_SLOTS);
        assert_int_equal(slab_bytes(&slab), bytes);
        assert_int_equal(slab_alloc(&slab), SLAB_CHUNK_SLOTS);
    }
    slab_fini(&slab);
}

static void an_emptied_slab_starts_over(void **state)
{
    struct slab slab;
    setup(&slab);
    fill_up_to(&slab, 3000);
    for (uint32_t index = 3000; index > 0; index--) {
        slab_free(&slab, index);
    }
    assert_int_equal(slab.used, 0);
    assert_int_equal(slab.chunk_count, 1);
    fill_up_to(&slab, 3000);
    slab_fini(&slab);
}

static void a_failed_allocation_leaves_the_slab_as_it_was(void **state)
{
    int64_t before = mem_accounted(MEM_SESSIONS);
    struct slab slab;
    /* The first slot takes three tables and a chunk; each of the four may be missing. */
    for (unsigned long nth = 1; nth <= 4; nth++) {
        setup(&slab);
        mem_fail_nth(nth);
        assert_int_equal(slab_alloc(&slab), 0);
        assert_false(mem_fail_pending());
        assert_int_equal(slab.used, 0);
        assert_int_equal(mem_accounted(MEM_SESSIONS) - before, slab_bytes(&slab));
        assert_int_equal(slab_alloc(&slab), 1);
        slab_fini(&slab);
    }
    setup(&slab);
    fill_up_to(&slab, SLAB_CHUNK_SLOTS - 1);
    mem_fail_nth(1);
    assert_int_equal(slab_alloc(&slab), 0);
    assert_int_equal(slab.used, SLAB_CHUNK_SLOTS - 1);
    assert_int_equal(slab_alloc(&slab), SLAB_CHUNK_SLOTS);
    slab_fini(&slab);
    assert_int_equal(mem_accounted(MEM_SESSIONS), before);
}

static void growth_of_the_tables_may_fail_at_each_of_them(void **state)
{
    for (unsigned long nth = 1; nth <= 4; nth++) {
        struct slab slab;
        setup(&slab);
        fill_up_to(&slab, 64 * SLAB_CHUNK_SLOTS - 1);
        mem_fail_nth(nth);
        assert_int_equal(slab_alloc(&slab), 0);
        assert_false(mem_fail_pending());
        slab_free(&slab, 9);
        assert_int_equal(slab_alloc(&slab), 9);
        fill_up_to(&slab, 65 * SLAB_CHUNK_SLOTS);
        slab_fini(&slab);
    }
}

static void all_bytes_are_accounted_to_the_owner(void **state)
{
    int64_t sessions = mem_accounted(MEM_SESSIONS);
    int64_t queues = mem_accounted(MEM_QUEUES);
    struct slab slab;
    slab_init(&slab, 24, MEM_QUEUES);
    assert_int_equal(slab_bytes(&slab), 0);
    fill_up_to(&slab, 70000);
    assert_true(slab_bytes(&slab) >= 70000 * 24);
    assert_int_equal(mem_accounted(MEM_QUEUES) - queues, slab_bytes(&slab));
    for (uint32_t index = 1; index <= 69000; index++) {
        slab_free(&slab, index);
    }
    assert_int_equal(mem_accounted(MEM_QUEUES) - queues, slab_bytes(&slab));
    slab_fini(&slab);
    assert_int_equal(mem_accounted(MEM_QUEUES), queues);
    assert_int_equal(mem_accounted(MEM_SESSIONS), sessions);
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(*seed >> 33);
}

static void random_use_agrees_with_a_model(void **state)
{
    enum { SLOTS = 4 * SLAB_CHUNK_SLOTS };
    static uint8_t in_use[SLOTS];
    memset(in_use, 0, sizeof(in_use));
    struct slab slab;
    setup(&slab);
    uint64_t seed = 99;
    for (int step = 0; step < 200000; step++) {
        /* The population rises and falls. */
        uint32_t target = step / 20000 % 2 ? 0 : SLOTS - 2;
        if (slab.used < target && next_random(&seed) % 3) {
            uint32_t index = slab_alloc(&slab);
            assert_in_range(index, 1, SLOTS - 1);
            assert_false(in_use[index]);
            assert_null(memchr(in_use + 1, 0, index - 1)); /* the lowest */
            in_use[index] = 1;
        } else {
            uint32_t index = next_random(&seed) % SLOTS;
            if (in_use[index]) {
                in_use[index] = 0;
                slab_free(&slab, index);
            }
        }
    }
    uint32_t used = 0;
    for (uint32_t index = 1; index < SLOTS; index++) {
        used += in_use[index];
    }
    assert_int_equal(slab.used, used);
    slab_fini(&slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_0_is_never_handed_out_and_the_lowest_is_first),
        cmocka_unit_test(freed_slots_come_back_lowest_first_and_zeroed),
        cmocka_unit_test(a_freed_slot_keeps_what_its_owner_left),
        cmocka_unit_test(pointers_stay_good_while_the_slab_grows),
        cmocka_unit_test(slots_do_not_overlap),
        cmocka_unit_test(empty_chunks_at_the_end_go_but_for_one),
        cmocka_unit_test(a_population_that_swings_at_a_chunk_border_maps_no_memory),
        cmocka_unit_test(an_emptied_slab_starts_over),
        cmocka_unit_test(a_failed_allocation_leaves_the_slab_as_it_was),
        cmocka_unit_test(growth_of_the_tables_may_fail_at_each_of_them),
        cmocka_unit_test(all_bytes_are_accounted_to_the_owner),
        cmocka_unit_test(random_use_agrees_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
