#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

enum { ACCEPTS_A_TURN = 64, SHORTAGE_PAUSE_MS = 100, BACKLOG_DEFAULT = 4096 };

struct listener {
    struct loop *loop; /* borrowed */
    struct loop_watch watch;
    struct timer retry; /* runs while a shortage or a rest lasts */
    int fd;
    int reserve_fd; /* -1 when it could not be had again yet */
    unsigned keep_free;
    bool is_paused;
    uint64_t shortages;
    listener_accept_cb on_accept;
    void *owner;
};

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool is_open(const struct listener *listener)
{
    return !listener->is_paused && !timer_is_running(&listener->retry);
}

static void update_interest(struct listener *listener)
{
    loop_rewatch(listener->loop, &listener->watch, is_open(listener) ? LOOP_READABLE : 0);
}

static void on_retry(struct timer *timer)
{
    struct listener *listener = (struct listener *)(void *)((char *)timer -
                                                            offsetof(struct listener, retry));
    if (listener->reserve_fd < 0) {
        listener->reserve_fd = open_reserve();
    }
    update_interest(listener);
}

static int accept_one(const struct listener *listener, struct addr *out_peer)
{
    struct sockaddr_storage name;
    socklen_t len = sizeof(name);
    int fd = accept4(listener->fd, (struct sockaddr *)&name, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    addr_from_sockaddr(out_peer, (struct sockaddr *)&name);
    return fd;
}

/* accept(2): errors of the one connection that was about to be accepted; the next may be fine. */
static bool is_error_of_peer(int err)
{
    switch (-err) {
    case ECONNABORTED:
    case EINTR:
    case EPERM:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH: return true;
    default: return false;
    }
}

/* With the reserve given up there is one descriptor to accept with: each peer in the backlog is
 * closed at once instead of waiting for a time-out. */
static void turn_peers_away(struct listener *listener)
{
    if (listener->reserve_fd >= 0) {
        close(listener->reserve_fd);
        listener->reserve_fd = -1;
    }
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct addr peer;
        int fd = accept_one(listener, &peer);
        if (fd >= 0) {
            close(fd);
        } else if (!is_error_of_peer(fd)) {
            break;
        }
    }
    listener->reserve_fd = open_reserve();
}

static void on_shortage(struct listener *listener)
{
    listener->shortages++;
    turn_peers_away(listener);
    loop_timer_start(listener->loop, &listener->retry, SHORTAGE_PAUSE_MS);
    update_interest(listener);
}

/* The kernel hands out the lowest free number, so a high one tells that few are left. */
static bool is_needed_elsewhere(const struct listener *listener, int fd)
{
    struct rlimit limit;
    if (listener->keep_free == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return false;
    }
    return (rlim_t)fd + listener->keep_free >= limit.rlim_cur;
}

static void on_ready(struct loop_watch *watch, unsigned events)
{
    struct listener *listener = (struct listener *)(void *)((char *)watch -
                                                            offsetof(struct listener, watch));
    for (int i = 0; i < ACCEPTS_A_TURN && is_open(listener); i++) {
        struct addr peer;
        int fd = accept_one(listener, &peer);
        if (fd == -EAGAIN) {
            return;
        }
        if (fd >= 0 && is_needed_elsewhere(listener, fd)) {
            close(fd);
            fd = -EMFILE;
        }
        if (fd >= 0) {
            listener->on_accept(listener->owner, fd, &peer);
        } else if (!is_error_of_peer(fd)) {
            on_shortage(listener);
            return;
        }
    }
}

static int set_flag(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

static int set_options(int fd, const struct addr *addr, sa_family_t family, bool shared)
{
    int err = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (!err && shared) {
        err = set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (!err) {
        err = set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* accepted sockets inherit it */
    }
    if (!err && family == AF_INET6) {
        /* "All addresses" means both families, whatever net.ipv6.bindv6only says. */
        err = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, !addr_is_any(addr));
    }
    return err;
}

/* backlog 0: bound only, to see whether the address is free. */
static int open_socket(int *out_fd, const struct addr *addr, int backlog)
{
    struct sockaddr_storage name;
    socklen_t len = addr_to_sockaddr(addr, &name);
    int fd = socket(name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int err = set_options(fd, addr, name.ss_family, backlog > 0);
    if (!err &&
        (bind(fd, (struct sockaddr *)&name, len) < 0 || (backlog > 0 && listen(fd, backlog) < 0))) {
        err = -errno;
    }
    if (err) {
        close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

static int open_socket_of_any_family(int *out_fd, const struct addr *addr, int backlog)
{
    int err = open_socket(out_fd, addr, backlog);
    if ((err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL) && addr_is_any(addr)) {
        /* A kernel without IPv6: all addresses are those of IPv4. */
        struct addr any_v4 = {.ip = {[10] = 0xff, [11] = 0xff}, .port = addr->port};
        err = open_socket(out_fd, &any_v4, backlog);
    }
    return err;
}

int listener_check_free(const struct addr *addr)
{
    int fd;
    int err = addr->port ? open_socket_of_any_family(&fd, addr, 0) : 0;
    if (!err && addr->port) {
        close(fd);
    }
    return err;
}

int listener_create(struct listener **out_listener, struct loop *loop, const struct addr *addr,
                    int backlog, listener_accept_cb on_accept, void *owner)
{
    struct listener *listener = mem_zalloc(sizeof(*listener));
    if (!listener) {
        return -ENOMEM;
    }
    listener->loop = loop;
    listener->watch = (struct loop_watch){.on_ready = on_ready, .fd = -1};
    listener->retry.on_fire = on_retry;
    listener->on_accept = on_accept;
    listener->owner = owner;
    listener->fd = -1;

    int err = 0;
    listener->reserve_fd = open_reserve();
    if (listener->reserve_fd < 0) {
        err = -errno;
        goto fail;
    }
    err = open_socket_of_any_family(&listener->fd, addr, backlog > 0 ? backlog : BACKLOG_DEFAULT);
    if (err) {
        goto fail;
    }
    err = loop_watch(loop, &listener->watch, listener->fd, LOOP_READABLE);
    if (err) {
        goto fail;
    }
    *out_listener = listener;
    return 0;

fail:
    listener_destroy(listener);
    return err;
}

void listener_destroy(struct listener *listener)
{
    if (!listener) {
        return;
    }
    loop_unwatch(listener->loop, &listener->watch);
    loop_timer_stop(listener->loop, &listener->retry);
    if (listener->fd >= 0) {
        close(listener->fd);
    }
    if (listener->reserve_fd >= 0) {
        close(listener->reserve_fd);
    }
    mem_free(listener);
}

void listener_addr(const struct listener *listener, struct addr *out_addr)
{
    *out_addr = (struct addr){.port = 0};
    addr_of_local(out_addr, listener->fd);
}

void listener_rest(struct listener *listener, uint32_t ms)
{
    loop_timer_start(listener->loop, &listener->retry, ms);
    update_interest(listener);
}

void listener_pause(struct listener *listener)
{
    listener->is_paused = true;
    update_interest(listener);
}

void listener_resume(struct listener *listener)
{
    listener->is_paused = false;
    update_interest(listener);
}

void listener_keep_free(struct listener *listener, unsigned descriptors)
{
    listener->keep_free = descriptors;
}

uint64_t listener_shortages(const struct listener *listener)
{
    return listener->shortages;
}
