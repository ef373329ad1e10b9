/* What a session of the event stream gets, as bytes: the frames of the client protocol, each the
 * data of an event; payloads alone for raw sessions, to which losses are events named "gap". The
 * frame of a message is built once for all LIVE sessions of the worker, with an id that is good for
 * each of them (docs/decisions/0029). All of these return one reference; NULL when memory is out.
 */
#ifndef TIDEGATE_SERVER_SSE_FRAME_H
#define TIDEGATE_SERVER_SSE_FRAME_H

#include "server/worker.h"

struct frame *sse_frame_of_message(struct worker *worker, const struct session *session,
                                   struct message *message);

/* One event. name "": a message. json "": none. heads: the positions of its id; NULL: it has none.
 */
struct frame *sse_frame_of_text(struct worker *worker, struct str name, struct str json,
                                const struct hub_heads *heads);

/* Shows that the stream lives: an event "ping" for the client protocol, a comment, which nobody
 * sees, for a raw session. */
struct frame *sse_frame_of_ping(bool is_v1);

/* The last event, "close": {"code":4101,"reason":"slow_consumer"}. A browser connects again
 * whatever it says, unless the page closes its EventSource; so it also says when. */
struct frame *sse_frame_of_close(uint16_t code);

#endif
