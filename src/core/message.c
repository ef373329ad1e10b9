#include "core/message.h"

#include <string.h>

#include "base/mem.h"
#include "core/receipt.h"

static size_t aligned(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static struct message *create(struct str encoded, const struct event *event, uint32_t queue,
                              struct bus_pos pos, bool is_traced)
{
    size_t links_at = aligned(sizeof(struct message));
    size_t bytes_at = links_at + sizeof(uint64_t) * event->header.target_count;
    size_t size = is_traced ? aligned(bytes_at + encoded.len) + sizeof(struct message_trace)
                            : bytes_at + encoded.len;
    struct message *message = size <= UINT32_MAX ? mem_alloc(size) : NULL;
    if (!message) {
        return NULL;
    }
    memset(message, 0, offsetof(struct message, event));
    memset((uint8_t *)message + links_at, 0, bytes_at - links_at);
    uint8_t *bytes = (uint8_t *)message + bytes_at;
    memcpy(bytes, encoded.ptr, encoded.len);
    message->event = *event;
    event_rebase(&message->event, encoded.ptr, bytes);
    message->links = (uint64_t *)((uint8_t *)message + links_at);
    message->queue = queue;
    message->pos = pos;
    message->size = (uint32_t)size;
    message->is_traced = is_traced;
    atomic_init(&message->fate, 0);
    atomic_init(&message->open_workers, 0);
    atomic_init(&message->matched, 0);
    message->way_us = 0;
    atomic_init(&message->refs, 1);
    return message;
}

struct message *message_create(struct str encoded, const struct event *event, uint32_t queue,
                               struct bus_pos pos)
{
    return create(encoded, event, queue, pos, false);
}

struct message *message_create_traced(struct str encoded, const struct event *event, uint32_t queue,
                                      struct bus_pos pos, const struct message_trace *trace)
{
    struct message *message = create(encoded, event, queue, pos, true);
    if (message) {
        struct message_trace *own = message_trace(message);
        *own = (struct message_trace){.on_done = trace->on_done, .owner = trace->owner};
        atomic_init(&own->open, 1);
    }
    return message;
}

struct str message_encoded(const struct message *message)
{
    const uint8_t *bytes = (const uint8_t *)(message->links + message->event.header.target_count);
    return str_make(bytes, EVENT_HEADER_LEN + (size_t)message->event.header.length);
}

void message_trace_open(struct message *message)
{
    if (message->is_traced) {
        atomic_fetch_add_explicit(&message_trace(message)->open, 1, memory_order_relaxed);
    }
}

void message_trace_close(struct message *message, unsigned count)
{
    struct message_trace *trace = message_trace(message);
    if (trace && count > 0 &&
        atomic_fetch_sub_explicit(&trace->open, count, memory_order_acq_rel) == count) {
        trace->on_done(trace->owner, message);
    }
}

void message_unref(struct message *message)
{
    if (message && atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) == 1) {
        receipt_unref(message->receipt);
        mem_free(message);
    }
}

static size_t format_u64(char *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    memcpy(out, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

size_t message_format_pos(char out[MESSAGE_POS_MAX], struct bus_pos pos)
{
    size_t len = format_u64(out, pos.hi);
    out[len++] = '.';
    len += format_u64(out + len, pos.lo);
    out[len] = '\0';
    return len;
}

bool message_parse_pos(struct bus_pos *out_pos, struct str text)
{
    struct str rest = text;
    struct str hi;
    struct str lo;
    struct bus_pos pos;
    if (!str_split(&rest, '.', &hi) || !str_split(&rest, '.', &lo) || rest.ptr ||
        !str_to_u64(hi, UINT64_MAX, &pos.hi) || !str_to_u64(lo, UINT64_MAX, &pos.lo)) {
        return false;
    }
    *out_pos = pos;
    return true;
}
