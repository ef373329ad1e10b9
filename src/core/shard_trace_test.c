/* Messages whose trace somebody follows: told once a node, when all workers have gone over them. */
#include "core/shard_test_help.h"

static const char sampled[EVENT_TRACE_LEN] = {[0] = 1, [16] = 2, [EVENT_TRACE_LEN - 1] = 1};
static const char unsampled[EVENT_TRACE_LEN] = {[0] = 1, [16] = 2};

static void push(const char *target, const char *id, const char trace[EVENT_TRACE_LEN])
{
    struct event event = event_test_make(0, "1");
    event.id = str_of(id);
    event.subject = str_make(trace, trace ? EVENT_TRACE_LEN : 0);
    shard_test_push_event(event, &target, 1, NULL);
}

static void must_be_told(const char *expected)
{
    assert_string_equal(buf_cstr(&shard_test.traces), expected);
    buf_clear(&shard_test.traces);
}

static struct session *start(const char *user)
{
    struct session *session = shard_test_start(user, NULL);
    shard_test_run();
    return session;
}

static int end(void **state)
{
    buf_fini(&shard_test.traces);
    return shard_test_teardown(state);
}

static void a_sampled_message_is_told_once_with_its_counts(void **state)
{
    const enum session_delivery deliveries[] = {SESSION_WRITTEN, SESSION_QUEUED, SESSION_DROPPED};
    shard_test.wants_traces = true;
    for (int i = 0; i < 3; i++) {
        shard_test.deliveries[start("a")->fd] = deliveries[i];
    }
    push("u:a", "m1", sampled);
    shard_test_run();
    must_be_told("m1 3/1/1; ");
}

static void one_that_nobody_here_gets_is_told_too(void **state)
{
    shard_test.wants_traces = true;
    push("u:nobody", "m1", sampled);
    shard_test_run();
    must_be_told("m1 0/0/0; ");
}

static void what_is_not_sampled_or_not_followed_is_not_told(void **state)
{
    start("a");
    push("u:a", "m1", sampled);
    shard_test_run();
    must_be_told("");
    shard_test.wants_traces = true;
    push("u:a", "m2", unsampled);
    push("u:a", "m3", NULL);
    push("t:ticket", "m4", sampled);
    shard_test_run();
    must_be_told("");
}

static void a_worker_that_was_behind_is_counted_too(void **state)
{
    shard_test.wants_traces = true;
    start("a");
    for (int i = 0; i < 40; i++) { /* the ring has less room */
        push("u:a", "m", sampled);
    }
    shard_test_run();
    size_t count = 0;
    for (const char *at = buf_cstr(&shard_test.traces); (at = strstr(at, "m 1/1/0; ")); at++) {
        count++;
    }
    assert_int_equal(count, 40);
    assert_int_equal(shard_test.traces.len, count * strlen("m 1/1/0; "));
    assert_true(atomic_load(&hub_get_stats(shard_test.hub)->ring_full) > 0);
}

static int setup_small_ring(void **state)
{
    shard_test_open(16, 1 << 20, 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sampled_message_is_told_once_with_its_counts,
                                        shard_test_setup, end),
        cmocka_unit_test_setup_teardown(one_that_nobody_here_gets_is_told_too, shard_test_setup,
                                        end),
        cmocka_unit_test_setup_teardown(what_is_not_sampled_or_not_followed_is_not_told,
                                        shard_test_setup, end),
        cmocka_unit_test_setup_teardown(a_worker_that_was_behind_is_counted_too, setup_small_ring,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
