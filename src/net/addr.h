/* IP addresses, ports and prefixes, without name look-ups. Pure but for addr_of_peer/addr_of_local.
 */
#ifndef TIDEGATE_NET_ADDR_H
#define TIDEGATE_NET_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/str.h"

/* IPv4 is held as ::ffff:a.b.c.d, so that comparisons need one case. */
struct addr {
    uint8_t ip[16];
    uint16_t port; /* host order */
};

struct addr_prefix {
    uint8_t ip[16];
    uint8_t bits; /* of 128; an IPv4 /8 is 104 */
};

enum { ADDR_TEXT_MAX = 64 }; /* "[…]:65535" and the NUL */

/* "127.0.0.1:8080", "[::1]:8080", ":8080" (all addresses), "localhost:0". 0 or ERR_SYNTAX. */
int addr_parse(struct addr *out_addr, struct str text);

/* "10.0.0.0/8", "::1", "fd00::/8"; host bits must be zero. 0 or ERR_SYNTAX. */
int addr_prefix_parse(struct addr_prefix *out_prefix, struct str text);
bool addr_in_prefix(const struct addr *addr, const struct addr_prefix *prefix);

/* In one of them, as text; what is no prefix counts for nothing. */
bool addr_is_among(const struct addr *addr, const struct str *prefixes, size_t count);

bool addr_is_loopback(const struct addr *addr);
bool addr_is_any(const struct addr *addr);
bool addr_equal_ip(const struct addr *a, const struct addr *b);

/* Writes "1.2.3.4:80" or "[::1]:80" (addr_format_ip: without the port) and returns out. */
const char *addr_format(const struct addr *addr, char out[ADDR_TEXT_MAX]);
const char *addr_format_ip(const struct addr *addr, char out[ADDR_TEXT_MAX]);

/* Fills a sockaddr_in or sockaddr_in6 and returns its length. */
socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *out_sockaddr);
int addr_from_sockaddr(struct addr *out_addr, const struct sockaddr *sockaddr);

int addr_of_peer(struct addr *out_addr, int fd);  /* getpeername; 0 or -errno */
int addr_of_local(struct addr *out_addr, int fd); /* getsockname; 0 or -errno */

#endif
