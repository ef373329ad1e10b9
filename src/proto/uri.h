/* Percent-decoding, hosts and ports, path segments and query strings (RFC 3986). Paths are never
 * normalised: a path with "." or ".." segments or empty ones is refused, in any encoding. Pure. */
#ifndef TIDEGATE_PROTO_URI_H
#define TIDEGATE_PROTO_URI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/str.h"

/* Decodes %XX, once. Returns the length written to out (no NUL is added), ERR_SYNTAX for an escape
 * that is not two hex digits or is %00 (or a raw NUL), ERR_TOO_LARGE when cap is short: in.len is
 * always enough. out may be in.ptr. A decoded "/" is a byte like any other: decode segment by
 * segment. The result may be any bytes: check for UTF-8 where text is meant. */
ssize_t uri_decode(struct str in, char *out, size_t cap);

/* The same for a name or value of a query string, where "+" is a space. */
ssize_t uri_decode_query(struct str in, char *out, size_t cap);

/* Cuts "host", "host:port", "[v6]" or "[v6]:port" (section 3.2.2), *out_host without brackets: it
 * then begins behind text.ptr. What is in the host is not looked at; it may be empty. Ports are 1
 * to 65535, default_port where there is none. 0, or ERR_SYNTAX with the results untouched. */
int uri_split_host_port(struct str text, uint16_t default_port, struct str *out_host,
                        uint16_t *out_port);

/* 0 when the path starts with "/" and has no empty segment (but a last one: "/demo/"), no segment
 * that decodes to "." or "..", and no escape that uri_decode refuses; else ERR_SYNTAX. */
int uri_path_check(struct str path);

/* Cuts the next raw segment from *rest, which starts at a "/": "/v1/users" gives "v1", "users"; "/"
 * gives one empty segment. False when *rest is used up. */
bool uri_path_next(struct str *rest, struct str *out_segment);

/* Cuts the next raw pair from *rest: "a=1&&b" gives ("a", "1") and ("b", ""); empty pairs are
 * skipped. False when *rest is used up (also for ptr NULL). */
bool uri_query_next(struct str *rest, struct str *out_name, struct str *out_value);

/* Finds a name (given decoded) in a query string and decodes its value. Returns the value's length,
 * ERR_NOT_FOUND, ERR_EXISTS when the name is there twice, ERR_SYNTAX for a bad escape in a pair,
 * or ERR_TOO_LARGE when the value is longer than cap. */
ssize_t uri_query_get(struct str query, struct str name, char *out, size_t cap);

/* Appends in with everything but unreserved characters as %XX. Returns buf_err(out). */
int uri_encode(struct buf *out, struct str in);

#endif
