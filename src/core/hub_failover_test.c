/* Which queue a push goes to while brokers are away. */
#include <stdio.h>

#include "core/hub_push_test_help.h"

enum { AFTER_MS = 500, HOME = 0 };

static enum hub_queue_state told[HUB_TEST_QUEUES];
static int tellings;

static void on_queue_state(void *owner, uint32_t queue, enum hub_queue_state state)
{
    told[queue] = state;
    tellings++;
}

static const struct hub_callbacks callbacks = {.wake = hub_test_wake,
                                               .give_back = hub_test_give_back,
                                               .on_bus_state = hub_test_on_state,
                                               .on_queue_state = on_queue_state};

static int setup(void **state)
{
    hub_test_open(64);
    hub_test.bus.failover_after_ms = AFTER_MS;
    hub_test.hub->callbacks = &callbacks;
    tellings = 0;
    return 0;
}

static void lose_queue(uint32_t queue)
{
    hub_bus_callbacks.on_queue_state(hub_test.hub, queue, false);
}

static struct publish *push_to_home(void)
{
    struct publish *publish = hub_test_make_push(1);
    hub_test_push(publish);
    return publish;
}

static uint32_t queue_under_way(void)
{
    for (uint32_t q = 0; q < HUB_TEST_QUEUES; q++) {
        if (hub_test.under_way[q]) {
            return q;
        }
    }
    return HUB_TEST_QUEUES;
}

static void fail_home_over(void)
{
    lose_queue(HOME);
    hub_tick(hub_test.hub, 1000);
    hub_tick(hub_test.hub, 1000 + AFTER_MS);
}

static void a_queue_that_is_away_for_a_moment_keeps_its_keys(void **state)
{
    lose_queue(HOME);
    hub_tick(hub_test.hub, 1000);
    hub_tick(hub_test.hub, 1000 + AFTER_MS - 1);
    struct publish *publish = push_to_home();
    hub_test_flush(1000 + AFTER_MS - 1);
    assert_int_equal(queue_under_way(), HOME);
    assert_int_equal(told[HOME], HUB_QUEUE_DOWN);
    hub_test_accept(HOME);
    hub_test_flush(1600);
    publish_destroy(publish);
}

static void then_they_go_to_another_as_strays(void **state)
{
    fail_home_over();
    assert_int_equal(told[HOME], HUB_QUEUE_FAILED_OVER);
    struct publish *publish = push_to_home();
    hub_test_flush(1600);
    uint32_t queue = queue_under_way();
    assert_int_not_equal(queue, HOME);
    assert_int_equal(publish->parts[0].queue, queue);
    assert_true(hub_test.under_way[queue]->record.ptr[1] & EVENT_IS_STRAY);
    hub_test_accept(queue);
    hub_test_flush(1601);
    assert_int_equal(publish->verdict, PUBLISH_ACCEPTED);
    assert_int_equal(atomic_load(&hub_get_stats(hub_test.hub)->failed_over), 1);
    assert_int_equal(atomic_load(&hub_get_stats(hub_test.hub)->queues_failed_over), 1 << HOME);
    publish_destroy(publish);
}

static uint32_t choose_for(const char *user, uint64_t secret)
{
    struct target_space space = event_test_space;
    space.keys.k0 = secret;
    struct publish *publish = publish_create(1);
    struct publish_part *part = &publish->parts[0];
    struct event event = event_test_make(0, "1");
    struct target target = {TARGET_USER, str_of(user)};
    uint64_t key = target_key(&space, EVENT_TEST_APP, target.kind, target.name);
    assert_int_equal(event_encode(&part->event, &event, &target, &key, 1, NULL, 0), 0);
    part->queue = HOME;
    hub_choose_queue(hub_test.hub, part);
    uint32_t queue = part->queue;
    publish_destroy(publish);
    return queue;
}

/* As on nodes of which one has the next secret already. */
static void the_order_does_not_hang_on_the_secret(void **state)
{
    bool is_used[HUB_TEST_QUEUES] = {false};
    fail_home_over();
    for (int i = 0; i < 32; i++) {
        char user[16];
        snprintf(user, sizeof(user), "%d", i);
        uint32_t queue = choose_for(user, 1);
        assert_int_not_equal(queue, HOME);
        assert_int_equal(choose_for(user, 2), queue);
        is_used[queue] = true;
    }
    for (uint32_t q = 0; q < HUB_TEST_QUEUES; q++) {
        assert_int_equal(is_used[q], q != HOME);
    }
}

static void what_waits_goes_along_and_what_is_under_way_stays(void **state)
{
    struct publish *under_way = push_to_home();
    hub_test_flush(900);
    struct publish *waiting[3] = {push_to_home(), push_to_home(), push_to_home()};
    hub_test_flush(901);
    fail_home_over();
    hub_test_flush(1600);
    assert_non_null(hub_test.under_way[HOME]);
    for (int i = 0; i < 3; i++) {
        assert_int_not_equal(waiting[i]->parts[0].queue, HOME);
    }
    hub_test_accept(waiting[0]->parts[0].queue);
    hub_test_finish(HOME, ERR_TIMEOUT, (struct bus_pos){0, 0});
    hub_test_flush(1601);
    assert_int_equal(hub_test.done, 4);
    assert_int_equal(under_way->verdict, PUBLISH_FAILED);
    publish_destroy(under_way);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(waiting[i]->verdict, PUBLISH_ACCEPTED);
        publish_destroy(waiting[i]);
    }
}

static void a_queue_that_is_back_has_its_keys_again(void **state)
{
    fail_home_over();
    hub_bus_callbacks.on_queue_state(hub_test.hub, HOME, true);
    assert_int_equal(told[HOME], HUB_QUEUE_UP);
    struct publish *publish = push_to_home();
    hub_test_flush(1600);
    assert_int_equal(queue_under_way(), HOME);
    assert_false(hub_test.under_way[HOME]->record.ptr[1] & EVENT_IS_STRAY);
    hub_test_accept(HOME);
    hub_test_flush(1601);
    publish_destroy(publish);
}

static void where_all_are_away_each_waits_at_home(void **state)
{
    for (uint32_t q = 0; q < HUB_TEST_QUEUES; q++) {
        lose_queue(q);
    }
    hub_tick(hub_test.hub, 1000);
    hub_tick(hub_test.hub, 1000 + 10 * AFTER_MS);
    struct publish *publish = push_to_home();
    assert_int_equal(publish->parts[0].queue, HOME);
    publish->deadline_ms = 8000;
    hub_tick(hub_test.hub, 8000);
    hub_test_flush(8000);
    assert_int_equal(publish->verdict, PUBLISH_FAILED);
    publish_destroy(publish);
}

static void a_second_broker_that_goes_hands_on_what_waits_for_it(void **state)
{
    fail_home_over();
    struct publish *first = push_to_home();
    hub_test_flush(1600);
    uint32_t second_home = first->parts[0].queue;
    struct publish *publish = push_to_home(); /* waits behind the first */
    lose_queue(second_home);
    hub_tick(hub_test.hub, 1700);
    hub_tick(hub_test.hub, 1700 + AFTER_MS);
    assert_int_not_equal(publish->parts[0].queue, second_home);
    assert_int_not_equal(publish->parts[0].queue, HOME);
    hub_test_flush(2300);
    hub_test_accept(publish->parts[0].queue);
    hub_test_finish(second_home, ERR_TIMEOUT, (struct bus_pos){0, 0});
    hub_test_flush(2301);
    assert_int_equal(publish->verdict, PUBLISH_ACCEPTED);
    publish_destroy(first);
    publish_destroy(publish);
}

static void a_push_that_stays_waits_for_its_queue(void **state)
{
    fail_home_over();
    struct publish *publish = hub_test_make_push(1);
    publish->stays = true;
    hub_test_push(publish);
    hub_tick(hub_test.hub, 1700);
    hub_test_flush(1700);
    assert_int_equal(queue_under_way(), HOME);
    hub_test_accept(HOME);
    hub_test_flush(1701);
    publish_destroy(publish);
}

static void never_means_never(void **state)
{
    hub_test.bus.failover_after_ms = UINT64_MAX;
    lose_queue(HOME);
    hub_tick(hub_test.hub, 1000);
    hub_tick(hub_test.hub, 1000000);
    struct publish *publish = push_to_home();
    assert_int_equal(publish->parts[0].queue, HOME);
    hub_test_flush(1000000);
    hub_test_accept(HOME);
    hub_test_flush(1000001);
    publish_destroy(publish);
}

static void the_same_state_again_is_not_told(void **state)
{
    lose_queue(HOME);
    lose_queue(HOME);
    assert_int_equal(tellings, 1);
}

#define WITH_HUB(test) cmocka_unit_test_setup_teardown(test, setup, hub_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_HUB(a_queue_that_is_away_for_a_moment_keeps_its_keys),
        WITH_HUB(then_they_go_to_another_as_strays),
        WITH_HUB(the_order_does_not_hang_on_the_secret),
        WITH_HUB(what_waits_goes_along_and_what_is_under_way_stays),
        WITH_HUB(a_queue_that_is_back_has_its_keys_again),
        WITH_HUB(where_all_are_away_each_waits_at_home),
        WITH_HUB(a_second_broker_that_goes_hands_on_what_waits_for_it),
        WITH_HUB(a_push_that_stays_waits_for_its_queue),
        WITH_HUB(never_means_never),
        WITH_HUB(the_same_state_again_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
