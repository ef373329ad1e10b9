/* Reads the header that a proxy puts before the bytes of a connection to say whose it is: HAProxy's
 * PROXY protocol, versions 1 and 2 (proxy-protocol.txt, 2.1 and 2.2). Strict. Pure: no allocation,
 * no state. */
#ifndef TIDEGATE_PROTO_PROXY_PROTOCOL_H
#define TIDEGATE_PROTO_PROXY_PROTOCOL_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/ip.h"

/* Version 1 is at most 107 bytes long by definition; version 2 could be 64 KiB, but for addresses
 * and what proxies tell beside them (TLVs) this is plenty. */
enum { PROXY_V1_MAX = 107, PROXY_HEADER_MAX = 4096 };

struct proxy_header {
    bool has_source; /* else it is the proxy's own connection (a check of health), or not known */
    uint8_t ip[IP_BYTES];
    uint16_t port;
};

/* Returns the bytes of the header, 0 when data ends inside it, ERR_PROTOCOL, or ERR_TOO_LARGE. What
 * is 0 needs all of data and at least one byte more. */
ssize_t proxy_header_read(struct proxy_header *out_header, const uint8_t *data, size_t len);

#endif
