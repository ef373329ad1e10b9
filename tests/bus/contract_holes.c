/* What a node missed for good is reported, exactly. */
#include "contract.h"

enum { PATIENT_MS = 15000, RECONNECT_MS = 10000, NOTICE_MS = 15000 };

/* b is cut off while a writes `missed` records on each queue. */
static void write_behind_the_back_of_b(size_t missed)
{
    struct node *a = rig_node_up("a");
    for (uint32_t i = 0; i < a->queue_count; i++) {
        rig_writer(a, i)->wanted = 5;
    }
    rig_link_spare();
    struct node *b = rig_node_up("b");
    struct audit audit = rig_whole();
    RIG_UNTIL(rig_writers_are_done() && audit_is_settled(&audit));
    rig_link(LINK_CUT);
    RIG_UNTIL_WITHIN(NOTICE_MS, !b->up);
    for (size_t i = 0; i < rig.writer_count; i++) {
        rig_write(rig.writers[i], missed);
    }
    RIG_UNTIL(rig_writers_are_done());
}

static void heal_and_write(size_t more)
{
    rig_link(LINK_CARRIES);
    rig_until_up(RECONNECT_MS);
    for (size_t i = 0; i < rig.writer_count; i++) {
        rig_write(rig.writers[i], more);
    }
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(true);
}

static void assert_holes(const struct node *node, enum bus_hole why, size_t missed)
{
    size_t seen, in_holes;
    struct audit audit = rig_whole();
    audit_count(&audit, node, &seen, &in_holes);
    assert_int_equal(in_holes, missed * node->queue_count);
    for (uint32_t i = 0; i < node->queue_count; i++) {
        assert_true(node->queues[i].hole_count > 0);
        assert_int_equal(node->queues[i].holes[0].why, why);
    }
}

static void what_passed_while_the_link_was_down_is_a_hole(void **state)
{
    write_behind_the_back_of_b(20);
    heal_and_write(5);
    assert_holes(rig.nodes[1], BUS_HOLE_LOST, 20);
    assert_int_equal(node_holes(rig.nodes[0]), 0);
}

/* Also when nobody publishes afterwards: a hole at the end shows by itself. */
static void a_hole_at_the_end_is_reported_without_another_record(void **state)
{
    write_behind_the_back_of_b(3);
    heal_and_write(0);
    assert_holes(rig.nodes[1], BUS_HOLE_LOST, 3);
}

static void history_that_was_dropped_is_a_hole(void **state)
{
    write_behind_the_back_of_b(20);
    rig_meddle("forget");
    heal_and_write(5);
    assert_holes(rig.nodes[1], BUS_HOLE_EXPIRED, 20);
    assert_int_equal(node_holes(rig.nodes[0]), 0);
}

/* ---- an empty server under the same address ---- */

static bool knows_another_history(const struct node *node)
{
    bool knows = true;
    for (uint32_t i = 0; i < node->queue_count; i++) {
        const struct node_queue *queue = &node->queues[i];
        bool is_told = queue->hole_count > 0 &&
                       queue->holes[queue->hole_count - 1].why == BUS_HOLE_EPOCH;
        knows &= is_told || node->epochs > 1;
    }
    return knows;
}

static void a_server_that_comes_back_empty_has_another_history(void **state)
{
    struct node *a = rig_node_up("a"), *b = rig_node_up("b");
    rig_stream(a, PATIENT_MS);
    rig_stream_until_acknowledged(10);
    rig_stream_stop();
    rig_audit(false);
    rig_forget_writers();
    rig_broker("wipe", NULL);
    rig_broker("start", NULL);
    RIG_UNTIL(knows_another_history(a) && knows_another_history(b));
    rig_until_up(RECONNECT_MS);
    rig_stream(a, PATIENT_MS);
    rig_stream(b, PATIENT_MS);
    rig_stream_until_acknowledged(5);
    rig_stream_stop();
    rig_audit(!bus_is_lossless(a->bus));
}

const struct contract_case contract_holes[] = {
    CONTRACT_SLOW_CASE(what_passed_while_the_link_was_down_is_a_hole,
                       NEEDS_NODES | NEEDS_LOSSY | NEEDS_LINK),
    CONTRACT_SLOW_CASE(a_hole_at_the_end_is_reported_without_another_record,
                       NEEDS_NODES | NEEDS_LOSSY | NEEDS_LINK),
    CONTRACT_SLOW_CASE(history_that_was_dropped_is_a_hole, NEEDS_NODES | NEEDS_REPLAY | NEEDS_LINK),
    /* The last one: what other cases wrote is gone. */
    CONTRACT_SLOW_CASE(a_server_that_comes_back_empty_has_another_history,
                       NEEDS_NODES | NEEDS_BROKER),
    {0},
};
