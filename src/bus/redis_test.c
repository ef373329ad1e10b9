/* The engine against a server played by hand: what goes out, what the core is told. Real servers
 * are the matter of the contract suite. */
#include "bus/engines.h"
#include "bus/redis_test_help.h"

enum { QUEUES = 2, MAX_LINES = 40 };

static struct {
    struct fake_server server;
    struct fake_link command, reader;
    struct fake_values values;
    struct bus *bus;
    char lines[MAX_LINES][120]; /* what the core was told */
    int count, checked;
    struct bus_publish publishes[3]; /* outlive their test's function */
} test;

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    assert_true(test.count < MAX_LINES);
    vsnprintf(test.lines[test.count++], sizeof(test.lines[0]), format, args);
    va_end(args);
}

static void on_epoch(void *owner, struct str epoch)
{
    tell("epoch %.*s", STR_ARG(epoch));
}

static const char *place(struct bus_pos pos, char out[40])
{
    snprintf(out, 40, "%llu.%s", (unsigned long long)pos.hi, pos.lo == UINT64_MAX ? "max" : "0");
    return out;
}

static void on_start(void *owner, uint32_t queue, struct bus_pos from)
{
    char text[40];
    tell("start %u %s", queue, place(from, text));
}

static void on_record(void *owner, uint32_t queue, struct bus_pos pos, struct str record,
                      uint64_t wall_ms)
{
    char text[40];
    tell("record %u %s %.*s", queue, place(pos, text), STR_ARG(record));
}

static void on_hole(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to,
                    enum bus_hole why)
{
    char one[40], other[40];
    tell("hole %u %s %s %d", queue, place(from, one), place(to, other), why);
}

static void on_queue_state(void *owner, uint32_t queue, bool up)
{
    tell("queue %u %s", queue, up ? "up" : "down");
}

static void on_state(void *owner, bool up, const char *reason)
{
    const char *colon = strstr(reason, ": ");
    tell("%s%s", up ? "up" : "down", colon ? colon : "");
}

static void on_done(struct bus_publish *publish, int err, struct bus_pos pos)
{
    char text[40];
    tell("done %.*s %d %s", STR_ARG(publish->record), err, place(pos, text));
}

static const struct bus_callbacks callbacks = {on_epoch, on_start,       on_record,
                                               on_hole,  on_queue_state, on_state};

static void turn(void)
{
    assert_int_equal(loop_turn(test.server.loop, 5), 0);
    if (test.bus) {
        bus_flush(test.bus);
    }
}

static const char *next_line(const char *line)
{
    uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (test.count == test.checked) {
        turn();
        if (clock_monotonic_ms() > end_ms) {
            fail_msg("nothing came; waited for: %s", line);
        }
    }
    return test.lines[test.checked++];
}

/* Turns until the next line is there, which must be this one. */
static void assert_next(const char *line)
{
    assert_string_equal(next_line(line), line);
}

/* Whether it was closed or reset is the kernel's choice. */
static void assert_next_down(void)
{
    assert_memory_equal(next_line("down"), "down: ", 6);
}

static void create(void)
{
    struct bus_options options = {.queues = QUEUES,
                                  .values = test.values.values,
                                  .window_age_ms = 60000,
                                  .boot = 7,
                                  .node = STR("n 1")};
    assert_int_equal(
        bus_redis_engine.create(&test.bus, test.server.loop, &options, &callbacks, &test), 0);
    assert_int_equal(test.count, 0);
}

static int setup(void **state)
{
    struct loop *loop;
    char url[64];
    memset(&test, 0, sizeof(test));
    assert_int_equal(loop_create(&loop), 0);
    fake_server_init(&test.server, loop);
    fake_values_init(&test.values);
    snprintf(url, sizeof(url), "redis://127.0.0.1:%u", test.server.port);
    size_t option = fake_option("url");
    test.values.values[option].text = str_of(strdup(url));
    return 0;
}

static int teardown(void **state)
{
    bus_destroy(test.bus);
    fake_close(&test.command);
    fake_close(&test.reader);
    close(test.server.listening);
    loop_destroy(test.server.loop);
    free((char *)test.values.values[fake_option("url")].text.ptr);
    return mem_accounted(MEM_BUS) != 0;
}

static void expect(struct fake_link *link, const char *word)
{
    fake_expect(&test.server, link, word);
}

static void assert_word(const struct fake_link *link, size_t i, const char *text)
{
    assert_true(i < link->count);
    if (!str_equal(link->words[i], str_of(text))) {
        fail_msg("%.*s came instead of %s", STR_ARG(link->words[i]), text);
    }
}

static void connect_both(void)
{
    fake_sign_in(&test.server, &test.command);
    fake_sign_in(&test.server, &test.reader);
}

/* Two streams: one that was never written, one with an entry 5-0 that was read already. */
#define SURVEY(epoch, last)                                              \
    "*4\r\n$2\r\n" epoch "\r\n$5\r\n90000\r\n"                           \
    "*6\r\n$3\r\n0-0\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$1\r\n0\r\n:0\r\n" \
    "*6\r\n$3\r\n" last "\r\n$3\r\n" last "\r\n$3\r\n" last "\r\n$3\r\n0-0\r\n$1\r\n1\r\n:1\r\n"

static void start(void)
{
    create();
    connect_both();
    expect(&test.command, "EVAL");
    fake_send(&test.command, SURVEY("e1", "5-0"));
    expect(&test.reader, "XREAD");
    fake_send(&test.reader, "*1\r\n*2\r\n$11\r\ntidegate:q1\r\n*1\r\n"
                            "*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nr\r\n$3\r\nold\r\n");
    expect(&test.reader, "XREAD");
    fake_send(&test.reader, "*-1\r\n");
    assert_next("epoch e1");
    assert_next("start 0 0.0");
    assert_next("start 1 5242879.max"); /* 5 << 20, less one */
    assert_next("record 1 5242880.0 old");
    assert_next("queue 0 up");
    assert_next("queue 1 up");
    assert_next("up");
}

static void it_is_up_when_all_that_was_there_is_read(void **state)
{
    start();
    expect(&test.reader, "XREAD");
    assert_word(&test.reader, 3, "BLOCK");
    assert_word(&test.reader, 6, "tidegate:q0");
    assert_word(&test.reader, 8, "0-0");
    assert_word(&test.reader, 9, "5-0");
    assert_true(bus_is_lossless(test.bus));
    assert_true(bus_can_replay(test.bus));
}

static struct bus_publish *publish_of(size_t i, uint32_t queue, const char *record)
{
    test.publishes[i] = (struct bus_publish){
        .on_done = on_done, .queue = queue, .record = str_of(record)};
    return &test.publishes[i];
}

static void publish(size_t i, uint32_t queue, const char *record)
{
    assert_int_equal(bus_publish(test.bus, publish_of(i, queue, record)), 0);
    bus_flush(test.bus);
}

static void a_publish_is_done_with_the_id_it_got(void **state)
{
    start();
    publish(0, 0, "a");
    publish(1, 1, "b");
    expect(&test.command, "XADD");
    assert_word(&test.command, 1, "tidegate:q0");
    assert_word(&test.command, 2, "MINID");
    uint64_t cut;
    assert_true(str_to_u64(test.command.words[4], UINT64_MAX, &cut));
    assert_in_range(cut, 20000, 30000); /* the server's 90000, less window and margin */
    assert_word(&test.command, 5, "*");
    assert_word(&test.command, 6, "r");
    assert_word(&test.command, 7, "a");
    expect(&test.command, "XADD");
    fake_send(&test.command, "$3\r\n6-0\r\n$3\r\n7-1\r\n");
    assert_next("done a 0 6291456.0");
    assert_next("done b 0 7340033.0");
}

static void a_queue_has_one_under_way(void **state)
{
    start();
    publish(0, 0, "a");
    publish(1, 0, "b");
    expect(&test.command, "XADD");
    fake_send(&test.command, "$3\r\n6-0\r\n");
    assert_next("done a 0 6291456.0");
    bus_flush(test.bus);
    expect(&test.command, "XADD");
    assert_word(&test.command, 7, "b");
}

static void entries_come_in_order_and_foreign_ones_are_counted(void **state)
{
    start();
    expect(&test.reader, "XREAD");
    fake_send(&test.reader, "*1\r\n*2\r\n$11\r\ntidegate:q0\r\n*2\r\n"
                            "*2\r\n$3\r\n6-0\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n"
                            "*2\r\n$3\r\n6-1\r\n*2\r\n$1\r\nr\r\n$3\r\nabc\r\n");
    assert_next("record 0 6291456.0 ");
    assert_next("record 0 6291457.0 abc");
    assert_int_equal(test.bus->stats.skipped, 1);
    expect(&test.reader, "XREAD");
    assert_word(&test.reader, 8, "6-1");
}

static void lose_links(void)
{
    fake_close(&test.command);
    fake_close(&test.reader);
    assert_next("queue 0 down");
    assert_next("queue 1 down");
    assert_next_down();
}

static void link_again(const char *survey)
{
    connect_both();
    expect(&test.command, "EVAL");
    fake_send(&test.command, survey);
}

static void what_a_lost_link_carried_goes_again(void **state)
{
    start();
    publish(0, 0, "a");
    expect(&test.command, "XADD");
    lose_links();
    link_again(SURVEY("e1", "5-0"));
    expect(&test.command, "XADD");
    assert_word(&test.command, 7, "a");
    assert_int_equal(test.bus->stats.retries, 1);
    assert_int_equal(test.bus->stats.reconnects, 1);
    fake_send(&test.command, "$3\r\n6-0\r\n");
    assert_next("done a 0 6291456.0");
}

static void at_the_deadline_it_is_known_or_not(void **state)
{
    start();
    struct bus_publish *sent = publish_of(0, 0, "a"), *kept = publish_of(1, 1, "b");
    sent->deadline_ms = loop_now_ms(test.server.loop) + 50;
    kept->deadline_ms = sent->deadline_ms + 50;
    assert_int_equal(bus_publish(test.bus, sent), 0);
    bus_flush(test.bus);
    expect(&test.command, "XADD");
    lose_links();
    assert_int_equal(bus_publish(test.bus, kept), 0);
    assert_next("done a -10010 0.0"); /* ERR_TIMEOUT */
    assert_next("done b -10012 0.0"); /* ERR_UNAVAILABLE */
}

static void a_late_answer_is_not_the_next_ones(void **state)
{
    start();
    struct bus_publish *first = publish_of(0, 0, "a");
    first->deadline_ms = loop_now_ms(test.server.loop) + 20;
    assert_int_equal(bus_publish(test.bus, first), 0);
    publish(1, 0, "b");
    expect(&test.command, "XADD");
    assert_next("done a -10010 0.0");
    bus_flush(test.bus);
    expect(&test.command, "XADD");
    fake_send(&test.command, "$3\r\n6-0\r\n$3\r\n7-0\r\n");
    assert_next("done b 0 7340032.0");
}

static void a_refusal_fails_what_was_sent_once(void **state)
{
    start();
    publish(0, 0, "a");
    expect(&test.command, "XADD");
    fake_send(&test.command, "-OOM command not allowed\r\n");
    assert_next("done a -10012 0.0");
}

static void a_record_over_the_limit_is_refused(void **state)
{
    start();
    struct bus_publish *large = publish_of(0, 0, "");
    large->record.len = test.bus->max_record + 1;
    assert_int_equal(bus_publish(test.bus, large), ERR_TOO_LARGE);
}

static void a_master_no_more_is_left(void **state)
{
    start();
    publish(0, 0, "a");
    expect(&test.command, "XADD");
    fake_send(&test.command, "-READONLY You can't write against a read only replica.\r\n");
    assert_next("queue 0 down");
    assert_next("queue 1 down");
    assert_next("down: it is no master any more");
    fake_close(&test.command);
    fake_close(&test.reader);
    link_again(SURVEY("e1", "5-0"));
    expect(&test.command, "XADD");
    assert_int_equal(test.bus->stats.retries, 0); /* it was not done */
}

static void another_epoch_starts_every_queue_again(void **state)
{
    start();
    lose_links();
    link_again(SURVEY("e2", "4-0"));
    assert_next("epoch e2");
    assert_next("hole 0 0.0 1.0 2");
    assert_next("start 0 0.0");
    assert_next("hole 1 5242880.0 4194305.0 2");
    assert_next("start 1 4194304.max");
}

static void what_was_trimmed_unread_is_a_hole(void **state)
{
    start();
    lose_links();
    link_again("*4\r\n$2\r\ne1\r\n$5\r\n90000\r\n"
               "*6\r\n$3\r\n0-0\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$1\r\n0\r\n:0\r\n"
               "*6\r\n$3\r\n9-0\r\n$3\r\n8-0\r\n$0\r\n\r\n$3\r\n0-0\r\n$1\r\n9\r\n:2\r\n");
    assert_next("hole 1 5242880.0 8388608.0 1");
}

static void the_end_cancels_what_is_under_way(void **state)
{
    start();
    publish(0, 0, "a");
    publish(1, 0, "b");
    publish(2, 1, "c");
    expect(&test.command, "XADD");
    bus_destroy(test.bus);
    test.bus = NULL;
    assert_next("done a -10009 0.0");
    assert_next("done b -10009 0.0");
    assert_next("done c -10009 0.0");
}

static void a_server_that_is_away_is_told_once(void **state)
{
    close(test.server.listening);
    create();
    uint64_t end_ms = clock_monotonic_ms() + 300;
    while (clock_monotonic_ms() < end_ms) {
        turn();
    }
    assert_int_equal(test.count, 1);
    assert_non_null(strstr(test.lines[0], "down: "));
    test.server.listening = server_listen(&test.server.port);
}

static void sentinels_are_asked_for_the_master(void **state)
{
    struct fake_link sentinel;
    char sentinels[32], answer[64], port[8];
    snprintf(sentinels, sizeof(sentinels), "127.0.0.1:%u", test.server.port);
    snprintf(port, sizeof(port), "%u", test.server.port);
    fake_set(&test.values, "sentinels", sentinels);
    fake_set(&test.values, "sentinel_master", "mine");
    create();
    fake_accept(&test.server, &sentinel);
    expect(&sentinel, "CLIENT");
    expect(&sentinel, "PING");
    fake_send(&sentinel, "+OK\r\n+PONG\r\n");
    expect(&sentinel, "SENTINEL");
    assert_word(&sentinel, 2, "mine");
    snprintf(answer, sizeof(answer), "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%s\r\n", strlen(port), port);
    fake_send(&sentinel, answer);
    connect_both();
    expect(&test.command, "EVAL");
    fake_close(&sentinel);
}

static void a_sentinel_that_knows_nothing_is_named(void **state)
{
    struct fake_link sentinel;
    char sentinels[32];
    snprintf(sentinels, sizeof(sentinels), "127.0.0.1:%u", test.server.port);
    fake_set(&test.values, "sentinels", sentinels);
    fake_set(&test.values, "sentinel_master", "mine");
    create();
    fake_accept(&test.server, &sentinel);
    fake_send(&sentinel, "+OK\r\n+PONG\r\n");
    expect(&sentinel, "CLIENT");
    expect(&sentinel, "PING");
    expect(&sentinel, "SENTINEL");
    fake_send(&sentinel, "*-1\r\n");
    assert_next("down: it does not know a master of the name bus.sentinel_master");
    fake_close(&sentinel);
}

/* ---- pubsub ---- */

static void start_pubsub(void)
{
    fake_set(&test.values, "mode", "pubsub");
    create();
    connect_both();
    expect(&test.reader, "SUBSCRIBE");
    assert_word(&test.reader, 1, "tidegate:0:events");
    fake_send(&test.reader, "*3\r\n$9\r\nsubscribe\r\n$17\r\ntidegate:0:events\r\n:1\r\n");
    expect(&test.command, "SCRIPT");
    expect(&test.command, "EVAL");
    fake_send(&test.command, "$3\r\nsha\r\n*2\r\n$2\r\ne1\r\n$2\r\n10\r\n");
    expect(&test.reader, "PING");
    fake_send(&test.reader, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_next("epoch e1");
    assert_next("start 0 10.max");
    assert_next("queue 0 up");
    assert_next("up");
    assert_int_equal(test.bus->queues, 1);
    assert_false(bus_is_lossless(test.bus));
    assert_false(bus_can_replay(test.bus));
}

static void send_message(const char *payload)
{
    char wire[200];
    snprintf(wire, sizeof(wire), "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$%zu\r\n%s\r\n",
             strlen(payload), payload);
    fake_send(&test.reader, wire);
}

static void missing_numbers_are_a_hole(void **state)
{
    start_pubsub();
    send_message("e1 10 before the start");
    send_message("e1 11 a");
    send_message("e1 14 b");
    assert_next("record 0 11.0 a");
    assert_next("hole 0 11.0 14.0 0");
    assert_next("record 0 14.0 b");
}

static void what_is_no_frame_is_counted(void **state)
{
    start_pubsub();
    send_message("garbage");
    send_message("e1 11 a");
    assert_next("record 0 11.0 a");
    assert_int_equal(test.bus->stats.skipped, 1);
}

static void a_script_that_is_gone_goes_along(void **state)
{
    start_pubsub();
    publish(0, 0, "a");
    expect(&test.command, "EVALSHA");
    assert_word(&test.command, 1, "sha");
    assert_word(&test.command, 6, "a");
    fake_send(&test.command, "-NOSCRIPT No matching script.\r\n");
    expect(&test.command, "SCRIPT");
    bus_flush(test.bus);
    expect(&test.command, "EVAL");
    fake_send(&test.command, "$3\r\nsha\r\n$2\r\n11\r\n");
    assert_next("done a 0 11.0");
}

static void relink_pubsub(const char *survey)
{
    fake_close(&test.command);
    fake_close(&test.reader);
    assert_next("queue 0 down");
    assert_next_down();
    connect_both();
    expect(&test.reader, "SUBSCRIBE");
    fake_send(&test.reader, "*3\r\n$9\r\nsubscribe\r\n$17\r\ntidegate:0:events\r\n:1\r\n");
    expect(&test.command, "SCRIPT");
    expect(&test.command, "EVAL");
    fake_send(&test.command, survey);
    expect(&test.reader, "PING");
}

static void what_passed_while_the_link_was_down_shows_at_once(void **state)
{
    start_pubsub();
    relink_pubsub("$3\r\nsha\r\n*2\r\n$2\r\ne1\r\n$2\r\n15\r\n");
    send_message("e1 15 still comes");
    fake_send(&test.reader, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_next("hole 0 10.0 15.0 0");
    assert_next("record 0 15.0 still comes");
    assert_next("queue 0 up");
    assert_next("up");
}

static void nothing_came_but_the_counter_did(void **state)
{
    start_pubsub();
    relink_pubsub("$3\r\nsha\r\n*2\r\n$2\r\ne1\r\n$2\r\n15\r\n");
    fake_send(&test.reader, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_next("hole 0 10.0 16.0 0");
    assert_next("queue 0 up");
    assert_next("up");
}

static void an_unknown_epoch_asks_for_it(void **state)
{
    start_pubsub();
    send_message("e2 1 a");
    send_message("e2 2 b");
    expect(&test.command, "EVAL");
    assert_word(&test.command, 7, "e1");
    fake_send(&test.command, "*2\r\n$2\r\ne2\r\n$1\r\n1\r\n");
    assert_next("epoch e2");
    assert_next("hole 0 10.0 3.0 2");
    assert_next("start 0 2.max");
    send_message("e1 11 late, of before");
    send_message("e2 3 c");
    assert_next("record 0 3.0 c");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_is_up_when_all_that_was_there_is_read),
        TEST(a_publish_is_done_with_the_id_it_got),
        TEST(a_queue_has_one_under_way),
        TEST(entries_come_in_order_and_foreign_ones_are_counted),
        TEST(what_a_lost_link_carried_goes_again),
        TEST(at_the_deadline_it_is_known_or_not),
        TEST(a_late_answer_is_not_the_next_ones),
        TEST(a_refusal_fails_what_was_sent_once),
        TEST(a_record_over_the_limit_is_refused),
        TEST(a_master_no_more_is_left),
        TEST(another_epoch_starts_every_queue_again),
        TEST(what_was_trimmed_unread_is_a_hole),
        TEST(the_end_cancels_what_is_under_way),
        TEST(a_server_that_is_away_is_told_once),
        TEST(sentinels_are_asked_for_the_master),
        TEST(a_sentinel_that_knows_nothing_is_named),
        TEST(missing_numbers_are_a_hole),
        TEST(what_is_no_frame_is_counted),
        TEST(a_script_that_is_gone_goes_along),
        TEST(what_passed_while_the_link_was_down_shows_at_once),
        TEST(nothing_came_but_the_counter_did),
        TEST(an_unknown_epoch_asks_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
