#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "net/listener.h"

enum { HALF_BYTES = 65536, CLIENT = 0, SERVER = 1 };

/* One end of a carried connection, and what was read from it and waits for the other end. */
struct half {
    struct loop_watch watch;
    struct carried *carried;
    size_t len, done;
    bool has_ended; /* it will say nothing more */
    bool was_told;  /* that the other end has ended */
    bool is_parked; /* hung up while nothing may pass: looked at again when something may */
    uint8_t data[HALF_BYTES];
};

struct carried {
    struct link *link;
    struct carried *next;
    struct half halves[2];
    bool is_spared, is_connected, is_babbled_at;
};

struct link {
    struct loop *loop;
    struct listener *listener; /* NULL: nobody listens */
    struct addr told, bound;
    enum link_fault fault;
    struct carried *first;
    uint64_t accepted;
};

static int side_of(const struct half *half)
{
    return half == &half->carried->halves[CLIENT] ? CLIENT : SERVER;
}

static struct half *other_of(struct half *half)
{
    return &half->carried->halves[1 - side_of(half)];
}

static bool passes(const struct half *half)
{
    const struct carried *carried = half->carried;
    enum link_fault fault = carried->is_spared ? LINK_CARRIES : carried->link->fault;
    if (fault == LINK_DEAD) {
        return false;
    }
    return fault != (side_of(half) == CLIENT ? LINK_DEAF : LINK_MUTE);
}

/* ---- connections ---- */

static void half_unwatch(struct half *half)
{
    if (!half->is_parked) {
        loop_unwatch(half->carried->link->loop, &half->watch);
    }
}

static void half_close(struct half *half, bool resets)
{
    int fd = half->watch.fd;
    if (fd < 0) {
        return;
    }
    half_unwatch(half);
    if (resets) {
        struct linger now = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    close(fd);
}

static void carried_destroy(struct carried *carried, bool resets)
{
    struct carried **at = &carried->link->first;
    while (*at != carried) {
        at = &(*at)->next;
    }
    *at = carried->next;
    half_close(&carried->halves[CLIENT], resets);
    half_close(&carried->halves[SERVER], resets);
    free(carried);
}

/* Moves what waits; false when the connection broke and is gone. */
static bool half_forward(struct half *half)
{
    struct half *other = other_of(half);
    while (half->done < half->len) {
        ssize_t n = send(other->watch.fd, half->data + half->done, half->len - half->done,
                         MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return true;
        }
        if (n < 0) {
            carried_destroy(half->carried, true);
            return false;
        }
        half->done += (size_t)n;
    }
    half->len = half->done = 0;
    if (half->has_ended && !other->was_told) {
        other->was_told = true;
        shutdown(other->watch.fd, SHUT_WR);
    }
    return true;
}

/* As half_forward. */
static bool half_fill(struct half *half)
{
    if (half->len > 0 || half->has_ended) {
        return true;
    }
    ssize_t n = recv(half->watch.fd, half->data, sizeof(half->data), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n < 0) {
        carried_destroy(half->carried, true);
        return false;
    }
    half->has_ended = n == 0;
    half->len = (size_t)n;
    return true;
}

static void half_refresh(struct half *half)
{
    struct half *other = other_of(half);
    unsigned events = 0;
    if (half->len == 0 && !half->has_ended && passes(half)) {
        events |= LOOP_READABLE;
    }
    if (!half->carried->is_connected || (other->len > 0 && passes(other))) {
        events |= LOOP_WRITABLE;
    }
    if (!half->is_parked && half->watch.fd >= 0) {
        loop_rewatch(half->carried->link->loop, &half->watch, events);
    }
}

/* Both directions as far as they go. */
static void carried_pump(struct carried *carried)
{
    for (int side = CLIENT; side <= SERVER; side++) {
        struct half *half = &carried->halves[side];
        if (passes(half) && (!half_fill(half) || !half_forward(half))) {
            return;
        }
    }
    if (carried->halves[CLIENT].was_told && carried->halves[SERVER].was_told) {
        carried_destroy(carried, false);
        return;
    }
    half_refresh(&carried->halves[CLIENT]);
    half_refresh(&carried->halves[SERVER]);
}

/* ---- hang-ups ---- */

static void half_park(struct half *half)
{
    /* The kernel would tell of the hang-up again in each turn. */
    int fd = half->watch.fd;
    loop_unwatch(half->carried->link->loop, &half->watch);
    half->watch.fd = fd;
    half->is_parked = true;
}

static void half_unpark(struct half *half)
{
    if (half->is_parked) {
        int fd = half->watch.fd;
        half->is_parked = false;
        ASSERT(loop_watch(half->carried->link->loop, &half->watch, fd, 0) == 0);
    }
}

static void on_half_ready(struct loop_watch *watch, unsigned events)
{
    struct half *half = (struct half *)watch;
    struct carried *carried = half->carried;
    if (!carried->is_connected) {
        int err = 0;
        socklen_t len = sizeof(err);
        getsockopt(carried->halves[SERVER].watch.fd, SOL_SOCKET, SO_ERROR, &err, &len);
        if (err || (events & LOOP_HANGUP)) {
            carried_destroy(carried, true);
            return;
        }
        carried->is_connected |= side_of(half) == SERVER && (events & LOOP_WRITABLE);
    }
    if ((events & LOOP_HANGUP) && (!passes(half) || half->has_ended)) {
        half_park(half);
        return;
    }
    if (carried->is_connected) {
        carried_pump(carried);
    }
}

/* ---- new ones ---- */

static int connect_server(const struct addr *bound)
{
    struct sockaddr_storage sockaddr;
    socklen_t len = addr_to_sockaddr(bound, &sockaddr);
    int fd = socket(sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sockaddr, len) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A web server's answer, lengths that overflow, zeros, text without an end. */
static void babble(int fd, uint64_t which)
{
    char junk[4096];
    static const char *const starts[] = {"HTTP/1.1 400 Bad Request\r\n\r\n", "\xff\xff\xff\xff",
                                         "\0\0\0\0", "-ERR what do you want\r\n"};
    memset(junk, which % 2 ? 0xff : 'a', sizeof(junk));
    memset(junk, which % 4 == 2 ? 0 : junk[0], sizeof(junk));
    size_t len = which % 4 == 2 ? 4 : strlen(starts[which % 4]);
    memcpy(junk, starts[which % 4], len);
    ssize_t n = send(fd, junk, sizeof(junk), MSG_NOSIGNAL);
    (void)n; /* what doesn't fit is no loss */
}

static bool watch_halves(struct carried *carried, int client, int server)
{
    struct loop *loop = carried->link->loop;
    struct half *halves = carried->halves;
    return loop_watch(loop, &halves[CLIENT].watch, client, 0) == 0 &&
           (server < 0 || loop_watch(loop, &halves[SERVER].watch, server, LOOP_WRITABLE) == 0);
}

static void on_accept(void *owner, int fd, const struct addr *peer)
{
    struct link *link = owner;
    link->accepted++;
    struct carried *carried = calloc(1, sizeof(*carried));
    ASSERT(carried);
    carried->link = link;
    for (int side = CLIENT; side <= SERVER; side++) {
        carried->halves[side].carried = carried;
        carried->halves[side].watch.fd = -1;
        carried->halves[side].watch.on_ready = on_half_ready;
    }
    carried->is_babbled_at = link->fault == LINK_BABBLES;
    int server = carried->is_babbled_at ? -1 : connect_server(&link->bound);
    carried->next = link->first;
    link->first = carried;
    ASSERT(watch_halves(carried, fd, server));
    if (carried->is_babbled_at) {
        babble(fd, link->accepted);
    } else if (server < 0) {
        carried_destroy(carried, true);
    }
}

/* ---- the link ---- */

static int listen_again(struct link *link)
{
    return link->listener
               ? 0
               : listener_create(&link->listener, link->loop, &link->told, 0, on_accept, link);
}

static void reset_all(struct link *link, bool only_babbled)
{
    for (struct carried *carried = link->first; carried;) {
        struct carried *next = carried->next;
        if (!carried->is_spared && (!only_babbled || carried->is_babbled_at)) {
            carried_destroy(carried, true);
        }
        carried = next;
    }
}

int link_create(struct link **out_link, struct loop *loop, const struct addr *told,
                const struct addr *bound)
{
    struct link *link = calloc(1, sizeof(*link));
    if (!link) {
        return ERR_NO_MEMORY;
    }
    *link = (struct link){.loop = loop, .told = *told, .bound = *bound};
    int err = listen_again(link);
    if (err) {
        free(link);
        return err;
    }
    *out_link = link;
    return 0;
}

void link_destroy(struct link *link)
{
    if (!link) {
        return;
    }
    link_spare(link);
    for (struct carried *carried = link->first; carried; carried = link->first) {
        carried_destroy(carried, true);
    }
    listener_destroy(link->listener);
    free(link);
}

void link_spare(struct link *link)
{
    for (struct carried *carried = link->first; carried; carried = carried->next) {
        carried->is_spared = true;
    }
}

static void wake_all(struct link *link)
{
    for (struct carried *carried = link->first; carried;) {
        struct carried *next = carried->next;
        half_unpark(&carried->halves[CLIENT]);
        half_unpark(&carried->halves[SERVER]);
        if (carried->is_connected) {
            carried_pump(carried);
        }
        carried = next;
    }
}

int link_set(struct link *link, enum link_fault fault)
{
    link->fault = fault;
    for (struct carried *carried = link->first; carried; carried = carried->next) {
        carried->is_spared &= fault != LINK_CARRIES;
    }
    if (fault == LINK_CUT) {
        listener_destroy(link->listener);
        link->listener = NULL;
        reset_all(link, false);
        return 0;
    }
    reset_all(link, fault != LINK_BABBLES);
    wake_all(link);
    return listen_again(link);
}

uint64_t link_accepted(const struct link *link)
{
    return link->accepted;
}
