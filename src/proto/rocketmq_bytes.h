/* Reading big-endian numbers and counted runs of bytes off a bounded text, for the RocketMQ codecs.
 * A read past the end sticks: read freely, check `bad` once at the end. Pure. */
#ifndef TIDEGATE_PROTO_ROCKETMQ_BYTES_H
#define TIDEGATE_PROTO_ROCKETMQ_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct rocketmq_bytes {
    const uint8_t *at;
    size_t left;
    bool bad; /* something was read that is not there; all values since then are 0 */
};

static inline struct rocketmq_bytes rocketmq_bytes_of(struct str text)
{
    return (struct rocketmq_bytes){(const uint8_t *)text.ptr, text.len, false};
}

static inline struct str rocketmq_bytes_take(struct rocketmq_bytes *bytes, uint64_t len)
{
    if (bytes->bad || len > bytes->left) {
        bytes->bad = true;
        return str_make("", 0);
    }
    struct str taken = str_make(bytes->at, (size_t)len);
    bytes->at += len;
    bytes->left -= (size_t)len;
    return taken;
}

/* size: 1 to 8 bytes. */
static inline uint64_t rocketmq_bytes_uint(struct rocketmq_bytes *bytes, size_t size)
{
    struct str taken = rocketmq_bytes_take(bytes, size);
    uint64_t value = 0;
    for (size_t i = 0; i < taken.len; i++) {
        value = value << 8 | (uint8_t)taken.ptr[i];
    }
    return value;
}

static inline void rocketmq_bytes_store_u32(uint8_t out[4], uint32_t value)
{
    out[0] = (uint8_t)(value >> 24);
    out[1] = (uint8_t)(value >> 16);
    out[2] = (uint8_t)(value >> 8);
    out[3] = (uint8_t)value;
}

#endif
