/* Where a node begins to read, and what it has read when it says that it is up. */
#include "contract.h"

static struct bus_pos last_acknowledged(const struct writer *writer)
{
    struct bus_pos last = {0, 0};
    for (size_t i = 0; i < writer->sent_count; i++) {
        if (writer->sent[i].err == 0) {
            last = writer->sent[i].pos;
        }
    }
    return last;
}

static void write_on_all_queues(struct node *node, size_t each)
{
    for (uint32_t i = 0; i < node->queue_count; i++) {
        rig_writer(node, i)->wanted = each;
    }
}

static void a_new_bus_starts_at_its_very_beginning(void **state)
{
    struct node *node = rig_node_up("a");
    for (uint32_t i = 0; i < node->queue_count; i++) {
        assert_int_equal(node->queues[i].from.hi | node->queues[i].from.lo, 0);
    }
    assert_int_equal(node->epochs, 1);
}

static void a_new_node_has_read_the_window_when_it_is_up(void **state)
{
    write_on_all_queues(rig_node_up("a"), 30);
    RIG_UNTIL(rig_writers_are_done());
    size_t before = rig.nodes[0]->seen_ours;
    for (size_t i = 0; i < rig.writer_count; i++) {
        rig_write(rig.writers[i], 30); /* and it goes on meanwhile */
    }
    struct node *b = rig_node(&(struct node_setup){.name = "b"});
    RIG_UNTIL(b->up);
    assert_true(b->seen_when_up >= before);
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
    assert_int_equal(b->seen_ours, 60 * b->queue_count);
    assert_string_equal(b->epoch, rig.nodes[0]->epoch);
}

static void what_was_published_before_all_nodes_ended_is_there(void **state)
{
    struct node *a = rig_node_up("a");
    write_on_all_queues(a, 10);
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
    node_end(a);
    struct node *b = rig_node_up("a"); /* the same node, another boot */
    rig_audit(false);
    assert_int_equal(b->seen_when_up, 10 * b->queue_count);
}

static void without_replay_a_start_is_behind_what_was_there(void **state)
{
    struct node *a = rig_node_up("a");
    write_on_all_queues(a, 10);
    RIG_UNTIL(rig_writers_are_done());
    struct node *b = rig_node_up("b");
    for (uint32_t i = 0; i < b->queue_count; i++) {
        assert_true(bus_pos_compare(b->queues[i].from, last_acknowledged(rig.writers[i])) >= 0);
        rig_write(rig.writers[i], 10);
    }
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
    assert_int_equal(b->seen_ours, 10 * b->queue_count);
}

const struct contract_case contract_start[] = {
    CONTRACT_CASE(a_new_bus_starts_at_its_very_beginning, NEEDS_LOSSLESS),
    CONTRACT_CASE(a_new_node_has_read_the_window_when_it_is_up, NEEDS_NODES | NEEDS_REPLAY),
    CONTRACT_CASE(what_was_published_before_all_nodes_ended_is_there, NEEDS_REPLAY),
    CONTRACT_CASE(without_replay_a_start_is_behind_what_was_there, NEEDS_NODES | NEEDS_LOSSY),
    {0},
};
