/* The header section of an HTTP/1.1 message (RFC 9112 section 5), for requests and responses alike.
 * Strict: CRLF only, no folding, no space before the colon, names are tokens, values hold no
 * control byte but the tab (bytes from 0x80 on pass as they are). Pure: no allocation; everything
 * borrows from the bytes that were parsed. */
#ifndef TIDEGATE_PROTO_HTTP_FIELDS_H
#define TIDEGATE_PROTO_HTTP_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"
#include "proto/http_refusal.h"

#define HTTP_HEADERS_MAX 100 /* the most a limit can allow */

struct http_limits {
    uint32_t target_bytes; /* the request target; over it 414 */
    uint32_t line_bytes;   /* one header line without its CRLF; over it 431 */
    uint32_t head_bytes;   /* all of the head, its last empty line too; over it 431 */
    uint32_t headers;      /* header lines; over it, or over HTTP_HEADERS_MAX, 431 */
};

#define HTTP_LIMITS_DEFAULT ((struct http_limits){8192, 8192, 16384, HTTP_HEADERS_MAX})

/* Names that are looked up by number. Ordered by length; the names stand in http_fields.c. */
enum http_field {
    HTTP_FIELD_OTHER,
    HTTP_FIELD_HOST,
    HTTP_FIELD_COOKIE,
    HTTP_FIELD_EXPECT,
    HTTP_FIELD_ORIGIN,
    HTTP_FIELD_UPGRADE,
    HTTP_FIELD_CONNECTION,
    HTTP_FIELD_USER_AGENT,
    HTTP_FIELD_TRACEPARENT,
    HTTP_FIELD_CONTENT_TYPE,
    HTTP_FIELD_X_REQUEST_ID,
    HTTP_FIELD_AUTHORIZATION,
    HTTP_FIELD_LAST_EVENT_ID,
    HTTP_FIELD_CONTENT_LENGTH,
    HTTP_FIELD_IDEMPOTENCY_KEY,
    HTTP_FIELD_X_FORWARDED_FOR,
    HTTP_FIELD_TIDEGATE_SESSION,
    HTTP_FIELD_TRANSFER_ENCODING,
    HTTP_FIELD_SEC_WEBSOCKET_KEY,
    HTTP_FIELD_SEC_WEBSOCKET_ACCEPT,
    HTTP_FIELD_SEC_WEBSOCKET_VERSION,
    HTTP_FIELD_SEC_WEBSOCKET_PROTOCOL,
    HTTP_FIELD_SEC_WEBSOCKET_EXTENSIONS,
    HTTP_FIELDS,
};

struct http_header {
    struct str name;  /* as sent: compare without case */
    struct str value; /* without the white space around it; may be empty */
    enum http_field field;
};

struct http_fields {
    uint32_t count;
    uint32_t repeated;          /* bit 1 << field: that field has several lines */
    uint8_t first[HTTP_FIELDS]; /* 1 + the index of the field's first line, 0: there is none */
    struct http_header headers[HTTP_HEADERS_MAX]; /* count of them, in the order sent */
};

/* Parses header lines and the empty line behind them. Returns the bytes consumed, 0 when data ends
 * before the empty line, or the http_refusal_err() of *out_refusal. */
ssize_t http_fields_parse(struct http_fields *out_fields, const struct http_limits *limits,
                          const uint8_t *data, size_t len, enum http_refusal *out_refusal);

/* The value of the first line of a field; ptr is NULL when there is none. Not for OTHER. */
static inline struct str http_fields_get(const struct http_fields *fields, enum http_field field)
{
    unsigned at = fields->first[field];
    return at ? fields->headers[at - 1].value : (struct str){NULL, 0};
}

static inline bool http_fields_has(const struct http_fields *fields, enum http_field field)
{
    return fields->first[field] != 0;
}

/* The field stands there exactly once. */
static inline bool http_fields_has_one(const struct http_fields *fields, enum http_field field)
{
    return fields->first[field] && !(fields->repeated & (1u << field));
}

/* By any name, without case: the first value (ptr NULL: none), and the number of lines. */
struct str http_fields_find(const struct http_fields *fields, struct str name);
size_t http_fields_count(const struct http_fields *fields, struct str name);

/* Walks the items of a comma-separated list over all lines of a field, without the white space
 * around them and without the empty ones (RFC 9110 5.6.1). Start with {0}. */
struct http_list {
    struct str rest;
    uint32_t next_header;
};
bool http_fields_next_item(const struct http_fields *fields, enum http_field field,
                           struct http_list *list, struct str *out_item);

/* Some line of the field lists this token, in any case. */
bool http_fields_list_has(const struct http_fields *fields, enum http_field field,
                          struct str token);

/* One or more of RFC 9110's tchar. */
bool http_is_token(struct str s);

/* The length of the token at the start of data: 0 to len. */
size_t http_token_len(const uint8_t *data, size_t len);

#endif
