/* The trace context of a push: its headers, or the fields of its message. */
#include "api/push_parse.h"
#include "proto/http_fields.h"

void push_take_trace(struct push *push, struct str parent, struct str state)
{
    if (push->has_trace || !parent.ptr) {
        return;
    }
    push->has_trace = trace_parent_parse(&push->trace, parent);
    bool has_state = push->has_trace && trace_state_is_sound(state);
    push->trace_state = has_state && state.ptr ? state : STR("");
    push->trace_is_wrong = push->trace_is_wrong || !has_state;
}

/* W3C Trace Context 3.3: several lines are one list. One that is too long is told by its length. */
static struct str join_state(struct push *push, const struct http_fields *fields)
{
    size_t len = 0;
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_header *header = &fields->headers[i];
        if (!str_equal_nocase(header->name, STR("tracestate"))) {
            continue;
        }
        size_t comma = len > 0;
        if (len + comma + header->value.len > TRACE_STATE_MAX) {
            return STR("?");
        }
        memcpy(push->joined_state + len, ",", comma);
        memcpy(push->joined_state + len + comma, header->value.ptr, header->value.len);
        len += comma + header->value.len;
    }
    return str_make(push->joined_state, len);
}

void push_take_trace_headers(struct push *push, const struct http_fields *fields)
{
    if (push->has_trace || !http_fields_has(fields, HTTP_FIELD_TRACEPARENT)) {
        return;
    }
    bool is_one = http_fields_has_one(fields, HTTP_FIELD_TRACEPARENT);
    push_take_trace(push, is_one ? http_fields_get(fields, HTTP_FIELD_TRACEPARENT) : STR("?"),
                    join_state(push, fields));
}
