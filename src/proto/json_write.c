#include "proto/json.h"

static bool needs_escape(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

static void write_escape(struct buf *out, unsigned char c)
{
    static const char special[] = "\b\f\n\r\t\"\\";
    const char *found = strchr(special, c);
    if (c && found) {
        char escape[] = {'\\', "bfnrt\"\\"[found - special]};
        buf_append(out, escape, sizeof(escape));
    } else {
        static const char digits[] = "0123456789abcdef";
        char escape[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
        buf_append(out, escape, sizeof(escape));
    }
}

void json_write_string(struct buf *out, struct str text)
{
    buf_append_char(out, '"');
    size_t plain = 0; /* what lies between here and i goes out in one piece */
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (needs_escape(c)) {
            buf_append(out, text.ptr + plain, i - plain);
            write_escape(out, c);
            plain = i + 1;
        }
    }
    if (text.len > plain) {
        buf_append(out, text.ptr + plain, text.len - plain);
    }
    buf_append_char(out, '"');
}

void json_write_comma(struct buf *out)
{
    if (out->len > 0 && !memchr("{[:,", out->data[out->len - 1], 4)) {
        buf_append_char(out, ',');
    }
}

void json_write_key(struct buf *out, struct str name)
{
    json_write_comma(out);
    json_write_string(out, name);
    buf_append_char(out, ':');
}

void json_write_string_field(struct buf *out, struct str name, struct str text)
{
    json_write_key(out, name);
    json_write_string(out, text);
}

void json_write_u64_field(struct buf *out, struct str name, uint64_t number)
{
    json_write_key(out, name);
    buf_append_u64(out, number);
}

void json_write_bool_field(struct buf *out, struct str name, bool value)
{
    json_write_key(out, name);
    buf_append_str(out, value ? STR("true") : STR("false"));
}

void json_write_raw_field(struct buf *out, struct str name, struct str json)
{
    json_write_key(out, name);
    buf_append_str(out, json);
}
