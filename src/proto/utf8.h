/* Is it UTF-8 (RFC 3629)? Whole or in pieces: surrogates, overlong forms and code points above
 * U+10FFFF are refused. Pure. */
#ifndef TIDEGATE_PROTO_UTF8_H
#define TIDEGATE_PROTO_UTF8_H

#include "base/str.h"

/* Where a text stands between two pieces; {0} is the start. */
struct utf8 {
    uint8_t state; /* 0: between code points */
};

/* False when the data holds a byte that cannot follow what came before; the text is then bad for
 * good and every later call says so too. A code point cut at the end of the data is no error. */
bool utf8_feed(struct utf8 *utf8, const void *data, size_t len);

/* True between code points: a text may end only here. */
static inline bool utf8_is_complete(const struct utf8 *utf8)
{
    return utf8->state == 0;
}

/* The whole text at once. */
bool utf8_is_valid(struct str text);

/* The longest beginning of a valid text of at most max bytes that cuts no code point. */
struct str utf8_truncate(struct str text, size_t max);

#endif
