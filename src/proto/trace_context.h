/* W3C Trace Context (Recommendation of 2021-11-23): reads and writes the values of the headers
 * traceparent and tracestate. Pure. What is not as the Recommendation has it is treated as if it
 * had not been sent: a trace is never a reason to refuse what it is about. */
#ifndef TIDEGATE_PROTO_TRACE_CONTEXT_H
#define TIDEGATE_PROTO_TRACE_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum {
    TRACE_ID_LEN = 16,
    TRACE_SPAN_ID_LEN = 8,
    TRACE_PARENT_LEN = 55,   /* "00-" 32 "-" 16 "-" 2 */
    TRACE_PACKED_LEN = 25,   /* as an event has it, before the tracestate */
    TRACE_STATE_MAX = 512,   /* 3.3.1.5: at least so much is to be passed on */
    TRACE_STATE_MEMBERS = 32 /* 3.3.1.1 */
};

enum trace_flag { TRACE_SAMPLED = 1 }; /* the others are to be zero */

struct trace_context {
    uint8_t trace_id[TRACE_ID_LEN];
    uint8_t span_id[TRACE_SPAN_ID_LEN]; /* of the caller's span: the parent of one's own */
    uint8_t flags;                      /* of enum trace_flag; unknown ones are cleared */
};

static inline bool trace_is_sampled(const struct trace_context *context)
{
    return context->flags & TRACE_SAMPLED;
}

/* 3.2: lower-case hex, no id all zero, version ff is none; of a version after 00 the beginning is
 * read, and what follows it is behind a dash. False: no traceparent, *out_context is untouched. */
bool trace_parent_parse(struct trace_context *out_context, struct str text);

/* Version 00; no NUL. */
void trace_parent_format(char out[TRACE_PARENT_LEN], const struct trace_context *context);

/* 3.3: whether text is a list of at most 32 members, and no longer than TRACE_STATE_MAX. "" is. */
bool trace_state_is_sound(struct str text);

/* The same trace and flags, and a span of one's own. random must not be 0. */
struct trace_context trace_context_child(const struct trace_context *parent, uint64_t random);

/* trace id, span id, flags. */
void trace_context_pack(uint8_t out[TRACE_PACKED_LEN], const struct trace_context *context);

/* False when it is shorter than that, or an id is all zero. What follows is the tracestate. */
bool trace_context_unpack(struct trace_context *out_context, struct str packed);

#endif
