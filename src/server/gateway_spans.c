/* The span of a delivery: from when the bus handed a message over to when the last worker of this
 * node went over it. One for each node and message, whatever the number of sessions. */
#include "base/clock.h"
#include "server/gateway_private.h"
#include "server/span.h"

bool gateway_wants_traces(void *owner)
{
    const struct gateway *gateway = owner;
    return span_sink_is_open(gateway->options.spans);
}

static void add_count(struct span *span, const char *key, atomic_uint *count)
{
    span_add_number(span, key, atomic_load_explicit(count, memory_order_acquire));
}

/* Below the way to the bus, which it came by. */
static struct span make(struct message *message, const struct trace_context *context)
{
    struct message_trace *trace = message_trace(message);
    struct str packed = event_trace(&message->event);
    uint64_t now_us = clock_wall_us();
    struct span span = {
        .kind = SPAN_CONSUMER,
        .name = "deliver",
        .context = trace_context_child(context, span_draw_id()),
        .state = str_make(packed.ptr + EVENT_TRACE_LEN, packed.len - EVENT_TRACE_LEN),
        .start_us = now_us - (clock_monotonic_us() - message->received_us),
        .end_us = now_us};
    memcpy(span.parent, context->span_id, TRACE_SPAN_ID_LEN);
    span_add_text(&span, "messaging.system", STR("tidegate"));
    span_add_text(&span, "messaging.operation.type", STR("process"));
    span_add_text(&span, "messaging.message.id", message->event.id);
    span_add_number(&span, "tidegate.queue", message->queue);
    add_count(&span, "tidegate.sessions.matched", &trace->matched);
    add_count(&span, "tidegate.sessions.written", &trace->written);
    add_count(&span, "tidegate.sessions.dropped", &trace->dropped);
    return span;
}

void gateway_on_traced(void *owner, struct message *message)
{
    struct gateway *gateway = owner;
    struct span_sink *sink = gateway->options.spans;
    struct trace_context context;
    if (trace_context_unpack(&context, event_trace(&message->event)) &&
        span_sink_admits(sink, SPAN_CONSUMER)) {
        struct span span = make(message, &context);
        sink->take(sink, span_copy(&span));
    }
}
