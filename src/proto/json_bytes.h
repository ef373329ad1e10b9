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
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word); /* the first byte is the least significant one */
#endif
    return word;
}

/* 0x80 in the first byte that is zero; what stands in the bytes behind that one means nothing. 0
 * when none is. */
static inline uint64_t json_has_zero(uint64_t word)
{
    return (word - JSON_ONES) & ~word & JSON_HIGHS;
}

static inline uint64_t json_has_byte(uint64_t word, uint8_t byte)
{
    return json_has_zero(word ^ (JSON_ONES * byte));
}

/* The place in memory of the first byte that a mask of json_has_zero's kind marks; not for 0. Masks
 * may be or-ed: the first mark of each is true. */
static inline size_t json_first_mark(uint64_t mask)
{
    return (size_t)__builtin_ctzll(mask) / 8;
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
