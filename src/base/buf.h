/* A growing run of bytes that owns its memory. A failed append sticks: append freely, check once
 * with buf_err() at the end. Not for sharing between threads. */
#ifndef TIDEGATE_BASE_BUF_H
#define TIDEGATE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max; /* 0: no limit; over it an append fails with ERR_TOO_LARGE */
    int err;    /* the first failure: ERR_NO_MEMORY or ERR_TOO_LARGE */
};

/* {0} is an empty buffer too. */
void buf_init(struct buf *buf, size_t max);
void buf_fini(struct buf *buf);

/* Forgets the contents and the failure, keeps the memory. */
void buf_clear(struct buf *buf);

/* 0, or the first failure. */
static inline int buf_err(const struct buf *buf)
{
    return buf->err;
}

int buf_append(struct buf *buf, const void *data, size_t len);
int buf_append_str(struct buf *buf, struct str s);
int buf_append_char(struct buf *buf, char c);
int buf_append_u64(struct buf *buf, uint64_t value); /* decimal */

/* A finite number: the shorter of two precisions that reads back as the same one. */
int buf_append_double(struct buf *buf, double value);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes room for len more bytes and returns where they go, NULL on failure; then set buf->len. */
uint8_t *buf_reserve(struct buf *buf, size_t len);

/* Drops len bytes at the front. */
void buf_consume(struct buf *buf, size_t len);

/* Appends a terminating NUL that len doesn't count. "" when that failed. */
const char *buf_cstr(struct buf *buf);

static inline struct str buf_str(const struct buf *buf)
{
    return (struct str){(const char *)buf->data, buf->len};
}

#endif
