#include "base/backoff.h"

uint64_t backoff_next_ms(struct backoff *backoff, uint64_t random)
{
    uint64_t ceiling = backoff->base_ms;
    for (unsigned i = 0; i < backoff->tries && ceiling < backoff->max_ms; i++) {
        ceiling *= 2;
    }
    if (ceiling > backoff->max_ms) {
        ceiling = backoff->max_ms;
    }
    if (backoff->tries < 64) {
        backoff->tries++;
    }
    return ceiling - random % (ceiling / 2 + 1);
}
