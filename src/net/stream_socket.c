#include "net/stream_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    PIECES_A_CALL = 64,
    /* A peer whose machine or way is gone is noticed after about 20 s, idle or not. */
    KEEPALIVE_IDLE_S = 10,
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_PROBES = 2,
    UNACKNOWLEDGED_MS = 20000,
};

static void set_option(int fd, int level, int name, int value)
{
    /* They make it better, not right: a kernel that lacks one is no reason to give up. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

static void set_options(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS);
}

int stream_socket_connect(int *out_fd, const struct addr *addr)
{
    struct sockaddr_storage to;
    socklen_t to_len = addr_to_sockaddr(addr, &to);
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    set_options(fd);
    if (connect(fd, (struct sockaddr *)&to, to_len) < 0 && errno != EINPROGRESS) {
        int err = -errno;
        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

/* On one machine, a connect to a port of the ephemeral range that nobody listens on may be given
 * that very port as its own, and TCP's simultaneous open then joins the socket to itself. */
static bool has_met_itself(int fd)
{
    struct addr local;
    struct addr peer;
    return addr_of_local(&local, fd) == 0 && addr_of_peer(&peer, fd) == 0 &&
           local.port == peer.port && addr_equal_ip(&local, &peer);
}

int stream_socket_result(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) {
        return -errno;
    }
    if (err || !has_met_itself(fd)) {
        return -err;
    }
    /* Reset it: lingering, it would keep the port from the server that is to come back. */
    struct linger none = {.l_onoff = 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    return -ECONNREFUSED;
}

static ssize_t send_some(int fd, const struct str *pieces, size_t count, size_t *out_whole)
{
    struct iovec parts[PIECES_A_CALL];
    *out_whole = 0;
    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){(void *)(uintptr_t)pieces[i].ptr, pieces[i].len};
        *out_whole += pieces[i].len;
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t sent;
    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

ssize_t stream_socket_send(int fd, const struct str *pieces, size_t count)
{
    size_t total = 0;
    while (count > 0) {
        size_t now = count < PIECES_A_CALL ? count : PIECES_A_CALL;
        size_t whole;
        ssize_t sent = send_some(fd, pieces, now, &whole);
        if (sent < 0) {
            return sent == -EAGAIN ? (ssize_t)total : sent;
        }
        total += (size_t)sent;
        if ((size_t)sent < whole) {
            break;
        }
        pieces += now;
        count -= now;
    }
    return (ssize_t)total;
}

ssize_t stream_socket_receive(int fd, void *data, size_t len)
{
    ssize_t got;
    do {
        got = recv(fd, data, len, 0);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}
