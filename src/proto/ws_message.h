/* The receiving side of a WebSocket session: bytes in, messages out (RFC 6455 5.4 to 5.6, 7692).
 *
 * An idle session holds nothing. What a read brings is parsed, unmasked and validated in place, in
 * the caller's receive buffer, and a message that is there whole is handed over from there. Only
 * when the data ends inside a frame or a fragmented message is the rest moved to a struct
 * ws_partial, which goes away again with the end of the message. Pure: no I/O, no clock. */
#ifndef TIDEGATE_PROTO_WS_MESSAGE_H
#define TIDEGATE_PROTO_WS_MESSAGE_H

#include "base/str.h"
#include "proto/ws_frame.h"

struct ws_inflater;
struct ws_partial;

/* Shared by any number of sessions of one worker. */
struct ws_reader_options {
    size_t max_message;           /* bytes, after inflating; over it ERR_TOO_LARGE at the header */
    uint32_t max_fragments;       /* frames of one message, empty ones too; 0: no limit */
    bool from_server;             /* we are the client: frames must be unmasked, else masked */
    struct ws_inflater *inflater; /* borrowed; NULL: permessage-deflate was not negotiated */
};

/* What the peer said. The bytes are borrowed until the callback returns. A callback returns 0 to
 * read on, anything else to stop: the session was closed in it and owner may be gone. A callback
 * must not feed a reader that shares the inflater, nor one with the same partial. */
struct ws_reader_events {
    /* WS_TEXT (valid UTF-8) or WS_BINARY, whole and inflated. */
    int (*on_message)(void *owner, enum ws_opcode opcode, struct str payload);
    int (*on_ping)(void *owner, struct str payload); /* answer with a pong of the same payload */
    int (*on_pong)(void *owner, struct str payload);
    /* WS_CLOSE_NO_STATUS when the frame had no body. Nothing after it is read. */
    int (*on_close)(void *owner, uint16_t code, struct str reason);
};

enum { WS_READER_STOPPED = 1 };

/* Reads data, which it may change. *partial is what the session holds between two reads: NULL at
 * first and whenever no message is under way. While the feed runs *partial is NULL, so a session
 * may be destroyed in a callback.
 *
 * Returns 0 when all was read; WS_READER_STOPPED after a close frame or when a callback asked for
 * it: partial is then not touched any more; or an error, *partial being NULL:
 *   ERR_PROTOCOL (close 1002), ERR_UTF8 (1007, at the first bad byte, also in the middle of a
 *   frame), ERR_SYNTAX (1007: bad deflate data), ERR_TOO_LARGE (1009), ERR_NO_MEMORY.
 * ws_close_code_for() gives the code. Nothing more may be fed after any but 0. */
int ws_reader_feed(struct ws_partial **partial, const struct ws_reader_options *options,
                   uint8_t *data, size_t len, const struct ws_reader_events *events, void *owner);

/* For a session that ends in the middle of a message. NULL is fine. */
void ws_partial_destroy(struct ws_partial *partial);

/* Bytes held, at most 2 x the payload received + 1 KiB; accounted to MEM_SESSIONS. 0 for NULL. */
size_t ws_partial_bytes(const struct ws_partial *partial);

#endif
