/* Messages that are cancelled, or superseded by a newer one of their collapse key. */
#include "core/shard_test_help.h"

static void push_event(const char *target, struct event event)
{
    shard_test_push_event(event, &target, 1, NULL);
}

static void push(const char *target, const char *id, const char *collapse, const char *data)
{
    struct event event = event_test_make(0, data);
    event.header.flags = EVENT_HAS_ID;
    event.id = str_of(id);
    event.id_hash = event_id_hash(&event_test_space, EVENT_TEST_APP, event.id);
    event.collapse = str_of(collapse);
    push_event(target, event);
}

static void revoke_for(const char *target, const char *id, struct receipt *receipt)
{
    struct event event = event_test_make(0, "revoke");
    event.kind = EVENT_REVOKE;
    event.subject = str_of(id);
    shard_test_push_event(event, &target, 1, receipt);
}

static void revoke(const char *target, const char *id)
{
    revoke_for(target, id, NULL);
}

static struct session *start(const char *user)
{
    struct session *session = shard_test_start(user, "room");
    shard_test_run();
    shard_test_assert_told(session, "start none");
    return session;
}

static void a_revoke_follows_its_message_to_the_same_sessions(void **state)
{
    struct session *session = start("a");
    struct session *other = shard_test_start("b", NULL);
    shard_test_run();
    shard_test_assert_told(other, "start none");
    push("g:room", "m1", "", "1");
    shard_test_run();
    revoke("g:room", "m1");
    shard_test_run();
    shard_test_assert_told(session, "msg 1, msg revoke");
    shard_test_assert_told(other, "");
}

static void a_revoke_counts_who_is_told_and_who_was_spared_but_none_that_ends(void **state)
{
    struct receipt *receipt = receipt_create(1, receipt_unref, NULL);
    const enum session_delivery deliveries[] = {SESSION_WRITTEN, SESSION_QUEUED, SESSION_WITHDRAWN,
                                                SESSION_DROPPED, SESSION_SKIPPED};
    for (int i = 0; i < 5; i++) {
        struct session *session = start("a");
        shard_test.deliveries[session->fd] = deliveries[i];
    }
    revoke_for("g:room", "m1", receipt_ref(receipt));
    shard_test_run();
    assert_int_equal(receipt->open, 0);
    assert_int_equal(receipt->matched, 3);
    assert_int_equal(receipt->written, 1);
    assert_int_equal(receipt->dropped, 1);
    assert_int_equal(receipt->dropped_by[RECEIPT_REVOKED], 1);
    receipt_unref(receipt);
}

static void what_is_cancelled_before_its_turn_is_not_sent(void **state)
{
    struct session *session = start("a");
    push("u:a", "m1", "", "1");
    push("u:a", "m2", "", "2");
    revoke("u:a", "m1");
    shard_test_run();
    shard_test_assert_told(session, "msg 2, msg revoke");
}

static void a_replay_leaves_out_what_is_cancelled_and_tells_it_in_its_place(void **state)
{
    struct session_resume before = shard_test_here();
    push("u:a", "m1", "", "1");
    push("u:a", "m2", "", "2");
    shard_test_run();
    struct session_resume has_both = shard_test_here();
    revoke("u:a", "m1");
    push("u:a", "m3", "", "3");
    shard_test_run();
    struct session *session = shard_test_come_back("a", NULL, &before);
    shard_test_run();
    shard_test_assert_told(session, "start full, msg 2, msg revoke, msg 3");
    session = shard_test_come_back("a", NULL, &has_both);
    shard_test_run();
    shard_test_assert_told(session, "start full, msg revoke, msg 3");
}

static void a_replay_has_the_newest_of_a_key_and_who_is_here_has_all(void **state)
{
    struct session_resume resume = shard_test_here();
    struct session *here = start("a");
    push("u:a", "m1", "k", "1");
    push("u:a", "m2", "", "2");
    push("u:a", "m3", "k", "3");
    push("u:a", "m4", "other", "4");
    push("*", "m5", "k", "5");
    shard_test_run();
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test_run();
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_null(strstr(told, "msg 1"));
    for (char i = '2'; i <= '5'; i++) {
        assert_non_null(strstr(told, (char[]){'m', 's', 'g', ' ', i, 0}));
    }
    assert_non_null(strstr(buf_cstr(&shard_test.logs[here->fd]), "msg 1"));
}

static struct event with_key(const char *data)
{
    struct event event = event_test_make(0, data);
    event.collapse = STR("k");
    return event;
}

static void who_is_left_out_of_the_newest_is_sent_the_one_before(void **state)
{
    struct session_resume resume = shard_test_here();
    struct event newer = with_key("2");
    push_event("u:a", with_key("1"));
    newer.origin_tag = STR("page-7f");
    push_event("u:a", newer);
    shard_test_run();
    struct session *session = shard_test_come_back("a", NULL, &resume);
    session->origin_hash = shard_origin_hash(shard_test.shard, STR("page-7f"));
    shard_test_run();
    shard_test_assert_told(session, "start full, msg 1");
}

static void when_the_newest_has_expired_the_one_before_is_replayed(void **state)
{
    struct session_resume resume = shard_test_here();
    struct event newer = with_key("2");
    push_event("u:a", with_key("1"));
    newer.header.ttl_ms = 1000;
    push_event("u:a", newer);
    shard_test_run();
    shard_test.now_ms += 1000;
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test_run();
    shard_test_assert_told(session, "start full, msg 1");
}

static void a_cancelled_newest_does_not_bring_the_one_before_back(void **state)
{
    struct session_resume resume = shard_test_here();
    push("u:a", "m1", "k", "1");
    push("u:a", "m2", "k", "2");
    revoke("u:a", "m2");
    shard_test_run();
    struct session *session = shard_test_come_back("a", NULL, &resume);
    shard_test_run();
    shard_test_assert_told(session, "start full, msg revoke");
}

static void a_session_goes_live_though_a_revoke_is_in_line(void **state)
{
    struct session_resume resume = shard_test_here();
    push("u:a", "m1", "", "1");
    shard_test_run();
    struct session *session = shard_test_come_back("a", NULL, &resume);
    revoke("u:a", "m1");
    shard_test_run();
    assert_int_equal(session->state, SESSION_LIVE);
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_null(strstr(strstr(told, "msg revoke") + 1, "msg revoke")); /* live or replayed: once */
}

static void replays_are_counted(void **state)
{
    struct session_resume resume = shard_test_here();
    push("u:a", "m1", "", "1");
    shard_test_run();
    for (int i = 0; i < 2; i++) {
        shard_test_come_back("a", NULL, &resume);
        shard_test_run();
    }
    struct message *found[EVENT_MAX_PARTS];
    assert_int_equal(hub_find_messages(shard_test.hub, EVENT_TEST_APP, STR("m1"), found), 1);
    assert_int_equal(found[0]->receipt->replayed, 2);
    assert_int_equal(found[0]->receipt->matched, 0);
    message_unref(found[0]);
}

static void nobody_asks_about_what_has_left_the_window(void **state)
{
    struct message *found[EVENT_MAX_PARTS];
    push("u:a", "m1", "", "1");
    shard_test_run();
    assert_int_equal(hub_find_messages(shard_test.hub, EVENT_TEST_APP, STR("m1"), found), 1);
    assert_true(receipt_has_askers(found[0]->receipt));
    shard_test.now_ms += 60001; /* the window's age */
    shard_test_run();
    assert_false(receipt_has_askers(found[0]->receipt));
    message_unref(found[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SHARD(a_revoke_follows_its_message_to_the_same_sessions),
        WITH_SHARD(a_revoke_counts_who_is_told_and_who_was_spared_but_none_that_ends),
        WITH_SHARD(what_is_cancelled_before_its_turn_is_not_sent),
        WITH_SHARD(a_replay_leaves_out_what_is_cancelled_and_tells_it_in_its_place),
        WITH_SHARD(a_replay_has_the_newest_of_a_key_and_who_is_here_has_all),
        WITH_SHARD(who_is_left_out_of_the_newest_is_sent_the_one_before),
        WITH_SHARD(when_the_newest_has_expired_the_one_before_is_replayed),
        WITH_SHARD(a_cancelled_newest_does_not_bring_the_one_before_back),
        WITH_SHARD(a_session_goes_live_though_a_revoke_is_in_line),
        WITH_SHARD(replays_are_counted),
        WITH_SHARD(nobody_asks_about_what_has_left_the_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
