#include "proto/gzip.h"

#include <zlib.h>

#include "base/err.h"
#include "base/mem.h"

enum { LEVEL = 6, WINDOW_AND_GZIP = 15 + 16, MEM_LEVEL = 8 };

static void *zlib_alloc(void *opaque, unsigned items, unsigned size)
{
    return mem_alloc((size_t)items * size);
}

static void zlib_free(void *opaque, void *ptr)
{
    mem_free(ptr);
}

static int pack(struct buf *out, struct str data, z_stream *stream)
{
    size_t room = deflateBound(stream, data.len);
    uint8_t *to = buf_reserve(out, room);
    if (to) {
        stream->next_in = (Bytef *)(uintptr_t)data.ptr;
        stream->avail_in = (unsigned)data.len;
        stream->next_out = to;
        stream->avail_out = (unsigned)room;
        int result = deflate(stream, Z_FINISH);
        ASSERT(result == Z_STREAM_END); /* there was room for the worst */
        out->len += stream->total_out;
    }
    return buf_err(out);
}

int gzip_append(struct buf *out, struct str data)
{
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
    if (data.len > UINT32_MAX / 2) {
        return ERR_TOO_LARGE;
    }
    if (deflateInit2(&stream, LEVEL, Z_DEFLATED, WINDOW_AND_GZIP, MEM_LEVEL, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        return ERR_NO_MEMORY;
    }
    int err = pack(out, data, &stream);
    deflateEnd(&stream);
    return err;
}
