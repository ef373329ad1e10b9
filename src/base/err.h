/* Our error codes. A function returns 0 (or a count), -errno from the system, or one of these. */
#ifndef TIDEGATE_BASE_ERR_H
#define TIDEGATE_BASE_ERR_H

#include <stdlib.h>

enum {
    ERR_PROTOCOL = -10001,  /* the peer broke the protocol */
    ERR_TOO_LARGE = -10002, /* over a limit */
    ERR_UTF8 = -10003,      /* text that is not UTF-8 */
    ERR_SYNTAX = -10004,    /* JSON, YAML, a token: not well formed */
    ERR_NOT_FOUND = -10005,
    ERR_EXISTS = -10006,
    ERR_DENIED = -10007, /* a signature, a key or a right is missing or wrong */
    ERR_EXPIRED = -10008,
    ERR_CANCELED = -10009, /* the object was torn down before the answer */
    ERR_TIMEOUT = -10010,
    ERR_CLOSED = -10011,      /* the peer closed */
    ERR_UNAVAILABLE = -10012, /* try again later */
    ERR_CONFLICT = -10013,
    ERR_UNSUPPORTED = -10014,
    ERR_NO_MEMORY = -10015,
    ERR_TOO_MANY = -10016, /* a budget is used up */
};

/* A short English phrase for any code above or any -errno. Never NULL; static storage. */
const char *err_str(int err);

/* For our own mistakes only; stays on in production. What a peer sends never reaches one. */
#define ASSERT(condition)                                      \
    do {                                                       \
        if (__builtin_expect(!(condition), 0)) {               \
            err_assert_failed(#condition, __FILE__, __LINE__); \
        }                                                      \
    } while (0)

_Noreturn void err_assert_failed(const char *condition, const char *file, int line);

#endif
