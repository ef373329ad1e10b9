#include "core/cluster.h"

#include "core/cluster_test_help.h"

static int open_three(void **state)
{
    net_open(3);
    return 0;
}

static int close_all(void **state)
{
    net_close();
    return 0;
}

/* ---- who is there ---- */

static void nodes_find_each_other(void **state)
{
    struct cluster_node list[CLUSTER_MAX_NODES];
    bool is_known;
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(net_sees(&net.nodes[i]), 2);
        assert_true(net_is_ready(&net.nodes[i]));
        assert_int_equal(net.nodes[i].came, 2);
    }
    assert_int_equal(cluster_nodes(net.nodes[0].cluster, list, &is_known), 3);
    assert_true(is_known);
    assert_true(list[0].is_self);
    assert_string_equal(list[0].name, "node-0");
    assert_int_equal(list[0].state, CLUSTER_READY);
    assert_int_equal(list[1].boot, 1001);
    assert_int_equal(list[1].sessions, 11);
    assert_string_equal(list[1].version, "1.2.3");
}

static void a_killed_node_is_gone_after_five_seconds(void **state)
{
    net_kill(&net.nodes[2]);
    net_run(CLUSTER_SILENCE_MS - 1100);
    assert_int_equal(net_sees(&net.nodes[0]), 2);
    net_run(1500);
    assert_int_equal(net_sees(&net.nodes[0]), 1);
    assert_int_equal(net.nodes[0].silent, 1);
    assert_int_equal(net.nodes[0].left, 0);
}

static void a_node_that_leaves_is_gone_at_once(void **state)
{
    cluster_leave(net.nodes[2].cluster, net.now_ms);
    assert_false(cluster_has_left(net.nodes[2].cluster));
    net_run(200);
    assert_true(cluster_has_left(net.nodes[2].cluster));
    assert_int_equal(net_sees(&net.nodes[0]), 1);
    assert_int_equal(net.nodes[0].left, 1);
    net_run(8000); /* it lives on, but has said so */
    assert_int_equal(net_sees(&net.nodes[0]), 1);
    assert_int_equal(net.nodes[0].silent, 0);
}

static void a_node_that_starts_ignores_beacons_of_the_dead(void **state)
{
    net_kill(&net.nodes[2]);
    net_run(60000);
    struct net_node *fresh = net_start_as(2, 2002, 1);
    net_run(3000);
    assert_int_equal(net_sees(fresh), 2);
    assert_int_equal(fresh->came, 2);
    assert_int_equal(fresh->silent, 0);
}

static void a_node_that_stood_still_comes_back_by_its_next_beacon(void **state)
{
    struct net_node *node = &net.nodes[2];
    node->is_stopped = true;
    net_run(30000);
    assert_int_equal(net_sees(&net.nodes[0]), 1);
    net_kill(&net.nodes[1]);
    node->is_stopped = false;
    net_run(1500);
    assert_int_equal(net_sees(&net.nodes[0]), 2); /* 1 is not missed yet */
    net_run(6000);
    assert_int_equal(net_sees(&net.nodes[0]), 1);
    assert_int_equal(net_sees(node), 1);
}

static void a_node_that_stood_still_does_not_answer_what_was_asked_meanwhile(void **state)
{
    struct net_node *node = &net.nodes[2];
    node->is_stopped = true;
    struct cluster_question question = {.limit_ms = 1000};
    uint32_t done = 0;
    question.owner = &done;
    question.on_done = net_count_done;
    cluster_ask(net.nodes[0].cluster, &question, net.now_ms);
    net_run(1500);
    assert_int_equal(done, 1);
    assert_false(question.is_complete);
    cluster_question_drop_replies(&question);
    net_run(28000);
    node->is_stopped = false;
    net_run(5000);
    assert_int_equal(node->asked, 0);
    assert_int_equal(cluster_get_stats(node->cluster)->asks_dropped, 1);
}

static void without_the_bus_nobody_is_gone_and_nothing_is_known(void **state)
{
    net.down = 7;
    net_run(20000);
    assert_int_equal(net_sees(&net.nodes[0]), 2);
    assert_false(net_is_known(&net.nodes[0]));
    assert_true(net_is_ready(&net.nodes[0])); /* the bus's own state tells */
    net.down = 0;
    net_run(4000);
    assert_false(net_is_known(&net.nodes[0])); /* somebody new may be there */
    net_run(4000);
    assert_int_equal(net_sees(&net.nodes[0]), 2);
    assert_true(net_is_known(&net.nodes[0]));
    assert_int_equal(net.nodes[0].silent, 0);
}

static void one_queue_that_is_left_is_enough(void **state)
{
    net.down = 6;
    net_run(20000);
    assert_int_equal(net_sees(&net.nodes[0]), 2);
    assert_true(net_is_known(&net.nodes[0]));
    net_kill(&net.nodes[2]);
    net_run(6000);
    assert_int_equal(net_sees(&net.nodes[0]), 1);
}

static void a_node_that_can_only_write_does_not_think_that_the_others_died(void **state)
{
    net.nodes[0].is_deaf = true;
    net_run(20000);
    assert_false(net_is_known(&net.nodes[0]));
    assert_int_equal(net_sees(&net.nodes[0]), 2);
    assert_int_equal(net_sees(&net.nodes[1]), 2); /* which hears it */
}

static void of_two_layouts_the_later_node_gives_way(void **state)
{
    struct net_node *other = net_start_as(3, 1003, 2);
    char reason[300];
    net_run(3000);
    assert_false(net_is_ready(other));
    assert_true(cluster_is_unready(other->cluster, reason, sizeof(reason)));
    assert_non_null(strstr(reason, "node '"));
    assert_true(net_is_ready(&net.nodes[0]));
    assert_int_equal(other->conflicts, 3);
    assert_int_equal(net.nodes[0].conflicts, 1); /* told once */
    net_kill(&net.nodes[0]);
    net_kill(&net.nodes[1]);
    net_kill(&net.nodes[2]);
    net_run(6000);
    assert_true(net_is_ready(other));
}

/* ---- more nodes than there is room for ---- */

static void say_beacon(struct net_node *node, uint32_t boot, enum cluster_state state)
{
    static uint32_t seq;
    struct buf body = {0};
    struct cluster_beacon beacon = {.state = state,
                                    .seq = ++seq,
                                    .queues = NET_QUEUES,
                                    .layout = 1,
                                    .counts_on = 7,
                                    .node = STR("extra"),
                                    .version = STR("1")};
    assert_int_equal(cluster_write_beacon(&body, &beacon), 0);
    struct event event = {.kind = EVENT_BEACON, .data = buf_str(&body)};
    event.header.origin = boot;
    event.target_bytes = str_make("\x06\0\0", 3); /* all nodes */
    cluster_on_event(node->cluster, 0, &event);
    buf_fini(&body);
}

enum { EXTRA_BOOT = 5000, EXTRAS = CLUSTER_MAX_NODES - 3, ONE_MORE = 9000 };

static void fill_up(struct net_node *node)
{
    for (uint32_t i = 0; i < EXTRAS; i++) {
        say_beacon(node, EXTRA_BOOT + i, CLUSTER_READY);
    }
}

static bool expects_all(const struct net_node *node)
{
    struct node_set nodes;
    return members_expected(node->cluster, 0, &nodes);
}

static void while_a_node_has_no_slot_nothing_is_known(void **state)
{
    struct net_node *node = &net.nodes[0];
    fill_up(node);
    assert_int_equal(net_sees(node), CLUSTER_MAX_NODES - 1);
    assert_true(net_is_known(node));
    assert_true(expects_all(node));
    for (int i = 0; i < 8; i++) {
        say_beacon(node, ONE_MORE + i % 2, CLUSTER_READY);
        assert_false(net_is_known(node));
        assert_false(expects_all(node));
        assert_true(cluster_may_have(node->cluster, ONE_MORE));
        fill_up(node);
        net_run(1000);
    }
    assert_int_equal(node->no_room, 1); /* told once */
    for (int i = 0; i < 5; i++) {
        fill_up(node);
        net_run(1000);
    }
    assert_int_equal(node->silent, 0);
    assert_true(net_is_known(node));
    assert_true(expects_all(node));
}

static void who_has_left_makes_room(void **state)
{
    struct net_node *node = &net.nodes[0];
    fill_up(node);
    say_beacon(node, EXTRA_BOOT + 7, CLUSTER_GONE);
    net_run(100);
    say_beacon(node, EXTRA_BOOT + 8, CLUSTER_GONE);
    assert_int_equal(net_sees(node), CLUSTER_MAX_NODES - 3);
    uint32_t slot = members_find(node->cluster, EXTRA_BOOT + 7);
    say_beacon(node, ONE_MORE, CLUSTER_READY);
    assert_int_equal(members_find(node->cluster, ONE_MORE), slot);
    assert_int_not_equal(members_find(node->cluster, EXTRA_BOOT + 8), 0);
    assert_int_equal(net_sees(node), CLUSTER_MAX_NODES - 2);
    assert_true(net_is_known(node));
    assert_int_equal(node->no_room, 0);
}

static void what_the_cluster_sends_does_not_set_the_hub_back(void **state)
{
    struct net_node *node = &net.nodes[0];
    hub_set_now(node->hub, net.now_ms + 50, (net.now_ms + 50) * 1000);
    assert_true(node->cluster->now_ms < net.now_ms + 50);
    assert_int_equal(cluster_send(node->cluster, EVENT_REPORT, 0, 0, STR("\x01"), 0, NULL, NULL),
                     0);
    assert_int_equal(hub_now_ms(node->hub), net.now_ms + 50);
}

static void on_a_bus_of_its_own_a_node_knows_itself_and_says_nothing(void **state)
{
    net = (struct net){.now_ms = 5000};
    struct net_node *node = &net.nodes[0];
    struct cluster_options options = {.boot = 5, .node = STR("alone"), .version = STR("1")};
    node->boot = 5;
    net_create_hub(node, 1);
    assert_int_equal(
        cluster_create(&node->cluster, node->hub, &options, &net_cluster_callbacks, node), 0);
    assert_true(net_is_ready(node));
    assert_true(net_is_known(node));
    hub_bus_callbacks.on_state(node->hub, true, "");
    net_run(5000);
    assert_int_equal(net.count[0] + net.count[1] + net.count[2], 0);
    assert_int_equal(net_sees(node), 0);
    cluster_leave(node->cluster, net.now_ms);
    assert_true(cluster_has_left(node->cluster));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_find_each_other, open_three, close_all),
        cmocka_unit_test_setup_teardown(a_killed_node_is_gone_after_five_seconds, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(a_node_that_leaves_is_gone_at_once, open_three, close_all),
        cmocka_unit_test_setup_teardown(a_node_that_starts_ignores_beacons_of_the_dead, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(a_node_that_stood_still_comes_back_by_its_next_beacon,
                                        open_three, close_all),
        cmocka_unit_test_setup_teardown(
            a_node_that_stood_still_does_not_answer_what_was_asked_meanwhile, open_three,
            close_all),
        cmocka_unit_test_setup_teardown(without_the_bus_nobody_is_gone_and_nothing_is_known,
                                        open_three, close_all),
        cmocka_unit_test_setup_teardown(one_queue_that_is_left_is_enough, open_three, close_all),
        cmocka_unit_test_setup_teardown(
            a_node_that_can_only_write_does_not_think_that_the_others_died, open_three, close_all),
        cmocka_unit_test_setup_teardown(of_two_layouts_the_later_node_gives_way, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(while_a_node_has_no_slot_nothing_is_known, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(who_has_left_makes_room, open_three, close_all),
        cmocka_unit_test_setup_teardown(what_the_cluster_sends_does_not_set_the_hub_back,
                                        open_three, close_all),
        cmocka_unit_test_teardown(on_a_bus_of_its_own_a_node_knows_itself_and_says_nothing,
                                  close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
