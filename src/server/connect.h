/* GET /v1/ws on the client listener: who may connect, and the upgrade. */
#ifndef TIDEGATE_SERVER_CONNECT_H
#define TIDEGATE_SERVER_CONNECT_H

#include "server/worker.h"

/* Answers the request, or makes a session of its connection. False when the path is not one of
 * ours. */
bool connect_on_request(struct worker *worker, struct http_exchange *exchange);

#endif
