#include "api/push_spans.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bus/bus.h"
#include "server/span.h"

struct push_spans {
    struct trace_context request, publish; /* each with its own id */
    uint8_t parent[TRACE_SPAN_ID_LEN];     /* of the request */
    const char *route;
    uint64_t request_us, publish_us; /* monotonic, when they began */
    size_t data_bytes;
    struct str state; /* behind the struct */
};

static struct span_sink *sink_of(const struct worker *worker)
{
    return worker->gateway->options.spans;
}

struct push_spans *push_spans_begin(struct worker *worker, const struct push *push,
                                    struct trace_context *out_context)
{
    bool is_told = push->has_trace && trace_is_sampled(&push->trace) &&
                   span_sink_admits(sink_of(worker), SPAN_SERVER);
    struct push_spans *spans = is_told ? mem_alloc(sizeof(*spans) + push->trace_state.len) : NULL;
    *out_context = push->trace;
    if (!spans) {
        return NULL;
    }
    uint64_t now_us = clock_monotonic_us();
    *spans = (struct push_spans){.request = trace_context_child(&push->trace, span_draw_id()),
                                 .publish = trace_context_child(&push->trace, span_draw_id()),
                                 .route = push->route,
                                 .request_us = push->started_us ? push->started_us : now_us,
                                 .publish_us = now_us,
                                 .data_bytes = push->data.len};
    memcpy(spans->parent, push->trace.span_id, TRACE_SPAN_ID_LEN);
    memcpy(spans + 1, push->trace_state.ptr, push->trace_state.len);
    spans->state = str_make(spans + 1, push->trace_state.len);
    *out_context = spans->publish;
    return spans;
}

/* Ends now; it began at the monotonic time from_us. */
static struct span make(const struct push_spans *spans, const struct push_task *task,
                        uint64_t from_us)
{
    uint64_t now_us = clock_wall_us();
    struct span span = {.state = spans->state,
                        .start_us = now_us - (clock_monotonic_us() - from_us),
                        .end_us = now_us};
    span_add_text(&span, "tidegate.app", str_of(task->worker->tenants->items[task->app].name));
    span_add_text(&span, "messaging.message.id", task->id);
    return span;
}

static void give(const struct push_task *task, const struct span *span)
{
    struct span_sink *sink = sink_of(task->worker);
    sink->take(sink, span_copy(span));
}

static struct push_outcome outcome_of(const struct publish *publish)
{
    return (struct push_outcome){.verdict = publish->verdict,
                                 .err = publish->err,
                                 .parts = publish->part_count,
                                 .accepted_parts = publish->accepted_parts};
}

void push_spans_published(struct push_spans *spans, const struct push_task *task)
{
    const char *code;
    const char *detail;
    if (!spans) {
        return;
    }
    const struct publish *publish = task->publish;
    struct push_outcome outcome = outcome_of(publish);
    struct span span = make(spans, task, spans->publish_us);
    push_status(&outcome, &code, &detail);
    span.kind = SPAN_PRODUCER;
    span.name = "bus publish";
    span.context = spans->publish;
    span.error = code;
    memcpy(span.parent, spans->request.span_id, TRACE_SPAN_ID_LEN);
    span_add_text(&span, "messaging.system", STR("tidegate"));
    span_add_text(&span, "messaging.operation.type", STR("send"));
    span_add_text(&span, "tidegate.bus", str_of(task->worker->gateway->options.engine->name));
    span_add_number(&span, "messaging.message.body.size", (int64_t)spans->data_bytes);
    span_add_number(&span, "tidegate.queue", publish->parts[0].queue);
    span_add_number(&span, "tidegate.parts", publish->part_count);
    give(task, &span);
}

void push_spans_answered(struct push_spans *spans, const struct push_task *task,
                         const struct push_outcome *outcome)
{
    const char *code;
    const char *detail;
    if (!spans) {
        return;
    }
    struct span span = make(spans, task, spans->request_us);
    int status = push_status(outcome, &code, &detail);
    span.kind = SPAN_SERVER;
    span.name = "push";
    span.context = spans->request;
    span.error = status >= 500 ? code : NULL; /* 4xx is the caller's mistake: not ours to call so */
    memcpy(span.parent, spans->parent, TRACE_SPAN_ID_LEN);
    span_add_text(&span, "http.request.method", STR("POST"));
    span_add_text(&span, "http.route", str_of(spans->route));
    span_add_number(&span, "http.response.status_code", status);
    if (code) {
        span_add_text(&span, "error.type", str_of(code));
    }
    give(task, &span);
}

void push_spans_free(struct push_spans *spans)
{
    mem_free(spans);
}
