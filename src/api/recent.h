/* GET /v1/errors: the last warnings and errors in the logs of all nodes; base/log.h keeps each
 * one's.
 */
#ifndef TIDEGATE_API_RECENT_H
#define TIDEGATE_API_RECENT_H

#include "api/gather.h"

enum { RECENT_LIMIT_MAX = 1000, RECENT_LIMIT = 100 /* lines, unless the caller says */ };

void recent_handle_errors(struct api_call *call);

/* For query_on_node_ask. */
extern const struct gather_kind recent_errors_kind;

#endif
