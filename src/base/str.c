#include "base/str.h"

static bool is_ows(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    while (s.len > 0 && is_ows(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_ows(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

bool str_split(struct str *rest, char sep, struct str *out_part)
{
    if (!rest->ptr) {
        return false;
    }
    const char *at = rest->len ? memchr(rest->ptr, sep, rest->len) : NULL;
    if (!at) {
        *out_part = *rest;
        *rest = (struct str){NULL, 0};
        return true;
    }
    size_t len = (size_t)(at - rest->ptr);
    *out_part = (struct str){rest->ptr, len};
    *rest = (struct str){at + 1, rest->len - len - 1};
    return true;
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *out_value)
{
    if (s.len == 0) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.ptr[i] - '0';
        if (digit > 9 || digit > max || value > (max - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out_value = value;
    return true;
}

bool str_matches_pattern(struct str s, struct str pattern)
{
    if (pattern.len > 0 && pattern.ptr[pattern.len - 1] == '*') {
        return str_starts_with(s, (struct str){pattern.ptr, pattern.len - 1});
    }
    return str_equal(s, pattern);
}
