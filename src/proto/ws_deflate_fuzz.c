/* Any bytes as deflate data, and any bytes through deflate and back. The first byte chooses the
 * window and the limit. */
#include "proto/ws_deflate.h"

#include "base/err.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 64 * 1024 };

static struct ws_deflater *deflater;
static struct ws_inflater *inflater;

static bool make_contexts(void)
{
    return deflater ||
           (ws_inflater_create(&inflater) == 0 && ws_deflater_create(&deflater, 6) == 0);
}

static void check_inflate(struct str wire, size_t limit)
{
    struct str payload;
    int err = ws_inflate(inflater, wire, limit, &payload);
    ASSERT(err == 0 || err == ERR_SYNTAX || err == ERR_TOO_LARGE);
    ASSERT(err || payload.len <= limit);
    ASSERT(mem_accounted(MEM_SESSIONS) <= 2 * (LIMIT + WS_INFLATE_BLOCK));
    if (!err) {
        struct str again;
        size_t len = payload.len;
        ASSERT(ws_inflate(inflater, wire, len, &again) == 0 && again.len == len);
        ASSERT(len == 0 || ws_inflate(inflater, wire, len - 1, &again) == ERR_TOO_LARGE);
    }
}

static void check_round_trip(struct str text, int window_bits)
{
    struct buf wire = {0};
    struct str back;
    ASSERT(ws_deflate(deflater, window_bits, text, &wire) == 0);
    ASSERT(ws_inflate(inflater, buf_str(&wire), text.len, &back) == 0);
    ASSERT(str_equal(back, text));
    buf_fini(&wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || !make_contexts()) {
        return 0;
    }
    struct str rest = str_make(data + 1, size - 1);
    check_inflate(rest, data[0] & 0x80 ? LIMIT : 100);
    check_round_trip(rest, WS_WINDOW_BITS_MIN + data[0] % 7);
    return 0;
}
