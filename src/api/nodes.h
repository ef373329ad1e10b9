/* Who is in the cluster, as this node knows it from their beacons, and sending a node's sessions
 * away: GET /v1/nodes, POST /v1/nodes/{node}:drain and :resume. */
#ifndef TIDEGATE_API_NODES_H
#define TIDEGATE_API_NODES_H

#include "api/api.h"

struct gather_kind;

void nodes_handle_list(struct api_call *call);

/* What the list says of one, without the braces. */
void nodes_write_fields(struct buf *out, const struct cluster_node *node);

/* The node is named by its name or its boot, and answers itself; any node may be asked. */
void nodes_handle_drain(struct api_call *call);
void nodes_handle_resume(struct api_call *call);

/* What they ask of another node, for query_on_node_ask. */
const struct gather_kind *nodes_order_kind(void);

#endif
