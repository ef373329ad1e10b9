/* How long to wait before the next try: doubling, with jitter, so that many clients that lost the
 * same gateway don't come back in step. Pure: randomness comes from the caller. */
#ifndef TIDEGATE_BASE_BACKOFF_H
#define TIDEGATE_BASE_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint64_t base_ms; /* the ceiling of the first wait */
    uint64_t max_ms;  /* of any */
    unsigned tries;   /* since the last success: set it to 0 then */
};

/* Between half the ceiling and all of it, and counts the try. */
uint64_t backoff_next_ms(struct backoff *backoff, uint64_t random);

#endif
