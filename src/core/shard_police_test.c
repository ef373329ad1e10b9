/* Sessions under a policy on one worker: whom they count, and when they ask. */
#include "core/shard_test_help.h"

static const struct session_policy reject_two = {2, 0, SETTINGS_EXCESS_REJECT};
static const struct session_policy oldest_two = {2, 0, SETTINGS_EXCESS_OLDEST};
static const struct session_policy own_device = {0, 1, SETTINGS_EXCESS_SAME_DEVICE};

static void on_counted(struct receipt *receipt)
{
    receipt_unref(receipt);
}

static struct session_count say(enum event_kind kind, const char *device, struct session_rank rank)
{
    struct receipt *receipt = receipt_create(1, on_counted, NULL);
    struct event event = event_test_make(0, "");
    event.kind = kind;
    event.subject = str_of(device);
    event.time_ms = rank.opened_ms;
    event.data = str_make((const char *)&rank.tie, sizeof(rank.tie));
    shard_test_push_event(event, (const char *[]){"u:a"}, 1, receipt_ref(receipt));
    shard_test_run();
    struct session_count count = {receipt->matched, receipt->written};
    receipt_unref(receipt);
    return count;
}

static struct session_rank rank_of(const struct session *session)
{
    struct session_policy policy;
    struct session_rank rank;
    assert_true(shard_session_policy(shard_test.shard, session, &policy, &rank));
    return rank;
}

/* Its event has not been sent yet. */
static struct session *come(const struct session_policy *policy, const char *device)
{
    struct session *session = shard_test_live("a", NULL);
    struct session_rank rank = {shard_test.now_ms, (uint64_t)session->fd + 1};
    assert_int_equal(shard_session_police(shard_test.shard, session, policy, rank, str_of(device)),
                     0);
    return session;
}

static struct session_count open(const struct session *session, const char *device)
{
    return say(EVENT_OPEN, device, rank_of(session));
}

static struct session_count ask(const struct session *session, const char *device)
{
    return say(EVENT_RANK, device, rank_of(session));
}

#define ASSERT_COUNT(count, wanted_all, wanted_same)          \
    do {                                                      \
        struct session_count counted = (count);               \
        assert_int_equal(counted.all, (wanted_all));          \
        assert_int_equal(counted.same_device, (wanted_same)); \
    } while (0)

static void one_that_begins_counts_those_of_before(void **state)
{
    struct session *first = come(&reject_two, "tv");
    struct session *second = come(&reject_two, "phone");
    struct session *third = come(&reject_two, "tv");
    ASSERT_COUNT(open(first, "tv"), 0, 0);
    ASSERT_COUNT(open(second, "phone"), 1, 0);
    ASSERT_COUNT(open(third, "tv"), 2, 1);
}

static void of_two_that_come_at_once_the_bus_says_who_was_first(void **state)
{
    struct session *older = come(&reject_two, "");
    struct session *younger = come(&reject_two, "");
    ASSERT_COUNT(open(younger, ""), 0, 0);
    ASSERT_COUNT(open(older, ""), 1, 0);
}

static void sessions_without_a_device_are_of_no_device(void **state)
{
    struct session *first = come(&reject_two, "");
    struct session *second = come(&reject_two, "");
    open(first, "");
    ASSERT_COUNT(open(second, ""), 1, 0);
}

static void who_is_under_no_policy_is_not_counted(void **state)
{
    shard_test_live("a", NULL);
    struct session *session = come(&reject_two, "");
    struct session *other = shard_test_live("b", NULL);
    struct session_policy policy;
    struct session_rank rank;
    ASSERT_COUNT(open(session, ""), 0, 0);
    assert_false(shard_session_policy(shard_test.shard, other, &policy, &rank));
}

static void one_that_ended_is_not_counted(void **state)
{
    struct session *first = come(&reject_two, "");
    struct session *second = come(&reject_two, "");
    open(first, "");
    shard_test_end(first);
    ASSERT_COUNT(open(second, ""), 0, 0);
}

static void one_that_is_about_to_end_is_not_counted(void **state)
{
    struct session *first = come(&reject_two, "tv");
    struct session *second = come(&reject_two, "tv");
    open(first, "tv");
    shard_session_leaves(shard_test.shard, first);
    ASSERT_COUNT(open(second, "tv"), 0, 0);
    shard_test_live("b", NULL); /* under no policy: nothing to leave */
}

static void one_that_the_bus_never_heard_of_counts_when_it_is_let_in(void **state)
{
    struct session *first = come(&reject_two, "");
    struct session *second = come(&reject_two, "");
    shard_session_admit(shard_test.shard, first, (struct session_count){0});
    ASSERT_COUNT(open(second, ""), 1, 0);
}

static void the_oldest_asks_when_as_many_as_may_be_have_begun_since(void **state)
{
    struct session *first = come(&oldest_two, "");
    struct session *second = come(&oldest_two, "");
    struct session *third = come(&oldest_two, "");
    open(first, "");
    open(second, "");
    shard_test_assert_told(first, "");
    open(third, "");
    shard_test_assert_told(first, "excess");
    shard_test_assert_told(second, "");
    ASSERT_COUNT(ask(first, ""), 2, 0);
    ASSERT_COUNT(ask(second, ""), 1, 0);
    ASSERT_COUNT(ask(third, ""), 0, 0);
}

static void what_is_gone_again_evicts_nobody(void **state)
{
    struct session *first = come(&oldest_two, "");
    open(first, "");
    for (int i = 0; i < 2; i++) {
        struct session *brief = come(&oldest_two, "");
        open(brief, "");
        shard_test_end(brief);
    }
    shard_test_assert_told(first, "excess");
    struct session_count younger = ask(first, "");
    ASSERT_COUNT(younger, 0, 0);
    shard_session_ranked(shard_test.shard, first, younger);
    shard_test_assert_told(first, "");
    open(come(&oldest_two, ""), "");
    shard_test_assert_told(first, "");
    open(come(&oldest_two, ""), "");
    shard_test_assert_told(first, "excess");
}

static void what_begins_while_it_asks_is_asked_about_behind_that(void **state)
{
    struct session *first = come(&oldest_two, "");
    open(first, "");
    for (int i = 0; i < 4; i++) {
        open(come(&oldest_two, ""), "");
    }
    shard_test_assert_told(first, "excess"); /* once */
    shard_session_ranked(shard_test.shard, first, (struct session_count){1, 0});
    shard_test_assert_told(first, "excess");
}

static void one_whose_clock_is_behind_asks_for_itself(void **state)
{
    struct session *first = come(&oldest_two, "");
    struct session *second = come(&oldest_two, "");
    open(first, "");
    open(second, "");
    shard_test.now_ms -= 500;
    struct session *oldest = come(&oldest_two, "");
    shard_session_admit(shard_test.shard, oldest, open(oldest, ""));
    shard_test_assert_told(oldest, "excess");
    ASSERT_COUNT(ask(oldest, ""), 2, 0);
    ASSERT_COUNT(ask(first, ""), 1, 0);
}

static void a_device_hears_its_own_kind_alone(void **state)
{
    struct session *tv = come(&own_device, "tv");
    struct session *phone = come(&own_device, "phone");
    open(tv, "tv");
    open(phone, "phone");
    shard_test_assert_told(tv, "");
    open(come(&own_device, "tv"), "tv");
    shard_test_assert_told(tv, "excess");
    shard_test_assert_told(phone, "");
    ASSERT_COUNT(ask(tv, "tv"), 2, 1);
}

static void sessions_that_are_being_sent_away_count_for_nothing(void **state)
{
    struct session *first = come(&oldest_two, "");
    open(first, "");
    shard_set_leaving(shard_test.shard, true);
    struct session *second = come(&oldest_two, "");
    ASSERT_COUNT(open(second, ""), 0, 0);
    open(come(&oldest_two, ""), "");
    ASSERT_COUNT(ask(first, ""), 0, 0);
    shard_test_assert_told(first, "");
}

static void a_word_that_makes_no_sense_is_passed_over(void **state)
{
    struct session *first = come(&oldest_two, "");
    open(first, "");
    shard_test_control(EVENT_OPEN, "u:a", "tv"); /* without its number */
    shard_test_control(EVENT_RANK, "g:room", "");
    shard_test_control(EVENT_OPEN, "*", "");
    shard_test_run();
    shard_test_assert_told(first, "");
    ASSERT_COUNT(ask(first, ""), 0, 0);
}

static void without_memory_nothing_is_put_under_a_policy(void **state)
{
    struct session *session = shard_test_live("a", NULL);
    struct session_rank rank = {1, 1};
    for (unsigned long nth = 1; nth <= 2; nth++) { /* a page of facts, one of what is policed */
        mem_fail_nth(nth);
        assert_int_equal(
            shard_session_police(shard_test.shard, session, &oldest_two, rank, STR("tv")),
            ERR_NO_MEMORY);
        assert_false(mem_fail_pending());
    }
    assert_int_equal(shard_session_police(shard_test.shard, session, &oldest_two, rank, STR("tv")),
                     0);
    ASSERT_COUNT(open(session, "tv"), 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SHARD(one_that_begins_counts_those_of_before),
        WITH_SHARD(of_two_that_come_at_once_the_bus_says_who_was_first),
        WITH_SHARD(sessions_without_a_device_are_of_no_device),
        WITH_SHARD(who_is_under_no_policy_is_not_counted),
        WITH_SHARD(one_that_ended_is_not_counted),
        WITH_SHARD(one_that_is_about_to_end_is_not_counted),
        WITH_SHARD(one_that_the_bus_never_heard_of_counts_when_it_is_let_in),
        WITH_SHARD(the_oldest_asks_when_as_many_as_may_be_have_begun_since),
        WITH_SHARD(what_is_gone_again_evicts_nobody),
        WITH_SHARD(what_begins_while_it_asks_is_asked_about_behind_that),
        WITH_SHARD(one_whose_clock_is_behind_asks_for_itself),
        WITH_SHARD(a_device_hears_its_own_kind_alone),
        WITH_SHARD(sessions_that_are_being_sent_away_count_for_nothing),
        WITH_SHARD(a_word_that_makes_no_sense_is_passed_over),
        WITH_SHARD(without_memory_nothing_is_put_under_a_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
