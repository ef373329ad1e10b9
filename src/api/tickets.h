/* A ticket's life as the business system sees it: made, looked at, ended. Making one asks nobody:
 * it is signed (server/ticket.h), and its id says the rest (core/ticket_id.h). */
#ifndef TIDEGATE_API_TICKETS_H
#define TIDEGATE_API_TICKETS_H

#include "api/api.h"
#include "api/push_parse.h"

/* False, with *out_error: it is no ticket's id of the app, or one that has expired. */
bool tickets_check_id(const struct worker *worker, uint32_t app_hash, struct str id,
                      struct push_error *out_error);

void tickets_handle_create(struct api_call *call); /* POST /v1/tickets */
void tickets_handle_get(struct api_call *call);    /* GET /v1/tickets/{ticket} */
void tickets_handle_delete(struct api_call *call); /* DELETE /v1/tickets/{ticket} */

#endif
