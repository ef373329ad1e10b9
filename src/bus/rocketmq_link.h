/* One connection to a RocketMQ server (a name server or a broker): requests with deadlines over it,
 * answers matched by their number, and a new connection when it breaks, after a pause that grows.
 * One thread; callbacks come from the loop.
 *
 * A request that times out says little when other answers come in; when nothing at all came in
 * since it was sent, the server hangs: the connection is given up, as if it had broken. */
#ifndef TIDEGATE_BUS_ROCKETMQ_LINK_H
#define TIDEGATE_BUS_ROCKETMQ_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/buf.h"
#include "net/loop.h"
#include "net/stream.h"
#include "proto/rocketmq_frame.h"

struct bus_stats;

enum {
    ROCKETMQ_HOST_MAX = 255,
    ROCKETMQ_CONNECT_TIMEOUT_MS = 3000,

    ROCKETMQ_PROBLEM_MAX = 256, /* bytes of a text for people, with the NUL */
};

/* What all links of a bus have in common; borrowed by each. */
struct rocketmq_dial {
    struct loop *loop;
    struct stream_tls *tls; /* NULL: plain */
    struct str access_key;  /* empty: requests are not signed */
    struct str secret_key;
    struct bus_stats *stats;
    uint64_t request_timeout_ms; /* of all but long polls, which add what they wait */
    uint64_t pause_ms;           /* before something that was refused is tried again */
};

/* Lives in its owner, zeroed at first; one use at a time. */
struct rocketmq_request {
    /* Once a send that returned 0: err 0 and the answer, borrowed for the call, whatever its code
     * says; ERR_TIMEOUT: others were answered meanwhile; or ERR_CLOSED: the connection broke, or
     * was given up. In both the server may have done what was asked. */
    void (*on_answer)(struct rocketmq_request *request, int err,
                      const struct rocketmq_frame *answer);
    struct rocketmq_request *next;
    struct rocketmq_request **at; /* what points at us; NULL: idle */
    int32_t opaque;
    uint64_t due_ms;
    uint64_t receipts; /* of the link when it was sent */
};

static inline bool rocketmq_request_is_open(const struct rocketmq_request *request)
{
    return request->at != NULL;
}

/* Nobody waits for the answer any more; on_answer will not run. Idle: no effect. */
void rocketmq_request_forget(struct rocketmq_request *request);

struct rocketmq_link;

struct rocketmq_link_callbacks {
    void (*on_open)(struct rocketmq_link *link);
    /* The connection, or the attempt to make one, failed; all requests were told before. The next
     * attempt follows by itself. problem is for people, valid for the call. */
    void (*on_lost)(struct rocketmq_link *link, const char *problem);
};

struct rocketmq_link {
    const struct rocketmq_dial *dial;                /* borrowed */
    const struct rocketmq_link_callbacks *callbacks; /* borrowed */
    struct stream *stream;                           /* NULL: pausing, or not wanted */
    struct timer retry;                              /* of the connection */
    struct timer deadline; /* the earliest one of the requests, or before */
    struct backoff backoff;
    struct rocketmq_request *requests;
    struct buf head;                  /* of the frame being written */
    char host[ROCKETMQ_HOST_MAX + 1]; /* "": no address yet */
    uint16_t port;
    bool is_open;
    bool was_open;     /* ever */
    bool gave_grace;   /* the deadline timer came late once: what arrived meanwhile is read first */
    uint64_t armed_ms; /* when the deadline timer is due, if it runs */
    int32_t last_opaque;
    uint64_t receipts;    /* how often something came in */
    uint64_t received_ms; /* the last time */
};

void rocketmq_link_init(struct rocketmq_link *link, const struct rocketmq_dial *dial,
                        const struct rocketmq_link_callbacks *callbacks);

/* No callback runs; requests are forgotten. */
void rocketmq_link_fini(struct rocketmq_link *link);

/* Where to connect from now on. Another address than before ends a connection to that one, without
 * on_lost but with ERR_CLOSED for its requests, and connects at once when connect_now, else after
 * the usual pause; the same one changes nothing. */
void rocketmq_link_set_address(struct rocketmq_link *link, struct str host, uint16_t port,
                               bool connect_now);

/* The server works: the next failure is again followed by the shortest pause. */
void rocketmq_link_praise(struct rocketmq_link *link);

/* Ends the connection as if it had broken. Fine inside callbacks. */
void rocketmq_link_break(struct rocketmq_link *link, const char *problem);

/* Sends fields (with room for two more behind them, at most ROCKETMQ_FIELDS_MAX in all; they are
 * reordered) and body at once. wait_ms: how long the server may wait before it answers, added to
 * the time it has for that. 0; ERR_CLOSED: not connected; ERR_TOO_LARGE: over a frame's limit, or
 * too much waits unsent; ERR_NO_MEMORY. */
int rocketmq_link_send(struct rocketmq_link *link, struct rocketmq_request *request, int32_t code,
                       struct rocketmq_field *fields, size_t count, struct str body,
                       uint64_t wait_ms);

#endif
