/* Parses the head of an HTTP/1.1 or 1.0 request, strictly (RFC 9110, RFC 9112): what two parsers
 * could read differently is refused. Pure: no I/O, no allocation, no clock; every string borrows
 * from the bytes that were parsed, so these must stay where they are while the request is used.
 *
 * Choices where the RFC leaves one:
 *   - one empty line (CRLF) before the request line is skipped, a second one is refused
 *   - any token is a method: what the router doesn't know it answers with 405; CONNECT is refused
 *   - the target is in origin form ("/path?query"), in absolute form (http or https; its authority
 *     then is the host, whatever the Host header says), or "*" with OPTIONS
 *   - the target holds visible ASCII but  " # < >
 *   - HTTP/1.1 needs exactly one Host, HTTP/1.0 may go without: a name, an IPv4 address or a
 *     bracketed IPv6 address, and perhaps a port; never empty
 *   - Content-Length stands there at most once, digits only; Transfer-Encoding is "chunked" or
 *     nothing, never beside Content-Length, never in HTTP/1.0
 */
#ifndef TIDEGATE_PROTO_HTTP_REQUEST_H
#define TIDEGATE_PROTO_HTTP_REQUEST_H

#include "proto/http_fields.h"

enum http_method {
    HTTP_METHOD_OTHER, /* a token that is none of these; see method_text */
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_TRACE,
    HTTP_METHODS,
};

struct http_request {
    enum http_method method;
    uint8_t minor_version; /* 1 or 0 */
    bool chunked;
    bool keep_alive;        /* the client lets the connection serve another request */
    bool expect_continue;   /* it waits for "100 Continue" before it sends the body it announced */
    bool expect_unknown;    /* some other expectation: answer 417 */
    bool upgrade_websocket; /* HTTP/1.1, Connection lists upgrade, Upgrade lists websocket */
    int64_t content_length; /* -1: no such header. Without it and without chunked: no body */
    struct str method_text;
    struct str target; /* as sent */
    struct str path;   /* raw, starts with "/"; or "*" */
    struct str query;  /* raw, without the "?"; ptr is NULL when there is no "?" */
    struct str host;   /* with its port when one was sent; empty only in HTTP/1.0 */
    struct http_fields fields;
    enum http_refusal refusal; /* set when the parser refuses, and then alone meaningful */
};

/* Parses the head at the start of data. Returns
 *   > 0  the bytes of the head, its empty line too: the body or the next request starts there
 *   0    more bytes are needed
 *   < 0  refused (ERR_PROTOCOL, ERR_TOO_LARGE, ERR_UNSUPPORTED): out_request->refusal says why,
 *        http_refusal_status() what to answer; then close.
 * *scanned makes many small reads cheap: set it to 0 for each new request, and call again with the
 * same bytes and some more behind them (they may have moved). NULL is fine for a single call. */
ssize_t http_request_parse(struct http_request *out_request, const struct http_limits *limits,
                           const uint8_t *data, size_t len, size_t *scanned);

/* Parse results only: a body follows the head. */
static inline bool http_request_has_body(const struct http_request *request)
{
    return request->chunked || request->content_length > 0;
}

/* The first value under a name, in any case; ptr is NULL when there is none. */
static inline struct str http_request_header(const struct http_request *request, const char *name)
{
    return http_fields_find(&request->fields, str_of(name));
}

/* How many lines have this name. */
static inline size_t http_request_header_count(const struct http_request *request, const char *name)
{
    return http_fields_count(&request->fields, str_of(name));
}

/* The same for the names that have a number, without a search. */
static inline struct str http_request_field(const struct http_request *request,
                                            enum http_field field)
{
    return http_fields_get(&request->fields, field);
}

/* "GET"; "other" for HTTP_METHOD_OTHER. For labels. */
const char *http_method_name(enum http_method method);

#endif
