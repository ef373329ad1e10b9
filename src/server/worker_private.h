/* What the sources of worker share; nobody else includes it.
 *   worker.c        its life, and the requests that reach it
 *   worker_turn.c   what goes to the bus thread and comes back, and the end of a turn
 *   worker_asked.c  what the main thread asks of it
 *   worker_users.c  who is here, for the count over the cluster */
#ifndef TIDEGATE_SERVER_WORKER_PRIVATE_H
#define TIDEGATE_SERVER_WORKER_PRIVATE_H

#include "server/worker.h"

/* worker.c: makes the tenants' apps known to the shard. 0 or ERR_NO_MEMORY, some then missing. */
int worker_add_apps(struct worker *worker);

/* worker_users.c */
void worker_count_users(struct worker *worker); /* from now on */

/* worker_turn.c */
extern const struct shard_callbacks worker_shard_callbacks;
void worker_on_ring(struct mail *mail);
void worker_run_done(struct worker *worker); /* what the hub gave back in this turn */
bool worker_end_turn(void *owner);
void worker_free_spare_notes(struct worker *worker);

#endif
