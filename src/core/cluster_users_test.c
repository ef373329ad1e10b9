#include "core/cluster_test_help.h"

enum { APP_A = 0xaaaa, APP_B = 0xbbbb };

/* What worker 0 of the node counted: users first to last - 1, of an app. */
static struct user_tally *tally_of(uint32_t app, uint32_t first, uint32_t last)
{
    struct user_tally *tally = user_tally_create(0);
    for (uint32_t i = first; i < last; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u%u", i);
        uint64_t key = target_key(&event_test_space, app, TARGET_USER, str_of(name));
        assert_int_equal(user_tally_add(tally, app, key), 0);
    }
    return tally;
}

static void have(uint32_t node, uint32_t app, uint32_t first, uint32_t last)
{
    cluster_take_tally(net.nodes[node].cluster, tally_of(app, first, last));
}

/* Long enough for each queue to have carried the users. */
static void run(void)
{
    net_run((NET_QUEUES + 1) * CLUSTER_BEACON_MS);
}

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

static void assert_all_count(uint64_t users)
{
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(cluster_all_users(net.nodes[i].cluster), users);
    }
}

static void a_user_with_sessions_on_several_nodes_counts_once(void **state)
{
    have(0, APP_A, 0, 100);
    have(1, APP_A, 50, 150);
    have(2, APP_A, 0, 150);
    run();
    assert_all_count(150);
    assert_int_equal(cluster_users(net.nodes[1].cluster, APP_A), 150);
    assert_int_equal(cluster_users(net.nodes[1].cluster, APP_B), 0);
}

static void the_same_name_in_two_apps_is_two_users(void **state)
{
    struct user_tally *both = tally_of(APP_A, 0, 10);
    struct user_tally *other = tally_of(APP_B, 0, 5);
    assert_int_equal(user_tally_merge(both, other), 0);
    user_tally_destroy(other);
    cluster_take_tally(net.nodes[0].cluster, both);
    have(1, APP_B, 0, 7);
    run();
    assert_all_count(17);
    assert_int_equal(cluster_users(net.nodes[2].cluster, APP_A), 10);
    assert_int_equal(cluster_users(net.nodes[2].cluster, APP_B), 7);
}

static void who_leaves_is_counted_no_more(void **state)
{
    have(0, APP_A, 0, 20);
    have(1, APP_A, 10, 30);
    run();
    assert_all_count(30);
    have(0, APP_A, 0, 15);
    have(1, APP_B, 0, 1); /* none of the first app is left there */
    run();
    assert_all_count(16);
    assert_int_equal(cluster_users(net.nodes[0].cluster, APP_A), 15);
}

static void users_of_a_node_that_is_gone_are_not_counted(void **state)
{
    have(0, APP_A, 0, 20);
    have(1, APP_A, 15, 40);
    have(2, APP_A, 30, 60);
    run();
    assert_all_count(60);
    net_kill(&net.nodes[2]);
    net_run(CLUSTER_SILENCE_MS + 1500);
    assert_int_equal(cluster_all_users(net.nodes[0].cluster), 40);
    cluster_leave(net.nodes[1].cluster, net.now_ms);
    net_run(300);
    assert_int_equal(cluster_all_users(net.nodes[0].cluster), 20);
}

static void many_users_are_counted_within_a_few_percent(void **state)
{
    have(0, APP_A, 0, 30000);
    have(1, APP_A, 20000, 50000);
    have(2, APP_A, 100, 600); /* few: told as they are, and merged with what is told by registers */
    run();
    for (uint32_t i = 0; i < 3; i++) {
        assert_in_range(cluster_all_users(net.nodes[i].cluster), 47000, 53000);
    }
}

static void workers_of_a_node_are_put_together(void **state)
{
    struct user_tally *second = tally_of(APP_A, 5, 25);
    second->worker = 1;
    have(0, APP_A, 0, 10);
    cluster_take_tally(net.nodes[0].cluster, second);
    run();
    assert_all_count(25);
    have(0, APP_A, 0, 0);
    run();
    assert_all_count(20);
}

/* Merging what all nodes tell of an app is dear, so that it waits for what else comes. */
static void an_app_is_counted_anew_once_a_second_at_most(void **state)
{
    struct cluster *cluster = net.nodes[0].cluster;
    struct user_tally *second = tally_of(APP_B, 0, 5);
    second->worker = 1;
    have(0, APP_A, 0, 10);
    net_run(NET_STEP_MS);
    assert_int_equal(cluster_users(cluster, APP_A), 10);
    have(0, APP_A, 0, 20);
    net_run(500);
    assert_int_equal(cluster_users(cluster, APP_A), 10);
    cluster_take_tally(cluster, second); /* another app does not wait for it */
    net_run(NET_STEP_MS);
    assert_int_equal(cluster_users(cluster, APP_B), 5);
    net_run(500);
    assert_int_equal(cluster_users(cluster, APP_A), 20);
}

/* More than one beacon has room for: they take turns. */
static void many_apps_are_told_in_turns_and_those_beyond_as_one(void **state)
{
    enum { APPS = 80, USERS = 1000 };
    struct user_tally *all = user_tally_create(0);
    for (uint32_t app = 1; app <= APPS; app++) {
        struct user_tally *one = tally_of(app, 0, app % 10 == 0 ? USERS : 10);
        assert_int_equal(user_tally_merge(all, one), 0);
        user_tally_destroy(one);
    }
    assert_int_equal(all->count, USER_TALLY_APPS);
    cluster_take_tally(net.nodes[0].cluster, all);
    net_run(20000);
    assert_int_equal(cluster_users(net.nodes[2].cluster, 7), 10);
    assert_in_range(cluster_users(net.nodes[2].cluster, 20), 900, 1100);
    assert_int_equal(cluster_users(net.nodes[2].cluster, APPS), 0);
    uint64_t others = cluster_users(net.nodes[2].cluster, USER_TALLY_OTHERS);
    assert_in_range(others, 1900, 2400); /* of 64 to 80 */
    assert_in_range(cluster_all_users(net.nodes[2].cluster), 7900, 9500);
}

static void beacon_from(uint32_t boot, const struct cluster_beacon *beacon)
{
    struct buf body = {0};
    assert_int_equal(cluster_write_beacon(&body, beacon), 0);
    members_on_beacon(net.nodes[0].cluster, 0, boot, buf_str(&body));
    buf_fini(&body);
}

/* A node of before this was told: the number that it says is added, as nobody knows who they are.
 */
static void a_node_of_an_earlier_version_adds_what_it_says(void **state)
{
    struct cluster_beacon beacon = {.state = CLUSTER_READY,
                                    .seq = 1,
                                    .queues = NET_QUEUES,
                                    .layout = 1,
                                    .users = 33,
                                    .node = STR("old"),
                                    .version = STR("0.0.9")};
    have(0, APP_A, 0, 7);
    beacon_from(4242, &beacon);
    net_run(200);
    assert_int_equal(cluster_all_users(net.nodes[0].cluster), 40);
    assert_int_equal(cluster_users(net.nodes[0].cluster, APP_A), 7);
}

/* As while secrets are exchanged: nobody can tell that they are the same users. */
static void users_under_other_keys_are_counted_by_themselves(void **state)
{
    struct buf users = {0};
    struct buf count = {0};
    struct user_tally *tally = tally_of(APP_A, 0, 5);
    assert_int_equal(hll_write(&count, user_tally_find(tally, APP_A)), 0);
    struct cluster_users_item item = {APP_A, buf_str(&count)};
    assert_int_equal(cluster_write_users(&users, &item), 0);
    struct cluster_beacon beacon = {.state = CLUSTER_READY,
                                    .seq = 1,
                                    .queues = NET_QUEUES,
                                    .layout = 1,
                                    .tells_users = true,
                                    .key_tag = (uint8_t)(event_test_space.tag + 1),
                                    .user_counts = buf_str(&users),
                                    .node = STR("new"),
                                    .version = STR("1.0.0")};
    cluster_take_tally(net.nodes[0].cluster, tally);
    beacon_from(4242, &beacon);
    net_run(200);
    assert_int_equal(cluster_all_users(net.nodes[0].cluster), 10);
    buf_fini(&users);
    buf_fini(&count);
}

static void what_can_not_be_read_is_counted_and_left(void **state)
{
    struct buf users = {0};
    struct cluster_users_item bad = {APP_A, STR("\2too short")};
    struct cluster_users_item good = {APP_B, STR("\1abcd")};
    cluster_write_users(&users, &bad);
    cluster_write_users(&users, &good);
    struct cluster_beacon beacon = {.state = CLUSTER_READY,
                                    .seq = 1,
                                    .queues = NET_QUEUES,
                                    .layout = 1,
                                    .tells_users = true,
                                    .key_tag = event_test_space.tag,
                                    .user_counts = buf_str(&users),
                                    .node = STR("odd"),
                                    .version = STR("1.0.0")};
    beacon_from(4242, &beacon);
    net_run(200);
    assert_int_equal(cluster_get_stats(net.nodes[0].cluster)->bad, 1);
    assert_int_equal(cluster_all_users(net.nodes[0].cluster), 1);
    buf_fini(&users);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_three, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_user_with_sessions_on_several_nodes_counts_once),
        TEST(the_same_name_in_two_apps_is_two_users),
        TEST(who_leaves_is_counted_no_more),
        TEST(users_of_a_node_that_is_gone_are_not_counted),
        TEST(many_users_are_counted_within_a_few_percent),
        TEST(workers_of_a_node_are_put_together),
        TEST(an_app_is_counted_anew_once_a_second_at_most),
        TEST(many_apps_are_told_in_turns_and_those_beyond_as_one),
        TEST(a_node_of_an_earlier_version_adds_what_it_says),
        TEST(users_under_other_keys_are_counted_by_themselves),
        TEST(what_can_not_be_read_is_counted_and_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
