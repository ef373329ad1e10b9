/* A listening TCP socket on a loop: SO_REUSEPORT, so that each worker has its own for the same
 * address. Accepts up to 64 connections a turn, non-blocking, close-on-exec, TCP_NODELAY. When
 * descriptors or memory run out (EMFILE, ENFILE, ENOBUFS, ENOMEM) it gives up a reserve descriptor
 * to turn the waiting peers away, stops listening for events for 100 ms and tries again: no
 * spinning. */
#ifndef TIDEGATE_NET_LISTENER_H
#define TIDEGATE_NET_LISTENER_H

#include "net/addr.h"
#include "net/loop.h"

struct listener; /* listener.c */

/* fd is the callee's from here on. May pause the listener, not destroy it. */
typedef void (*listener_accept_cb)(void *owner, int fd, const struct addr *peer);

/* Port 0 picks a free one; see listener_addr. backlog 0 means 4,096. */
int listener_create(struct listener **out_listener, struct loop *loop, const struct addr *addr,
                    int backlog, listener_accept_cb on_accept, void *owner);
/* 0 when nobody listens there: SO_REUSEPORT would let a second process of the same user in without
 * a word, and the kernel would deal connections out to both. Ask before the first listener_create
 * of an address. Port 0 is always free. -EADDRINUSE, or another -errno. */
int listener_check_free(const struct addr *addr);

void listener_destroy(struct listener *listener);

void listener_addr(const struct listener *listener, struct addr *out_addr);

/* Stops or resumes accepting; connections wait in the backlog meanwhile. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);

/* Accepts nothing for so many ms; connections wait in the backlog. A pause lasts on behind it. */
void listener_rest(struct listener *listener, uint32_t ms);

/* Leaves the last so many descriptors below RLIMIT_NOFILE to others (health checks, the bus, logs):
 * a peer that would get one of them counts as a shortage. 0, the default: takes all. */
void listener_keep_free(struct listener *listener, unsigned descriptors);

/* How often accept ran into a lack of descriptors or memory. */
uint64_t listener_shortages(const struct listener *listener);

#endif
