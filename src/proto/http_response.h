/* Writes HTTP/1.1 responses, and RFC 9457 problem bodies. No Date is sent: a gateway's answers are
 * not cached. Pure but for the growing of the caller's buffer. */
#ifndef TIDEGATE_PROTO_HTTP_RESPONSE_H
#define TIDEGATE_PROTO_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"
#include "proto/http_fields.h"

struct http_pair {
    struct str name;
    struct str value;
};

struct http_response {
    int status;
    struct str content_type; /* empty: none is sent */
    struct str body;
    bool close;     /* send "Connection: close" */
    bool head_only; /* the answer to HEAD: the length of the body, but not the body */
    bool stream;    /* no Content-Length: the body goes on until the connection closes (SSE);
                     * implies close */
    const struct http_pair *headers; /* further ones; may be NULL */
    size_t header_count;
    struct str request_id; /* for X-Request-Id; empty: not sent */
};

/* Appends the response. 0, the buffer's error, or ERR_SYNTAX when a header has a control byte in it
 * (nothing is appended then). 1xx, 204 and 304 are written without a body. */
int http_response_write(struct buf *out, const struct http_response *response);

/* "HTTP/1.1 100 Continue" and its empty line, for a request whose expect_continue is set. */
extern const struct str HTTP_CONTINUE;

/* Each name is a token and no value has a control byte in it: safe to write as header lines. */
bool http_pairs_are_clean(const struct http_pair *pairs, size_t count);

/* Appends "name: value" and CRLF, unchecked. */
void http_append_header(struct buf *out, struct str name, struct str value);

/* "Not Found"; "Unknown" for a status without a registered phrase. */
struct str http_status_phrase(int status);

struct http_problem {
    int status;
    struct str code;       /* the stable name, like "body_too_large" */
    struct str title;      /* empty: the status phrase */
    struct str detail;     /* empty: left out */
    struct str type;       /* a URI; empty: "about:blank" */
    struct str request_id; /* empty: left out */
};

/* Appends {"type","title","status","code","detail","request_id"}. Bytes that are not UTF-8 become
 * U+FFFD. */
int http_problem_write_body(struct buf *out, const struct http_problem *problem);

/* Appends a whole response of type application/problem+json. response gives close, head_only and
 * further headers; its status, type and body are ignored. response may be NULL. */
int http_problem_write(struct buf *out, const struct http_problem *problem,
                       const struct http_response *response);

/* Appends the answer to a refused request, with Connection: close; 405 carries Allow, 426 Upgrade
 * and Sec-WebSocket-Version. */
int http_refusal_write(struct buf *out, enum http_refusal refusal);

/* Appends "text", quoted and escaped as JSON; bytes that are not UTF-8 become U+FFFD. */
int http_append_json_string(struct buf *out, struct str text);

#endif
