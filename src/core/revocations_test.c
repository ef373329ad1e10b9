#include "core/revocations.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"

enum { NOW = 1767225600, HOUR = 3600, MAX = 5000 };

static struct revocations table;

static int setup(void **state)
{
    revocations_init(&table, MAX);
    return 0;
}

static int teardown(void **state)
{
    revocations_fini(&table);
    assert_int_equal(mem_accounted_total(), 0);
    return 0;
}

static void revoke(uint64_t key, uint32_t before_s, uint32_t until_s)
{
    struct revocation revocation = {key, before_s, until_s};
    revocations_add(&table, &revocation, NOW);
}

static void tokens_issued_before_are_revoked_and_later_ones_are_not(void **state)
{
    assert_true(revocations_are_empty(&table));
    revoke(7, NOW, NOW + HOUR);
    assert_false(revocations_are_empty(&table));
    assert_true(revocations_have(&table, 7, NOW - 1));
    assert_false(revocations_have(&table, 7, NOW));
    assert_false(revocations_have(&table, 8, NOW - 1));
    assert_false(revocations_have(&table, 0, NOW - 1));
}

static void a_single_token_is_revoked_whenever_it_was_issued(void **state)
{
    revoke(7, REVOCATION_OF_ALL_TIME, NOW + HOUR);
    assert_true(revocations_have(&table, 7, NOW + HOUR));
}

static void a_second_one_only_widens_the_first(void **state)
{
    revoke(7, NOW, NOW + HOUR);
    revoke(7, NOW - HOUR, NOW + 2 * HOUR);
    assert_true(revocations_have(&table, 7, NOW - 1));
    for (uint64_t key = 100; key < 100 + MAX; key++) { /* the first has to stay for 2 hours */
        struct revocation other = {key, NOW, NOW + HOUR};
        revocations_add(&table, &other, NOW + HOUR);
    }
    assert_true(revocations_have(&table, 7, NOW - 1));
    assert_int_equal(table.folded, 0);
}

static void what_has_expired_makes_room(void **state)
{
    for (int round = 0; round < 4; round++) {
        uint32_t now = NOW + (uint32_t)round * HOUR;
        for (uint64_t key = 1; key < MAX; key++) {
            struct revocation one = {(uint64_t)round << 32 | key, now, now + HOUR};
            revocations_add(&table, &one, now);
        }
        assert_true(table.entries.count <= MAX);
    }
    assert_int_equal(table.folded, 0);
    assert_false(revocations_have(&table, 1, NOW - 1)); /* of the first round */
}

static void at_the_limit_too_much_is_refused_and_nothing_forgotten(void **state)
{
    for (uint64_t key = 1; key <= MAX + 1; key++) {
        revoke(key, NOW - HOUR, NOW + HOUR);
    }
    assert_int_equal(table.entries.count, MAX);
    assert_int_equal(table.folded, 1);
    assert_true(revocations_have(&table, MAX + 1, NOW));
    assert_true(revocations_have(&table, 0, NOW));
    assert_false(revocations_have(&table, MAX + 1, NOW + 1)); /* a new token */
    revoke(1, NOW + 5, NOW + HOUR);                           /* one that is there can grow */
    assert_int_equal(table.folded, 1);
    assert_true(revocations_have(&table, 1, NOW + 4));
}

static void at_the_limit_one_a_minute_sweeps_and_what_is_folded_makes_room(void **state)
{
    for (uint64_t key = 1; key <= MAX + 1; key++) {
        revoke(key, NOW + 10, NOW + HOUR);
    }
    assert_int_equal(table.folded, 1);
    assert_true(revocations_have(&table, 0, NOW + 9)); /* it reached beyond now */
    mem_fail_nth(1);
    revoke(MAX + 2, NOW + 10, NOW + HOUR);
    assert_true(mem_fail_pending()); /* a sweep takes memory */
    mem_fail_nth(0);
    assert_int_equal(table.folded, 2);
    struct revocation later = {MAX + 3, NOW + 60, NOW + HOUR};
    revocations_add(&table, &later, NOW + 60);
    assert_int_equal(table.folded, 2);
    assert_int_equal(table.entries.count, 1);
    assert_true(revocations_have(&table, MAX + 3, NOW + 59));
    assert_true(revocations_have(&table, 1, NOW + 9));
}

static void without_memory_nothing_is_forgotten_either(void **state)
{
    mem_fail_nth(1);
    revoke(7, NOW - HOUR, NOW + HOUR);
    assert_false(mem_fail_pending());
    assert_true(revocations_have(&table, 7, NOW));
    assert_int_equal(table.folded, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(tokens_issued_before_are_revoked_and_later_ones_are_not),
        TEST(a_single_token_is_revoked_whenever_it_was_issued),
        TEST(a_second_one_only_widens_the_first),
        TEST(what_has_expired_makes_room),
        TEST(at_the_limit_too_much_is_refused_and_nothing_forgotten),
        TEST(at_the_limit_one_a_minute_sweeps_and_what_is_folded_makes_room),
        TEST(without_memory_nothing_is_forgotten_either),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
