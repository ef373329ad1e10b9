#include "core/hll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/siphash.h"

static uint64_t hash_of(uint64_t seed, uint64_t thing)
{
    struct siphash_key key = {seed, 7};
    return siphash(&key, &thing, sizeof(thing));
}

static void fill(struct hll *hll, uint64_t seed, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        hll_add(hll, hash_of(seed, i));
    }
}

static void merge_by_wire(struct hll *into, const struct hll *from)
{
    struct buf wire = {0};
    assert_int_equal(hll_write(&wire, from), 0);
    assert_true(wire.len <= HLL_WIRE_MAX);
    assert_true(hll_merge_wire(into, buf_str(&wire)));
    buf_fini(&wire);
}

static void a_few_are_counted_exactly(void **state)
{
    for (uint64_t count = 0; count <= HLL_SPARSE; count += 64) {
        struct hll hll = {0};
        fill(&hll, count, 0, count);
        fill(&hll, count, 0, count); /* again: nothing new */
        assert_int_equal(hll_count(&hll), count);
    }
}

/* Over 40 draws of each size the error's mean square is that of theory, and nothing leans. */
static void many_are_counted_with_a_standard_error_of_1_6_percent(void **state)
{
    static const uint64_t sizes[] = {769, 1500, 4000, 10000, 20000, 60000, 200000};
    enum { DRAWS = 40 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        double squares = 0;
        double sum = 0;
        for (uint64_t draw = 0; draw < DRAWS; draw++) {
            struct hll hll = {0};
            fill(&hll, 1000 * i + draw, 0, sizes[i]);
            double error = (double)hll_count(&hll) / (double)sizes[i] - 1;
            assert_true(error < 0.065 && error > -0.065); /* four standard errors */
            squares += error * error;
            sum += error;
        }
        assert_true(squares / DRAWS < 0.021 * 0.021);
        assert_true(sum / DRAWS < 0.01 && sum / DRAWS > -0.01);
    }
}

static void who_is_in_several_counts_once(void **state)
{
    static const uint64_t sizes[] = {10, 300, 700, 5000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t size = sizes[i];
        struct hll all = {0};
        struct hll first = {0};
        struct hll second = {0};
        fill(&all, 5, 0, size * 3 / 2);
        fill(&first, 5, 0, size);
        fill(&second, 5, size / 2, size * 3 / 2);
        hll_merge(&first, &second);
        assert_int_equal(hll_count(&first), hll_count(&all));
        assert_memory_equal(&first, &all, sizeof(all));
    }
}

/* One node has few and tells hashes, another many and tells registers: a user of both is one. */
static void sparse_and_dense_are_merged_either_way(void **state)
{
    struct hll few = {0};
    struct hll many = {0};
    fill(&few, 9, 4900, 5100);
    fill(&many, 9, 0, 5000);
    struct hll forth = few;
    struct hll back = many;
    hll_merge(&forth, &many);
    hll_merge(&back, &few);
    assert_true(forth.is_dense && back.is_dense);
    assert_memory_equal(forth.registers, back.registers, sizeof(forth.registers));
    assert_in_range(hll_count(&forth), 4750, 5450);
}

static void what_goes_over_the_wire_is_merged_as_it_was(void **state)
{
    static const uint64_t sizes[] = {0, 1, HLL_SPARSE, HLL_SPARSE + 1, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct hll hll = {0};
        struct hll direct = {0};
        struct hll wired = {0};
        fill(&hll, 3, 0, sizes[i]);
        fill(&direct, 3, 50, 60);
        fill(&wired, 3, 50, 60);
        hll_merge(&direct, &hll);
        merge_by_wire(&wired, &hll);
        assert_memory_equal(&direct, &wired, sizeof(direct));
    }
}

static void equal_is_what_has_seen_the_same(void **state)
{
    static const uint64_t sizes[] = {2, HLL_SPARSE, 5000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct hll one = {0};
        struct hll same = {0};
        fill(&one, 4, 0, sizes[i]);
        fill(&same, 4, sizes[i] / 2, sizes[i]); /* in another order */
        assert_false(hll_is_equal(&one, &same));
        fill(&same, 4, 0, sizes[i] / 2 + 1);
        assert_true(hll_is_equal(&one, &same));
        fill(&same, 5, 0, 1000);
        assert_false(hll_is_equal(&one, &same));
        assert_false(hll_is_equal(&same, &one));
    }
}

static void what_is_not_sound_changes_nothing(void **state)
{
    static const char full[HLL_WIRE_MAX + 4] = {2, (char)0xff, (char)0xff, (char)0xff};
    struct hll hll = {0};
    struct hll before = {0};
    fill(&hll, 1, 0, 10);
    fill(&before, 1, 0, 10);
    assert_false(hll_merge_wire(&hll, STR("")));
    assert_false(hll_merge_wire(&hll, STR("\3abcd")));  /* a form of a later version */
    assert_false(hll_merge_wire(&hll, STR("\1abcde"))); /* a word and a piece */
    assert_false(hll_merge_wire(&hll, STR("\2abc")));   /* registers that are cut */
    assert_false(hll_merge_wire(&hll, str_make(full, HLL_WIRE_MAX)));     /* a rank of 63 */
    assert_false(hll_merge_wire(&hll, str_make(full, HLL_WIRE_MAX + 1))); /* too long */
    struct buf words = {0};
    buf_append_char(&words, 1);
    for (uint32_t i = 0; i <= HLL_SPARSE; i++) {
        buf_append(&words, &i, sizeof(i));
    }
    assert_false(hll_merge_wire(&hll, buf_str(&words))); /* more than are kept as words */
    buf_fini(&words);
    assert_memory_equal(&hll, &before, sizeof(hll));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_are_counted_exactly),
        cmocka_unit_test(many_are_counted_with_a_standard_error_of_1_6_percent),
        cmocka_unit_test(who_is_in_several_counts_once),
        cmocka_unit_test(sparse_and_dense_are_merged_either_way),
        cmocka_unit_test(what_goes_over_the_wire_is_merged_as_it_was),
        cmocka_unit_test(equal_is_what_has_seen_the_same),
        cmocka_unit_test(what_is_not_sound_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
