/* Sessions, users and groups on one worker, and what reaches them. Replays: shard_replay_test.c;
 * everything at once: shard_sim_test.c. */
#include "core/shard_test_help.h"

static void a_session_is_found_until_its_slot_is_freed(void **state)
{
    struct session *session = shard_test_connect("a");
    uint32_t slot = shard_session_slot(shard_test.shard, session);
    uint32_t generation = session->generation;
    assert_ptr_equal(shard_session_find(shard_test.shard, slot, generation), session);
    assert_null(shard_session_find(shard_test.shard, slot, generation + 1));
    assert_null(shard_session_find(shard_test.shard, 0, generation));
    assert_null(shard_session_find(shard_test.shard, UINT32_MAX, generation));
    shard_session_end(shard_test.shard, session);
    assert_ptr_equal(shard_session_find(shard_test.shard, slot, generation), session);
    shard_session_free(shard_test.shard, session);
    assert_null(shard_session_find(shard_test.shard, slot, generation));
    struct session *next = shard_test_connect("a");
    assert_int_equal(shard_session_slot(shard_test.shard, next), slot);
    assert_null(shard_session_find(shard_test.shard, slot, generation));
}

static void users_are_told_where_they_are_tracked(void **state)
{
    struct session *first = shard_test_live("a", NULL);
    assert_int_equal(shard_test.users.len, 0);
    shard_track_users(shard_test.shard, first->app, true);
    shard_track_users(shard_test.shard, first->app, true); /* as it is */
    struct session *second = shard_test_live("a", NULL);
    struct session *other = shard_test_live("b", NULL);
    shard_test_live(NULL, NULL);
    assert_string_equal(buf_cstr(&shard_test.users), "+a +b ");
    shard_test_end(first);
    shard_test_end(other);
    assert_string_equal(buf_cstr(&shard_test.users), "+a +b -b ");
    shard_track_users(shard_test.shard, second->app, false);
    shard_test_end(second);
    assert_string_equal(buf_cstr(&shard_test.users), "+a +b -b -a ");
}

static void a_user_that_could_not_be_told_is_told_with_its_next_session(void **state)
{
    struct session *first = shard_test_live("b", NULL);
    shard_track_users(shard_test.shard, first->app, true);
    shard_test.refuses_users = true;
    struct session *second = shard_test_live("a", NULL);
    shard_test.refuses_users = false;
    shard_test_end(second);
    assert_string_equal(buf_cstr(&shard_test.users), "+b ");
    shard_test.refuses_users = true;
    second = shard_test_live("a", NULL);
    shard_test.refuses_users = false;
    shard_test_live("a", NULL);
    assert_string_equal(buf_cstr(&shard_test.users), "+b +a ");
}

static void a_session_gets_what_comes_after_its_fence(void **state)
{
    shard_test_push("u:a", "before");
    struct session *session = shard_test_start("a", NULL);
    shard_test_push("u:a", "crossing"); /* leaves for the bus behind the fence */
    shard_test_run();
    shard_test_push("u:a", "after");
    shard_test_run();
    shard_test_assert_told(session, "start none, msg before, msg crossing, msg after");
}

static void what_the_bus_had_before_the_fence_is_not_for_it(void **state)
{
    struct session *first = shard_test_live("a", NULL);
    shard_test_push("u:a", "one");
    shard_test_turn_hub(); /* in the ring now */
    struct session *second = shard_test_start("a", NULL);
    shard_test_run();
    shard_test_assert_told(first, "msg one");
    shard_test_assert_told(second, "start none");
}

static void all_sessions_of_a_user_get_its_messages(void **state)
{
    struct session *tab = shard_test_live("a", NULL);
    struct session *phone = shard_test_live("a", NULL);
    struct session *other = shard_test_live("b", NULL);
    struct session *nobody = shard_test_live(NULL, NULL);
    shard_test_push("u:a", "hi");
    shard_test_push("*", "all");
    shard_test_run();
    shard_test_assert_told(nobody, "msg all");
    shard_test_assert_told(other, "msg all");
    assert_int_equal(shard_test.logs[tab->fd].len, strlen("msg hi, msg all"));
    assert_int_equal(shard_test.logs[phone->fd].len, strlen("msg hi, msg all"));
    shard_test_end(tab);
    shard_test_push("u:a", "two");
    buf_clear(&shard_test.logs[phone->fd]);
    shard_test_run();
    shard_test_assert_told(phone, "msg two");
}

static void a_session_of_another_app_is_not_reached(void **state)
{
    assert_int_equal(shard_add_app(shard_test.shard, 1, STR("other")), 0);
    struct session *session = shard_session_create(shard_test.shard, 1, 0);
    session->fd = (int32_t)shard_test.sessions++;
    assert_int_equal(shard_session_set_user(shard_test.shard, session, STR("a")), 0);
    assert_int_equal(shard_session_start(shard_test.shard, session, NULL), 0);
    struct session *here = shard_test_live("a", NULL);
    assert_int_equal(shard_app_sessions(shard_test.shard, 0), 1);
    assert_int_equal(shard_app_sessions(shard_test.shard, 1), 1);
    shard_test_push("u:a", "hi");
    shard_test_push("*", "all");
    shard_test_run();
    shard_test_assert_told(session, "start none");
    assert_true(shard_test.logs[here->fd].len > 0);
}

static void a_message_of_several_targets_comes_once(void **state)
{
    struct session *both = shard_test_live("a", "room");
    struct session *member = shard_test_live("b", "room");
    struct event event = event_test_make(0, "once");
    shard_test_push_event(event, (const char *[]){"u:a", "g:room", "*", "u:a"}, 4, NULL);
    shard_test_run();
    shard_test_assert_told(both, "msg once");
    shard_test_assert_told(member, "msg once");
    assert_int_equal(shard_test.shard->served.count, 0); /* all its parts were seen */
}

static void parts_of_one_message_come_once_and_are_forgotten_in_time(void **state)
{
    struct session *session = shard_test_live("a", "room");
    struct event event = event_test_make(0, "once");
    event.parts = 3;
    shard_test_push_event(event, (const char *[]){"u:a"}, 1, NULL);
    event.part = 1;
    shard_test_push_event(event, (const char *[]){"g:room"}, 1, NULL);
    shard_test_run();
    shard_test_assert_told(session, "msg once");
    assert_int_equal(shard_test.shard->served.count, 1); /* a part went elsewhere */
    shard_test.now_ms += 4999;
    shard_test_turn_shard();
    assert_int_equal(shard_test.shard->served.count, 1);
    shard_test.now_ms += 1;
    shard_test_turn_shard();
    assert_int_equal(shard_test.shard->served.count, 0);
}

static void a_new_session_in_a_used_slot_counts_for_itself(void **state)
{
    struct session *old = shard_test_live("a", NULL);
    struct event event = event_test_make(0, "news");
    event.parts = 2;
    shard_test_push_event(event, (const char *[]){"u:a"}, 1, NULL);
    shard_test_run();
    shard_test_end(old);
    struct session *new = shard_test_live("b", "room");
    assert_int_equal(shard_session_slot(shard_test.shard, new), 1);
    event.part = 1;
    shard_test_push_event(event, (const char *[]){"g:room"}, 1, NULL);
    shard_test_run();
    shard_test_assert_told(new, "msg news");
}

static void push_excepting(struct str sid, const char *origin_tag, const char *data)
{
    struct publish *publish = publish_create(1);
    struct event event = event_test_make(0, data);
    struct target target = {TARGET_ALL, STR("")};
    uint64_t key = event_test_key_of(TARGET_ALL, "");
    event.origin_tag = str_of(origin_tag);
    publish->on_done = shard_test_on_done;
    assert_int_equal(
        event_encode(&publish->parts[0].event, &event, &target, &key, 1, &sid, sid.len > 0), 0);
    hub_publish(shard_test.hub, publish, shard_test.now_ms);
}

static void excepted_sessions_and_pages_are_left_out(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    struct session *page = shard_test_live("a", NULL);
    struct sid sid;
    char text[SID_LEN + 1];
    shard_session_sid(shard_test.shard, session, &sid);
    sid_format(text, &shard_test.shard->options.sid_key, &sid);
    page->origin_hash = shard_origin_hash(shard_test.shard, STR("page-7f"));
    push_excepting(str_of(text), "", "1");
    push_excepting(STR(""), "page-7f", "2");
    push_excepting(STR("s_nobody"), "page-8", "3");
    shard_test_run();
    shard_test_assert_told(session, "msg 2, msg 3");
    shard_test_assert_told(page, "msg 1, msg 3");
    assert_int_equal(shard_origin_hash(shard_test.shard, STR("")), 0);
}

static void exceptions_hold_without_memory_for_their_list(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    struct session *other = shard_test_live("a", NULL);
    struct sid sid;
    char text[SID_LEN + 1];
    shard_session_sid(shard_test.shard, session, &sid);
    sid_format(text, &shard_test.shard->options.sid_key, &sid);
    push_excepting(str_of(text), "", "1");
    shard_test_turn_hub();
    mem_fail_nth(2); /* the lane, the list */
    shard_test_turn_shard();
    assert_false(mem_fail_pending());
    shard_test_assert_told(session, "");
    shard_test_assert_told(other, "msg 1");
}

static void what_is_past_its_ttl_is_not_delivered(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    struct event event = event_test_make(0, "stale");
    event.header.ttl_ms = 100;
    shard_test_push_event(event, (const char *[]){"u:a"}, 1, NULL);
    shard_test_turn_hub();
    shard_test.now_ms += 100;
    shard_test_push("u:a", "fresh");
    shard_test_run();
    shard_test_assert_told(session, "msg fresh");
    assert_int_equal(shard_get_stats(shard_test.shard)->expired, 1);
}

static void a_push_to_a_session_id_reaches_it_alone(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    struct session *other = shard_test_live("a", NULL);
    struct sid sid;
    char text[SID_LEN + 3] = "s:";
    shard_session_sid(shard_test.shard, session, &sid);
    sid_format(text + 2, &shard_test.shard->options.sid_key, &sid);
    shard_test_push(text, "you");
    shard_test_run();
    shard_test_assert_told(session, "msg you");
    shard_test_assert_told(other, "");
    shard_test_end(session);
    struct session *next = shard_test_live("a", NULL); /* in the same slot */
    shard_test_push(text, "gone");
    shard_test_run();
    shard_test_assert_told(next, "");
}

static void a_join_is_in_force_from_its_fence(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    shard_test_push("g:room", "before");
    shard_test_turn_hub();
    assert_int_equal(shard_join(shard_test.shard, session, STR("room"), 7), 0);
    assert_int_equal(shard_join(shard_test.shard, session, STR("room"), 8), ERR_EXISTS);
    shard_test_run();
    shard_test_push("g:room", "after");
    shard_test_run();
    shard_test_assert_told(session, "joined room 7, msg after");
    assert_int_equal(shard_leave(shard_test.shard, session, STR("room")), 0);
    assert_int_equal(shard_leave(shard_test.shard, session, STR("room")), ERR_NOT_FOUND);
    shard_test_push("g:room", "late");
    shard_test_run();
    shard_test_assert_told(session, "");
}

static void a_join_that_was_left_before_its_fence_is_answered_all_the_same(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    assert_int_equal(shard_join(shard_test.shard, session, STR("room"), 1), 0);
    assert_int_equal(shard_leave(shard_test.shard, session, STR("room")), 0);
    assert_int_equal(shard_join(shard_test.shard, session, STR("room"), 2), 0);
    shard_test_push("g:room", "hi");
    shard_test_run();
    shard_test_push("g:room", "again");
    shard_test_run();
    shard_test_assert_told(session, "joined  1, joined room 2, msg hi, msg again");
}

static void the_api_joins_and_parts_the_sessions_of_a_user(void **state)
{
    struct session *tab = shard_test_live("a", NULL);
    struct session *other = shard_test_live("b", NULL);
    shard_test_control(EVENT_JOIN, "g:room", "a");
    shard_test_push("g:room", "hi");
    shard_test_control(EVENT_JOIN, "g:room", "a"); /* is in already */
    shard_test_run();
    shard_test_assert_told(tab, "joined room 0, msg hi");
    shard_test_assert_told(other, "");
    assert_int_equal(shard_group_size(shard_test.shard, 0, STR("room")), 1);
    shard_test_control(EVENT_PART, "g:room", "a");
    shard_test_push("g:room", "bye");
    shard_test_run();
    shard_test_assert_told(tab, "left room");
    assert_int_equal(shard_group_size(shard_test.shard, 0, STR("room")), 0);
}

static void a_join_of_the_api_overtakes_one_of_the_clients_own(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    shard_test_control(EVENT_JOIN, "g:room", "a");
    shard_test_push("g:room", "hi");
    shard_test_turn_hub(); /* both are in the ring */
    assert_int_equal(shard_join(shard_test.shard, session, STR("room"), 9), 0);
    shard_test_run();
    shard_test_assert_told(session, "joined room 9, msg hi"); /* its fence was faster */
    assert_int_equal(shard_group_size(shard_test.shard, 0, STR("room")), 1);
}

static void a_session_that_began_after_a_join_is_not_in_the_group(void **state)
{
    struct session *early = shard_test_live("a", NULL);
    shard_test_control(EVENT_JOIN, "g:room", "a");
    shard_test_turn_hub();
    struct session *late = shard_test_start("a", NULL);
    shard_test_run();
    shard_test_assert_told(early, "joined room 0");
    shard_test_assert_told(late, "start none");
}

static void a_part_makes_earlier_grants_void(void **state)
{
    struct shard *shard = shard_test.shard;
    shard_test_control(EVENT_PART, "g:room", "a"); /* at 5000, of somebody who is not here */
    shard_test_run();
    assert_true(shard_grant_is_revoked(shard, 0, STR("a"), STR("room"), 4999));
    assert_true(shard_grant_is_revoked(shard, 0, STR("a"), STR("room"), 5000));
    assert_false(shard_grant_is_revoked(shard, 0, STR("a"), STR("room"), 5001));
    assert_false(shard_grant_is_revoked(shard, 0, STR("b"), STR("room"), 1));
    assert_false(shard_grant_is_revoked(shard, 0, STR("a"), STR("hall"), 1));
}

static void part(const char *user, uint64_t time_ms)
{
    struct event event = event_test_make(0, "");
    event.kind = EVENT_PART;
    event.subject = str_of(user);
    event.time_ms = time_ms;
    shard_test_push_event(event, (const char *[]){"g:room"}, 1, NULL);
    shard_test_run();
}

static void a_part_that_is_lost_for_want_of_memory_makes_all_earlier_grants_void(void **state)
{
    struct event event = event_test_make(0, "");
    event.kind = EVENT_PART;
    event.subject = STR("a");
    event.time_ms = 5000;
    struct buf record = {0};
    event_test_encode(&record, &event, (const char *[]){"g:room"}, 1);
    uint32_t queue = event_test_queue_of(TARGET_GROUP, "room", SHARD_TEST_QUEUES);
    for (int nth = 1; nth < 10; nth++) {
        shard_test_teardown(state);
        shard_test_open(1024, 1 << 20, 0);
        mem_fail_nth(nth);
        hub_bus_callbacks.on_record(shard_test.hub, queue, (struct bus_pos){1, 0}, buf_str(&record),
                                    0);
        mem_fail_nth(0);
        shard_test_run();
        struct shard *shard = shard_test.shard;
        assert_true(shard_grant_is_revoked(shard, 0, STR("a"), STR("room"), 5000));
        assert_false(shard_grant_is_revoked(shard, 0, STR("a"), STR("room"), 5001));
    }
    buf_fini(&record);
}

static void too_many_parts_make_all_earlier_grants_void(void **state)
{
    struct shard *shard = shard_test.shard;
    shard->options.max_voids = 100;
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u%d", i);
        part(name, 5000 + (uint64_t)i);
    }
    assert_false(shard_grant_is_revoked(shard, 0, STR("b"), STR("room"), 1));
    part("a", 6000);
    assert_int_equal(shard->voids.count, 1);
    assert_int_equal(atomic_load(&shard->stats.voids_folded), 1);
    assert_true(shard_grant_is_revoked(shard, 0, STR("u99"), STR("room"), 5099));
    assert_true(shard_grant_is_revoked(shard, 0, STR("b"), STR("room"), 5099));
    assert_false(shard_grant_is_revoked(shard, 0, STR("b"), STR("room"), 5100));
    assert_true(shard_grant_is_revoked(shard, 0, STR("a"), STR("room"), 6000));
}

static void a_join_of_the_api_keeps_to_the_limit_of_groups(void **state)
{
    struct session *full = shard_test_live("a", "room");
    struct session *other = shard_test_live("a", NULL);
    shard_set_max_groups(shard_test.shard, 1);
    shard_test_control(EVENT_JOIN, "g:hall", "a");
    shard_test_control(EVENT_JOIN, "g:room", "a");
    shard_test_run();
    shard_test_assert_told(full, "");
    assert_int_equal(full->group_count, 1);
    assert_int_equal(other->group_count, 1);
    assert_int_equal(shard_group_size(shard_test.shard, 0, STR("hall")) +
                         shard_group_size(shard_test.shard, 0, STR("room")),
                     2);
}

static void voids_are_kept_no_longer_than_grants_live(void **state)
{
    struct event event = event_test_make(0, "");
    event.kind = EVENT_PART;
    event.time_ms = 1000;
    for (int i = 0; i < 4500; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u%d", i);
        event.subject = str_of(name);
        event.time_ms = i < 1500 ? 1000 : 1000 + 2ull * SHARD_GRANT_LIFE_MS;
        shard_test_push_event(event, (const char *[]){"g:room"}, 1, NULL);
        shard_test_run();
    }
    assert_int_equal(shard_test.shard->voids.count, 3000);
    assert_true(shard_grant_is_revoked(shard_test.shard, 0, STR("u1500"), STR("room"), 1));
}

static void a_kick_reaches_a_user_or_a_session(void **state)
{
    struct session *first = shard_test_live("a", NULL);
    struct session *second = shard_test_live("a", NULL);
    struct session *other = shard_test_live("b", NULL);
    struct sid sid;
    char text[SID_LEN + 3] = "s:";
    shard_session_sid(shard_test.shard, first, &sid);
    sid_format(text + 2, &shard_test.shard->options.sid_key, &sid);
    shard_test_control(EVENT_KICK, text, "");
    shard_test_run();
    shard_test_assert_told(first, "kick 4000");
    shard_test_assert_told(second, "");
    shard_test_control(EVENT_KICK, "u:a", "");
    shard_test_run();
    shard_test_assert_told(second, "kick 4000");
    shard_test_assert_told(other, "");
}

static int count_told(struct session *const *sessions, int count, const char *text)
{
    int told = 0;
    for (int i = 0; i < count; i++) {
        told += strcmp(buf_cstr(&shard_test.logs[sessions[i]->fd]), text) == 0;
    }
    return told;
}

enum { CROWD = 1000 };

static void gather(struct session *crowd[CROWD])
{
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = shard_test_start(NULL, "room");
    }
    shard_test_run();
    for (int i = 0; i < CROWD; i++) {
        shard_test_assert_told(crowd[i], "start none");
    }
}

static void a_broadcast_goes_in_slices_between_which_others_are_served(void **state)
{
    struct session *crowd[CROWD];
    gather(crowd);
    struct session *single = shard_test_live("a", NULL);
    shard_test_push("g:room", "big");
    shard_test_push("u:a", "small");
    shard_test_turn_hub();
    assert_true(shard_test_turn_shard());
    assert_int_equal(count_told(crowd, CROWD, "msg big"), SHARD_SLICE - 1);
    shard_test_assert_told(single, "msg small");
    assert_int_equal(shard_backlog(shard_test.shard), 0);
    assert_false(shard_test_turn_shard());
    assert_int_equal(count_told(crowd, CROWD, "msg big"), CROWD);
}

static void many_users_in_one_message_are_served_in_slices_too(void **state)
{
    enum { USERS = 8, TABS = 100 };
    struct session *tabs[USERS * TABS];
    const char *targets[USERS];
    char names[USERS][16];
    for (int i = 0; i < USERS * TABS; i++) {
        snprintf(names[i / TABS], sizeof(names[0]), "u:%d", i / TABS);
        targets[i / TABS] = names[i / TABS];
        tabs[i] = shard_test_start(names[i / TABS] + 2, NULL);
    }
    shard_test_run();
    for (int i = 0; i < USERS * TABS; i++) {
        buf_clear(&shard_test.logs[tabs[i]->fd]);
    }
    shard_test_push_event(event_test_make(0, "hi"), targets, USERS, NULL);
    shard_test_turn_hub();
    assert_true(shard_test_turn_shard());
    assert_int_equal(count_told(tabs, USERS * TABS, "msg hi"), SHARD_SLICE - 6); /* six users */
    assert_false(shard_test_turn_shard());
    assert_int_equal(count_told(tabs, USERS * TABS, "msg hi"), USERS * TABS);
}

static void who_leaves_or_comes_during_a_broadcast_disturbs_nobody(void **state)
{
    struct session *crowd[CROWD];
    gather(crowd);
    shard_test_push("g:room", "big");
    shard_test_turn_hub();
    shard_test_turn_shard(); /* the upper half has it */
    for (int i = 0; i < CROWD; i += 10) {
        assert_int_equal(shard_leave(shard_test.shard, crowd[i], STR("room")), 0);
    }
    struct session *late = shard_test_start(NULL, "room");
    shard_test_push("g:room", "next");
    shard_test_run();
    for (int i = 0; i < CROWD; i++) {
        const char *told = buf_cstr(&shard_test.logs[crowd[i]->fd]);
        bool left = i % 10 == 0;
        bool got_big = strncmp(told, "msg big", 7) == 0;
        assert_true(got_big || (left && told[0] == '\0'));
        assert_true((strstr(told, "next") != NULL) == !left);
        assert_true(strstr(told + 1, "big, msg big") == NULL);
    }
    shard_test_assert_told(late, "start none, msg next");
}

static void a_group_that_empties_during_a_broadcast_goes_after_it(void **state)
{
    struct session *crowd[CROWD];
    gather(crowd);
    shard_test_push("g:room", "big");
    shard_test_turn_hub();
    shard_test_turn_shard();
    for (int i = 0; i < CROWD; i++) {
        shard_test_end(crowd[i]);
    }
    assert_int_equal(shard_test.shard->groups.count, 1);
    shard_test_run();
    assert_int_equal(shard_test.shard->groups.count, 0);
    assert_int_equal(shard_test.hub->interest.count, 0);
}

static void a_message_to_all_goes_in_slices_too(void **state)
{
    struct session *crowd[CROWD];
    gather(crowd);
    shard_test_push("*", "big");
    shard_test_turn_hub();
    shard_test_turn_shard();
    assert_in_range(count_told(crowd, CROWD, "msg big"), SHARD_SLICE * 9 / 10, SHARD_SLICE - 1);
    shard_test_run();
    assert_int_equal(count_told(crowd, CROWD, "msg big"), CROWD);
}

static void gather_user(struct session *crowd[CROWD])
{
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = shard_test_start("many", NULL);
    }
    shard_test_run();
    for (int i = 0; i < CROWD; i++) {
        shard_test_assert_told(crowd[i], "start none");
    }
}

static void a_message_to_a_user_of_many_sessions_goes_in_slices(void **state)
{
    struct session *crowd[CROWD];
    gather_user(crowd);
    shard_test_push("u:many", "big");
    shard_test_turn_hub();
    assert_true(shard_test_turn_shard());
    assert_int_equal(count_told(crowd, CROWD, "msg big"), SHARD_SLICE - 1);
    shard_test_run();
    assert_int_equal(count_told(crowd, CROWD, "msg big"), CROWD);
}

/* The newest of a user comes first, so the next in line is that of this index. */
enum { NEXT_OF_USER = CROWD - SHARD_SLICE };

static void who_ends_while_its_user_is_served_is_passed_over(void **state)
{
    struct session *crowd[CROWD];
    gather_user(crowd);
    shard_test_push("u:many", "big");
    shard_test_turn_hub();
    shard_test_turn_shard();
    int fds[] = {crowd[NEXT_OF_USER]->fd, crowd[NEXT_OF_USER - 1]->fd};
    shard_test_end(crowd[NEXT_OF_USER]);
    shard_test_end(crowd[NEXT_OF_USER - 1]);
    struct session *late = shard_test_start("many", NULL);
    shard_test_run();
    assert_string_equal(buf_cstr(&shard_test.logs[fds[0]]), "");
    assert_string_equal(buf_cstr(&shard_test.logs[fds[1]]), "");
    shard_test_assert_told(crowd[NEXT_OF_USER - 2], "msg big");
    shard_test_assert_told(crowd[0], "msg big");
    shard_test_assert_told(late, "start none");
}

static void a_user_whose_sessions_end_while_it_is_served_goes_after_it(void **state)
{
    struct session *crowd[CROWD];
    gather_user(crowd);
    shard_test_push("u:many", "big");
    shard_test_turn_hub();
    shard_test_turn_shard();
    for (int i = 0; i < CROWD; i++) {
        shard_test_end(crowd[i]);
    }
    assert_int_equal(shard_test.shard->users.count, 1);
    shard_test_run();
    assert_int_equal(shard_test.shard->users.count, 0);
    assert_int_equal(shard_test.hub->interest.count, 0);
}

static void a_message_of_many_targets_goes_in_slices_though_it_concerns_few(void **state)
{
    struct session *single = shard_test_live("a", NULL);
    const char *targets[1000];
    for (int i = 0; i < 999; i++) {
        targets[i] = "s:nobody";
    }
    targets[999] = "u:a";
    targets[0] = "u:a"; /* by which the hub finds the worker */
    shard_test_push_event(event_test_make(0, "long"), targets, 1000, NULL);
    shard_test_turn_hub();
    assert_true(shard_test_turn_shard());
    assert_true(shard_test.shard->busy_lanes);
    shard_test_run();
    shard_test_assert_told(single, "msg long");
}

static void positions_are_not_told_while_a_broadcast_is_half_done(void **state)
{
    struct session *crowd[CROWD];
    gather(crowd);
    shard_test.tells_heads = true;
    shard_test_push("g:room", "big");
    shard_test_turn_hub();
    shard_test_turn_shard();
    hub_send_heads(shard_test.hub);
    shard_test_push("g:room", "held");
    shard_test_turn_hub();
    shard_test_turn_shard(); /* ends the first; tells the first slice */
    assert_int_equal(count_told(crowd, CROWD, "msg big, heads"), SHARD_SLICE);
    assert_int_equal(count_told(crowd, CROWD, "msg big"), CROWD - SHARD_SLICE);
    shard_test_turn_shard();
    assert_int_equal(count_told(crowd, CROWD, "msg big, heads"), CROWD);
    shard_test_run();
    assert_int_equal(count_told(crowd, CROWD, "msg big, heads, msg held"), CROWD);
}

static struct hub_heads done_for(const struct session *session)
{
    struct hub_heads done;
    assert_true(session->live_from < shard_done(shard_test.shard, &done));
    return done;
}

/* What a transport may say with a message: all of its queue's earlier ones are out by then. */
static void what_is_done_is_never_ahead_of_what_was_handed_over(void **state)
{
    struct session *crowd[CROWD];
    uint32_t queue = event_test_queue_of(TARGET_GROUP, "room", SHARD_TEST_QUEUES);
    gather(crowd);
    struct bus_pos before = done_for(crowd[0]).pos[queue];
    shard_test_push("g:room", "big");
    shard_test_push("g:room", "held");
    shard_test_turn_hub();
    shard_test_turn_shard(); /* a slice of the first */
    assert_int_equal(bus_pos_compare(done_for(crowd[0]).pos[queue], before), 0);
    struct hub_heads done;
    struct session *late = shard_test_start("late", NULL);
    shard_flush(shard_test.shard);
    shard_test_turn_hub();
    shard_test_turn_shard();
    assert_int_equal(late->state, SESSION_LIVE);
    assert_true(late->live_from >= shard_done(shard_test.shard, &done)); /* it is further */
    shard_test_run();
    done = done_for(late);
    assert_int_equal(bus_pos_compare(done.pos[queue], shard_test.hub->heads.pos[queue]), 0);
    assert_int_equal(done.started, (1u << SHARD_TEST_QUEUES) - 1);
}

static void on_report(struct receipt *receipt)
{
    shard_test.reports++;
    receipt_unref(receipt);
}

static void a_receipt_counts_who_matched_and_was_written(void **state)
{
    struct receipt *receipt = receipt_create(1, on_report, NULL);
    shard_test_live("a", "room");
    shard_test_live("a", "room");
    shard_test_live("b", "room");
    struct event event = event_test_make(0, "1");
    shard_test_push_event(event, (const char *[]){"u:a", "g:room"}, 2, receipt_ref(receipt));
    shard_test_run();
    assert_int_equal(shard_test.reports, 1);
    assert_int_equal(receipt->users_online, 1);
    assert_int_equal(receipt->matched, 3);
    assert_int_equal(receipt->written, 3);
    assert_int_equal(receipt->dropped, 0);
    receipt_unref(receipt);
}

static void a_worker_that_fell_behind_misses_nothing_in_the_window(void **state)
{
    shard_test_teardown(state);
    shard_test_open(4, 1 << 20, 0);
    struct session *session = shard_test_live("a", NULL);
    for (int i = 0; i < 9; i++) {
        char data[2] = {(char)('1' + i), 0};
        shard_test_push("u:a", data);
    }
    shard_test_turn_hub();
    shard_test_run();
    shard_test_assert_told(session,
                           "msg 1, msg 2, msg 3, msg 4, msg 5, msg 6, msg 7, msg 8, msg 9");
    assert_int_equal(shard_get_stats(shard_test.shard)->catch_ups, 1);
}

static void what_the_window_lost_meanwhile_is_told(void **state)
{
    shard_test_teardown(state);
    shard_test_open(2, 1500, 0);
    struct session *session = shard_test_live("a", NULL);
    for (int i = 0; i < 9; i++) {
        char data[2] = {(char)('1' + i), 0};
        shard_test_push("u:a", data);
        shard_test_turn_hub();
    }
    shard_test_control(EVENT_JOIN, "g:room", "a");
    shard_test_turn_hub();
    for (int i = 0; i < 9; i++) {
        shard_test_push("u:elsewhere", "filler");
        shard_test_turn_hub();
    }
    shard_test_run();
    const char *told = buf_cstr(&shard_test.logs[session->fd]);
    assert_true(strncmp(told, "msg 1, msg 2, ", 14) == 0);
    assert_non_null(strstr(told, "gap overflow"));
    assert_null(strstr(told, "msg 5"));
    assert_non_null(strstr(told, "joined room 0")); /* evicted as well, and kept for the worker */
}

static void count_visit(void *arg, struct session *session)
{
    (*(int *)arg)++;
}

static void append_group(void *arg, struct str group)
{
    buf_printf(arg, "%.*s;", STR_ARG(group));
}

static void users_and_groups_can_be_asked_for(void **state)
{
    struct shard *shard = shard_test.shard;
    struct session *first = shard_test_live("a", "room");
    shard_test_live("a", NULL);
    shard_test_live(NULL, "room");
    struct session *starting = shard_test_start("a", "room");
    int visited = 0;
    assert_int_equal(shard_visit_user(shard, 0, STR("a"), count_visit, &visited), 2);
    assert_int_equal(visited, 2);
    assert_int_equal(shard_visit_user(shard, 0, STR("a"), NULL, NULL), 2);
    assert_int_equal(shard_visit_user(shard, 0, STR("nobody"), NULL, NULL), 0);
    visited = 0;
    assert_int_equal(shard_visit_group(shard, 0, STR("room"), count_visit, &visited), 3);
    assert_int_equal(visited, 3);
    assert_int_equal(shard_visit_group(shard, 0, STR("none"), count_visit, &visited), 0);
    assert_int_equal(shard_session_count(shard), 4);
    assert_true(str_equal(shard_session_user(shard, first), STR("a")));
    assert_int_equal(shard_join(shard, first, STR("hall"), 1), 0);
    struct buf names = {0};
    shard_visit_session_groups(shard, first, append_group, &names);
    assert_string_equal(buf_cstr(&names), "hall;room;");
    buf_clear(&names);
    assert_int_equal(shard_group_users(shard, 0, STR("room"), &names), 2);
    assert_int_equal(names.len, 16);
    buf_fini(&names);
    assert_int_equal(starting->state, SESSION_STARTING);
}

/* With each allocation failing once: a refused step leaves nothing behind. */
struct walked {
    struct buf names;
    uint32_t sessions;
};

static void note_user(void *arg, uint32_t user, struct str name)
{
    struct walked *walked = arg;
    buf_printf(&walked->names, "%.*s;", STR_ARG(name));
    walked->sessions += shard_user_sessions(shard_test.shard, user);
}

/* In steps of so many places. Between two of them a user comes and goes. */
static uint32_t walk_users(struct walked *walked, uint32_t steps)
{
    uint32_t turns = 0;
    *walked = (struct walked){0};
    for (uint32_t at = 1; at; turns++) {
        at = shard_walk_users(shard_test.shard, 0, at, steps, note_user, walked);
        struct session *passing = shard_test_live("passing", NULL);
        shard_session_end(shard_test.shard, passing);
        shard_session_free(shard_test.shard, passing);
    }
    return turns;
}

static void all_users_are_walked_over_a_few_at_a_time(void **state)
{
    struct walked walked;
    shard_test_live("a", NULL);
    shard_test_live("a", NULL);
    shard_test_live("b", NULL);
    shard_test_live(NULL, NULL);
    shard_test_start("c", NULL);
    assert_int_equal(walk_users(&walked, UINT32_MAX), 1);
    assert_string_equal(buf_cstr(&walked.names), "a;b;c;");
    assert_int_equal(walked.sessions, 3); /* c was not welcomed yet */
    buf_fini(&walked.names);
    assert_in_range(walk_users(&walked, 1), 1000, 1100);
    assert_string_equal(buf_cstr(&walked.names), "a;b;c;");
    assert_int_equal(walked.sessions, 4);
    buf_fini(&walked.names);
    assert_int_equal(shard_walk_users(shard_test.shard, 1, 1, UINT32_MAX, note_user, &walked), 0);
}

static void want_of_memory_leaves_the_tables_as_they_were(void **state)
{
    struct shard *shard = shard_test.shard;
    shard_test_live("b", "hall");
    int failures = 0;
    for (unsigned long nth = 1; nth < 20; nth++) {
        struct session_resume resume = shard_test_resume();
        mem_fail_nth(nth);
        struct session *session = shard_session_create(shard, 0, 0);
        int err = session ? 0 : ERR_NO_MEMORY;
        err = err ? err : shard_session_set_user(shard, session, STR("a"));
        err = err ? err : shard_join(shard, session, STR("a room with a long name"), 0);
        err = err ? err : shard_session_start(shard, session, &resume);
        shard_flush(shard);
        mem_fail_nth(0);
        assert_true(err == 0 || err == ERR_NO_MEMORY);
        failures += err != 0;
        if (session) {
            shard_session_free(shard, session);
        }
        shard_test_run();
        assert_int_equal(shard->users.count, 1);
        assert_int_equal(shard->groups.count, 1);
        assert_int_equal(shard->members.used, 1);
        assert_int_equal(shard_session_count(shard), 1);
    }
    assert_true(failures > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SHARD(a_session_is_found_until_its_slot_is_freed),
        WITH_SHARD(users_are_told_where_they_are_tracked),
        WITH_SHARD(a_user_that_could_not_be_told_is_told_with_its_next_session),
        WITH_SHARD(a_session_gets_what_comes_after_its_fence),
        WITH_SHARD(what_the_bus_had_before_the_fence_is_not_for_it),
        WITH_SHARD(all_sessions_of_a_user_get_its_messages),
        WITH_SHARD(a_session_of_another_app_is_not_reached),
        WITH_SHARD(a_message_of_several_targets_comes_once),
        WITH_SHARD(parts_of_one_message_come_once_and_are_forgotten_in_time),
        WITH_SHARD(a_new_session_in_a_used_slot_counts_for_itself),
        WITH_SHARD(excepted_sessions_and_pages_are_left_out),
        WITH_SHARD(exceptions_hold_without_memory_for_their_list),
        WITH_SHARD(what_is_past_its_ttl_is_not_delivered),
        WITH_SHARD(a_push_to_a_session_id_reaches_it_alone),
        WITH_SHARD(a_join_is_in_force_from_its_fence),
        WITH_SHARD(a_join_that_was_left_before_its_fence_is_answered_all_the_same),
        WITH_SHARD(the_api_joins_and_parts_the_sessions_of_a_user),
        WITH_SHARD(a_join_of_the_api_overtakes_one_of_the_clients_own),
        WITH_SHARD(a_session_that_began_after_a_join_is_not_in_the_group),
        WITH_SHARD(a_part_makes_earlier_grants_void),
        WITH_SHARD(a_part_that_is_lost_for_want_of_memory_makes_all_earlier_grants_void),
        WITH_SHARD(too_many_parts_make_all_earlier_grants_void),
        WITH_SHARD(a_join_of_the_api_keeps_to_the_limit_of_groups),
        WITH_SHARD(voids_are_kept_no_longer_than_grants_live),
        WITH_SHARD(a_kick_reaches_a_user_or_a_session),
        WITH_SHARD(a_broadcast_goes_in_slices_between_which_others_are_served),
        WITH_SHARD(many_users_in_one_message_are_served_in_slices_too),
        WITH_SHARD(who_leaves_or_comes_during_a_broadcast_disturbs_nobody),
        WITH_SHARD(a_group_that_empties_during_a_broadcast_goes_after_it),
        WITH_SHARD(a_message_to_all_goes_in_slices_too),
        WITH_SHARD(a_message_to_a_user_of_many_sessions_goes_in_slices),
        WITH_SHARD(who_ends_while_its_user_is_served_is_passed_over),
        WITH_SHARD(a_user_whose_sessions_end_while_it_is_served_goes_after_it),
        WITH_SHARD(a_message_of_many_targets_goes_in_slices_though_it_concerns_few),
        WITH_SHARD(positions_are_not_told_while_a_broadcast_is_half_done),
        WITH_SHARD(what_is_done_is_never_ahead_of_what_was_handed_over),
        WITH_SHARD(a_receipt_counts_who_matched_and_was_written),
        WITH_SHARD(a_worker_that_fell_behind_misses_nothing_in_the_window),
        WITH_SHARD(what_the_window_lost_meanwhile_is_told),
        WITH_SHARD(users_and_groups_can_be_asked_for),
        WITH_SHARD(all_users_are_walked_over_a_few_at_a_time),
        WITH_SHARD(want_of_memory_leaves_the_tables_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
