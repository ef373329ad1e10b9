/* Any bytes as what was published: a frame that is taken lies inside them and says the same when it
 * is written again. */
#include "bus/redis_frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "bus/bus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_frame(const struct redis_frame *frame, struct str payload)
{
    char number[24];
    snprintf(number, sizeof(number), "%" PRIu64, frame->counter);
    ASSERT(frame->epoch.ptr == payload.ptr && redis_frame_is_epoch(frame->epoch));
    ASSERT(frame->epoch.len <= BUS_EPOCH_MAX);
    ASSERT(frame->counter >= 1 && frame->counter <= REDIS_FRAME_MAX_COUNTER);
    ASSERT(frame->record.ptr + frame->record.len == payload.ptr + payload.len);
    ASSERT(frame->epoch.len + strlen(number) + 2 + frame->record.len <= payload.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* exact, so that reading on is noticed */
    memcpy(text, data, size);
    struct redis_frame frame;
    if (redis_frame_read(&frame, str_make(text, size))) {
        check_frame(&frame, str_make(text, size));
    }
    free(text);
    return 0;
}
