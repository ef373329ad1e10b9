/* GET /v1/users: the users of an app that are online, over all nodes, a page at a time.
 *
 * They lie in hash tables, so each page is a walk over all users of a worker; it goes in slices of
 * USERS_SLICE between which the worker does all else, and costs 10 to 40 ns a user (a million: some
 * 30 ms of its worker's time, spread over 250 turns; and as much again for the next page). */
#ifndef TIDEGATE_API_USERS_H
#define TIDEGATE_API_USERS_H

#include "api/gather.h"

enum { USERS_SLICE = 4096, USERS_PAGE = 100 };

void users_handle_list(struct api_call *call);

/* For query_on_node_ask. */
extern const struct gather_kind users_list_kind;

#endif
