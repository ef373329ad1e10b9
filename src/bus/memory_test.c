#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "bus/engines.h"

enum { QUEUES = 3, MAX_LOG = 64 };

/* What the engine said, one line each. */
struct fixture {
    struct bus *bus;
    char log[MAX_LOG][48];
    int count;
};

static struct fixture fixture;

static void on_epoch(void *owner, struct str epoch)
{
    assert_int_equal(epoch.len, 16);
    snprintf(fixture.log[fixture.count++], sizeof(fixture.log[0]), "epoch");
}

static void on_start(void *owner, uint32_t queue, struct bus_pos from)
{
    assert_int_equal(from.hi | from.lo, 0);
    snprintf(fixture.log[fixture.count++], sizeof(fixture.log[0]), "start %u", queue);
}

static void on_record(void *owner, uint32_t queue, struct bus_pos pos, struct str record,
                      uint64_t wall_ms)
{
    assert_ptr_equal(owner, &fixture);
    snprintf(fixture.log[fixture.count++], sizeof(fixture.log[0]), "record %u %llu.%llu %.*s",
             queue, (unsigned long long)pos.hi, (unsigned long long)pos.lo, STR_ARG(record));
}

static void on_hole(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to,
                    enum bus_hole why)
{
    fail_msg("this bus loses nothing");
}

static void on_queue_state(void *owner, uint32_t queue, bool up)
{
    snprintf(fixture.log[fixture.count++], sizeof(fixture.log[0]), "queue %u %s", queue,
             up ? "up" : "down");
}

static void on_state(void *owner, bool up, const char *reason)
{
    snprintf(fixture.log[fixture.count++], sizeof(fixture.log[0]), "%s", up ? "up" : "down");
}

static void on_done(struct bus_publish *publish, int err, struct bus_pos pos)
{
    snprintf(fixture.log[fixture.count++], sizeof(fixture.log[0]), "done %.*s %d %llu",
             STR_ARG(publish->record), err, (unsigned long long)pos.hi);
}

static const struct bus_callbacks callbacks = {.on_epoch = on_epoch,
                                               .on_start = on_start,
                                               .on_record = on_record,
                                               .on_hole = on_hole,
                                               .on_queue_state = on_queue_state,
                                               .on_state = on_state};
static const struct bus_options options = {.queues = QUEUES};

static int setup(void **state)
{
    fixture = (struct fixture){0};
    return bus_memory_engine.create(&fixture.bus, NULL, &options, &callbacks, &fixture);
}

static int teardown(void **state)
{
    bus_destroy(fixture.bus);
    return 0;
}

static void assert_log(const char *const *lines, int count)
{
    assert_int_equal(fixture.count, count);
    for (int i = 0; i < count; i++) {
        assert_string_equal(fixture.log[i], lines[i]);
    }
    fixture.count = 0;
}

#define ASSERT_LOG(...)                            \
    assert_log((const char *const[]){__VA_ARGS__}, \
               sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))

static void it_is_up_from_the_first_flush(void **state)
{
    assert_int_equal(fixture.count, 0);
    bus_flush(fixture.bus);
    ASSERT_LOG("epoch", "start 0", "queue 0 up", "start 1", "queue 1 up", "start 2", "queue 2 up",
               "up");
    bus_flush(fixture.bus);
    assert_int_equal(fixture.count, 0);
}

static void nothing_comes_back_before_the_flush(void **state)
{
    struct bus_publish publish = {.on_done = on_done, .record = STR("a")};
    assert_int_equal(bus_publish(fixture.bus, &publish), 0);
    assert_int_equal(fixture.count, 0);
    bus_flush(fixture.bus);
    ASSERT_LOG("epoch", "start 0", "queue 0 up", "start 1", "queue 1 up", "start 2", "queue 2 up",
               "up", "record 0 1.0 a", "done a 0 1");
}

static void records_come_back_in_order_and_each_queue_counts_for_itself(void **state)
{
    struct bus_publish publishes[] = {
        {.on_done = on_done, .queue = 0, .record = STR("a")},
        {.on_done = on_done, .queue = 2, .record = STR("b")},
        {.on_done = on_done, .queue = 0, .record = STR("c")},
    };
    bus_flush(fixture.bus);
    fixture.count = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bus_publish(fixture.bus, &publishes[i]), 0);
    }
    bus_flush(fixture.bus);
    ASSERT_LOG("record 0 1.0 a", "done a 0 1", "record 2 1.0 b", "done b 0 1", "record 0 2.0 c",
               "done c 0 2");
}

static int again_left;

static void publish_again(struct bus_publish *publish, int err, struct bus_pos pos)
{
    on_done(publish, err, pos);
    if (again_left-- > 0) {
        assert_int_equal(bus_publish(fixture.bus, publish), 0);
    }
}

static void what_is_published_from_a_callback_waits_for_the_next_flush(void **state)
{
    struct bus_publish publish = {.on_done = publish_again, .record = STR("a")};
    again_left = 1;
    assert_int_equal(bus_publish(fixture.bus, &publish), 0);
    bus_flush(fixture.bus);
    ASSERT_LOG("epoch", "start 0", "queue 0 up", "start 1", "queue 1 up", "start 2", "queue 2 up",
               "up", "record 0 1.0 a", "done a 0 1");
    bus_flush(fixture.bus);
    ASSERT_LOG("record 0 2.0 a", "done a 0 2");
}

static void the_end_cancels_what_is_under_way(void **state)
{
    struct bus_publish publishes[] = {
        {.on_done = on_done, .record = STR("a")},
        {.on_done = on_done, .queue = 1, .record = STR("b")},
    };
    assert_int_equal(bus_publish(fixture.bus, &publishes[0]), 0);
    assert_int_equal(bus_publish(fixture.bus, &publishes[1]), 0);
    bus_destroy(fixture.bus);
    fixture.bus = NULL;
    char line[2][48];
    snprintf(line[0], sizeof(line[0]), "done a %d 0", ERR_CANCELED);
    snprintf(line[1], sizeof(line[1]), "done b %d 0", ERR_CANCELED);
    ASSERT_LOG(line[0], line[1]);
}

static void without_memory_there_is_none(void **state)
{
    struct bus *bus = NULL;
    mem_fail_nth(1);
    assert_int_equal(bus_memory_engine.create(&bus, NULL, &options, &callbacks, &fixture),
                     ERR_NO_MEMORY);
    assert_null(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_up_from_the_first_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_comes_back_before_the_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(records_come_back_in_order_and_each_queue_counts_for_itself,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_published_from_a_callback_waits_for_the_next_flush,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_cancels_what_is_under_way, setup, teardown),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
