/* What the hub marks in the window: superseded by a newer one of its collapse key, or cancelled. */
#include "core/hub_test_help.h"

static struct event make(const char *collapse)
{
    struct event event = event_test_make((uint32_t)(hub_test.hi[0] + hub_test.hi[1]) + 1, "1");
    event.collapse = str_of(collapse);
    return event;
}

/* Of the seq-th event of the queue. */
static bool has_fate(uint32_t queue, uint64_t seq, enum message_fate fate)
{
    struct message *message = window_get(hub_window(hub_test.hub), queue, seq);
    bool has = message_has_fate(message, fate);
    message_unref(message);
    return has;
}

static void the_one_before_of_the_same_key_and_targets_is_superseded(void **state)
{
    hub_test_receive_event(0, make("k"), "u:a");
    hub_test_receive_event(0, make("other"), "u:a");
    hub_test_receive_event(0, make("k"), "u:b");
    hub_test_receive_event(0, make(""), "u:a");
    for (uint64_t seq = 1; seq <= 4; seq++) {
        assert_false(has_fate(0, seq, MESSAGE_IS_SUPERSEDED));
    }
    hub_test_receive_event(0, make("k"), "u:a");
    assert_true(has_fate(0, 1, MESSAGE_IS_SUPERSEDED));
    for (uint64_t seq = 2; seq <= 5; seq++) {
        assert_false(has_fate(0, seq, MESSAGE_IS_SUPERSEDED));
    }
}

static void receive_for(uint32_t ttl_ms)
{
    struct event event = make("k");
    event.header.ttl_ms = ttl_ms;
    hub_test_receive_event(0, event, "u:a");
}

/* One letter for each message: superseded or not. */
static void assert_fates(const char *fates)
{
    for (uint64_t i = 0; fates[i]; i++) {
        assert_int_equal(has_fate(0, i + 1, MESSAGE_IS_SUPERSEDED), fates[i] == 's');
    }
}

static void one_that_outlives_the_newer_one_is_not_superseded(void **state)
{
    receive_for(0);
    receive_for(1000);
    assert_fates("--");
    receive_for(1000); /* as brief as the one before */
    assert_fates("-s-");
    receive_for(2000);
    assert_fates("-ss-");
    receive_for(0);
    assert_fates("ssss-");
    assert_int_equal(hub_test.hub->collapses.count, 1);
}

static void one_with_a_ttl_is_superseded_by_one_that_ends_no_sooner(void **state)
{
    receive_for(1000);
    receive_for(3000);
    assert_fates("s-");
    receive_for(0);
    assert_fates("ss-");
}

static void who_is_left_out_of_the_newer_one_keeps_the_older_one(void **state)
{
    struct event event = make("k");
    hub_test_receive_event(0, event, "u:a");
    event = make("k");
    event.origin_tag = STR("page-7f");
    hub_test_receive_event(0, event, "u:a");
    assert_fates("--");
    event = make("k");
    event.origin_tag = STR("page-7f");
    hub_test_receive_event(0, event, "u:a");
    assert_fates("-s-");
}

static void a_key_is_forgotten_with_its_newest_message(void **state)
{
    hub_test_receive_event(0, make("k"), "u:a");
    hub_test_receive_event(0, make("k"), "u:a");
    assert_int_equal(hub_test.hub->collapses.count, 1);
    receive_for(500);
    assert_int_equal(hub_test.hub->collapses.count, 2);
    hub_test_flush(1);
    hub_test_flush(6000);
    assert_int_equal(window_messages(hub_window(hub_test.hub)), 0);
    assert_int_equal(hub_test.hub->collapses.count, 0);
}

static void without_memory_nothing_is_superseded(void **state)
{
    hub_test_receive_event(0, make("k"), "u:a");
    struct message *first = window_get(hub_window(hub_test.hub), 0, 1);
    u64map_fini(&hub_test.hub->collapses);
    mem_fail_nth(1);
    hub_supersede(hub_test.hub, first);
    assert_int_equal(mem_fail_pending(), 0);
    assert_int_equal(hub_test.hub->collapses.count, 0);
    message_unref(first);
}

static struct event make_revoke(const char *id)
{
    struct event event = make("");
    event.kind = EVENT_REVOKE;
    event.subject = str_of(id);
    return event;
}

static struct event make_with_id(void)
{
    struct event event = make("");
    event.header.flags = EVENT_HAS_ID;
    event.id_hash = event_id_hash(&event_test_space, EVENT_TEST_APP, event.id);
    return event;
}

static void a_revoke_makes_its_message_void_and_goes_to_the_same_targets(void **state)
{
    hub_test_tell(1, event_test_key_of(TARGET_USER, "a"), INTEREST_ADD);
    hub_test_assert_message(1, hub_test_receive_event(0, make_with_id(), "u:a"));
    hub_test_receive_event(0, make_revoke("cmt-8"), "u:b");
    assert_false(has_fate(0, 1, MESSAGE_IS_VOID));
    hub_test_assert_message(1, hub_test_receive_event(0, make_revoke("cmt-7"), "u:a"));
    assert_true(has_fate(0, 1, MESSAGE_IS_VOID));
    assert_false(has_fate(0, 3, MESSAGE_IS_VOID));
    hub_test_assert_ring_empty(0);
}

int main(void)
{
#define WITH_HUB(test) cmocka_unit_test_setup_teardown(test, hub_test_setup, hub_test_teardown)
    const struct CMUnitTest tests[] = {
        WITH_HUB(the_one_before_of_the_same_key_and_targets_is_superseded),
        WITH_HUB(one_that_outlives_the_newer_one_is_not_superseded),
        WITH_HUB(one_with_a_ttl_is_superseded_by_one_that_ends_no_sooner),
        WITH_HUB(who_is_left_out_of_the_newer_one_keeps_the_older_one),
        WITH_HUB(a_key_is_forgotten_with_its_newest_message),
        WITH_HUB(without_memory_nothing_is_superseded),
        WITH_HUB(a_revoke_makes_its_message_void_and_goes_to_the_same_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
