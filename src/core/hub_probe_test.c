/* Times of what is on its way: of some events of this node, and of others' records. */
#include "core/hub_push_test_help.h"

enum { WALL_AHEAD_MS = 1000000 };

static struct publish *push_at(uint64_t started_us)
{
    struct publish *publish = hub_test_make_push(1);
    publish->started_us = started_us;
    hub_test_push(publish);
    return publish;
}

/* What is under way comes back and is acknowledged; worker 0 has it then. */
static void come_back(uint64_t now_us)
{
    hub_set_now(hub_test.hub, now_us / 1000, now_us);
    hub_test_accept(0);
    hub_flush(hub_test.hub, now_us / 1000, now_us);
}

/* Of the messages that worker 0 has, how many have a way, and the last one's. */
static int ways(uint32_t *out_way_us)
{
    enum ring_kind kind;
    int count = 0;
    for (struct message *message = ring_pop(&hub_link(hub_test.hub, 0)->ring, &kind); message;
         message = ring_pop(&hub_link(hub_test.hub, 0)->ring, &kind)) {
        assert_int_equal(kind, RING_MESSAGE);
        if (message->way_us) {
            *out_way_us = message->way_us;
            count++;
        }
        message_unref(message);
    }
    return count;
}

static int start(void **state)
{
    hub_test_open(64);
    hub_test_tell(0, event_test_key_of(TARGET_USER, "a"), INTEREST_ADD);
    return 0;
}

static void a_message_that_comes_back_knows_how_long_it_took(void **state)
{
    uint32_t way_us = 0;
    struct publish *publish = push_at(1000);
    hub_flush(hub_test.hub, 2, 2000);
    come_back(5000);
    assert_int_equal(hub_test.returned, 1);
    assert_int_equal(hub_test.returned_sent_us, 2000);
    assert_int_equal(ways(&way_us), 1);
    assert_int_equal(way_us, 4000);
    publish_destroy(publish);
}

static void of_a_record_one_message_is_timed(void **state)
{
    enum { PUSHES = 6 };
    uint32_t way_us = 0;
    struct publish *pushes[PUSHES];
    for (int i = 0; i < PUSHES; i++) {
        pushes[i] = push_at(1000);
    }
    hub_flush(hub_test.hub, 2, 2000);
    come_back(3000);
    assert_int_equal(hub_test.returned, 1);
    assert_int_equal(ways(&way_us), 1);
    for (int i = 0; i < PUSHES; i++) {
        publish_destroy(pushes[i]);
    }
}

static void what_has_no_start_is_not_timed(void **state)
{
    uint32_t way_us;
    struct publish *publish = push_at(0);
    hub_flush(hub_test.hub, 2, 2000);
    come_back(3000);
    assert_int_equal(hub_test.returned, 0);
    assert_int_equal(ways(&way_us), 0);
    publish_destroy(publish);
}

/* More records than are remembered were lost on the way: those behind are timed again. */
static void what_never_comes_back_is_passed_over(void **state)
{
    enum { LOST = HUB_PROBES + 3 };
    uint32_t way_us = 0;
    for (int i = 0; i < LOST; i++) {
        struct publish *publish = push_at(1000);
        hub_flush(hub_test.hub, 2, 2000);
        hub_test_finish(0, 0, (struct bus_pos){0, 0});
        hub_flush(hub_test.hub, 2, 2000);
        publish_destroy(publish);
    }
    struct publish *publish = push_at(7000);
    hub_flush(hub_test.hub, 8, 8000);
    come_back(9000);
    assert_int_equal(hub_test.returned, 1);
    assert_int_equal(hub_test.returned_sent_us, 8000);
    assert_int_equal(ways(&way_us), 1);
    assert_int_equal(way_us, 2000);
    publish_destroy(publish);
}

static void of_a_record_of_another_node_the_age_is_told(void **state)
{
    struct event event = event_test_make(1, "1");
    event.time_ms = WALL_AHEAD_MS + 70;
    hub_test_receive_event(0, event, "u:a");
    assert_int_equal(hub_test.foreign, 0); /* what the wall clock says is not known yet */
    hub_set_wall_offset(hub_test.hub, WALL_AHEAD_MS);
    hub_set_now(hub_test.hub, 100, 100000);
    event.header.counter = 2;
    hub_test_receive_event(0, event, "u:a");
    assert_int_equal(hub_test.foreign, 1);
    assert_int_equal(hub_test.foreign_ms, 30);
    event.header.counter = 3;
    event.time_ms = WALL_AHEAD_MS + 500; /* its clock is ahead of ours */
    hub_test_receive_event(0, event, "u:a");
    assert_int_equal(hub_test.foreign, 2);
    assert_int_equal(hub_test.foreign_ms, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, hub_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_that_comes_back_knows_how_long_it_took),
        TEST(of_a_record_one_message_is_timed),
        TEST(what_has_no_start_is_not_timed),
        TEST(what_never_comes_back_is_passed_over),
        TEST(of_a_record_of_another_node_the_age_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
