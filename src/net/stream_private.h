/* What stream.c (ends, bytes in and out) and stream_connect.c (look-up, connecting, handshake)
 * share. For them alone. */
#ifndef TIDEGATE_NET_STREAM_PRIVATE_H
#define TIDEGATE_NET_STREAM_PRIVATE_H

#include "base/buf.h"
#include "net/resolve.h"
#include "net/stream.h"
#include "net/stream_tls.h"

enum { STREAM_DETAIL_MAX = 192 };

enum stream_state {
    STREAM_RESOLVING,
    STREAM_CONNECTING,
    STREAM_HANDSHAKE,
    STREAM_OPEN,
    STREAM_CLOSED
};

struct stream {
    struct loop *loop;
    struct loop_watch watch;
    unsigned watched;   /* the events asked for */
    struct timer timer; /* the connect timeout, later the call of a late failure */
    struct stream_callbacks callbacks;
    void *owner;
    enum stream_state state;
    bool in_callback;
    bool is_abandoned; /* stream_close came in a callback: free it behind that */

    char *host;
    uint16_t port;
    uint64_t deadline_ms; /* of everything before STREAM_OPEN; monotonic */
    struct resolve *resolve;
    struct addr addrs[RESOLVE_MAX_ADDRS];
    size_t addr_count;
    size_t addr_next;

    struct stream_tls *tls;
    struct stream_tls_session *session; /* NULL: plain */
    unsigned read_wants, write_wants;   /* what TLS waits for; plain: the obvious */

    struct buf in; /* what the owner has left */
    struct buf out;
    size_t out_start; /* the kernel has what is before it */
    size_t max_queued;
    size_t max_unconsumed;

    int connect_err; /* of the last address tried */
    int late_err;    /* is still to be told */
    char detail[STREAM_DETAIL_MAX];
};

/* ---- stream_connect.c ---- */

/* 0 or ERR_NO_MEMORY; ends in stream_opened or stream_finish, later. */
int stream_connect_begin(struct stream *stream, uint64_t timeout_ms);
void stream_connect_continue(struct stream *stream); /* its descriptor is ready */
void stream_connect_timed_out(struct stream *stream);

/* ---- stream.c ---- */

/* It is connected, and the handshake is done. The stream may be gone behind it. */
void stream_opened(struct stream *stream);

/* The one call of on_close; the stream is gone behind it. */
void stream_finish(struct stream *stream, int err, const char *detail);

/* The same from the loop's next timers, for failures inside the owner's calls. The first one
 * counts. */
void stream_fail_later(struct stream *stream, int err, const char *detail);

/* Closes the descriptor and ends the TLS session, if any. */
void stream_disconnect(struct stream *stream);

/* Asks the loop for the events that are waited for now. */
void stream_update_watch(struct stream *stream);

void stream_start_timer(struct stream *stream, uint64_t delay_ms);

#endif
