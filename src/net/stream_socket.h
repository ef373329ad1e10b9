/* The system calls of net/stream.c, for it alone: a connecting socket with our options, and bytes
 * out. */
#ifndef TIDEGATE_NET_STREAM_SOCKET_H
#define TIDEGATE_NET_STREAM_SOCKET_H

#include <stddef.h>
#include <sys/types.h>

#include "base/str.h"
#include "net/addr.h"

/* Begins to connect, without blocking. 0 and a descriptor that becomes writable when it is known
 * how it went, or -errno. */
int stream_socket_connect(int *out_fd, const struct addr *addr);

/* How it went: 0 or -errno. A socket that has met itself counts as refused. */
int stream_socket_result(int fd);

/* Sends as much of the pieces as the kernel takes: the bytes, maybe 0, or -errno. */
ssize_t stream_socket_send(int fd, const struct str *pieces, size_t count);

/* The bytes, 0 at the end, -EAGAIN when there are none now, or -errno. */
ssize_t stream_socket_receive(int fd, void *data, size_t len);

#endif
