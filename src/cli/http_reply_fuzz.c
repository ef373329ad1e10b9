/* Any bytes from a server: whole and in pieces they give the same. */
#include "cli/http_reply.h"

#include "base/err.h"

static int feed(struct http_reply *reply, const uint8_t *data, size_t size, size_t piece)
{
    int err = 0;
    for (size_t at = 0; at < size && !err; at += piece) {
        err = http_reply_feed(reply, data + at, size - at < piece ? size - at : piece);
    }
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_reply whole = {0};
    struct http_reply pieces = {0};
    int err = feed(&whole, data, size, size ? size : 1);
    int err_in_pieces = feed(&pieces, data, size, 3);
    ASSERT((err == 0) == (err_in_pieces == 0));
    if (err == 0) {
        ASSERT(whole.has_head == pieces.has_head);
        ASSERT(whole.is_complete == pieces.is_complete);
        ASSERT(str_equal(buf_str(&whole.body), buf_str(&pieces.body)));
    }
    ASSERT(whole.body.len <= HTTP_REPLY_BODY_MAX);
    http_reply_fini(&whole);
    http_reply_fini(&pieces);
    return 0;
}
