#include "net/loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

struct probe {
    struct loop_watch watch;
    struct loop *loop;
    struct probe *victim; /* unwatched by on_ready */
    int calls;
    unsigned events;
};

static void on_probe(struct loop_watch *watch, unsigned events)
{
    struct probe *probe = (struct probe *)(void *)watch;
    probe->calls++;
    probe->events = events;
    if (probe->victim) {
        loop_unwatch(probe->loop, &probe->victim->watch);
    }
}

static struct loop *make_loop(void)
{
    struct loop *loop = NULL;
    assert_int_equal(loop_create(&loop), 0);
    return loop;
}

static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

static void close_pair(const int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static void readable_writable_and_hangup_are_told(void **state)
{
    struct loop *loop = make_loop();
    int pair[2];
    make_pair(pair);
    struct probe probe = {.watch = {.on_ready = on_probe}};

    assert_int_equal(loop_watch(loop, &probe.watch, pair[0], LOOP_READABLE), 0);
    loop_turn(loop, 0);
    assert_int_equal(probe.calls, 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    loop_turn(loop, 0);
    loop_turn(loop, 0); /* level-triggered: told again */
    assert_int_equal(probe.calls, 2);
    assert_int_equal(probe.events, LOOP_READABLE);

    assert_int_equal(loop_rewatch(loop, &probe.watch, LOOP_WRITABLE), 0);
    loop_turn(loop, 0);
    assert_int_equal(probe.events, LOOP_WRITABLE);

    assert_int_equal(loop_rewatch(loop, &probe.watch, 0), 0);
    loop_turn(loop, 0);
    assert_int_equal(probe.calls, 3);
    close(pair[1]);
    loop_turn(loop, 0);
    assert_int_equal(probe.events, LOOP_HANGUP);

    loop_unwatch(loop, &probe.watch);
    assert_int_equal(probe.watch.fd, -1);
    loop_turn(loop, 0);
    assert_int_equal(probe.calls, 4);
    close(pair[0]);
    loop_destroy(loop);
}

static void an_unwatched_descriptor_gets_no_event_of_the_current_turn(void **state)
{
    struct loop *loop = make_loop();
    int a[2];
    int b[2];
    make_pair(a);
    make_pair(b);
    struct probe probes[2] = {{.watch = {.on_ready = on_probe}, .loop = loop},
                              {.watch = {.on_ready = on_probe}, .loop = loop}};
    probes[0].victim = &probes[1];
    probes[1].victim = &probes[0];
    assert_int_equal(loop_watch(loop, &probes[0].watch, a[0], LOOP_WRITABLE), 0);
    assert_int_equal(loop_watch(loop, &probes[1].watch, b[0], LOOP_WRITABLE), 0);

    loop_turn(loop, 0); /* both are in one batch; whichever runs first takes the other out */
    assert_int_equal(probes[0].calls + probes[1].calls, 1);

    close_pair(a);
    close_pair(b);
    loop_destroy(loop);
}

struct stopper {
    struct timer timer;
    struct loop *loop;
    struct probe *victim;
};

static void stop_it_all(struct timer *timer)
{
    struct stopper *stopper = (struct stopper *)(void *)timer;
    loop_unwatch(stopper->loop, &stopper->victim->watch);
    loop_stop(stopper->loop);
}

static void a_timer_may_unwatch_what_is_ready_in_the_same_turn(void **state)
{
    struct loop *loop = make_loop();
    int pair[2];
    make_pair(pair);
    struct probe probe = {.watch = {.on_ready = on_probe}};
    assert_int_equal(loop_watch(loop, &probe.watch, pair[0], LOOP_READABLE), 0);
    struct stopper stopper = {.timer = {.on_fire = stop_it_all}, .loop = loop, .victim = &probe};
    loop_timer_start(loop, &stopper.timer, 20);

    assert_int_equal(loop_run(loop), 0);
    assert_false(timer_is_running(&stopper.timer));
    assert_int_equal(write(pair[1], "x", 1), 1);
    loop_turn(loop, 0);
    assert_int_equal(probe.calls, 0);

    close_pair(pair);
    loop_destroy(loop);
}

static void the_wait_ends_with_the_next_timer_and_never_before_it(void **state)
{
    struct loop *loop = make_loop();
    struct probe idle = {.calls = 0};
    struct stopper stopper = {.timer = {.on_fire = stop_it_all}, .loop = loop, .victim = &idle};
    idle.watch.fd = -1;
    uint64_t start_us = loop_now_us(loop);
    loop_timer_start(loop, &stopper.timer, 30);
    assert_int_equal(loop_run(loop), 0);
    assert_true(loop_now_us(loop) - start_us >= 29000); /* ms are cut off on both sides */
    loop_destroy(loop);
}

struct tag_log {
    uint64_t tag;
    unsigned events;
    int calls;
};

static void log_tag(void *owner, uint64_t tag, unsigned events)
{
    struct tag_log *tags = owner;
    *tags = (struct tag_log){.tag = tag, .events = events, .calls = tags->calls + 1};
}

static void a_tag_comes_back_with_its_event(void **state)
{
    struct loop *loop = make_loop();
    int pair[2];
    make_pair(pair);
    struct tag_log tags = {0};
    loop_set_tag_handler(loop, log_tag, &tags);
    const uint64_t tag = LOOP_TAG | (7ull << 32) | 42;

    assert_int_equal(loop_watch_tag(loop, pair[0], tag, LOOP_READABLE), 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    loop_turn(loop, 0);
    assert_int_equal(tags.tag, tag);
    assert_int_equal(tags.events, LOOP_READABLE);
    assert_int_equal(loop_rewatch_tag(loop, pair[0], tag, LOOP_READABLE | LOOP_WRITABLE), 0);
    loop_turn(loop, 0);
    assert_int_equal(tags.events, LOOP_READABLE | LOOP_WRITABLE);
    loop_unwatch_tag(loop, pair[0]);
    loop_turn(loop, 0);
    assert_int_equal(tags.calls, 2);

    close_pair(pair);
    loop_destroy(loop);
}

struct turn_end_log {
    char order[32];
    size_t len;
    int more; /* how often to ask for another turn */
};

static bool end_a(void *owner)
{
    struct turn_end_log *ends = owner;
    ends->order[ends->len++] = 'a';
    return ends->more-- > 0;
}

static bool end_b(void *owner)
{
    struct turn_end_log *ends = owner;
    ends->order[ends->len++] = 'b';
    return false;
}

static void turn_ends_run_in_order_and_one_with_more_to_do_keeps_the_loop_awake(void **state)
{
    struct loop *loop = make_loop();
    struct turn_end_log ends = {.more = 1};
    assert_int_equal(loop_add_turn_end(loop, end_a, &ends), 0);
    assert_int_equal(loop_add_turn_end(loop, end_b, &ends), 0);
    loop_turn(loop, 0);
    loop_turn(loop, 100000); /* would run into the test's time-out */
    assert_string_equal(ends.order, "abab");
    for (int i = 2; i < 8; i++) {
        assert_int_equal(loop_add_turn_end(loop, end_b, &ends), 0);
    }
    assert_int_equal(loop_add_turn_end(loop, end_b, &ends), ERR_TOO_LARGE);
    loop_destroy(loop);
}

static void spin_2ms(struct timer *timer)
{
    struct stopper *stopper = (struct stopper *)(void *)timer;
    uint64_t start_us = loop_now_us(stopper->loop);
    while (clock_monotonic_us() < start_us + 2000) {
    }
    loop_stop(stopper->loop);
}

static void time_outside_the_wait_is_counted(void **state)
{
    struct loop *loop = make_loop();
    struct stopper stopper = {.timer = {.on_fire = spin_2ms}, .loop = loop};
    loop_timer_start(loop, &stopper.timer, 0);
    assert_int_equal(loop_run(loop), 0);
    assert_true(loop_busy_us(loop) >= 2000);
    uint64_t now_us = clock_monotonic_us();
    assert_true(loop_longest_turn_us(loop, now_us) >= 2000);
    assert_true(loop_longest_turn_us(loop, now_us) >= 2000); /* asking took nothing away */
    assert_int_equal(loop_longest_turn_us(loop, now_us + 3ull * LOOP_PERIOD_US), 0);
    loop_destroy(loop);
}

static void a_watch_that_fails_is_left_unwatched(void **state)
{
    struct loop *loop = make_loop();
    struct probe probe = {.watch = {.on_ready = on_probe}};
    assert_int_equal(loop_watch(loop, &probe.watch, 100000, LOOP_READABLE), -EBADF);
    assert_int_equal(probe.watch.fd, -1);
    loop_unwatch(loop, &probe.watch);
    loop_destroy(loop);
}

static void without_memory_there_is_no_loop(void **state)
{
    struct loop *loop = NULL;
    mem_fail_nth(1);
    assert_int_equal(loop_create(&loop), -ENOMEM);
    assert_null(loop);
    loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readable_writable_and_hangup_are_told),
        cmocka_unit_test(an_unwatched_descriptor_gets_no_event_of_the_current_turn),
        cmocka_unit_test(a_timer_may_unwatch_what_is_ready_in_the_same_turn),
        cmocka_unit_test(the_wait_ends_with_the_next_timer_and_never_before_it),
        cmocka_unit_test(a_tag_comes_back_with_its_event),
        cmocka_unit_test(turn_ends_run_in_order_and_one_with_more_to_do_keeps_the_loop_awake),
        cmocka_unit_test(time_outside_the_wait_is_counted),
        cmocka_unit_test(a_watch_that_fails_is_left_unwatched),
        cmocka_unit_test(without_memory_there_is_no_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
