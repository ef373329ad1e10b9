#include "proto/base64.h"

#include <stdbool.h>

#include "base/err.h"

static const char *const alphabets[] = {
    [BASE64_STANDARD] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    [BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

size_t base64_encoded_len(size_t len, enum base64_alphabet alphabet)
{
    size_t rest = len % 3;
    size_t tail = alphabet == BASE64_STANDARD ? 4 : rest + 1;
    return len / 3 * 4 + (rest ? tail : 0);
}

size_t base64_encode(char *out, const void *data, size_t len, enum base64_alphabet alphabet)
{
    const char *digits = alphabets[alphabet];
    const uint8_t *in = data;
    char *to = out;
    for (; len >= 3; len -= 3, in += 3) {
        uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        *to++ = digits[bits >> 18];
        *to++ = digits[bits >> 12 & 63];
        *to++ = digits[bits >> 6 & 63];
        *to++ = digits[bits & 63];
    }
    if (len > 0) {
        uint32_t bits = (uint32_t)in[0] << 16 | (len == 2 ? (uint32_t)in[1] << 8 : 0);
        *to++ = digits[bits >> 18];
        *to++ = digits[bits >> 12 & 63];
        if (len == 2) {
            *to++ = digits[bits >> 6 & 63];
        }
        for (size_t i = len; alphabet == BASE64_STANDARD && i < 3; i++) {
            *to++ = '=';
        }
    }
    return (size_t)(to - out);
}

static int digit_value(char c, enum base64_alphabet alphabet)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    const char *digits = alphabets[alphabet];
    return c == digits[62] ? 62 : c == digits[63] ? 63 : -1;
}

/* Takes the padding off; false when the length is impossible. */
static bool strip_padding(struct str *text, enum base64_alphabet alphabet)
{
    if (alphabet == BASE64_URL) {
        return text->len % 4 != 1;
    }
    if (text->len % 4 != 0) {
        return false;
    }
    for (int i = 0; i < 2 && text->len > 0 && text->ptr[text->len - 1] == '='; i++) {
        text->len--;
    }
    return true;
}

int base64_decode(uint8_t *out, size_t cap, size_t *out_len, struct str text,
                  enum base64_alphabet alphabet)
{
    if (!strip_padding(&text, alphabet)) {
        return ERR_SYNTAX;
    }
    size_t len = text.len / 4 * 3 + (text.len % 4 ? text.len % 4 - 1 : 0);
    if (len > cap) {
        return ERR_TOO_LARGE;
    }
    uint32_t bits = 0;
    unsigned have = 0; /* bits not written yet; the rest of `bits` is stale */
    for (size_t i = 0; i < text.len; i++) {
        int value = digit_value(text.ptr[i], alphabet);
        if (value < 0) {
            return ERR_SYNTAX;
        }
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            *out++ = (uint8_t)(bits >> have);
        }
    }
    /* RFC 4648 3.5: bits that no byte uses are zero, or one value would have several texts. */
    if (bits & ((1u << have) - 1)) {
        return ERR_SYNTAX;
    }
    *out_len = len;
    return 0;
}
