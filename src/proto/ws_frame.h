/* Reads and writes RFC 6455 frames: headers, masks, close bodies. Pure: no I/O, no state; the two
 * append functions alone allocate, in the caller's buffer. */
#ifndef TIDEGATE_PROTO_WS_FRAME_H
#define TIDEGATE_PROTO_WS_FRAME_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/str.h"

enum ws_opcode {
    WS_CONTINUATION = 0x0,
    WS_TEXT = 0x1,
    WS_BINARY = 0x2,
    WS_CLOSE = 0x8,
    WS_PING = 0x9,
    WS_PONG = 0xa,
};

enum {
    WS_HEADER_MAX = 14,       /* bytes of the longest frame header */
    WS_CONTROL_MAX = 125,     /* bytes of payload in a control frame */
    WS_CLOSE_REASON_MAX = 123 /* what the code leaves of them */
};

/* RFC 6455 7.4.1: the close codes this codec itself needs. */
enum {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_UNSUPPORTED = 1003,
    WS_CLOSE_NO_STATUS = 1005, /* never on the wire: a close frame without a body */
    WS_CLOSE_BAD_DATA = 1007,
    WS_CLOSE_POLICY = 1008,
    WS_CLOSE_TOO_LARGE = 1009,
    WS_CLOSE_INTERNAL = 1011,
};

struct ws_frame_header {
    bool fin;
    bool compressed; /* RSV1, RFC 7692 */
    bool masked;
    enum ws_opcode opcode;
    uint8_t mask_key[4]; /* meaningful only when masked */
    uint64_t payload_len;
};

static inline bool ws_opcode_is_control(enum ws_opcode opcode)
{
    return (opcode & 0x8) != 0;
}

/* Returns the bytes consumed (2 to 14), 0 when data ends inside the header, or ERR_PROTOCOL (close
 * 1002) as soon as the bytes present show a reserved opcode or bit, a long or fragmented control
 * frame, a length that is not in its shortest form, or one with the top bit set. RSV1 is good on
 * the first frame of a message only, and only when may_compress. Masked or not, and whether
 * payload_len is too much (ERR_TOO_LARGE, close 1009), is for the caller to judge.
 * out_header is written on success only. */
ssize_t ws_frame_header_read(struct ws_frame_header *out_header, const uint8_t *data, size_t len,
                             bool may_compress);

/* Writes 2 to 14 bytes and returns how many. A server sends unmasked, a client masked. */
size_t ws_frame_header_write(uint8_t out[WS_HEADER_MAX], const struct ws_frame_header *header);

/* Masks or unmasks in place. offset: the place of data[0] in the frame's payload. */
void ws_unmask(uint8_t *data, size_t len, const uint8_t mask_key[4], uint64_t offset);

/* May a peer send this code? RFC 6455 7.4.2 and the IANA registry: 1000-1003, 1007-1014 and
 * 3000-4999. */
bool ws_close_code_is_valid(uint16_t code);

/* The body of a close frame: code and reason, cut at a code point to fit. Returns its length, 0 for
 * WS_CLOSE_NO_STATUS. */
size_t ws_close_body_write(uint8_t out[WS_CONTROL_MAX], uint16_t code, struct str reason);

/* Reads it; ERR_PROTOCOL for one byte or a code that must not be sent, ERR_UTF8 for a reason that
 * is not UTF-8. An empty body gives WS_CLOSE_NO_STATUS. The reason borrows from body. */
int ws_close_body_read(struct str body, uint16_t *out_code, struct str *out_reason);

/* The code to close with after an error of this codec: ERR_PROTOCOL 1002, ERR_UTF8 and ERR_SYNTAX
 * (bad deflate data) 1007, ERR_TOO_LARGE 1009, all else 1011. */
uint16_t ws_close_code_for(int err);

/* A whole close frame of the server. out: WS_CONTROL_MAX + 2 bytes are enough. Returns its length.
 */
size_t ws_close_frame_write(uint8_t out[WS_CONTROL_MAX + 2], uint16_t code, struct str reason);

/* Append a whole unfragmented frame: a server's, unmasked, and a client's, masked by a key that the
 * caller drew from a strong random source, one a frame (RFC 6455 5.3). 0 or buf_err(). */
int ws_frame_append(struct buf *out, enum ws_opcode opcode, bool compressed, struct str payload);
int ws_frame_append_masked(struct buf *out, enum ws_opcode opcode, bool compressed,
                           struct str payload, const uint8_t mask_key[4]);

#endif
