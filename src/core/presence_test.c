#include "core/presence.h"

#include "core/cluster_test_help.h"
#include "core/presence_private.h"

enum { GRACE_MS = 2000, SOME_USERS = 8, APP = 77, MAX_TOLD = 4096 };

/* Changes that the app was told, in order. */
struct told {
    uint32_t teller;
    bool is_online;
    char user[24];
    uint32_t boot;
    uint64_t serial;
    uint64_t at_ms;
};

static struct told told[MAX_TOLD];
static uint32_t told_count;

static bool memory_is_out; /* when the next change is to be told, once */

static int on_user(struct net_node *node, const struct presence_change *change)
{
    if (memory_is_out) {
        memory_is_out = false;
        return ERR_NO_MEMORY;
    }
    assert_true(told_count < MAX_TOLD);
    struct told *at = &told[told_count++];
    *at = (struct told){.teller = node->index,
                        .is_online = change->is_online,
                        .boot = change->boot,
                        .serial = change->serial,
                        .at_ms = net.now_ms};
    assert_int_equal(change->app, APP);
    snprintf(at->user, sizeof(at->user), "%.*s", STR_ARG(change->user));
    return 0;
}

static uint64_t key_of(const char *user)
{
    return target_key(&event_test_space, APP, TARGET_USER, str_of(user));
}

/* The worker of the node has its first session of the user, or none any more. */
static void note_of(uint32_t node, uint16_t worker, const char *user, bool is_there)
{
    struct presence_note *made = presence_note_create(key_of(user), str_of(user));
    assert_non_null(made);
    made->app = APP;
    made->grace_ms = GRACE_MS;
    made->worker = worker;
    made->is_there = is_there;
    presence_take_note(net.nodes[node].cluster, made);
}

static void note(uint32_t node, const char *user, bool is_there)
{
    note_of(node, 0, user, is_there);
}

static bool knows(uint32_t node, const char *user)
{
    struct presence_state state;
    return presence_find(net.nodes[node].cluster, key_of(user), &state);
}

static void follow(uint32_t node)
{
    presence_set(net.nodes[node].cluster, true, 1000);
}

static int open_three(void **state)
{
    told_count = 0;
    net_open(3);
    net.on_user = on_user;
    for (uint32_t i = 0; i < 3; i++) {
        follow(i);
    }
    net_run(5000);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(net.nodes[i].cluster->presence->keeps);
    }
    return 0;
}

static int close_all(void **state)
{
    net_close();
    return 0;
}

static void expect(uint32_t index, const char *user, bool is_online)
{
    assert_true(index < told_count);
    assert_string_equal(told[index].user, user);
    assert_int_equal(told[index].is_online, is_online);
}

static bool is_same_time(const struct told *a, const struct told *b)
{
    return a->boot == b->boot && a->serial == b->serial;
}

static void a_user_is_told_once_when_he_comes_and_once_when_he_has_gone(void **state)
{
    note(1, "ann", true);
    net_run(1000);
    assert_int_equal(told_count, 1);
    expect(0, "ann", true);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(knows(i, "ann"));
    }
    note(1, "ann", false);
    uint64_t gone_ms = net.now_ms;
    net_run(GRACE_MS - 200);
    assert_int_equal(told_count, 1);
    assert_true(knows(0, "ann"));
    net_run(1000);
    assert_int_equal(told_count, 2);
    expect(1, "ann", false);
    assert_true(told[1].at_ms - gone_ms >= GRACE_MS);
    assert_true(is_same_time(&told[0], &told[1]));
    assert_int_equal(told[0].teller, told[1].teller);
    for (uint32_t i = 0; i < 3; i++) {
        assert_false(knows(i, "ann"));
        assert_int_equal(presence_users(net.nodes[i].cluster), 0);
    }
    note(1, "ann", true);
    net_run(1000);
    assert_int_equal(told_count, 3);
    assert_false(is_same_time(&told[0], &told[2]));
}

static void different_users_are_told_by_different_nodes(void **state)
{
    char name[24];
    uint32_t by[3] = {0};
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "user-%d", i);
        note(0, name, true);
    }
    net_run(1000);
    assert_int_equal(told_count, 60);
    for (uint32_t i = 0; i < told_count; i++) {
        by[told[i].teller]++;
    }
    assert_true(by[0] > 5 && by[1] > 5 && by[2] > 5);
}

static void a_reload_and_another_node_are_no_change(void **state)
{
    note(0, "ann", true);
    net_run(1000);
    note(0, "ann", false);
    net_run(GRACE_MS / 2);
    note(0, "ann", true); /* a reload */
    net_run(GRACE_MS * 2);
    note(2, "ann", true); /* a second device */
    net_run(1000);
    note(0, "ann", false);
    net_run(GRACE_MS * 2);
    note(2, "ann", false);
    net_run(GRACE_MS / 2);
    note(1, "ann", true); /* moved on */
    net_run(GRACE_MS * 2);
    assert_int_equal(told_count, 1);
}

static void several_workers_of_a_node_count_as_one(void **state)
{
    note_of(0, 0, "ann", true);
    note_of(0, 63, "ann", true);
    net_run(1000);
    note_of(0, 0, "ann", false);
    net_run(GRACE_MS * 2);
    assert_int_equal(told_count, 1);
    note_of(0, 63, "ann", false);
    note_of(0, 63, "ann", false); /* of nobody that is known: no harm */
    net_run(GRACE_MS * 2);
    assert_int_equal(told_count, 2);
}

static void a_worker_whose_word_found_no_room_takes_nobody_away(void **state)
{
    presence_set(net.nodes[0].cluster, true, 0);
    note_of(0, 0, "ann", true); /* finds no room */
    presence_set(net.nodes[0].cluster, true, 1000);
    note_of(0, 1, "ann", true);
    net_run(1000);
    note_of(0, 0, "ann", false);
    net_run(GRACE_MS * 2);
    assert_int_equal(told_count, 1);
    assert_true(knows(0, "ann") && knows(2, "ann"));
}

static void users_of_a_node_that_dies_are_told(void **state)
{
    note(2, "ann", true);
    note(2, "bob", true);
    net_run(1000);
    assert_int_equal(told_count, 2);
    net_kill(&net.nodes[2]);
    note(0, "bob", true); /* comes back at once */
    net_run(CLUSTER_SILENCE_MS + PRESENCE_GONE_GRACE_MS - 1500);
    assert_true(knows(0, "ann") && knows(1, "ann"));
    for (uint32_t i = 2; i < told_count; i++) {
        assert_true(told[i].is_online); /* told again, since its teller is gone */
    }
    uint32_t before = told_count;
    net_run(3000);
    assert_int_equal(told_count, before + 1);
    expect(before, "ann", false);
    assert_true(knows(0, "bob") && !knows(0, "ann"));
}

static void what_a_dead_node_was_to_tell_another_tells(void **state)
{
    char name[24];
    for (uint32_t teller = 3, i = 0; teller != 2; i++) {
        snprintf(name, sizeof(name), "user-%u", i);
        uint32_t before = told_count;
        note(0, name, true);
        net_run(300);
        assert_int_equal(told_count, before + 1);
        teller = told[before].teller;
    }
    net_run(6000);
    note(0, name, false);
    net_run(200);
    net_kill(&net.nodes[2]); /* before the grace is over */
    uint32_t before = told_count;
    net_run(GRACE_MS + CLUSTER_SILENCE_MS + 2000);
    assert_int_equal(told_count, before + 1);
    expect(before, name, false);
}

static void what_found_no_memory_another_node_tells(void **state)
{
    memory_is_out = true;
    note(0, "ann", true);
    net_run(1000);
    assert_false(memory_is_out);
    assert_int_equal(told_count, 0);
    net_run(9000);
    assert_true(told_count > 0);
    expect(0, "ann", true);
}

static void a_node_that_starts_late_knows_and_tells(void **state)
{
    char name[24];
    net_kill(&net.nodes[2]);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "user-%d", i);
        note(0, name, true);
    }
    net_run(30000);
    uint32_t before = told_count;
    net_start_as(2, 2002, 1);
    follow(2);
    net_run(8000);
    assert_int_equal(presence_users(net.nodes[2].cluster), 40);
    assert_true(net.nodes[2].cluster->presence->keeps);
    assert_int_equal(told_count, before); /* it is no news */
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "user-%d", i);
        note(0, name, false);
    }
    net_run(GRACE_MS + 1000);
    assert_int_equal(told_count, before + 40);
    uint32_t by_it = 0;
    for (uint32_t i = before; i < told_count; i++) {
        by_it += told[i].teller == 2;
    }
    assert_true(by_it > 3);
}

static void a_node_that_leaves_hands_over(void **state)
{
    note(2, "ann", true);
    net_run(1000);
    note(0, "ann", true);
    note(2, "ann", false);
    cluster_leave(net.nodes[2].cluster, net.now_ms);
    net_run(10000);
    uint32_t before = told_count;
    note(0, "ann", false);
    net_run(GRACE_MS + 1000);
    assert_int_equal(told_count, before + 1);
    expect(before, "ann", false);
    assert_int_not_equal(told[before].teller, 2);
}

static void what_could_not_be_said_is_said_later(void **state)
{
    note(0, "ann", true);
    note(0, "bob", true);
    net_run(1000);
    net.nodes[0].is_cut = true; /* and does not notice: its word waits and fails */
    note(0, "ann", false);
    note(0, "cid", true);
    net_run(3000);
    net.nodes[0].is_cut = false;
    net_run(60000);
    for (uint32_t i = 0; i < 3; i++) {
        assert_false(knows(i, "ann"));
        assert_true(knows(i, "bob") && knows(i, "cid"));
    }
}

static void one_who_came_and_left_unheard_takes_no_room(void **state)
{
    net.nodes[0].is_cut = true;
    note(0, "ann", true);
    net_run(60000); /* its word fails */
    note(0, "ann", false);
    note(0, "bob", true);
    note(0, "bob", false);
    net_run(60000);
    assert_int_equal(presence_users(net.nodes[0].cluster), 0);
    net.nodes[0].is_cut = false;
    net_run(60000);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(presence_users(net.nodes[i].cluster), 0);
    }
}

static void what_was_missed_in_a_hole_is_asked_for(void **state)
{
    note(0, "ann", true);
    net_run(1000);
    note(0, "ann", false);
    note(0, "bob", true);
    for (uint32_t q = 0; q < NET_QUEUES; q++) { /* node 1 never gets to see it */
        hub_flush(net.nodes[0].hub, net.now_ms, net.now_ms * 1000);
        net_write(&net.nodes[0], q);
        net.nodes[1].read[q] = net.count[q];
        hub_bus_callbacks.on_hole(net.nodes[1].hub, q, (struct bus_pos){0, 0},
                                  (struct bus_pos){net.count[q], 0}, BUS_HOLE_LOST);
    }
    net_run(GRACE_MS + 6000);
    assert_true(knows(1, "bob") && !knows(1, "ann"));
    assert_true(knows(2, "bob") && !knows(2, "ann"));
}

static void there_is_room_for_so_many(void **state)
{
    for (uint32_t i = 0; i < 3; i++) {
        presence_set(net.nodes[i].cluster, true, 2);
    }
    note(0, "ann", true);
    note(0, "bob", true);
    note(0, "cid", true);
    net_run(1000);
    assert_int_equal(told_count, 2);
    assert_true(atomic_load(&net.nodes[0].cluster->stats.users_untracked) > 0);
    note(0, "cid", false);
    note(0, "ann", false);
    net_run(GRACE_MS + 1000);
    note(0, "cid", true);
    net_run(1000);
    assert_true(knows(1, "cid"));
}

static void switched_off_a_node_forgets_and_is_forgotten(void **state)
{
    note(0, "ann", true);
    net_run(1000);
    presence_set(net.nodes[0].cluster, false, 1000);
    note(0, "ann", false); /* as workers do then */
    net_run(GRACE_MS + 2000);
    assert_int_equal(presence_users(net.nodes[0].cluster), 0);
    assert_false(knows(1, "ann"));
    uint32_t said = net.count[0] + net.count[1] + net.count[2];
    net_run(1000);
    assert_true(net.count[0] + net.count[1] + net.count[2] - said <= 12); /* beacons alone */
    follow(0);
    note(0, "ann", true);
    net_run(5000);
    assert_true(knows(0, "ann") && knows(1, "ann"));
}

static void a_node_alone_tells_by_itself(void **state)
{
    struct presence_note *made = presence_note_create(key_of("ann"), STR("ann"));
    struct net_node *node = &net.nodes[0];
    told_count = 0;
    net = (struct net){.now_ms = 1000000, .on_user = on_user};
    *node = (struct net_node){.boot = 1000};
    net_create_hub(node, 1);
    struct cluster_options options = {.boot = 1000, .node = STR("n"), .version = STR("1")};
    assert_int_equal(
        cluster_create(&node->cluster, node->hub, &options, &net_cluster_callbacks, node), 0);
    hub_tick(node->hub, net.now_ms);
    follow(0);
    made->app = APP;
    made->grace_ms = GRACE_MS;
    made->is_there = true;
    presence_take_note(node->cluster, made);
    assert_int_equal(told_count, 1);
    note(0, "ann", false);
    hub_tick(node->hub, net.now_ms + GRACE_MS - 100);
    assert_int_equal(told_count, 1);
    hub_tick(node->hub, net.now_ms + GRACE_MS + 100);
    assert_int_equal(told_count, 2);
    net_kill(node);
    assert_int_equal(mem_accounted_total(), 0);
}

/* ---- random histories: what was told last is what is the case, and all nodes know it ---- */

static bool here[NET_NODES][SOME_USERS];
static uint32_t boots;

static const char *name_of(uint32_t user)
{
    static const char *const names[SOME_USERS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    return names[user];
}

static void toggle(uint32_t node, uint32_t user)
{
    if (net.nodes[node].hub && !net.nodes[node].is_stopped) {
        here[node][user] = !here[node][user];
        note(node, name_of(user), here[node][user]);
    }
}

static void mend(void)
{
    for (uint32_t i = 0; i < 3; i++) {
        net.nodes[i].is_cut = false;
    }
    net_run(10000);
}

/* kill -9, but not in the very moment in which it tells: that may be known to the app alone. */
static void restart(uint32_t index)
{
    mend();
    memset(here[index], 0, sizeof(here[index]));
    net_kill(&net.nodes[index]);
    net_start_as(index, ++boots, 1);
    follow(index);
}

static void act(void)
{
    switch (net_roll(40)) {
    case 0: restart(net_roll(3)); break;
    case 1:
        mend(); /* one fault at a time */
        net.nodes[net_roll(3)].is_cut = true;
        break;
    case 2:
    case 3: mend(); break;
    case 4: net_run(net_roll(8000)); break;
    default: toggle(net_roll(3), net_roll(SOME_USERS)); break;
    }
}

static bool is_online(uint32_t user)
{
    return here[0][user] || here[1][user] || here[2][user];
}

/* What the app believes: it may be told the same twice. */
static const struct told *last_told(uint32_t user)
{
    for (uint32_t i = told_count; i > 0; i--) {
        if (strcmp(told[i - 1].user, name_of(user)) == 0) {
            return &told[i - 1];
        }
    }
    return NULL;
}

static void show(uint32_t user)
{
    for (uint32_t i = 0; i < told_count; i++) {
        if (strcmp(told[i].user, name_of(user)) == 0) {
            print_error("%llu: node %u: %s is %s (%u, %llu)\n", (unsigned long long)told[i].at_ms,
                        told[i].teller, told[i].user, told[i].is_online ? "online" : "offline",
                        told[i].boot, (unsigned long long)told[i].serial);
        }
    }
}

static uint32_t online_count(void)
{
    uint32_t count = 0;
    for (uint32_t user = 0; user < SOME_USERS; user++) {
        count += is_online(user);
    }
    return count;
}

static void check_end(uint64_t seed)
{
    for (uint32_t i = 0; i < 3; i++) {
        if (presence_users(net.nodes[i].cluster) != online_count()) {
            fail_msg("seed %llu: node %u keeps %llu users, and %u are online",
                     (unsigned long long)seed, i,
                     (unsigned long long)presence_users(net.nodes[i].cluster), online_count());
        }
    }
    for (uint32_t user = 0; user < SOME_USERS; user++) {
        const struct told *last = last_told(user);
        for (uint32_t i = 0; i < 3; i++) {
            if (knows(i, name_of(user)) != is_online(user)) {
                fail_msg("seed %llu: node %u is wrong about %s", (unsigned long long)seed, i,
                         name_of(user));
            }
        }
        if ((last && last->is_online) != is_online(user)) {
            show(user);
            fail_msg("seed %llu: the app believes otherwise of %s", (unsigned long long)seed,
                     name_of(user));
        }
    }
}

static void run_history(uint64_t seed)
{
    memset(here, 0, sizeof(here));
    open_three(NULL);
    boots = 5000;
    net.dice = seed * 0x9e3779b97f4a7c15u | 1;
    for (int i = 0; i < 60; i++) {
        act();
        net_run(100 + net_roll(300));
    }
    net.dice = 0;
    mend();
    net_run(60000);
    check_end(seed);
    net_close();
}

static void after_any_history_all_agree_with_what_is_the_case(void **state)
{
    const char *wanted = getenv("SIM_SEEDS");
    uint64_t seeds = wanted ? strtoull(wanted, NULL, 10) : 15;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        run_history(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_user_is_told_once_when_he_comes_and_once_when_he_has_gone,
                                        open_three, close_all),
        cmocka_unit_test_setup_teardown(different_users_are_told_by_different_nodes, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(a_reload_and_another_node_are_no_change, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(several_workers_of_a_node_count_as_one, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(a_worker_whose_word_found_no_room_takes_nobody_away,
                                        open_three, close_all),
        cmocka_unit_test_setup_teardown(users_of_a_node_that_dies_are_told, open_three, close_all),
        cmocka_unit_test_setup_teardown(what_a_dead_node_was_to_tell_another_tells, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(what_found_no_memory_another_node_tells, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(a_node_that_starts_late_knows_and_tells, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(a_node_that_leaves_hands_over, open_three, close_all),
        cmocka_unit_test_setup_teardown(what_could_not_be_said_is_said_later, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(one_who_came_and_left_unheard_takes_no_room, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(what_was_missed_in_a_hole_is_asked_for, open_three,
                                        close_all),
        cmocka_unit_test_setup_teardown(there_is_room_for_so_many, open_three, close_all),
        cmocka_unit_test_setup_teardown(switched_off_a_node_forgets_and_is_forgotten, open_three,
                                        close_all),
        cmocka_unit_test(a_node_alone_tells_by_itself),
        cmocka_unit_test(after_any_history_all_agree_with_what_is_the_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
