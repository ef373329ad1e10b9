#include "api/message_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { NOW_MS = 1000 };

/* Part of parts of a message, in queue 3 + part. */
static struct message *make(uint8_t part, uint8_t parts, struct receipt *receipt)
{
    struct event event = {.kind = EVENT_MESSAGE, .part = part, .parts = parts, .time_ms = 77};
    struct target target = {TARGET_USER, STR("a")};
    struct buf wire = {0};
    uint64_t key = 5;
    size_t skip;
    assert_int_equal(event_encode(&wire, &event, &target, &key, 1, NULL, 0), 0);
    assert_true(event_decode(&event, wire.data, wire.len, &skip) > 0);
    struct message *message = message_create(buf_str(&wire), &event, 3u + part,
                                             (struct bus_pos){10, part});
    message->receipt = receipt ? receipt_ref(receipt) : NULL;
    buf_fini(&wire);
    return message;
}

static struct receipt *make_receipt(unsigned matched)
{
    struct receipt *receipt = receipt_create_for_later();
    receipt->matched = receipt->written = matched;
    receipt->replayed = 1;
    receipt_drop(receipt, RECEIPT_SLOW, 2);
    receipt_close(receipt);
    return receipt;
}

static void expect(const struct message_state *state, uint32_t nodes, bool all, const char *text)
{
    struct buf out = {0};
    message_state_write(&out, state, nodes, all);
    assert_string_equal(buf_cstr(&out), text);
    buf_fini(&out);
}

static void nodes_are_added_up(void **state)
{
    struct message_state sum = {.is_settled = true};
    struct buf told = {0};
    for (unsigned node = 0; node < 2; node++) {
        struct receipt *receipt = make_receipt(3 + node);
        struct message *parts[] = {make(0, 2, receipt), make(1, 2, receipt)}; /* share it */
        buf_clear(&told);
        message_state_tell(&told, parts, 2, NOW_MS);
        assert_true(message_state_add(&sum, buf_str(&told)));
        message_unref(parts[0]);
        message_unref(parts[1]);
        receipt_unref(receipt);
    }
    assert_false(message_state_add(&sum, STR(""))); /* one that does not know it */
    expect(
        &sum, 2, true,
        "\"pos\":[\"3:10.0\",\"4:10.1\"],\"ts\":77,\"state\":\"accepted\",\"receipt\":{\"complete\":"
        "true,\"nodes\":{\"expected\":2,\"reported\":2},\"sessions\":{\"matched\":7,\"written\":7,"
        "\"acked\":0,\"replayed\":2,\"dropped\":4,\"dropped_by\":{\"slow_consumer\":4}}}");
    sum.is_void = true;
    expect(
        &sum, 3, true,
        "\"pos\":[\"3:10.0\",\"4:10.1\"],\"ts\":77,\"state\":\"cancelled\",\"receipt\":{\"complete\":"
        "false,\"nodes\":{\"expected\":3,\"reported\":2},\"sessions\":{\"matched\":7,\"written\":7,"
        "\"acked\":0,\"replayed\":2,\"dropped\":4,\"dropped_by\":{\"slow_consumer\":4}}}");
    buf_fini(&told);
}

static void a_node_that_lacks_a_part_or_a_count_is_not_complete(void **state)
{
    struct message_state sum = {.is_settled = true};
    struct message *message = make(1, 2, NULL);
    struct buf told = {0};
    message->expires_ms = NOW_MS;
    message_state_tell(&told, &message, 1, NOW_MS);
    assert_true(message_state_add(&sum, buf_str(&told)));
    assert_int_equal(sum.nodes, 0);
    assert_false(sum.is_settled);
    assert_true(sum.is_expired);
    assert_int_equal(sum.found, 2);
    message_unref(message);
    buf_fini(&told);
}

static void what_makes_no_sense_adds_nothing(void **state)
{
    struct message *message = make(0, 1, NULL);
    struct buf told = {0};
    message_state_tell(&told, &message, 1, NOW_MS);
    for (size_t len = 0; len < 72; len++) {
        struct message_state sum = {.is_settled = true};
        assert_false(message_state_add(&sum, str_make(told.data, len)));
        assert_int_equal(sum.parts, 0);
    }
    for (unsigned value = 0; value < 256;
         value++) { /* whatever stands where the size and part do */
        struct message_state sum = {.is_settled = true};
        told.data[0] = (uint8_t)value;
        message_state_add(&sum, buf_str(&told));
        told.data[0] = 72;
        told.data[72] = (uint8_t)value;
        sum = (struct message_state){.is_settled = true};
        assert_int_equal(message_state_add(&sum, buf_str(&told)), value < EVENT_MAX_PARTS);
    }
    message_unref(message);
    buf_fini(&told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_added_up),
        cmocka_unit_test(a_node_that_lacks_a_part_or_a_count_is_not_complete),
        cmocka_unit_test(what_makes_no_sense_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
