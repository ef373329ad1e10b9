/* GET /v1/nodes: who is in the cluster, as this node knows it from their beacons. */
#ifndef TIDEGATE_API_NODES_H
#define TIDEGATE_API_NODES_H

#include "api/api.h"

void nodes_handle_list(struct api_call *call);

#endif
