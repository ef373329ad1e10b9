/* Where a Redis server is and who one is there, as a URL says it:
 *   redis://user:password@host:port/db      rediss:// for TLS; [host] for IPv6
 * All but the host may be missing. User and password are percent-decoded. Pure. */
#ifndef TIDEGATE_BUS_REDIS_URL_H
#define TIDEGATE_BUS_REDIS_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum {
    REDIS_HOST_MAX = 255, /* bytes; RFC 1035 */
    REDIS_USER_MAX = 255,
    REDIS_PASSWORD_MAX = 511,
    REDIS_DB_MAX = 65535,
    REDIS_PORT = 6379,
    REDIS_SENTINEL_PORT = 26379,
};

/* Where one server listens. */
struct redis_address {
    char host[REDIS_HOST_MAX + 1]; /* IPv6 without brackets */
    uint16_t port;
};

struct redis_url {
    bool tls;
    struct redis_address address;
    char user[REDIS_USER_MAX + 1];         /* "": the default user */
    char password[REDIS_PASSWORD_MAX + 1]; /* "": no AUTH */
    uint32_t db;
};

/* 0, or ERR_SYNTAX with *out_problem: static, and without a part of the URL, which is secret. */
int redis_url_parse(struct redis_url *out_url, struct str text, const char **out_problem);

/* "host", "host:port", "[::1]:port". 0 or ERR_SYNTAX. */
int redis_address_parse(struct redis_address *out_address, struct str text, uint16_t port);

enum { REDIS_ADDRESS_TEXT_MAX = REDIS_HOST_MAX + 10 };

/* Writes "host:port", an IPv6 host in brackets, and returns out. */
const char *redis_address_format(const struct redis_address *address,
                                 char out[REDIS_ADDRESS_TEXT_MAX]);

#endif
