/* The client protocol on a WebSocket session: subprotocol tidegate.v1.json (frames in
 * docs/protocol.md), and raw sessions, which get payloads alone. */
#ifndef TIDEGATE_SERVER_WS_PROTOCOL_H
#define TIDEGATE_SERVER_WS_PROTOCOL_H

#include "proto/json.h"
#include "server/ws_session.h"

extern const struct str WS_PROTOCOL_V1; /* the subprotocol's name */

/* Gives the session its user, its groups' rights and its expiry. 0, ERR_NO_MEMORY, or ERR_EXISTS
 * when the user has as many sessions as it may (the session is doomed then). */
int ws_protocol_identify(struct worker *worker, struct session *session,
                         const struct credential *credential);

/* A raw session begins at once, with the groups of its query (checked here; those it may not join
 * make it forbidden). resume: as in shard_session_start. */
void ws_protocol_start_raw(struct worker *worker, struct session *session, struct str query,
                           const struct session_resume *resume);

/* The hello that came with the request of an event stream: a whole JSON object. resume, if not
 * NULL, counts instead of what the frame says. */
void ws_protocol_start_sse(struct worker *worker, struct session *session, struct json_value hello,
                           const struct session_resume *resume);

void ws_protocol_on_message(struct worker *worker, struct session *session, enum ws_opcode opcode,
                            struct str payload);
void ws_protocol_echo(struct worker *worker, struct session *session, enum ws_opcode opcode,
                      struct str payload);
void ws_protocol_send_expiring(struct worker *worker, struct session *session, uint64_t in_ms);

/* Tells the session that the node goes away, and when it should go itself. */
void ws_protocol_send_goaway(struct worker *worker, struct session *session);

/* When it is closed, in ms after the drain began. */
uint64_t ws_protocol_drain_due(const struct worker *worker, const struct session *session);

/* For struct session_ops. */
void ws_protocol_on_start(struct shard *shard, struct session *session,
                          enum session_resumed resumed, const struct hub_heads *pos);
void ws_protocol_on_joined(struct shard *shard, struct session *session, struct str group,
                           uint32_t tag);
void ws_protocol_on_left(struct shard *shard, struct session *session, struct str group);
void ws_protocol_on_gap(struct shard *shard, struct session *session, uint32_t queue,
                        struct bus_pos from, struct bus_pos to, enum session_gap_why why);
void ws_protocol_on_heads(struct shard *shard, struct session *session,
                          const struct hub_heads *heads);

#endif
