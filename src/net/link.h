/* Bytes of a connected, non-blocking socket, plain (tls NULL) or TLS. Errors are negative results,
 * EWOULDBLOCK being told as EAGAIN. */
#ifndef TIDEGATE_NET_LINK_H
#define TIDEGATE_NET_LINK_H

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/tls_conn.h"

/* What recv, send and sendmsg gave. */
static inline ssize_t link_result(ssize_t done)
{
    return done >= 0 ? done : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

/* The bytes read, 0 at the peer's end. */
static inline ssize_t link_read(int fd, struct tls_conn *tls, void *data, size_t len)
{
    return tls ? tls_conn_read(tls, data, len) : link_result(recv(fd, data, len, MSG_DONTWAIT));
}

/* The bytes that the kernel took, maybe not all. After -EAGAIN the next write must begin with
 * link_held of the same bytes. */
static inline ssize_t link_write(int fd, struct tls_conn *tls, const struct iovec *parts,
                                 size_t count)
{
    if (tls) {
        return tls_conn_write(tls, parts, count);
    }
    if (count == 1) {
        return link_result(
            send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT));
    }
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};
    return link_result(sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
}

static inline size_t link_held(const struct tls_conn *tls)
{
    return tls ? tls_conn_held(tls) : 0;
}

/* The last word: no more output, but what the peer still sends is read. */
static inline void link_end_output(int fd, struct tls_conn *tls)
{
    if (tls) {
        tls_conn_end_output(tls);
    }
    shutdown(fd, SHUT_WR);
}

#endif
