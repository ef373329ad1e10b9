/* Any bytes as a record: what decodes can be walked, and encodes to the same bytes again. */
#include <stdlib.h>

#include "base/err.h"
#include "core/event.h"
#include "core/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct target targets[EVENT_MAX_TARGETS];
static uint64_t keys[EVENT_MAX_TARGETS];
static struct str excepts[UINT16_MAX];

static void check_again(const struct event *event, const uint8_t *data, size_t len)
{
    struct str rest = event->target_bytes;
    size_t target_count = 0;
    while (event_next_target(&rest, &targets[target_count])) {
        keys[target_count] = event_key(event, target_count);
        target_count++;
    }
    ASSERT(target_count == event->header.target_count);
    size_t except_count = 0;
    rest = event->except_bytes;
    while (event_next_except(&rest, &excepts[except_count])) {
        except_count++;
    }
    ASSERT(except_count == event->except_count);
    struct buf again = {0};
    ASSERT(event_encode(&again, event, targets, keys, target_count, excepts, except_count) == 0);
    ASSERT(again.len == len && memcmp(again.data, data, len) == 0);
    buf_fini(&again);
}

static void check_message(const struct event *event, const uint8_t *data, size_t len)
{
    struct message *message = message_create(str_make(data, len), event, 0, (struct bus_pos){1, 0});
    ASSERT(message != NULL);
    ASSERT(str_equal(message->event.data, event->data) &&
           message->event.data.ptr != event->data.ptr);
    message_unref(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *record = malloc(size ? size : 1); /* exact, so that reading on is noticed */
    memcpy(record, data, size);
    for (size_t at = 0; at < size;) {
        struct event event;
        size_t skip = 0;
        ssize_t len = event_decode(&event, record + at, size - at, &skip);
        if (len > 0) {
            ASSERT((size_t)len == skip);
            check_again(&event, record + at, (size_t)len);
            check_message(&event, record + at, (size_t)len);
        }
        if (skip == 0) {
            break;
        }
        at += skip;
    }
    free(record);
    return 0;
}
