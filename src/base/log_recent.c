#include "base/log_recent.h"

#include "base/err.h"

static uint64_t line_end(const struct log_recent *recent, uint64_t line)
{
    return line + 1 == recent->count ? recent->end : recent->starts[(line + 1) % LOG_RECENT_LINES];
}

void log_recent_put(struct log_recent *recent, struct str line)
{
    ASSERT(line.len <= LOG_RECENT_LINE_MAX);
    size_t at = recent->end % LOG_RECENT_BYTES;
    size_t first = line.len < LOG_RECENT_BYTES - at ? line.len : LOG_RECENT_BYTES - at;
    memcpy(recent->bytes + at, line.ptr, first);
    memcpy(recent->bytes, line.ptr + first, line.len - first);
    recent->starts[recent->count++ % LOG_RECENT_LINES] = recent->end;
    recent->end += line.len;
}

static void append(const struct log_recent *recent, uint64_t start, uint64_t end, struct buf *out)
{
    size_t at = start % LOG_RECENT_BYTES;
    size_t len = (size_t)(end - start);
    size_t first = len < LOG_RECENT_BYTES - at ? len : LOG_RECENT_BYTES - at;
    buf_append(out, recent->bytes + at, first);
    buf_append(out, recent->bytes, len - first);
    buf_append_char(out, '\0');
}

void log_recent_read(const struct log_recent *recent, size_t max, struct buf *out)
{
    max = max < LOG_RECENT_LINES ? max : LOG_RECENT_LINES;
    for (uint64_t line = recent->count; line > 0 && recent->count - line < max; line--) {
        uint64_t start = recent->starts[(line - 1) % LOG_RECENT_LINES];
        if (recent->end - start > LOG_RECENT_BYTES) {
            break; /* written over, and all that is older */
        }
        append(recent, start, line_end(recent, line - 1), out);
    }
}
