#include "proto/rocketmq_message.h"

#include <zlib.h>

#include "base/err.h"
#include "proto/rocketmq_bytes.h"

#define MAGIC_V1 0xdaa320a7u /* counts its topic with one byte */
#define MAGIC_V2 0xdaa320abu /* with two */

enum {
    SMALLEST = 91, /* bytes of a record with an empty body, topic and properties */
    PORT = 4,
};

enum { SYS_COMPRESSED = 0x1, SYS_BORN_IPV6 = 0x10, SYS_STORED_IPV6 = 0x20, SYS_BATCH = 0xc0 };

/* What the broker keeps as a check sum has no sign bit. */
static bool body_is_intact(struct str body, uint32_t crc)
{
    return (crc32_z(0, (const Bytef *)body.ptr, body.len) & 0x7fffffff) == crc;
}

static void skip_host(struct rocketmq_bytes *bytes, bool is_ipv6)
{
    rocketmq_bytes_take(bytes, (is_ipv6 ? 16 : 4) + PORT);
}

/* Everything behind the size, in the order of the wire. False when the parts don't add up. */
static bool read_parts(struct rocketmq_message *message, struct rocketmq_bytes *bytes,
                       uint32_t *out_crc)
{
    uint64_t magic = rocketmq_bytes_uint(bytes, 4);
    *out_crc = (uint32_t)rocketmq_bytes_uint(bytes, 4);
    message->queue_id = (uint32_t)rocketmq_bytes_uint(bytes, 4);
    message->flag = (uint32_t)rocketmq_bytes_uint(bytes, 4);
    message->queue_offset = rocketmq_bytes_uint(bytes, 8);
    message->log_offset = rocketmq_bytes_uint(bytes, 8);
    message->sys_flag = (uint32_t)rocketmq_bytes_uint(bytes, 4);
    message->born_ms = rocketmq_bytes_uint(bytes, 8);
    skip_host(bytes, message->sys_flag & SYS_BORN_IPV6);
    message->stored_ms = rocketmq_bytes_uint(bytes, 8);
    skip_host(bytes, message->sys_flag & SYS_STORED_IPV6);
    rocketmq_bytes_take(bytes, 4 + 8); /* how often consumed again; transaction */
    message->body = rocketmq_bytes_take(bytes, rocketmq_bytes_uint(bytes, 4));
    size_t topic_size = magic == MAGIC_V2 ? 2 : 1;
    message->topic = rocketmq_bytes_take(bytes, rocketmq_bytes_uint(bytes, topic_size));
    message->properties = rocketmq_bytes_take(bytes, rocketmq_bytes_uint(bytes, 2));
    return !bytes->bad && bytes->left == 0 && (magic == MAGIC_V1 || magic == MAGIC_V2) &&
           message->queue_offset <= INT64_MAX;
}

static enum rocketmq_message_state judge(const struct rocketmq_message *message, uint32_t crc)
{
    if (!body_is_intact(message->body, crc)) {
        return ROCKETMQ_MESSAGE_CORRUPT;
    }
    /* A batch that is stored as one has its own check sum rules; we never make a topic for it. */
    return message->sys_flag & (SYS_COMPRESSED | SYS_BATCH) ? ROCKETMQ_MESSAGE_COMPRESSED
                                                            : ROCKETMQ_MESSAGE_OK;
}

size_t rocketmq_message_size(struct str data)
{
    struct rocketmq_bytes bytes = rocketmq_bytes_of(data);
    uint64_t size = rocketmq_bytes_uint(&bytes, 4);
    return size >= SMALLEST && size <= INT32_MAX ? (size_t)size : 0;
}

ssize_t rocketmq_message_read(struct rocketmq_message *out_message, struct str data)
{
    size_t size = rocketmq_message_size(data);
    if (data.len < 4 || size > data.len) {
        return 0;
    }
    if (size == 0) {
        return ERR_PROTOCOL;
    }
    struct rocketmq_bytes bytes = rocketmq_bytes_of(str_make(data.ptr + 4, size - 4));
    struct rocketmq_message message = {0};
    uint32_t crc;
    if (read_parts(&message, &bytes, &crc)) {
        message.state = judge(&message, crc);
    } else {
        message = (struct rocketmq_message){.state = ROCKETMQ_MESSAGE_MALFORMED};
    }
    *out_message = message;
    return (ssize_t)size;
}
