#include "core/window.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/event_test_help.h"

enum { QUEUES = 2, PLENTY = 1 << 30 };

struct fixture {
    struct window *window;
    uint64_t next_hi;
    uint64_t evicted[1024];
    int evicted_count;
};

static struct fixture fixture;

static void note_eviction(void *owner, struct message *message)
{
    assert_ptr_equal(owner, &fixture);
    assert_true(fixture.evicted_count < 1024);
    fixture.evicted[fixture.evicted_count++] = message->pos.hi;
}

static void open_window(uint64_t max_bytes, uint64_t max_age_ms)
{
    fixture = (struct fixture){0};
    assert_int_equal(
        window_create(&fixture.window, QUEUES, max_bytes, max_age_ms, note_eviction, &fixture), 0);
}

static void close_window(void)
{
    window_destroy(fixture.window);
    assert_int_equal(mem_accounted(MEM_WINDOW), 0);
    assert_int_equal(mem_accounted(MEM_TABLES), 0);
}

static struct message *make(uint32_t queue, uint64_t hi, const char *const *targets, size_t count)
{
    struct buf wire = {0};
    struct event event = event_test_make((uint32_t)hi, "1");
    event_test_encode(&wire, &event, targets, count);
    struct event decoded = event_test_decode(&wire);
    struct message *message = message_create(buf_str(&wire), &decoded, queue,
                                             (struct bus_pos){hi, 0});
    buf_fini(&wire);
    return message;
}

/* Appends a message at the next position, received at that time; returns what append said. */
static int append_to(uint32_t queue, uint64_t now_ms, const char *const *targets, size_t count)
{
    struct message *message = make(queue, ++fixture.next_hi, targets, count);
    message->received_us = now_ms * 1000;
    int err = window_append(fixture.window, message, now_ms);
    message_unref(message);
    return err;
}

static void append(const char *target)
{
    assert_int_equal(append_to(0, 1, &target, 1), 0);
}

static struct window_span span_of(uint32_t queue)
{
    struct window_span span;
    window_span(fixture.window, queue, &span);
    return span;
}

/* All seqs of a user's messages, oldest first, found some at a time. */
static size_t find(const char *user, uint64_t from_seq, uint64_t to_seq, size_t at_once,
                   uint64_t *out)
{
    struct window_search search = {.queue = 0,
                                   .key = event_test_key_of(TARGET_USER, user),
                                   .from_seq = from_seq,
                                   .to_seq = to_seq};
    size_t count = 0;
    for (int rounds = 0; !search.done; rounds++) {
        assert_true(rounds < 1000);
        size_t found = window_find(fixture.window, &search, out + count, at_once);
        assert_true(found <= at_once);
        count += found;
    }
    for (size_t i = 0; i + 1 < count; i++) {
        assert_true(out[i] > out[i + 1]);
    }
    return count;
}

static void messages_get_seqs_without_holes(void **state)
{
    open_window(PLENTY, 0);
    for (uint64_t i = 1; i <= 200; i++) {
        append("u:1");
        assert_int_equal(span_of(0).head_seq, i);
        assert_int_equal(span_of(0).head.hi, i);
    }
    assert_int_equal(span_of(0).tail_seq, 0);
    assert_int_equal(span_of(1).head_seq, 0);
    assert_int_equal(window_messages(fixture.window), 200);
    for (uint64_t seq = 1; seq <= 200; seq++) {
        struct message *message = window_get(fixture.window, 0, seq);
        assert_int_equal(message->pos.hi, seq);
        assert_int_equal(message->seq, seq);
        message_unref(message);
    }
    assert_null(window_get(fixture.window, 0, 0));
    assert_null(window_get(fixture.window, 0, 201));
    close_window();
}

static void a_keys_messages_are_linked(void **state)
{
    uint64_t seqs[64];
    open_window(PLENTY, 0);
    for (int i = 0; i < 30; i++) {
        append(i % 3 == 0 ? "u:1" : "u:2"); /* 1, 4, 7 … are user 1's */
    }
    for (size_t at_once = 1; at_once <= 12; at_once++) {
        assert_int_equal(find("1", 1, 30, at_once, seqs), 10);
        assert_int_equal(seqs[0], 28);
        assert_int_equal(seqs[9], 1);
        assert_int_equal(find("2", 1, 30, at_once, seqs), 20);
    }
    assert_int_equal(find("nobody", 1, 30, 8, seqs), 0);
    close_window();
}

static void a_search_keeps_to_its_bounds(void **state)
{
    uint64_t seqs[64];
    open_window(PLENTY, 0);
    for (int i = 0; i < 20; i++) {
        append("u:1");
    }
    for (uint64_t from = 1; from <= 21; from++) {
        for (uint64_t to = from - 1; to <= 20; to++) {
            size_t count = find("1", from, to, 3, seqs);
            assert_int_equal(count, to + 1 - from);
            assert_true(count == 0 || (seqs[0] == to && seqs[count - 1] == from));
        }
    }
    close_window();
}

static void a_message_of_several_targets_is_in_each_chain(void **state)
{
    static const char *const both[] = {"u:1", "u:2"};
    static const char *const twice[] = {"u:1", "u:1"};
    uint64_t seqs[64];
    open_window(PLENTY, 0);
    append("u:1");
    assert_int_equal(append_to(0, 1, both, 2), 0);
    assert_int_equal(append_to(0, 1, twice, 2), 0);
    append("u:2");
    append("u:1");
    assert_int_equal(find("1", 1, 9, 8, seqs), 4);
    assert_int_equal(seqs[1], 3);
    assert_int_equal(seqs[2], 2);
    assert_int_equal(find("2", 1, 9, 8, seqs), 2);
    close_window();
}

static void a_long_chain_is_followed_in_steps(void **state)
{
    static uint64_t seqs[4000];
    open_window(PLENTY, 0);
    for (int i = 0; i < 3000; i++) {
        append("u:1");
    }
    assert_int_equal(find("1", 1, 10, 8, seqs), 10); /* most of the chain is passed over */
    assert_int_equal(find("1", 1, 3000, 4000, seqs), 3000);
    close_window();
}

static void positions_lead_to_seqs(void **state)
{
    bool complete;
    open_window(PLENTY, 0);
    fixture.next_hi = 10;
    append("u:1"); /* 11 */
    fixture.next_hi = 20;
    append("u:1"); /* 21 */
    static const uint64_t expected[][2] = {{0, 1}, {10, 1}, {11, 2}, {20, 2}, {21, 3}, {99, 3}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        struct bus_pos pos = {expected[i][0], 0};
        assert_int_equal(window_seq_after(fixture.window, 0, pos, &complete), expected[i][1]);
        assert_true(complete);
    }
    close_window();
}

static void append_at(uint64_t hi)
{
    struct message *message = make(0, hi, (const char *[]){"u:a"}, 1);
    assert_int_equal(window_append(fixture.window, message, 0), 0);
    message_unref(message);
}

static void a_message_is_found_at_its_position_and_nowhere_else(void **state)
{
    static const uint64_t there[] = {0, 1, 7}; /* 0: the first of all, in some engines */
    static const uint64_t not_there[] = {2, 6, 8, UINT64_MAX};
    open_window(PLENTY, 0);
    assert_null(window_find_at(fixture.window, 0, (struct bus_pos){0, 0}));
    for (size_t i = 0; i < 3; i++) {
        append_at(there[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        struct message *message = window_find_at(fixture.window, 0, (struct bus_pos){there[i], 0});
        assert_non_null(message);
        assert_int_equal(message->pos.hi, there[i]);
        message_unref(message);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_null(window_find_at(fixture.window, 0, (struct bus_pos){not_there[i], 0}));
    }
    assert_null(window_find_at(fixture.window, 0, (struct bus_pos){0, 1}));
    close_window();
}

static void what_is_over_the_bytes_goes_oldest_first(void **state)
{
    bool complete;
    open_window(PLENTY, 0);
    append("u:1");
    uint64_t each = window_bytes(fixture.window);
    close_window();

    open_window(10 * each, 0);
    for (int i = 0; i < 25; i++) {
        append("u:1");
        window_evict(fixture.window, 1);
        assert_true(window_bytes(fixture.window) <= 10 * each);
    }
    assert_int_equal(window_messages(fixture.window), 10);
    assert_int_equal(fixture.evicted_count, 15);
    assert_int_equal(fixture.evicted[14], 15);
    assert_int_equal(span_of(0).tail.hi, 15);
    assert_int_equal(window_seq_after(fixture.window, 0, (struct bus_pos){14, 0}, &complete), 16);
    assert_false(complete);
    assert_int_equal(window_seq_after(fixture.window, 0, (struct bus_pos){15, 0}, &complete), 16);
    assert_true(complete);
    assert_null(window_get(fixture.window, 0, 15));
    close_window();
}

static void what_is_over_age_goes_from_all_queues(void **state)
{
    static const char *const target[] = {"u:1"};
    open_window(PLENTY, 1000);
    assert_int_equal(append_to(0, 100, target, 1), 0);
    assert_int_equal(append_to(1, 200, target, 1), 0);
    assert_int_equal(append_to(0, 300, target, 1), 0);
    assert_int_equal(window_age_ms(fixture.window, 1100), 1000);
    window_evict(fixture.window, 1100);
    assert_int_equal(window_messages(fixture.window), 3);
    window_evict(fixture.window, 1101);
    assert_int_equal(window_messages(fixture.window), 2);
    window_evict(fixture.window, 1201);
    assert_int_equal(span_of(1).tail_seq, 1);
    window_evict(fixture.window, 9999);
    assert_int_equal(window_messages(fixture.window), 0);
    assert_int_equal(window_age_ms(fixture.window, 9999), 0);
    assert_int_equal(window_bytes(fixture.window), 0);
    close_window();
}

static void a_chain_ends_where_the_window_does(void **state)
{
    static const char *const target[] = {"u:1"};
    uint64_t seqs[64];
    open_window(PLENTY, 1000);
    for (uint64_t now = 0; now < 10; now++) {
        assert_int_equal(append_to(0, now, target, 1), 0);
    }
    window_evict(fixture.window, 1005);
    assert_int_equal(find("1", 1, 10, 3, seqs), 5);
    assert_int_equal(seqs[4], 6);
    window_evict(fixture.window, 9999);
    assert_int_equal(find("1", 1, 10, 3, seqs), 0);
    append("u:1");
    assert_int_equal(find("1", 1, 11, 3, seqs), 1);
    close_window();
}

static void a_search_survives_the_eviction_of_where_it_was(void **state)
{
    static const char *const target[] = {"u:1"};
    uint64_t seqs[8];
    open_window(PLENTY, 1000);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(append_to(0, 1, target, 1), 0);
    }
    struct window_search search = {
        .key = event_test_key_of(TARGET_USER, "1"), .from_seq = 1, .to_seq = 10};
    assert_int_equal(window_find(fixture.window, &search, seqs, 3), 3);
    window_evict(fixture.window, 9999);
    append("u:1");
    assert_int_equal(window_find(fixture.window, &search, seqs, 3), 0);
    assert_true(search.done);
    close_window();
}

static void a_position_without_a_message_moves_the_head_alone(void **state)
{
    open_window(PLENTY, 0);
    append("u:1");
    window_advance(fixture.window, 0, (struct bus_pos){7, 3});
    assert_int_equal(span_of(0).head.hi, 7);
    assert_int_equal(span_of(0).head.lo, 3);
    assert_int_equal(span_of(0).tail.hi, 0);
    assert_int_equal(span_of(0).head_seq, 1);
    close_window();
}

static void what_is_lost_takes_all_before_it_along(void **state)
{
    bool complete;
    open_window(PLENTY, 0);
    append("u:1");
    append("u:1");
    window_lose(fixture.window, 0, (struct bus_pos){5, 0});
    assert_int_equal(fixture.evicted_count, 2);
    assert_int_equal(span_of(0).tail.hi, 5);
    assert_int_equal(window_messages(fixture.window), 0);
    window_seq_after(fixture.window, 0, (struct bus_pos){2, 0}, &complete);
    assert_false(complete);
    window_seq_after(fixture.window, 0, (struct bus_pos){5, 0}, &complete);
    assert_true(complete);
    fixture.next_hi = 5;
    append("u:1");
    assert_int_equal(span_of(0).head_seq, 3);
    close_window();
}

/* One append after the other, with its first, second or third allocation failing: what is not kept
 * shows as a gap, and what is kept is found. */
static void an_append_that_fails_leaves_a_gap_and_a_sound_window(void **state)
{
    int failures = 0;
    uint64_t seqs[512];
    open_window(PLENTY, 0);
    for (unsigned long i = 0; i < 400; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u:%lu", i + 10);
        struct message *message = make(0, ++fixture.next_hi, (const char *[]){"u:1", name}, 2);
        mem_fail_nth(1 + i % 3);
        int err = window_append(fixture.window, message, 1);
        mem_fail_nth(0);
        assert_int_equal(message->refs, err ? 1 : 2);
        message_unref(message);
        if (err) {
            failures++;
            assert_int_equal(err, ERR_NO_MEMORY);
            assert_int_equal(span_of(0).tail.hi, fixture.next_hi);
            assert_int_equal(window_messages(fixture.window), 0);
        }
        uint64_t kept = span_of(0).head_seq - span_of(0).tail_seq;
        assert_int_equal(window_messages(fixture.window), kept);
        assert_int_equal(find("1", 1, UINT64_MAX, 512, seqs), kept);
    }
    assert_true(failures > 1);
    close_window();
}

/* A lane begins with 64 places. */
static void a_window_that_can_not_grow_keeps_less(void **state)
{
    open_window(PLENTY, 0);
    for (int i = 0; i < 64; i++) {
        append("u:1");
    }
    struct message *message = make(0, ++fixture.next_hi, (const char *[]){"u:1"}, 1);
    mem_fail_nth(1);
    assert_int_equal(window_append(fixture.window, message, 1), 0);
    assert_false(mem_fail_pending());
    message_unref(message);
    assert_int_equal(fixture.evicted_count, 1);
    assert_int_equal(fixture.evicted[0], 1);
    assert_int_equal(window_messages(fixture.window), 64);
    assert_int_equal(span_of(0).tail.hi, 1);
    close_window();
}

static void without_memory_there_is_no_window(void **state)
{
    struct window *window = NULL;
    for (unsigned long nth = 1; nth <= 2; nth++) {
        mem_fail_nth(nth);
        assert_int_equal(window_create(&window, 1, 1, 1, NULL, NULL), ERR_NO_MEMORY);
        mem_fail_nth(0);
        assert_null(window);
    }
    window_destroy(NULL);
}

static atomic_bool stop_reading;

/* What a reader finds is what was appended, however much is evicted meanwhile. */
static void *read_often(void *arg)
{
    uint64_t key = event_test_key_of(TARGET_USER, "1");
    while (!atomic_load(&stop_reading)) {
        struct window_span span;
        uint64_t seqs[32];
        bool complete;
        window_span(fixture.window, 0, &span);
        uint64_t from = window_seq_after(fixture.window, 0, span.tail, &complete);
        struct window_search search = {.key = key, .from_seq = from, .to_seq = UINT64_MAX};
        size_t count = window_find(fixture.window, &search, seqs, 32);
        for (size_t i = 0; i < count; i++) {
            struct message *message = window_get(fixture.window, 0, seqs[i]);
            if (message) {
                if (message->seq != seqs[i] || event_key(&message->event, 0) != key) {
                    abort();
                }
                message_unref(message);
            }
        }
        sched_yield();
    }
    return NULL;
}

static void other_threads_read_while_it_moves_on(void **state)
{
    pthread_t readers[2];
    open_window(20000, 0);
    atomic_store(&stop_reading, false);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, read_often, NULL), 0);
    }
    for (int i = 0; i < 5000; i++) {
        append(i % 2 ? "u:1" : "u:2");
        fixture.evicted_count = 0;
        window_evict(fixture.window, 1);
    }
    atomic_store(&stop_reading, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(readers[i], NULL);
    }
    close_window();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_get_seqs_without_holes),
        cmocka_unit_test(a_keys_messages_are_linked),
        cmocka_unit_test(a_search_keeps_to_its_bounds),
        cmocka_unit_test(a_message_of_several_targets_is_in_each_chain),
        cmocka_unit_test(a_long_chain_is_followed_in_steps),
        cmocka_unit_test(positions_lead_to_seqs),
        cmocka_unit_test(a_message_is_found_at_its_position_and_nowhere_else),
        cmocka_unit_test(what_is_over_the_bytes_goes_oldest_first),
        cmocka_unit_test(what_is_over_age_goes_from_all_queues),
        cmocka_unit_test(a_chain_ends_where_the_window_does),
        cmocka_unit_test(a_search_survives_the_eviction_of_where_it_was),
        cmocka_unit_test(a_position_without_a_message_moves_the_head_alone),
        cmocka_unit_test(what_is_lost_takes_all_before_it_along),
        cmocka_unit_test(an_append_that_fails_leaves_a_gap_and_a_sound_window),
        cmocka_unit_test(a_window_that_can_not_grow_keeps_less),
        cmocka_unit_test(without_memory_there_is_no_window),
        cmocka_unit_test(other_threads_read_while_it_moves_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
