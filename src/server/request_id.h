/* The id of a request, by which its caller's log and ours find each other: the caller's own, from
 * its X-Request-Id, when that is one to be trusted with (one line of 1 to 64 letters, digits and
 * "-._:/+=@"), else one that is made here. One thread. */
#ifndef TIDEGATE_SERVER_REQUEST_ID_H
#define TIDEGATE_SERVER_REQUEST_ID_H

#include "base/log.h"
#include "proto/http_request.h"
#include "proto/trace_context.h"

enum { REQUEST_ID_MAX = 64, REQUEST_ID_MADE = 16 /* letters of one that is made */ };
enum { REQUEST_TRACE_LEN = 2 * TRACE_ID_LEN };

/* A copy, good after the request is gone. */
struct request_id {
    uint8_t len;
    uint8_t trace_len; /* 0 or REQUEST_TRACE_LEN */
    char text[REQUEST_ID_MAX];
    char trace[REQUEST_TRACE_LEN];
};

void request_id_read(struct request_id *out_id, const struct http_request *request);

/* Of an id that stays where it is. */
static inline struct str request_id_str(const struct request_id *id)
{
    return str_make(id->text, id->len);
}

/* The trace that the request says it belongs to (W3C Trace Context): 32 hex digits; empty when it
 * says none. */
static inline struct str request_id_trace(const struct request_id *id)
{
    return str_make(id->trace, id->trace_len);
}

/* While the thread handles a request: its log lines have the request's id and trace. */
struct request_scope {
    struct log_scope scope;
    struct request_id id; /* the exchange may be answered, and gone */
};
void request_scope_enter(struct request_scope *scope, const struct request_id *id);
void request_scope_leave(struct request_scope *scope);

#endif
