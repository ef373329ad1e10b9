#include "net/addr_public.h"

#include <string.h>

struct range {
    uint8_t ip[16];
    uint8_t bits;
};

/* An IPv4 prefix as it is held in struct addr: ::ffff:a.b.c.d. */
#define V4(a, b, c, d, prefix_bits)                                              \
    {                                                                            \
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}, 96 + prefix_bits \
    }

static const struct range special_v4[] = {
    V4(0, 0, 0, 0, 8),       /* this network */
    V4(10, 0, 0, 0, 8),      /* private */
    V4(100, 64, 0, 0, 10),   /* shared (RFC 6598) */
    V4(127, 0, 0, 0, 8),     /* loopback */
    V4(169, 254, 0, 0, 16),  /* link-local, where clouds keep their credentials */
    V4(172, 16, 0, 0, 12),   /* private */
    V4(192, 0, 0, 0, 24),    /* protocol assignments */
    V4(192, 0, 2, 0, 24),    /* documentation */
    V4(192, 88, 99, 0, 24),  /* 6to4 relays, deprecated */
    V4(192, 168, 0, 0, 16),  /* private */
    V4(198, 18, 0, 0, 15),   /* benchmarks */
    V4(198, 51, 100, 0, 24), /* documentation */
    V4(203, 0, 113, 0, 24),  /* documentation */
    V4(224, 0, 0, 0, 4),     /* multicast */
    V4(240, 0, 0, 0, 4),     /* reserved, broadcast */
};

static const struct range v4_mapped = V4(0, 0, 0, 0, 0);
static const struct range nat64 = {{0x00, 0x64, 0xff, 0x9b}, 96};
static const struct range global_v6 = {{0x20}, 3}; /* all that is handed out so far */

static const struct range special_v6[] = {
    {{0x20, 0x01}, 23},             /* protocol assignments, Teredo among them */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x20, 0x02}, 16},             /* 6to4: an IPv4 address inside */
    {{0x3f, 0xff}, 20},             /* documentation */
};

static bool is_in(const struct addr *addr, const struct range *range)
{
    struct addr_prefix prefix = {.bits = range->bits};
    memcpy(prefix.ip, range->ip, sizeof(prefix.ip));
    return addr_in_prefix(addr, &prefix);
}

static bool is_in_any(const struct addr *addr, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_in(addr, &ranges[i])) {
            return true;
        }
    }
    return false;
}

bool addr_is_public(const struct addr *addr)
{
    struct addr inner = *addr;
    if (is_in(addr, &nat64)) {
        memcpy(inner.ip, v4_mapped.ip, 12);
    }
    if (is_in(&inner, &v4_mapped)) {
        return !is_in_any(&inner, special_v4, sizeof(special_v4) / sizeof(special_v4[0]));
    }
    return is_in(&inner, &global_v6) &&
           !is_in_any(&inner, special_v6, sizeof(special_v6) / sizeof(special_v6[0]));
}
