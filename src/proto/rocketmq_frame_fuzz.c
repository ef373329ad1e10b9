/* A frame reads the same whole and with more behind it, asks for more at every cut, and what was
 * read lies inside of it; a frame that we write can be read. */
#include "proto/rocketmq_frame.h"

#include <stdlib.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_inside(struct str part, const uint8_t *data, size_t size)
{
    const uint8_t *at = (const uint8_t *)part.ptr;
    ASSERT(part.len == 0 || (at >= data && at + part.len <= data + size));
}

static void look_at_fields(const struct rocketmq_frame *frame)
{
    char scratch[32];
    struct str text;
    int64_t number;
    rocketmq_frame_text(frame, STR("topic"), scratch, sizeof(scratch), &text);
    rocketmq_frame_i64(frame, STR("queueOffset"), &number);
    rocketmq_frame_i64(frame, STR("nextBeginOffset"), &number);
}

static void write_again(const struct rocketmq_frame *frame)
{
    struct buf out = {0};
    struct rocketmq_frame again;
    const struct rocketmq_field field = {STR("topic"), STR("t\1")};
    ASSERT(rocketmq_frame_write(&out, frame->code, frame->opaque, 1, &field, 1, 0) == 0);
    ASSERT(rocketmq_frame_read(&again, buf_str(&out)) == (ssize_t)out.len);
    ASSERT(again.code == frame->code && again.opaque == frame->opaque);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rocketmq_frame frame;
    ssize_t used = rocketmq_frame_read(&frame, str_make(data, size));
    ASSERT(used <= (ssize_t)size);
    if (used <= 0) {
        return 0;
    }
    assert_inside(frame.remark, data, (size_t)used);
    assert_inside(frame.fields, data, (size_t)used);
    assert_inside(frame.body, data, (size_t)used);
    look_at_fields(&frame);
    if (frame.code > INT32_MIN && frame.opaque > INT32_MIN) {
        write_again(&frame);
    }
    struct rocketmq_frame cut;
    for (size_t len = 0; len < (size_t)used; len += 1 + len / 16) {
        ASSERT(rocketmq_frame_read(&cut, str_make(data, len)) == 0);
    }
    return 0;
}
