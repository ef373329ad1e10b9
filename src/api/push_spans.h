/* The spans of a push whose trace is sampled, while somebody takes them: the request (of a batch:
 * each of its messages), and below it the way to the bus. What nodes do with the message is below
 * that: gateway_spans.c. Runs on workers. */
#ifndef TIDEGATE_API_PUSH_SPANS_H
#define TIDEGATE_API_PUSH_SPANS_H

#include "api/push.h"

struct push_spans; /* push_spans.c */

/* NULL where there is nothing to tell; also over metrics.otlp.max_traces, and when memory is out.
 * *out_context, which events carry, is then the push's own trace, else that of the way to the bus.
 */
struct push_spans *push_spans_begin(struct worker *worker, const struct push *push,
                                    struct trace_context *out_context);

/* NULL is fine, for all. The bus has it, or has not; once. */
void push_spans_published(struct push_spans *spans, const struct push_task *task);

/* The caller is answered; once, and last. */
void push_spans_answered(struct push_spans *spans, const struct push_task *task,
                         const struct push_outcome *outcome);

void push_spans_free(struct push_spans *spans);

#endif
