/* What the JSON tests share. */
#ifndef TIDEGATE_PROTO_JSON_TEST_HELP_H
#define TIDEGATE_PROTO_JSON_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proto/json.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Parses a copy whose last byte is the last byte of its block, so that a sanitizer sees one byte
 * too many. The block lives until the next call. */
static inline int parse(struct json_value *out, struct str text, unsigned max_depth, size_t *out_at)
{
    static char *block;
    free(block);
    block = malloc(text.len ? text.len : 1);
    memcpy(block, text.ptr, text.len);
    return json_parse(out, str_make(block, text.len), max_depth, out_at);
}

static inline struct json_value parsed(const char *text)
{
    struct json_value value = {0};
    assert_int_equal(parse(&value, str_of(text), JSON_MAX_DEPTH, NULL), 0);
    return value;
}

static inline void assert_text(struct str text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.ptr, expected, text.len);
}

#endif
