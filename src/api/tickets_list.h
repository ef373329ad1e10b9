/* GET /v1/tickets: an app's tickets that somebody has claimed or that messages wait for, as this
 * node knows them, a page at a time in the order of their ids. They lie in the hub's table, so a
 * page is a walk over that, in slices of TICKETS_SLICE places between which the hub does all else.
 */
#ifndef TIDEGATE_API_TICKETS_LIST_H
#define TIDEGATE_API_TICKETS_LIST_H

#include "api/api.h"

enum { TICKETS_SLICE = 4096, TICKETS_PAGE = 100 };

void tickets_handle_list(struct api_call *call);

#endif
