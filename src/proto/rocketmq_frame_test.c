#include "proto/rocketmq_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "proto/rocketmq_bytes.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Appends a frame with this header as it is. */
static void append_frame(struct buf *out, uint8_t kind, struct str header, struct str body)
{
    uint8_t lengths[8];
    rocketmq_bytes_store_u32(lengths, (uint32_t)(4 + header.len + body.len));
    rocketmq_bytes_store_u32(lengths + 4, (uint32_t)kind << 24 | (uint32_t)header.len);
    buf_append(out, lengths, sizeof(lengths));
    buf_append_str(out, header);
    buf_append_str(out, body);
}

static ssize_t read_copy(struct rocketmq_frame *frame, const void *data, size_t len)
{
    void *copy = malloc(len ? len : 1); /* of this length, so that the sanitizer sees a long read */
    memcpy(copy, data, len);
    ssize_t used = rocketmq_frame_read(frame, str_make(copy, len));
    free(copy);
    return used;
}

/* Whole, and cut at every byte. The frame's texts point into wire. */
static void assert_reads(struct rocketmq_frame *frame, struct str wire)
{
    struct rocketmq_frame ignored;
    for (size_t len = 0; len < wire.len; len++) {
        assert_int_equal(read_copy(&ignored, wire.ptr, len), 0);
    }
    assert_int_equal(rocketmq_frame_read(frame, wire), wire.len);
}

static void assert_refused(uint8_t kind, struct str header, int err)
{
    struct buf wire = {0};
    struct rocketmq_frame frame;
    append_frame(&wire, kind, header, STR("x"));
    assert_int_equal(read_copy(&frame, wire.data, wire.len), err);
    buf_fini(&wire);
}

static void assert_text(const struct rocketmq_frame *frame, struct str name, struct str expected)
{
    char scratch[64];
    struct str text;
    assert_true(rocketmq_frame_text(frame, name, scratch, sizeof(scratch), &text));
    assert_true(str_equal(text, expected));
}

static void an_answer_with_a_json_header(void **state)
{
    struct buf wire = {0};
    struct rocketmq_frame frame;
    append_frame(&wire, 0,
                 STR("{\"code\":0,\"extFields\":{\"queueId\":\"1\",\"queueOffset\":\"77\",\"a\":"
                     "\"x\\u0001y\"},\n \"flag\":1,\"language\":\"JAVA\",\"opaque\":3,\"remark\":"
                     "\"not set\\nany\",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}"),
                 STR("body"));
    assert_reads(&frame, buf_str(&wire));
    assert_int_equal(frame.code, 0);
    assert_int_equal(frame.opaque, 3);
    assert_true(rocketmq_frame_is_answer(&frame));
    assert_false(frame.is_binary);
    assert_true(str_equal(frame.remark, STR("not set\\nany")));
    assert_true(str_equal(frame.body, STR("body")));
    assert_text(&frame, STR("queueId"), STR("1"));
    assert_text(&frame, STR("a"), STR("x\1y"));
    int64_t offset;
    assert_true(rocketmq_frame_i64(&frame, STR("queueOffset"), &offset));
    assert_int_equal(offset, 77);
    assert_false(rocketmq_frame_i64(&frame, STR("a"), &offset));
    assert_false(rocketmq_frame_i64(&frame, STR("absent"), &offset));
    buf_fini(&wire);
}

static void a_header_without_parameters_has_none(void **state)
{
    struct buf wire = {0};
    struct rocketmq_frame frame;
    struct str text;
    char scratch[8];
    append_frame(&wire, 0, STR("{\"code\":-1,\"flag\":2,\"opaque\":-2147483647}"), STR(""));
    assert_reads(&frame, buf_str(&wire));
    assert_int_equal(frame.code, -1);
    assert_int_equal(frame.opaque, -2147483647);
    assert_int_equal(frame.flag, ROCKETMQ_FLAG_ONEWAY);
    assert_int_equal(frame.body.len, 0);
    assert_false(rocketmq_frame_text(&frame, STR("a"), scratch, sizeof(scratch), &text));
    buf_fini(&wire);
}

/* GET_MAX_OFFSET of the topic "pt2", as it was seen. */
static const uint8_t binary_wire[] = {
    0x00, 0x00, 0x00, 0x35, 0x01, 0x00, 0x00, 0x31, 0x00, 0x1e, 0x07, 0x02, 0x01, 0x00, 0x00,
    0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1c, 0x00,
    0x05, 0x74, 0x6f, 0x70, 0x69, 0x63, 0x00, 0x00, 0x00, 0x03, 0x70, 0x74, 0x32, 0x00, 0x07,
    0x71, 0x75, 0x65, 0x75, 0x65, 0x49, 0x64, 0x00, 0x00, 0x00, 0x01, 0x30};

static void a_binary_header(void **state)
{
    struct rocketmq_frame frame;
    assert_reads(&frame, str_make(binary_wire, sizeof(binary_wire)));
    assert_int_equal(frame.code, ROCKETMQ_GET_MAX_OFFSET);
    assert_int_equal(frame.opaque, 3);
    assert_int_equal(frame.flag, 0);
    assert_true(frame.is_binary);
    assert_text(&frame, STR("topic"), STR("pt2"));
    int64_t queue;
    assert_true(rocketmq_frame_i64(&frame, STR("queueId"), &queue));
    assert_int_equal(queue, 0);
    assert_false(rocketmq_frame_i64(&frame, STR("queue"), &queue));
}

static void a_binary_header_whose_lengths_lie_is_refused(void **state)
{
    const size_t at[] = {24, 28, 30, 39, 44, 52}; /* low bytes of its five lengths, and a name's */
    for (size_t i = 0; i < COUNT(at); i++) {
        struct rocketmq_frame frame;
        uint8_t wire[sizeof(binary_wire)];
        memcpy(wire, binary_wire, sizeof(wire));
        wire[at[i]]++;
        assert_int_equal(read_copy(&frame, wire, sizeof(wire)), ERR_PROTOCOL);
    }
}

static void what_is_not_a_header_is_refused(void **state)
{
    assert_refused(0, STR(""), ERR_PROTOCOL);
    assert_refused(0, STR("[]"), ERR_PROTOCOL);
    assert_refused(0, STR("{\"code\":0,\"flag\":1"), ERR_PROTOCOL);
    assert_refused(0, STR("{\"code\":0,\"flag\":1}"), ERR_PROTOCOL);
    assert_refused(0, STR("{\"code\":\"0\",\"flag\":1,\"opaque\":1}"), ERR_PROTOCOL);
    assert_refused(0, STR("{\"code\":0,\"flag\":1,\"opaque\":2147483648}"), ERR_PROTOCOL);
    assert_refused(0, STR("{\"code\":0,\"code\":0,\"flag\":1,\"opaque\":1}"), ERR_PROTOCOL);
    assert_refused(0, STR("{\"code\":0,\"flag\":1,\"opaque\":1,\"x\":[[[[1]]]]}"), ERR_PROTOCOL);
    assert_refused(1, STR("123456"), ERR_PROTOCOL);
    assert_refused(2, STR("{\"code\":0,\"flag\":1,\"opaque\":1}"), ERR_PROTOCOL);
}

static void lengths_are_judged_from_the_first_eight_bytes(void **state)
{
    struct rocketmq_frame frame;
    const uint8_t longest[] = {0x01, 0, 0, 0, 0, 0, 0, 2};
    const uint8_t too_long[] = {0x01, 0, 0, 1, 0, 0, 0, 2};
    const uint8_t negative[] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2};
    const uint8_t header_too_long[] = {0x00, 0x80, 0, 0, 0, 0x04, 0, 1};
    const uint8_t header_over_frame[] = {0, 0, 0, 8, 0, 0, 0, 5};
    const uint8_t shorter_than_itself[] = {0, 0, 0, 3, 0, 0, 0, 0};
    assert_int_equal(read_copy(&frame, longest, 8), 0);
    assert_int_equal(read_copy(&frame, too_long, 8), ERR_TOO_LARGE);
    assert_int_equal(read_copy(&frame, negative, 8), ERR_TOO_LARGE);
    assert_int_equal(read_copy(&frame, header_too_long, 8), ERR_TOO_LARGE);
    assert_int_equal(read_copy(&frame, header_over_frame, 8), ERR_PROTOCOL);
    assert_int_equal(read_copy(&frame, shorter_than_itself, 8), ERR_PROTOCOL);
}

static void a_request_is_written_as_it_was_seen(void **state)
{
    const struct rocketmq_field fields[] = {
        {STR("b"), STR("pt")}, {STR("e"), STR("1")}, {STR("i"), STR("UNIQ_KEY\1U1\2")}};
    struct buf out = {0};
    assert_int_equal(rocketmq_frame_write(&out, 310, 2, 0, fields, COUNT(fields), 2), 0);
    struct str header = STR("{\"code\":310,\"language\":\"OTHER\",\"version\":513,\"opaque\":2,"
                            "\"flag\":0,\"extFields\":{\"b\":\"pt\",\"e\":\"1\",\"i\":\"UNIQ_KEY"
                            "\\u0001U1\\u0002\"}}");
    struct buf expected = {0};
    append_frame(&expected, 0, header, STR("hi"));
    buf_append(&out, "hi", 2);
    assert_true(str_equal(buf_str(&out), buf_str(&expected)));
    struct rocketmq_frame frame;
    assert_reads(&frame, buf_str(&out));
    assert_text(&frame, STR("i"), STR("UNIQ_KEY\1U1\2"));
    buf_fini(&expected);
    buf_fini(&out);
}

static void several_frames_are_taken_one_by_one(void **state)
{
    struct buf out = {0};
    rocketmq_frame_write(&out, 1, 1, 0, NULL, 0, 3);
    buf_append(&out, "abc", 3);
    rocketmq_frame_write(&out, 2, 2, 0, NULL, 0, 0);
    struct rocketmq_frame frame;
    struct str rest = buf_str(&out);
    ssize_t used = rocketmq_frame_read(&frame, rest);
    assert_int_equal(frame.opaque, 1);
    assert_true(str_equal(frame.body, STR("abc")));
    rest = str_make(rest.ptr + used, rest.len - (size_t)used);
    assert_int_equal(rocketmq_frame_read(&frame, rest), rest.len);
    assert_int_equal(frame.opaque, 2);
    buf_fini(&out);
}

static void a_frame_over_the_limit_is_not_written(void **state)
{
    struct buf out = {0};
    buf_append(&out, "kept", 4);
    assert_int_equal(rocketmq_frame_write(&out, 1, 1, 0, NULL, 0, ROCKETMQ_FRAME_MAX),
                     ERR_TOO_LARGE);
    assert_true(str_equal(buf_str(&out), STR("kept")));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_with_a_json_header),
        cmocka_unit_test(a_header_without_parameters_has_none),
        cmocka_unit_test(a_binary_header),
        cmocka_unit_test(a_binary_header_whose_lengths_lie_is_refused),
        cmocka_unit_test(what_is_not_a_header_is_refused),
        cmocka_unit_test(lengths_are_judged_from_the_first_eight_bytes),
        cmocka_unit_test(a_request_is_written_as_it_was_seen),
        cmocka_unit_test(several_frames_are_taken_one_by_one),
        cmocka_unit_test(a_frame_over_the_limit_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
