/* Text that travels where others may read and write it: encrypted and authenticated (AES-256-GCM).
 * Each sealing draws 16 bytes, from which and the shared key its own key is made, so no nonce can
 * come twice. Any thread. */
#ifndef TIDEGATE_PROTO_SEAL_H
#define TIDEGATE_PROTO_SEAL_H

#include <stdint.h>

#include "base/buf.h"

enum { SEAL_KEY_LEN = 32, SEAL_EXTRA = 32 /* bytes longer than the text */ };

/* Appends text sealed. about is not in it, but must be the same to open it. 0, ERR_NO_MEMORY or
 * ERR_UNAVAILABLE (no randomness). */
int seal_write(struct buf *out, const uint8_t key[SEAL_KEY_LEN], struct str about, struct str text);

/* Appends the text. 0, ERR_NO_MEMORY, or ERR_DENIED, with nothing appended: another key, another
 * about, or other bytes. */
int seal_read(struct buf *out, const uint8_t key[SEAL_KEY_LEN], struct str about,
              struct str sealed);

#endif
