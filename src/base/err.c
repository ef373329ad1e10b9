#include "base/err.h"

#include <stdio.h>
#include <string.h>

static const char *const phrases[] = {
    [-(ERR_PROTOCOL + 10000)] = "protocol violation",
    [-(ERR_TOO_LARGE + 10000)] = "too large",
    [-(ERR_UTF8 + 10000)] = "invalid UTF-8",
    [-(ERR_SYNTAX + 10000)] = "malformed input",
    [-(ERR_NOT_FOUND + 10000)] = "not found",
    [-(ERR_EXISTS + 10000)] = "already exists",
    [-(ERR_DENIED + 10000)] = "denied",
    [-(ERR_EXPIRED + 10000)] = "expired",
    [-(ERR_CANCELED + 10000)] = "canceled",
    [-(ERR_TIMEOUT + 10000)] = "timed out",
    [-(ERR_CLOSED + 10000)] = "closed by peer",
    [-(ERR_UNAVAILABLE + 10000)] = "unavailable",
    [-(ERR_CONFLICT + 10000)] = "conflict",
    [-(ERR_UNSUPPORTED + 10000)] = "unsupported",
    [-(ERR_NO_MEMORY + 10000)] = "out of memory",
    [-(ERR_TOO_MANY + 10000)] = "over a budget",
};

const char *err_str(int err)
{
    if (err >= 0) {
        return "no error";
    }
    int index = -(err + 10000);
    if (index > 0 && index < (int)(sizeof(phrases) / sizeof(phrases[0]))) {
        return phrases[index];
    }
    const char *text = strerrordesc_np((int)(0u - (unsigned)err)); /* INT_MIN has no negative */
    return text ? text : "unknown error";
}

void err_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}
