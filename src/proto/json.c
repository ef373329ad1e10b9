#include "proto/json.h"

#include "base/err.h"
#include "proto/json_bytes.h"

/* Marks what ends the plain part of a string: quote, backslash, control, not ASCII. */
static uint64_t has_special(uint64_t word)
{
    uint64_t control = (word - JSON_ONES * 0x20) & ~word;
    return (json_has_byte(word, '"') | json_has_byte(word, '\\') | control | word) & JSON_HIGHS;
}

static bool is_special(unsigned char c)
{
    return c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
}

struct parser {
    const char *at; /* on failure: the offending byte */
    const char *end;
    int err;
    unsigned depth;
    unsigned max_depth;
    uint64_t objects[JSON_MAX_DEPTH / 64]; /* a bit a level: this one is an object */
};

static bool fail(struct parser *p, int err)
{
    p->err = err;
    return false;
}

static void skip_space(struct parser *p)
{
    while (p->at < p->end && json_is_space(*p->at)) {
        p->at++;
    }
}

static bool check_hex4(struct parser *p, unsigned *out_unit)
{
    unsigned unit = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        int digit = p->at < p->end ? json_hex_digit(*p->at) : -1;
        if (digit < 0) {
            return fail(p, ERR_SYNTAX);
        }
        unit = unit * 16 + (unsigned)digit;
    }
    *out_unit = unit;
    return true;
}

/* Behind `\u`. RFC 8259 section 8.2 leaves lone surrogates open; no UTF-8 exists for them, so they
 * are refused here. */
static bool check_unicode_escape(struct parser *p)
{
    unsigned unit;
    if (!check_hex4(p, &unit)) {
        return false;
    }
    if (unit < 0xd800 || unit > 0xdfff) {
        return true;
    }
    if (unit > 0xdbff) {
        p->at -= 4;
        return fail(p, ERR_SYNTAX);
    }
    for (const char *want = "\\u"; *want; want++, p->at++) {
        if (p->at == p->end || *p->at != *want) {
            return fail(p, ERR_SYNTAX);
        }
    }
    if (!check_hex4(p, &unit)) {
        return false;
    }
    if (unit < 0xdc00 || unit > 0xdfff) {
        p->at -= 4;
        return fail(p, ERR_SYNTAX);
    }
    return true;
}

static bool check_escape(struct parser *p)
{
    p->at++;
    if (p->at == p->end) {
        return fail(p, ERR_SYNTAX);
    }
    switch (*p->at) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': p->at++; return true;
    case 'u': p->at++; return check_unicode_escape(p);
    default: return fail(p, ERR_SYNTAX);
    }
}

/* One sequence of two to four bytes: RFC 3629 section 4, no overlong forms, no surrogates. */
static bool check_utf8(struct parser *p)
{
    const unsigned char *s = (const unsigned char *)p->at;
    unsigned char low = 0x80, high = 0xbf; /* bounds of the second byte */
    size_t len;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        len = 2;
    } else if ((s[0] & 0xf0) == 0xe0) {
        len = 3;
        low = s[0] == 0xe0 ? 0xa0 : low;
        high = s[0] == 0xed ? 0x9f : high;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        len = 4;
        low = s[0] == 0xf0 ? 0x90 : low;
        high = s[0] == 0xf4 ? 0x8f : high;
    } else {
        return fail(p, ERR_UTF8);
    }
    for (size_t i = 1; i < len; i++, low = 0x80, high = 0xbf) {
        if ((size_t)(p->end - p->at) <= i || s[i] < low || s[i] > high) {
            return fail(p, ERR_UTF8);
        }
    }
    p->at += len;
    return true;
}

static const char *skip_plain(const char *at, const char *end)
{
    while (end - at >= 8) {
        uint64_t marks = has_special(json_load_word(at));
        if (marks) {
            return at + json_first_mark(marks);
        }
        at += 8;
    }
    while (at < end && !is_special((unsigned char)*at)) {
        at++;
    }
    return at;
}

/* From the opening quote to behind the closing one. */
static bool check_string(struct parser *p)
{
    p->at++;
    for (;;) {
        p->at = skip_plain(p->at, p->end);
        if (p->at == p->end) {
            return fail(p, ERR_SYNTAX);
        }
        unsigned char c = (unsigned char)*p->at;
        if (c == '"') {
            p->at++;
            return true;
        }
        if (c < 0x20) {
            return fail(p, ERR_SYNTAX);
        }
        if (!(c == '\\' ? check_escape(p) : check_utf8(p))) {
            return false;
        }
    }
}

static bool check_digits(struct parser *p)
{
    if (p->at == p->end || !json_is_digit(*p->at)) {
        return fail(p, ERR_SYNTAX);
    }
    while (p->at < p->end && json_is_digit(*p->at)) {
        p->at++;
    }
    return true;
}

/* RFC 8259 section 6: [ minus ] int [ frac ] [ exp ], no leading zeros. */
static bool check_number(struct parser *p)
{
    if (*p->at == '-') {
        p->at++;
    }
    if (p->at < p->end && *p->at == '0') {
        p->at++;
    } else if (!check_digits(p)) {
        return false;
    }
    if (p->at < p->end && *p->at == '.') {
        p->at++;
        if (!check_digits(p)) {
            return false;
        }
    }
    if (p->at < p->end && (*p->at | 0x20) == 'e') {
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-')) {
            p->at++;
        }
        return check_digits(p);
    }
    return true;
}

static bool check_literal(struct parser *p, const char *word)
{
    for (; *word; word++, p->at++) {
        if (p->at == p->end || *p->at != *word) {
            return fail(p, ERR_SYNTAX);
        }
    }
    return true;
}

static bool check_scalar(struct parser *p)
{
    switch (*p->at) {
    case '"': return check_string(p);
    case 't': return check_literal(p, "true");
    case 'f': return check_literal(p, "false");
    case 'n': return check_literal(p, "null");
    default: return json_is_digit(*p->at) || *p->at == '-' ? check_number(p) : fail(p, ERR_SYNTAX);
    }
}

static bool in_object(const struct parser *p)
{
    unsigned level = p->depth - 1;
    return p->objects[level / 64] >> (level % 64) & 1;
}

static bool open_bracket(struct parser *p)
{
    if (p->depth == p->max_depth) {
        return fail(p, ERR_TOO_LARGE);
    }
    uint64_t bit = (uint64_t)1 << (p->depth % 64);
    uint64_t *bits = &p->objects[p->depth / 64];
    *bits = *p->at == '{' ? *bits | bit : *bits & ~bit;
    p->depth++;
    p->at++;
    skip_space(p);
    return true;
}

static bool at_char(const struct parser *p, char c)
{
    return p->at < p->end && *p->at == c;
}

/* `"key" :` and the space around. */
static bool check_key(struct parser *p)
{
    if (!at_char(p, '"')) {
        return fail(p, ERR_SYNTAX);
    }
    if (!check_string(p)) {
        return false;
    }
    skip_space(p);
    if (!at_char(p, ':')) {
        return fail(p, ERR_SYNTAX);
    }
    p->at++;
    skip_space(p);
    return true;
}

/* Behind a value: closes what ends here, and goes to where the next value starts. */
static bool check_after_value(struct parser *p)
{
    while (p->depth > 0) {
        skip_space(p);
        bool object = in_object(p);
        if (at_char(p, ',')) {
            p->at++;
            skip_space(p);
            return object ? check_key(p) : true;
        }
        if (!at_char(p, object ? '}' : ']')) {
            return fail(p, ERR_SYNTAX);
        }
        p->at++;
        p->depth--;
    }
    return true;
}

/* On a bracket: opens it and goes to its first value. *out_empty: it closed at once. */
static bool check_open(struct parser *p, bool *out_empty)
{
    bool object = *p->at == '{';
    if (!open_bracket(p)) {
        return false;
    }
    *out_empty = at_char(p, object ? '}' : ']');
    if (*out_empty) {
        p->at++;
        p->depth--;
        return true;
    }
    return object ? check_key(p) : true;
}

/* One whole value, without recursion. */
static bool check_value(struct parser *p)
{
    do {
        if (p->at == p->end) {
            return fail(p, ERR_SYNTAX);
        }
        if (*p->at == '{' || *p->at == '[') {
            bool empty;
            if (!check_open(p, &empty)) {
                return false;
            }
            if (!empty) {
                continue;
            }
        } else if (!check_scalar(p)) {
            return false;
        }
        if (!check_after_value(p)) {
            return false;
        }
    } while (p->depth > 0);
    return true;
}

int json_parse(struct json_value *out_value, struct str text, unsigned max_depth,
               size_t *out_error_offset)
{
    struct parser p;
    p.at = text.ptr;
    p.end = text.ptr + text.len;
    p.depth = 0;
    p.max_depth = max_depth < JSON_MAX_DEPTH ? max_depth : JSON_MAX_DEPTH;
    p.objects[0] = p.objects[1] = 0;

    skip_space(&p);
    const char *from = p.at;
    bool ok = check_value(&p);
    if (ok) {
        const char *to = p.at;
        skip_space(&p);
        if (p.at == p.end) {
            *out_value = json_make_value(from, to);
            return 0;
        }
        p.err = ERR_SYNTAX;
    }
    if (out_error_offset) {
        *out_error_offset = (size_t)(p.at - text.ptr);
    }
    return p.err;
}
