/* TLS over one connected, non-blocking socket, for net/stream.c alone. TLS 1.2 or later; a
 * renegotiation is refused. One thread a session. */
#ifndef TIDEGATE_NET_STREAM_TLS_H
#define TIDEGATE_NET_STREAM_TLS_H

#include <stddef.h>
#include <sys/types.h>

struct stream_tls;
struct stream_tls_session; /* stream_tls.c */

/* fd is borrowed; host (a name or an address) is what the certificate must be for. 0 or
 * ERR_NO_MEMORY. */
int stream_tls_session_create(struct stream_tls_session **out_session, struct stream_tls *tls,
                              int fd, const char *host);

/* Says good-bye to the peer if it can be said at once. Before the descriptor is closed. NULL is
 * fine. */
void stream_tls_session_destroy(struct stream_tls_session *session);

/* -EAGAIN from these three: stream_tls_session_wants says what to wait for, then call it again (a
 * write with the same bytes in front). Another negative code: stream_tls_session_detail says more.
 * ERR_DENIED: a certificate is not taken, theirs or ours. ERR_CLOSED: the peer ended it too early.
 */
int stream_tls_session_handshake(struct stream_tls_session *session); /* 0: done */
ssize_t stream_tls_session_read(struct stream_tls_session *session, void *data, size_t len);
ssize_t stream_tls_session_write(struct stream_tls_session *session, const void *data, size_t len);

unsigned stream_tls_session_wants(const struct stream_tls_session *session); /* LOOP_… */
const char *stream_tls_session_detail(const struct stream_tls_session *session);

#endif
