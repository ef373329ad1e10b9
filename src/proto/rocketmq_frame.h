/* Frames of the RocketMQ remoting protocol: a length, a header, a body. Requests and answers look
 * alike; both ends may ask. Integers on the wire are big-endian.
 *
 *     4  length of what follows
 *     1  how the header is written: 0 JSON, 1 binary
 *     3  length of the header
 *        header: a code (of a request, or how it went), an id that the answer repeats, flags,
 *                a remark for people, and named parameters whose values are texts
 *        body
 *
 * We write JSON headers and read both kinds: a 4.9 broker answers in the kind that it was asked in,
 * a 5.x broker in the one that its own process is set to. Pure; what is read is borrowed from the
 * data. */
#ifndef TIDEGATE_PROTO_ROCKETMQ_FRAME_H
#define TIDEGATE_PROTO_ROCKETMQ_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/str.h"

enum {
    ROCKETMQ_FRAME_MAX = (16 << 20) + 4, /* bytes with the length; brokers drop longer ones too */
    ROCKETMQ_HEADER_MAX = 1 << 18,       /* bytes; a stack trace in a remark fits */
    ROCKETMQ_FIELDS_MAX = 24,            /* of one request */
};

enum { ROCKETMQ_FLAG_RESPONSE = 1, ROCKETMQ_FLAG_ONEWAY = 2 }; /* of a frame */

enum rocketmq_code {
    /* requests to a broker */
    ROCKETMQ_PULL_MESSAGE = 11,
    ROCKETMQ_CREATE_TOPIC = 17,
    ROCKETMQ_SEARCH_OFFSET = 29,
    ROCKETMQ_GET_MAX_OFFSET = 30,
    ROCKETMQ_GET_MIN_OFFSET = 31,
    ROCKETMQ_HEART_BEAT = 34,
    ROCKETMQ_CREATE_GROUP = 200,
    ROCKETMQ_SEND_MESSAGE_V2 = 310,
    /* requests to a name server */
    ROCKETMQ_GET_ROUTE = 105,
    ROCKETMQ_GET_CLUSTER = 106,
    /* how it went */
    ROCKETMQ_SUCCESS = 0,
    ROCKETMQ_SYSTEM_ERROR = 1,
    ROCKETMQ_SYSTEM_BUSY = 2,
    ROCKETMQ_NOT_SUPPORTED = 3,
    ROCKETMQ_FLUSH_DISK_TIMEOUT = 10,
    ROCKETMQ_SLAVE_NOT_AVAILABLE = 11,
    ROCKETMQ_FLUSH_SLAVE_TIMEOUT = 12,
    ROCKETMQ_MESSAGE_ILLEGAL = 13,
    ROCKETMQ_SERVICE_NOT_AVAILABLE = 14,
    ROCKETMQ_NO_PERMISSION = 16,
    ROCKETMQ_TOPIC_NOT_EXIST = 17,
    ROCKETMQ_PULL_NOT_FOUND = 19,
    ROCKETMQ_PULL_RETRY = 20,
    ROCKETMQ_PULL_OFFSET_MOVED = 21,
    ROCKETMQ_GROUP_NOT_EXIST = 26,
};

struct rocketmq_frame {
    int32_t code;
    int32_t opaque; /* the request's id */
    uint32_t flag;
    bool is_binary;
    struct str remark; /* for people, as written: escapes of a JSON text stay */
    struct str fields; /* read them with rocketmq_frame_text and _i64; "" for none */
    struct str body;
};

/* Takes one frame from the front of data. Returns its bytes; 0 when data ends inside of it;
 * ERR_TOO_LARGE: its length or its header's is over the limit above, known from the first 8 bytes;
 * ERR_PROTOCOL: lengths that don't fit, an unknown kind, or a header that is not well formed. */
ssize_t rocketmq_frame_read(struct rocketmq_frame *out_frame, struct str data);

static inline bool rocketmq_frame_is_answer(const struct rocketmq_frame *frame)
{
    return frame->flag & ROCKETMQ_FLAG_RESPONSE;
}

/* A parameter's value, unescaped into scratch when it has to be. False when it is absent, no text,
 * or over cap bytes. */
bool rocketmq_frame_text(const struct rocketmq_frame *frame, struct str name, char *scratch,
                         size_t cap, struct str *out_value);

/* The same as a decimal number; a sign is allowed. */
bool rocketmq_frame_i64(const struct rocketmq_frame *frame, struct str name, int64_t *out_value);

struct rocketmq_field {
    struct str name, value; /* UTF-8; value not empty: an empty one reads as null and breaks the
                             * signature, so leave the field out */
};

/* Appends everything of a frame but its body, of which body_len bytes must follow. 0,
 * ERR_TOO_LARGE (the frame or its header), or the buffer's failure. */
int rocketmq_frame_write(struct buf *out, int32_t code, int32_t opaque, uint32_t flag,
                         const struct rocketmq_field *fields, size_t count, size_t body_len);

#endif
