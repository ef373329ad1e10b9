/* Sessions under the app's policy (apps[].sessions): a session that begins tells the others of its
 * user, and those that are too many go. What goes out to one that has just begun waits until it is
 * known that it may stay, so one that may not sees its close code and nothing before. Where the bus
 * or a node says nothing for POLICE_WAIT_MS, the session stays, and that is counted. Worker. */
#ifndef TIDEGATE_SERVER_POLICE_H
#define TIDEGATE_SERVER_POLICE_H

#include "server/ws_session.h"

enum { POLICE_WAIT_MS = 2000 };

/* The session has its user and its device, and waits for its fence. Without a policy nothing
 * happens. */
void police_begin(struct worker *worker, struct session *session);

/* For struct session_ops. */
void police_on_excess(struct shard *shard, struct session *session);

#endif
