/* Which addresses are of the public Internet: where a URL that somebody else wrote may lead. Pure.
 */
#ifndef TIDEGATE_NET_ADDR_PUBLIC_H
#define TIDEGATE_NET_ADDR_PUBLIC_H

#include "net/addr.h"

/* False for what IANA's registries of special-purpose addresses (RFC 6890) keep from it: loopback,
 * private, shared, link-local, unique local, multicast, unspecified, documentation, benchmarks,
 * reserved, and IPv6 addresses that wrap an IPv4 one (of NAT64, RFC 6052, what is inside counts).
 */
bool addr_is_public(const struct addr *addr);

#endif
