#include "core/receipt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/mem.h"

static atomic_int delivered;

static void count_delivery(struct receipt *receipt)
{
    assert_ptr_equal(receipt->owner, &delivered);
    atomic_fetch_add(&delivered, 1);
    receipt_unref(receipt);
}

static struct receipt *make(unsigned parts)
{
    atomic_store(&delivered, 0);
    return receipt_create(parts, count_delivery, &delivered);
}

static void the_last_report_delivers(void **state)
{
    struct receipt *receipt = make(2);
    receipt_open(receipt);
    receipt_close(receipt);
    receipt_close(receipt);
    assert_int_equal(delivered, 0);
    receipt_close(receipt);
    assert_int_equal(delivered, 1);
    receipt_unref(receipt);
}

static void it_is_complete_when_nothing_is_open_and_no_node_is_silent(void **state)
{
    struct receipt *receipt = make(1);
    assert_false(receipt_is_complete(receipt));
    receipt_close(receipt);
    assert_true(receipt_is_complete(receipt));
    atomic_store(&receipt->nodes_silent, 1);
    assert_false(receipt_is_complete(receipt));
    atomic_store(&receipt->nodes_silent, 0);
    atomic_store(&receipt->is_short, true);
    assert_false(receipt_is_complete(receipt));
    receipt_unref(receipt);
}

static void what_this_node_counted_is_told_apart_from_the_others(void **state)
{
    struct receipt_counts counts = {.is_settled = true};
    struct receipt *receipt = make(1);
    receipt->matched = 5;
    receipt->others_matched = 3;
    receipt->written = 4;
    receipt->others_written = 3;
    receipt_ack(receipt);
    receipt_drop(receipt, RECEIPT_SLOW, 1);
    receipt->dropped += 2; /* the others' */
    receipt_add_counts(receipt, &counts);
    assert_int_equal(counts.matched, 2);
    assert_int_equal(counts.written, 1);
    assert_int_equal(counts.acked, 1);
    assert_int_equal(counts.dropped_by[RECEIPT_SLOW], 1);
    assert_false(counts.is_settled);
    receipt->awaited = 1; /* what is open is a report of another node */
    counts = (struct receipt_counts){.is_settled = true};
    receipt_add_counts(receipt, &counts);
    assert_true(counts.is_settled);
    receipt->is_short = true;
    receipt_add_counts(receipt, &counts);
    assert_false(counts.is_settled);
    receipt_close(receipt);
    receipt_unref(receipt);
}

static void one_for_later_ends_with_its_last_reference(void **state)
{
    uint64_t before = receipt_held();
    struct receipt *receipt = receipt_create_for_later();
    assert_int_equal(receipt_held(), before + 1);
    receipt_open(receipt_ref(receipt)); /* a frame in a queue */
    receipt_close(receipt);
    receipt_unref(receipt); /* the message */
    receipt_close(receipt);
    receipt_unref(receipt);
    assert_int_equal(receipt_held(), before);
}

static void several_reports_may_come_at_once(void **state)
{
    struct receipt *receipt = make(5);
    receipt_close_many(receipt, 0);
    receipt_close_many(receipt, 4);
    assert_int_equal(delivered, 0);
    receipt_close_many(receipt, 1);
    assert_int_equal(delivered, 1);
    receipt_unref(receipt);
}

static void the_delivered_receipt_outlives_the_others_references(void **state)
{
    struct receipt *receipt = make(1);
    struct receipt *other = receipt_ref(receipt);
    receipt_unref(receipt);
    atomic_fetch_add(&other->matched, 3);
    receipt_close(other);
    assert_int_equal(other->matched, 3);
    receipt_unref(other);
}

enum { THREADS = 4, REPORTS = 20000 };

static void *report_often(void *arg)
{
    struct receipt *receipt = arg;
    for (int i = 0; i < REPORTS; i++) {
        receipt_open(receipt);
        atomic_fetch_add_explicit(&receipt->written, 1, memory_order_relaxed);
        receipt_close(receipt);
    }
    receipt_close(receipt);
    return NULL;
}

static void reports_of_several_threads_add_up(void **state)
{
    struct receipt *receipt = make(THREADS);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, report_often, receipt), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(delivered, 1);
    assert_int_equal(receipt->written, THREADS * REPORTS);
    receipt_unref(receipt);
}

static void without_memory_there_is_none(void **state)
{
    mem_fail_nth(1);
    assert_null(make(1));
    receipt_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_report_delivers),
        cmocka_unit_test(it_is_complete_when_nothing_is_open_and_no_node_is_silent),
        cmocka_unit_test(what_this_node_counted_is_told_apart_from_the_others),
        cmocka_unit_test(one_for_later_ends_with_its_last_reference),
        cmocka_unit_test(several_reports_may_come_at_once),
        cmocka_unit_test(the_delivered_receipt_outlives_the_others_references),
        cmocka_unit_test(reports_of_several_threads_add_up),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
