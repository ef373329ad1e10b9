/* The compression of permessage-deflate (RFC 7692) without context takeover: each message stands
 * alone, so contexts belong to a worker, none to a session. Pure. One thread an object. */
#ifndef TIDEGATE_PROTO_WS_DEFLATE_H
#define TIDEGATE_PROTO_WS_DEFLATE_H

#include "base/buf.h"
#include "base/str.h"

enum {
    WS_WINDOW_BITS_MIN = 9, /* zlib makes no raw stream of 8 */
    WS_WINDOW_BITS_MAX = 15,
    WS_INFLATE_BLOCK = 16 * 1024,
};

struct ws_deflater;
struct ws_inflater;

/* Cheap: the contexts (up to 0.3 MB each) are made when first needed, one a window size in use.
 * level: 1 (fastest) to 9. 0 or ERR_NO_MEMORY. */
int ws_deflater_create(struct ws_deflater **out_deflater, int level);
void ws_deflater_destroy(struct ws_deflater *deflater);

/* Appends the payload of a compressed message, without the 00 00 ff ff of RFC 7692 7.2.1.
 * window_bits: 9 to 15, as negotiated. 0, ERR_NO_MEMORY, or ERR_TOO_LARGE by out's own limit; then
 * out holds what it held. The result may be longer than a payload that does not compress. */
int ws_deflate(struct ws_deflater *deflater, int window_bits, struct str payload, struct buf *out);

/* Cheap too: 40 KB and an output buffer are taken at the first message. */
int ws_inflater_create(struct ws_inflater **out_inflater);
void ws_inflater_destroy(struct ws_inflater *inflater);

/* Inflates the whole payload of a message (its fragments joined). The result is borrowed from the
 * inflater until its next call. Never makes more than limit + WS_INFLATE_BLOCK bytes.
 * 0, ERR_TOO_LARGE over the limit, ERR_SYNTAX for data that is not deflate or ends inside a block,
 * ERR_NO_MEMORY. Final blocks within the message are read on. */
int ws_inflate(struct ws_inflater *inflater, struct str compressed, size_t limit,
               struct str *out_payload);

#endif
