/* GET and DELETE of /v1/messages/{id}: what became of a message so far, and cancelling it, on all
 * nodes. Every node has the counts of its own sessions beside the message in its window, and each
 * is asked; so any node can answer, for as long as the windows hold the message. */
#ifndef TIDEGATE_API_RECEIPTS_H
#define TIDEGATE_API_RECEIPTS_H

#include "api/api.h"

struct gather_kind;

extern const struct gather_kind receipts_kind;

void receipts_handle_get(struct api_call *call);
void receipts_handle_delete(struct api_call *call);

#endif
