/* The network between nodes and servers breaks, in one direction or both, or leads to somebody
 * else. */
#include "contract.h"

#include <string.h>

enum { PATIENT_MS = 15000, HASTY_MS = 600, RECONNECT_MS = 10000, NOTICE_MS = 15000 };

static bool may_lose(void)
{
    return !bus_is_lossless(rig.nodes[0]->bus);
}

static void stream_of_two(uint64_t deadline_ms)
{
    rig_stream(rig_node_up("a"), deadline_ms);
    rig_stream(rig_node_up("b"), deadline_ms);
    rig_stream_until_acknowledged(5);
}

static void heal_and_audit(void)
{
    rig_link(LINK_CARRIES);
    rig_until_up(RECONNECT_MS);
    rig_stream_until_acknowledged(5);
    rig_stream_stop();
    rig_audit(may_lose());
}

static void a_link_that_is_cut_heals(void **state)
{
    stream_of_two(PATIENT_MS);
    rig_link(LINK_CUT);
    rig_until_down(NOTICE_MS);
    heal_and_audit();
}

static void a_link_that_flaps_loses_nothing(void **state)
{
    stream_of_two(PATIENT_MS);
    for (int i = 0; i < 6; i++) {
        rig_link(LINK_CUT);
        for (int turns = 0; turns < i; turns++) {
            rig_turn();
        }
        rig_link(LINK_CARRIES);
        rig_stream_until_acknowledged(1);
    }
    heal_and_audit();
}

static void fail_for_a_while(enum link fault)
{
    stream_of_two(HASTY_MS);
    rig_link(fault);
    rig_stream_until_failed(2);
    rig_until_down(NOTICE_MS);
    heal_and_audit();
}

static void a_link_that_swallows_everything_heals(void **state)
{
    fail_for_a_while(LINK_DEAD);
}

static void a_link_that_swallows_what_is_told_heals(void **state)
{
    fail_for_a_while(LINK_DEAF);
}

static void a_link_that_swallows_what_is_answered_heals(void **state)
{
    fail_for_a_while(LINK_MUTE);
}

/* Shorter than anybody's patience: the publishes of unknown outcome are tried again, and none may
 * be lost or get out of order by it. */
static void a_link_that_stutters_costs_nothing(void **state)
{
    stream_of_two(PATIENT_MS);
    for (int i = 0; i < 6; i++) {
        rig_link(i % 2 ? LINK_DEAF : LINK_MUTE);
        for (int turns = 0; turns < 10; turns++) {
            rig_turn();
        }
        rig_link(LINK_CARRIES);
        rig_stream_until_acknowledged(1);
    }
    heal_and_audit();
    for (size_t i = 0; i < rig.writer_count; i++) {
        assert_int_equal(rig.writers[i]->failed + rig.writers[i]->refused, 0);
    }
}

static void a_node_that_was_cut_off_catches_up(void **state)
{
    struct node *a = rig_node_up("a");
    rig_stream(a, PATIENT_MS);
    rig_link_spare();
    struct node *b = rig_node_up("b");
    rig_stream_until_acknowledged(5);
    rig_link(LINK_CUT); /* for b alone */
    RIG_UNTIL_WITHIN(NOTICE_MS, !b->up);
    rig_stream_until_acknowledged(25);
    heal_and_audit();
    assert_int_equal(a->falls, 0);
}

static void an_end_behind_a_cut_link_answers_what_is_pending(void **state)
{
    struct node *node = rig_node_up("a");
    rig_stream(node, 0);
    rig_stream_until_acknowledged(1);
    rig_link(LINK_CUT);
    rig_until_down(NOTICE_MS);
    for (size_t i = 0; i < rig.writer_count; i++) {
        writer_advance(rig.writers[i]);
    }
    node_end(node);
    for (size_t i = 0; i < rig.writer_count; i++) {
        assert_false(rig.writers[i]->is_busy);
    }
    node_assert_sound(node);
}

/* ---- somebody else at the address, from the start ---- */

static void start_in_vain(enum link fault)
{
    rig_link(fault);
    uint64_t begun_ms = rig_now_ms();
    struct node *node = rig_node(&(struct node_setup){.name = "a"});
    RIG_UNTIL_WITHIN(NOTICE_MS, node->downs > 0 && rig_now_ms() > begun_ms + 1500);
    assert_false(node->up);
    assert_true(strlen(node->reason) > 5);
    /* At most one try a second and server, but for the quick ones that begin it. */
    uint64_t seconds = (rig_now_ms() - begun_ms) / 1000 + 1;
    assert_in_range(rig_link_accepted(), 0, (seconds + 4) * rig.settings.link_count);
    rig_link(LINK_CARRIES);
    rig_until_up(RECONNECT_MS);
    rig_stream(node, PATIENT_MS);
    rig_stream_until_acknowledged(2);
    rig_stream_stop();
    rig_audit(false);
}

static void nobody_at_the_address_is_waited_for(void **state)
{
    start_in_vain(LINK_CUT);
}

static void somebody_silent_at_the_address_is_waited_for(void **state)
{
    start_in_vain(LINK_DEAD);
}

static void somebody_who_babbles_at_the_address_is_waited_for(void **state)
{
    start_in_vain(LINK_BABBLES);
}

const struct contract_case contract_links[] = {
    CONTRACT_SLOW_CASE(a_link_that_is_cut_heals, NEEDS_NODES | NEEDS_LINK),
    CONTRACT_SLOW_CASE(a_link_that_flaps_loses_nothing, NEEDS_NODES | NEEDS_LINK),
    CONTRACT_SLOW_CASE(a_link_that_swallows_everything_heals, NEEDS_NODES | NEEDS_LINK),
    CONTRACT_SLOW_CASE(a_link_that_swallows_what_is_told_heals, NEEDS_NODES | NEEDS_LINK),
    CONTRACT_SLOW_CASE(a_link_that_swallows_what_is_answered_heals, NEEDS_NODES | NEEDS_LINK),
    CONTRACT_SLOW_CASE(a_link_that_stutters_costs_nothing, NEEDS_NODES | NEEDS_LINK),
    CONTRACT_SLOW_CASE(a_node_that_was_cut_off_catches_up, NEEDS_NODES | NEEDS_LINK),
    CONTRACT_SLOW_CASE(an_end_behind_a_cut_link_answers_what_is_pending, NEEDS_LINK),
    CONTRACT_SLOW_CASE(nobody_at_the_address_is_waited_for, NEEDS_LINK),
    CONTRACT_SLOW_CASE(somebody_silent_at_the_address_is_waited_for, NEEDS_LINK),
    CONTRACT_SLOW_CASE(somebody_who_babbles_at_the_address_is_waited_for, NEEDS_LINK),
    {0},
};
