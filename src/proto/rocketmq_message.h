/* The messages in the body of a RocketMQ pull answer: records one after the other, in the form in
 * which the broker stores them. Pure; what is read is borrowed from the data. */
#ifndef TIDEGATE_PROTO_ROCKETMQ_MESSAGE_H
#define TIDEGATE_PROTO_ROCKETMQ_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"

enum rocketmq_message_state {
    ROCKETMQ_MESSAGE_OK,
    ROCKETMQ_MESSAGE_MALFORMED,  /* an unknown form, or parts that don't add up: nothing else is set
                                  */
    ROCKETMQ_MESSAGE_CORRUPT,    /* the body's check sum is wrong */
    ROCKETMQ_MESSAGE_COMPRESSED, /* by its producer, which is none of ours: body is what it made */
};

struct rocketmq_message {
    enum rocketmq_message_state state;
    uint32_t queue_id;
    uint32_t flag; /* the producer's own */
    uint64_t queue_offset;
    uint64_t log_offset; /* in the broker's commit log */
    uint32_t sys_flag;
    uint64_t born_ms, stored_ms; /* since 1970, by the producer's and by the broker's clock */
    struct str body;
    struct str topic;
    struct str properties; /* name 0x01 value 0x02, repeated */
};

/* The bytes of the record at the front of data, by its own word; 0 when it can't be a record's or
 * data ends before it is told. */
size_t rocketmq_message_size(struct str data);

/* Takes one record from the front of data. Returns its bytes, whatever the state; 0 when data ends
 * inside of it, or is empty; ERR_PROTOCOL when its size can't be one, so that the next one can't be
 * found. */
ssize_t rocketmq_message_read(struct rocketmq_message *out_message, struct str data);

#endif
