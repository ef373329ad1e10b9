#include "net/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mail.h"
#include "base/mem.h"

/* An eventfd of its own, not a mailbox: nobody may be left to post to a mailbox when it ends, but a
 * canceled look-up can last for as long as the system's resolver likes. */
struct resolve {
    atomic_int refs; /* the loop's side, and the thread's while it runs */
    int event_fd;
    uint16_t port;
    char *host;

    /* the loop's */
    struct loop *loop;
    struct loop_watch watch;
    resolve_done_cb on_done;
    void *owner;

    /* the thread's until is_done */
    atomic_bool is_done;
    int err;
    const char *detail;
    size_t count;
    struct addr addrs[RESOLVE_MAX_ADDRS];
};

static atomic_uint thread_count;

unsigned resolve_thread_count(void)
{
    return atomic_load(&thread_count);
}

static void resolve_unref(struct resolve *resolve)
{
    if (atomic_fetch_sub(&resolve->refs, 1) > 1) {
        return;
    }
    if (resolve->event_fd >= 0) {
        close(resolve->event_fd);
    }
    mem_free(resolve->host);
    mem_free(resolve);
}

static int err_of_gai(int gai)
{
    switch (gai) {
    case EAI_MEMORY: return ERR_NO_MEMORY;
    case EAI_NONAME:
    case EAI_NODATA: return ERR_NOT_FOUND;
    case EAI_SYSTEM: return errno > 0 ? -errno : ERR_UNAVAILABLE;
    default: /* EAI_AGAIN and other troubles of the resolver */ return ERR_UNAVAILABLE;
    }
}

static void take_addrs(struct resolve *resolve, const struct addrinfo *found)
{
    for (; found && resolve->count < RESOLVE_MAX_ADDRS; found = found->ai_next) {
        struct addr *addr = &resolve->addrs[resolve->count];
        if (addr_from_sockaddr(addr, found->ai_addr) == 0) {
            addr->port = resolve->port;
            resolve->count++;
        }
    }
}

static void look_up(struct resolve *resolve, int flags)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found = NULL;
    int gai = getaddrinfo(resolve->host, NULL, &hints, &found);
    if (gai) {
        resolve->err = err_of_gai(gai);
        resolve->detail = gai == EAI_SYSTEM ? err_str(resolve->err) : gai_strerror(gai);
        return;
    }
    take_addrs(resolve, found);
    freeaddrinfo(found);
    resolve->err = resolve->count > 0 ? 0 : ERR_NOT_FOUND;
    resolve->detail = "the name has no IP address";
}

/* From here on the loop's side may read, and free, the answer. */
static void announce(struct resolve *resolve)
{
    atomic_store_explicit(&resolve->is_done, true, memory_order_release);
    eventfd_write(resolve->event_fd, 1);
}

static void *run_thread(void *arg)
{
    struct resolve *resolve = arg;
    look_up(resolve, 0);
    announce(resolve);
    resolve_unref(resolve);
    atomic_fetch_sub(&thread_count, 1);
    return NULL;
}

/* Signals are for the threads that expect them. */
static int create_thread(struct resolve *resolve)
{
    sigset_t all;
    sigset_t before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&thread, NULL, run_thread, resolve);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!err) {
        pthread_detach(thread);
    }
    return -err;
}

static int start_thread(struct resolve *resolve)
{
    if (atomic_fetch_add(&thread_count, 1) >= RESOLVE_MAX_THREADS) {
        atomic_fetch_sub(&thread_count, 1);
        return ERR_UNAVAILABLE;
    }
    atomic_fetch_add(&resolve->refs, 1);
    int err = create_thread(resolve);
    if (err) {
        atomic_fetch_sub(&resolve->refs, 1);
        atomic_fetch_sub(&thread_count, 1);
    }
    return err;
}

static void on_wake(struct loop_watch *watch, unsigned events)
{
    struct resolve *resolve = MAIL_OWNER(watch, struct resolve, watch);
    if (!atomic_load_explicit(&resolve->is_done, memory_order_acquire)) {
        return;
    }
    loop_unwatch(resolve->loop, watch);
    resolve->on_done(resolve->owner, resolve->err, resolve->addrs, resolve->count, resolve->detail);
    resolve_unref(resolve);
}

static int resolve_prepare(struct resolve *resolve, const char *host)
{
    resolve->host = mem_strndup(host, strlen(host));
    if (!resolve->host) {
        return ERR_NO_MEMORY;
    }
    resolve->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (resolve->event_fd < 0) {
        return -errno;
    }
    return loop_watch(resolve->loop, &resolve->watch, resolve->event_fd, LOOP_READABLE);
}

/* An address needs no thread, but is answered like a name: later. */
static int resolve_begin(struct resolve *resolve)
{
    look_up(resolve, AI_NUMERICHOST);
    if (resolve->err) {
        return start_thread(resolve);
    }
    announce(resolve);
    return 0;
}

int resolve_start(struct resolve **out_resolve, struct loop *loop, const char *host, uint16_t port,
                  resolve_done_cb on_done, void *owner)
{
    struct resolve *resolve = mem_zalloc(sizeof(*resolve));
    if (!resolve) {
        return ERR_NO_MEMORY;
    }
    *resolve = (struct resolve){.refs = 1,
                                .event_fd = -1,
                                .port = port,
                                .loop = loop,
                                .watch = {.on_ready = on_wake, .fd = -1},
                                .on_done = on_done,
                                .owner = owner};
    int err = resolve_prepare(resolve, host);
    if (!err) {
        err = resolve_begin(resolve);
    }
    if (err) {
        resolve_cancel(resolve);
        return err;
    }
    *out_resolve = resolve;
    return 0;
}

void resolve_cancel(struct resolve *resolve)
{
    if (resolve) {
        loop_unwatch(resolve->loop, &resolve->watch);
        resolve_unref(resolve);
    }
}
