#include "proto/proxy_protocol.h"

#include "base/err.h"

enum {
    V2_HEAD = 16,
    V2_IPV4 = 12, /* two addresses and two ports */
    V2_IPV6 = 36,
    V2_UNIX = 216,
    TLV_HEAD = 3,
};

static const uint8_t v2_signature[12] = {'\r', '\n', '\r', '\n', 0,   '\r',
                                         '\n', 'Q',  'U',  'I',  'T', '\n'};
static const char v1_signature[] = "PROXY ";

/* ---- version 1: a line ---- */

/* RFC-like strictness of the specification: decimal, no leading zero. */
static bool read_port(struct str text, uint16_t *out_port)
{
    uint64_t port;
    if (!str_to_u64(text, UINT16_MAX, &port) || (text.len > 1 && text.ptr[0] == '0')) {
        return false;
    }
    *out_port = (uint16_t)port;
    return true;
}

/* "TCP4 source destination port port" */
static bool read_v1_fields(struct proxy_header *header, struct str line)
{
    struct str fields[5];
    struct str rest = line;
    for (size_t i = 0; i < 5; i++) {
        if (!str_split(&rest, ' ', &fields[i])) {
            return false;
        }
    }
    bool is_v4 = str_equal(fields[0], STR("TCP4"));
    if (rest.ptr || (!is_v4 && !str_equal(fields[0], STR("TCP6")))) {
        return false;
    }
    uint8_t destination[IP_BYTES];
    uint16_t destination_port;
    int (*parse)(uint8_t *, struct str) = is_v4 ? ip_parse_v4 : ip_parse_v6;
    header->has_source = true;
    return parse(header->ip, fields[1]) == 0 && parse(destination, fields[2]) == 0 &&
           read_port(fields[3], &header->port) && read_port(fields[4], &destination_port);
}

static ssize_t read_v1(struct proxy_header *header, const uint8_t *data, size_t len)
{
    size_t start = sizeof(v1_signature) - 1;
    const uint8_t *end = memchr(data, '\n', len < PROXY_V1_MAX ? len : PROXY_V1_MAX);
    if (!end) {
        return len < PROXY_V1_MAX ? 0 : ERR_PROTOCOL;
    }
    size_t line_len = (size_t)(end - data);
    if (line_len <= start || data[line_len - 1] != '\r') {
        return ERR_PROTOCOL;
    }
    struct str line = str_make(data + start, line_len - 1 - start);
    bool is_unknown = str_equal(line, STR("UNKNOWN")) || str_starts_with(line, STR("UNKNOWN "));
    if (!is_unknown && !read_v1_fields(header, line)) {
        return ERR_PROTOCOL;
    }
    return (ssize_t)line_len + 1;
}

/* ---- version 2: binary ---- */

static bool are_tlvs(const uint8_t *data, size_t len)
{
    while (len > 0) {
        if (len < TLV_HEAD) {
            return false;
        }
        size_t size = TLV_HEAD + ((size_t)data[1] << 8 | data[2]);
        if (size > len) {
            return false;
        }
        data += size;
        len -= size;
    }
    return true;
}

/* The length of the addresses of a family and protocol, or -1 for a pair that is not assigned. */
static int v2_address_bytes(uint8_t family_and_protocol)
{
    switch (family_and_protocol) {
    case 0x00: return 0;
    case 0x11: /* TCP and UDP over IPv4 */
    case 0x12: return V2_IPV4;
    case 0x21: /* over IPv6 */
    case 0x22: return V2_IPV6;
    case 0x31: /* UNIX, stream and datagram */
    case 0x32: return V2_UNIX;
    default: return -1;
    }
}

static void take_v2_source(struct proxy_header *header, uint8_t family, const uint8_t *addresses)
{
    bool is_v4 = family == 0x11;
    size_t ports = is_v4 ? 8 : 32;
    if (is_v4) {
        ip_set_v4(header->ip, addresses);
    } else {
        memcpy(header->ip, addresses, IP_BYTES);
    }
    header->port = (uint16_t)(addresses[ports] << 8 | addresses[ports + 1]);
    header->has_source = true;
}

static ssize_t read_v2(struct proxy_header *header, const uint8_t *data, size_t len)
{
    if (len < V2_HEAD) {
        return 0;
    }
    uint8_t command = data[12] & 0x0f;
    size_t body = (size_t)data[14] << 8 | data[15];
    if (data[12] >> 4 != 2 || command > 1) {
        return ERR_PROTOCOL;
    }
    if (V2_HEAD + body > PROXY_HEADER_MAX) {
        return ERR_TOO_LARGE;
    }
    if (len < V2_HEAD + body) {
        return 0;
    }
    bool is_local = command == 0; /* whatever else it says is to be ignored */
    int addresses = v2_address_bytes(data[13]);
    if (!is_local &&
        (addresses < 0 || body < (size_t)addresses ||
         !are_tlvs(data + V2_HEAD + addresses, data[13] ? body - (size_t)addresses : 0))) {
        return ERR_PROTOCOL;
    }
    if (!is_local && (data[13] == 0x11 || data[13] == 0x21)) {
        take_v2_source(header, data[13], data + V2_HEAD);
    }
    return (ssize_t)(V2_HEAD + body);
}

static bool begins_with(const uint8_t *data, size_t len, const void *signature, size_t size)
{
    return memcmp(data, signature, len < size ? len : size) == 0;
}

ssize_t proxy_header_read(struct proxy_header *out_header, const uint8_t *data, size_t len)
{
    struct proxy_header header = {.has_source = false};
    ssize_t size;
    if (begins_with(data, len, v2_signature, sizeof(v2_signature))) {
        size = read_v2(&header, data, len);
    } else if (begins_with(data, len, v1_signature, sizeof(v1_signature) - 1)) {
        size = read_v1(&header, data, len);
    } else {
        return ERR_PROTOCOL;
    }
    if (size > 0) {
        *out_header = header;
    }
    return size;
}
