#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/ip.h"

enum { V4_AT = 12 /* where the four bytes of an IPv4 address are */ };

static int host_parse(uint8_t out_ip[16], struct str host)
{
    if (host.len == 0) {
        memset(out_ip, 0, 16);
        return 0;
    }
    if (str_equal_nocase(host, STR("localhost"))) {
        return ip_parse_v4(out_ip, STR("127.0.0.1"));
    }
    if (host.ptr[0] != '[') {
        return ip_parse_v4(out_ip, host);
    }
    if (host.ptr[host.len - 1] != ']') {
        return ERR_SYNTAX;
    }
    return ip_parse_v6(out_ip, str_make(host.ptr + 1, host.len - 2));
}

int addr_parse(struct addr *out_addr, struct str text)
{
    const char *colon = text.len > 0 ? memrchr(text.ptr, ':', text.len) : NULL;
    if (!colon) {
        return ERR_SYNTAX;
    }
    struct str host = str_make(text.ptr, (size_t)(colon - text.ptr));
    struct str port_text = str_make(colon + 1, text.len - host.len - 1);
    struct addr addr;
    uint64_t port;
    if (!str_to_u64(port_text, UINT16_MAX, &port) || host_parse(addr.ip, host)) {
        return ERR_SYNTAX;
    }
    addr.port = (uint16_t)port;
    *out_addr = addr;
    return 0;
}

static uint8_t byte_mask(unsigned bits, unsigned index)
{
    unsigned before = index * 8;
    if (bits >= before + 8) {
        return 0xff;
    }
    return bits <= before ? 0 : (uint8_t)(0xff << (before + 8 - bits));
}

int addr_prefix_parse(struct addr_prefix *out_prefix, struct str text)
{
    struct str rest = text;
    struct str ip_text;
    struct addr_prefix prefix;
    if (!str_split(&rest, '/', &ip_text)) {
        return ERR_SYNTAX;
    }
    bool has_colon = ip_text.len > 0 && memchr(ip_text.ptr, ':', ip_text.len);
    int err = ip_parse(prefix.ip, ip_text);
    if (err) {
        return err;
    }
    uint64_t max_bits = has_colon ? 128 : 32;
    uint64_t bits = max_bits;
    if (rest.ptr && !str_to_u64(rest, max_bits, &bits)) {
        return ERR_SYNTAX;
    }
    prefix.bits = (uint8_t)(128 - max_bits + bits);
    for (unsigned i = 0; i < sizeof(prefix.ip); i++) {
        if (prefix.ip[i] & ~byte_mask(prefix.bits, i)) {
            return ERR_SYNTAX;
        }
    }
    *out_prefix = prefix;
    return 0;
}

bool addr_in_prefix(const struct addr *addr, const struct addr_prefix *prefix)
{
    for (unsigned i = 0; i < sizeof(addr->ip); i++) {
        if ((addr->ip[i] ^ prefix->ip[i]) & byte_mask(prefix->bits, i)) {
            return false;
        }
    }
    return true;
}

bool addr_is_among(const struct addr *addr, const struct str *prefixes, size_t count)
{
    struct addr_prefix prefix;
    for (size_t i = 0; i < count; i++) {
        if (addr_prefix_parse(&prefix, prefixes[i]) == 0 && addr_in_prefix(addr, &prefix)) {
            return true;
        }
    }
    return false;
}

bool addr_is_loopback(const struct addr *addr)
{
    static const uint8_t loopback[16] = {[15] = 1};
    return ip_is_v4(addr->ip) ? addr->ip[12] == 127 : memcmp(addr->ip, loopback, 16) == 0;
}

bool addr_is_any(const struct addr *addr)
{
    static const uint8_t any[16];
    size_t from = ip_is_v4(addr->ip) ? V4_AT : 0;
    return memcmp(addr->ip + from, any, sizeof(any) - from) == 0;
}

bool addr_equal_ip(const struct addr *a, const struct addr *b)
{
    return memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

const char *addr_format_ip(const struct addr *addr, char out[ADDR_TEXT_MAX])
{
    if (ip_is_v4(addr->ip)) {
        inet_ntop(AF_INET, addr->ip + V4_AT, out, ADDR_TEXT_MAX);
    } else {
        inet_ntop(AF_INET6, addr->ip, out, ADDR_TEXT_MAX);
    }
    return out;
}

const char *addr_format(const struct addr *addr, char out[ADDR_TEXT_MAX])
{
    char ip[ADDR_TEXT_MAX];
    addr_format_ip(addr, ip);
    /* 45 characters at most: the precision only tells the compiler so. */
    snprintf(out, ADDR_TEXT_MAX, ip_is_v4(addr->ip) ? "%.46s:%u" : "[%.46s]:%u", ip, addr->port);
    return out;
}

socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *out_sockaddr)
{
    memset(out_sockaddr, 0, sizeof(*out_sockaddr));
    if (ip_is_v4(addr->ip)) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)out_sockaddr;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(addr->port);
        memcpy(&v4->sin_addr, addr->ip + V4_AT, 4);
        return sizeof(*v4);
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out_sockaddr;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(addr->port);
    memcpy(&v6->sin6_addr, addr->ip, 16);
    return sizeof(*v6);
}

int addr_from_sockaddr(struct addr *out_addr, const struct sockaddr *sockaddr)
{
    if (sockaddr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sockaddr;
        ip_set_v4(out_addr->ip, &v4->sin_addr);
        out_addr->port = ntohs(v4->sin_port);
        return 0;
    }
    if (sockaddr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)sockaddr;
        memcpy(out_addr->ip, &v6->sin6_addr, 16);
        out_addr->port = ntohs(v6->sin6_port);
        return 0;
    }
    return -EAFNOSUPPORT;
}

int addr_of_peer(struct addr *out_addr, int fd)
{
    struct sockaddr_storage name;
    socklen_t len = sizeof(name);
    if (getpeername(fd, (struct sockaddr *)&name, &len) < 0) {
        return -errno;
    }
    return addr_from_sockaddr(out_addr, (struct sockaddr *)&name);
}

int addr_of_local(struct addr *out_addr, int fd)
{
    struct sockaddr_storage name;
    socklen_t len = sizeof(name);
    if (getsockname(fd, (struct sockaddr *)&name, &len) < 0) {
        return -errno;
    }
    return addr_from_sockaddr(out_addr, (struct sockaddr *)&name);
}
