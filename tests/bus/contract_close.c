/* Whatever is under way when a bus ends is answered, once. */
#include "contract.h"

#include "base/err.h"

static void assert_all_answered_once(void)
{
    for (size_t i = 0; i < rig.writer_count; i++) {
        const struct writer *writer = rig.writers[i];
        assert_false(writer->is_busy); /* a second answer is a breach of its node */
        int err = writer->sent[writer->sent_count - 1].err;
        assert_true(err == 0 || err == ERR_CANCELED || writer->refused > 0);
    }
    for (size_t i = 0; i < rig.node_count; i++) {
        node_assert_sound(rig.nodes[i]);
    }
}

static void a_thousand_pending_publishes_are_answered_once(void **state)
{
    enum { NODES = 16 };
    size_t pending = 0;
    for (int i = 0; i < NODES; i++) {
        struct node *node = rig_node(&(struct node_setup){.name = "n", .queues = BUS_MAX_QUEUES});
        RIG_UNTIL(node->up && node_queues_up(node) == node->queue_count);
        for (uint32_t k = 0; k < node->queue_count; k++) {
            rig_writer(node, k);
        }
    }
    for (size_t i = 0; i < rig.writer_count; i++) {
        rig.writers[i]->wanted = 1;
        pending += writer_advance(rig.writers[i]);
    }
    assert_int_equal(pending, rig.writer_count); /* 1,024, where a bus has so many queues */
    for (int i = 0; i < NODES / 2; i++) {
        bus_flush(rig.nodes[i]->bus); /* the others end with theirs unsent */
    }
    for (int i = 0; i < NODES; i++) {
        node_end(rig.nodes[i]);
    }
    assert_all_answered_once();
    for (size_t i = 0; i < rig.writer_count; i++) {
        rig.writers[i]->is_stopped = true;
    }
    rig_turn();
}

static void a_node_may_end_before_it_is_up(void **state)
{
    for (int turns = 0; turns < 12; turns++) {
        struct node *node = rig_node(&(struct node_setup){.name = "n"});
        struct writer *writer = rig_writer(node, 0);
        writer->wanted = 1;
        for (int i = 0; i < turns && !node->up; i++) {
            rig_turn();
        }
        writer_advance(writer);
        node_end(node);
        writer->is_stopped = true;
        if (writer->sent_count > 0) {
            assert_all_answered_once();
        }
    }
    rig_turn();
}

static void what_is_published_before_it_is_up_is_answered_too(void **state)
{
    struct node *node = rig_node(&(struct node_setup){.name = "a"});
    struct writer *writer = rig_writer(node, node->queue_count - 1);
    writer->wanted = 5;
    RIG_UNTIL(rig_writers_are_done());
    RIG_UNTIL(node->up);
    rig_audit(false);
}

const struct contract_case contract_close[] = {
    CONTRACT_CASE(a_thousand_pending_publishes_are_answered_once, NEEDS_NOTHING),
    CONTRACT_CASE(a_node_may_end_before_it_is_up, NEEDS_NOTHING),
    CONTRACT_CASE(what_is_published_before_it_is_up_is_answered_too, NEEDS_NOTHING),
    {0},
};
