/* Writes an event stream (text/event-stream, WHATWG HTML 9.2): fields of an event, one line each,
 * and the empty line that ends it. Pure but for the growing of the caller's buffer. */
#ifndef TIDEGATE_PROTO_SSE_H
#define TIDEGATE_PROTO_SSE_H

#include "base/buf.h"

/* "id: …". An event of this alone is not dispatched, but what a client says in Last-Event-ID is the
 * id from then on (9.2.6). The id has no control byte. */
void sse_write_id(struct buf *out, struct str id);

/* "event: …"; without it a client dispatches "message". */
void sse_write_name(struct buf *out, struct str name);

/* "retry: …": how long a client waits before it connects again. */
void sse_write_retry(struct buf *out, uint64_t ms);

/* The data as one line: line ends in JSON are white space, and become spaces. */
void sse_write_json(struct buf *out, struct str json);

/* The data as one line for each line of the text. CRLF, CR and LF all reach the client as LF. */
void sse_write_text(struct buf *out, struct str text);

/* The empty line: the event is complete. */
void sse_write_end(struct buf *out);

#endif
