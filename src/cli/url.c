#include "cli/url.h"

#include <stdio.h>

#include "base/err.h"

static const struct {
    struct str prefix;
    bool is_websocket;
    bool is_secure;
    uint16_t port;
} schemes[] = {
    {STR("http://"), false, false, 80},
    {STR("https://"), false, true, 443},
    {STR("ws://"), true, false, 80},
    {STR("wss://"), true, true, 443},
};

static const char *parse_scheme(struct url *url, struct str *rest)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t len = schemes[i].prefix.len;
        if (rest->len >= len && str_equal_nocase(str_make(rest->ptr, len), schemes[i].prefix)) {
            url->is_websocket = schemes[i].is_websocket;
            url->is_secure = schemes[i].is_secure;
            url->port = schemes[i].port;
            *rest = str_make(rest->ptr + len, rest->len - len);
            return NULL;
        }
    }
    return "it does not start with http://, https://, ws:// or wss://";
}

static bool is_visible(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

static size_t span_until(struct str text, const char *stops)
{
    size_t len = 0;
    while (len < text.len && !strchr(stops, text.ptr[len])) {
        len++;
    }
    return len;
}

static const char *parse_port(struct url *url, struct str text)
{
    uint64_t port;
    if (!str_to_u64(text, UINT16_MAX, &port) || port == 0) {
        return "its port is not a number from 1 to 65535";
    }
    url->port = (uint16_t)port;
    return NULL;
}

static const char *parse_authority(struct url *url, struct str authority)
{
    struct str host = authority;
    struct str port = {NULL, 0};
    bool bracketed = authority.len > 0 && authority.ptr[0] == '[';
    size_t end = span_until(authority, bracketed ? "]" : ":");
    if (bracketed) {
        host = str_make(authority.ptr + 1, end - 1);
        end = end < authority.len ? end + 1 : end;
    } else {
        host.len = end;
    }
    if (end < authority.len) {
        if (authority.ptr[end] != ':') {
            return "its host is not a name, an address, or an IPv6 address in brackets";
        }
        port = str_make(authority.ptr + end + 1, authority.len - end - 1);
    }
    if (host.len == 0 || host.len >= URL_HOST_MAX ||
        (bracketed && authority.ptr[host.len + 1] != ']')) {
        return "its host is not a name, an address, or an IPv6 address in brackets";
    }
    const char *reason = port.ptr ? parse_port(url, port) : NULL;
    snprintf(url->host, sizeof(url->host), "%.*s", STR_ARG(host));
    snprintf(url->authority, sizeof(url->authority), "%.*s", STR_ARG(authority));
    return reason;
}

static const char *parse(struct url *url, struct str rest)
{
    const char *reason = parse_scheme(url, &rest);
    if (reason) {
        return reason;
    }
    if (!is_visible(rest)) {
        return "it holds a space or a character that is not ASCII; write it as %XX";
    }
    if (memchr(rest.ptr, '#', rest.len)) {
        return "a fragment (#) has no meaning here";
    }
    struct str authority = str_make(rest.ptr, span_until(rest, "/?"));
    if (authority.len > 0 && memchr(authority.ptr, '@', authority.len)) {
        return "no user name or password may stand in it";
    }
    url->target = str_make(rest.ptr + authority.len, rest.len - authority.len);
    if (authority.len >= URL_AUTHORITY_MAX) {
        return "its host is too long";
    }
    return parse_authority(url, authority);
}

int url_parse(struct url *out_url, const char *text, const char **out_reason)
{
    struct url url = {0};
    const char *reason = parse(&url, str_of(text));
    if (reason) {
        *out_reason = reason;
        return ERR_SYNTAX;
    }
    *out_url = url;
    return 0;
}
