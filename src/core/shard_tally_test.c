/* What a worker counts of its users, and what the hub says of them by app. */
#include "core/shard_test_help.h"

static uint64_t count_of(const struct user_tally *tally, uint16_t app)
{
    const struct hll *users = user_tally_find(tally, shard_app_hash(shard_test.shard, app));
    return users ? hll_count(users) : 0;
}

/* Counts them whole; *out_calls: in so many slices. */
static struct user_tally *count_all(uint32_t *out_calls)
{
    struct user_tally *tally = NULL;
    enum shard_tally state;
    *out_calls = 0;
    do {
        state = shard_tally_users(shard_test.shard, &tally);
        ++*out_calls;
    } while (state == SHARD_TALLY_MORE);
    assert_int_equal(state, SHARD_TALLY_DONE);
    return tally;
}

static uint64_t count_now(void)
{
    uint32_t calls;
    struct user_tally *tally = count_all(&calls);
    uint64_t count = count_of(tally, 0);
    user_tally_destroy(tally);
    return count;
}

static bool is_idle(void)
{
    struct user_tally *tally;
    return shard_tally_users(shard_test.shard, &tally) == SHARD_TALLY_IDLE;
}

static void users_are_counted_anew_when_some_came_or_went(void **state)
{
    assert_true(is_idle());
    struct session *first = shard_test_live("a", NULL);
    struct session *second = shard_test_live("a", NULL);
    struct session *other = shard_test_live("b", NULL);
    shard_test_live(NULL, NULL);
    assert_int_equal(count_now(), 2);
    assert_true(is_idle());
    shard_test_end(first);
    assert_true(is_idle()); /* the user is still there */
    shard_test_end(other);
    assert_int_equal(count_now(), 1);
    shard_test_end(second);
    assert_int_equal(count_now(), 0);
    assert_true(is_idle());
}

/* Sessions of so many users, without what a test looks at of a session. */
static void fill(int users)
{
    for (int i = 0; i < users; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u%d", i);
        struct session *session = shard_session_create(shard_test.shard, 0, 0);
        assert_non_null(session);
        session->fd = 0;
        assert_int_equal(shard_session_set_user(shard_test.shard, session, str_of(name)), 0);
    }
}

static void many_are_counted_a_slice_at_a_time(void **state)
{
    enum { USERS = 2 * SHARD_TALLY_SLOTS + 100 };
    uint32_t calls;
    fill(USERS);
    struct user_tally *tally = count_all(&calls);
    assert_int_equal(calls, 3);
    assert_in_range(count_of(tally, 0), USERS * 93 / 100, USERS * 107 / 100);
    user_tally_destroy(tally);
}

/* Who comes while a count is under way is in the next one, at the latest. */
static void a_count_that_is_under_way_is_not_the_last(void **state)
{
    struct user_tally *tally;
    fill(SHARD_TALLY_SLOTS + 10);
    assert_int_equal(shard_tally_users(shard_test.shard, &tally), SHARD_TALLY_MORE);
    shard_test_connect("late");
    assert_int_equal(shard_tally_users(shard_test.shard, &tally), SHARD_TALLY_DONE);
    user_tally_destroy(tally);
    assert_int_equal(shard_tally_users(shard_test.shard, &tally), SHARD_TALLY_MORE);
}

static void without_memory_it_begins_anew(void **state)
{
    struct user_tally *tally;
    shard_test_live("a", NULL);
    for (unsigned long nth = 1; nth <= 2; nth++) {
        mem_fail_nth(nth);
        assert_int_equal(shard_tally_users(shard_test.shard, &tally), SHARD_TALLY_IDLE);
    }
    mem_fail_nth(0);
    assert_int_equal(count_now(), 1);
}

static uint64_t users_in_hub(void)
{
    return hub_app_keys(shard_test.hub, shard_app_hash(shard_test.shard, 0), TARGET_USER);
}

static uint64_t groups_in_hub(void)
{
    return hub_app_keys(shard_test.hub, shard_app_hash(shard_test.shard, 0), TARGET_GROUP);
}

static void the_hub_counts_users_and_groups_by_app(void **state)
{
    struct session *first = shard_test_live("a", "room");
    struct session *second = shard_test_live("b", "room");
    shard_test_live("b", NULL);
    assert_int_equal(users_in_hub(), 2);
    assert_int_equal(groups_in_hub(), 1);
    assert_int_equal(hub_app_keys(shard_test.hub, 0x1234, TARGET_USER), 0);
    shard_test_end(first);
    shard_test_run();
    assert_int_equal(users_in_hub(), 1);
    assert_int_equal(groups_in_hub(), 1);
    shard_test_end(second);
    shard_test_run();
    assert_int_equal(users_in_hub(), 1);
    assert_int_equal(groups_in_hub(), 0);
}

/* Its key comes with the event, before the worker knows the group. */
static void a_group_that_the_api_makes_is_counted_in_its_app(void **state)
{
    shard_test_live("a", NULL);
    shard_test_control(EVENT_JOIN, "g:room", "a");
    shard_test_run();
    assert_int_equal(groups_in_hub(), 1);
    shard_test_control(EVENT_PART, "g:room", "a");
    shard_test_run();
    assert_int_equal(groups_in_hub(), 0);
    shard_test_control(EVENT_JOIN, "g:room", "nobody");
    shard_test_run();
    assert_int_equal(groups_in_hub(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, shard_test_setup, shard_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(users_are_counted_anew_when_some_came_or_went),
        TEST(many_are_counted_a_slice_at_a_time),
        TEST(a_count_that_is_under_way_is_not_the_last),
        TEST(without_memory_it_begins_anew),
        TEST(the_hub_counts_users_and_groups_by_app),
        TEST(a_group_that_the_api_makes_is_counted_in_its_app),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
