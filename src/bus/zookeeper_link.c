/* The link: one connection of the client library to one server, which we choose. When it breaks,
 * its handle is thrown away, and another is made, with the same session as long as the server still
 * has it. So there is one way to begin, and the library's own reconnecting, which looks up names
 * where it stands and tries again without a pause that we could set, is never used. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "bus/zookeeper_private.h"

enum {
    FIRST_RETRY_MS = 500,
    MAX_RETRY_MS = 2000,
    CONNECT_TIMEOUT_MS = 3000,
    STEADY_MS = 5000, /* a link that lasted so long is tried again at once */
};

static void try_next(struct zk_link *link);

/* ---- the end of a link ---- */

static uint64_t retry_delay_ms(struct zk_link *link)
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
        random = loop_now_us(link->bus->loop);
    }
    return backoff_next_ms(&link->backoff, random);
}

void zk_link_break(struct zk_link *link, const char *format, ...)
{
    if (link->broken[0]) {
        return; /* the first reason counts */
    }
    va_list args;
    va_start(args, format);
    vsnprintf(link->broken, sizeof(link->broken), format, args);
    va_end(args);
}

/* Ending a live session waits for the server's goodbye, seconds when it hangs. So the connection is
 * taken from under the library, which finds a dead one in its place, and the session is left to the
 * server. Only while it says that it is connected is the descriptor sure to be its own. */
static void cut(struct zk_link *link)
{
    int pair[2];
    if (!link->handle || zoo_state(link->handle) != ZOO_CONNECTED_STATE ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
        return; /* it may take its time, then */
    }
    close(pair[1]);
    dup3(pair[0], link->fd, O_CLOEXEC);
    close(pair[0]);
    link->processing = true;
    zookeeper_process(link->handle, ZOOKEEPER_READ);
    link->processing = false;
}

static void close_handle(struct zk_link *link)
{
    zhandle_t *handle = link->handle;
    link->handle = NULL;
    zk_pump_stop(link);
    loop_timer_stop(link->bus->loop, &link->timer);
    loop_timer_stop(link->bus->loop, &link->connect_timer);
    atomic_fetch_sub_explicit(&link->bus->bus.stats.links, link->established ? 1 : 0,
                              memory_order_relaxed);
    if (handle) {
        zookeeper_close(handle);
    }
    link->established = false;
}

/* What is told once is not told again at each try, until the bus was up in between. */
static void log_end(struct zk_link *link, const char *reason)
{
    if (zk_problem_is_told(link->bus, reason)) {
        log_debug("bus.link_failed", "zookeeper: still no link to %s: %s", link->peer, reason);
    } else if (link->established) {
        log_warn("bus.link_lost", "zookeeper: the link to %s is lost: %s", link->peer, reason);
    } else {
        log_info("bus.link_failed", "zookeeper: no link to %s: %s", link->peer, reason);
    }
}

void zk_link_end(struct zk_link *link)
{
    struct zk_bus *zk = link->bus;
    char reason[ZK_REASON_MAX];
    memcpy(reason, link->broken, sizeof(reason));
    uint64_t lasted_ms = loop_now_ms(zk->loop) - link->established_ms;
    bool was_steady = link->established && lasted_ms >= STEADY_MS;
    log_end(link, reason);
    zk_lost(zk, link->peer, reason); /* first: what the calls still say is not heard any more */
    cut(link);
    close_handle(link);
    zk_calls_end(link, ZCONNECTIONLOSS, false);
    link->broken[0] = '\0';
    if (was_steady) {
        link->backoff.tries = 0;
    }
    loop_timer_start(zk->loop, &link->timer, was_steady ? 0 : retry_delay_ms(link));
}

/* ---- a session ---- */

static void on_session_event(struct zk_link *link, int state)
{
    if (state != ZOO_CONNECTED_STATE || link->established) {
        return;
    }
    struct zk_bus *zk = link->bus;
    link->established = true;
    link->established_ms = loop_now_ms(zk->loop);
    bool resumed = link->session.client_id != 0;
    link->session = *zoo_client_id(link->handle);
    loop_timer_stop(zk->loop, &link->connect_timer);
    bus_count(&zk->bus.stats.links, 1);
    if (link->ever_established) {
        bus_count(&zk->bus.stats.reconnects, 1);
    }
    link->ever_established = true;
    log_write(link->is_told ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, NULL, "bus.link_made",
              "zookeeper: %s session 0x%llx at %s, timeout %d ms", resumed ? "resumed" : "new",
              (unsigned long long)link->session.client_id, link->peer,
              zoo_recv_timeout(link->handle));
    link->is_told = true;
    zk_open_begin(zk);
}

static void watch_session(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    if (type == ZOO_SESSION_EVENT) {
        on_session_event(context, state);
    }
}

/* ---- beginning ---- */

static void log_library(const char *message)
{
    log_debug("bus.library_said", "%s", message);
}

/* The library takes "host:port" and cuts at the last colon, so IPv6 goes without brackets. */
static void format_host(const struct addr *addr, char *out, size_t size)
{
    char ip[ADDR_TEXT_MAX];
    struct str text = str_of(addr_format_ip(addr, ip));
    if (text.len > 2 && text.ptr[0] == '[') {
        text = str_make(text.ptr + 1, text.len - 2);
    }
    snprintf(out, size, "%.*s:%u", STR_ARG(text), addr->port);
}

static void add_auth(struct zk_link *link)
{
    struct str auth = link->bus->auth;
    if (auth.len > 0 &&
        zoo_add_auth(link->handle, "digest", auth.ptr, (int)auth.len, NULL, NULL) != ZOK) {
        zk_link_break(link, "out of memory");
    }
}

static void connect_to(struct zk_link *link, const struct addr *addr)
{
    struct zk_bus *zk = link->bus;
    char host[ADDR_TEXT_MAX + 8];
    format_host(addr, host, sizeof(host));
    addr_format(addr, link->peer);
    link->guard = (struct zk_guard){0};
    link->is_short = false;
    link->broken[0] = '\0';
    link->handle = zookeeper_init2(host, watch_session, (int)zk->session_timeout_ms,
                                   link->session.client_id ? &link->session : NULL, link,
                                   ZOO_NO_LOG_CLIENTENV, log_library);
    if (!link->handle) {
        zk_link_break(link, "can't make a client: %s", err_str(-errno));
        zk_link_end(link);
        return;
    }
    zoo_set_servers_resolution_delay(link->handle, -1);
    add_auth(link);
    loop_timer_start(zk->loop, &link->connect_timer, CONNECT_TIMEOUT_MS);
    zk_link_pump(link);
}

static void on_connect_timeout(struct timer *timer)
{
    struct zk_link *link = (struct zk_link *)((char *)timer -
                                              offsetof(struct zk_link, connect_timer));
    zk_link_break(link, zoo_state(link->handle) != ZOO_CONNECTING_STATE
                            ? "it accepts connections but does not answer"
                            : "no connection within 3 s");
    zk_link_pump(link);
}

static void try_next(struct zk_link *link)
{
    struct zk_addrs *addrs = &link->addrs;
    if (addrs->next < addrs->count) {
        connect_to(link, &addrs->list[addrs->next++]);
    } else {
        zk_addrs_look_up(addrs);
    }
}

static void on_addrs(struct zk_addrs *addrs, const char *problem)
{
    struct zk_link *link = (struct zk_link *)((char *)addrs - offsetof(struct zk_link, addrs));
    if (addrs->count > 0) {
        try_next(link);
        return;
    }
    if (!zk_problem_is_told(link->bus, problem)) {
        log_info("bus.link_failed", "zookeeper: %s", problem);
    }
    zk_lost(link->bus, "", problem);
    loop_timer_start(link->bus->loop, &link->timer, retry_delay_ms(link));
}

static void on_timer(struct timer *timer)
{
    struct zk_link *link = (struct zk_link *)((char *)timer - offsetof(struct zk_link, timer));
    if (link->handle) {
        zk_pump_on_timer(link);
    } else {
        try_next(link);
    }
}

void zk_link_init(struct zk_link *link, struct zk_bus *bus)
{
    link->bus = bus;
    link->watch.fd = -1;
    link->watch.on_ready = zk_pump_on_ready;
    link->timer.on_fire = on_timer;
    link->connect_timer.on_fire = on_connect_timeout;
    link->backoff = (struct backoff){.base_ms = FIRST_RETRY_MS, .max_ms = MAX_RETRY_MS};
    zk_addrs_init(&link->addrs, bus->loop, &bus->options->values[ZK_SERVERS], on_addrs);
}

void zk_link_start(struct zk_link *link)
{
    try_next(link);
}

void zk_link_fini(struct zk_link *link)
{
    link->is_silent = true;
    zk_addrs_fini(&link->addrs);
    if (link->call_count > 0) {
        cut(link);
    }
    close_handle(link);
    zk_calls_end(link, ZCLOSING, true);
}
