#include "core/kept.h"

#include "base/mem.h"
#include "core/event_test_help.h"

enum { NOW_MS = 50000, LIFE_MS = 10000 };

static const uint64_t WALL_MS = 1800000000000;

static struct kept *kept;
static int expired;
static unsigned long fail_nth; /* allocation of the next take; 0: none */

static void on_expire(void *owner, struct kept_entry *entry)
{
    assert_ptr_equal(entry->owner, owner);
    expired++;
}

static int start_with(uint64_t results)
{
    struct kept_options options = {.budgets = {[KEPT_RESULTS] = results},
                                   .now_ms = NOW_MS,
                                   .on_expire = on_expire,
                                   .owner = &expired};
    expired = 0;
    return kept_create(&kept, &options);
}

static int start(void **state)
{
    return start_with(0);
}

static int stop(void **state)
{
    kept_destroy(kept);
    assert_int_equal(mem_accounted_total(), 0);
    return 0;
}

static uint64_t age_ms; /* of the next copy on the bus; from 1000 on it is due */

/* At NOW_MS + after_ms, with LIFE_MS to live. */
static enum kept_verdict take(enum kept_kind kind, uint64_t key, const char *id, uint32_t app,
                              uint64_t after_ms)
{
    static const char *const target = "t:x";
    struct event event = event_test_make(1, "\"some result\"");
    struct buf wire = {0};
    struct kept_entry *entry = NULL;
    event.id = str_of(id);
    event.header.app = app;
    event_test_encode(&wire, &event, &target, 1);
    event = event_test_decode(&wire);
    struct kept_offer offer = {.encoded = buf_str(&wire),
                               .event = &event,
                               .first = {7, after_ms},
                               .kind = kind,
                               .key = key,
                               .expires_ms = WALL_MS + LIFE_MS,
                               .now_ms = NOW_MS + after_ms,
                               .wall_ms = WALL_MS + after_ms,
                               .age_ms = age_ms,
                               .is_due = age_ms >= 1000};
    mem_fail_nth(fail_nth);
    enum kept_verdict verdict = kept_take(kept, &offer, &entry);
    if (verdict == KEPT_NEW) {
        entry->owner = &expired;
    }
    assert_true((entry != NULL) == (verdict == KEPT_NEW || verdict == KEPT_KNOWN));
    buf_fini(&wire);
    return verdict;
}

static void what_is_new_is_kept_and_a_repeat_changes_nothing(void **state)
{
    assert_int_equal(take(KEPT_CLAIM, 1, "a", 1, 0), KEPT_NEW);
    assert_int_equal(take(KEPT_CLAIM, 1, "a", 1, 5), KEPT_KNOWN);
    assert_int_equal(kept_find(kept, KEPT_CLAIM, 1, STR("a"))->message->pos.lo, 0);
    assert_int_equal(take(KEPT_CLAIM, 1, "b", 1, 0), KEPT_NEW);
    assert_int_equal(take(KEPT_CLAIM, 2, "a", 1, 0), KEPT_NEW);
    assert_int_equal(take(KEPT_END, 1, "a", 1, 0), KEPT_NEW);
    assert_int_equal(kept_get_stats(kept)->entries[KEPT_CLAIM], 3);
    assert_null(kept_find(kept, KEPT_END, 2, STR("a")));
}

static void the_event_is_kept_as_it_came(void **state)
{
    take(KEPT_RESULT, 1, "a", 1, 3);
    const struct message *message = kept_find(kept, KEPT_RESULT, 1, STR("a"))->message;
    struct str encoded = message_encoded(message);
    struct event event;
    size_t skip;
    assert_int_equal(event_decode(&event, (const uint8_t *)encoded.ptr, encoded.len, &skip),
                     encoded.len);
    assert_true(str_equal(event.data, STR("\"some result\"")));
    assert_int_equal(message->pos.lo, 3);
}

static void it_goes_when_it_expires(void **state)
{
    take(KEPT_RESULT, 1, "a", 1, 0);
    kept_advance(kept, NOW_MS + LIFE_MS - 1);
    assert_int_equal(expired, 0);
    kept_advance(kept, NOW_MS + LIFE_MS + TIMER_TICK_MS);
    assert_int_equal(expired, 1);
    assert_null(kept_find(kept, KEPT_RESULT, 1, STR("a")));
    assert_int_equal(mem_accounted(MEM_KEPT), 0);
    assert_int_equal(take(KEPT_RESULT, 1, "a", 1, LIFE_MS), KEPT_EXPIRED);
}

static void one_that_is_dropped_does_not_expire(void **state)
{
    take(KEPT_RESULT, 1, "a", 1, 0);
    kept_drop(kept, kept_find(kept, KEPT_RESULT, 1, STR("a")));
    kept_advance(kept, NOW_MS + 2 * LIFE_MS);
    assert_int_equal(expired, 0);
}

static void an_app_has_its_budget_and_no_byte_more(void **state)
{
    kept_destroy(kept);
    start_with(1000);
    assert_true(kept_reserve(kept, KEPT_RESULTS, 1, 600));
    assert_false(kept_reserve(kept, KEPT_RESULTS, 1, 401));
    assert_true(kept_reserve(kept, KEPT_RESULTS, 1, 400));
    assert_true(kept_reserve(kept, KEPT_RESULTS, 2, 1000)); /* another app */
    assert_true(kept_reserve(kept, KEPT_OTHERS, 1, 1000));  /* another budget */
    assert_true(kept_reserve(kept, KEPT_TICKETS, 1, KEPT_TICKET_BYTES));
    assert_true(kept_reserve(kept, KEPT_OTHERS, 1, KEPT_OTHER_BYTES - 1000));
    kept_release(kept, KEPT_RESULTS, 1, 400);
    assert_true(kept_reserve(kept, KEPT_RESULTS, 1, 400));
    assert_int_equal(kept_get_stats(kept)->refused[KEPT_RESULTS], 1);
}

static void what_is_kept_is_of_the_budget_until_it_goes(void **state)
{
    kept_destroy(kept);
    start_with(2000);
    take(KEPT_RESULT, 1, "a", 1, 0);
    uint64_t used = kept_get_stats(kept)->bytes[KEPT_RESULTS];
    assert_true(used > sizeof(struct kept_entry) && used < 2000);
    assert_false(kept_reserve(kept, KEPT_RESULTS, 1, 2001 - used));
    assert_true(kept_reserve(kept, KEPT_RESULTS, 1, 2000 - used));
    kept_release(kept, KEPT_RESULTS, 1, 2000 - used);
    kept_drop(kept, kept_find(kept, KEPT_RESULT, 1, STR("a")));
    assert_true(kept_reserve(kept, KEPT_RESULTS, 1, 2000));
}

static void what_the_bus_has_is_taken_up_to_twice_the_budget(void **state)
{
    kept_destroy(kept);
    start_with(1000);
    char id[] = "a";
    int kept_count = 0;
    while (take(KEPT_RESULT, 1, id, 1, 0) == KEPT_NEW) {
        kept_count++;
        id[0]++;
    }
    uint64_t used = kept_get_stats(kept)->bytes[KEPT_RESULTS];
    assert_true(used <= 2000 && used + used / (uint64_t)kept_count > 2000);
    assert_int_equal(kept_get_stats(kept)->lost, 1);
    assert_int_equal(take(KEPT_RESULT, 1, "z", 2, 0), KEPT_NEW); /* another app */
}

static void without_memory_nothing_is_kept_and_that_is_counted(void **state)
{
    for (unsigned long n = 1; n < 10; n++) {
        fail_nth = n;
        enum kept_verdict verdict = take(KEPT_RESULT, n, "a", (uint32_t)n, 0);
        bool failed = !mem_fail_pending();
        fail_nth = 0;
        mem_fail_nth(0);
        assert_int_equal(verdict, failed ? KEPT_NO_MEMORY : KEPT_NEW);
        if (!failed) {
            assert_int_equal(kept_get_stats(kept)->lost, n - 1);
            return;
        }
    }
    fail();
}

static struct kept_entry *due(uint64_t after_ms, uint64_t retain_ms)
{
    return kept_next_due(kept, NOW_MS + after_ms, WALL_MS + after_ms, retain_ms / 3, retain_ms);
}

static void what_lives_longer_than_the_window_is_due_each_third(void **state)
{
    take(KEPT_CLAIM, 1, "a", 1, 0);
    take(KEPT_CLAIM, 1, "b", 1, 500);
    assert_null(due(999, 3000));
    assert_int_equal(due(1000, 3000)->message->pos.lo, 0);
    assert_null(due(1001, 3000));
    assert_int_equal(due(1500, 3000)->message->pos.lo, 500);
    assert_int_equal(due(2000, 3000)->message->pos.lo, 0);
    take(KEPT_CLAIM, 1, "b", 1, 2400); /* it came again, by whomever */
    assert_null(due(2500, 3000));
}

static void what_is_read_back_is_due_by_its_age_on_the_bus(void **state)
{
    static const uint64_t ages_ms[] = {300, 2000, 0};
    static const char *const ids[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        age_ms = ages_ms[i];
        take(KEPT_CLAIM, 1, ids[i], 1, 0);
    }
    age_ms = 2500;
    take(KEPT_CLAIM, 1, "a", 1, 0); /* an older copy of it says nothing */
    age_ms = 0;
    assert_string_equal(due(1, 3000)->message->event.id.ptr, "b");
    assert_null(due(699, 3000));
    assert_string_equal(due(700, 3000)->message->event.id.ptr, "a");
    assert_string_equal(due(1000, 3000)->message->event.id.ptr, "c");
}

static void what_the_bus_did_not_take_is_due_as_before(void **state)
{
    take(KEPT_CLAIM, 1, "a", 1, 0);
    uint64_t place = due(1000, 3000)->place;
    assert_null(due(1001, 3000));
    kept_not_told(kept, place);
    assert_int_equal(due(1001, 3000)->place, place);
    kept_drop(kept, kept_find(kept, KEPT_CLAIM, 1, STR("a")));
    kept_not_told(kept, place);
    assert_null(due(9000, 3000));
}

static void what_the_window_keeps_to_its_end_is_not_told_again(void **state)
{
    take(KEPT_CLAIM, 1, "a", 1, 0);
    assert_null(due(LIFE_MS / 2, LIFE_MS));
    assert_null(due(LIFE_MS - 1, LIFE_MS));
    take(KEPT_CLAIM, 1, "b", 1, 0);
    assert_non_null(due(LIFE_MS / 2, LIFE_MS - 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_new_is_kept_and_a_repeat_changes_nothing),
        TEST(the_event_is_kept_as_it_came),
        TEST(it_goes_when_it_expires),
        TEST(one_that_is_dropped_does_not_expire),
        TEST(an_app_has_its_budget_and_no_byte_more),
        TEST(what_is_kept_is_of_the_budget_until_it_goes),
        TEST(what_the_bus_has_is_taken_up_to_twice_the_budget),
        TEST(without_memory_nothing_is_kept_and_that_is_counted),
        TEST(what_lives_longer_than_the_window_is_due_each_third),
        TEST(what_is_read_back_is_due_by_its_age_on_the_bus),
        TEST(what_the_bus_did_not_take_is_due_as_before),
        TEST(what_the_window_keeps_to_its_end_is_not_told_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
