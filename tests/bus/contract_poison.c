/* Somebody else writes to the queue. What can't be a record is skipped and counted; what can be is
 * handed over as it is, for those above to refuse. Either way the next record arrives. */
#include "contract.h"

static uint64_t foreign(const struct node *node)
{
    return atomic_load(&node->bus->stats.skipped) + node->seen_foreign;
}

static void poison_is_skipped_and_counted(void **state)
{
    struct node *a = rig_node_up("a");
    for (uint32_t i = 0; i < a->queue_count; i++) {
        rig_writer(a, i)->wanted = 3;
    }
    RIG_UNTIL(rig_writers_are_done());
    rig_meddle("poison");
    for (size_t i = 0; i < rig.writer_count; i++) {
        rig_write(rig.writers[i], 3);
    }
    RIG_UNTIL(rig_writers_are_done() && foreign(a) >= 1);
    struct node *b = rig_node_up("b"); /* it reads past the poison at its start */
    rig_audit(false);
    assert_int_equal(a->falls + b->falls, 0);
    assert_int_equal(b->seen_ours, bus_can_replay(b->bus) ? a->seen_ours : 0);
}

const struct contract_case contract_poison[] = {
    CONTRACT_SLOW_CASE(poison_is_skipped_and_counted, NEEDS_NODES | NEEDS_BROKER),
    {0},
};
