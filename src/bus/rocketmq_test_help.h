/* The RocketMQ engine on a loop with two fake brokers, of which name servers know only the first;
 * it tells its events as lines of text. */
#ifndef TIDEGATE_BUS_ROCKETMQ_TEST_HELP_H
#define TIDEGATE_BUS_ROCKETMQ_TEST_HELP_H

#include "bus/rocketmq_fake_test_help.h"

#include "bus/engines.h"
#include "bus/rocketmq_private.h"

enum { QUEUES = 2, MAX_LINES = 2048, LINE = 96 };

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

static inline void on_epoch(void *owner, struct str epoch)
{
    assert_ptr_equal(owner, &test);
    assert_in_range(epoch.len, 1, BUS_EPOCH_MAX);
    SAY("epoch");
}

static inline void format_pos(char out[32], struct bus_pos pos)
{
    const char *end = pos.lo == UINT64_MAX ? "+" : "";
    assert_true(pos.lo == UINT64_MAX || pos.lo == 0);
    snprintf(out, 32, "%llu%s", (unsigned long long)pos.hi, end);
}

static inline void on_start(void *owner, uint32_t queue, struct bus_pos from)
{
    char text[32];
    format_pos(text, from);
    SAY("start %u %s", queue, text);
}

static inline void on_record(void *owner, uint32_t queue, struct bus_pos pos, struct str record,
                             uint64_t wall_ms)
{
    char text[32];
    format_pos(text, pos);
    SAY("record %u %s %.*s", queue, text, STR_ARG(record));
}

static inline void on_hole(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to,
                           enum bus_hole why)
{
    static const char *const names[] = {"lost", "expired", "epoch"};
    char before[32], behind[32];
    format_pos(before, from);
    format_pos(behind, to);
    SAY("hole %u %s %s %s", queue, before, behind, names[why]);
}

static inline void on_queue_state(void *owner, uint32_t queue, bool up)
{
    SAY("queue %u %s", queue, up ? "up" : "down");
}

static inline void on_state(void *owner, bool up, const char *reason)
{
    SAY("%s%s", up ? "up" : "down ", reason);
}

static inline void on_done(struct bus_publish *publish, int err, struct bus_pos pos)
{
    SAY("done %u %s %llu", publish->queue, err ? err_str(err) : "ok", (unsigned long long)pos.hi);
    publish->on_done = NULL;
}

static const struct bus_callbacks callbacks = {on_epoch, on_start,       on_record,
                                               on_hole,  on_queue_state, on_state};

static inline int said(const char *line)
{
    int times = 0;
    for (int i = 0; i < test.count; i++) {
        times += strncmp(test.lines[i], line, strlen(line)) == 0;
    }
    return times;
}

static inline int line_of(const char *line)
{
    for (int i = 0; i < test.count; i++) {
        if (strncmp(test.lines[i], line, strlen(line)) == 0) {
            return i;
        }
    }
    fail_msg("never said: %s", line);
    return -1;
}

static inline void show(const char *condition)
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

static inline void set_options(void)
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

static inline struct rocketmq_bus *engine(void)
{
    return (struct rocketmq_bus *)test.bus;
}

static inline void begin(void)
{
    assert_int_equal(
        bus_rocketmq_engine.create(&test.bus, test.loop, &test.options, &callbacks, &test), 0);
    engine()->dial.request_timeout_ms = 1000;
    engine()->dial.pause_ms = 20;
}

static inline void begin_and_wait(void)
{
    begin();
    UNTIL_SAID("up");
}

static inline void publish(uint32_t queue, const char *text)
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

static inline void arrive(uint32_t queue, const char *text)
{
    fake_append(&test.fake, queue, str_of(text));
    fake_wake(&test.fake);
}

/* From all servers, on all connections. */
static inline void send_raw(const void *data, size_t len)
{
    for (int i = 0; i < FAKE_CONNS; i++) {
        if (test.fake.conns[i].watch.fd >= 0) {
            send(test.fake.conns[i].watch.fd, data, len, MSG_NOSIGNAL);
        }
    }
}

static inline int setup(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    memset(&test, 0, sizeof(test));
    assert_int_equal(loop_create(&test.loop), 0);
    fake_init(&test.fake, test.loop, "broker-a");
    fake_init(&test.second, test.loop, "broker-b");
    set_options();
    return 0;
}

static inline int teardown(void **state)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
