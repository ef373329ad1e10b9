/* GET /v1/users/{user}/messages and the like: what this node's window holds for a target, for
 * people who want to see what was sent to it. */
#ifndef TIDEGATE_API_MESSAGES_H
#define TIDEGATE_API_MESSAGES_H

#include "api/api.h"
#include "api/gather.h"

void messages_handle_user(struct api_call *call);   /* to the user, to all, and with ?groups=true
                                                     * to its sessions of now and their groups */
void messages_handle_group(struct api_call *call);  /* to the group */
void messages_handle_ticket(struct api_call *call); /* to the ticket, while the window has them */

/* Of what session has a user, and in which groups is it: for query_on_node_ask. */
extern const struct gather_kind messages_user_kind;

#endif
