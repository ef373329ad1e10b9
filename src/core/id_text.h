/* The letters of ids: base64url without padding over a multiple of three bytes. Pure. */
#ifndef TIDEGATE_CORE_ID_TEXT_H
#define TIDEGATE_CORE_ID_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* len: a multiple of 3. Writes len / 3 * 4 letters, no NUL. */
void id_text_encode(char *out, const uint8_t *raw, size_t len);

/* Reads len / 3 * 4 letters; false when one is none. */
bool id_text_decode(uint8_t *raw, size_t len, const char *in);

#endif
