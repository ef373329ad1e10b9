/* A listener whose connections a service takes: for layers that may not hold a descriptor
 * themselves. */
#ifndef TIDEGATE_SERVER_HTTP_LISTEN_H
#define TIDEGATE_SERVER_HTTP_LISTEN_H

#include "net/listener.h"
#include "server/http_conn.h"

/* On the service's loop. Port 0 picks one; *addr is written back. Destroy the listener before the
 * service. */
int http_listen(struct listener **out_listener, struct http_service *service, struct addr *addr);

#endif
