#include "core/event.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/event_test_help.h"

static const struct target targets[] = {
    {TARGET_USER, {"42", 2}}, {TARGET_GROUP, {"room:1", 6}}, {TARGET_ALL, {"", 0}}};
static const uint64_t keys[] = {0x1111, 0x2222, 0x3333};
static const struct str excepts[] = {{"s_first", 7}, {"", 0}, {"s_third", 7}};

static struct event full_event(void)
{
    struct event event = event_test_make(9, "{\"text\":\"hi\"}");
    event.header.flags = EVENT_HAS_ID | EVENT_WANTS_RECEIPT;
    event.header.ttl_ms = 60000;
    event.id_hash = 0xabc;
    event.body_hash = 0xdef;
    event.part = 1;
    event.parts = 3;
    event.type = STR("comment.created");
    event.collapse = STR("unread");
    event.origin_tag = STR("page-7f");
    event.subject = STR("someone");
    return event;
}

static void encode_full(struct buf *out)
{
    struct event event = full_event();
    assert_int_equal(event_encode(out, &event, targets, keys, 3, excepts, 3), 0);
}

static ssize_t decode(struct event *event, const struct buf *wire, size_t *skip)
{
    return event_decode(event, wire->data, wire->len, skip);
}

static void assert_same_names(const struct event *event)
{
    struct event sent = full_event();
    assert_true(str_equal(event->id, sent.id));
    assert_true(str_equal(event->type, sent.type));
    assert_true(str_equal(event->collapse, sent.collapse));
    assert_true(str_equal(event->origin_tag, sent.origin_tag));
    assert_true(str_equal(event->subject, sent.subject));
    assert_true(str_equal(event->data, sent.data));
}

static void what_was_encoded_is_decoded(void **state)
{
    struct buf wire = {0};
    struct event event;
    size_t skip;
    encode_full(&wire);
    assert_int_equal(decode(&event, &wire, &skip), wire.len);
    assert_int_equal(skip, wire.len);
    assert_int_equal(event.header.flags, EVENT_HAS_ID | EVENT_WANTS_RECEIPT);
    assert_int_equal(event.header.app, EVENT_TEST_APP);
    assert_int_equal(event.header.ttl_ms, 60000);
    assert_int_equal(event.header.origin, EVENT_TEST_BOOT);
    assert_int_equal(event.header.counter, 9);
    assert_int_equal(event.id_hash, 0xabc);
    assert_int_equal(event.body_hash, 0xdef);
    assert_int_equal(event.kind, EVENT_MESSAGE);
    assert_int_equal(event.part, 1);
    assert_int_equal(event.parts, 3);
    assert_int_equal(event.data_kind, EVENT_DATA_JSON);
    assert_int_equal(event.time_ms, 1767225600000);
    assert_same_names(&event);
    buf_fini(&wire);
}

static void targets_come_back_with_their_keys(void **state)
{
    struct buf wire = {0};
    struct event event;
    size_t skip;
    encode_full(&wire);
    assert_true(decode(&event, &wire, &skip) > 0);
    struct str rest = event.target_bytes;
    struct target target;
    for (size_t i = 0; i < 3; i++) {
        assert_true(event_next_target(&rest, &target));
        assert_int_equal(target.kind, targets[i].kind);
        assert_true(str_equal(target.name, targets[i].name));
        assert_int_equal(event_key(&event, i), keys[i]);
    }
    assert_false(event_next_target(&rest, &target));
    buf_fini(&wire);
}

static void a_collapse_key_is_of_its_app_and_its_targets_in_any_order(void **state)
{
    struct event event = event_test_make(1, "1");
    struct event again = event_test_make(2, "2");
    struct buf first = {0};
    struct buf second = {0};
    event.collapse = again.collapse = STR("k");
    event_test_encode(&first, &event, (const char *[]){"u:a", "g:b"}, 2);
    event_test_encode(&second, &again, (const char *[]){"g:b", "u:a"}, 2);
    event = event_test_decode(&first);
    again = event_test_decode(&second);
    assert_true(event_collapse_key(&event) == event_collapse_key(&again));
    again.header.app++;
    assert_true(event_collapse_key(&event) != event_collapse_key(&again));
    again.header.app--;
    again.collapse = STR("l");
    assert_true(event_collapse_key(&event) != event_collapse_key(&again));
    again.collapse = STR("k");
    again.origin_tag = STR("page-7f");
    assert_true(event_collapse_key(&event) != event_collapse_key(&again));
    again.origin_tag = STR("");
    again.except_bytes = STR("\x01\x00s");
    assert_true(event_collapse_key(&event) != event_collapse_key(&again));
    again.except_bytes = event.except_bytes;
    assert_true(event_collapse_key(&event) == event_collapse_key(&again));
    buf_fini(&first);
    buf_fini(&second);
}

static void kinds_that_nobody_knows_are_passed_over(void **state)
{
    const int known[] = {EVENT_MESSAGE, EVENT_JOIN, EVENT_KICK, EVENT_REVOKE};
    size_t at = 0;
    for (int kind = 0; kind < 256; kind++) {
        struct event event = event_test_make(1, "1");
        struct buf wire = {0};
        size_t skip = 0;
        event.kind = (enum event_kind)kind;
        event_test_encode(&wire, &event, (const char *[]){"g:a"}, 1);
        ssize_t len = event_decode(&event, wire.data, wire.len, &skip);
        assert_int_equal(skip, wire.len);
        at += at < 4 && kind == known[at] && len > 0;
        assert_true(len == ERR_SYNTAX || kind < 64);
        buf_fini(&wire);
    }
    assert_int_equal(at, 4);
}

static void excepted_sessions_come_back(void **state)
{
    struct buf wire = {0};
    struct event event;
    size_t skip;
    encode_full(&wire);
    assert_true(decode(&event, &wire, &skip) > 0);
    assert_int_equal(event.except_count, 3);
    struct str rest = event.except_bytes;
    struct str sid;
    for (size_t i = 0; i < 3; i++) {
        assert_true(event_next_except(&rest, &sid));
        assert_true(str_equal(sid, excepts[i]));
    }
    assert_false(event_next_except(&rest, &sid));
    buf_fini(&wire);
}

static void an_event_cut_at_any_byte_is_refused(void **state)
{
    struct buf wire = {0};
    encode_full(&wire);
    for (size_t len = 0; len < wire.len; len++) {
        uint8_t *exact = malloc(len ? len : 1); /* so that reading on is noticed */
        struct event event;
        size_t skip = 12345;
        memcpy(exact, wire.data, len);
        assert_int_equal(event_decode(&event, exact, len, &skip), ERR_SYNTAX);
        assert_int_equal(skip, 12345);
        free(exact);
    }
    buf_fini(&wire);
}

static void an_event_whose_length_lies_is_skipped_whole(void **state)
{
    struct buf wire = {0};
    encode_full(&wire);
    for (size_t total = EVENT_HEADER_LEN; total < wire.len; total++) {
        uint8_t *exact = malloc(wire.len);
        uint32_t length = (uint32_t)(total - EVENT_HEADER_LEN);
        struct event event;
        size_t skip = 0;
        memcpy(exact, wire.data, wire.len);
        memcpy(exact + offsetof(struct event_header, length), &length, sizeof(length));
        assert_int_equal(event_decode(&event, exact, wire.len, &skip), ERR_SYNTAX);
        assert_int_equal(skip, total);
        free(exact);
    }
    buf_fini(&wire);
}

static void a_length_over_the_data_is_refused_without_arithmetic_on_it(void **state)
{
    static const uint32_t lengths[] = {UINT32_MAX, UINT32_MAX - 31, 0x80000000u, 0x7fffffffu};
    struct buf wire = {0};
    encode_full(&wire);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct event event;
        size_t skip = 0;
        memcpy(wire.data + offsetof(struct event_header, length), &lengths[i], sizeof(lengths[i]));
        assert_int_equal(decode(&event, &wire, &skip), ERR_SYNTAX);
        assert_int_equal(skip, 0);
    }
    buf_fini(&wire);
}

static void another_version_is_skipped(void **state)
{
    struct buf wire = {0};
    struct event event;
    size_t skip;
    encode_full(&wire);
    wire.data[0] = EVENT_VERSION + 1;
    assert_int_equal(decode(&event, &wire, &skip), ERR_UNSUPPORTED);
    assert_int_equal(skip, wire.len);
    buf_fini(&wire);
}

static void several_events_follow_each_other(void **state)
{
    struct buf wire = {0};
    size_t skip;
    for (uint32_t i = 0; i < 3; i++) {
        struct event event = event_test_make(i, "1");
        event_test_encode(&wire, &event, (const char *[]){"u:42"}, 1);
    }
    size_t at = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct event event;
        ssize_t len = event_decode(&event, wire.data + at, wire.len - at, &skip);
        assert_true(len > 0);
        assert_int_equal(event.header.counter, i);
        at += (size_t)len;
    }
    assert_int_equal(at, wire.len);
    buf_fini(&wire);
}

/* Offset of the body in an event of one target without an id. */
enum {
    BODY = EVENT_HEADER_LEN,
    KIND = BODY,
    PART = BODY + 1,
    PARTS = BODY + 2,
    DATA_KIND = BODY + 3
};

static void assert_refused_with(size_t offset, uint8_t value)
{
    struct buf wire = {0};
    struct event event = event_test_make(1, "1");
    size_t skip;
    event_test_encode(&wire, &event, (const char *[]){"u:42"}, 1);
    assert_true(decode(&event, &wire, &skip) > 0);
    wire.data[offset] = value;
    assert_int_equal(decode(&event, &wire, &skip), ERR_SYNTAX);
    assert_int_equal(skip, wire.len);
    buf_fini(&wire);
}

static void unknown_kinds_and_impossible_parts_are_refused(void **state)
{
    assert_refused_with(KIND, 0);
    assert_refused_with(KIND, EVENT_KICK + 1);
    assert_refused_with(PART, 1);
    assert_refused_with(PARTS, 0);
    assert_refused_with(PARTS, EVENT_MAX_PARTS + 1);
    assert_refused_with(offsetof(struct event_header, target_count), 0);
    assert_refused_with(offsetof(struct event_header, target_count), 2);
    assert_refused_with(offsetof(struct event_header, target_count) + 1, 0xff);
}

static void the_tag_of_the_keys_stands_beside_the_kind_of_the_data(void **state)
{
    struct buf wire = {0};
    struct event event = event_test_make(1, "1");
    size_t skip;
    event.key_tag = 63;
    event_test_encode(&wire, &event, (const char *[]){"u:42"}, 1);
    assert_int_equal(wire.data[DATA_KIND], 63 << 2 | EVENT_DATA_JSON);
    assert_true(decode(&event, &wire, &skip) > 0);
    assert_int_equal(event.key_tag, 63);
    assert_int_equal(event.data_kind, EVENT_DATA_JSON);
    buf_fini(&wire);
}

static void a_flag_can_be_added_later(void **state)
{
    struct buf wire = {0};
    struct event event = event_test_make(1, "1");
    size_t skip;
    event.header.flags = EVENT_WANTS_RECEIPT;
    event_test_encode(&wire, &event, (const char *[]){"u:42"}, 1);
    event_add_flag(wire.data, EVENT_IS_STRAY);
    assert_true(decode(&event, &wire, &skip) > 0);
    assert_int_equal(event.header.flags, EVENT_WANTS_RECEIPT | EVENT_IS_STRAY);
    buf_fini(&wire);
}

static void a_message_may_have_a_trace_and_nothing_else_has(void **state)
{
    struct event event = event_test_make(1, "1");
    char trace[EVENT_TRACE_LEN + 3] = {0};
    assert_int_equal(event_trace(&event).len, 0);
    event.subject = str_make(trace, EVENT_TRACE_LEN - 1);
    assert_int_equal(event_trace(&event).len, 0);
    event.subject = str_make(trace, sizeof(trace));
    assert_int_equal(event_trace(&event).len, sizeof(trace));
    assert_false(event_is_sampled(&event));
    trace[EVENT_TRACE_LEN - 1] = EVENT_TRACE_SAMPLED;
    assert_true(event_is_sampled(&event));
    event.kind = EVENT_REVOKE;
    assert_int_equal(event_trace(&event).len, 0);
    assert_false(event_is_sampled(&event));
}

static void a_key_of_0_is_refused(void **state)
{
    static const uint64_t zero_among[][2] = {{0, 5}, {5, 0}};
    for (int i = 0; i < 2; i++) {
        struct buf wire = {0};
        struct event event = event_test_make(1, "1");
        size_t skip;
        assert_int_equal(event_encode(&wire, &event, targets, zero_among[i], 2, NULL, 0), 0);
        assert_int_equal(decode(&event, &wire, &skip), ERR_SYNTAX);
        assert_int_equal(skip, wire.len);
        buf_fini(&wire);
    }
}

static void a_join_or_part_names_one_group(void **state)
{
    assert_refused_with(KIND, EVENT_JOIN); /* of a user */
    assert_refused_with(KIND, EVENT_PART);
    struct event event = event_test_make(1, "");
    struct buf wire = {0};
    size_t skip;
    event.kind = EVENT_JOIN;
    event_test_encode(&wire, &event, (const char *[]){"g:room", "g:hall"}, 2);
    assert_int_equal(decode(&event, &wire, &skip), ERR_SYNTAX);
    buf_clear(&wire);
    event = event_test_make(1, "");
    event.kind = EVENT_JOIN;
    event_test_encode(&wire, &event, (const char *[]){"g:room"}, 1);
    assert_true(decode(&event, &wire, &skip) > 0);
    buf_fini(&wire);
}

static bool decodes(enum event_kind kind, const char *const *list, size_t count)
{
    struct buf wire = {0};
    struct event event = event_test_make(1, "1");
    size_t skip;
    event.kind = kind;
    event_test_encode(&wire, &event, list, count);
    bool good = decode(&event, &wire, &skip) > 0;
    buf_fini(&wire);
    return good;
}

static void what_nodes_tell_each_other_is_for_nodes_and_nothing_else_is(void **state)
{
    for (enum event_kind kind = EVENT_BEACON; kind <= EVENT_REPORT; kind++) {
        assert_true(decodes(kind, (const char *[]){"n:0000004d"}, 1));
        assert_false(decodes(kind, (const char *[]){"n:0000004d", "n:0000004e"}, 2));
        assert_false(decodes(kind, (const char *[]){"u:42"}, 1));
    }
    assert_false(decodes(EVENT_MESSAGE, (const char *[]){"n:0000004d"}, 1));
    assert_false(decodes(EVENT_KICK, (const char *[]){"u:42", "n:0000004d"}, 2));
    assert_true(decodes(EVENT_AGAIN, (const char *[]){"n:"}, 1));
    assert_false(decodes(EVENT_AGAIN, (const char *[]){"t:t1"}, 1));
    assert_false(decodes((enum event_kind)200, (const char *[]){"n:"}, 1));
    assert_false(decodes((enum event_kind)200, (const char *[]){"u:42"}, 1));
}

static void a_claim_or_end_names_one_ticket(void **state)
{
    for (enum event_kind kind = EVENT_CLAIM; kind <= EVENT_TICKET_END; kind++) {
        assert_true(decodes(kind, (const char *[]){"t:t1"}, 1));
        assert_false(decodes(kind, (const char *[]){"u:42"}, 1));
        assert_false(decodes(kind, (const char *[]){"t:t1", "t:t2"}, 2));
    }
}

static void random_bytes_never_lead_outside(void **state)
{
    struct buf wire = {0};
    uint32_t seed = 1;
    encode_full(&wire);
    uint8_t *noisy = malloc(wire.len);
    for (int round = 0; round < 20000; round++) {
        memcpy(noisy, wire.data, wire.len);
        for (int i = 0; i < 3; i++) {
            seed = seed * 1664525 + 1013904223;
            noisy[(seed >> 8) % wire.len] = (uint8_t)(seed >> 24);
        }
        struct event event;
        size_t skip = 0;
        ssize_t len = event_decode(&event, noisy, wire.len, &skip);
        assert_true(len < 0 || (size_t)len == skip);
        assert_true(skip <= wire.len);
        struct target target;
        struct str name;
        while (len > 0 && event_next_target(&event.target_bytes, &target)) {
        }
        while (len > 0 && event_next_except(&event.except_bytes, &name)) {
        }
    }
    free(noisy);
    buf_fini(&wire);
}

static void what_is_over_a_limit_is_not_encoded(void **state)
{
    static char name[UINT16_MAX + 1];
    struct buf wire = {0};
    struct event event = event_test_make(1, "1");
    assert_int_equal(event_encode(&wire, &event, targets, keys, 0, NULL, 0), ERR_TOO_LARGE);
    assert_int_equal(event_encode(&wire, &event, targets, keys, EVENT_MAX_TARGETS + 1, NULL, 0),
                     ERR_TOO_LARGE);
    assert_int_equal(event_encode(&wire, &event, targets, keys, 1, NULL, UINT16_MAX + 1),
                     ERR_TOO_LARGE);
    event.id = str_make(name, UINT16_MAX);
    assert_int_equal(event_encode(&wire, &event, targets, keys, 1, NULL, 0), 0);
    buf_clear(&wire);
    event.id = str_make(name, UINT16_MAX + 1);
    assert_int_equal(event_encode(&wire, &event, targets, keys, 1, NULL, 0), ERR_TOO_LARGE);
    buf_fini(&wire);
}

static void as_many_targets_as_allowed_are_encoded(void **state)
{
    static struct target many[EVENT_MAX_TARGETS];
    static uint64_t many_keys[EVENT_MAX_TARGETS];
    struct buf wire = {0};
    struct event event = event_test_make(1, "1");
    size_t skip;
    for (size_t i = 0; i < EVENT_MAX_TARGETS; i++) {
        many[i] = (struct target){TARGET_USER, STR("u")};
        many_keys[i] = i + 1;
    }
    assert_int_equal(event_encode(&wire, &event, many, many_keys, EVENT_MAX_TARGETS, NULL, 0), 0);
    assert_int_equal(decode(&event, &wire, &skip), wire.len);
    assert_int_equal(event_key(&event, EVENT_MAX_TARGETS - 1), EVENT_MAX_TARGETS);
    buf_fini(&wire);
}

static void the_counter_is_set_in_place(void **state)
{
    struct buf wire = {0};
    struct event event;
    size_t skip;
    encode_full(&wire);
    event_set_counter(wire.data, 0xfffffffe);
    assert_true(decode(&event, &wire, &skip) > 0);
    assert_int_equal(event.header.counter, 0xfffffffe);
    assert_same_names(&event);
    buf_fini(&wire);
}

static void want_of_memory_is_said(void **state)
{
    bool done = false;
    for (unsigned long nth = 1; !done; nth++) {
        struct buf wire = {0};
        struct event event = full_event();
        mem_fail_nth(nth);
        int err = event_encode(&wire, &event, targets, keys, 3, excepts, 3);
        done = mem_fail_pending();
        mem_fail_nth(0);
        assert_int_equal(err, done ? 0 : ERR_NO_MEMORY);
        buf_fini(&wire);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_encoded_is_decoded),
        cmocka_unit_test(targets_come_back_with_their_keys),
        cmocka_unit_test(a_collapse_key_is_of_its_app_and_its_targets_in_any_order),
        cmocka_unit_test(kinds_that_nobody_knows_are_passed_over),
        cmocka_unit_test(excepted_sessions_come_back),
        cmocka_unit_test(an_event_cut_at_any_byte_is_refused),
        cmocka_unit_test(an_event_whose_length_lies_is_skipped_whole),
        cmocka_unit_test(a_length_over_the_data_is_refused_without_arithmetic_on_it),
        cmocka_unit_test(another_version_is_skipped),
        cmocka_unit_test(several_events_follow_each_other),
        cmocka_unit_test(unknown_kinds_and_impossible_parts_are_refused),
        cmocka_unit_test(the_tag_of_the_keys_stands_beside_the_kind_of_the_data),
        cmocka_unit_test(a_flag_can_be_added_later),
        cmocka_unit_test(a_message_may_have_a_trace_and_nothing_else_has),
        cmocka_unit_test(a_key_of_0_is_refused),
        cmocka_unit_test(a_join_or_part_names_one_group),
        cmocka_unit_test(what_nodes_tell_each_other_is_for_nodes_and_nothing_else_is),
        cmocka_unit_test(a_claim_or_end_names_one_ticket),
        cmocka_unit_test(random_bytes_never_lead_outside),
        cmocka_unit_test(what_is_over_a_limit_is_not_encoded),
        cmocka_unit_test(as_many_targets_as_allowed_are_encoded),
        cmocka_unit_test(the_counter_is_set_in_place),
        cmocka_unit_test(want_of_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
