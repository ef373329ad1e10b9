/* Which web pages may connect: an exact allow-list over the Origin header (RFC 6454, RFC
 * 6455 10.2). Two origins are one when scheme, host and port are; scheme and host count without
 * case, and a default port may be left out. No prefixes, suffixes or patterns. Pure. */
#ifndef TIDEGATE_SERVER_ORIGIN_H
#define TIDEGATE_SERVER_ORIGIN_H

#include "core/settings.h"
#include "proto/http_request.h"

enum origin_verdict {
    ORIGIN_ABSENT, /* no browser: allowed, unless a cookie is the credential */
    ORIGIN_ALLOWED,
    ORIGIN_REFUSED, /* answer 403 before the upgrade */
};

enum origin_verdict origin_check(const struct settings_app *app,
                                 const struct http_request *request);

/* allowed holds serialised origins, "*" for all (what is no origin at all included), and "null",
 * which otherwise is refused: sandboxed frames and files of anybody send it. */
bool origin_is_allowed(struct str origin, const struct str *allowed, size_t count);

/* "https://www.example.com", "http://[::1]:8080": scheme, host, perhaps a port, and nothing behind
 * it. For checking a configured list. */
bool origin_is_valid(struct str origin);

#endif
