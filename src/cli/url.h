/* The URLs that the command line takes: http, https, ws, wss; a host or address, perhaps a port, a
 * path, a query. No user name or password (an argv is no place for a secret), no fragment. Pure. */
#ifndef TIDEGATE_CLI_URL_H
#define TIDEGATE_CLI_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum { URL_HOST_MAX = 254, URL_AUTHORITY_MAX = 264 }; /* with the NUL */

struct url {
    bool is_websocket;                 /* ws or wss */
    bool is_secure;                    /* https or wss */
    uint16_t port;                     /* the scheme's when none is given */
    char host[URL_HOST_MAX];           /* without the brackets of an IPv6 address */
    char authority[URL_AUTHORITY_MAX]; /* for the Host header: the port only when it was given */
    struct str target;                 /* path and query, borrowed; "" or starts with '/' or '?' */
};

/* 0, or ERR_SYNTAX with what is wrong in *out_reason (static). */
int url_parse(struct url *out_url, const char *text, const char **out_reason);

#endif
