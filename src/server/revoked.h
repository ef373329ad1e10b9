/* A credential that is good by itself may have been revoked: asked right behind the check, on the
 * worker whose session it is for. A session that is let in before the revocation has come to its
 * worker is ended by it when it comes (core/shard_revoke.c). */
#ifndef TIDEGATE_SERVER_REVOKED_H
#define TIDEGATE_SERVER_REVOKED_H

#include "server/credential.h"
#include "server/ticket.h"
#include "server/worker.h"

/* What to make of a credential that was judged so far: the same, or CREDENTIAL_REFUSED_REVOKED. */
static inline enum credential_refusal revoked_check(const struct worker *worker, uint16_t app,
                                                    const struct credential *credential,
                                                    enum credential_refusal so_far)
{
    bool has_token = so_far == CREDENTIAL_REFUSED_NOT && credential->issued_ms;
    return has_token && shard_token_is_revoked(worker->shard, app, credential->user,
                                               credential->jti, credential->issued_ms)
               ? CREDENTIAL_REFUSED_REVOKED
               : so_far;
}

/* Whether the ticket names a user whose tickets of then are good no longer; NULL is fine. Who names
 * nobody acts for nobody. */
static inline bool revoked_check_ticket(const struct worker *worker, uint16_t app,
                                        const struct ticket *ticket)
{
    return ticket && ticket->user.len &&
           shard_token_is_revoked(worker->shard, app, ticket->user, STR(""), ticket->issued_ms);
}

#endif
