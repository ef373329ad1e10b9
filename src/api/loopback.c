#include "api/loopback.h"

#include <stdio.h>

#include "server/origin.h"

enum { LONGEST_LOCAL_HOST = 32, LONGEST_HOST = 262 /* a name (RFC 1035) and a port */ };

static struct str without_port(struct str host)
{
    if (host.len == 0 || host.ptr[host.len - 1] == ']') {
        return host;
    }
    for (size_t i = host.len; i > 0; i--) {
        if (host.ptr[i - 1] == ':') {
            return str_make(host.ptr, i - 1);
        }
    }
    return host;
}

/* 127.0.0.0/8, in whatever form: digits and dots can't be a name that somebody else resolves. */
static bool is_ipv4_loopback(struct str name)
{
    if (!str_starts_with(name, STR("127."))) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] != '.' && (name.ptr[i] < '0' || name.ptr[i] > '9')) {
            return false;
        }
    }
    return true;
}

bool loopback_host_is_local(struct str host)
{
    struct str name = without_port(host);
    return host.len <= LONGEST_LOCAL_HOST &&
           (str_equal_nocase(name, STR("localhost")) || str_equal(name, STR("[::1]")) ||
            is_ipv4_loopback(name));
}

bool loopback_origin_is_own(const struct http_request *request, bool is_secure)
{
    size_t count = http_request_header_count(request, "Origin");
    if (count == 0) {
        return true;
    }
    if (count > 1 || request->host.len > LONGEST_HOST) {
        return false;
    }
    char own[sizeof("https://") + LONGEST_HOST];
    int len = snprintf(own, sizeof(own), "%s://%.*s", is_secure ? "https" : "http",
                       STR_ARG(request->host));
    struct str allowed = str_make(own, (size_t)len);
    return origin_is_allowed(http_request_header(request, "Origin"), &allowed, 1);
}
