/* One TCP connection to a server, plain or TLS, on a loop: name look-up (on a thread of its own, so
 * that nothing blocks here), connecting to each address in turn, the TLS handshake, a write queue.
 * The process must ignore SIGPIPE. Everything belongs to the loop's thread.
 *
 * Each address gets its share of the connect timeout. A peer whose machine or way is gone is
 * noticed after about 20 s (keepalive, unacknowledged bytes); a protocol that needs to know sooner,
 * or whose peer may hang, has heartbeats of its own. TLS: 1.2 or later, server name sent unless
 * host is an address, no renegotiation; an end without TLS's good-bye is an end.
 *
 * One promise a stream: when stream_open returns 0, on_close runs exactly once, later, unless
 * stream_close comes first, after which nothing is called any more. */
#ifndef TIDEGATE_NET_STREAM_H
#define TIDEGATE_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "net/loop.h"

struct stream;     /* stream.c */
struct stream_tls; /* stream_tls.c: what TLS connections share; immutable, reference-counted */

/* ca_file "": the system's authorities. verify false: any certificate is taken (for servers that
 * sign their own); the name is not looked at then. cert_file and key_file: for servers that ask, ""
 * else. Texts are NUL-terminated. 0, ERR_NO_MEMORY, or ERR_SYNTAX with *out_problem (static). */
int stream_tls_create(struct stream_tls **out_tls, struct str ca_file, bool verify,
                      struct str cert_file, struct str key_file, const char **out_problem);
struct stream_tls *stream_tls_ref(struct stream_tls *tls);
void stream_tls_unref(struct stream_tls *tls); /* NULL is fine */

struct stream_options {
    struct str host; /* a name or an address, IPv6 without brackets; copied */
    uint16_t port;
    struct stream_tls *tls;      /* a reference is taken; NULL: plain */
    uint64_t connect_timeout_ms; /* look-up, connect and handshake together; not 0 */
    /* A write that could leave more than so many bytes unsent fails, even if the kernel might take
     * it at once; 0: no limit. */
    size_t max_queued;
};

struct stream_callbacks {
    void (*on_open)(void *owner); /* connected, and the handshake is done; once, before all data */
    /* What came and was not consumed yet, in one piece; returns the bytes that are done with (up to
     * data.len), or a negative error that closes the stream. The rest comes again with what follows
     * it. May call stream_write, or stream_close (then its return value does not matter). */
    ptrdiff_t (*on_data)(void *owner, struct str data);
    /* 0: the peer ended it. ERR_TIMEOUT: the connect timeout. ERR_NOT_FOUND, ERR_UNAVAILABLE: the
     * look-up. ERR_DENIED: a certificate was refused, theirs or ours. ERR_TOO_LARGE: see
     * stream_set_max_unconsumed. -errno, or what on_data returned, else. detail is for people,
     * without secrets ("connection refused"), valid during the call. The stream is freed behind it.
     */
    void (*on_close)(void *owner, int err, const char *detail);
};

/* 0 or ERR_NO_MEMORY; every other failure comes by on_close. */
int stream_open(struct stream **out_stream, struct loop *loop, const struct stream_options *options,
                const struct stream_callbacks *callbacks, void *owner);

/* At once, without a callback; what is unsent is lost. Fine inside callbacks. NULL is fine. */
void stream_close(struct stream *stream);

/* Copies what the kernel does not take at once. Before on_open it waits. 0, ERR_NO_MEMORY,
 * ERR_TOO_LARGE (max_queued): nothing of it was taken. A broken connection comes by on_close, never
 * from within: until then writes return 0 and are lost. */
int stream_write(struct stream *stream, const void *data, size_t len);
/* Several pieces, as one writev where it is plain. All or nothing as above. */
int stream_writev(struct stream *stream, const struct str *pieces, size_t count);

/* Unsent bytes that wait in the process. */
size_t stream_queued(const struct stream *stream);
bool stream_is_open(const struct stream *stream);

/* Limits what on_data may leave unconsumed: over it the stream closes with ERR_TOO_LARGE. 64 MiB at
 * first. */
void stream_set_max_unconsumed(struct stream *stream, size_t bytes);

#endif
