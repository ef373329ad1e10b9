/* A borrowed run of bytes, not NUL-terminated. Pure. */
#ifndef TIDEGATE_BASE_STR_H
#define TIDEGATE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct str {
    const char *ptr;
    size_t len;
};

/* STR("literal") */
#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})

/* printf("%.*s", STR_ARG(name)) */
#define STR_ARG(s) (int)(s).len, (s).ptr

static inline struct str str_of(const char *text)
{
    return (struct str){text, text ? strlen(text) : 0};
}

static inline struct str str_make(const void *ptr, size_t len)
{
    return (struct str){(const char *)ptr, len};
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Below, equal to or above 0, byte by byte: of UTF-8 the order of the code points. */
static inline int str_compare(struct str a, struct str b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* ASCII letters only. */
static inline bool str_equal_nocase(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool str_starts_with(struct str s, struct str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool str_ends_with(struct str s, struct str end)
{
    return s.len >= end.len && memcmp(s.ptr + s.len - end.len, end.ptr, end.len) == 0;
}

/* Without the spaces and tabs (RFC 9110 5.6.3 OWS) at both ends. */
struct str str_trim(struct str s);

/* Cuts the part before the first sep from *rest and moves *rest behind it; false when *rest is used
 * up. "a,,b" gives "a", "", "b". Start with a copy of the whole; a rest with ptr NULL is used up.
 */
bool str_split(struct str *rest, char sep, struct str *out_part);

/* Decimal digits only: no sign, no space, no leading '+'. False when empty, other, or over max. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *out_value);

/* The bytes of the first character, 1 to 4; 0 when s is empty or does not begin with well-formed
 * UTF-8 (RFC 3629: no overlong form, no surrogate, nothing over U+10FFFF). */
size_t str_utf8_width(struct str s);

/* '*' at the end of the pattern matches any rest ("room:*"); anything else matches itself. */
bool str_matches_pattern(struct str s, struct str pattern);

#endif
