/* Decodes a chunked body (RFC 9112 section 7.1) in place, in pieces of any size. Strict: hex digits
 * only, CRLF only, no white space round the size. Extensions and trailers are checked, bounded and
 * dropped. Pure. */
#ifndef TIDEGATE_PROTO_HTTP_CHUNKED_H
#define TIDEGATE_PROTO_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "proto/http_refusal.h"

#define HTTP_CHUNKED_EXTENSIONS_MAX 1024 /* bytes of all chunk extensions of a body together */
#define HTTP_CHUNKED_TRAILERS_MAX 4096   /* bytes of all trailer lines together */

struct http_chunked {
    uint64_t
        chunk_left; /* bytes of the chunk at hand still to come; while its size is read: that */
    uint64_t body_bytes; /* decoded so far */
    uint64_t body_max;
    uint32_t extension_bytes;
    uint32_t trailer_bytes;
    uint8_t size_digits;
    uint8_t state;
    enum http_refusal refusal; /* set when decode fails: BAD_CHUNK or BODY_TOO_LARGE */
};

/* body_max: the most decoded bytes. A chunk that would pass it is refused at its size line. */
void http_chunked_init(struct http_chunked *decoder, uint64_t body_max);

/* Decodes data[0..len) and moves the body bytes in it to its front. Returns
 *   1    the body is complete
 *   0    all was taken, more is needed
 *   < 0  refused: see decoder->refusal; nothing more may be passed in
 * *out_body_len: body bytes now at the front of data. *out_consumed: bytes of data that belonged to
 * the body as sent; what follows (only after 1) is the next request's and has not moved.
 * Both are written in every case. */
int http_chunked_decode(struct http_chunked *decoder, uint8_t *data, size_t len,
                        size_t *out_body_len, size_t *out_consumed);

#endif
