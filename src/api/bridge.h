/* Runs calls of the API for the main thread, where none can run: a request of the admin listener is
 * copied to a worker, handled there as one of the API listener is (api/api.h), and its answer
 * brought back. Everything here is called on the main thread.
 *
 *     main: bridge_call ── mail ──> worker: api_on_request_as … the handler answers
 *                       <── mail ── the answer's copy
 *     main: http_answer
 *
 * When the browser goes, the worker's handler is told (http_exchange.on_gone), so that a long poll
 * ends at once. A worker that has ended answers 503. */
#ifndef TIDEGATE_API_BRIDGE_H
#define TIDEGATE_API_BRIDGE_H

#include "api/api.h"
#include "proto/http_response.h"

struct bridge; /* bridge.c */

/* Calls under way at once, of all (over it 503) and of one session of the console (over it 429):
 * long polls of some tens of open consoles, and none of them takes the others' place. */
enum { BRIDGE_CALLS_MAX = 256, BRIDGE_CALLS_OF_SESSION = 16 };

struct bridge_options {
    struct gateway *gateway; /* borrowed; it has a main mailbox */
    void (*handle)(struct worker *worker, struct http_exchange *exchange,
                   const struct api_caller *caller); /* on the worker: api_on_request_as */
    const struct http_pair *headers; /* each answer has these, too; borrowed and constant */
    size_t header_count;
};

int bridge_create(struct bridge **out_bridge, const struct bridge_options *options);

/* Calls under way come to their end without it, the latest when the gateway is destroyed. NULL is
 * fine. */
void bridge_destroy(struct bridge *bridge);

/* Inside on_request: answers the exchange, later. path is the API's ("/v1/nodes"), of the request's
 * target; the query is the request's. caller is copied. session is a number that no other session
 * has (api/console_sessions.h), 0: where none is needed, and none counted. */
void bridge_call(struct bridge *bridge, struct http_exchange *exchange, struct str path,
                 const struct api_caller *caller, uint64_t session);

#endif
