/* GET /v1/sessions/{sid}/frames: a session's frames as they come and go, for a person who looks.
 * The first call begins the watch (server/watch.h) on the worker that has the session, on whatever
 * node; each further one takes what came since, or waits for it. */
#ifndef TIDEGATE_API_FRAMES_H
#define TIDEGATE_API_FRAMES_H

#include "api/gather.h"

/* HOLD: how long a worker keeps one question; well within GATHER_LIMIT_MS. A longer wait is several
 * of them, each of which renews the watch. */
enum { FRAMES_WAIT_MAX_MS = 30 * 1000, FRAMES_HOLD_MS = 500, FRAMES_PAGE = 100 };

void frames_handle_get(struct api_call *call);

/* For query_on_node_ask. */
extern const struct gather_kind frames_kind;

#endif
