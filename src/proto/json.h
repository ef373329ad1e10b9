/* A strict JSON reader (RFC 8259) over text in memory, and the writers that go with it.
 *
 * json_parse walks the text once and checks all of it: structure, number grammar, escapes (a lone
 * surrogate is refused), UTF-8 inside strings, depth, nothing behind the value. What it gives back,
 * and what the functions below take out of it, are spans of the same text: nothing is copied,
 * nothing is allocated, numbers keep every digit. So `data` can be passed on as it was received.
 *
 * Duplicate keys are not json_parse's business: inside `data` they belong to the application. The
 * objects that we give a meaning to are read with json_read_fields, which refuses them.
 *
 * Values are borrowed from the text. Pure; any thread. */
#ifndef TIDEGATE_PROTO_JSON_H
#define TIDEGATE_PROTO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum {
    JSON_MAX_DEPTH = 128,  /* the most that max_depth may ask for */
    JSON_MAX_FIELDS = 32,  /* the most that json_read_fields knows */
    JSON_MAX_UNIQUE = 256, /* the most keys that json_check_unique_keys compares */
};

/* Named apart from those of jansson, which some files include beside this one. */
enum json_type {
    JSON_TYPE_NONE, /* an absent field; never made by json_parse */
    JSON_TYPE_NULL,
    JSON_TYPE_FALSE,
    JSON_TYPE_TRUE,
    JSON_TYPE_NUMBER,
    JSON_TYPE_STRING,
    JSON_TYPE_ARRAY,
    JSON_TYPE_OBJECT,
};

struct json_value {
    enum json_type type;
    struct str raw; /* as received: quotes and brackets included, no white space around */
};

/* Checks the whole text. 0, or ERR_SYNTAX, ERR_UTF8 (inside a string), ERR_TOO_LARGE (an array or
 * object nested deeper than max_depth: 1 allows `[1]`, 0 scalars only). On failure
 * *out_error_offset (may be NULL) is the byte that can't stand there, text.len when it ends early.
 */
int json_parse(struct json_value *out_value, struct str text, unsigned max_depth,
               size_t *out_error_offset);

/* --- Reading a value that json_parse has passed. Any other text is our own mistake. --- */

struct json_iter {
    const char *at;
    const char *end; /* the closing bracket */
    bool is_object;
};

/* Over the members of an object or the elements of an array; a value of another type has none. */
void json_iter_init(struct json_iter *iter, struct json_value value);

/* False at the end. out_key may be NULL; it is a JSON_TYPE_STRING, or JSON_TYPE_NONE in an array.
 */
bool json_next(struct json_iter *iter, struct json_value *out_key, struct json_value *out_value);

/* The first member with this (unescaped) name; false when absent or value is not an object. */
bool json_get(struct json_value value, struct str name, struct json_value *out_value);

/* One member that json_read_fields looks for; leave value out of the initializer. */
struct json_field {
    struct str name;         /* unescaped */
    struct json_value value; /* JSON_TYPE_NONE when absent */
};

/* Fills the values of the fields (at most JSON_MAX_FIELDS) from one walk over the object.
 * ERR_SYNTAX: not an object. ERR_EXISTS: a known key is there twice, however it is escaped.
 * Other keys are skipped; their number goes to *out_unknown (may be NULL). All values are set
 * to JSON_TYPE_NONE first, also on failure. */
int json_read_fields(struct json_value object, struct json_field *fields, size_t count,
                     size_t *out_unknown);

/* 0 when no two keys of the object are equal; ERR_EXISTS; ERR_TOO_LARGE over JSON_MAX_UNIQUE keys.
 * For objects whose keys are data (attributes, headers). */
int json_check_unique_keys(struct json_value object);

/* The text between the quotes when it has no escapes: the common case, no copy. False for a string
 * with escapes and for other types. */
bool json_string_plain(struct json_value value, struct str *out_text);

/* The unescaped text: borrowed from the value when that is possible, else written to scratch.
 * ERR_SYNTAX: not a string. ERR_TOO_LARGE: over cap bytes, whichever way. May hold NULs
 * (escaped ones) unless you check. */
int json_string_text(struct json_value value, char *scratch, size_t cap, struct str *out_text);

/* Appends the unescaped text. ERR_SYNTAX when it is not a string, or the buffer's failure. */
int json_string_append(struct json_value value, struct buf *out);

/* A string value that says exactly this text, however it is escaped. */
bool json_equals(struct json_value value, struct str text);

/* A non-negative integer written as digits alone (no fraction, no exponent), at most max. */
bool json_u64(struct json_value value, uint64_t max, uint64_t *out_number);

/* Any number that a double can hold, of at most 63 bytes; the nearest one. */
bool json_double(struct json_value value, double *out_number);

bool json_bool(struct json_value value, bool *out_bool);

/* --- Writing. All append; check buf_err() once at the end. --- */

/* The quoted string. text is valid UTF-8; only what JSON demands is escaped. */
void json_write_string(struct buf *out, struct str text);

/* A comma, unless what is written last is an opening bracket, a colon, a comma or nothing. */
void json_write_comma(struct buf *out);

/* `"name":` with the comma before it that it needs. */
void json_write_key(struct buf *out, struct str name);

/* `"name":value`, with the comma. */
void json_write_string_field(struct buf *out, struct str name, struct str text);
void json_write_u64_field(struct buf *out, struct str name, uint64_t number);
void json_write_bool_field(struct buf *out, struct str name, bool value);
void json_write_raw_field(struct buf *out, struct str name, struct str json);

#endif
