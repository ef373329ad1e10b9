#include "bus/rocketmq_test_help.h"

static void it_makes_the_topic_and_is_up_when_all_queues_are_read(void **state)
{
    begin_and_wait();
    assert_int_equal(test.fake.asked[ROCKETMQ_CREATE_TOPIC], 1);
    assert_int_equal(test.fake.topic_queues, QUEUES);
    assert_int_equal(said("epoch"), 1);
    assert_int_equal(said("start 0 0"), 1);
    assert_int_equal(said("start 1 0"), 1);
    assert_true(line_of("epoch") < line_of("start"));
    assert_true(line_of("start 1 0") < line_of("queue 1 up"));
    assert_true(line_of("queue 1 up") < line_of("up"));
}

static void what_was_there_comes_before_it_is_up(void **state)
{
    arrive(0, "a");
    arrive(0, "b");
    arrive(1, "c");
    begin_and_wait();
    assert_int_equal(line_of("record 0 1 a") + 1, line_of("record 0 2 b"));
    assert_true(line_of("record 0 2 b") < line_of("up"));
    assert_true(line_of("record 1 1 c") < line_of("up"));
}

static void a_start_in_the_middle_says_from_where(void **state)
{
    for (int i = 0; i < 4; i++) {
        arrive(0, "x");
        test.fake.queues[0].messages[i].stored_ms -= i < 3 ? 100000 : 0;
    }
    begin_and_wait();
    assert_true(line_of("start 0 3+") < line_of("record 0 4 x"));
    assert_int_equal(said("record"), 1);
}

/* A 4.9 broker may find the message before. */
static void what_is_older_than_the_window_is_passed_over(void **state)
{
    arrive(0, "old");
    arrive(0, "new");
    test.fake.queues[0].messages[0].stored_ms = 1;
    test.fake.finds_one_before = true;
    begin_and_wait();
    assert_int_equal(said("start 0 1+"), 1);
    assert_int_equal(said("record 0 1"), 0);
    assert_int_equal(said("record 0 2 new"), 1);
}

static void what_is_published_is_acknowledged_and_comes_back(void **state)
{
    begin_and_wait();
    publish(1, "hello");
    UNTIL_SAID("record 1 1 hello");
    UNTIL_SAID("done 1 ok 1");
    publish(1, "again");
    UNTIL_SAID("done 1 ok 2");
    UNTIL_SAID("record 1 2 again");
    assert_int_equal(test.bus->stats.bytes_out, 10);
    assert_int_equal(test.bus->stats.bytes_in, 10);
}

static void binary_headers_are_understood(void **state)
{
    test.fake.is_binary = true;
    begin_and_wait();
    publish(0, "x");
    UNTIL_SAID("done 0 ok 1");
    UNTIL_SAID("record 0 1 x");
}

static void what_the_broker_asks_is_answered_but_not_what_goes_one_way(void **state)
{
    begin_and_wait();
    struct buf out = {0};
    rocketmq_frame_write(&out, 40, 900, ROCKETMQ_FLAG_ONEWAY, NULL, 0, 0);
    rocketmq_frame_write(&out, 307, 901, 0, NULL, 0, 0);
    rocketmq_frame_write(&out, 0, 77777, ROCKETMQ_FLAG_RESPONSE, NULL, 0, 0); /* nobody waits */
    test.fake.asked[0] = 0;
    send_raw(out.data, out.len);
    buf_fini(&out);
    UNTIL(test.fake.asked[0] == 2); /* of the name server's connection, and of the broker's */
    publish(0, "x");
    UNTIL_SAID("done 0 ok");
}

static void a_broker_that_is_away_at_start_is_not_waited_for_for_ever(void **state)
{
    test.values[2].text_count = 2; /* broker-b does not exist */
    uint64_t begun_ms = clock_monotonic_ms();
    begin_and_wait();
    assert_true(clock_monotonic_ms() - begun_ms >= test.values[3].number);
    assert_int_equal(said("start 0 0"), 1);
    assert_int_equal(said("start 1 0"), 0);
    assert_int_equal(said("queue 1"), 0);
}

static void a_queue_that_appears_later_is_read_from_the_windows_start(void **state)
{
    test.values[2].text_count = 2;
    begin_and_wait();
    test.fake.other = &test.second;
    test.second.topic_queues = QUEUES;
    fake_append(&test.second, 0, STR("days old"))->stored_ms -= 100000;
    fake_append(&test.second, 0, STR("in the window"));
    UNTIL_SAID("queue 1 up");
    UNTIL_SAID("record 1 2 in the window");
    assert_int_equal(said("start 1 1+"), 1);
    assert_int_equal(said("record"), 1);
    assert_int_equal(said("hole"), 0);
}

static void requests_are_signed_when_there_is_a_key(void **state)
{
    test.values[4].text = STR("gw");
    test.values[5].text = STR("secret12");
    test.fake.access_key = "gw";
    begin_and_wait();
    publish(0, "x");
    UNTIL_SAID("done 0 ok");
}

static void without_a_broker_it_says_why_and_recovers(void **state)
{
    test.fake.is_without_route = true;
    begin();
    UNTIL_SAID("down broker broker-a: no name server knows it");
    test.fake.is_without_route = false;
    UNTIL_SAID("up");
}

static void a_name_server_that_is_away_is_passed_over(void **state)
{
    test.servers[1] = test.servers[0];
    test.servers[0] = STR("127.0.0.1:1");
    test.values[0].text_count = 2;
    begin_and_wait();
}

static void what_is_under_way_at_the_end_is_canceled(void **state)
{
    begin_and_wait();
    test.fake.is_mute = true;
    publish(0, "x");
    bus_destroy(test.bus);
    test.bus = NULL;
    assert_int_equal(said("done 0 canceled"), 1);
}

static void assert_refused(size_t option, const char *problem)
{
    size_t got;
    const char *text;
    assert_int_equal(bus_rocketmq_engine.check(&test.options, &got, &text), ERR_SYNTAX);
    assert_int_equal(got, option);
    assert_string_equal(text, problem);
    assert_int_equal(bus_rocketmq_engine.check(&test.options, NULL, NULL), ERR_SYNTAX);
}

static void options_that_mean_nothing_are_refused(void **state)
{
    assert_int_equal(bus_rocketmq_engine.check(&test.options, NULL, NULL), 0);
    test.servers[0] = STR("nowhere");
    assert_refused(0, "must be addresses like \"10.0.0.1:9876\"");
    test.values[0].text_count = 0;
    assert_refused(0, "must name at least one");
    set_options();
    test.values[1].text = STR("a b");
    assert_refused(1, "must be 1 to 100 letters, digits, hyphens and underscores");
    set_options();
    test.values[2].text_count = 0;
    assert_refused(2, "must name at least one");
    test.values[2].text_count = 2;
    test.brokers[1] = test.brokers[0];
    assert_refused(2, "names a broker twice");
    test.brokers[1] = STR("10.0.0.1:10911");
    assert_refused(2,
                   "must be names of brokers (brokerName in their configuration), not addresses");
    test.options.queues = 1;
    assert_refused(2, "are more than there are queues (bus.queues)");
    set_options();
    test.values[4].text = STR("key");
    assert_refused(4, "needs a secret_key");
    set_options();
    test.values[5].text = STR("secret");
    assert_refused(5, "needs an access_key");
    set_options();
    test.values[7].text = STR("/ca.pem");
    assert_refused(7, "needs tls: true");
}

static void memory_that_is_out_at_any_place_of_the_making_leaks_nothing(void **state)
{
    for (unsigned long n = 1;; n++) {
        mem_fail_nth(n);
        int err = bus_rocketmq_engine.create(&test.bus, test.loop, &test.options, &callbacks,
                                             &test);
        bool was_reached = !mem_fail_pending();
        mem_fail_nth(0);
        if (!err) {
            bus_destroy(test.bus);
            test.bus = NULL;
        }
        if (!was_reached) {
            return;
        }
    }
}

static void nodes_with_another_layout_differ(void **state)
{
    begin();
    uint64_t layout = test.bus->layout;
    bus_destroy(test.bus);
    test.brokers[0] = STR("broker-c");
    begin();
    assert_true(test.bus->layout != layout);
    bus_destroy(test.bus);
    test.brokers[0] = STR("broker-a");
    begin();
    assert_true(test.bus->layout == layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_makes_the_topic_and_is_up_when_all_queues_are_read),
        TEST(what_was_there_comes_before_it_is_up),
        TEST(a_start_in_the_middle_says_from_where),
        TEST(what_is_older_than_the_window_is_passed_over),
        TEST(what_is_published_is_acknowledged_and_comes_back),
        TEST(binary_headers_are_understood),
        TEST(what_the_broker_asks_is_answered_but_not_what_goes_one_way),
        TEST(a_broker_that_is_away_at_start_is_not_waited_for_for_ever),
        TEST(a_queue_that_appears_later_is_read_from_the_windows_start),
        TEST(requests_are_signed_when_there_is_a_key),
        TEST(without_a_broker_it_says_why_and_recovers),
        TEST(a_name_server_that_is_away_is_passed_over),
        TEST(what_is_under_way_at_the_end_is_canceled),
        TEST(options_that_mean_nothing_are_refused),
        TEST(memory_that_is_out_at_any_place_of_the_making_leaks_nothing),
        TEST(nodes_with_another_layout_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
