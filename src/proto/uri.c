#include "proto/uri.h"

#include "base/err.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads one byte, escaped or not, at in.ptr[*at] and moves *at behind it. -1: a bad escape. */
static int next_byte(struct str in, size_t *at)
{
    char c = in.ptr[(*at)++];
    if (c != '%') {
        return c ? (uint8_t)c : -1;
    }
    if (in.len - *at < 2) {
        return -1;
    }
    int high = hex_value(in.ptr[*at]);
    int low = hex_value(in.ptr[*at + 1]);
    *at += 2;
    return high < 0 || low < 0 || (high == 0 && low == 0) ? -1 : high << 4 | low;
}

static ssize_t decode(struct str in, char *out, size_t cap, bool plus_is_space)
{
    size_t len = 0;
    for (size_t at = 0; at < in.len;) {
        bool is_plus = in.ptr[at] == '+';
        int byte = next_byte(in, &at);
        if (byte < 0) {
            return ERR_SYNTAX;
        }
        if (len == cap) {
            return ERR_TOO_LARGE;
        }
        out[len++] = is_plus && plus_is_space ? ' ' : (char)byte;
    }
    return (ssize_t)len;
}

ssize_t uri_decode(struct str in, char *out, size_t cap)
{
    return decode(in, out, cap, false);
}

ssize_t uri_decode_query(struct str in, char *out, size_t cap)
{
    return decode(in, out, cap, true);
}

/* Well formed, and not "." or ".." in any encoding. */
static bool segment_is_plain(struct str segment)
{
    size_t decoded = 0;
    size_t dots = 0;
    for (size_t at = 0; at < segment.len;) {
        int byte = next_byte(segment, &at);
        if (byte < 0) {
            return false;
        }
        decoded++;
        dots += byte == '.';
    }
    return dots != decoded || dots == 0 || dots > 2;
}

int uri_path_check(struct str path)
{
    if (path.len == 0 || path.ptr[0] != '/') {
        return ERR_SYNTAX;
    }
    struct str segment;
    while (uri_path_next(&path, &segment)) {
        bool is_last = !path.ptr;
        if ((segment.len == 0 && !is_last) || !segment_is_plain(segment)) {
            return ERR_SYNTAX;
        }
    }
    return 0;
}

bool uri_path_next(struct str *rest, struct str *out_segment)
{
    if (!rest->ptr || rest->len == 0 || rest->ptr[0] != '/') {
        *rest = (struct str){NULL, 0};
        return false;
    }
    const char *start = rest->ptr + 1;
    size_t len = rest->len - 1;
    const char *slash = len ? memchr(start, '/', len) : NULL;
    if (!slash) {
        *out_segment = (struct str){start, len};
        *rest = (struct str){NULL, 0};
        return true;
    }
    size_t segment_len = (size_t)(slash - start);
    *out_segment = (struct str){start, segment_len};
    *rest = (struct str){slash, len - segment_len};
    return true;
}

bool uri_query_next(struct str *rest, struct str *out_name, struct str *out_value)
{
    struct str pair;
    do {
        if (!str_split(rest, '&', &pair)) {
            return false;
        }
    } while (pair.len == 0);
    const char *equals = memchr(pair.ptr, '=', pair.len);
    size_t name_len = equals ? (size_t)(equals - pair.ptr) : pair.len;
    *out_name = (struct str){pair.ptr, name_len};
    *out_value = equals ? (struct str){equals + 1, pair.len - name_len - 1}
                        : (struct str){pair.ptr + pair.len, 0};
    return true;
}

/* 1: the raw name decodes to this one, 0: to another, -1: it has a bad escape. */
static int name_matches(struct str raw, struct str name)
{
    size_t len = 0;
    bool same = true;
    for (size_t at = 0; at < raw.len; len++) {
        bool is_plus = raw.ptr[at] == '+';
        int byte = next_byte(raw, &at);
        if (byte < 0) {
            return -1;
        }
        same = same && len < name.len && (is_plus ? ' ' : (char)byte) == name.ptr[len];
    }
    return same && len == name.len;
}

ssize_t uri_query_get(struct str query, struct str name, char *out, size_t cap)
{
    struct str raw_name;
    struct str raw_value;
    struct str found = {NULL, 0};
    while (uri_query_next(&query, &raw_name, &raw_value)) {
        int match = name_matches(raw_name, name);
        if (match < 0) {
            return ERR_SYNTAX;
        }
        if (match && found.ptr) {
            return ERR_EXISTS;
        }
        if (match) {
            found = raw_value;
        }
    }
    return found.ptr ? uri_decode_query(found, out, cap) : ERR_NOT_FOUND;
}

/* ":1" to ":65535" */
static bool read_port(struct str text, uint64_t *out_port)
{
    struct str digits = str_make(text.ptr + 1, text.len - 1);
    return text.ptr[0] == ':' && str_to_u64(digits, UINT16_MAX, out_port) && *out_port > 0;
}

int uri_split_host_port(struct str text, uint16_t default_port, struct str *out_host,
                        uint16_t *out_port)
{
    bool bracketed = text.len > 0 && text.ptr[0] == '[';
    const char *end = text.len > 0 ? memchr(text.ptr, bracketed ? ']' : ':', text.len) : NULL;
    if (bracketed && !end) {
        return ERR_SYNTAX;
    }
    size_t host_end = end ? (size_t)(end - text.ptr) : text.len;
    size_t at = host_end + bracketed;
    uint64_t port = default_port;
    if (at < text.len && !read_port(str_make(text.ptr + at, text.len - at), &port)) {
        return ERR_SYNTAX;
    }
    *out_host = str_make(text.ptr + bracketed, host_end - bracketed);
    *out_port = (uint16_t)port;
    return 0;
}

static bool is_unreserved(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int uri_encode(struct buf *out, struct str in)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < in.len; i++) {
        uint8_t byte = (uint8_t)in.ptr[i];
        if (is_unreserved((char)byte)) {
            buf_append_char(out, (char)byte);
        } else {
            char escape[3] = {'%', digits[byte >> 4], digits[byte & 15]};
            buf_append(out, escape, sizeof(escape));
        }
    }
    return buf_err(out);
}
