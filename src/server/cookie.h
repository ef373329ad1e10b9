/* Cookies of a request (RFC 6265 5.4). Pure. */
#ifndef TIDEGATE_SERVER_COOKIE_H
#define TIDEGATE_SERVER_COOKIE_H

#include "proto/http_request.h"

/* How many cookies have this name; *out_value is the last one's value, without quotes around it.
 * More than one is not to be trusted: a neighbouring subdomain can plant a second cookie of the
 * name, and its order says nothing. */
int cookie_find(const struct http_request *request, struct str name, struct str *out_value);

#endif
