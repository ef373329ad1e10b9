#include "api/export_sample.h"

/* The text behind the opening quote, up to the closing one; *rest is then behind that. */
static void take_value(struct str *rest, struct buf *value)
{
    size_t i = 0;
    buf_clear(value);
    for (; i < rest->len && rest->ptr[i] != '"'; i++) {
        char c = rest->ptr[i];
        if (c == '\\' && i + 1 < rest->len) {
            c = rest->ptr[++i];
            c = c == 'n' ? '\n' : c;
        }
        buf_append_char(value, c);
    }
    size_t end = i < rest->len ? i + 1 : i;
    *rest = str_make(rest->ptr + end, rest->len - end);
}

bool sample_next_label(struct str *rest, struct str *out_name, struct buf *value)
{
    if (rest->len > 0 && rest->ptr[0] == ',') {
        *rest = str_make(rest->ptr + 1, rest->len - 1);
    }
    const char *equals = rest->len > 0 ? memchr(rest->ptr, '=', rest->len) : NULL;
    if (!equals) {
        return false;
    }
    size_t len = (size_t)(equals - rest->ptr);
    *out_name = str_make(rest->ptr, len);
    size_t skip = len + 2 <= rest->len ? len + 2 : rest->len; /* the quote, too */
    *rest = str_make(rest->ptr + skip, rest->len - skip);
    take_value(rest, value);
    return true;
}

struct str sample_unit(const char *family_name)
{
    struct str name = str_of(family_name);
    if (str_ends_with(name, STR("_total"))) {
        name.len -= sizeof("_total") - 1;
    }
    if (str_ends_with(name, STR("_seconds"))) {
        return STR("s");
    }
    return str_ends_with(name, STR("_bytes")) ? STR("By") : STR("");
}
