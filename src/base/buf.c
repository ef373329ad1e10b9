#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

void buf_init(struct buf *buf, size_t max)
{
    *buf = (struct buf){.max = max};
}

void buf_fini(struct buf *buf)
{
    mem_free(buf->data);
    *buf = (struct buf){.max = buf->max};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->err = 0;
}

static int grow(struct buf *buf, size_t needed)
{
    size_t cap = buf->cap ? buf->cap : 64;
    while (cap < needed) {
        cap = cap > SIZE_MAX / 2 ? needed : cap * 2;
    }
    uint8_t *data = mem_realloc(buf->data, cap);
    if (!data) {
        buf->err = ERR_NO_MEMORY;
        return buf->err;
    }
    buf->data = data;
    buf->cap = cap;
    return 0;
}

/* spare bytes are for a terminator behind the contents: they don't count against the limit. */
static uint8_t *make_room(struct buf *buf, size_t len, size_t spare)
{
    if (buf->err) {
        return NULL;
    }
    if (len > SIZE_MAX - spare - buf->len || (buf->max && buf->len + len > buf->max)) {
        buf->err = ERR_TOO_LARGE;
        return NULL;
    }
    if (buf->len + len + spare > buf->cap && grow(buf, buf->len + len + spare)) {
        return NULL;
    }
    return buf->data + buf->len;
}

uint8_t *buf_reserve(struct buf *buf, size_t len)
{
    return make_room(buf, len, 0);
}

int buf_append(struct buf *buf, const void *data, size_t len)
{
    if (len == 0) {
        return buf->err;
    }
    uint8_t *to = buf_reserve(buf, len);
    if (!to) {
        return buf->err;
    }
    memcpy(to, data, len);
    buf->len += len;
    return 0;
}

int buf_append_str(struct buf *buf, struct str s)
{
    return buf_append(buf, s.ptr, s.len);
}

int buf_append_char(struct buf *buf, char c)
{
    return buf_append(buf, &c, 1);
}

int buf_append_u64(struct buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return buf_append(buf, digits + at, sizeof(digits) - at);
}

int buf_append_double(struct buf *buf, double value)
{
    char text[32];
    snprintf(text, sizeof(text), "%.15g", value);
    if (strtod(text, NULL) != value) {
        snprintf(text, sizeof(text), "%.17g", value);
    }
    return buf_append_str(buf, str_of(text));
}

int buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    uint8_t *to = make_room(buf, len >= 0 ? (size_t)len : SIZE_MAX - 1, 1);
    if (to) {
        vsnprintf((char *)to, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    return buf->err;
}

void buf_consume(struct buf *buf, size_t len)
{
    ASSERT(len <= buf->len);
    buf->len -= len;
    if (buf->len > 0) {
        memmove(buf->data, buf->data + len, buf->len);
    }
}

const char *buf_cstr(struct buf *buf)
{
    uint8_t *end = make_room(buf, 0, 1);
    if (!end) {
        return "";
    }
    *end = '\0';
    return (const char *)buf->data;
}
