/* What the sources of gateway share; nobody else includes it.
 *   gateway.c          its life, and the bus thread
 *   gateway_asked.c    what the main thread asks of it
 *   gateway_cluster.c  the node among others
 *   gateway_spans.c    who follows traces is told what became of messages here */
#ifndef TIDEGATE_SERVER_GATEWAY_PRIVATE_H
#define TIDEGATE_SERVER_GATEWAY_PRIVATE_H

#include "server/gateway.h"

struct message;

/* gateway_spans.c: of struct hub_callbacks. */
bool gateway_wants_traces(void *owner);
void gateway_on_traced(void *owner, struct message *message);

/* gateway_cluster.c: once the hub has its bus. */
int gateway_join_cluster(struct gateway *gateway);

/* gateway_cluster.c: other settings say which users are followed. 0 or ERR_NO_MEMORY. */
int gateway_follow_users(struct gateway *gateway, const struct settings *settings);

#endif
