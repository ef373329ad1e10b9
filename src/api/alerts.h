/* GET /v1/alerts: the rules, and what is pending, firing or just resolved on each node. */
#ifndef TIDEGATE_API_ALERTS_H
#define TIDEGATE_API_ALERTS_H

#include "api/gather.h"

void alerts_handle_list(struct api_call *call);

/* For query_on_node_ask. */
extern const struct gather_kind alerts_kind;

#endif
