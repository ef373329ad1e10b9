#include "server/frame.h"

#include <string.h>

#include "base/mem.h"
#include "core/receipt.h"

static struct frame *alloc_frame(size_t len)
{
    struct frame *frame = mem_alloc(sizeof(*frame) + len);
    if (frame) {
        *frame = (struct frame){.refs = 1, .len = (uint32_t)len};
        mem_account(MEM_QUEUES, (int64_t)(sizeof(*frame) + len));
    }
    return frame;
}

struct frame *frame_create(enum ws_opcode opcode, bool compressed, struct str payload)
{
    struct ws_frame_header header = {
        .fin = true, .compressed = compressed, .opcode = opcode, .payload_len = payload.len};
    uint8_t head[WS_HEADER_MAX];
    size_t head_len = ws_frame_header_write(head, &header);
    struct frame *frame = alloc_frame(head_len + payload.len);
    if (frame) {
        memcpy(frame->bytes, head, head_len);
        if (payload.len > 0) {
            memcpy(frame->bytes + head_len, payload.ptr, payload.len);
        }
    }
    return frame;
}

struct frame *frame_of_bytes(const void *bytes, size_t len)
{
    struct frame *frame = alloc_frame(len);
    if (frame) {
        memcpy(frame->bytes, bytes, len);
    }
    return frame;
}

void frame_unref(struct frame *frame)
{
    if (frame && --frame->refs == 0) {
        mem_account(MEM_QUEUES, -(int64_t)(sizeof(*frame) + frame->len));
        receipt_unref(frame->receipt);
        mem_free(frame);
    }
}
