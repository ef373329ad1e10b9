/* Takes values out of text that json_parse has passed. */
#include "proto/json.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"
#include "proto/json_bytes.h"

/* --- Walking over text that was checked: no bounds but the closing bracket's are needed. --- */

/* The quote or backslash at or behind at. A closing quote is there, so words are read only while
 * they lie before end. */
static const char *find_quote_or_backslash(const char *at, const char *end)
{
    while (end - at >= 8) {
        uint64_t word = json_load_word(at);
        uint64_t marks = json_has_byte(word, '"') | json_has_byte(word, '\\');
        if (marks) {
            return at + json_first_mark(marks);
        }
        at += 8;
    }
    while (*at != '"' && *at != '\\') {
        at++;
    }
    return at;
}

/* From the opening quote to behind the closing one. */
static const char *after_string(const char *at, const char *end)
{
    at = find_quote_or_backslash(at + 1, end);
    while (*at == '\\') {
        at = find_quote_or_backslash(at + 2, end);
    }
    return at + 1;
}

static const char *after_brackets(const char *at, const char *end)
{
    unsigned depth = 0;
    do {
        switch (*at) {
        case '{':
        case '[': depth++; break;
        case '}':
        case ']': depth--; break;
        case '"': at = after_string(at, end); continue;
        default: break;
        }
        at++;
    } while (depth > 0);
    return at;
}

static const char *after_value(const char *at, const char *end)
{
    if (*at == '"') {
        return after_string(at, end);
    }
    if (*at == '{' || *at == '[') {
        return after_brackets(at, end);
    }
    while (at < end && *at != ',' && !json_is_space(*at)) {
        at++;
    }
    return at;
}

static const char *after_space(const char *at, const char *end)
{
    while (at < end && json_is_space(*at)) {
        at++;
    }
    return at;
}

void json_iter_init(struct json_iter *iter, struct json_value value)
{
    *iter = (struct json_iter){0};
    if (value.type == JSON_TYPE_OBJECT || value.type == JSON_TYPE_ARRAY) {
        iter->is_object = value.type == JSON_TYPE_OBJECT;
        iter->end = value.raw.ptr + value.raw.len - 1;
        iter->at = after_space(value.raw.ptr + 1, iter->end);
    }
}

static struct json_value take_value(struct json_iter *iter)
{
    const char *from = iter->at;
    iter->at = after_value(from, iter->end);
    return json_make_value(from, iter->at);
}

bool json_next(struct json_iter *iter, struct json_value *out_key, struct json_value *out_value)
{
    if (iter->at == iter->end) {
        return false;
    }
    struct json_value key = {0};
    if (iter->is_object) {
        key = take_value(iter);
        iter->at = after_space(iter->at, iter->end) + 1; /* the colon */
        iter->at = after_space(iter->at, iter->end);
    }
    if (out_key) {
        *out_key = key;
    }
    *out_value = take_value(iter);
    iter->at = after_space(iter->at, iter->end);
    if (iter->at < iter->end) {
        iter->at = after_space(iter->at + 1, iter->end); /* the comma */
    }
    return true;
}

/* --- Strings --- */

static struct str inside(struct json_value string)
{
    return str_make(string.raw.ptr + 1, string.raw.len - 2);
}

static bool has_escape(struct str text)
{
    return text.len > 0 && memchr(text.ptr, '\\', text.len) != NULL;
}

bool json_string_plain(struct json_value value, struct str *out_text)
{
    if (value.type != JSON_TYPE_STRING || has_escape(inside(value))) {
        return false;
    }
    *out_text = inside(value);
    return true;
}

static unsigned hex4(const char *at)
{
    unsigned unit = 0;
    for (int i = 0; i < 4; i++) {
        unit = unit * 16 + (unsigned)json_hex_digit(at[i]);
    }
    return unit;
}

static size_t write_utf8(char out[4], unsigned point)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t len = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--, point >>= 6) {
        out[i] = (char)(0x80 | (point & 0x3f));
    }
    out[0] = (char)(lead[len] | point);
    return len;
}

/* Takes one escape or one plain byte from *text, writes 1 to 4 bytes and returns how many. */
static size_t decode_one(char out[4], struct str *text)
{
    const char *at = text->ptr;
    size_t used = 2;
    size_t written = 1;
    if (at[0] != '\\') {
        out[0] = at[0];
        used = 1;
    } else if (at[1] == 'u') {
        unsigned point = hex4(at + 2);
        used = 6;
        if (point >= 0xd800 && point <= 0xdbff) {
            point = 0x10000 + ((point - 0xd800) << 10) + (hex4(at + 8) - 0xdc00);
            used = 12;
        }
        written = write_utf8(out, point);
    } else {
        static const char from[] = "bfnrt";
        const char *special = strchr(from, at[1]);
        out[0] = special ? "\b\f\n\r\t"[special - from] : at[1];
    }
    *text = str_make(at + used, text->len - used);
    return written;
}

/* The result is never longer than the source. */
static int decode(char *out, size_t cap, struct str source, size_t *out_len)
{
    size_t len = 0;
    while (source.len > 0) {
        char bytes[4];
        size_t count = decode_one(bytes, &source);
        if (count > cap - len) {
            return ERR_TOO_LARGE;
        }
        memcpy(out + len, bytes, count);
        len += count;
    }
    *out_len = len;
    return 0;
}

int json_string_text(struct json_value value, char *scratch, size_t cap, struct str *out_text)
{
    if (value.type != JSON_TYPE_STRING) {
        return ERR_SYNTAX;
    }
    struct str text = inside(value);
    if (!has_escape(text)) {
        if (text.len > cap) {
            return ERR_TOO_LARGE;
        }
        *out_text = text;
        return 0;
    }
    size_t len;
    int err = decode(scratch, cap, text, &len);
    if (!err) {
        *out_text = str_make(scratch, len);
    }
    return err;
}

int json_string_append(struct json_value value, struct buf *out)
{
    if (value.type != JSON_TYPE_STRING) {
        return ERR_SYNTAX;
    }
    struct str text = inside(value);
    if (!has_escape(text)) {
        return buf_append_str(out, text);
    }
    uint8_t *to = buf_reserve(out, text.len);
    if (!to) {
        return buf_err(out);
    }
    size_t len = 0;
    int err = decode((char *)to, text.len, text, &len);
    out->len += len;
    return err;
}

/* Gives the unescaped bytes of a text one by one. */
struct byte_reader {
    struct str rest;
    bool escaped; /* false: the text means itself */
    uint8_t count, at;
    char bytes[4];
};

static int next_byte(struct byte_reader *reader)
{
    if (reader->at == reader->count) {
        if (reader->rest.len == 0) {
            return -1;
        }
        reader->at = 0;
        if (reader->escaped) {
            reader->count = (uint8_t)decode_one(reader->bytes, &reader->rest);
        } else {
            reader->count = 1;
            reader->bytes[0] = *reader->rest.ptr++;
            reader->rest.len--;
        }
    }
    return (unsigned char)reader->bytes[reader->at++];
}

static bool unescaped_equal(struct str a, bool a_escaped, struct str b, bool b_escaped)
{
    struct byte_reader left = {.rest = a, .escaped = a_escaped};
    struct byte_reader right = {.rest = b, .escaped = b_escaped};
    int byte;
    do {
        byte = next_byte(&left);
        if (byte != next_byte(&right)) {
            return false;
        }
    } while (byte >= 0);
    return true;
}

static bool texts_equal(struct str a, bool a_escaped, struct str b, bool b_escaped)
{
    return a_escaped || b_escaped ? unescaped_equal(a, a_escaped, b, b_escaped) : str_equal(a, b);
}

bool json_equals(struct json_value value, struct str text)
{
    if (value.type != JSON_TYPE_STRING) {
        return false;
    }
    struct str mine = inside(value);
    return texts_equal(mine, has_escape(mine), text, false);
}

/* --- Objects --- */

bool json_get(struct json_value value, struct str name, struct json_value *out_value)
{
    struct json_iter iter;
    struct json_value key, member;
    json_iter_init(&iter, value);
    while (iter.is_object && json_next(&iter, &key, &member)) {
        if (json_equals(key, name)) {
            *out_value = member;
            return true;
        }
    }
    return false;
}

static struct json_field *find_field(struct json_field *fields, size_t count, struct json_value key)
{
    struct str text = inside(key);
    bool escaped = has_escape(text);
    for (size_t i = 0; i < count; i++) {
        if (texts_equal(text, escaped, fields[i].name, false)) {
            return &fields[i];
        }
    }
    return NULL;
}

int json_read_fields(struct json_value object, struct json_field *fields, size_t count,
                     size_t *out_unknown)
{
    ASSERT(count <= JSON_MAX_FIELDS);
    for (size_t i = 0; i < count; i++) {
        fields[i].value = (struct json_value){0};
    }
    if (object.type != JSON_TYPE_OBJECT) {
        return ERR_SYNTAX;
    }
    struct json_iter iter;
    struct json_value key, member;
    size_t unknown = 0;
    json_iter_init(&iter, object);
    while (json_next(&iter, &key, &member)) {
        struct json_field *field = find_field(fields, count, key);
        if (!field) {
            unknown++;
        } else if (field->value.type != JSON_TYPE_NONE) {
            return ERR_EXISTS;
        } else {
            field->value = member;
        }
    }
    if (out_unknown) {
        *out_unknown = unknown;
    }
    return 0;
}

int json_check_unique_keys(struct json_value object)
{
    struct {
        struct str text;
        bool escaped;
    } keys[JSON_MAX_UNIQUE];
    size_t count = 0;
    struct json_iter iter;
    struct json_value key, member;
    json_iter_init(&iter, object);
    while (iter.is_object && json_next(&iter, &key, &member)) {
        struct str text = inside(key);
        bool escaped = has_escape(text);
        for (size_t i = 0; i < count; i++) {
            if (texts_equal(keys[i].text, keys[i].escaped, text, escaped)) {
                return ERR_EXISTS;
            }
        }
        if (count == JSON_MAX_UNIQUE) {
            return ERR_TOO_LARGE;
        }
        keys[count].text = text;
        keys[count++].escaped = escaped;
    }
    return 0;
}

/* --- Scalars --- */

bool json_u64(struct json_value value, uint64_t max, uint64_t *out_number)
{
    return value.type == JSON_TYPE_NUMBER && str_to_u64(value.raw, max, out_number);
}

bool json_double(struct json_value value, double *out_number)
{
    char text[64];
    if (value.type != JSON_TYPE_NUMBER || value.raw.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, value.raw.ptr, value.raw.len);
    text[value.raw.len] = '\0';
    double number = strtod(text, NULL);
    if (!isfinite(number)) {
        return false;
    }
    *out_number = number;
    return true;
}

bool json_bool(struct json_value value, bool *out_bool)
{
    if (value.type != JSON_TYPE_TRUE && value.type != JSON_TYPE_FALSE) {
        return false;
    }
    *out_bool = value.type == JSON_TYPE_TRUE;
    return true;
}
