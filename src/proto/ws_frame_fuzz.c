/* Any bytes as a frame header, a mask and a close body. */
#include "proto/ws_frame.h"

#include "base/err.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A header that was read is written the same, and every part of it asked for more. */
static void check_header(const uint8_t *data, size_t size, bool may_compress)
{
    struct ws_frame_header header;
    ssize_t result = ws_frame_header_read(&header, data, size, may_compress);
    ASSERT(result == ERR_PROTOCOL || (result >= 0 && result <= WS_HEADER_MAX));
    for (size_t len = 0; len < size && len < WS_HEADER_MAX && (result <= 0 || len < (size_t)result);
         len++) {
        struct ws_frame_header part;
        ssize_t of_part = ws_frame_header_read(&part, data, len, may_compress);
        ASSERT(of_part == 0 || (of_part == result && result < 0));
    }
    if (result > 0) {
        uint8_t again[WS_HEADER_MAX];
        ASSERT(ws_frame_header_write(again, &header) == (size_t)result);
        ASSERT(memcmp(again, data, (size_t)result) == 0);
    }
}

static void check_mask(const uint8_t *data, size_t size)
{
    uint8_t *copy = mem_alloc(size);
    ASSERT(copy);
    memcpy(copy, data, size);
    size_t cut = data[0] % size;
    ws_unmask(copy, size, data, 0);
    ws_unmask(copy, cut, data, 0);
    ws_unmask(copy + cut, size - cut, data, cut);
    ASSERT(memcmp(copy, data, size) == 0);
    mem_free(copy);
}

static void check_close(const uint8_t *data, size_t size)
{
    uint16_t code;
    struct str reason;
    struct str body = str_make(data, size < WS_CONTROL_MAX ? size : WS_CONTROL_MAX);
    if (ws_close_body_read(body, &code, &reason) == 0) {
        uint8_t again[WS_CONTROL_MAX];
        ASSERT(ws_close_body_write(again, code, reason) == body.len);
        ASSERT(body.len == 0 || memcmp(again, body.ptr, body.len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_header(data, size, false);
    check_header(data, size, true);
    check_close(data, size);
    if (size >= 4) {
        check_mask(data, size);
    }
    return 0;
}
