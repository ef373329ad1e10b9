/* Claims that the cluster signed, so that any node can read them back and nobody else can make
 * them: "base64url(claims).base64url(HMAC-SHA256)". What stands in the claims is the caller's.
 * Pure. */
#ifndef TIDEGATE_SERVER_SIGNED_H
#define TIDEGATE_SERVER_SIGNED_H

#include <stdint.h>

#include "base/buf.h"

enum { SIGNED_KEY_LEN = 32 };

/* Appends. 0 or ERR_NO_MEMORY. */
int signed_write(struct buf *out, const uint8_t key[SIGNED_KEY_LEN], struct str claims);

/* The claims go into memory, which has cap bytes. 0, ERR_SYNTAX or ERR_DENIED (the signature, which
 * is compared in constant time and before anything is looked at). */
int signed_read(char *memory, size_t cap, struct str *out_claims, const uint8_t key[SIGNED_KEY_LEN],
                struct str text);

#endif
