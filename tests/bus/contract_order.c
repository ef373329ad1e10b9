/* Every node sees every acknowledged record, in one order. */
#include "contract.h"
#include "peer.h"

static void write_on_all_queues(struct node *node, size_t each, bool chains)
{
    for (uint32_t i = 0; i < node->queue_count; i++) {
        struct writer *writer = rig_writer(node, i);
        writer->wanted = each;
        writer->chains = chains;
    }
}

static void one_node_gets_back_what_it_published(void **state)
{
    struct node *node = rig_node_up("a");
    write_on_all_queues(node, 25, false);
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
    assert_int_equal(node->seen_ours, 25 * node->queue_count);
}

static void the_next_may_be_published_from_the_answer(void **state)
{
    write_on_all_queues(rig_node_up("a"), 40, true);
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
}

static void all_queues_carry(void **state)
{
    struct node *node = rig_node(&(struct node_setup){.name = "a", .queues = BUS_MAX_QUEUES});
    RIG_UNTIL(node->up && node_queues_up(node) == node->queue_count);
    write_on_all_queues(node, 2, false);
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
}

static void an_idle_node_acknowledges_without_delay(void **state)
{
    struct node *node = rig_node_up("a");
    struct writer *writer = rig_writer(node, 0);
    writer->wanted = 21;
    RIG_UNTIL(rig_writers_are_done());
    /* The quickest of them: whatever else the machine does, the engine waits for nothing. */
    uint64_t least_ms = UINT64_MAX;
    for (size_t i = 0; i < writer->sent_count; i++) {
        uint64_t took_ms = writer->sent[i].done_ms - writer->sent[i].at_ms;
        least_ms = took_ms < least_ms ? took_ms : least_ms;
    }
    assert_in_range(least_ms, 0, 15);
}

static void three_nodes_see_the_same(void **state)
{
    for (int i = 0; i < 3; i++) {
        rig_node_up((const char *[]){"a", "b", "c"}[i]);
    }
    for (int i = 0; i < 3; i++) {
        write_on_all_queues(rig.nodes[i], 20, i == 1);
    }
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
    assert_string_equal(rig.nodes[0]->epoch, rig.nodes[1]->epoch);
    assert_string_equal(rig.nodes[0]->epoch, rig.nodes[2]->epoch);
    assert_int_equal(rig.nodes[0]->bus->layout, rig.nodes[2]->bus->layout);
}

static void two_nodes_that_publish_at_once_agree_on_the_order(void **state)
{
    struct node *a = rig_node_up("a"), *b = rig_node_up("b");
    for (int i = 0; i < 2; i++) {
        rig_writer(i == 0 ? a : b, a->queue_count - 1)->wanted = 150;
    }
    RIG_UNTIL(rig_writers_are_done());
    rig_audit(false);
    /* They were at it at the same time, else this shows nothing. */
    const struct node_queue *queue = &a->queues[a->queue_count - 1];
    size_t changes = 0;
    for (size_t i = 1; i < queue->seen_count; i++) {
        changes += queue->seen[i].writer != queue->seen[i - 1].writer;
    }
    assert_true(changes >= 10);
}

static void a_second_process_sees_the_same(void **state)
{
    enum { EACH = 50 };
    struct node *node = rig_node_up("a");
    struct peer *peer = peer_start(EACH, 2 * EACH);
    RIG_UNTIL(peer_is_up(peer) || peer_has_ended(peer));
    assert_false(peer_has_ended(peer));
    peer_begin(peer);
    write_on_all_queues(node, EACH, false);
    RIG_UNTIL(rig_writers_are_done() && peer_has_ended(peer));
    peer_join(peer);
    rig_audit(false);
    assert_int_equal(node->seen_ours, 2 * EACH * node->queue_count);
}

const struct contract_case contract_order[] = {
    CONTRACT_CASE(one_node_gets_back_what_it_published, NEEDS_NOTHING),
    CONTRACT_CASE(the_next_may_be_published_from_the_answer, NEEDS_NOTHING),
    CONTRACT_CASE(all_queues_carry, NEEDS_NOTHING),
    CONTRACT_CASE(an_idle_node_acknowledges_without_delay, NEEDS_NOTHING),
    CONTRACT_CASE(three_nodes_see_the_same, NEEDS_NODES),
    CONTRACT_CASE(two_nodes_that_publish_at_once_agree_on_the_order, NEEDS_NODES),
    CONTRACT_CASE(a_second_process_sees_the_same, NEEDS_NODES),
    {0},
};
