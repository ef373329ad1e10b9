/* What a push says: read from a JSON object, or from a raw body with options in the query. Pure;
 * borrows from the request and from its own scratch memory. */
#ifndef TIDEGATE_API_PUSH_PARSE_H
#define TIDEGATE_API_PUSH_PARSE_H

#include "base/buf.h"
#include "core/event.h"
#include "core/settings.h"
#include "proto/json.h"
#include "proto/trace_context.h"

enum push_wait { PUSH_WAIT_NONE, PUSH_WAIT_ROUTED, PUSH_WAIT_WRITTEN, PUSH_WAIT_ACKED };

enum { PUSH_EXCEPTS_MAX = 100 };

struct http_fields;

struct push {
    struct target *targets; /* in a growing array of its own */
    size_t target_count, target_cap;
    struct str excepts[PUSH_EXCEPTS_MAX];
    size_t except_count;
    struct str origin_tag;
    struct str type;
    struct str id;       /* "": none was given */
    struct str collapse; /* "": none */
    struct str data;
    enum event_data_kind data_kind;
    uint32_t ttl_ms;
    bool is_final; /* the targets' last message: they are tickets all */
    enum push_wait wait;
    uint64_t wait_ms;
    const char *route;   /* a literal: how it came, for its trace; NULL: not by a request */
    uint64_t started_us; /* monotonic: when that began; 0: not known */
    bool has_trace;      /* of who pushes, for the next two */
    bool trace_is_wrong; /* one was given that can't be used, or a tracestate; it is not there */
    struct trace_context trace;
    struct str trace_state;
    char joined_state[TRACE_STATE_MAX]; /* of several header lines */
    struct buf scratch; /* decoded texts; never moves: reserved for the whole input at first */
};

/* Why a push is refused; literals. */
struct push_error {
    int status;
    const char *code;
    const char *detail;
};

/* Ready for another push; keeps memory. */
void push_reset(struct push *push);
void push_fini(struct push *push);

/* True, or false with *out_error. object must have been parsed by json_parse. */
bool push_read_object(struct push *push, struct json_value object,
                      const struct settings_limits *limits, struct push_error *out_error);

/* The raw-body forms: one target is set by the caller through push_add_target; then options and
 * body. */
bool push_read_raw(struct push *push, struct str query, struct str content_type, struct str body,
                   const struct settings_limits *limits, struct push_error *out_error);

/* Takes a trace context unless it has one; what is not sound is as if it were not there. parent.ptr
 * NULL: none. Both are borrowed. */
void push_take_trace(struct push *push, struct str parent, struct str state);

/* The same of the headers. */
void push_take_trace_headers(struct push *push, const struct http_fields *fields);

/* name is borrowed. False when memory is out. */
bool push_add_target(struct push *push, enum target_kind kind, struct str name);

#endif
