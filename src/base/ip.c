#include "base/ip.h"

#include <arpa/inet.h>

#include "base/err.h"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool ip_is_v4(const uint8_t ip[IP_BYTES])
{
    return memcmp(ip, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

void ip_set_v4(uint8_t out_ip[IP_BYTES], const void *four_bytes)
{
    memcpy(out_ip, mapped_prefix, sizeof(mapped_prefix));
    memcpy(out_ip + sizeof(mapped_prefix), four_bytes, 4);
}

static int parse(uint8_t out_bytes[IP_BYTES], int family, struct str text)
{
    char name[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(name) || memchr(text.ptr, '\0', text.len)) {
        return ERR_SYNTAX;
    }
    memcpy(name, text.ptr, text.len);
    name[text.len] = '\0';
    return inet_pton(family, name, out_bytes) == 1 ? 0 : ERR_SYNTAX;
}

int ip_parse_v4(uint8_t out_ip[IP_BYTES], struct str text)
{
    uint8_t bytes[IP_BYTES];
    int err = parse(bytes, AF_INET, text);
    if (!err) {
        ip_set_v4(out_ip, bytes);
    }
    return err;
}

int ip_parse_v6(uint8_t out_ip[IP_BYTES], struct str text)
{
    uint8_t bytes[IP_BYTES];
    int err = parse(bytes, AF_INET6, text);
    if (!err) {
        memcpy(out_ip, bytes, sizeof(bytes));
    }
    return err;
}

int ip_parse(uint8_t out_ip[IP_BYTES], struct str text)
{
    bool has_colon = text.len > 0 && memchr(text.ptr, ':', text.len);
    return has_colon ? ip_parse_v6(out_ip, text) : ip_parse_v4(out_ip, text);
}
