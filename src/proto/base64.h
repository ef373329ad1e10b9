/* Base64 (RFC 4648), both alphabets, into the caller's memory. Decoding is strict and canonical:
 * one text a byte string, so that a signed token can't be written in two ways. Pure. */
#ifndef TIDEGATE_PROTO_BASE64_H
#define TIDEGATE_PROTO_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum base64_alphabet {
    BASE64_STANDARD, /* '+' '/', padding demanded (section 4) */
    BASE64_URL,      /* '-' '_', padding refused (section 5, as RFC 7515 uses it) */
};

/* Bytes that base64_encode writes for len bytes. */
size_t base64_encoded_len(size_t len, enum base64_alphabet alphabet);

/* Enough for what base64_decode writes for len characters. */
static inline size_t base64_decoded_max(size_t len)
{
    return len / 4 * 3 + 2;
}

/* No terminating NUL. Returns the bytes written. */
size_t base64_encode(char *out, const void *data, size_t len, enum base64_alphabet alphabet);

/* out has cap bytes; it may be the text itself. 0, ERR_SYNTAX (a foreign character, white space
 * too, wrong padding or length, unused bits that are not zero) or ERR_TOO_LARGE. out may be
 * scribbled on when it fails. */
int base64_decode(uint8_t *out, size_t cap, size_t *out_len, struct str text,
                  enum base64_alphabet alphabet);

#endif
