#include "bus/rocketmq_test_help.h"

#include "bus/engines.h"
#include "bus/rocketmq_private.h"

enum { QUEUES = 2, MAX_LINES = 256, LINE = 96 };

/* The engine under test, what it said (a line each), and the brokers it talks to. */
static struct {
    struct loop *loop;
    struct fake fake;
    struct fake second; /* not in any route at first */
    struct bus *bus;
    char lines[MAX_LINES][LINE];
    int count;
    struct bus_publish publishes[QUEUES];
    char address[32];
    struct str servers[2];
    struct str brokers[2];
    struct bus_value values[9];
    struct bus_options options;
} test;

/* --- what it said --- */

#define SAY(...) snprintf(test.lines[test.count++ % MAX_LINES], LINE, __VA_ARGS__)

static void on_epoch(void *owner, struct str epoch)
{
    assert_ptr_equal(owner, &test);
    assert_in_range(epoch.len, 1, BUS_EPOCH_MAX);
    SAY("epoch");
}

static void format_pos(char out[32], struct bus_pos pos)
{
    const char *end = pos.lo == UINT64_MAX ? "+" : "";
    assert_true(pos.lo == UINT64_MAX || pos.lo == 0);
    snprintf(out, 32, "%llu%s", (unsigned long long)pos.hi, end);
}

static void on_start(void *owner, uint32_t queue, struct bus_pos from)
{
    char text[32];
    format_pos(text, from);
    SAY("start %u %s", queue, text);
}

static void on_record(void *owner, uint32_t queue, struct bus_pos pos, struct str record,
                      uint64_t wall_ms)
{
    char text[32];
    format_pos(text, pos);
    SAY("record %u %s %.*s", queue, text, STR_ARG(record));
}

static void on_hole(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to,
                    enum bus_hole why)
{
    static const char *const names[] = {"lost", "expired", "epoch"};
    char before[32], behind[32];
    format_pos(before, from);
    format_pos(behind, to);
    SAY("hole %u %s %s %s", queue, before, behind, names[why]);
}

static void on_queue_state(void *owner, uint32_t queue, bool up)
{
    SAY("queue %u %s", queue, up ? "up" : "down");
}

static void on_state(void *owner, bool up, const char *reason)
{
    SAY("%s%s", up ? "up" : "down ", reason);
}

static void on_done(struct bus_publish *publish, int err, struct bus_pos pos)
{
    SAY("done %u %s %llu", publish->queue, err ? err_str(err) : "ok", (unsigned long long)pos.hi);
    publish->on_done = NULL;
}

static const struct bus_callbacks callbacks = {on_epoch, on_start,       on_record,
                                               on_hole,  on_queue_state, on_state};

static int said(const char *line)
{
    int times = 0;
    for (int i = 0; i < test.count; i++) {
        times += strncmp(test.lines[i], line, strlen(line)) == 0;
    }
    return times;
}

static int line_of(const char *line)
{
    for (int i = 0; i < test.count; i++) {
        if (strncmp(test.lines[i], line, strlen(line)) == 0) {
            return i;
        }
    }
    fail_msg("never said: %s", line);
    return -1;
}

static void show(const char *condition)
{
    for (int i = 0; i < test.count; i++) {
        print_message("%s\n", test.lines[i]);
    }
    fail_msg("in vain: %s", condition);
}

#define UNTIL(condition)                                         \
    do {                                                         \
        uint64_t end_ms_ = clock_monotonic_ms() + PATIENCE_MS;   \
        while (!(condition) && clock_monotonic_ms() < end_ms_) { \
            assert_int_equal(loop_turn(test.loop, 10), 0);       \
        }                                                        \
        if (!(condition)) {                                      \
            show(#condition);                                    \
        }                                                        \
    } while (0)

#define UNTIL_SAID(line) UNTIL(said(line) > 0)

/* --- doing --- */

static void set_options(void)
{
    snprintf(test.address, sizeof(test.address), "127.0.0.1:%u", test.fake.port);
    test.servers[0] = str_of(test.address);
    test.brokers[0] = STR("broker-a");
    test.brokers[1] = STR("broker-b");
    memset(test.values, 0, sizeof(test.values));
    test.values[0] = (struct bus_value){.texts = test.servers, .text_count = 1};
    test.values[1] = (struct bus_value){.text = STR(FAKE_TOPIC)};
    test.values[2] = (struct bus_value){.texts = test.brokers, .text_count = 1};
    test.values[3] = (struct bus_value){.number = 1000};
    test.values[8] = (struct bus_value){.number = 1};
    test.options = (struct bus_options){.queues = QUEUES,
                                        .values = test.values,
                                        .window_age_ms = 60000,
                                        .boot = 7,
                                        .node = STR("n\"1")};
}

static struct rocketmq_bus *engine(void)
{
    return (struct rocketmq_bus *)test.bus;
}

static void begin(void)
{
    assert_int_equal(
        bus_rocketmq_engine.create(&test.bus, test.loop, &test.options, &callbacks, &test), 0);
    engine()->dial.request_timeout_ms = 1000;
    engine()->dial.pause_ms = 20;
}

static void begin_and_wait(void)
{
    begin();
    UNTIL_SAID("up");
}

static void publish(uint32_t queue, const char *text)
{
    struct bus_publish *one = &test.publishes[queue];
    assert_null(one->on_done);
    *one = (struct bus_publish){.on_done = on_done,
                                .queue = queue,
                                .record = str_of(text),
                                .deadline_ms = clock_monotonic_ms() + 2 * PATIENCE_MS};
    assert_int_equal(bus_publish(test.bus, one), 0);
    bus_flush(test.bus);
}

static void arrive(uint32_t queue, const char *text)
{
    fake_append(&test.fake, queue, str_of(text));
    fake_wake(&test.fake);
}

static int setup(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    memset(&test, 0, sizeof(test));
    assert_int_equal(loop_create(&test.loop), 0);
    fake_init(&test.fake, test.loop, "broker-a");
    fake_init(&test.second, test.loop, "broker-b");
    set_options();
    return 0;
}

static int teardown(void **state)
{
    bus_destroy(test.bus);
    for (uint32_t i = 0; i < QUEUES; i++) {
        assert_null(test.publishes[i].on_done);
    }
    fake_fini(&test.fake);
    fake_fini(&test.second);
    loop_destroy(test.loop);
    return 0;
}

/* --- tests --- */

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

static void send_raw(const void *data, size_t len)
{
    for (int i = 0; i < FAKE_CONNS; i++) {
        if (test.fake.conns[i].watch.fd >= 0) {
            send(test.fake.conns[i].watch.fd, data, len, MSG_NOSIGNAL);
        }
    }
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

static void requests_are_signed_when_there_is_a_key(void **state)
{
    test.values[4].text = STR("gw");
    test.values[5].text = STR("secret12");
    test.fake.access_key = "gw";
    begin_and_wait();
    publish(0, "x");
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

static void a_topic_that_may_not_be_written_is_down_and_read_on(void **state)
{
    begin_and_wait();
    test.fake.perm = ROCKETMQ_PERM_READ;
    engine()->names.asked_ms = 0;
    rocketmq_names_refresh(&engine()->names);
    UNTIL_SAID("queue 0 down");
    UNTIL_SAID("down");
    arrive(0, "x");
    UNTIL_SAID("record 0 1 x");
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

/* --- options --- */

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_makes_the_topic_and_is_up_when_all_queues_are_read),
        TEST(what_was_there_comes_before_it_is_up),
        TEST(a_start_in_the_middle_says_from_where),
        TEST(what_is_older_than_the_window_is_passed_over),
        TEST(what_is_published_is_acknowledged_and_comes_back),
        TEST(binary_headers_are_understood),
        TEST(stored_but_not_yet_safe_is_stored),
        TEST(a_busy_broker_is_asked_again),
        TEST(a_lost_answer_makes_a_repeat_of_the_same_bytes_on_the_same_queue),
        TEST(too_large_is_refused_at_once_by_us_and_by_the_broker),
        TEST(a_broker_that_takes_no_messages_is_down_until_a_probe_arrives),
        TEST(the_deadline_ends_a_publish_whose_broker_is_away),
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
        TEST(what_the_broker_asks_is_answered_but_not_what_goes_one_way),
        TEST(a_broker_that_is_away_at_start_is_not_waited_for_for_ever),
        TEST(a_queue_that_appears_later_is_read_from_the_windows_start),
        TEST(a_broker_that_moves_is_followed),
        TEST(requests_are_signed_when_there_is_a_key),
        TEST(one_answer_that_never_comes_does_not_cost_the_connection),
        TEST(without_a_broker_it_says_why_and_recovers),
        TEST(a_name_server_that_is_away_is_passed_over),
        TEST(a_heartbeat_that_is_refused_is_the_reason),
        TEST(a_topic_that_vanishes_is_made_again),
        TEST(a_topic_that_may_not_be_written_is_down_and_read_on),
        TEST(what_is_under_way_at_the_end_is_canceled),
        TEST(options_that_mean_nothing_are_refused),
        TEST(memory_that_is_out_at_any_place_of_the_making_leaks_nothing),
        TEST(nodes_with_another_layout_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
