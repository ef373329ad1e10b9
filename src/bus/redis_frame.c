#include "bus/redis_frame.h"

#include "bus/bus.h"

bool redis_frame_is_epoch(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && (c < '0' || c > '9')) {
            return false;
        }
    }
    return text.len > 0 && text.len <= BUS_EPOCH_MAX;
}

bool redis_frame_read(struct redis_frame *out_frame, struct str payload)
{
    struct redis_frame frame;
    struct str rest = payload, counter;
    if (!str_split(&rest, ' ', &frame.epoch) || !str_split(&rest, ' ', &counter) || !rest.ptr ||
        !redis_frame_is_epoch(frame.epoch) ||
        !str_to_u64(counter, REDIS_FRAME_MAX_COUNTER, &frame.counter) || frame.counter == 0) {
        return false;
    }
    frame.record = rest;
    *out_frame = frame;
    return true;
}
