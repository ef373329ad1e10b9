/* A span: one step of a push on its way through this node, for who follows its trace (W3C Trace
 * Context; the OpenTelemetry data model). Made by whoever took the step, on its own thread, and
 * handed over whole. */
#ifndef TIDEGATE_SERVER_SPAN_H
#define TIDEGATE_SERVER_SPAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mail.h"
#include "base/str.h"
#include "proto/trace_context.h"

/* As OTLP numbers them. */
enum span_kind { SPAN_SERVER = 2, SPAN_PRODUCER = 4, SPAN_CONSUMER = 5 };

enum { SPAN_ATTRIBUTES = 12 };

struct span_attribute {
    const char *key; /* a literal */
    struct str text; /* .ptr NULL: it is a number */
    int64_t number;
};

struct span {
    struct mail mail;  /* the exporter's */
    struct span *next; /* likewise */
    void *owner;       /* likewise */
    size_t size;       /* bytes of it all */
    enum span_kind kind;
    const char *name;             /* a literal */
    struct trace_context context; /* its own id */
    uint8_t parent[TRACE_SPAN_ID_LEN];
    struct str state;  /* tracestate; "": none */
    uint64_t start_us; /* wall clock */
    uint64_t end_us;
    const char *error; /* a literal; NULL: it went well */
    uint32_t attribute_count;
    struct span_attribute attributes[SPAN_ATTRIBUTES];
};

/* For a span on the stack, before span_copy. Over SPAN_ATTRIBUTES they are left out. */
void span_add_text(struct span *span, const char *key, struct str text);
void span_add_number(struct span *span, const char *key, int64_t number);

/* On the heap with all its texts; free with mem_free. NULL: no memory. */
struct span *span_copy(const struct span *span);

/* An id for a span: not 0. Any thread. */
uint64_t span_draw_id(void);

/* Where spans go. Any thread. */
struct span_sink {
    atomic_bool is_open; /* else nobody need make one */
    /* Whether one more push (SPAN_SERVER, and what is below it) or delivery (SPAN_CONSUMER) may be
     * told of, which is counted here: before a span is made, since who pushes decides how many
     * there would be. */
    bool (*admit)(struct span_sink *sink, enum span_kind kind);
    /* Takes the span, of span_copy; NULL counts as lost for want of memory. */
    void (*take)(struct span_sink *sink, struct span *span);
};

/* NULL is fine. */
static inline bool span_sink_is_open(const struct span_sink *sink)
{
    return sink && atomic_load_explicit(&sink->is_open, memory_order_relaxed);
}

static inline bool span_sink_admits(struct span_sink *sink, enum span_kind kind)
{
    return span_sink_is_open(sink) && sink->admit(sink, kind);
}

#endif
