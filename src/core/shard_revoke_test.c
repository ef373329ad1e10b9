/* Revocations on one worker: which sessions end, and which tokens are refused. */
#include "core/shard_test_help.h"

enum { ISSUED = 1767225000, HOUR_MS = 3600 * 1000 };

/* before 0: of a single token, whose id is given. */
static void revoke(const char *target, const char *token, uint64_t before, uint8_t flags)
{
    struct event event = event_test_make(0, "");
    event.kind = EVENT_REVOCATION;
    event.subject = str_of(token);
    event.time_ms = ISSUED * 1000ull;
    event.header.ttl_ms = HOUR_MS;
    event.header.flags = flags;
    event.data = str_make((const char *)&before, before ? sizeof(before) : 0);
    shard_test_push_event(event, &target, 1, NULL);
    shard_test_run();
}

static struct session *live(const char *user, const char *token, uint64_t issued_s)
{
    struct session *session = shard_test_live(user, NULL);
    assert_int_equal(
        shard_session_set_token(shard_test.shard, session, str_of(token), issued_s * 1000), 0);
    return session;
}

static bool refuses(const char *user, const char *token, uint64_t issued_s)
{
    return shard_token_is_revoked(shard_test.shard, 0, str_of(user), str_of(token),
                                  issued_s * 1000);
}

static void a_users_tokens_of_before_end_and_are_refused(void **state)
{
    struct session *old = live("a", "", ISSUED - 1);
    struct session *young = live("a", "", ISSUED);
    struct session *other = live("b", "", ISSUED - 1);
    assert_false(refuses("a", "", ISSUED - 1));
    revoke("u:a", "", ISSUED, 0);
    shard_test_assert_told(old, "kick 4301");
    shard_test_assert_told(young, "");
    shard_test_assert_told(other, "");
    assert_true(refuses("a", "", ISSUED - 1));
    assert_false(refuses("a", "", ISSUED));
    assert_false(refuses("b", "", ISSUED - 1));
}

static void a_single_token_ends_wherever_it_is_shown(void **state)
{
    struct session *one = live("a", "t1", ISSUED);
    struct session *two = live("a", "t1", ISSUED);
    struct session *other = live("a", "t2", ISSUED);
    struct session *bare = shard_test_live("a", NULL);
    revoke("*", "t1", 0, 0);
    shard_test_assert_told(one, "kick 4301");
    shard_test_assert_told(two, "kick 4301");
    shard_test_assert_told(other, "");
    shard_test_assert_told(bare, "");
    assert_true(refuses("a", "t1", ISSUED + 99));
    assert_false(refuses("a", "t2", ISSUED));
    assert_false(refuses("a", "", ISSUED));
}

static void all_tokens_of_an_app_can_be_revoked_at_once(void **state)
{
    struct session *old = live("a", "", ISSUED - 1);
    struct session *young = live("b", "", ISSUED);
    struct session *bare = shard_test_live("c", NULL);
    revoke("*", "", ISSUED, 0);
    shard_test_assert_told(old, "kick 4301");
    shard_test_assert_told(young, "");
    shard_test_assert_told(bare, ""); /* whoever signs tokens does not vouch for it */
    assert_true(refuses("z", "t9", ISSUED - 1));
    assert_false(refuses("z", "t9", ISSUED));
}

static void a_session_without_a_token_was_issued_when_it_began(void **state)
{
    struct session *old = shard_test_live("a", NULL);
    shard_test.now_ms += 10000;
    struct session *young = shard_test_live("a", NULL);
    shard_session_cold(shard_test.shard, young)->opened_s = (uint32_t)(shard_test.now_ms / 1000);
    revoke("u:a", "", ISSUED - 5, 0);
    shard_test_assert_told(old, "kick 4301");
    shard_test_assert_told(young, "");
    revoke("u:a", "", ISSUED + 1, EVENT_IS_AGAIN);
    shard_test_assert_told(young, "");
    revoke("u:a", "", ISSUED + 1, 0);
    shard_test_assert_told(young, "kick 4301");
}

static void one_that_is_between_its_hello_and_its_fence_ends_there(void **state)
{
    struct session *session = shard_test_connect("a");
    assert_int_equal(
        shard_session_set_token(shard_test.shard, session, STR("t1"), ISSUED * 1000ull), 0);
    revoke("*", "t1", 0, 0);
    shard_test_assert_told(session, "");
    assert_int_equal(shard_session_start(shard_test.shard, session, NULL), 0);
    shard_test_run();
    shard_test_assert_told(session, "kick 4301");
}

static void another_token_takes_the_place_of_the_first(void **state)
{
    struct session *session = live("a", "t1", ISSUED - 10);
    assert_int_equal(
        shard_session_set_token(shard_test.shard, session, STR("t2"), ISSUED * 1000ull), 0);
    revoke("*", "t1", 0, 0);
    revoke("u:a", "", ISSUED, 0);
    shard_test_assert_told(session, "");
    revoke("*", "t2", 0, 0);
    shard_test_assert_told(session, "kick 4301");
}

static void told_again_it_does_the_same_to_tokens(void **state)
{
    struct session *session = live("a", "t1", ISSUED);
    revoke("*", "t1", 0, EVENT_IS_AGAIN);
    shard_test_assert_told(session, "kick 4301");
}

static void one_that_makes_no_sense_revokes_nothing_but_what_it_names(void **state)
{
    struct session *session = live("a", "t1", ISSUED);
    revoke("u:a", "", 0, 0); /* before nothing */
    revoke("g:room", "", ISSUED + 1, 0);
    shard_test_assert_told(session, "");
    assert_false(refuses("a", "t1", ISSUED));
}

static void what_a_worker_lost_is_made_good_by_refusing_more(void **state)
{
    cover_revocations(shard_test.shard, 0);
    assert_false(refuses("a", "", ISSUED));
    cover_revocations(shard_test.shard, ISSUED * 1000ull);
    assert_true(refuses("a", "", ISSUED));
    assert_false(refuses("a", "", ISSUED + 1));
    assert_int_equal(shard_test.shard->stats.revocations_folded, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SHARD(a_users_tokens_of_before_end_and_are_refused),
        WITH_SHARD(a_single_token_ends_wherever_it_is_shown),
        WITH_SHARD(all_tokens_of_an_app_can_be_revoked_at_once),
        WITH_SHARD(a_session_without_a_token_was_issued_when_it_began),
        WITH_SHARD(one_that_is_between_its_hello_and_its_fence_ends_there),
        WITH_SHARD(another_token_takes_the_place_of_the_first),
        WITH_SHARD(told_again_it_does_the_same_to_tokens),
        WITH_SHARD(one_that_makes_no_sense_revokes_nothing_but_what_it_names),
        WITH_SHARD(what_a_worker_lost_is_made_good_by_refusing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
