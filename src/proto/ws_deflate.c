#include "proto/ws_deflate.h"

#include <zlib.h>

#include "base/err.h"
#include "base/mem.h"

enum {
    MAX_MEM_LEVEL_USED = 8, /* of more, each message pays for a larger table to be cleared */
    WINDOWS = WS_WINDOW_BITS_MAX - WS_WINDOW_BITS_MIN + 1,
    OUTPUT_ROOM = 1024,       /* with less, inflate() works byte by byte */
    OUTPUT_KEPT = 256 * 1024, /* a longer output buffer is given back at the next message */
};

/* RFC 7692 7.2.1 and 7.2.2: the end of a sync flush, which stays off the wire. */
static const uint8_t flush_tail[] = {0x00, 0x00, 0xff, 0xff};

static void *zlib_alloc(void *opaque, unsigned items, unsigned size)
{
    return mem_alloc((size_t)items * size);
}

static void zlib_free(void *opaque, void *ptr)
{
    mem_free(ptr);
}

struct ws_deflater {
    int level;
    z_stream *streams[WINDOWS]; /* by bits - 9 */
};

int ws_deflater_create(struct ws_deflater **out_deflater, int level)
{
    ASSERT(level >= 1 && level <= 9);
    struct ws_deflater *deflater = mem_zalloc(sizeof(*deflater));
    if (!deflater) {
        return ERR_NO_MEMORY;
    }
    deflater->level = level;
    *out_deflater = deflater;
    return 0;
}

void ws_deflater_destroy(struct ws_deflater *deflater)
{
    if (!deflater) {
        return;
    }
    for (int i = 0; i < WINDOWS; i++) {
        if (deflater->streams[i]) {
            deflateEnd(deflater->streams[i]);
            mem_free(deflater->streams[i]);
        }
    }
    mem_free(deflater);
}

static z_stream *stream_of(struct ws_deflater *deflater, int window_bits)
{
    z_stream **slot = &deflater->streams[window_bits - WS_WINDOW_BITS_MIN];
    if (*slot) {
        return *slot;
    }
    z_stream *stream = mem_zalloc(sizeof(*stream));
    if (!stream) {
        return NULL;
    }
    stream->zalloc = zlib_alloc;
    stream->zfree = zlib_free;
    /* zlib's default of 8 gives the smallest window a hash table 64 times its size, which is walked
     * whenever the window moves: five times the work. */
    int mem_level = window_bits - 5 > MAX_MEM_LEVEL_USED ? MAX_MEM_LEVEL_USED : window_bits - 5;
    if (deflateInit2(stream, deflater->level, Z_DEFLATED, -window_bits, mem_level,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        mem_free(stream);
        return NULL;
    }
    *slot = stream;
    return stream;
}

/* A sync flush of the whole text. Room that runs out just behind the flush costs a second, empty
 * one, which is still good data. */
static int flush_into(z_stream *stream, struct buf *out)
{
    do {
        size_t room = deflateBound(stream, stream->avail_in) + 16;
        uint8_t *to = buf_reserve(out, room);
        if (!to) {
            return buf_err(out);
        }
        stream->next_out = to;
        stream->avail_out = (uInt)room;
        deflate(stream, Z_SYNC_FLUSH);
        out->len += room - stream->avail_out;
    } while (stream->avail_out == 0);
    return 0;
}

int ws_deflate(struct ws_deflater *deflater, int window_bits, struct str payload, struct buf *out)
{
    ASSERT(window_bits >= WS_WINDOW_BITS_MIN && window_bits <= WS_WINDOW_BITS_MAX);
    if (payload.len == 0) {
        return buf_append_char(out, 0); /* RFC 7692 7.2.3.6 */
    }
    z_stream *stream = stream_of(deflater, window_bits);
    if (!stream) {
        return ERR_NO_MEMORY;
    }
    ASSERT(payload.len <= UINT32_MAX / 2);
    size_t before = out->len;
    deflateReset(stream);
    stream->next_in = (Bytef *)payload.ptr;
    stream->avail_in = (uInt)payload.len;
    int err = flush_into(stream, out);
    out->len = err ? before : out->len - sizeof(flush_tail);
    return err;
}

struct ws_inflater {
    z_stream stream;
    bool ready;
    bool ended; /* the last call stopped behind a final block */
    struct buf out;
    size_t accounted; /* of out.cap */
};

int ws_inflater_create(struct ws_inflater **out_inflater)
{
    struct ws_inflater *inflater = mem_zalloc(sizeof(*inflater));
    if (!inflater) {
        return ERR_NO_MEMORY;
    }
    *out_inflater = inflater;
    return 0;
}

static void account_output(struct ws_inflater *inflater)
{
    if (inflater->accounted != inflater->out.cap) {
        mem_account(MEM_SESSIONS, (int64_t)inflater->out.cap - (int64_t)inflater->accounted);
        inflater->accounted = inflater->out.cap;
    }
}

void ws_inflater_destroy(struct ws_inflater *inflater)
{
    if (!inflater) {
        return;
    }
    if (inflater->ready) {
        inflateEnd(&inflater->stream);
    }
    buf_fini(&inflater->out);
    account_output(inflater);
    mem_free(inflater);
}

static int prepare_stream(struct ws_inflater *inflater)
{
    z_stream *stream = &inflater->stream;
    if (inflater->ready) {
        return inflateReset(stream) == Z_OK ? 0 : ERR_NO_MEMORY;
    }
    *stream = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free};
    if (inflateInit2(stream, -WS_WINDOW_BITS_MAX) != Z_OK) {
        return ERR_NO_MEMORY;
    }
    inflater->ready = true;
    return 0;
}

static void prepare_output(struct ws_inflater *inflater, size_t limit)
{
    struct buf *out = &inflater->out;
    if (out->cap > OUTPUT_KEPT) {
        buf_fini(out);
        account_output(inflater);
    }
    buf_clear(out);
    out->max = limit > SIZE_MAX - WS_INFLATE_BLOCK ? SIZE_MAX : limit + WS_INFLATE_BLOCK;
}

/* Points the stream at the free end of the output, longer by a block when little is left of it. */
static int offer_output(struct ws_inflater *inflater)
{
    struct buf *out = &inflater->out;
    size_t left = out->max - out->len;
    size_t want = out->cap - out->len < OUTPUT_ROOM ? WS_INFLATE_BLOCK : OUTPUT_ROOM;
    uint8_t *to = buf_reserve(out, left < want ? left : want);
    if (!to) {
        return ERR_NO_MEMORY;
    }
    account_output(inflater);
    size_t room = out->cap - out->len;
    room = room < left ? room : left;
    inflater->stream.next_out = to;
    inflater->stream.avail_out = (uInt)(room < UINT32_MAX ? room : UINT32_MAX);
    return 0;
}

static int inflate_step(struct ws_inflater *inflater)
{
    z_stream *stream = &inflater->stream;
    int err = offer_output(inflater);
    if (err) {
        return err;
    }
    uint8_t *from = stream->next_out;
    int result = inflate(stream, Z_SYNC_FLUSH);
    inflater->out.len += (size_t)(stream->next_out - from);
    inflater->ended = result == Z_STREAM_END;
    switch (result) {
    case Z_OK:
    case Z_STREAM_END:
    case Z_BUF_ERROR: return 0; /* the last: all input is used up and nothing was left to give */
    case Z_MEM_ERROR: return ERR_NO_MEMORY;
    default: return ERR_SYNTAX;
    }
}

static int inflate_span(struct ws_inflater *inflater, const uint8_t *data, size_t len, size_t limit)
{
    z_stream *stream = &inflater->stream;
    stream->next_in = (Bytef *)data;
    stream->avail_in = (uInt)len;
    do {
        /* More follows a final block: a new stream in zlib's eyes, but one that may still refer to
         * what came before. inflateReset would forget the window. */
        if (inflater->ended) {
            inflateResetKeep(stream);
        }
        int err = inflate_step(inflater);
        if (err) {
            return err;
        }
        if (inflater->out.len > limit) {
            return ERR_TOO_LARGE;
        }
    } while (stream->avail_in > 0 || (stream->avail_out == 0 && !inflater->ended));
    return 0;
}

/* The tail is the rest of an empty stored block. A message cut inside a block does not end at a
 * block with it, or takes it for data; zlib alone is content to wait for more. */
static int inflate_tail(struct ws_inflater *inflater, size_t limit)
{
    enum { AT_BLOCK_END = 128 }; /* zlib.h, inflate(), data_type */
    size_t len = inflater->out.len;
    int err = inflate_span(inflater, flush_tail, sizeof(flush_tail), limit);
    if (err) {
        return err;
    }
    bool at_end = inflater->ended || (inflater->stream.data_type & AT_BLOCK_END);
    return at_end && inflater->out.len == len ? 0 : ERR_SYNTAX;
}

int ws_inflate(struct ws_inflater *inflater, struct str compressed, size_t limit,
               struct str *out_payload)
{
    if (compressed.len > UINT32_MAX) {
        return ERR_TOO_LARGE;
    }
    int err = prepare_stream(inflater);
    if (err) {
        return err;
    }
    prepare_output(inflater, limit);
    inflater->ended = false;
    err = inflate_span(inflater, (const uint8_t *)compressed.ptr, compressed.len, limit);
    /* Understood as well: a final block without the zero byte behind it, and nothing at all. */
    if (!err && !inflater->ended && compressed.len > 0) {
        err = inflate_tail(inflater, limit);
    }
    if (!err) {
        *out_payload = buf_str(&inflater->out);
    }
    return err;
}
