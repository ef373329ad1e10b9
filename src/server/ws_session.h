/* A session on a worker: the transport behind core's session, over a WebSocket or an event stream.
 * Reads frames, answers pings, writes what core delivers, closes by the rules. What frames mean to
 * the client protocol is ws_protocol.h's business; what they look like on an event stream, which
 * only goes out, sse_frame.h's.
 *
 * Nothing here ends a session at once while core may be walking it: it is doomed and ends with the
 * turn. */
#ifndef TIDEGATE_SERVER_WS_SESSION_H
#define TIDEGATE_SERVER_WS_SESSION_H

#include "server/acks.h"
#include "server/credential.h"
#include "server/worker.h"

/* Application close codes. 40xx: stop; 41xx: back off; 42xx: planned; 43xx: new credentials. */
enum ws_close_code {
    WS_CLOSE_ABORT = 0,  /* no close frame: the socket is broken */
    SSE_END_OF_POLL = 1, /* never said: the response ends, and the client asks again */
    WS_CLOSE_KICKED = 4000,
    WS_CLOSE_REPLACED = 4001,
    WS_CLOSE_BAD_FRAME = 4002,
    WS_CLOSE_FORBIDDEN = 4003,
    WS_CLOSE_TOKEN_INVALID = 4004,
    WS_CLOSE_SESSION_LIMIT = 4005,
    WS_CLOSE_TICKET_DONE = 4006,
    WS_CLOSE_OVERLOADED = 4100,
    WS_CLOSE_SLOW = 4101,
    WS_CLOSE_NO_PONG = 4102,
    WS_CLOSE_RATE_LIMITED = 4103,
    WS_CLOSE_HELLO_TIMEOUT = 4104,
    WS_CLOSE_DRAIN = 4200,
    WS_CLOSE_EXPIRED = 4300,
    WS_CLOSE_REVOKED = 4301,
};

/* Indices in the shard. What goes over TLS has the next one, and its tls_conn in the extra part. */
enum { WS_TRANSPORT = 0, SSE_TRANSPORT = 2, WS_OVER_TLS = 1 };

/* What a client is told about coming back. */
enum { WS_RETRY_BASE_MS = 500, WS_RETRY_MAX_MS = 30000 };

/* In session->flags. */
enum ws_flag {
    WS_IS_V1 = 1,
    WS_IS_CLOSING = 2, /* a close frame is sent or queued; nothing else goes out */
    WS_IS_DIRTY = 4,   /* in worker->dirty */
    WS_IS_ECHO = 8,
    WS_IS_BLOCKED = 16, /* the socket is full: watched for writing */
    WS_IS_GREETED = 32, /* raw, or hello was taken */
    WS_IS_WARNED = 64,  /* `expiring` was sent */
    WS_IS_DOOMED = 128, /* in worker->doomed */
};

enum { WS_GROUPS_KEPT = 64 }; /* patterns of a token that a session remembers; more are not */

/* What only some sessions have. */
struct ws_extra {
    struct tls_conn *tls; /* owned; NULL: plain */
    uint64_t user_key;    /* counted in admission; 0: not */
    uint64_t ip_key;
    struct str *groups; /* patterns of the token, their texts behind them; owned */
    uint32_t group_count;
    uint32_t group_bytes;  /* of groups, with the texts */
    uint32_t accounted;    /* bytes */
    char *device;          /* owned, or NULL */
    char *attrs;           /* JSON text as sent; owned, or NULL */
    uint64_t tokens_milli; /* frames it may send now */
    uint64_t tokens_ms;
    struct acks *acks; /* what its client is to confirm; mostly NULL */
    uint64_t pings_since_ms;
    uint32_t pings;
    uint64_t poll_until_ms; /* of an event stream that ends with what it has to say; 0: it lasts */
    struct session_resume
        *resume;              /* of Last-Event-ID, while its hello is to come; owned, or NULL */
    bool has_said;            /* there was something to say, so such a stream may end */
    struct ws_ticket *ticket; /* owned; NULL: it came without one */
    bool counts_frames;
    bool is_identified; /* by the upgrade; hello needs no token */
};

struct ticket;
struct ws_ticket;

extern const struct session_ops ws_session_ops;

struct ws_open {
    const struct tenant *tenant;
    uint8_t flags;       /* of enum ws_flag */
    uint8_t window_bits; /* 0: no compression */
    uint8_t transport;
    uint32_t poll_ms;                    /* of an event stream; 0: it lasts */
    uint64_t ip_key;                     /* counted already */
    const struct credential *credential; /* NULL: hello must bring one, or ticket is one */
    const struct ticket *ticket;         /* NULL: none was shown */
};

/* Makes a session of a socket that was taken out of HTTP, plain (tls NULL) or TLS. NULL when memory
 * is out: both are then still the caller's. */
struct session *ws_session_open(struct worker *worker, int fd, struct tls_conn *tls,
                                const struct ws_open *open);

/* Its id, as clients and the API say it; with a NUL. */
void ws_session_format_sid(const struct worker *worker, const struct session *session,
                           char out[SID_LEN + 1]);

/* Bytes that came with the upgrade. */
void ws_session_feed(struct worker *worker, struct session *session, uint8_t *data, size_t len);

/* The loop's tag handler. */
void ws_session_on_event(void *owner, uint64_t tag, unsigned events);

/* Sends or queues one frame of the worker's own making. The payload is copied. */
void ws_session_send(struct worker *worker, struct session *session, enum ws_opcode opcode,
                     struct str payload);

/* The answer's head of a raw session, held back until it starts: what is pushed once the client has
 * seen it reaches the session. */
void ws_session_hold(struct worker *worker, struct session *session, struct str handshake);

/* On an event stream the text may have a name and the positions of an id, NULL for none; a
 * WebSocket sends the text. text "": there is only the id. */
void ws_session_send_at(struct worker *worker, struct session *session, struct str name,
                        struct str text, const struct hub_heads *heads);

/* Sends what was held. */
void ws_session_release(struct worker *worker, struct session *session);

/* Nothing goes out, from here until it is let out or closed. 0 or ERR_NO_MEMORY. */
int ws_session_hold_back(struct worker *worker, struct session *session);
void ws_session_let_out(struct worker *worker, struct session *session);
bool ws_session_is_held_back(const struct session *session);

/* Takes no reference. NULL (memory was out) ends the session. */
void ws_session_send_frame(struct worker *worker, struct session *session, struct frame *frame);

/* Ends the session with this code later in the turn; the first code counts. */
void ws_session_doom(struct worker *worker, struct session *session, uint16_t close_code);

/* Counts a frame of the client's against limits.messages_per_second. False: it was one too many,
 * and the session is doomed. */
bool ws_session_take_frame(struct worker *worker, struct session *session);

/* Whether it may send so many now; takes none. */
bool ws_session_may_take(struct worker *worker, struct session *session, uint32_t frames);

/* The turn's end: corked frames leave, doomed sessions end. */
void ws_session_flush_turn(struct worker *worker);

/* Looks at the session's deadlines anew, now. */
void ws_session_touch(struct worker *worker, struct session *session);

/* Its extra part, made when absent. NULL when memory is out. */
struct ws_extra *ws_session_extra(struct worker *worker, struct session *session);
struct ws_extra *ws_session_peek_extra(const struct worker *worker, const struct session *session);

/* What hangs on it has changed: tells mem_account how large it is now. */
void ws_session_account_extra(struct ws_extra *extra);

/* Shutdown: closes the socket and frees the slot. */
void ws_session_destroy(struct worker *worker, struct session *session);

/* In place of the window. After a close frame or an error nothing more of the stream can be
 * understood: it is read and thrown away, so that the reset of a closed socket does not overtake
 * our close frame. */
enum { WS_WINDOW_BITS_DEAF = 1 };

static inline bool ws_is_deaf(const struct session *session)
{
    return session->pings >> 4 == WS_WINDOW_BITS_DEAF;
}

/* 0: what goes out is not compressed. */
static inline unsigned ws_window_bits(const struct session *session)
{
    return ws_is_deaf(session) ? 0 : session->pings >> 4;
}

static inline bool ws_is_sse(const struct session *session)
{
    return session->transport >= SSE_TRANSPORT;
}

/* In session->pings, in place of their count. */
enum { SSE_IS_POLL = 1 };

/* Its response ends with what it has to say. */
static inline bool ws_is_poll(const struct session *session)
{
    return ws_is_sse(session) && session->pings & SSE_IS_POLL;
}

/* The session's bytes go over it; NULL: plain. */
static inline struct tls_conn *ws_tls_of(const struct worker *worker, const struct session *session)
{
    return session->transport & WS_OVER_TLS ? ws_session_peek_extra(worker, session)->tls : NULL;
}

/* Whether its frames may be watched (server/watch.h): nearly always not. */
static inline bool ws_is_watched(const struct worker *worker, const struct session *session)
{
    return __builtin_expect(worker->watches.bits >> (session->cold & 63) & 1, 0);
}

static inline struct worker *ws_worker_of(const struct shard *shard)
{
    return shard_owner(shard);
}

#endif
