#include "core/window_page.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/event_test_help.h"

enum { QUEUES = 3, KNOWN = 7, PLENTY = 1 << 30, KEYS = 4 };

struct fixture {
    struct window *window;
    struct window_page page;
    uint64_t keys[KEYS];
    uint64_t hi[QUEUES];
    char told[4096];
    int steps;
};

static struct fixture fixture;

static int setup(void **state)
{
    fixture = (struct fixture){0};
    assert_int_equal(window_create(&fixture.window, QUEUES, PLENTY, 0, NULL, NULL), 0);
    fixture.keys[0] = event_test_key_of(TARGET_USER, "1");
    fixture.page = (struct window_page){.window = fixture.window,
                                        .queues = QUEUES,
                                        .keys = fixture.keys,
                                        .key_count = 1,
                                        .limit = 100,
                                        .max_bytes = PLENTY,
                                        .known = KNOWN};
    window_page_seek(&fixture.page, NULL);
    return 0;
}

static int teardown(void **state)
{
    window_page_fini(&fixture.page);
    window_destroy(fixture.window);
    assert_int_equal(mem_accounted(MEM_WINDOW), 0);
    assert_int_equal(mem_accounted(MEM_HTTP), 0);
    return 0;
}

static void add_key(enum target_kind kind, const char *name)
{
    fixture.keys[fixture.page.key_count++] = event_test_key_of(kind, name);
}

static void append_event(uint32_t queue, struct event event, const char *const *targets,
                         size_t count)
{
    struct buf wire = {0};
    event_test_encode(&wire, &event, targets, count);
    struct event decoded = event_test_decode(&wire);
    struct bus_pos pos = {++fixture.hi[queue], 0};
    struct message *message = message_create(buf_str(&wire), &decoded, queue, pos);
    message->received_us = 1000;
    assert_int_equal(window_append(fixture.window, message, 1), 0);
    message_unref(message);
    buf_fini(&wire);
}

static void append(uint32_t queue, uint64_t at_ms, const char *target)
{
    struct event event = event_test_make(1, "1");
    event.time_ms = at_ms;
    append_event(queue, event, &target, 1);
}

static void append_many(uint32_t queue, int count, const char *target)
{
    for (int i = 0; i < count; i++) {
        append(queue, 1, target);
    }
}

/* "0:1 0:2 1:1": the items of the next page, a queue and a position each. */
static const char *next_page(void)
{
    enum window_page_step step;
    fixture.steps = 0;
    do {
        step = window_page_read(&fixture.page);
        assert_true(++fixture.steps < 10000);
    } while (step == WINDOW_PAGE_MORE);
    assert_int_equal(step, WINDOW_PAGE_DONE);
    size_t len = 0;
    fixture.told[0] = '\0';
    for (size_t i = 0; i < fixture.page.item_count; i++) {
        const struct window_page_item *item = &fixture.page.items[i];
        len += (size_t)snprintf(fixture.told + len, sizeof(fixture.told) - len, "%s%u:%u",
                                i ? " " : "", item->queue, (unsigned)item->pos.hi);
        assert_true(len < sizeof(fixture.told));
    }
    return fixture.told;
}

/* Another call, maybe at another node, goes on where this one ended. */
static void come_back(void)
{
    struct session_resume resume = {.seen = fixture.page.seen};
    for (uint32_t q = 0; q < QUEUES; q++) {
        resume.has[q] = fixture.page.seen.started >> q & 1;
    }
    window_page_seek(&fixture.page, &resume);
}

static void the_first_page_has_the_newest_of_all_queues_by_time(void **state)
{
    append(0, 10, "u:1");
    append(1, 5, "u:1");
    append(0, 20, "u:2");
    append(2, 30, "u:1");
    append(0, 15, "u:1");
    assert_string_equal(next_page(), "1:1 0:1 0:3 2:1");
    assert_false(fixture.page.has_more);
    assert_int_equal(fixture.page.lost, 0);
    assert_string_equal(next_page(), "");
}

static void an_empty_window_has_an_empty_page_and_no_gap(void **state)
{
    assert_string_equal(next_page(), "");
    come_back();
    append(1, 1, "u:1");
    assert_string_equal(next_page(), "1:1");
    assert_int_equal(fixture.page.lost, 0);
}

static void a_queue_keeps_its_order_whatever_the_clocks_say(void **state)
{
    append(0, 100, "u:1");
    append(0, 50, "u:1");
    append(1, 70, "u:1");
    assert_string_equal(next_page(), "1:1 0:1 0:2");
}

static void the_newest_page_is_cut_to_the_newest(void **state)
{
    fixture.page.limit = 3;
    append_many(0, 10, "u:1");
    append(1, 2, "u:1");
    append(1, 0, "u:2");
    assert_string_equal(next_page(), "0:9 0:10 1:1");
    assert_true(fixture.page.has_more);
    assert_string_equal(next_page(), "");
    assert_false(fixture.page.has_more);
}

static void what_came_behind_the_cursor_is_told_oldest_first_a_page_at_a_time(void **state)
{
    next_page();
    come_back();
    fixture.page.limit = 4;
    append(1, 2, "u:1");
    append_many(0, 9, "u:1");
    append(1, 1, "u:1");
    assert_string_equal(next_page(), "0:1 0:2 0:3 0:4");
    assert_true(fixture.page.has_more);
    come_back();
    assert_string_equal(next_page(), "0:5 0:6 0:7 0:8");
    come_back();
    assert_string_equal(next_page(), "0:9 1:1 1:2");
    assert_false(fixture.page.has_more);
    assert_int_equal(fixture.page.lost, 0);
    come_back();
    assert_string_equal(next_page(), "");
}

static void a_page_has_so_many_bytes_and_at_least_one_message(void **state)
{
    next_page();
    fixture.page.max_bytes = 1;
    append_many(0, 3, "u:1");
    assert_string_equal(next_page(), "0:1");
    fixture.page.max_bytes = 2ull * fixture.page.items[0].size;
    assert_string_equal(next_page(), "0:2 0:3");
}

static void a_message_to_several_of_the_keys_is_told_once(void **state)
{
    add_key(TARGET_GROUP, "g");
    add_key(TARGET_ALL, "");
    append_event(0, event_test_make(1, "1"), (const char *[]){"u:1", "g:g"}, 2);
    append(0, 2, "*");
    append(0, 3, "g:g");
    append(0, 4, "g:other");
    assert_string_equal(next_page(), "0:1 0:2 0:3");
}

static void joins_and_kicks_are_no_messages(void **state)
{
    struct event event = event_test_make(1, "");
    event.kind = EVENT_KICK;
    event.data_kind = EVENT_DATA_NONE;
    event.header.flags = EVENT_IS_CONTROL;
    fixture.page.limit = 2;
    append(0, 1, "u:1");
    append(0, 1, "u:1");
    for (int i = 0; i < 10; i++) {
        append_event(0, event, (const char *[]){"u:1"}, 1);
    }
    assert_string_equal(next_page(), "0:1 0:2");
}

static bool is_odd(void *owner, const struct message *message)
{
    assert_ptr_equal(owner, &fixture);
    return message->pos.hi & 1;
}

static void the_caller_may_leave_out_some(void **state)
{
    fixture.page.shows = is_odd;
    fixture.page.owner = &fixture;
    append_many(2, 5, "u:1");
    assert_string_equal(next_page(), "2:1 2:3 2:5");
}

static void what_was_evicted_behind_the_cursor_is_a_gap_once(void **state)
{
    append_many(0, 3, "u:1");
    next_page();
    append_many(0, 5, "u:1");
    window_lose(fixture.window, 0, (struct bus_pos){++fixture.hi[0], 0});
    append_many(0, 2, "u:1");
    assert_string_equal(next_page(), "0:10 0:11");
    assert_int_equal(fixture.page.lost, 1);
    assert_int_equal(fixture.page.replaced, 0);
    append(0, 1, "u:1");
    assert_string_equal(next_page(), "0:12");
    assert_int_equal(fixture.page.lost, 0);
}

static void another_history_is_a_gap_and_is_told_from_its_beginning(void **state)
{
    append_many(1, 3, "u:1");
    next_page();
    window_restart(fixture.window, 1, (struct bus_pos){0, 0});
    fixture.hi[1] = 0;
    append_many(1, 2, "u:1");
    assert_string_equal(next_page(), "1:1 1:2");
    assert_int_equal(fixture.page.replaced, 2);
}

static void a_cursor_ahead_of_the_window_waits_for_it(void **state)
{
    struct session_resume resume = {.has = {true}, .seen = {.pos = {{5, 0}}}};
    append_many(0, 3, "u:1");
    window_page_seek(&fixture.page, &resume);
    assert_string_equal(next_page(), "");
    assert_int_equal(fixture.page.ahead, 1);
    append_many(0, 2, "u:1");
    assert_string_equal(next_page(), "");
    assert_int_equal(fixture.page.ahead, 0);
    append_many(0, 1, "u:1");
    assert_string_equal(next_page(), "0:6");
    assert_int_equal(fixture.page.lost, 0);
}

static void a_queue_that_appears_later_is_told_from_its_beginning(void **state)
{
    fixture.page.known = 1;
    append(0, 1, "u:1");
    append(1, 1, "u:1");
    assert_string_equal(next_page(), "0:1");
    assert_int_equal(fixture.page.seen.started, 1);
    come_back();
    fixture.page.known = KNOWN;
    assert_true(window_page_may_have_news(&fixture.page));
    assert_string_equal(next_page(), "1:1");
    assert_int_equal(fixture.page.lost, 0);
}

static void there_may_be_news_only_where_something_came(void **state)
{
    append(0, 1, "u:1");
    assert_true(window_page_may_have_news(&fixture.page));
    next_page();
    assert_false(window_page_may_have_news(&fixture.page));
    append(2, 1, "u:2");
    assert_true(window_page_may_have_news(&fixture.page));
    assert_string_equal(next_page(), "");
    assert_false(window_page_may_have_news(&fixture.page));
}

static void a_long_history_is_read_in_short_steps_and_little_memory(void **state)
{
    next_page();
    fixture.page.limit = 10;
    append_many(0, 20000, "u:1");
    const char *page = next_page();
    assert_string_equal(page, "0:1 0:2 0:3 0:4 0:5 0:6 0:7 0:8 0:9 0:10");
    assert_true(fixture.steps > 10);
    assert_true(mem_accounted(MEM_HTTP) < 64 * 1024);
    assert_string_equal(next_page(), "0:11 0:12 0:13 0:14 0:15 0:16 0:17 0:18 0:19 0:20");
}

static void memory_that_is_out_is_said(void **state)
{
    append_many(0, 3, "u:1");
    mem_fail_nth(1);
    assert_int_equal(window_page_read(&fixture.page), WINDOW_PAGE_NO_MEMORY);
    mem_fail_nth(0);
    assert_string_equal(next_page(), "0:1 0:2 0:3");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_page_has_the_newest_of_all_queues_by_time),
        TEST(an_empty_window_has_an_empty_page_and_no_gap),
        TEST(a_queue_keeps_its_order_whatever_the_clocks_say),
        TEST(the_newest_page_is_cut_to_the_newest),
        TEST(what_came_behind_the_cursor_is_told_oldest_first_a_page_at_a_time),
        TEST(a_page_has_so_many_bytes_and_at_least_one_message),
        TEST(a_message_to_several_of_the_keys_is_told_once),
        TEST(joins_and_kicks_are_no_messages),
        TEST(the_caller_may_leave_out_some),
        TEST(what_was_evicted_behind_the_cursor_is_a_gap_once),
        TEST(another_history_is_a_gap_and_is_told_from_its_beginning),
        TEST(a_cursor_ahead_of_the_window_waits_for_it),
        TEST(a_queue_that_appears_later_is_told_from_its_beginning),
        TEST(there_may_be_news_only_where_something_came),
        TEST(a_long_history_is_read_in_short_steps_and_little_memory),
        TEST(memory_that_is_out_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
