#include "server/origin.h"

enum { PORT_NONE = 0 };

struct origin {
    struct str scheme;
    struct str host;
    uint64_t port; /* PORT_NONE: the scheme has no default */
};

static bool is_alpha_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool consists_of(struct str text, const char *beside_alpha_digit)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_alpha_digit(text.ptr[i]) &&
            (text.ptr[i] == '\0' || !strchr(beside_alpha_digit, text.ptr[i]))) {
            return false;
        }
    }
    return text.len > 0;
}

static uint64_t default_port(struct str scheme)
{
    if (str_equal_nocase(scheme, STR("https"))) {
        return 443;
    }
    return str_equal_nocase(scheme, STR("http")) ? 80 : PORT_NONE;
}

/* Where the host ends in "host", "host:port", "[v6]" or "[v6]:port". */
static size_t host_len(struct str authority)
{
    char end = authority.len > 0 && authority.ptr[0] == '[' ? ']' : ':';
    const char *found = authority.len > 0 ? memchr(authority.ptr, end, authority.len) : NULL;
    if (!found) {
        return authority.len;
    }
    return (size_t)(found - authority.ptr) + (end == ']');
}

static bool is_host(struct str host)
{
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        return consists_of(str_make(host.ptr + 1, host.len - 2), ":.");
    }
    return consists_of(host, "-._");
}

static bool parse(struct origin *out_origin, struct str text)
{
    const char *mark = text.len > 3 ? memmem(text.ptr, text.len, "://", 3) : NULL;
    if (!mark) {
        return false;
    }
    struct str scheme = str_make(text.ptr, (size_t)(mark - text.ptr));
    struct str authority = str_make(mark + 3, text.len - scheme.len - 3);
    struct str host = str_make(authority.ptr, host_len(authority));
    struct str rest = str_make(authority.ptr + host.len, authority.len - host.len);
    uint64_t port = default_port(scheme);
    if (!consists_of(scheme, "+-.") || !is_host(host)) {
        return false;
    }
    if (rest.len > 0) {
        struct str digits = str_make(rest.ptr + 1, rest.len - 1);
        if (rest.ptr[0] != ':' || !str_to_u64(digits, UINT16_MAX, &port) || digits.ptr[0] == '0') {
            return false;
        }
    }
    *out_origin = (struct origin){scheme, host, port};
    return true;
}

static bool is_same(const struct origin *a, const struct origin *b)
{
    return a->port == b->port && str_equal_nocase(a->scheme, b->scheme) &&
           str_equal_nocase(a->host, b->host);
}

bool origin_is_valid(struct str origin)
{
    struct origin parsed;
    return parse(&parsed, origin);
}

bool origin_is_allowed(struct str origin, const struct str *allowed, size_t count)
{
    struct origin asking;
    struct origin listed;
    bool is_origin = parse(&asking, origin);
    for (size_t i = 0; i < count; i++) {
        if (str_equal(allowed[i], STR("*"))) {
            return true;
        }
        if (str_equal(allowed[i], STR("null")) && str_equal(origin, STR("null"))) {
            return true;
        }
        if (is_origin && parse(&listed, allowed[i]) && is_same(&asking, &listed)) {
            return true;
        }
    }
    return false;
}

enum origin_verdict origin_check(const struct settings_app *app, const struct http_request *request)
{
    if (!http_fields_has(&request->fields, HTTP_FIELD_ORIGIN)) {
        return ORIGIN_ABSENT;
    }
    /* RFC 6454 7.3: one header with one origin; several are nobody's honest browser. */
    if (!http_fields_has_one(&request->fields, HTTP_FIELD_ORIGIN)) {
        return ORIGIN_REFUSED;
    }
    struct str origin = http_request_field(request, HTTP_FIELD_ORIGIN);
    return origin_is_allowed(origin, app->origins, app->origin_count) ? ORIGIN_ALLOWED
                                                                      : ORIGIN_REFUSED;
}
