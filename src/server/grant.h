/* A grant says that the API made this user a member of this group: signed, so that membership needs
 * no store; the client shows it again in its next hello.
 * See server/signed.h. Pure. */
#ifndef TIDEGATE_SERVER_GRANT_H
#define TIDEGATE_SERVER_GRANT_H

#include <stdint.h>

#include "server/signed.h"

/* The text's longest: three names of limits.name at its highest, each of their bytes escaped. */
enum { GRANT_KEY_LEN = SIGNED_KEY_LEN, GRANT_MAX = 9 * 1024, GRANT_MEMORY = 12 * 1024 };

struct grant {
    struct str app;
    struct str user;
    struct str group;
    uint64_t issued_ms;
    uint64_t expires_ms;
};

int grant_write(struct buf *out, const uint8_t key[GRANT_KEY_LEN], const struct grant *grant);

/* 0, ERR_SYNTAX, ERR_DENIED (signature) or ERR_EXPIRED. The texts point into memory, which holds
 * GRANT_MEMORY bytes. */
int grant_read(struct grant *out_grant, char memory[GRANT_MEMORY], const uint8_t key[GRANT_KEY_LEN],
               struct str text, uint64_t now_ms);

#endif
