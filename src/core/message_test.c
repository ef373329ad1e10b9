#include "core/message.h"

#include <pthread.h>

#include "base/mem.h"
#include "core/event_test_help.h"
#include "core/receipt.h"

static const struct bus_pos pos = {81723, 4};

static struct message *make(struct buf *wire)
{
    struct event event = event_test_make(3, "{\"a\":1}");
    event_test_encode(wire, &event, (const char *[]){"u:42", "g:room:1"}, 2);
    struct event decoded = event_test_decode(wire);
    return message_create(buf_str(wire), &decoded, 5, pos);
}

static void a_message_is_a_copy_of_its_event(void **state)
{
    struct buf wire = {0};
    struct message *message = make(&wire);
    memset(wire.data, 0xff, wire.len);
    assert_int_equal(message->queue, 5);
    assert_int_equal(message->pos.hi, pos.hi);
    assert_int_equal(message->pos.lo, pos.lo);
    assert_int_equal(message->event.header.target_count, 2);
    assert_int_equal(event_key(&message->event, 1), event_test_key_of(TARGET_GROUP, "room:1"));
    assert_true(str_equal(message->event.data, STR("{\"a\":1}")));
    assert_true(str_equal(message->event.id, STR("cmt-7")));
    struct str rest = message->event.target_bytes;
    struct target target;
    assert_true(event_next_target(&rest, &target));
    assert_true(str_equal(target.name, STR("42")));
    assert_int_equal(message->links[0], MESSAGE_NO_LINK);
    assert_int_equal(message->links[1], MESSAGE_NO_LINK);
    assert_true(message->size >= sizeof(*message) + wire.len);
    message_unref(message);
    buf_fini(&wire);
}

static void the_last_reference_takes_the_receipt_along(void **state)
{
    struct buf wire = {0};
    struct receipt *receipt = receipt_create(1, NULL, NULL);
    struct message *message = make(&wire);
    message->receipt = receipt_ref(receipt);
    message_ref(message);
    message_unref(message);
    assert_int_equal(receipt->refs, 2);
    message_unref(message);
    assert_int_equal(receipt->refs, 1);
    receipt_unref(receipt);
    message_unref(NULL);
    buf_fini(&wire);
}

static int told;

static void tell(void *owner, struct message *message)
{
    told += *(int *)owner;
}

static void a_message_that_is_followed_tells_once_all_have_gone_over_it(void **state)
{
    struct buf wire = {0};
    int step = 7;
    struct message_trace trace = {.on_done = tell, .owner = &step};
    struct message *plain = make(&wire);
    struct event decoded = event_test_decode(&wire);
    struct message *message = message_create_traced(buf_str(&wire), &decoded, 5, pos, &trace);
    assert_null(message_trace(plain));
    assert_true(str_equal(message_encoded(message), message_encoded(plain)));
    assert_true(message->size >= plain->size + sizeof(trace));
    message_trace_open(message);
    message_trace_open(message);
    message_trace_close(message, 2);
    message_trace_close(message, 0);
    assert_int_equal(told, 0);
    message_trace_close(message, 1);
    assert_int_equal(told, 7);
    message_trace_open(plain);
    message_trace_close(plain, 1);
    assert_int_equal(told, 7);
    message_unref(plain);
    message_unref(message);
    buf_fini(&wire);
}

static void *ref_and_unref(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        message_unref(message_ref(arg));
    }
    message_unref(arg);
    return NULL;
}

static void threads_share_it(void **state)
{
    struct buf wire = {0};
    struct message *message = make(&wire);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, message_ref(message)), 0);
    }
    message_unref(message);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    buf_fini(&wire);
}

static void without_memory_there_is_none(void **state)
{
    struct buf wire = {0};
    message_unref(make(&wire));
    struct event decoded = event_test_decode(&wire);
    mem_fail_nth(1);
    assert_null(message_create(buf_str(&wire), &decoded, 0, pos));
    buf_fini(&wire);
}

static void positions_are_written_and_read(void **state)
{
    static const struct bus_pos all[] = {{0, 0}, {81723, 0}, {1, 2}, {UINT64_MAX, UINT64_MAX}};
    static const char *const texts[] = {"0.0", "81723.0", "1.2",
                                        "18446744073709551615.18446744073709551615"};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char text[MESSAGE_POS_MAX];
        struct bus_pos back;
        assert_int_equal(message_format_pos(text, all[i]), strlen(texts[i]));
        assert_string_equal(text, texts[i]);
        assert_true(message_parse_pos(&back, str_of(text)));
        assert_int_equal(bus_pos_compare(back, all[i]), 0);
    }
}

static void other_texts_are_no_positions(void **state)
{
    static const char *const texts[] = {"",
                                        ".",
                                        "1",
                                        "1.",
                                        ".1",
                                        "1.2.",
                                        "1..2",
                                        "1,2",
                                        "+1.2",
                                        "1.2 ",
                                        "-1.0",
                                        "0x1.0",
                                        "18446744073709551616.0"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct bus_pos back = {7, 7};
        assert_false(message_parse_pos(&back, str_of(texts[i])));
        assert_int_equal(back.hi, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_a_copy_of_its_event),
        cmocka_unit_test(a_message_that_is_followed_tells_once_all_have_gone_over_it),
        cmocka_unit_test(the_last_reference_takes_the_receipt_along),
        cmocka_unit_test(threads_share_it),
        cmocka_unit_test(without_memory_there_is_none),
        cmocka_unit_test(positions_are_written_and_read),
        cmocka_unit_test(other_texts_are_no_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
