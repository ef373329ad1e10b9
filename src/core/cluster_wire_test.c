#include "core/cluster_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct cluster_beacon full_beacon(void)
{
    return (struct cluster_beacon){.state = CLUSTER_DRAINING,
                                   .seq = 0xfffffffe,
                                   .queues = 8,
                                   .layout = 0x1122334455667788,
                                   .counts_on = 0x8000000000000001,
                                   .started_ms = 1767225600000,
                                   .window_age_ms = 300000,
                                   .sessions = 1000000,
                                   .users = 70000,
                                   .lag_us = 812,
                                   .keeps_users = true,
                                   .tells_users = true,
                                   .key_tag = 5,
                                   .user_counts = STR("\1\0\0\0\3\0abc"),
                                   .node = STR("gw-1"),
                                   .version = STR("0.1.0")};
}

static void a_beacon_is_read_as_it_was_written(void **state)
{
    struct buf wire = {0};
    struct cluster_beacon sent = full_beacon();
    struct cluster_beacon got;
    assert_int_equal(cluster_write_beacon(&wire, &sent), 0);
    assert_true(cluster_read_beacon(&got, buf_str(&wire)));
    assert_int_equal(got.state, sent.state);
    assert_int_equal(got.seq, sent.seq);
    assert_int_equal(got.queues, sent.queues);
    assert_int_equal(got.layout, sent.layout);
    assert_int_equal(got.counts_on, sent.counts_on);
    assert_int_equal(got.started_ms, sent.started_ms);
    assert_int_equal(got.window_age_ms, sent.window_age_ms);
    assert_int_equal(got.sessions, sent.sessions);
    assert_int_equal(got.users, sent.users);
    assert_int_equal(got.lag_us, sent.lag_us);
    assert_true(str_equal(got.node, sent.node));
    assert_true(str_equal(got.version, sent.version));
    assert_true(got.keeps_users && got.tells_users);
    assert_int_equal(got.key_tag, sent.key_tag);
    assert_true(str_equal(got.user_counts, sent.user_counts));
    buf_fini(&wire);
}

static void a_beacon_of_a_later_version_is_read_as_far_as_it_is_known(void **state)
{
    struct buf wire = {0};
    struct cluster_beacon sent = full_beacon();
    struct cluster_beacon got;
    cluster_write_beacon(&wire, &sent);
    wire.data[0] = CLUSTER_WIRE_VERSION + 1;
    wire.data[1] = 77; /* a state of then */
    buf_append_str(&wire, STR("what nobody knows yet"));
    assert_true(cluster_read_beacon(&got, buf_str(&wire)));
    assert_int_equal(got.state, CLUSTER_STARTING);
    assert_true(str_equal(got.version, sent.version));
    wire.data[0] = 0;
    assert_false(cluster_read_beacon(&got, buf_str(&wire)));
    buf_fini(&wire);
}

static void a_beacon_that_is_cut_is_none(void **state)
{
    struct buf wire = {0};
    struct cluster_beacon beacon = full_beacon();
    cluster_write_beacon(&wire, &beacon);
    size_t users_at = wire.len - 5 - beacon.user_counts.len; /* what earlier versions did not say */
    for (size_t len = 0; len < wire.len; len++) {
        bool is_whole = len == users_at || len == users_at - 1;
        assert_int_equal(cluster_read_beacon(&beacon, str_make(wire.data, len)), is_whole);
    }
    assert_true(cluster_read_beacon(&beacon, str_make(wire.data, users_at)));
    assert_true(beacon.keeps_users && !beacon.tells_users && beacon.user_counts.len == 0);
    assert_true(cluster_read_beacon(&beacon, str_make(wire.data, users_at - 1)));
    assert_false(beacon.keeps_users);
    buf_fini(&wire);
}

static void names_of_peers_are_short_and_printable(void **state)
{
    static const char longest[] = "0123456789012345678901234567890123456789012345678901234567890123"
                                  "and more";
    struct buf wire = {0};
    struct cluster_beacon beacon = full_beacon();
    struct cluster_beacon got;
    beacon.node = str_of(longest);
    cluster_write_beacon(&wire, &beacon);
    assert_true(cluster_read_beacon(&got, buf_str(&wire)));
    assert_int_equal(got.node.len, CLUSTER_NAME_MAX);
    wire.len = 0;
    beacon.node = STR("a\nb");
    cluster_write_beacon(&wire, &beacon);
    assert_false(cluster_read_beacon(&got, buf_str(&wire)));
    buf_fini(&wire);
}

static void questions_and_answers_are_read_as_they_were_written(void **state)
{
    struct buf wire = {0};
    struct cluster_ask_body ask = {1ull << 40, 1000, 4711, 3, STR("[\"42\"]")};
    struct cluster_ask_body got_ask;
    cluster_write_ask(&wire, &ask);
    for (size_t len = 0; len < wire.len; len++) {
        assert_false(cluster_read_ask(&got_ask, str_make(wire.data, len)));
    }
    assert_true(cluster_read_ask(&got_ask, buf_str(&wire)));
    assert_int_equal(got_ask.id, ask.id);
    assert_int_equal(got_ask.within_ms, 1000);
    assert_int_equal(got_ask.app, 4711);
    assert_int_equal(got_ask.kind, 3);
    assert_true(str_equal(got_ask.payload, ask.payload));

    wire.len = 0;
    struct cluster_reply_body reply = {5, true, {1, 2, 3, UINT64_MAX}, STR("text")};
    struct cluster_reply_body got;
    cluster_write_reply(&wire, &reply);
    for (size_t len = 0; len < wire.len; len++) {
        assert_false(cluster_read_reply(&got, str_make(wire.data, len)));
    }
    assert_true(cluster_read_reply(&got, buf_str(&wire)));
    assert_int_equal(got.id, 5);
    assert_true(got.is_part);
    assert_int_equal(got.counts[3], UINT64_MAX);
    assert_true(str_equal(got.text, reply.text));
    buf_fini(&wire);
}

static void a_report_is_a_run_of_counts(void **state)
{
    struct buf wire = {0};
    struct cluster_count_body got;
    for (uint8_t i = 0; i < 3; i++) {
        struct cluster_count_body count = {i, 100u + i, 1, 2, 3, str_make("\x05\x80", i),
                                           7, i == 1};
        cluster_write_count(&wire, &count);
    }
    struct str rest = buf_str(&wire);
    assert_true(cluster_begin_counts(&rest));
    for (uint8_t i = 0; i < 3; i++) {
        assert_true(cluster_next_count(&rest, &got));
        assert_int_equal(got.queue, i);
        assert_int_equal(got.counter, 100 + i);
        assert_int_equal(got.dropped, 3);
        assert_int_equal(got.online.len, i);
        assert_int_equal(got.acked, 7);
        assert_int_equal(got.is_part, i == 1);
    }
    assert_int_equal(rest.len, 0);
    assert_false(cluster_next_count(&rest, &got));
    rest = str_make(wire.data, wire.len - 1);
    assert_true(cluster_begin_counts(&rest));
    assert_true(cluster_next_count(&rest, &got));
    assert_true(cluster_next_count(&rest, &got));
    assert_false(cluster_next_count(&rest, &got));
    buf_fini(&wire);
}

/* As nodes wrote it that knew of no acks. */
static void a_count_may_end_before_what_was_appended_later(void **state)
{
    struct cluster_count_body count = {1, 100, 1, 2, 3, STR("\x05"), 7, true};
    struct cluster_count_body got;
    struct buf wire = {0};
    cluster_write_count(&wire, &count);
    wire.data[1] -= 5;
    wire.len -= 5;
    struct str rest = buf_str(&wire);
    assert_true(cluster_begin_counts(&rest));
    assert_true(cluster_next_count(&rest, &got));
    assert_int_equal(got.dropped, 3);
    assert_int_equal(got.online.len, 1);
    assert_int_equal(got.acked, 0);
    assert_false(got.is_part);
    buf_fini(&wire);
}

static void what_is_said_of_users_is_read_as_it_was_written(void **state)
{
    struct cluster_presence_item up = {.op = PRESENCE_UP,
                                       .app = 0x11223344,
                                       .grace_ms = 10000,
                                       .boot = 77,
                                       .serial = 0x1122334455667788,
                                       .time_ms = 1767225600123,
                                       .user = STR("zo\xc3\xab")};
    struct cluster_presence_item end = {.op = PRESENCE_END};
    struct cluster_presence_item got;
    struct buf wire = {0};
    assert_int_equal(cluster_write_presence(&wire, &up), 0);
    assert_int_equal(cluster_write_presence(&wire, &end), 0);
    struct str rest = buf_str(&wire);
    assert_true(cluster_begin_presence(&rest));
    assert_true(cluster_next_presence(&rest, &got));
    assert_int_equal(got.op, PRESENCE_UP);
    assert_int_equal(got.app, up.app);
    assert_int_equal(got.grace_ms, up.grace_ms);
    assert_int_equal(got.boot, up.boot);
    assert_int_equal(got.serial, up.serial);
    assert_int_equal(got.time_ms, up.time_ms);
    assert_true(str_equal(got.user, up.user));
    assert_true(cluster_next_presence(&rest, &got));
    assert_int_equal(got.op, PRESENCE_END);
    assert_int_equal(got.user.len, 0);
    assert_false(cluster_next_presence(&rest, &got));
    for (size_t len = 1; len < wire.len; len++) {
        rest = str_make(wire.data, len);
        assert_true(cluster_begin_presence(&rest));
        while (cluster_next_presence(&rest, &got)) {
            assert_true(got.op == PRESENCE_UP);
        }
    }
    buf_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_beacon_is_read_as_it_was_written),
        cmocka_unit_test(a_beacon_of_a_later_version_is_read_as_far_as_it_is_known),
        cmocka_unit_test(a_beacon_that_is_cut_is_none),
        cmocka_unit_test(names_of_peers_are_short_and_printable),
        cmocka_unit_test(questions_and_answers_are_read_as_they_were_written),
        cmocka_unit_test(a_report_is_a_run_of_counts),
        cmocka_unit_test(a_count_may_end_before_what_was_appended_later),
        cmocka_unit_test(what_is_said_of_users_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
