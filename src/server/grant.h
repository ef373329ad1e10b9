/* A grant says that the API made this user a member of this group: signed, so that membership needs
 * no store; the client shows it again in its next hello.
 * "base64url(claims).base64url(HMAC-SHA256)". Pure. */
#ifndef TIDEGATE_SERVER_GRANT_H
#define TIDEGATE_SERVER_GRANT_H

#include <stdint.h>

#include "base/buf.h"

enum { GRANT_KEY_LEN = 32, GRANT_MAX = 2048 };

struct grant {
    struct str app;
    struct str user;
    struct str group;
    uint64_t issued_ms;
    uint64_t expires_ms;
};

int grant_write(struct buf *out, const uint8_t key[GRANT_KEY_LEN], const struct grant *grant);

/* 0, ERR_SYNTAX, ERR_DENIED (signature) or ERR_EXPIRED. The texts point into memory, which holds
 * GRANT_MAX bytes. */
int grant_read(struct grant *out_grant, char memory[GRANT_MAX], const uint8_t key[GRANT_KEY_LEN],
               struct str text, uint64_t now_ms);

#endif
