#include "base/log_line.h"

#include <stdio.h>

#include "base/time_text.h"

static const char *const level_names[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_ERROR] = "error",
};

const char *log_line_level_name(enum log_level level)
{
    return level_names[level];
}

static char *add(char *at, struct str text)
{
    memcpy(at, text.ptr, text.len);
    return at + text.len;
}

static char *add_unicode_escape(char *at, unsigned code)
{
    static const char digits[] = "0123456789abcdef";
    at = add(at, STR("\\u"));
    for (int shift = 12; shift >= 0; shift -= 4) {
        *at++ = digits[code >> shift & 15];
    }
    return at;
}

/* The code of a character that must not reach a terminal or a line-based reader as it is, else 0:
 * C0 and C1 controls, DEL, U+2028 and U+2029. NUL's code is 0 too: look for it apart. */
static unsigned unsafe_code(const uint8_t *byte, size_t width)
{
    if (width == 1 && (byte[0] < 0x20 || byte[0] == 0x7f)) {
        return byte[0];
    }
    if (width == 2 && byte[0] == 0xc2 && byte[1] < 0xa0) {
        return byte[1];
    }
    if (width == 3 && byte[0] == 0xe2 && byte[1] == 0x80 && (byte[2] & 0xfe) == 0xa8) {
        return 0x2000u | (byte[2] & 0x3f);
    }
    return 0;
}

static char *add_character(char *at, struct str character)
{
    unsigned char first = (unsigned char)*character.ptr;
    unsigned code = unsafe_code((const uint8_t *)character.ptr, character.len);
    if (code || first == '\0') {
        return add_unicode_escape(at, code);
    }
    if (first == '"' || first == '\\') {
        *at++ = '\\';
    }
    return add(at, character);
}

static char *add_escaped(char *at, struct str text, size_t max)
{
    text.len = text.len < max ? text.len : max;
    while (text.len > 0) {
        size_t width = str_utf8_width(text);
        if (width == 0) {
            at = add_unicode_escape(at, 0xfffd);
            width = 1;
        } else {
            at = add_character(at, (struct str){text.ptr, width});
        }
        text = (struct str){text.ptr + width, text.len - width};
    }
    return at;
}

static char *add_time(char *at, uint64_t wall_ms)
{
    char text[TIME_TEXT_MAX];
    return add(at, time_text_write(text, wall_ms));
}

/* Those that come last are cut when all are too long together. */
static char *add_pairs(char *at, const struct log_line *line)
{
    size_t room = LOG_PAIRS_MAX;
    for (size_t i = 0; i < line->pair_count; i++) {
        const struct log_pair *pair = &line->pairs[i];
        if (pair->value.len == 0 || room == 0) {
            continue;
        }
        at = add(at, STR(",\""));
        at = add(at, str_of(pair->name));
        at = add(at, pair->is_raw ? STR("\":") : STR("\":\""));
        at = pair->is_raw ? add(at, pair->value) : add_escaped(at, pair->value, room);
        at = add(at, pair->is_raw ? STR("") : STR("\""));
        room -= pair->value.len < room ? pair->value.len : room;
    }
    return at;
}

size_t log_line_build(char out[static LOG_LINE_MAX], const struct log_line *line)
{
    char *at = add(out, STR("{\"ts\":\""));
    at = add_time(at, line->wall_ms);
    at = add(at, STR("\",\"level\":\""));
    at = add(at, str_of(line->level));
    at = add(at, STR("\",\"event\":\""));
    at = add_escaped(at, line->event, LOG_EVENT_MAX);
    at = add(at, STR("\",\"msg\":\""));
    at = add_escaped(at, line->message, LOG_MESSAGE_MAX);
    if (line->cut || line->message.len > LOG_MESSAGE_MAX) {
        at = add(at, STR("\xe2\x80\xa6"));
    }
    *at++ = '"';
    at = add_pairs(at, line);
    if (line->suppressed) {
        char text[40];
        int len = snprintf(text, sizeof(text), ",\"suppressed\":%llu",
                           (unsigned long long)line->suppressed);
        at = add(at, (struct str){text, (size_t)len});
    }
    at = add(at, STR("}\n"));
    return (size_t)(at - out);
}
