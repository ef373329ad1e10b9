/* What happens to sessions, as events for the app's webhooks: for struct gateway_hooks but for one.
 * Workers. */
#ifndef TIDEGATE_API_WEBHOOK_EMIT_H
#define TIDEGATE_API_WEBHOOK_EMIT_H

#include "server/worker.h"

void webhook_on_session_opened(struct worker *worker, struct session *session);
void webhook_on_session_closed(struct worker *worker, struct session *session, const char *reason);
const char *webhook_on_client_message(struct worker *worker, struct session *session,
                                      struct str type, struct str data);

/* A push to users (a JSON list) reached no session. */
void webhook_on_undelivered(struct worker *worker, const struct tenant *tenant, struct str id,
                            struct str users);

void webhook_on_user_changed(struct worker *worker, const struct presence_change *change);

#endif
