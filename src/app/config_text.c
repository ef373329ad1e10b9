#include "app/config_text.h"

#include "bus/bus.h"
#include "net/addr.h"
#include "proto/json_pointer.h"

enum { TEXT_MAX = 1024, NAME_MAX_BYTES = 64, PATTERN_MAX = 256 };

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

/* Only bytes that are letters, digits or in extra. */
static bool is_made_of(struct str text, const char *extra)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_alnum(text.ptr[i]) && (!text.ptr[i] || !strchr(extra, text.ptr[i]))) {
            return false;
        }
    }
    return true;
}

static bool is_any(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.ptr[i];
        if (c < 0x20 || c == 0x7f) {
            return false;
        }
    }
    return text.len <= TEXT_MAX;
}

static bool is_label(struct str text)
{
    return text.len > 0 && text.len <= NAME_MAX_BYTES && is_any(text);
}

static bool is_name(struct str text)
{
    return text.len > 0 && text.len <= NAME_MAX_BYTES && is_alnum(text.ptr[0]) &&
           is_made_of(text, "._-");
}

static bool is_filled(struct str text)
{
    return text.len > 0 && is_any(text);
}

static bool is_node(struct str text)
{
    return text.len == 0 || is_name(text);
}

/* Absolute: what the directory is when the file is opened anew is not for the file to say. */
static bool is_audit(struct str text)
{
    return is_any(text) && (text.len == 0 || str_equal(text, STR("stderr")) || text.ptr[0] == '/');
}

static bool is_address(struct str text)
{
    struct addr addr;
    return text.len == 0 || (is_any(text) && addr_parse(&addr, text) == 0);
}

static bool is_prefix(struct str text)
{
    struct addr_prefix prefix;
    return is_any(text) && addr_prefix_parse(&prefix, text) == 0;
}

static bool is_token(struct str text)
{
    return text.len <= PATTERN_MAX && is_made_of(text, "!#$%&'*+-.^_`|~");
}

static bool is_pattern(struct str text)
{
    const char *star = memchr(text.ptr, '*', text.len);
    return text.len > 0 && text.len <= PATTERN_MAX && is_any(text) &&
           (!star || star == text.ptr + text.len - 1);
}

/* Cuts "scheme://" from the front. */
static bool cut_scheme(struct str *text, struct str *out_scheme)
{
    const char *at = memmem(text->ptr, text->len, "://", 3);
    if (!at || at == text->ptr) {
        return false;
    }
    *out_scheme = str_make(text->ptr, (size_t)(at - text->ptr));
    *text = str_make(at + 3, text->len - out_scheme->len - 3);
    return is_made_of(*out_scheme, "+-.");
}

static bool is_port(struct str text)
{
    uint64_t port;
    return str_to_u64(text, 65535, &port) && port > 0;
}

/* "host", "host:443", "[::1]:443": what is between the slashes of a URL. */
static bool cut_host(struct str authority, struct str *out_host)
{
    bool is_v6 = authority.len > 0 && authority.ptr[0] == '[';
    const char *end = is_v6 ? memchr(authority.ptr, ']', authority.len)
                            : memchr(authority.ptr, ':', authority.len);
    if (is_v6 && !end) {
        return false;
    }
    size_t len = end ? (size_t)(end - authority.ptr) + (is_v6 ? 1 : 0) : authority.len;
    *out_host = str_make(authority.ptr, len);
    struct str rest = str_make(authority.ptr + len, authority.len - len);
    bool port_fits = rest.len == 0 ||
                     (rest.ptr[0] == ':' && is_port(str_make(rest.ptr + 1, rest.len - 1)));
    return len > 0 && port_fits && is_made_of(*out_host, is_v6 ? "[]:." : "-._");
}

/* RFC 6454 6.2. "null" is what any sandboxed page sends, so it is not an origin to trust. */
static bool is_origin(struct str text)
{
    struct str scheme, host;
    return str_equal(text, STR("*")) ||
           (text.len <= TEXT_MAX && cut_scheme(&text, &scheme) && cut_host(text, &host));
}

static bool is_loopback_host(struct str host)
{
    struct addr_prefix prefix;
    struct addr addr = {0};
    if (host.len > 2 && host.ptr[0] == '[') {
        host = str_make(host.ptr + 1, host.len - 2);
    }
    if (str_equal_nocase(host, STR("localhost"))) {
        return true;
    }
    if (addr_prefix_parse(&prefix, host) != 0) {
        return false;
    }
    memcpy(addr.ip, prefix.ip, sizeof(addr.ip));
    return addr_is_loopback(&addr);
}

static bool cut_url(struct str text, struct str *out_scheme, struct str *out_host)
{
    if (!is_any(text) || memchr(text.ptr, ' ', text.len) || !cut_scheme(&text, out_scheme)) {
        return false;
    }
    const char *path = memchr(text.ptr, '/', text.len);
    return cut_host(str_make(text.ptr, path ? (size_t)(path - text.ptr) : text.len), out_host);
}

/* Keys fetched in clear could be replaced on the way. */
static bool is_url(struct str text)
{
    struct str scheme, host;
    return cut_url(text, &scheme, &host) &&
           (str_equal(scheme, STR("https")) ||
            (str_equal(scheme, STR("http")) && is_loopback_host(host)));
}

static bool is_web(struct str text)
{
    struct str scheme, host;
    return cut_url(text, &scheme, &host) &&
           (str_equal(scheme, STR("https")) || str_equal(scheme, STR("http")));
}

/* Something is put behind it. */
static bool is_base(struct str text)
{
    return text.len == 0 ||
           (is_web(text) && !memchr(text.ptr, '?', text.len) && !memchr(text.ptr, '#', text.len));
}

/* A name or an address, and a port. */
static bool is_service(struct str text)
{
    struct str host;
    return text.len == 0 || (is_any(text) && cut_host(text, &host) && host.len < text.len);
}

static bool is_statsd(struct str text)
{
    return text.len == 0 || (text.len <= 64 && is_made_of(text, "._-"));
}

static bool is_engine(struct str text)
{
    return bus_engine_find(text) != NULL;
}

bool config_address_is_local(struct str text)
{
    struct addr addr;
    return text.len == 0 || (addr_parse(&addr, text) == 0 && addr_is_loopback(&addr));
}

/* Prometheus' rules for names, without the colon that is for rules. */
static bool is_metric(struct str text)
{
    return text.len > 0 && text.len <= NAME_MAX_BYTES && is_made_of(text, "_") &&
           !(text.ptr[0] >= '0' && text.ptr[0] <= '9');
}

/* Those that the gateway, histograms, summaries and scrapers set themselves can't be had. */
static bool is_metric_label(struct str text)
{
    static const struct str taken[] = {STR("app"), STR("le"), STR("quantile"), STR("job"),
                                       STR("instance")};
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        if (str_equal(text, taken[i])) {
            return false;
        }
    }
    return is_metric(text) && !str_starts_with(text, STR("__"));
}

static bool is_pointer(struct str text)
{
    char copy[JSON_POINTER_BYTES];
    struct json_pointer pointer;
    if (text.len > sizeof(copy) || !is_any(text)) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    return json_pointer_read(&pointer, copy, text.len) == 0;
}

const struct config_text config_text_any = {"a text without control characters", is_any, NULL};
const struct config_text config_text_filled = {
    "a text of 1 to 1024 bytes without control characters", is_filled, NULL};
const struct config_text config_text_label = {"a text of 1 to 64 bytes", is_label, NULL};
const struct config_text config_text_name = {
    "a name of up to 64 letters, digits, \".\", \"_\" and \"-\"", is_name, NULL};
const struct config_text config_text_node = {
    "a name of up to 64 letters, digits, \".\", \"_\" and \"-\", or \"\"", is_node, NULL};
const struct config_text config_text_address = {
    "an address such as \"127.0.0.1:8080\", \"[::1]:8080\" or \":8080\"", is_address, NULL};
const struct config_text config_text_prefix = {"a prefix such as \"10.0.0.0/8\" or \"fd00::/8\"",
                                               is_prefix, NULL};
const struct config_text config_text_file = {"the name of a file", is_any, NULL};
const struct config_text config_text_audit = {
    "the absolute name of a file, \"stderr\", or \"\" for none", is_audit, NULL};
const struct config_text config_text_token = {"letters, digits and \"-\" or \"_\" (an HTTP token)",
                                              is_token, NULL};
const struct config_text config_text_origin = {
    "an origin such as \"https://www.example.com\" (no path), or \"*\"", is_origin, NULL};
const struct config_text config_text_pattern = {
    "a group's name, or the start of names and a \"*\" at the end, such as \"room:*\"", is_pattern,
    NULL};
const struct config_text config_text_url = {
    "a URL with https, or with http on this machine (127.0.0.1, [::1], localhost)", is_url, NULL};
const struct config_text config_text_web = {"a URL with https or http, without a user", is_web,
                                            NULL};
const struct config_text config_text_metric = {
    "a name of up to 64 letters, digits and \"_\", no digit first", is_metric, NULL};
const struct config_text config_text_metric_label = {
    "a name of up to 64 letters, digits and \"_\", no digit or \"__\" first, and not app, le, "
    "quantile, job or instance",
    is_metric_label, NULL};
const struct config_text config_text_pointer = {
    "a JSON pointer into the data such as \"/order/total\", of up to 8 steps", is_pointer, NULL};
const struct config_text config_text_base = {
    "a URL with https or http, without a user or a query, or \"\"", is_base, NULL};
const struct config_text config_text_service = {
    "a host and a port such as \"statsd.example.com:8125\", or \"\"", is_service, NULL};
const struct config_text config_text_statsd = {
    "up to 64 letters, digits, \".\", \"_\" and \"-\", or \"\"", is_statsd, NULL};
const struct config_text config_text_engine = {"an engine that is built in: ", is_engine,
                                               bus_engine_names};
