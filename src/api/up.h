/* POST /v1/up on the client listener: what a client of an event stream says. Its session may be on
 * any node: the request is answered when that one has taken the frames, and what comes of them
 * (`ok`, `err`) the stream tells. Between nodes it travels sealed, since tokens are in it. */
#ifndef TIDEGATE_API_UP_H
#define TIDEGATE_API_UP_H

#include "api/gather.h"

/* False when the path is another. */
bool up_on_request(struct worker *worker, struct http_exchange *exchange);

/* For query_on_node_ask. */
extern const struct gather_kind up_kind;

#endif
