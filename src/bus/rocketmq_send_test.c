#include "bus/rocketmq_test_help.h"

static void stored_but_not_yet_safe_is_stored(void **state)
{
    begin_and_wait();
    for (int code = 10; code <= 12; code++) {
        test.fake.refuse[ROCKETMQ_SEND_MESSAGE_V2] = code;
        test.fake.refuse_times[ROCKETMQ_SEND_MESSAGE_V2] = 1;
        int before = said("done 0 ok");
        publish(0, "x");
        UNTIL(said("done 0 ok") > before);
    }
    assert_int_equal(test.bus->stats.retries, 0);
}

static void a_busy_broker_is_asked_again(void **state)
{
    begin_and_wait();
    test.fake.refuse[ROCKETMQ_SEND_MESSAGE_V2] = ROCKETMQ_SYSTEM_BUSY;
    test.fake.refuse_times[ROCKETMQ_SEND_MESSAGE_V2] = 3;
    publish(0, "x");
    UNTIL_SAID("done 0 ok 1");
    assert_int_equal(test.bus->stats.retries, 3);
    assert_int_equal(said("queue 0 down"), 0);
}

static void a_lost_answer_makes_a_repeat_of_the_same_bytes_on_the_same_queue(void **state)
{
    begin_and_wait();
    test.fake.lose_answers = 1;
    publish(0, "x");
    UNTIL(test.fake.queues[0].max == 1);
    fake_close_all(&test.fake);
    UNTIL_SAID("done 0 ok 2");
    UNTIL_SAID("record 0 2 x");
    assert_int_equal(said("record 0 1 x"), 1);
    assert_int_equal(test.bus->stats.retries, 1);
    assert_true(test.bus->stats.reconnects >= 1);
}

static void too_large_is_refused_at_once_by_us_and_by_the_broker(void **state)
{
    begin_and_wait();
    struct bus_publish large = {.record = str_make("", test.bus->max_record + 1)};
    assert_int_equal(bus_publish(test.bus, &large), ERR_TOO_LARGE);
    struct bus_publish empty = {.record = STR("")};
    assert_int_equal(bus_publish(test.bus, &empty), ERR_SYNTAX);
    test.fake.refuse[ROCKETMQ_SEND_MESSAGE_V2] = ROCKETMQ_MESSAGE_ILLEGAL;
    test.fake.refuse_times[ROCKETMQ_SEND_MESSAGE_V2] = 1;
    publish(0, "x");
    UNTIL_SAID("done 0 too large");
}

static void a_broker_that_takes_no_messages_is_down_until_a_probe_arrives(void **state)
{
    begin_and_wait();
    test.fake.refuse[ROCKETMQ_SEND_MESSAGE_V2] = ROCKETMQ_NO_PERMISSION;
    test.fake.refuse_times[ROCKETMQ_SEND_MESSAGE_V2] = -1;
    publish(0, "x");
    UNTIL_SAID("queue 0 down");
    test.publishes[0].deadline_ms = 1;
    UNTIL_SAID("done 0 timed out");
    assert_int_equal(said("down"), 0); /* the other queue is up */
    test.fake.refuse_times[ROCKETMQ_SEND_MESSAGE_V2] = 0;
    UNTIL(said("queue 0 up") == 2);
    publish(0, "y");
    UNTIL_SAID("done 0 ok");
    UNTIL_SAID("record 0 2 y");
    assert_int_equal(said("record"), 1);
    assert_int_equal(test.bus->stats.skipped, 0);
}

static void the_deadline_ends_a_publish_whose_broker_is_away(void **state)
{
    begin_and_wait();
    test.fake.is_mute = true;
    publish(0, "x");
    test.publishes[0].deadline_ms = clock_monotonic_ms() + 50;
    bus_flush(test.bus);
    rocketmq_queue_send(&engine()->queues[0]); /* looks at the new deadline */
    UNTIL_SAID("done 0 timed out");
    test.fake.is_mute = false;
    UNTIL(!rocketmq_request_is_open(&engine()->queues[0].send));
    publish(0, "y");
    UNTIL_SAID("done 0 ok");
}

/* Under overload a broker leaves requests unanswered and goes on with others. */
static void one_answer_that_never_comes_does_not_cost_the_connection(void **state)
{
    begin_and_wait();
    test.fake.lose_answers = 1;
    publish(0, "x");
    UNTIL(test.fake.queues[0].max == 1);
    arrive(1, "y");
    UNTIL_SAID("done 0 ok 2");
    assert_int_equal(test.bus->stats.retries, 1);
    assert_int_equal(test.bus->stats.reconnects, 0);
    assert_int_equal(said("queue 0 down"), 0);
}

static void set_permission(uint32_t perm)
{
    test.fake.perm = perm;
    engine()->names.asked_ms = 0;
    rocketmq_names_refresh(&engine()->names);
}

static void a_topic_that_may_not_be_written_is_down_and_read_on(void **state)
{
    begin_and_wait();
    set_permission(ROCKETMQ_PERM_READ);
    UNTIL_SAID("queue 0 down");
    UNTIL_SAID("down");
    arrive(0, "x");
    UNTIL_SAID("record 0 1 x");
}

static void what_waits_for_the_permission_to_write_is_sent_when_it_comes(void **state)
{
    begin_and_wait();
    set_permission(ROCKETMQ_PERM_READ);
    UNTIL_SAID("queue 0 down");
    publish(0, "x");
    set_permission(ROCKETMQ_PERM_READ | ROCKETMQ_PERM_WRITE);
    UNTIL_SAID("done 0 ok 1");
    assert_int_equal(test.bus->stats.retries, 0);
}

static void what_waits_for_its_queue_to_start_is_sent_when_it_does(void **state)
{
    test.values[2].text_count = 2; /* broker-b is not there yet */
    begin_and_wait();
    publish(1, "x");
    test.fake.other = &test.second;
    test.second.topic_queues = QUEUES;
    UNTIL_SAID("done 1 ok 1");
    UNTIL_SAID("record 1 1 x");
    assert_int_equal(test.bus->stats.retries, 0);
}

/* Nothing left: nobody has to wonder whether it may still arrive. */
static void the_deadline_of_what_was_never_sent_makes_no_outcome_unknown(void **state)
{
    begin_and_wait();
    set_permission(ROCKETMQ_PERM_READ);
    UNTIL_SAID("queue 0 down");
    publish(0, "x");
    test.publishes[0].deadline_ms = clock_monotonic_ms() + 50;
    rocketmq_queue_send(&engine()->queues[0]); /* looks at the new deadline */
    UNTIL_SAID("done 0 unavailable");
    assert_int_equal(test.fake.queues[0].max, 0);
}

/* --- faults of all kinds, as a seed has them --- */

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 16) % below;
}

static void do_harm(uint32_t *seed)
{
    struct fake *fake = &test.fake;
    switch (draw(seed, 12)) {
    case 0: fake_close_all(fake); break;
    case 1: fake->lose_answers = 1; break;
    case 2:
        fake->refuse[ROCKETMQ_SEND_MESSAGE_V2] = ROCKETMQ_SYSTEM_BUSY;
        fake->refuse_times[ROCKETMQ_SEND_MESSAGE_V2] = 1;
        break;
    case 3:
        fake->refuse[ROCKETMQ_PULL_MESSAGE] = ROCKETMQ_SYSTEM_ERROR;
        fake->refuse_times[ROCKETMQ_PULL_MESSAGE] = 2;
        break;
    case 4:
        fake->refuse[ROCKETMQ_SEND_MESSAGE_V2] = ROCKETMQ_FLUSH_DISK_TIMEOUT;
        fake->refuse_times[ROCKETMQ_SEND_MESSAGE_V2] = 1;
        break;
    case 5: fake->is_binary = !fake->is_binary; break;
    default: break;
    }
}

/* Of what was published, in order, each at its place; a repeat may stand before it. */
static void assert_all_arrived(uint32_t queue, int count)
{
    int at = 0;
    for (int i = 0; i < count; i++) {
        char end[32];
        snprintf(end, sizeof(end), " n%d", i);
        bool found = false;
        for (; at < test.count && !found; at++) {
            const char *line = test.lines[at];
            found = strncmp(line, "record ", 7) == 0 && line[7] == (char)('0' + queue) &&
                    strcmp(strrchr(line, ' '), end) == 0;
        }
        if (!found) {
            show(end);
        }
    }
}

static void whatever_goes_wrong_what_is_acknowledged_arrives_in_order(void **state)
{
    enum { PUBLISHES = 60 };
    uint32_t seed = 4711;
    begin_and_wait();
    engine()->dial.request_timeout_ms = 200;
    for (int i = 0; i < PUBLISHES; i++) {
        char texts[QUEUES][16];
        for (uint32_t queue = 0; queue < QUEUES; queue++) {
            snprintf(texts[queue], sizeof(texts[queue]), "n%d", i);
            do_harm(&seed);
            publish(queue, texts[queue]);
        }
        UNTIL(!test.publishes[0].on_done && !test.publishes[1].on_done);
    }
    for (uint32_t queue = 0; queue < QUEUES; queue++) {
        UNTIL(engine()->queues[queue].next == test.fake.queues[queue].max);
        assert_all_arrived(queue, PUBLISHES);
    }
    assert_int_equal(said("done 0 ok") + said("done 1 ok"), 2 * PUBLISHES);
    assert_int_equal(said("hole"), 0);
    assert_int_equal(test.bus->stats.skipped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(stored_but_not_yet_safe_is_stored),
        TEST(a_busy_broker_is_asked_again),
        TEST(a_lost_answer_makes_a_repeat_of_the_same_bytes_on_the_same_queue),
        TEST(too_large_is_refused_at_once_by_us_and_by_the_broker),
        TEST(a_broker_that_takes_no_messages_is_down_until_a_probe_arrives),
        TEST(the_deadline_ends_a_publish_whose_broker_is_away),
        TEST(one_answer_that_never_comes_does_not_cost_the_connection),
        TEST(a_topic_that_may_not_be_written_is_down_and_read_on),
        TEST(what_waits_for_the_permission_to_write_is_sent_when_it_comes),
        TEST(what_waits_for_its_queue_to_start_is_sent_when_it_does),
        TEST(the_deadline_of_what_was_never_sent_makes_no_outcome_unknown),
        TEST(whatever_goes_wrong_what_is_acknowledged_arrives_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
