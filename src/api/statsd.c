/* Sends what statsd_lines.h makes, from a UDP socket that hardly waits. The server's name is looked
 * up anew each round, since its address may change. What a datagram said is lost with it, but what
 * the system did not take is said in the next round. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "api/export_private.h"
#include "api/statsd_lines.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/resolve.h"

enum { HOST_BYTES = 256, BUSY_WAITS = 10, BUSY_WAIT_MS = 10 };

struct statsd {
    struct loop *loop;         /* borrowed */
    struct settings *settings; /* a reference, or NULL */
    const struct settings_statsd *options;
    struct statsd_lines *lines;
    struct timer timer;
    struct resolve *resolve; /* under way */
    struct addr addr;        /* of fd's other end */
    int fd;                  /* -1: none */
    size_t turn;             /* which of the name's addresses: nobody listened at the one before */
    struct export_outage outage;
    bool has_failed; /* in this round */
    bool is_over;    /* nothing more leaves in this round */
    unsigned waits;  /* of this round, for room in the socket */
};

/* ---- the socket ---- */

static void disconnect(struct statsd *statsd)
{
    if (statsd->fd >= 0) {
        close(statsd->fd);
        statsd->fd = -1;
    }
}

/* Connected, so that the system tells when nobody listens there. */
static int connect_to(struct statsd *statsd, const struct addr *addr)
{
    struct sockaddr_storage there;
    socklen_t len = addr_to_sockaddr(addr, &there);
    if (statsd->fd >= 0 && addr_equal_ip(addr, &statsd->addr) && addr->port == statsd->addr.port) {
        return 0;
    }
    disconnect(statsd);
    int fd = socket(there.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&there, len)) {
        int err = errno;
        if (fd >= 0) {
            close(fd);
        }
        return -err;
    }
    statsd->fd = fd;
    statsd->addr = *addr;
    return 0;
}

static void note_failure(struct statsd *statsd, const char *result, const char *why)
{
    export_stats_result(EXPORT_STATSD, result);
    statsd->has_failed = true;
    if (export_outage_note(&statsd->outage, clock_monotonic_ms())) {
        log_warn("export.failed", "StatsD: %s", why);
    }
}

/* A round may be more than the socket holds, and this thread has time: in all a tenth of a second.
 */
static int send_now(struct statsd *statsd, struct str datagram)
{
    struct pollfd room = {.fd = statsd->fd, .events = POLLOUT};
    while (send(statsd->fd, datagram.ptr, datagram.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno != EAGAIN || statsd->waits++ >= BUSY_WAITS) {
            return -errno;
        }
        poll(&room, 1, BUSY_WAIT_MS);
    }
    return 0;
}

/* ECONNREFUSED is about an earlier one; this one stayed here, as do all others. */
static bool emit(void *owner, struct str datagram)
{
    struct statsd *statsd = owner;
    int err = statsd->is_over ? 0 : send_now(statsd, datagram);
    if (err) {
        bool is_busy = err == -EAGAIN || err == -ENOBUFS;
        statsd->is_over = true;
        statsd->turn += err == -ECONNREFUSED;
        note_failure(statsd, is_busy ? "busy" : "unreachable", err_str(err));
    } else if (!statsd->is_over) {
        export_stats_success(EXPORT_STATSD);
    }
    return !statsd->is_over;
}

static void send_round(struct statsd *statsd)
{
    statsd->has_failed = statsd->is_over = false;
    statsd->waits = 0;
    if (statsd_lines_round(statsd->lines, statsd->options, emit, statsd)) {
        note_failure(statsd, "no_memory", err_str(ERR_NO_MEMORY));
    }
    if (!statsd->has_failed && export_outage_end(&statsd->outage)) {
        log_info("export.recovered", "StatsD: datagrams leave again");
    }
}

/* ---- rounds ---- */

static void on_resolved(void *owner, int err, const struct addr *addrs, size_t count,
                        const char *detail)
{
    struct statsd *statsd = owner;
    statsd->resolve = NULL;
    if (err) {
        note_failure(statsd, "no_name", detail);
        return;
    }
    err = connect_to(statsd, &addrs[statsd->turn % count]);
    if (err) {
        statsd->turn++;
        note_failure(statsd, "unreachable", err_str(err));
    } else {
        send_round(statsd);
    }
}

/* "host:port" or "[address]:port", as the configuration was checked. */
static void split(struct str address, char host[HOST_BYTES], uint16_t *out_port)
{
    const char *colon = memrchr(address.ptr, ':', address.len);
    size_t len = (size_t)(colon - address.ptr);
    struct str name = str_make(address.ptr, len);
    uint64_t port = 0;
    if (name.len > 2 && name.ptr[0] == '[') {
        name = str_make(name.ptr + 1, name.len - 2);
    }
    snprintf(host, HOST_BYTES, "%.*s", STR_ARG(name));
    str_to_u64(str_make(colon + 1, address.len - len - 1), UINT16_MAX, &port);
    *out_port = (uint16_t)port;
}

static void on_timer(struct timer *timer)
{
    struct statsd *statsd = MAIL_OWNER(timer, struct statsd, timer);
    char host[HOST_BYTES];
    uint16_t port;
    loop_timer_start(statsd->loop, &statsd->timer, statsd->options->interval_ms);
    if (statsd->resolve) {
        return; /* the name server is slower than the rounds */
    }
    split(statsd->options->address, host, &port);
    int err = resolve_start(&statsd->resolve, statsd->loop, host, port, on_resolved, statsd);
    if (err) {
        note_failure(statsd, "no_name", err_str(err));
    }
}

void statsd_flush(struct statsd *statsd)
{
    if (statsd->options && statsd->options->address.len > 0 && statsd->fd >= 0) {
        send_round(statsd);
    }
}

/* ---- life ---- */

static void stop(struct statsd *statsd)
{
    loop_timer_stop(statsd->loop, &statsd->timer);
    resolve_cancel(statsd->resolve);
    statsd->resolve = NULL;
    disconnect(statsd);
}

/* A reload that changes nothing here leaves no hole. */
void statsd_set_settings(struct statsd *statsd, struct settings *settings)
{
    bool was_on = statsd->options && statsd->options->address.len > 0;
    stop(statsd);
    settings_unref(statsd->settings);
    statsd->settings = settings_ref(settings);
    statsd->options = &settings->metrics.statsd;
    statsd->outage.logged_ms = 0;
    if (statsd->options->address.len == 0) {
        return;
    }
    if (!was_on) {
        statsd_lines_begin(statsd->lines);
    }
    loop_timer_start(statsd->loop, &statsd->timer, statsd->options->interval_ms);
}

int statsd_create(struct statsd **out_statsd, struct loop *loop, const char *node)
{
    struct statsd *statsd = mem_zalloc(sizeof(*statsd));
    if (!statsd) {
        return ERR_NO_MEMORY;
    }
    int err = statsd_lines_create(&statsd->lines, node);
    if (err) {
        mem_free(statsd);
        return err;
    }
    statsd->loop = loop;
    statsd->fd = -1;
    statsd->timer.on_fire = on_timer;
    *out_statsd = statsd;
    return 0;
}

void statsd_destroy(struct statsd *statsd)
{
    if (statsd) {
        stop(statsd);
        settings_unref(statsd->settings);
        statsd_lines_destroy(statsd->lines);
        mem_free(statsd);
    }
}
