/* What the two halves of the JSON reader share: bytes, eight at a time and one at a time. */
#ifndef TIDEGATE_PROTO_JSON_BYTES_H
#define TIDEGATE_PROTO_JSON_BYTES_H

#include "proto/json.h"

#define JSON_ONES 0x0101010101010101u
#define JSON_HIGHS 0x8080808080808080u

static inline uint64_t json_load_word(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* Non-zero when, and only when, a byte of the word is zero; not to be asked which. */
static inline uint64_t json_has_zero(uint64_t word)
{
    return (word - JSON_ONES) & ~word & JSON_HIGHS;
}

static inline uint64_t json_has_byte(uint64_t word, uint8_t byte)
{
    return json_has_zero(word ^ (JSON_ONES * byte));
}

static inline bool json_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool json_is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

static inline int json_hex_digit(char c)
{
    if (json_is_digit(c)) {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static inline enum json_type json_type_of(char first)
{
    switch (first) {
    case '{': return JSON_TYPE_OBJECT;
    case '[': return JSON_TYPE_ARRAY;
    case '"': return JSON_TYPE_STRING;
    case 't': return JSON_TYPE_TRUE;
    case 'f': return JSON_TYPE_FALSE;
    case 'n': return JSON_TYPE_NULL;
    default: return JSON_TYPE_NUMBER;
    }
}

static inline struct json_value json_make_value(const char *from, const char *to)
{
    return (struct json_value){json_type_of(*from), str_make(from, (size_t)(to - from))};
}

#endif
