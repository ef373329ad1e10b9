/* POST /v1/revocations: tokens that are good no longer, by user, by id or by time of issue. Kept on
 * every node until they would have expired by themselves. */
#ifndef TIDEGATE_API_REVOCATIONS_H
#define TIDEGATE_API_REVOCATIONS_H

#include "api/api.h"

void revocations_handle_create(struct api_call *call);

#endif
