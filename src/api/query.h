/* Endpoints that ask and that act on sessions: users, sessions, groups. */
#ifndef TIDEGATE_API_QUERY_H
#define TIDEGATE_API_QUERY_H

#include "api/api.h"

void query_handle_user(struct api_call *call);         /* GET /v1/users/{user} */
void query_handle_users(struct api_call *call);        /* POST /v1/users:query */
void query_handle_kick_user(struct api_call *call);    /* DELETE /v1/users/{user}/sessions */
void query_handle_session(struct api_call *call);      /* GET /v1/sessions/{sid} */
void query_handle_kick_session(struct api_call *call); /* DELETE /v1/sessions/{sid} */
void query_handle_group(struct api_call *call);        /* GET /v1/groups/{group} */
void query_handle_join(struct api_call *call);         /* PUT /v1/groups/{group}/users/{user} */
void query_handle_part(struct api_call *call);         /* DELETE /v1/groups/{group}/users/{user} */

/* Another node asks: for gateway_hooks.on_node_ask. */
void query_on_node_ask(struct gateway *gateway, struct cluster_ask *ask);

#endif
