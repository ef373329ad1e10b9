#include "proto/utf8.h"

/* A state machine in a table of shifts: the entry of a byte holds, for each state, the state that
 * follows; a state is the shift that finds its six bits, so a step is one load and one shift. */
enum {
    ACCEPT = 0,
    REJECT = 6,
    ONE = 12,      /* one continuation byte is missing */
    TWO = 18,      /* two */
    THREE = 24,    /* three */
    AFTER_E0 = 30, /* two, the first not overlong: a0..bf */
    AFTER_ED = 36, /* two, the first no surrogate: 80..9f */
    AFTER_F0 = 42, /* three, the first not overlong: 90..bf */
    AFTER_F4 = 48, /* three, the first not above U+10FFFF: 80..8f */
};

#define STEPS(accept, one, two, three, e0, ed, f0, f4)                                    \
    ((uint64_t)(accept) << ACCEPT | (uint64_t)REJECT << REJECT | (uint64_t)(one) << ONE | \
     (uint64_t)(two) << TWO | (uint64_t)(three) << THREE | (uint64_t)(e0) << AFTER_E0 |   \
     (uint64_t)(ed) << AFTER_ED | (uint64_t)(f0) << AFTER_F0 | (uint64_t)(f4) << AFTER_F4)

/* A byte that can only begin a code point. */
#define BEGIN(next) STEPS(next, REJECT, REJECT, REJECT, REJECT, REJECT, REJECT, REJECT)

static const uint64_t steps[256] = {
    [0x00 ... 0x7f] = BEGIN(ACCEPT),
    [0x80 ... 0x8f] = STEPS(REJECT, ACCEPT, ONE, TWO, REJECT, ONE, REJECT, TWO),
    [0x90 ... 0x9f] = STEPS(REJECT, ACCEPT, ONE, TWO, REJECT, ONE, TWO, REJECT),
    [0xa0 ... 0xbf] = STEPS(REJECT, ACCEPT, ONE, TWO, ONE, REJECT, TWO, REJECT),
    [0xc0 ... 0xc1] = BEGIN(REJECT),
    [0xc2 ... 0xdf] = BEGIN(ONE),
    [0xe0] = BEGIN(AFTER_E0),
    [0xe1 ... 0xec] = BEGIN(TWO),
    [0xed] = BEGIN(AFTER_ED),
    [0xee ... 0xef] = BEGIN(TWO),
    [0xf0] = BEGIN(AFTER_F0),
    [0xf1 ... 0xf3] = BEGIN(THREE),
    [0xf4] = BEGIN(AFTER_F4),
    [0xf5 ... 0xff] = BEGIN(REJECT),
};

enum { BLOCK = 16 };

static bool block_is_ascii(const uint8_t *at)
{
    uint64_t words[2];
    memcpy(words, at, sizeof(words));
    return ((words[0] | words[1]) & 0x8080808080808080u) == 0;
}

static uint8_t run(uint8_t from, const uint8_t *at, size_t len)
{
    uint64_t state = from;
    for (size_t i = 0; i < len; i++) {
        state = steps[at[i]] >> (state & 63);
    }
    return state & 63;
}

bool utf8_feed(struct utf8 *utf8, const void *data, size_t len)
{
    const uint8_t *at = data;
    uint8_t state = utf8->state;
    for (; len >= BLOCK && state != REJECT; at += BLOCK, len -= BLOCK) {
        if (state != ACCEPT || !block_is_ascii(at)) {
            state = run(state, at, BLOCK);
        }
    }
    utf8->state = state == REJECT ? REJECT : run(state, at, len);
    return utf8->state != REJECT;
}

bool utf8_is_valid(struct str text)
{
    struct utf8 utf8 = {0};
    return utf8_feed(&utf8, text.ptr, text.len) && utf8_is_complete(&utf8);
}

struct str utf8_truncate(struct str text, size_t max)
{
    if (text.len <= max) {
        return text;
    }
    while (max > 0 && ((uint8_t)text.ptr[max] & 0xc0) == 0x80) {
        max--;
    }
    return str_make(text.ptr, max);
}
