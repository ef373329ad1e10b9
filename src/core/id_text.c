#include "core/id_text.h"

#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void id_text_encode(char *out, const uint8_t *raw, size_t len)
{
    for (size_t i = 0; i < len; i += 3, out += 4) {
        uint32_t bits = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];
        for (int k = 0; k < 4; k++) {
            out[k] = letters[bits >> (18 - 6 * k) & 63];
        }
    }
}

static int letter_value(char c)
{
    const char *at = c ? strchr(letters, c) : NULL;
    return at ? (int)(at - letters) : -1;
}

bool id_text_decode(uint8_t *raw, size_t len, const char *in)
{
    for (size_t i = 0; i < len; i += 3, in += 4) {
        uint32_t bits = 0;
        for (int k = 0; k < 4; k++) {
            int value = letter_value(in[k]);
            if (value < 0) {
                return false;
            }
            bits = bits << 6 | (uint32_t)value;
        }
        raw[i] = (uint8_t)(bits >> 16);
        raw[i + 1] = (uint8_t)(bits >> 8);
        raw[i + 2] = (uint8_t)bits;
    }
    return true;
}
