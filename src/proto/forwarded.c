#include "proto/forwarded.h"

#include "base/err.h"

bool forwarded_cut_last(struct str *value, struct str *out_element)
{
    if (!value->ptr) {
        return false;
    }
    const char *comma = value->len > 0 ? memrchr(value->ptr, ',', value->len) : NULL;
    size_t start = comma ? (size_t)(comma - value->ptr) + 1 : 0;
    *out_element = str_trim(str_make(value->ptr + start, value->len - start));
    *value = comma ? str_make(value->ptr, start - 1) : (struct str){NULL, 0};
    return true;
}

static bool is_port(struct str text)
{
    uint64_t port;
    return text.len > 1 && text.ptr[0] == ':' &&
           str_to_u64(str_make(text.ptr + 1, text.len - 1), UINT16_MAX, &port);
}

/* RFC 7239 6.2: a port may be hidden, too. */
static bool is_port_or_hidden(struct str text)
{
    return is_port(text) || (text.len > 2 && text.ptr[0] == ':' && text.ptr[1] == '_');
}

/* "[::1]", "[::1]:80" */
static int read_bracketed(struct str text, uint8_t out_ip[IP_BYTES])
{
    const char *end = memchr(text.ptr, ']', text.len);
    if (!end) {
        return ERR_SYNTAX;
    }
    size_t len = (size_t)(end - text.ptr) + 1;
    struct str rest = str_make(text.ptr + len, text.len - len);
    return rest.len > 0 && !is_port_or_hidden(rest)
               ? ERR_SYNTAX
               : ip_parse_v6(out_ip, str_make(text.ptr + 1, len - 2));
}

/* "10.0.0.1", "10.0.0.1:80" */
static int read_v4(struct str text, uint8_t out_ip[IP_BYTES])
{
    const char *colon = memchr(text.ptr, ':', text.len);
    size_t len = colon ? (size_t)(colon - text.ptr) : text.len;
    struct str rest = str_make(text.ptr + len, text.len - len);
    return rest.len > 0 && !is_port_or_hidden(rest) ? ERR_SYNTAX
                                                    : ip_parse_v4(out_ip, str_make(text.ptr, len));
}

static int read_node(struct str node, uint8_t out_ip[IP_BYTES])
{
    if (node.len == 0) {
        return ERR_SYNTAX;
    }
    if (node.ptr[0] == '_' || str_equal_nocase(node, STR("unknown"))) {
        return ERR_NOT_FOUND;
    }
    return node.ptr[0] == '[' ? read_bracketed(node, out_ip) : read_v4(node, out_ip);
}

/* RFC 9110 5.6.4; what needs an escape in quotes is no node. A quote anywhere else is half of a
 * string that a comma or a semicolon cut: what stands beside it was inside, and a client's. */
static bool unquote(struct str *value)
{
    bool is_quoted = value->len >= 2 && value->ptr[0] == '"' && value->ptr[value->len - 1] == '"';
    if (is_quoted) {
        *value = str_make(value->ptr + 1, value->len - 2);
    }
    return !memchr(value->ptr, '"', value->len) && !memchr(value->ptr, '\\', value->len);
}

/* RFC 7239 4: token "=" value. One that names no address is not looked at any further. */
static int read_pair(struct str pair, struct str *node)
{
    struct str value = pair;
    struct str name;
    if (!str_split(&value, '=', &name) || !value.ptr || memchr(name.ptr, '"', name.len) ||
        !unquote(&value)) {
        return ERR_SYNTAX;
    }
    if (str_equal_nocase(name, STR("for"))) {
        if (node->ptr) {
            return ERR_SYNTAX;
        }
        *node = value;
    }
    return 0;
}

int forwarded_read(struct str element, uint8_t out_ip[IP_BYTES])
{
    struct str rest = element;
    struct str pair;
    struct str node = {NULL, 0};
    while (str_split(&rest, ';', &pair)) {
        pair = str_trim(pair);
        if (pair.len > 0 && read_pair(pair, &node)) { /* RFC 7239 4 allows empty pairs */
            return ERR_SYNTAX;
        }
    }
    return node.ptr ? read_node(node, out_ip) : ERR_NOT_FOUND;
}

/* No standard says how; an IPv6 address comes bare from most proxies. */
int forwarded_read_plain(struct str element, uint8_t out_ip[IP_BYTES])
{
    return ip_parse_v6(out_ip, element) == 0 ? 0 : read_node(element, out_ip);
}
