/* A session as answers and webhooks show it. Runs on its worker. */
#ifndef TIDEGATE_API_SESSION_JSON_H
#define TIDEGATE_API_SESSION_JSON_H

#include "proto/json.h"
#include "server/worker.h"

/* Appends an opening brace, sid, transport, protocol and since_ms. */
void session_json_begin(struct buf *out, struct worker *worker, const struct session *session);

/* Appends what the client said of itself: device and attrs, as far as there are any. */
void session_json_about(struct buf *out, struct worker *worker, const struct session *session);

/* "user": left out for an anonymous session. */
void session_json_user(struct buf *out, struct worker *worker, const struct session *session);

#endif
