/* Looks up host names without blocking a loop: getaddrinfo runs on a short-lived thread a look-up
 * (none for what is an address already), which answers by waking the loop. */
#ifndef TIDEGATE_NET_RESOLVE_H
#define TIDEGATE_NET_RESOLVE_H

#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"
#include "net/loop.h"

struct resolve; /* resolve.c */

enum {
    RESOLVE_MAX_ADDRS = 8,    /* of a name; what is over is left out */
    RESOLVE_MAX_THREADS = 32, /* in the process; a resolver that hangs must not pile them up */
};

/* err 0: count is at least 1, in the order to try. Else detail says why (static). addrs are valid
 * during the call. The resolve is freed behind it: forget the pointer. */
typedef void (*resolve_done_cb)(void *owner, int err, const struct addr *addrs, size_t count,
                                const char *detail);

/* host is copied: a name, or an address without brackets. 0: on_done runs exactly once, later, on
 * the loop, unless resolve_cancel comes first. Else no callback: ERR_NO_MEMORY, ERR_UNAVAILABLE
 * (RESOLVE_MAX_THREADS), or -errno. Link-local IPv6 addresses lose their scope. */
int resolve_start(struct resolve **out_resolve, struct loop *loop, const char *host, uint16_t port,
                  resolve_done_cb on_done, void *owner);

/* At once, without a callback; the thread ends when getaddrinfo returns, and touches nothing of the
 * loop any more. NULL is fine; not from within on_done. */
void resolve_cancel(struct resolve *resolve);

/* Threads at work now, those of canceled look-ups too. Any thread. */
unsigned resolve_thread_count(void);

#endif
