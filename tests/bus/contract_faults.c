/* The server dies, stands still and comes back. */
#include "contract.h"

#include <string.h>

#include "base/err.h"

/* A publish's own time, long enough that an engine gets to try again and again. */
enum {
    PATIENT_MS = 15000,
    HASTY_MS = 600,
    SLACK_MS = 1500,
    RECONNECT_MS = 10000,
    NOTICE_MS = 15000
};

static bool may_lose(void)
{
    return !bus_is_lossless(rig.nodes[0]->bus);
}

static void a_server_that_dies_and_comes_back_loses_nothing(void **state)
{
    rig_stream(rig_node_up("a"), PATIENT_MS);
    rig_stream(rig_node_up("b"), PATIENT_MS);
    rig_stream_until_acknowledged(10);
    rig_broker("kill", NULL);
    rig_until_down(NOTICE_MS);
    rig_broker("start", NULL);
    rig_until_up(RECONNECT_MS);
    rig_stream_until_acknowledged(10);
    rig_stream_stop();
    rig_audit(may_lose());
    assert_int_equal(rig.nodes[0]->epochs, 1);
    assert_true(atomic_load(&rig.nodes[0]->bus->stats.reconnects) > 0);
}

static void assert_in_time(const struct writer *writer)
{
    for (size_t i = 0; i < writer->sent_count; i++) {
        if (writer->sent[i].err != WRITER_PENDING && writer->sent[i].done_ms > 0) {
            uint64_t took_ms = writer->sent[i].done_ms - writer->sent[i].at_ms;
            assert_in_range(took_ms, 0, writer->deadline_ms + SLACK_MS);
        }
    }
}

static void while_it_is_away_publishes_fail_in_time_and_a_new_node_waits(void **state)
{
    struct node *a = rig_node_up("a");
    rig_broker("kill", NULL);
    struct node *b = rig_node(&(struct node_setup){.name = "b"});
    rig_stream(a, HASTY_MS);
    rig_stream_until_failed(3);
    for (size_t i = 0; i < rig.writer_count; i++) {
        assert_int_equal(rig.writers[i]->acknowledged, 0);
    }
    RIG_UNTIL_WITHIN(NOTICE_MS, b->downs > 0);
    assert_int_equal(b->ups, 0);
    assert_true(strlen(b->reason) > 5);
    rig_broker("start", NULL);
    rig_until_up(RECONNECT_MS);
    rig_stream_until_acknowledged(3);
    rig_stream_stop();
    rig_audit(may_lose());
    for (size_t i = 0; i < rig.writer_count; i++) {
        assert_in_time(rig.writers[i]);
    }
}

/* A grey failure: the kernel takes what is sent, and nobody answers. */
static void a_server_that_stands_still_leaves_no_publish_unanswered(void **state)
{
    rig_stream(rig_node_up("a"), HASTY_MS);
    rig_stream(rig_node_up("b"), HASTY_MS);
    rig_stream_until_acknowledged(5);
    rig_broker("pause", NULL);
    rig_stream_until_failed(2);
    rig_until_down(NOTICE_MS);
    rig_broker("resume", NULL);
    rig_until_up(RECONNECT_MS);
    rig_stream_until_acknowledged(5);
    rig_stream_stop();
    rig_audit(may_lose());
}

static void a_short_stand_still_costs_nothing(void **state)
{
    rig_stream(rig_node_up("a"), PATIENT_MS);
    rig_stream(rig_node_up("b"), PATIENT_MS);
    rig_stream_until_acknowledged(5);
    for (int i = 0; i < 3; i++) {
        rig_broker("pause", NULL);
        rig_broker("resume", NULL);
        rig_stream_until_acknowledged(1);
    }
    rig_stream_stop();
    rig_audit(may_lose());
    for (size_t i = 0; i < rig.writer_count; i++) {
        assert_int_equal(rig.writers[i]->failed + rig.writers[i]->refused, 0);
    }
}

/* ---- one of several servers ---- */

static void stream_on_queues_that_are_up(struct node *node)
{
    for (uint32_t i = 0; i < node->queue_count; i++) {
        if (node->queues[i].up) {
            rig_writer(node, i)->wanted = SIZE_MAX;
        }
    }
}

static void a_server_of_two_takes_only_its_own_queues_along(void **state)
{
    struct node *a = rig_node_up("a");
    rig_stream(a, PATIENT_MS);
    rig_stream_until_acknowledged(10);
    rig_stream_stop();
    rig_broker("kill", rig_data_server(0));
    RIG_UNTIL_WITHIN(NOTICE_MS, node_queues_up(a) < a->queue_count);

    /* Not being there at a start keeps a node from nothing but the queues that are there. */
    struct node *b = rig_node(&(struct node_setup){.name = "b"});
    RIG_UNTIL_WITHIN(NOTICE_MS, b->up);
    assert_true(node_queues_up(b) > 0 && node_queues_up(b) < b->queue_count);
    size_t before = rig.writer_count;
    stream_on_queues_that_are_up(a);
    for (size_t i = before; i < rig.writer_count; i++) {
        RIG_UNTIL(rig.writers[i]->acknowledged >= 5);
    }
    rig_stream_stop();

    rig_broker("start", rig_data_server(0));
    rig_until_up(RECONNECT_MS);
    before = rig.writer_count;
    rig_stream(b, PATIENT_MS);
    for (size_t i = before; i < rig.writer_count; i++) {
        RIG_UNTIL(rig.writers[i]->acknowledged >= 5);
    }
    rig_stream_stop();
    rig_audit(false);
    assert_int_equal(a->falls + b->falls, 0);
    assert_int_equal(b->seen_ours, a->seen_ours); /* the window of the late queues too */
}

const struct contract_case contract_faults[] = {
    CONTRACT_SLOW_CASE(a_server_that_dies_and_comes_back_loses_nothing, NEEDS_NODES | NEEDS_BROKER),
    CONTRACT_SLOW_CASE(while_it_is_away_publishes_fail_in_time_and_a_new_node_waits,
                       NEEDS_NODES | NEEDS_BROKER),
    CONTRACT_SLOW_CASE(a_server_that_stands_still_leaves_no_publish_unanswered,
                       NEEDS_NODES | NEEDS_BROKER),
    CONTRACT_SLOW_CASE(a_short_stand_still_costs_nothing, NEEDS_NODES | NEEDS_BROKER),
    CONTRACT_SLOW_CASE(a_server_of_two_takes_only_its_own_queues_along,
                       NEEDS_NODES | NEEDS_SERVERS | NEEDS_REPLAY),
    {0},
};
