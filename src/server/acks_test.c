#include "server/acks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

enum { MAX = 6 };

static uint32_t sent; /* of the last one that was taken */

static int delivered;

static void count_delivery(struct receipt *receipt)
{
    delivered++;
    receipt_unref(receipt);
}

/* As its message in the window holds it: open for one more. */
static struct receipt *make(void)
{
    struct receipt *receipt = receipt_create(1, count_delivery, NULL);
    receipt_add_asker(receipt);
    delivered = 0;
    return receipt;
}

static int check_memory(void **state)
{
    assert_int_equal(mem_accounted(MEM_SESSIONS), 0);
    return 0;
}

static void a_message_is_confirmed_once(void **state)
{
    struct acks *acks = NULL;
    struct receipt *receipt = make();
    assert_int_equal(acks_expect(&acks, 7, receipt, true, MAX, 100), 0);
    receipt_close(receipt);
    assert_int_equal(delivered, 0); /* the client has not confirmed */
    assert_false(acks_take(&acks, 8, &sent));
    assert_true(acks_take(&acks, 7, &sent));
    assert_int_equal(sent, 100);
    assert_int_equal(delivered, 1);
    assert_int_equal(receipt->acked, 1);
    assert_false(acks_take(&acks, 7, &sent));
    assert_int_equal(receipt->acked, 1);
    assert_null(acks);
    receipt_unref(receipt);
}

static void what_a_replay_sent_is_confirmed_too_but_nobody_waits_for_it(void **state)
{
    struct acks *acks = NULL;
    struct receipt *receipt = make();
    assert_int_equal(acks_expect(&acks, 7, receipt, false, MAX, 100), 0);
    assert_int_equal(acks_expect(&acks, 8, receipt, false, MAX, 100), 0);
    receipt_close(receipt);
    assert_int_equal(delivered, 1);
    assert_true(acks_take(&acks, 7, &sent));
    acks_drop_all(&acks, RECEIPT_CLOSED);
    assert_int_equal(receipt->acked, 1);
    assert_int_equal(receipt->dropped, 0);
    receipt_unref(receipt);
}

static void a_session_that_ends_has_dropped_what_it_did_not_confirm(void **state)
{
    struct acks *acks = NULL;
    struct receipt *receipt = make();
    for (uint64_t id = 1; id <= MAX; id++) {
        assert_int_equal(acks_expect(&acks, id, receipt, true, MAX, 100), 0);
    }
    receipt_close(receipt);
    acks_drop(&acks, 2, RECEIPT_EXPIRED);
    acks_drop(&acks, 2, RECEIPT_EXPIRED);
    assert_int_equal(acks_count(acks), MAX - 1);
    acks_drop_all(&acks, RECEIPT_SLOW);
    acks_drop_all(&acks, RECEIPT_SLOW);
    assert_int_equal(delivered, 1);
    assert_int_equal(receipt->dropped, MAX);
    assert_int_equal(receipt->dropped_by[RECEIPT_EXPIRED], 1);
    assert_int_equal(receipt->dropped_by[RECEIPT_SLOW], MAX - 1);
    receipt_unref(receipt);
}

static void over_the_limit_the_oldest_is_given_up_and_its_receipt_is_short(void **state)
{
    struct acks *acks = NULL;
    struct receipt *first = make();
    struct receipt *receipt = make();
    acks_expect(&acks, 1, first, true, MAX, 100);
    for (uint64_t id = 2; id <= MAX; id++) {
        acks_expect(&acks, id, receipt, true, MAX, 100);
    }
    receipt_close(first);
    assert_int_equal(acks_expect(&acks, MAX + 1, receipt, true, MAX, 100), 1);
    assert_int_equal(acks_count(acks), MAX);
    assert_int_equal(delivered, 1);
    assert_false(receipt_is_complete(first));
    assert_false(acks_take(&acks, 1, &sent));
    assert_true(acks_take(&acks, MAX + 1, &sent));
    acks_drop_all(&acks, RECEIPT_CLOSED);
    receipt_unref(first);
    receipt_unref(receipt);
}

static void what_nobody_can_ask_about_is_let_go(void **state)
{
    struct acks *acks = NULL;
    struct receipt *gone = make();
    struct receipt *kept = make();
    acks_expect(&acks, 1, gone, true, MAX, 100);
    acks_expect(&acks, 2, kept, true, MAX, 100);
    receipt_close(gone);
    receipt_remove_asker(gone);
    receipt_unref(gone); /* the window's */
    assert_int_equal(acks_sweep(&acks), 1);
    assert_int_equal(acks_count(acks), 1);
    receipt_close(kept);
    receipt_remove_asker(kept);
    receipt_unref(kept);
    assert_int_equal(acks_sweep(&acks), 1);
    assert_null(acks);
}

static void what_two_sessions_were_to_confirm_is_let_go_too(void **state)
{
    struct acks *one = NULL;
    struct acks *other = NULL;
    struct receipt *receipt = make();
    receipt_add_asker(receipt); /* who waits */
    acks_expect(&one, 1, receipt, true, MAX, 100);
    acks_expect(&other, 1, receipt, true, MAX, 100);
    receipt_close(receipt);
    receipt_remove_asker(receipt);
    assert_int_equal(acks_sweep(&one), 0);
    receipt_remove_asker(receipt);
    receipt_unref(receipt);
    assert_int_equal(acks_sweep(&one), 1);
    assert_int_equal(delivered, 0);
    assert_int_equal(acks_sweep(&other), 1);
    assert_int_equal(delivered, 1);
    assert_null(one);
    assert_null(other);
}

static void without_memory_nothing_is_awaited(void **state)
{
    struct acks *acks = NULL;
    struct receipt *receipt = make();
    mem_fail_nth(1);
    assert_int_equal(acks_expect(&acks, 1, receipt, true, MAX, 100), ERR_NO_MEMORY);
    receipt_close(receipt);
    assert_int_equal(delivered, 1);
    receipt_unref(receipt);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, check_memory)
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_confirmed_once),
        TEST(what_a_replay_sent_is_confirmed_too_but_nobody_waits_for_it),
        TEST(a_session_that_ends_has_dropped_what_it_did_not_confirm),
        TEST(over_the_limit_the_oldest_is_given_up_and_its_receipt_is_short),
        TEST(what_nobody_can_ask_about_is_let_go),
        TEST(what_two_sessions_were_to_confirm_is_let_go_too),
        TEST(without_memory_nothing_is_awaited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
