#include "bus/rocketmq_test_help.h"

static void a_broker_that_hangs_is_down_and_up_again(void **state)
{
    begin_and_wait();
    test.fake.is_mute = true;
    publish(0, "x");
    UNTIL_SAID("queue 0 down");
    UNTIL_SAID("queue 1 down");
    UNTIL_SAID("down");
    test.fake.is_mute = false;
    UNTIL(said("queue 0 up") == 2 && said("up") == 2);
    UNTIL_SAID("done 0 ok");
    assert_int_equal(said("start"), QUEUES);
    assert_int_equal(said("hole"), 0);
}

static void a_silent_broker_is_asked_whether_it_lives(void **state)
{
    begin_and_wait();
    int before = test.fake.asked[ROCKETMQ_GET_MAX_OFFSET];
    UNTIL(test.fake.asked[ROCKETMQ_GET_MAX_OFFSET] > before);
    test.fake.is_mute = true;
    UNTIL_SAID("queue 0 down");
    test.fake.is_mute = false;
    UNTIL(said("queue 0 up") == 2);
}

static void after_a_reconnect_it_goes_on_where_it_was(void **state)
{
    arrive(0, "a");
    begin_and_wait();
    arrive(0, "b");
    UNTIL_SAID("record 0 2 b");
    fake_close_all(&test.fake);
    arrive(0, "c");
    UNTIL_SAID("record 0 3 c");
    UNTIL(said("queue 0 up") == 2);
    assert_int_equal(said("record 0"), 3);
    assert_int_equal(said("hole"), 0);
}

static void what_the_broker_has_dropped_is_a_hole(void **state)
{
    arrive(0, "a");
    begin_and_wait();
    fake_close_all(&test.fake);
    for (int i = 0; i < 5; i++) {
        arrive(0, "lost");
    }
    arrive(0, "kept");
    test.fake.queues[0].min = 6;
    UNTIL_SAID("record 0 7 kept");
    assert_int_equal(said("hole 0 1+ 7 expired"), 1);
    assert_int_equal(said("record"), 2);
}

static void a_queue_that_is_shorter_than_it_was_has_another_history(void **state)
{
    for (int i = 0; i < 3; i++) {
        arrive(0, "a");
    }
    begin_and_wait();
    fake_close_all(&test.fake);
    test.fake.queues[0].max = 0;
    arrive(0, "new");
    UNTIL_SAID("record 0 1 new");
    assert_int_equal(said("hole 0 3+ 1 epoch"), 1);
    UNTIL(said("queue 0 up") == 2);
    assert_true(line_of("hole") < line_of("record 0 1 new"));
    publish(0, "x");
    UNTIL_SAID("done 0 ok 2");
}

static void another_message_in_the_last_ones_place_is_another_history(void **state)
{
    arrive(0, "a");
    arrive(0, "b");
    begin_and_wait();
    fake_close_all(&test.fake);
    test.fake.queues[0].max = 0;
    for (int i = 0; i < 4; i++) {
        arrive(0, "new");
    }
    UNTIL_SAID("record 0 4 new");
    assert_int_equal(said("hole 0 2+ 1 epoch"), 1);
    assert_int_equal(said("record 0 2 new"), 1);
}

static void a_wrong_word_for_the_end_alone_changes_nothing(void **state)
{
    arrive(0, "a");
    begin_and_wait();
    test.fake.refuse[ROCKETMQ_PULL_MESSAGE] = ROCKETMQ_PULL_OFFSET_MOVED; /* without a place */
    test.fake.refuse_times[ROCKETMQ_PULL_MESSAGE] = 2;
    arrive(0, "b");
    UNTIL_SAID("record 0 2 b");
    arrive(0, "c");
    UNTIL_SAID("record 0 3 c");
    assert_int_equal(said("hole"), 0);
    assert_int_equal(said("record"), 3);
}

static void what_is_no_record_is_empty_and_counted(void **state)
{
    begin_and_wait();
    fake_append(&test.fake, 0, STR("crc"))->bad_crc = true;
    fake_append(&test.fake, 0, STR("topic"))->other_topic = true;
    fake_append(&test.fake, 0, STR("packed"))->compressed = true;
    fake_append(&test.fake, 0, STR("form"))->malformed = true;
    arrive(0, "good");
    UNTIL_SAID("record 0 5 good");
    assert_int_equal(said("record"), 5);
    assert_string_equal(test.lines[line_of("record 0 1")], "record 0 1 ");
    assert_string_equal(test.lines[line_of("record 0 4")], "record 0 4 ");
    assert_int_equal(test.bus->stats.skipped, 4);
    assert_int_equal(said("hole"), 0);
}

static void an_answer_that_is_cut_costs_what_cant_be_read_alone(void **state)
{
    begin_and_wait();
    test.fake.cuts_bodies = true;
    fake_append(&test.fake, 0, STR("a"));
    arrive(0, "b");
    UNTIL_SAID("record 0 1 a");
    UNTIL_SAID("record 0 2"); /* comes alone, and is cut again */
    test.fake.cuts_bodies = false;
    arrive(0, "c");
    UNTIL_SAID("record 0 3 c");
    assert_string_equal(test.lines[line_of("record 0 2")], "record 0 2 ");
    assert_int_equal(test.bus->stats.skipped, 1);
}

static void garbage_ends_the_connection_and_a_new_one_follows(void **state)
{
    begin_and_wait();
    send_raw("HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    UNTIL_SAID("queue 0 down");
    UNTIL(said("queue 0 up") == 2);
    arrive(0, "x");
    UNTIL_SAID("record 0 1 x");
}

static void a_broker_that_moves_is_followed(void **state)
{
    arrive(0, "a");
    begin_and_wait();
    memcpy(test.second.queues, test.fake.queues, sizeof(test.fake.queues));
    fake_append(&test.second, 0, STR("b"));
    test.fake.other = &test.second;
    test.fake.is_moved = true;
    fake_close_all(&test.fake); /* at the old place somebody else answers now, or nobody */
    UNTIL_SAID("record 0 2 b");
    UNTIL(engine()->queues[0].is_up);
    publish(0, "c");
    UNTIL_SAID("done 0 ok 3");
    assert_int_equal(test.second.queues[0].max, 3);
    assert_int_equal(said("hole"), 0);
}

static void a_heartbeat_that_is_refused_is_the_reason(void **state)
{
    test.fake.refuse[ROCKETMQ_HEART_BEAT] = ROCKETMQ_NO_PERMISSION;
    test.fake.refuse_times[ROCKETMQ_HEART_BEAT] = -1;
    begin();
    UNTIL_SAID("down");
    assert_non_null(strstr(engine()->reason, "a heartbeat was refused with code 16"));
    test.fake.refuse_times[ROCKETMQ_HEART_BEAT] = 0;
    UNTIL_SAID("up");
}

static void a_topic_that_vanishes_is_made_again(void **state)
{
    begin_and_wait();
    fake_close_all(&test.fake);
    test.fake.refuse[ROCKETMQ_PULL_MESSAGE] = ROCKETMQ_TOPIC_NOT_EXIST;
    test.fake.refuse_times[ROCKETMQ_PULL_MESSAGE] = 1;
    UNTIL(test.fake.asked[ROCKETMQ_CREATE_TOPIC] == 2);
    publish(0, "x");
    UNTIL_SAID("record 0 1 x");
}

static void a_queue_that_cant_be_read_is_not_up(void **state)
{
    test.fake.refuse[ROCKETMQ_PULL_MESSAGE] = ROCKETMQ_NO_PERMISSION;
    test.fake.refuse_times[ROCKETMQ_PULL_MESSAGE] = -1;
    begin();
    UNTIL_SAID("down");
    assert_non_null(strstr(engine()->reason, "a pull was refused with code 16"));
    assert_int_equal(said("start"), 0);
    test.fake.refuse_times[ROCKETMQ_PULL_MESSAGE] = 0;
    UNTIL_SAID("up");
    UNTIL(test.fake.held[QUEUES - 1].conn); /* both are polled */
    test.fake.refuse_times[ROCKETMQ_PULL_MESSAGE] = -1;
    arrive(0, "x"); /* ends the poll, and the next one is refused */
    UNTIL_SAID("queue 0 down");
    assert_int_equal(said("queue 1 down"), 0);
    test.fake.refuse_times[ROCKETMQ_PULL_MESSAGE] = 0;
    arrive(0, "y");
    UNTIL_SAID("record 0 2 y");
    assert_int_equal(said("queue 0 up"), 2);
}

static void a_missing_consumer_group_is_made(void **state)
{
    test.fake.refuse[ROCKETMQ_PULL_MESSAGE] = ROCKETMQ_GROUP_NOT_EXIST;
    test.fake.refuse_times[ROCKETMQ_PULL_MESSAGE] = QUEUES;
    begin_and_wait();
    assert_int_equal(test.fake.asked[ROCKETMQ_CREATE_GROUP], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_broker_that_hangs_is_down_and_up_again),
        TEST(a_silent_broker_is_asked_whether_it_lives),
        TEST(after_a_reconnect_it_goes_on_where_it_was),
        TEST(what_the_broker_has_dropped_is_a_hole),
        TEST(a_queue_that_is_shorter_than_it_was_has_another_history),
        TEST(another_message_in_the_last_ones_place_is_another_history),
        TEST(a_wrong_word_for_the_end_alone_changes_nothing),
        TEST(what_is_no_record_is_empty_and_counted),
        TEST(an_answer_that_is_cut_costs_what_cant_be_read_alone),
        TEST(garbage_ends_the_connection_and_a_new_one_follows),
        TEST(a_broker_that_moves_is_followed),
        TEST(a_heartbeat_that_is_refused_is_the_reason),
        TEST(a_topic_that_vanishes_is_made_again),
        TEST(a_queue_that_cant_be_read_is_not_up),
        TEST(a_missing_consumer_group_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
