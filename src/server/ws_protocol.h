/* The client protocol on a WebSocket session: subprotocol tidegate.v1.json (frames in
 * docs/protocol.md), and raw sessions, which get payloads alone. */
#ifndef TIDEGATE_SERVER_WS_PROTOCOL_H
#define TIDEGATE_SERVER_WS_PROTOCOL_H

#include "core/sid.h"
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

/* The hello will come by POST /v1/up: tells the session its id, and keeps the resume until then. */
void ws_protocol_await_hello(struct worker *worker, struct session *session,
                             const struct session_resume *resume);

/* What comes by POST /v1/up for a session of an event stream. */
enum ws_up {
    WS_UP_GONE, /* no such session here */
    WS_UP_TAKEN,
    WS_UP_FOREIGN, /* another user's */
    WS_UP_DEAF,    /* raw, or a WebSocket, which speaks for itself */
    WS_UP_EARLY,   /* its hello must come first, alone */
    WS_UP_BAD,     /* no frames, or a second hello */
    WS_UP_MANY,    /* more at once than limits.message_burst: never taken */
    WS_UP_RATE,    /* over limits.messages_per_second: not now */
    WS_UP_RESULTS,
};

/* One frame, or a list of some: what the text must be to be taken. *out_has_hello: and one is a
 * hello. */
bool ws_protocol_frames_are_sound(const struct settings_limits *limits, struct str text,
                                  bool *out_has_hello);

/* Who a request is from. */
struct ws_speaker {
    struct str user; /* "": not known */
    bool
        has_credential; /* that says so, and was checked; else it may have a ticket of the user's */
    struct str token;   /* with a hello, if the credential is one; else "" */
};

/* A session that has no identity yet takes the speaker's with its hello. Unless it is taken nothing
 * has been done. What comes of it the stream tells. */
enum ws_up ws_protocol_take_up(struct worker *worker, const struct sid *sid, uint16_t app,
                               const struct ws_speaker *speaker, struct str text);

/* Nothing more is to be waited for: the session begins. */
void ws_protocol_start(struct worker *worker, struct session *session,
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

/* The app's webhook hears that the session is there. */
void ws_protocol_tell_opened(struct worker *worker, struct session *session);

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
