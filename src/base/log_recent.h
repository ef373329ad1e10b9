/* The last lines that were put in, as many as fit. Part of log.c; the caller locks. */
#ifndef TIDEGATE_BASE_LOG_RECENT_H
#define TIDEGATE_BASE_LOG_RECENT_H

#include <stdint.h>

#include "base/buf.h"

enum { LOG_RECENT_LINES = 256, LOG_RECENT_BYTES = 64 * 1024, LOG_RECENT_LINE_MAX = 4096 };

/* Zeroed: empty. The text runs round the end of bytes. */
struct log_recent {
    uint64_t end;                      /* bytes put in, all in all */
    uint64_t count;                    /* lines put in */
    uint64_t starts[LOG_RECENT_LINES]; /* of line n, at n modulo the array */
    char bytes[LOG_RECENT_BYTES];
};

/* line: at most LOG_RECENT_LINE_MAX bytes. */
void log_recent_put(struct log_recent *recent, struct str line);

/* Newest first, at most max; each with a NUL behind it. */
void log_recent_read(const struct log_recent *recent, size_t max, struct buf *out);

#endif
