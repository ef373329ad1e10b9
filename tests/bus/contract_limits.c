/* The largest record, and one byte more. */
#include "contract.h"

#include "base/err.h"

static int last_error(const struct writer *writer)
{
    return writer->sent_count > 0 ? writer->sent[writer->sent_count - 1].err : WRITER_PENDING;
}

static void a_record_at_the_limit_arrives_whole(void **state)
{
    struct node *node = rig_node_up("a");
    struct writer *writer = rig_writer(node, 0);
    writer->record_bytes = node->bus->max_record;
    writer->deadline_ms = 0;
    for (size_t i = 0; i < 2; i++) {
        /* One by one: a server may cut off who has two of them to read. */
        rig_write(writer, 1);
        RIG_UNTIL(rig_writers_are_done() && node->seen_ours > i);
    }
    assert_int_equal(writer->failed + writer->refused, 0);
    rig_audit(false);
    assert_int_equal(node->queues[0].seen[1].len, node->bus->max_record);
    assert_true(atomic_load(&node->bus->stats.bytes_out) >= 2ull * node->bus->max_record);
    assert_true(atomic_load(&node->bus->stats.bytes_in) >= 2ull * node->bus->max_record);
}

static void one_byte_more_is_refused_and_nothing_else_suffers(void **state)
{
    struct node *node = rig_node_up("a");
    struct writer *writer = rig_writer(node, 0);
    writer->record_bytes = (size_t)node->bus->max_record + 1;
    writer->wanted = 1;
    RIG_UNTIL(writer->failed + writer->refused > 0);
    assert_int_equal(last_error(writer), ERR_TOO_LARGE);
    writer->record_bytes = 64;
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
    assert_int_equal(node->falls, 0);
    assert_int_equal(node->seen_ours, 1);
}

static void small_and_large_records_keep_their_order(void **state)
{
    struct node *node = rig_node_up("a");
    struct writer *writer = rig_writer(node, node->queue_count - 1);
    for (size_t i = 0; i < 12; i++) {
        writer->record_bytes = i % 3 == 0 ? 200000 : NODE_RECORD_MIN + i * i * 37;
        rig_write(writer, 1);
        RIG_UNTIL(rig_writers_are_done());
    }
    rig_audit(false);
}

const struct contract_case contract_limits[] = {
    CONTRACT_SLOW_CASE(a_record_at_the_limit_arrives_whole, NEEDS_LIMIT),
    CONTRACT_CASE(one_byte_more_is_refused_and_nothing_else_suffers, NEEDS_LIMIT),
    CONTRACT_CASE(small_and_large_records_keep_their_order, NEEDS_NOTHING),
    {0},
};
