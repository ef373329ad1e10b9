/* Tells requests of a page on this machine from those that another page makes a browser send: the
 * guards of everything that answers on loopback without a credential. Pure.
 *
 * Rebinding: a foreign name that resolves to 127.0.0.1 stands in Host, so Host must be a loopback
 * name. Forgery: a foreign page's POST carries its Origin, so that must be this host. */
#ifndef TIDEGATE_API_LOOPBACK_H
#define TIDEGATE_API_LOOPBACK_H

#include "proto/http_request.h"

/* "localhost", "127.x.y.z" or "[::1]", with or without a port. */
bool loopback_host_is_local(struct str host);

/* No Origin (no browser), or one that says http (is_secure: https) and this request's host. */
bool loopback_origin_is_own(const struct http_request *request, bool is_secure);

#endif
