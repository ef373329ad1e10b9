/* The encoded frames of the messages a worker is sending right now: a message is encoded and
 * compressed once, however many sessions get it. Holds a reference to each message it knows. One
 * thread. */
#ifndef TIDEGATE_SERVER_FRAME_CACHE_H
#define TIDEGATE_SERVER_FRAME_CACHE_H

#include "base/buf.h"
#include "core/message.h"
#include "server/frame.h"

struct ws_deflater;

enum frame_protocol { FRAME_V1, FRAME_RAW, FRAME_SSE_V1, FRAME_SSE_RAW, FRAME_PROTOCOLS };

enum { FRAME_CACHE_MESSAGES = 16, FRAME_WINDOWS = 8 };

struct frame_cache {
    struct frame_cache_entry {
        struct message *message; /* NULL: free */
        /* [protocol][0]: plain; [protocol][bits - 8]: compressed for that window */
        struct frame *frames[FRAME_PROTOCOLS][FRAME_WINDOWS];
        /* Of the event stream's frames: what their ids say is true of sessions whose live_from is
         * below this ordinal. */
        uint64_t good_before[FRAME_PROTOCOLS];
    } entries[FRAME_CACHE_MESSAGES];
    uint32_t next; /* the entry to give up next */
    struct ws_deflater *deflater;
    uint64_t min_compressed; /* smaller payloads go plain */
    struct buf payload;      /* scratch */
    struct buf compressed;   /* scratch */
};

int frame_cache_init(struct frame_cache *cache, int level, uint64_t min_compressed);
void frame_cache_fini(struct frame_cache *cache);

/* The frame for one kind of session; window_bits 0: not compressed. Borrowed until the next call.
 * NULL when memory is out. A live delivery's frame carries the message's receipt, a replayed one's
 * does not and is not kept. */
struct frame *frame_cache_get(struct frame_cache *cache, struct message *message,
                              enum frame_protocol protocol, unsigned window_bits);

/* The message's place in the cache, for frames that are built elsewhere (server/sse_frame.h).
 * Borrowed until the next call. */
struct frame_cache_entry *frame_cache_entry_of(struct frame_cache *cache, struct message *message);

/* For frames that are built elsewhere: whose message it is, and whether that is confirmed; and, for
 * a live delivery of a message with a receipt, that. */
void frame_cache_mark(struct frame *frame, const struct message *message,
                      enum frame_protocol protocol);
void frame_cache_give_receipt(struct frame *frame, const struct message *message);

/* For a replay: a frame of its own, with one reference. */
struct frame *frame_cache_make(struct frame_cache *cache, const struct message *message,
                               enum frame_protocol protocol, unsigned window_bits);

/* A compressed frame of any payload, with one reference; NULL when memory is out. */
struct frame *frame_cache_compress(struct frame_cache *cache, enum ws_opcode opcode,
                                   struct str payload, unsigned window_bits);

/* Appends {"t":"msg",…} of the client protocol; of a revoke, {"t":"revoke",…}. */
void frame_encode_v1(struct buf *out, const struct message *message);

/* Its two parts, for who has more to say: without the brace at the end. A revoke has no data. */
void frame_encode_v1_head(struct buf *out, const struct message *message);
void frame_encode_v1_data(struct buf *out, const struct message *message);

/* Forgets all messages. */
void frame_cache_clear(struct frame_cache *cache);

#endif
