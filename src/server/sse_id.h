/* What a client of the event stream says in Last-Event-ID: the epoch, and the position up to which
 * it has everything, of each queue. Any node understands it.
 *
 * Base64url over: version 1; length of the epoch 1, epoch; the highest `hi` of all positions; then
 * for each queue that is known, ascending: how many were skipped, how far its `hi` is below the
 * highest (plus one; 0: hi and lo are both 0), lo plus one. Numbers are of seven bits a byte, the
 * last one without the high bit. So a queue costs four to six letters, not twenty. Pure. */
#ifndef TIDEGATE_SERVER_SSE_ID_H
#define TIDEGATE_SERVER_SSE_ID_H

#include "core/session.h"

enum { SSE_ID_MAX = 2048 };

/* Writes the queues whose bit is set in heads->started. Returns the length. */
size_t sse_id_write(char out[SSE_ID_MAX], struct str epoch, const struct hub_heads *heads);

/* As a resume; of queues from `queues` on nothing is kept. False when it is no id of ours. */
bool sse_id_read(struct session_resume *out_resume, struct str text, uint32_t queues);

#endif
