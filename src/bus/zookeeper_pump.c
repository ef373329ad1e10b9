/* The library's handle on our loop: what it waits for, when it wants to be called, and what it may
 * read. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "bus/zookeeper_private.h"

enum { FRAMES_A_TURN = 64, SHORT_WAIT_MS = 20 };

void zk_pump_stop(struct zk_link *link)
{
    int fd = link->watch.fd;
    loop_unwatch(link->bus->loop, &link->watch);
    if (fd >= 0) {
        close(fd);
    }
}

static unsigned events_of(int interest)
{
    return (interest & ZOOKEEPER_READ ? (unsigned)LOOP_READABLE : 0u) |
           (interest & ZOOKEEPER_WRITE ? (unsigned)LOOP_WRITABLE : 0u);
}

/* The library closes its descriptor when it likes, and epoll may keep what was closed; so what is
 * watched is a copy of our own. */
static int watch_copy(struct zk_link *link, int fd, unsigned wants)
{
    zk_pump_stop(link);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        return -errno;
    }
    int err = loop_watch(link->bus->loop, &link->watch, copy, wants);
    if (err) {
        close(copy);
    }
    link->fd = fd;
    return err;
}

static void watch_fd(struct zk_link *link, int fd, unsigned wants)
{
    int err = 0;
    if (link->watch.fd < 0 || link->fd != fd) {
        err = watch_copy(link, fd, wants);
    } else if (link->wants != wants) {
        err = loop_rewatch(link->bus->loop, &link->watch, wants);
    }
    link->wants = wants;
    if (err) {
        zk_link_break(link, "can't wait for the connection: %s", err_str(err));
    }
}

static void ask_interest(struct zk_link *link)
{
    int fd = -1;
    int interest = 0;
    struct timeval wait = {0};
    link->processing = true;
    int rc = zookeeper_interest(link->handle, &fd, &interest, &wait);
    link->processing = false;
    if (rc == ZOPERATIONTIMEOUT) {
        zk_link_break(link, "it does not answer");
    } else if (rc != ZOK) {
        zk_link_break(link, "%s", zerror(rc));
    } else if (fd < 0) {
        zk_link_break(link, "the connection is closed");
    }
    if (link->broken[0]) {
        return;
    }
    /* The few bytes of a frame that has just begun would wake us over and over. */
    uint64_t wait_ms = (uint64_t)wait.tv_sec * 1000 + (uint64_t)wait.tv_usec / 1000 + 1;
    unsigned wants = events_of(interest) & (link->is_short ? ~(unsigned)LOOP_READABLE : ~0u);
    watch_fd(link, fd, wants);
    loop_timer_start(link->bus->loop, &link->timer, link->is_short ? SHORT_WAIT_MS : wait_ms);
}

void zk_link_pump(struct zk_link *link)
{
    if (!link->handle || link->processing) {
        return;
    }
    if (!link->broken[0]) {
        ask_interest(link);
    }
    if (link->broken[0]) {
        zk_link_end(link);
    }
}

static const char *loss_reason(const struct zk_link *link, int rc)
{
    if (rc == ZSESSIONEXPIRED) {
        return "the session has expired";
    }
    if (rc == ZAUTHFAILED) {
        return "the server refuses the credential (option auth)";
    }
    return link->established ? "the server closed the connection"
                             : "the server closed the connection before it gave a session: it is "
                               "not serving (no quorum, read-only mode, or just starting)";
}

static void after_process(struct zk_link *link, int rc)
{
    int state = zoo_state(link->handle);
    if (state == ZOO_EXPIRED_SESSION_STATE) {
        link->session = (clientid_t){0};
        rc = ZSESSIONEXPIRED;
    } else if (state == ZOO_AUTH_FAILED_STATE) {
        rc = ZAUTHFAILED;
    }
    if (rc != ZOK && rc != ZNOTHING) {
        zk_link_break(link, "%s", loss_reason(link, rc));
    }
}

/* Whether the library may read; what waits in the socket is looked at first. */
static bool may_read(struct zk_link *link)
{
    uint8_t head[ZK_GUARD_PEEK];
    link->is_short = false;
    if (link->guard.is_inside || zoo_state(link->handle) == ZOO_CONNECTING_STATE) {
        return true;
    }
    ssize_t len = recv(link->watch.fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);
    if (len <= 0) {
        return len == 0 || errno != EAGAIN; /* the library finds out what it is */
    }
    enum zk_guard_verdict verdict = zk_guard_look(&link->guard, head, (size_t)len,
                                                  link->call_count);
    if (verdict == ZK_GUARD_BAD) {
        zk_link_break(link, "its answer is not ZooKeeper's");
    }
    link->is_short = verdict == ZK_GUARD_MORE;
    return verdict == ZK_GUARD_GOOD;
}

static int process(struct zk_link *link, int events)
{
    link->processing = true;
    int rc = zookeeper_process(link->handle, events);
    link->processing = false;
    if (rc == ZOK && (events & ZOOKEEPER_READ)) {
        zk_guard_passed(&link->guard);
    }
    return rc;
}

static void read_frames(struct zk_link *link)
{
    for (int i = 0; i < FRAMES_A_TURN && !link->broken[0] && may_read(link); i++) {
        int rc = process(link, ZOOKEEPER_READ);
        after_process(link, rc);
        if (rc != ZOK) {
            break;
        }
    }
}

/* Why it could not be connected; the library only says that it could not. */
static void check_connect(struct zk_link *link)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (zoo_state(link->handle) == ZOO_CONNECTING_STATE &&
        getsockopt(link->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error) {
        zk_link_break(link, "%s", err_str(-error));
    }
}

void zk_pump_on_ready(struct loop_watch *watch, unsigned events)
{
    struct zk_link *link = (struct zk_link *)((char *)watch - offsetof(struct zk_link, watch));
    check_connect(link);
    if (!link->broken[0] && (events & LOOP_WRITABLE)) {
        after_process(link, process(link, ZOOKEEPER_WRITE));
    }
    if (events & (LOOP_READABLE | LOOP_HANGUP)) {
        read_frames(link);
    }
    if (link->is_short && (events & LOOP_HANGUP)) {
        zk_link_break(link, "the server closed the connection in the middle of a frame");
    }
    zk_link_pump(link);
}

void zk_pump_on_timer(struct zk_link *link)
{
    if (link->is_short) {
        read_frames(link);
    }
    zk_link_pump(link);
}
