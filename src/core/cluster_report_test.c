/* Receipts over nodes. */
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

static unsigned value_of(atomic_uint *count)
{
    return atomic_load(count);
}

static void assert_counts(const struct net_push *push, unsigned users, unsigned matched,
                          unsigned written)
{
    assert_int_equal(value_of(&push->receipt->users_online), users);
    assert_int_equal(value_of(&push->receipt->matched), matched);
    assert_int_equal(value_of(&push->receipt->written), written);
}

static void assert_nodes(const struct net_push *push, unsigned others, unsigned silent)
{
    assert_int_equal(value_of(&push->receipt->nodes), others);
    assert_int_equal(value_of(&push->receipt->nodes_silent), silent);
}

static void a_push_counts_the_sessions_of_all_nodes(void **state)
{
    struct net_push push;
    net_connect(&net.nodes[0], "a");
    net_connect(&net.nodes[1], "a");
    net_connect(&net.nodes[2], "b");
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a", "u:b", "u:c"}, 3, 1000);
    net_run(300);
    assert_int_equal(push.done, 1);
    assert_int_equal(push.delivered, 1);
    assert_true(receipt_is_complete(push.receipt));
    assert_counts(&push, 2, 3, 3); /* user a once */
    assert_nodes(&push, 2, 0);
    assert_null(net.nodes[0].cluster->expectations);
    net_end_push(&push);
}

static void a_push_from_a_node_without_the_user_counts_him(void **state)
{
    struct net_push push;
    net_connect(&net.nodes[2], "a");
    net_push_to(&push, &net.nodes[1], 0, (const char *[]){"u:a"}, 1, 1000);
    net_run(300);
    assert_true(receipt_is_complete(push.receipt));
    assert_counts(&push, 1, 1, 1);
    net_end_push(&push);
}

static void users_are_told_apart_by_their_place_among_the_targets(void **state)
{
    const char *targets[20];
    char names[20][16];
    struct net_push push;
    for (int i = 0; i < 20; i++) {
        snprintf(names[i], sizeof(names[i]), "u:n%d", i);
        targets[i] = names[i];
        net_connect(&net.nodes[1], names[i] + 2);
        if (i % 2) {
            net_connect(&net.nodes[2], names[i] + 2);
        }
        if (i % 3 == 0) {
            net_connect(&net.nodes[0], names[i] + 2);
        }
    }
    net_push_to(&push, &net.nodes[0], 2, targets, 20, 1000);
    net_run(300);
    assert_int_equal(value_of(&push.receipt->users_online), 20);
    net_end_push(&push);
}

static void what_is_not_written_yet_is_waited_for(void **state)
{
    struct net_push push;
    net_connect(&net.nodes[1], "a");
    net.nodes[1].holds_counts = true;
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 1000);
    net_run(300);
    assert_int_equal(push.delivered, 0);
    assert_nodes(&push, 2, 1);
    net_release_counts(&net.nodes[1]);
    net_run(300);
    assert_int_equal(push.delivered, 1);
    assert_true(receipt_is_complete(push.receipt));
    assert_counts(&push, 1, 1, 1);
    net_end_push(&push);
}

static void confirmations_are_told_while_others_are_awaited(void **state)
{
    struct net_push push;
    net_connect(&net.nodes[1], "a");
    net.nodes[1].holds_counts = true;
    net.push_flags = EVENT_WANTS_ACKS;
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 5000);
    net_run(300);
    assert_counts(&push, 1, 1, 1);
    assert_int_equal(value_of(&push.receipt->acked), 0);
    receipt_ack(net.nodes[1].held[0]);
    net_run(300);
    assert_int_equal(value_of(&push.receipt->acked), 1);
    assert_int_equal(push.delivered, 0); /* it may be that others will confirm */
    assert_nodes(&push, 2, 1);
    receipt_drop(net.nodes[1].held[0], RECEIPT_CLOSED, 1);
    net_release_counts(&net.nodes[1]);
    net_run(300);
    assert_int_equal(push.delivered, 1);
    assert_true(receipt_is_complete(push.receipt));
    assert_counts(&push, 1, 1, 1);
    assert_int_equal(value_of(&push.receipt->acked), 1);
    assert_int_equal(value_of(&push.receipt->dropped), 1);
    net_run(300);
    assert_null(net.nodes[1].cluster->open_counts);
    net_end_push(&push);
}

static void confirmations_are_followed_for_a_minute_at_most(void **state)
{
    struct net_push push;
    net_connect(&net.nodes[1], "a");
    net.nodes[1].holds_counts = true;
    net.push_flags = EVENT_WANTS_ACKS;
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 1000);
    net_run(50000);
    assert_non_null(net.nodes[1].cluster->open_counts);
    net_run(12000);
    assert_null(net.nodes[1].cluster->open_counts);
    assert_false(receipt_is_complete(push.receipt));
    net_release_counts(&net.nodes[1]);
    net_end_push(&push);
}

static void a_node_that_does_not_report_in_time_makes_it_incomplete(void **state)
{
    struct net_push push;
    net_connect(&net.nodes[1], "a");
    net.nodes[2].is_stopped = true;
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 1000);
    net_run(800);
    assert_int_equal(push.delivered, 0);
    net_run(500);
    assert_int_equal(push.delivered, 1);
    assert_false(receipt_is_complete(push.receipt));
    assert_nodes(&push, 2, 1);
    assert_counts(&push, 1, 1, 1);
    assert_int_equal(cluster_get_stats(net.nodes[0].cluster)->receipts_short, 1);
    net.nodes[2].is_stopped = false; /* its report comes too late */
    net_run(3000);
    assert_counts(&push, 1, 1, 1);
    net_end_push(&push);
}

static void a_node_that_dies_meanwhile_is_not_waited_for(void **state)
{
    struct net_push push;
    net.nodes[2].is_stopped = true;
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 60000);
    net_run(3000);
    net_kill(&net.nodes[2]);
    assert_int_equal(push.delivered, 0);
    net_run(3000);
    assert_int_equal(push.delivered, 1);
    assert_false(receipt_is_complete(push.receipt));
    assert_nodes(&push, 2, 1);
    net_end_push(&push);
}

static void while_nobody_knows_who_is_there_nothing_is_complete(void **state)
{
    struct net_push push;
    net_kill(&net.nodes[1]);
    net_kill(&net.nodes[2]);
    net_run(6000);
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 1000);
    net_run(300);
    assert_true(receipt_is_complete(push.receipt));
    net_end_push(&push);
    net_start_as(1, 3001, 1);
    net_run(CLUSTER_READY_MS + 1000); /* it serves, but can't know of all who were silent */
    net_push_to(&push, &net.nodes[1], 1, (const char *[]){"u:a"}, 1, 1000);
    net_run(300);
    assert_int_equal(push.delivered, 1);
    assert_false(receipt_is_complete(push.receipt));
    net_end_push(&push);
}

static void an_event_that_fails_is_not_waited_for(void **state)
{
    struct net_push push;
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 1000);
    assert_false(hub_flush(net.nodes[0].hub, net.now_ms, net.now_ms * 1000));
    assert_int_equal(net.nodes[0].cluster->expected.count, 1);
    struct bus_publish *record = net.nodes[0].out[1];
    net.nodes[0].out[1] = NULL;
    record->on_done(record, ERR_UNAVAILABLE, (struct bus_pos){0, 0});
    assert_int_equal(push.done, 1);
    assert_int_equal(push.verdict, PUBLISH_FAILED);
    assert_int_equal(push.delivered, 1);
    assert_null(net.nodes[0].cluster->expectations);
    assert_int_equal(net.nodes[0].cluster->expected.count, 0);
    net_end_push(&push);
}

static void a_node_that_starts_reports_nothing_of_the_past(void **state)
{
    struct net_push push;
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 1000);
    net_run(2000);
    net_end_push(&push);
    uint64_t reports = cluster_get_stats(net.nodes[0].cluster)->reports_in;
    net_start(3);
    net_run(3000);
    assert_int_equal(cluster_get_stats(net.nodes[0].cluster)->reports_in, reports);
}

static void reports_of_one_turn_travel_together(void **state)
{
    struct net_push pushes[40];
    uint64_t before = cluster_get_stats(net.nodes[0].cluster)->reports_in;
    for (int i = 0; i < 40; i++) {
        net_push_to(&pushes[i], &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 1000);
    }
    net_run(300);
    uint64_t reports = cluster_get_stats(net.nodes[0].cluster)->reports_in - before;
    assert_in_range(reports, 2, 20);
    for (int i = 0; i < 40; i++) {
        assert_true(receipt_is_complete(pushes[i].receipt));
        net_end_push(&pushes[i]);
    }
}

static void counts_that_outlive_the_node_go_nowhere(void **state)
{
    struct net_push push;
    net_connect(&net.nodes[1], "a");
    net.nodes[1].holds_counts = true;
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 1000);
    net_run(300);
    assert_int_equal(net.nodes[1].held_count, 1);
    assert_true(mem_accounted(MEM_BUS) > 0);
    net_kill(&net.nodes[1]); /* closes it after the hub is gone */
    net_run(2000);
    assert_false(receipt_is_complete(push.receipt));
    net_end_push(&push);
}

/* ---- what a report may say ---- */

static void send_counts(struct net_node *node, const struct buf *body)
{
    struct event event = {.kind = EVENT_REPORT, .data = buf_str(body)};
    struct target target = {TARGET_NODE, STR("")};
    struct buf encoded = {0};
    uint64_t key = 1;
    size_t skip;
    event.header.origin = 1001;
    event.parts = 1;
    assert_int_equal(event_encode(&encoded, &event, &target, &key, 1, NULL, 0), 0);
    assert_true(event_decode(&event, encoded.data, encoded.len, &skip) > 0);
    cluster_on_event(node->cluster, 0, &event);
    buf_fini(&encoded);
}

static void a_report_counts_once_and_only_of_who_was_expected(void **state)
{
    struct net_push push;
    struct buf body = {0};
    net.nodes[1].is_stopped = net.nodes[2].is_stopped = true;
    net_push_to(&push, &net.nodes[0], 1, (const char *[]){"u:a"}, 1, 1000);
    net_run(200);
    struct cluster_count_body count = {
        .queue = 1,
        .counter = (uint32_t)(net.nodes[0].cluster->expectations->name >> 6),
        .matched = 5,
        .written = 4,
        .online = STR("\xff\xff\xff")};
    cluster_write_count(&body, &count);
    send_counts(&net.nodes[0], &body);
    send_counts(&net.nodes[0], &body);
    assert_counts(&push, 1, 5, 4); /* there is but one target */
    assert_nodes(&push, 2, 1);
    body.len = 0;
    count.queue = 255;
    count.counter = 0xffffffff;
    cluster_write_count(&body, &count);
    send_counts(&net.nodes[0], &body);
    assert_counts(&push, 1, 5, 4);
    uint64_t bad = cluster_get_stats(net.nodes[0].cluster)->bad;
    body.len -= 1;
    send_counts(&net.nodes[0], &body);
    assert_int_equal(cluster_get_stats(net.nodes[0].cluster)->bad, bad + 1);
    buf_fini(&body);
    net_run(1500);
    net_end_push(&push);
}

static void an_event_of_no_node_is_not_counted(void **state)
{
    struct event event = {.parts = 1};
    assert_null(cluster_count(net.nodes[0].cluster, 0, &event));
    cluster_count_nothing(net.nodes[0].cluster, 0, &event);
    assert_null(net.nodes[0].cluster->reports); /* it would go to all */
}

#define NET_TEST(name) cmocka_unit_test_setup_teardown(name, open_three, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(a_push_counts_the_sessions_of_all_nodes),
        NET_TEST(a_push_from_a_node_without_the_user_counts_him),
        NET_TEST(users_are_told_apart_by_their_place_among_the_targets),
        NET_TEST(what_is_not_written_yet_is_waited_for),
        NET_TEST(confirmations_are_told_while_others_are_awaited),
        NET_TEST(confirmations_are_followed_for_a_minute_at_most),
        NET_TEST(a_node_that_does_not_report_in_time_makes_it_incomplete),
        NET_TEST(a_node_that_dies_meanwhile_is_not_waited_for),
        NET_TEST(while_nobody_knows_who_is_there_nothing_is_complete),
        NET_TEST(an_event_that_fails_is_not_waited_for),
        NET_TEST(a_node_that_starts_reports_nothing_of_the_past),
        NET_TEST(reports_of_one_turn_travel_together),
        NET_TEST(counts_that_outlive_the_node_go_nowhere),
        NET_TEST(an_event_of_no_node_is_not_counted),
        NET_TEST(a_report_counts_once_and_only_of_who_was_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
