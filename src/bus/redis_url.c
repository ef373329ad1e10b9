#include "bus/redis_url.h"

#include <stdio.h>

#include "base/err.h"
#include "proto/uri.h"

static bool copy_text(char *out, size_t max, struct str text)
{
    if (text.len > max) {
        return false;
    }
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

static bool is_host_byte(char c, bool bracketed)
{
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return plain || c == '.' || c == '-' || c == '_' || (bracketed && (c == ':' || c == '%'));
}

static int set_host(struct redis_address *address, struct str host, bool bracketed)
{
    for (size_t i = 0; i < host.len; i++) {
        if (!is_host_byte(host.ptr[i], bracketed)) {
            return ERR_SYNTAX;
        }
    }
    bool is_ipv6 = host.len > 0 && memchr(host.ptr, ':', host.len);
    bool ok = host.len > 0 && is_ipv6 == bracketed &&
              copy_text(address->host, REDIS_HOST_MAX, host);
    return ok ? 0 : ERR_SYNTAX;
}

int redis_address_parse(struct redis_address *out_address, struct str text, uint16_t port)
{
    struct redis_address address = {0};
    struct str host;
    if (uri_split_host_port(text, port, &host, &address.port) ||
        set_host(&address, host, host.ptr != text.ptr)) {
        return ERR_SYNTAX;
    }
    *out_address = address;
    return 0;
}

const char *redis_address_format(const struct redis_address *address,
                                 char out[REDIS_ADDRESS_TEXT_MAX])
{
    bool brackets = strchr(address->host, ':') != NULL;
    snprintf(out, REDIS_ADDRESS_TEXT_MAX, brackets ? "[%s]:%u" : "%s:%u", address->host,
             address->port);
    return out;
}

static bool decode(char *out, size_t max, struct str text)
{
    ssize_t len = uri_decode(text, out, max);
    if (len < 0) {
        return false;
    }
    out[len] = '\0';
    return true;
}

static const char *read_scheme(struct redis_url *url, struct str *rest)
{
    static const struct str plain = {"redis://", 8}, secure = {"rediss://", 9};
    url->tls = str_starts_with(*rest, secure);
    if (!url->tls && !str_starts_with(*rest, plain)) {
        return "must begin with redis:// or rediss://";
    }
    size_t len = url->tls ? secure.len : plain.len;
    *rest = str_make(rest->ptr + len, rest->len - len);
    return NULL;
}

/* The last "@" ends it: passwords are often pasted without being encoded. */
static const char *read_credentials(struct redis_url *url, struct str *rest)
{
    const char *at = rest->len ? memrchr(rest->ptr, '@', rest->len) : NULL;
    if (!at) {
        return NULL;
    }
    struct str both = str_make(rest->ptr, (size_t)(at - rest->ptr));
    const char *colon = both.len ? memchr(both.ptr, ':', both.len) : NULL;
    if (!colon) {
        return "has a user without a password; write user:password@ or :password@";
    }
    struct str user = str_make(both.ptr, (size_t)(colon - both.ptr));
    struct str password = str_make(colon + 1, both.len - user.len - 1);
    if (!decode(url->user, REDIS_USER_MAX, user)) {
        return "has a user that is too long or badly percent-encoded";
    }
    if (!decode(url->password, REDIS_PASSWORD_MAX, password)) {
        return "has a password that is too long or badly percent-encoded";
    }
    if (user.len && !password.len) {
        return "has a user with an empty password";
    }
    *rest = str_make(at + 1, rest->len - both.len - 1);
    return NULL;
}

static const char *read_db(struct redis_url *url, struct str *rest)
{
    const char *slash = rest->len ? memchr(rest->ptr, '/', rest->len) : NULL;
    if (!slash) {
        return NULL;
    }
    struct str db = str_make(slash + 1, rest->len - (size_t)(slash - rest->ptr) - 1);
    uint64_t number = 0;
    if (db.len > 0 && !str_to_u64(db, REDIS_DB_MAX, &number)) {
        return "must end behind the host, or with / and the number of a database";
    }
    url->db = (uint32_t)number;
    *rest = str_make(rest->ptr, (size_t)(slash - rest->ptr));
    return NULL;
}

int redis_url_parse(struct redis_url *out_url, struct str text, const char **out_problem)
{
    struct redis_url url = {0};
    const char *problem = read_scheme(&url, &text);
    problem = problem ? problem : read_credentials(&url, &text);
    problem = problem ? problem : read_db(&url, &text);
    if (!problem && redis_address_parse(&url.address, text, REDIS_PORT)) {
        problem = "needs a host, or a host and a port of 1 to 65535 (IPv6 in brackets)";
    }
    if (problem) {
        *out_problem = problem;
        return ERR_SYNTAX;
    }
    *out_url = url;
    return 0;
}
