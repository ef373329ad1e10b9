#include "server/watch_text.h"

#include "proto/json.h"

static bool is_secret(struct json_value key)
{
    static const struct str names[] = {
        {"token", 5}, {"claim", 5}, {"grant", 5}, {"grants", 6}, {"ticket", 6}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (json_equals(key, names[i])) {
            return true;
        }
    }
    return false;
}

static void redact_frame(struct buf *out, struct json_value frame, bool *has_secret)
{
    struct json_iter iter;
    struct json_value key;
    struct json_value value;
    buf_append_char(out, '{');
    json_iter_init(&iter, frame);
    while (json_next(&iter, &key, &value)) {
        bool hides = is_secret(key);
        json_write_comma(out);
        buf_append_str(out, key.raw);
        buf_append_char(out, ':');
        buf_append_str(out, hides ? STR(WATCH_HIDDEN) : value.raw);
        *has_secret = *has_secret || hides;
    }
    buf_append_char(out, '}');
}

static bool are_frames(struct json_value list)
{
    struct json_iter iter;
    struct json_value item;
    json_iter_init(&iter, list);
    while (json_next(&iter, NULL, &item)) {
        if (item.type != JSON_TYPE_OBJECT) {
            return false;
        }
    }
    return list.type == JSON_TYPE_ARRAY;
}

static void redact_list(struct buf *out, struct json_value list, bool *has_secret)
{
    struct json_iter iter;
    struct json_value item;
    buf_append_char(out, '[');
    json_iter_init(&iter, list);
    while (json_next(&iter, NULL, &item)) {
        json_write_comma(out);
        redact_frame(out, item, has_secret);
    }
    buf_append_char(out, ']');
}

bool watch_text_redact(struct buf *out, struct str text, unsigned max_depth, bool *out_has_secret)
{
    struct json_value value;
    *out_has_secret = false;
    if (json_parse(&value, text, max_depth, NULL)) {
        return false;
    }
    if (value.type == JSON_TYPE_OBJECT) {
        redact_frame(out, value, out_has_secret);
        return true;
    }
    if (are_frames(value)) {
        redact_list(out, value, out_has_secret);
        return true;
    }
    return false;
}

struct str watch_text_cut(struct str text, size_t max)
{
    size_t len = text.len < max ? text.len : max;
    while (len < text.len && len > 0 && ((unsigned char)text.ptr[len] & 0xc0) == 0x80) {
        len--;
    }
    return str_make(text.ptr, len);
}
