#include "proto/sse.h"

static void write_line(struct buf *out, struct str field, struct str value)
{
    buf_append_str(out, field);
    buf_append_str(out, value);
    buf_append_char(out, '\n');
}

void sse_write_id(struct buf *out, struct str id)
{
    write_line(out, STR("id: "), id);
}

void sse_write_name(struct buf *out, struct str name)
{
    write_line(out, STR("event: "), name);
}

void sse_write_retry(struct buf *out, uint64_t ms)
{
    buf_append_str(out, STR("retry: "));
    buf_append_u64(out, ms);
    buf_append_char(out, '\n');
}

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

static size_t line_len(struct str text)
{
    size_t len = 0;
    while (len < text.len && !is_line_end(text.ptr[len])) {
        len++;
    }
    return len;
}

/* Pieces between line ends: most JSON has none and is one. */
void sse_write_json(struct buf *out, struct str json)
{
    struct str rest = json;
    buf_append_str(out, STR("data: "));
    for (size_t len = line_len(rest); len < rest.len; len = line_len(rest)) {
        buf_append(out, rest.ptr, len);
        buf_append_char(out, ' ');
        rest = str_make(rest.ptr + len + 1, rest.len - len - 1);
    }
    buf_append_str(out, rest);
    buf_append_char(out, '\n');
}

void sse_write_text(struct buf *out, struct str text)
{
    struct str rest = text;
    for (;;) {
        size_t len = line_len(rest);
        write_line(out, STR("data: "), str_make(rest.ptr, len));
        if (len == rest.len) {
            return;
        }
        bool is_crlf = rest.ptr[len] == '\r' && len + 1 < rest.len && rest.ptr[len + 1] == '\n';
        size_t past = len + 1 + is_crlf;
        rest = str_make(rest.ptr + past, rest.len - past);
    }
}

void sse_write_end(struct buf *out)
{
    buf_append_char(out, '\n');
}
