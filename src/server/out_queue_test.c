#include "server/out_queue.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/receipt.h"

static struct {
    struct out_pool pool;
    struct out_queue *queue;
    int64_t held_before;
    int ends[2];
    int delivered;
    uint32_t written;
    uint64_t bytes;
} t;

static int start(void **state)
{
    memset(&t, 0, sizeof(t));
    t.held_before = mem_accounted(MEM_QUEUES);
    t.queue = out_queue_create(&t.pool);
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, t.ends);
}

static int stop(void **state)
{
    out_queue_destroy(&t.pool, t.queue);
    out_pool_fini(&t.pool);
    close(t.ends[0]);
    close(t.ends[1]);
    assert_int_equal(mem_accounted(MEM_QUEUES), t.held_before);
    return 0;
}

static void add(const char *text, uint32_t sent, struct receipt *receipt)
{
    struct frame *frame = frame_of_bytes(text, strlen(text));
    if (receipt) {
        frame->receipt = receipt_ref(receipt);
        frame->holds_receipt = true;
        receipt_open(receipt);
    }
    assert_int_equal(out_queue_add(&t.pool, t.queue, frame, sent, 7), 0);
    frame_unref(frame);
}

static int send_out(void)
{
    struct out_sent sent;
    int done = out_queue_send(&t.pool, t.queue, t.ends[0], NULL, &sent);
    t.written = sent.frames;
    t.bytes = sent.bytes;
    return done;
}

static const char *heard(void)
{
    static char text[4096];
    ssize_t got = recv(t.ends[1], text, sizeof(text) - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static void count_delivery(struct receipt *receipt)
{
    t.delivered++;
    receipt_unref(receipt);
}

static void frames_leave_in_their_order(void **state)
{
    add("one", 0, NULL);
    add("two", 0, NULL);
    add("three", 2, NULL); /* two bytes are out already */
    assert_int_equal(t.queue->bytes, 9);
    assert_int_equal(t.queue->frames, 3);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "onetworee");
    assert_int_equal(t.written, 3);
    assert_int_equal(t.bytes, 9);
    assert_int_equal(t.queue->bytes, 0);
    add("more", 0, NULL);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "more");
}

static void a_pong_goes_between_two_frames(void **state)
{
    add("half", 2, NULL);
    add("next", 0, NULL);
    t.queue->pong = frame_of_bytes("PONG", 4);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "lfPONGnext");
    add("whole", 0, NULL);
    t.queue->pong = frame_of_bytes("PONG", 4);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "PONGwhole");
    t.queue->pong = frame_of_bytes("PONG", 4);
    add("x", 1, NULL);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "PONG");
}

static void a_pong_alone_leaves_too(void **state)
{
    t.queue->pong = frame_of_bytes("PONG", 4);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "PONG");
}

static void more_frames_than_a_call_takes_leave_all(void **state)
{
    for (int i = 0; i < 1000; i++) {
        add("ab", 0, NULL);
    }
    assert_int_equal(send_out(), 1);
    assert_int_equal(t.written, 1000);
    assert_int_equal(strlen(heard()), 2000);
}

static size_t drain_some(char *to, size_t len)
{
    ssize_t got = recv(t.ends[1], to, len, 0);
    return got > 0 ? (size_t)got : 0;
}

static void a_full_socket_stops_and_goes_on_where_it_was(void **state)
{
    static char text[70001];
    static char got[8 * sizeof(text)];
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        text[i] = (char)('a' + i % 26);
    }
    int small = 1;
    setsockopt(t.ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (int i = 0; i < 5; i++) {
        add(text, 0, NULL);
    }
    size_t len = 0;
    uint32_t written = 0;
    int rounds = 0;
    for (int done = 0; !done; rounds++) {
        done = send_out();
        assert_true(done >= 0);
        written += t.written;
        len += drain_some(got + len, sizeof(got) - len);
    }
    for (size_t more; (more = drain_some(got + len, sizeof(got) - len)) > 0;) {
        len += more;
    }
    assert_true(rounds > 5);
    assert_int_equal(written, 5);
    assert_int_equal(len, 5 * (sizeof(text) - 1));
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(got[i], text[i % (sizeof(text) - 1)]);
    }
}

static void a_broken_socket_is_an_error(void **state)
{
    add("x", 0, NULL);
    close(t.ends[1]);
    t.ends[1] = -1;
    assert_int_equal(send_out(), -EPIPE);
}

static void a_receipt_is_told_once_a_frame(void **state)
{
    struct receipt *receipt = receipt_create(1, count_delivery, NULL);
    add("one", 0, receipt);
    add("two", 0, receipt);
    receipt_close(receipt); /* the part itself */
    assert_int_equal(t.delivered, 0);
    assert_int_equal(send_out(), 1);
    assert_int_equal(atomic_load(&receipt->written), 2);
    assert_int_equal(atomic_load(&receipt->dropped), 0);
    assert_int_equal(t.delivered, 1);
    receipt_unref(receipt);
}

static void what_is_dropped_says_so(void **state)
{
    struct receipt *receipt = receipt_create(1, count_delivery, NULL);
    add("one", 0, receipt);
    add("two", 1, receipt);
    t.queue->pong = frame_of_bytes("PONG", 4);
    receipt_close(receipt);
    out_queue_destroy(&t.pool, t.queue);
    t.queue = NULL;
    assert_int_equal(atomic_load(&receipt->dropped), 2);
    assert_int_equal(t.delivered, 1);
    receipt_unref(receipt);
}

static void a_trim_leaves_the_frame_that_is_half_out(void **state)
{
    struct receipt *receipt = receipt_create(1, count_delivery, NULL);
    add("half", 2, receipt);
    add("two", 0, receipt);
    add("three", 0, NULL);
    t.queue->pong = frame_of_bytes("PONG", 4);
    assert_int_equal(out_queue_trim(&t.pool, t.queue, 0, RECEIPT_SLOW), 2);
    assert_int_equal(t.queue->bytes, 2);
    assert_int_equal(t.queue->frames, 1);
    add("close", 0, NULL);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "lfclose");
    assert_int_equal(atomic_load(&receipt->written), 1);
    assert_int_equal(atomic_load(&receipt->dropped), 1);
    add("whole", 0, NULL);
    assert_int_equal(out_queue_trim(&t.pool, t.queue, 0, RECEIPT_SLOW), 1);
    assert_int_equal(t.queue->bytes, 0);
    add("close", 0, NULL);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "close");
    receipt_close(receipt);
    receipt_unref(receipt);
}

static void nodes_and_queues_are_used_again(void **state)
{
    add("one", 0, NULL);
    assert_int_equal(send_out(), 1);
    out_queue_destroy(&t.pool, t.queue);
    mem_fail_nth(1);
    t.queue = out_queue_create(&t.pool);
    assert_non_null(t.queue);
    assert_true(mem_fail_pending());
    mem_fail_nth(0);
    struct frame *frame = frame_of_bytes("x", 1);
    mem_fail_nth(1);
    assert_int_equal(out_queue_add(&t.pool, t.queue, frame, 0, 7), 0);
    assert_int_equal(out_queue_add(&t.pool, t.queue, frame, 0, 7), ERR_NO_MEMORY);
    mem_fail_nth(1);
    assert_null(out_queue_create(&t.pool));
    mem_fail_nth(0);
    frame_unref(frame);
}

static void a_pong_that_finds_no_memory_waits(void **state)
{
    add("one", 0, NULL);
    t.queue->pong = frame_of_bytes("PONG", 4);
    mem_fail_nth(1);
    assert_int_equal(send_out(), 1);
    mem_fail_nth(0);
    assert_string_equal(heard(), "one");
    assert_non_null(t.queue->pong);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

/* ---- what is taken out ---- */

static void add_of(const char *text, uint32_t sent, struct frame named)
{
    struct frame *frame = frame_of_bytes(text, strlen(text));
    frame->id = named.id;
    frame->collapse = named.collapse;
    frame->expires_ms = named.expires_ms;
    frame->wants_ack = named.wants_ack;
    assert_int_equal(out_queue_add(&t.pool, t.queue, frame, sent, 7), 0);
    frame_unref(frame);
}

static uint32_t take_out(bool (*matches)(const struct frame *, const struct out_drop *),
                         uint64_t value)
{
    struct out_drop drop = {.matches = matches, .value = value, .why = RECEIPT_COLLAPSED};
    return out_queue_drop(&t.pool, t.queue, 0, &drop);
}

static void what_is_superseded_is_taken_out_and_the_rest_keeps_its_order(void **state)
{
    assert_false(t.queue->has_collapse);
    add_of("one", 0, (struct frame){.collapse = 5});
    add_of("two", 0, (struct frame){.collapse = 6});
    add_of("three", 0, (struct frame){0});
    assert_true(t.queue->has_collapse);
    assert_int_equal(take_out(out_queue_is_of_key, 5), 1);
    assert_int_equal(take_out(out_queue_is_of_key, 0), 0);
    add_of("four", 0, (struct frame){.collapse = 5});
    assert_int_equal(t.queue->bytes, 12);
    assert_int_equal(t.queue->frames, 3);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "twothreefour");
}

static void one_that_outlives_what_comes_for_it_stays(void **state)
{
    struct out_drop drop = {.matches = out_queue_is_of_key, .value = 5, .until_ms = 20};
    add_of("ever", 0, (struct frame){.collapse = 5});
    add_of("late", 0, (struct frame){.collapse = 5, .expires_ms = 21});
    add_of("soon", 0, (struct frame){.collapse = 5, .expires_ms = 20});
    assert_int_equal(out_queue_drop(&t.pool, t.queue, 0, &drop), 1);
    drop.until_ms = 0;
    assert_int_equal(out_queue_drop(&t.pool, t.queue, 0, &drop), 2);
}

static void no_more_than_the_budget_is_looked_at(void **state)
{
    uint32_t budget = 3;
    struct out_drop drop = {.matches = out_queue_is_of_message, .value = 2, .budget = &budget};
    add_of("a", 0, (struct frame){.id = 1});
    add_of("b", 0, (struct frame){.id = 2});
    add_of("c", 0, (struct frame){.id = 3, .expires_ms = 30});
    add_of("d", 0, (struct frame){.id = 2, .expires_ms = 10});
    assert_int_equal(out_queue_drop(&t.pool, t.queue, 0, &drop), 1);
    assert_int_equal(budget, 0);
    assert_int_equal(t.queue->next_expiry_ms, 10);
    assert_int_equal(out_queue_drop(&t.pool, t.queue, 0, &drop), 0);
    add_of("e", 0, (struct frame){0});
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "acde");
}

static void the_last_one_may_be_taken_out(void **state)
{
    add_of("one", 0, (struct frame){.id = 1});
    add_of("two", 0, (struct frame){.id = 2});
    assert_int_equal(take_out(out_queue_is_of_message, 2), 1);
    add_of("three", 0, (struct frame){.id = 3});
    assert_int_equal(take_out(out_queue_is_of_message, 1), 1);
    assert_int_equal(take_out(out_queue_is_of_message, 3), 1);
    assert_int_equal(t.queue->bytes, 0);
    assert_int_equal(send_out(), 1);
    add_of("four", 0, (struct frame){0});
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "four");
}

static void what_is_half_out_stays(void **state)
{
    add_of("half", 2, (struct frame){.id = 1, .expires_ms = 10});
    add_of("again", 0, (struct frame){.id = 1});
    assert_int_equal(take_out(out_queue_is_of_message, 1), 1);
    assert_int_equal(take_out(out_queue_is_expired, 10), 0);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "lf");
}

static void the_next_expiry_is_known(void **state)
{
    add_of("never", 0, (struct frame){0});
    assert_int_equal(t.queue->next_expiry_ms, 0);
    add_of("late", 0, (struct frame){.expires_ms = 30});
    add_of("soon", 0, (struct frame){.expires_ms = 10});
    add_of("later", 0, (struct frame){.expires_ms = 40});
    assert_int_equal(t.queue->next_expiry_ms, 10);
    assert_int_equal(take_out(out_queue_is_expired, 9), 0);
    assert_int_equal(take_out(out_queue_is_expired, 10), 1);
    assert_int_equal(t.queue->next_expiry_ms, 30);
    assert_int_equal(take_out(out_queue_is_expired, 50), 2);
    assert_int_equal(t.queue->next_expiry_ms, 0);
    assert_int_equal(send_out(), 1);
    assert_string_equal(heard(), "never");
}

static void note_drop(void *owner, const struct frame *frame, enum receipt_drop why)
{
    assert_int_equal(why, RECEIPT_REVOKED);
    *(uint64_t *)owner += frame->id;
}

static void the_session_is_told_and_so_is_the_receipt(void **state)
{
    struct receipt *receipt = receipt_create(1, count_delivery, NULL);
    uint64_t told = 0;
    struct out_drop drop = {.matches = out_queue_is_of_message,
                            .value = 9,
                            .why = RECEIPT_REVOKED,
                            .on_drop = note_drop,
                            .owner = &told};
    add("counted", 0, receipt);
    t.queue->first->frame->id = 9;
    add("confirmed", 0, receipt); /* what its session's acks hold is theirs to count */
    t.queue->first->next->frame->id = 9;
    t.queue->first->next->frame->wants_ack = true;
    assert_int_equal(out_queue_drop(&t.pool, t.queue, 0, &drop), 2);
    assert_int_equal(told, 18);
    assert_int_equal(atomic_load(&receipt->dropped_by[RECEIPT_REVOKED]), 1);
    receipt_close_many(receipt, 2);
    assert_int_equal(t.delivered, 1);
    receipt_unref(receipt);
}

static void what_the_client_cannot_confirm_is_confirmed_when_it_is_written(void **state)
{
    struct receipt *receipt = receipt_create(1, count_delivery, NULL);
    add("raw", 0, receipt);
    t.queue->first->frame->is_own_ack = true;
    receipt_close(receipt);
    assert_int_equal(send_out(), 1);
    assert_int_equal(atomic_load(&receipt->acked), 1);
    assert_int_equal(t.delivered, 1);
    receipt_unref(receipt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_leave_in_their_order),
        TEST(a_pong_goes_between_two_frames),
        TEST(a_pong_alone_leaves_too),
        TEST(more_frames_than_a_call_takes_leave_all),
        TEST(a_full_socket_stops_and_goes_on_where_it_was),
        TEST(a_broken_socket_is_an_error),
        TEST(a_receipt_is_told_once_a_frame),
        TEST(what_is_dropped_says_so),
        TEST(a_trim_leaves_the_frame_that_is_half_out),
        TEST(nodes_and_queues_are_used_again),
        TEST(a_pong_that_finds_no_memory_waits),
        TEST(what_is_superseded_is_taken_out_and_the_rest_keeps_its_order),
        TEST(one_that_outlives_what_comes_for_it_stays),
        TEST(no_more_than_the_budget_is_looked_at),
        TEST(the_last_one_may_be_taken_out),
        TEST(what_is_half_out_stays),
        TEST(the_next_expiry_is_known),
        TEST(the_session_is_told_and_so_is_the_receipt),
        TEST(what_the_client_cannot_confirm_is_confirmed_when_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
