/* What travels on the channel of mode pubsub: "EPOCH COUNTER RECORD", made by the script that
 * counts (redis_pubsub.c). The record may hold any bytes. Pure. */
#ifndef TIDEGATE_BUS_REDIS_FRAME_H
#define TIDEGATE_BUS_REDIS_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* Lua counts in doubles. */
#define REDIS_FRAME_MAX_COUNTER (1ull << 53)

struct redis_frame {
    struct str epoch; /* 1 to BUS_EPOCH_MAX letters and digits */
    uint64_t counter; /* from 1 */
    struct str record;
};

/* False when it was not made by the script. */
bool redis_frame_read(struct redis_frame *out_frame, struct str payload);

/* Whether a text can name an epoch: 1 to BUS_EPOCH_MAX letters and digits. */
bool redis_frame_is_epoch(struct str text);

#endif
