/* What a Redis server answers (RESP 2), as a tree: hiredis's reader with replies of our own, which
 * live in one arena and have limits, since a server is a peer like any other. One thread. */
#ifndef TIDEGATE_BUS_REDIS_REPLY_H
#define TIDEGATE_BUS_REDIS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { REDIS_REPLY_MAX_ITEMS = 1 << 17 }; /* of one reply, all levels together */

enum redis_reply_type {
    REDIS_REPLY_IS_NIL,
    REDIS_REPLY_IS_TEXT, /* a string or a status */
    REDIS_REPLY_IS_ERROR,
    REDIS_REPLY_IS_INTEGER,
    REDIS_REPLY_IS_ARRAY,
};

struct redis_reply {
    enum redis_reply_type type;
    struct str text; /* of a text or an error */
    int64_t integer;
    struct redis_reply *items; /* of an array */
    size_t count;
};

struct redis_reader; /* redis_reply.c */

/* max_bytes bounds what one reply may take. 0 or ERR_NO_MEMORY. */
int redis_reader_create(struct redis_reader **out_reader, size_t max_bytes);
void redis_reader_destroy(struct redis_reader *reader); /* NULL is fine */

/* Copies what came. 0, ERR_NO_MEMORY, or ERR_TOO_LARGE. After any error the reader is useless. */
int redis_reader_feed(struct redis_reader *reader, struct str data);

/* The next reply, or NULL when it has not come whole. It lives until the next call. 0,
 * ERR_PROTOCOL, ERR_TOO_LARGE (of items) or ERR_NO_MEMORY. */
int redis_reader_next(struct redis_reader *reader, const struct redis_reply **out_reply);

/* The bytes that the texts of the last reply take. */
size_t redis_reader_reply_bytes(const struct redis_reader *reader);

/* Whether an error begins with this word: "-NOAUTH Authentication required." */
bool redis_reply_is_error(const struct redis_reply *reply, struct str word);

/* The item of an array; a nil reply when it is no array or shorter. */
const struct redis_reply *redis_reply_item(const struct redis_reply *reply, size_t index);

#endif
