/* A chunked body decodes to the same bytes, and ends or is refused at the same place, whole and in
 * pieces; bytes behind its end don't move. */
#include "proto/http_chunked.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

#define BODY_MAX 600

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    struct buf body;
    size_t consumed;
    int result;
    enum http_refusal refusal;
};

static int decode_piece(struct http_chunked *decoder, const uint8_t *data, size_t len,
                        struct outcome *outcome)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    size_t body_len;
    size_t consumed;
    int result = http_chunked_decode(decoder, copy, len, &body_len, &consumed);
    ASSERT(body_len <= consumed && consumed <= len);
    ASSERT(result != 0 || consumed == len);
    ASSERT(memcmp(copy + consumed, data + consumed, len - consumed) == 0);
    buf_append(&outcome->body, copy, body_len);
    outcome->consumed += consumed;
    free(copy);
    return result;
}

static struct outcome decode(const uint8_t *data, size_t size, size_t piece)
{
    struct outcome outcome = {0};
    struct http_chunked decoder;
    http_chunked_init(&decoder, BODY_MAX);
    while (outcome.result == 0 && outcome.consumed < size) {
        size_t left = size - outcome.consumed;
        outcome.result = decode_piece(&decoder, data + outcome.consumed,
                                      left < piece ? left : piece, &outcome);
    }
    ASSERT(outcome.body.len == decoder.body_bytes && outcome.body.len <= BODY_MAX);
    outcome.refusal = decoder.refusal;
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = decode(data, size, size + 1);
    ASSERT(whole.result >= 0 || whole.result == http_refusal_err(whole.refusal));
    const size_t pieces[] = {1, 3, size / 2 + 1};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct outcome split = decode(data, size, pieces[i]);
        ASSERT(split.result == whole.result && split.refusal == whole.refusal);
        ASSERT(split.consumed == whole.consumed);
        ASSERT(str_equal(buf_str(&split.body), buf_str(&whole.body)));
        buf_fini(&split.body);
    }
    buf_fini(&whole.body);
    return 0;
}
