#include "fault_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

enum { CLIENT, SERVER, ENDS }; /* a lane is called by where it comes from */
enum {
    CHUNK = 65536,
    HELD_MAX = 1 << 20, /* bytes of a lane; then its source is not read, and TCP holds it up */
    MAX_CONNECTIONS = 512,
    BACKLOG = 512,
};

enum end { END_NONE, END_ORDERLY, END_RESET };

struct chunk {
    struct chunk *next;
    uint64_t due_ms;
    enum end end; /* of what follows the data */
    size_t len;
    size_t sent;
    uint8_t data[];
};

struct lane {
    struct chunk *first;
    struct chunk **tail;
    size_t held;
    bool has_ended; /* its source said all */
    bool is_done;   /* and its destination has it */
};

struct connection {
    struct connection *next;
    int fds[ENDS]; /* the server's is -1 while silent */
    bool is_connected;
    bool is_over;
    bool is_spared;
    bool is_babble; /* has no server, ever */
    struct lane lanes[ENDS];
};

/* What the test asks for; the thread looks at it between polls, under the lock. */
struct orders {
    bool stops, refuses, is_silent, babbles;
    bool resets, spares, heals; /* once */
    bool drops[ENDS];
    uint32_t delay_ms;
};

struct fault_proxy {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t obeyed;
    int wake_fd;
    uint64_t asked, done; /* counts of orders */
    struct orders asked_orders;
    int heal_err;
    uint64_t accepted;

    /* the thread's */
    struct orders orders;
    int listening_fd;
    struct sockaddr_in here;
    struct sockaddr_in server;
    struct connection *connections;
    size_t connection_count;
};

/* ---- sockets ---- */

/* Whatever ends a connection early, ends it with an RST on both sides. */
static void prepare(int fd)
{
    struct linger resets = {.l_onoff = 1};
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &resets, sizeof(resets));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int make_socket(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int begin_listening(struct fault_proxy *proxy)
{
    int on = 1;
    socklen_t len = sizeof(proxy->here);
    int fd = make_socket();
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&proxy->here, len) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&proxy->here, &len) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    proxy->listening_fd = fd;
    return 0;
}

/* ---- one connection ---- */

static void lane_drop(struct lane *lane, struct chunk *chunk)
{
    lane->first = chunk->next;
    if (!lane->first) {
        lane->tail = &lane->first;
    }
    lane->held -= chunk->len;
    free(chunk);
}

static void connection_free(struct connection *connection)
{
    for (int from = 0; from < ENDS; from++) {
        while (connection->lanes[from].first) {
            lane_drop(&connection->lanes[from], connection->lanes[from].first);
        }
        if (connection->fds[from] >= 0) {
            close(connection->fds[from]);
        }
    }
    free(connection);
}

static void connection_add(struct fault_proxy *proxy, int fd)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    ASSERT(connection);
    connection->fds[CLIENT] = fd;
    connection->fds[SERVER] = -1;
    for (int from = 0; from < ENDS; from++) {
        connection->lanes[from].tail = &connection->lanes[from].first;
    }
    connection->next = proxy->connections;
    proxy->connections = connection;
    proxy->connection_count++;
}

/* A web server's answer, the longest length there is, none, an error in Redis's words without an
 * end. */
static void babble(struct connection *connection, uint64_t which)
{
    static const struct {
        const char *start;
        size_t len;
        char rest;
    } kinds[] = {{"HTTP/1.1 400 Bad Request\r\n\r\n", 28, 'a'},
                 {"\xff\xff\xff\xff", 4, '\xff'},
                 {"\0\0\0\0", 4, '\0'},
                 {"-ERR what do you want", 21, 'a'}};
    char junk[4096];
    size_t kind = which % (sizeof(kinds) / sizeof(kinds[0]));
    memset(junk, kinds[kind].rest, sizeof(junk));
    memcpy(junk, kinds[kind].start, kinds[kind].len);
    connection->is_babble = true;
    connection->is_over = send(connection->fds[CLIENT], junk, sizeof(junk), MSG_NOSIGNAL) < 0;
}

static void accept_all(struct fault_proxy *proxy)
{
    while (proxy->listening_fd >= 0 && proxy->connection_count < MAX_CONNECTIONS) {
        int fd = accept4(proxy->listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        prepare(fd);
        connection_add(proxy, fd);
        pthread_mutex_lock(&proxy->lock);
        uint64_t which = proxy->accepted++;
        pthread_mutex_unlock(&proxy->lock);
        if (proxy->orders.babbles) {
            babble(proxy->connections, which);
        }
    }
}

static void connect_to_server(struct fault_proxy *proxy, struct connection *connection)
{
    int fd = make_socket();
    prepare(fd);
    connection->fds[SERVER] = fd;
    if (connect(fd, (struct sockaddr *)&proxy->server, sizeof(proxy->server)) < 0 &&
        errno != EINPROGRESS) {
        connection->is_over = true;
    }
}

static void see_how_connect_went(struct connection *connection)
{
    int err = 0;
    socklen_t len = sizeof(err);
    getsockopt(connection->fds[SERVER], SOL_SOCKET, SO_ERROR, &err, &len);
    connection->is_connected = err == 0;
    connection->is_over = err != 0;
}

static void take(struct fault_proxy *proxy, struct connection *connection, int from)
{
    struct lane *lane = &connection->lanes[from];
    struct chunk *chunk = malloc(sizeof(*chunk) + CHUNK);
    ASSERT(chunk);
    ssize_t got = recv(connection->fds[from], chunk->data, CHUNK, 0);
    if (got < 0 && errno == EAGAIN) {
        free(chunk);
        return;
    }
    *chunk = (struct chunk){.due_ms = clock_monotonic_ms() + proxy->orders.delay_ms,
                            .end = got > 0    ? END_NONE
                                   : got == 0 ? END_ORDERLY
                                              : END_RESET,
                            .len = got > 0 ? (size_t)got : 0};
    lane->has_ended = got <= 0;
    lane->held += chunk->len;
    *lane->tail = chunk;
    lane->tail = &chunk->next;
}

/* False when it must wait for the destination, or is over. */
static bool give_chunk(struct connection *connection, int from, struct chunk *chunk)
{
    int to = connection->fds[!from];
    if (chunk->end == END_RESET) {
        connection->is_over = true;
        return false;
    }
    if (chunk->end == END_ORDERLY) {
        shutdown(to, SHUT_WR);
        connection->lanes[from].is_done = true;
        return true;
    }
    ssize_t sent = send(to, chunk->data + chunk->sent, chunk->len - chunk->sent, MSG_NOSIGNAL);
    if (sent < 0) {
        connection->is_over = errno != EAGAIN;
        return false;
    }
    chunk->sent += (size_t)sent;
    return chunk->sent == chunk->len;
}

static bool may_give(const struct fault_proxy *proxy, const struct connection *connection, int from)
{
    const struct chunk *first = connection->lanes[from].first;
    bool drops = proxy->orders.drops[from] && !connection->is_spared;
    return first && connection->is_connected && !drops && first->due_ms <= clock_monotonic_ms();
}

static void give(struct fault_proxy *proxy, struct connection *connection, int from)
{
    struct lane *lane = &connection->lanes[from];
    while (may_give(proxy, connection, from) && give_chunk(connection, from, lane->first)) {
        lane_drop(lane, lane->first);
    }
    if (connection->lanes[CLIENT].is_done && connection->lanes[SERVER].is_done) {
        struct linger in_order = {.l_onoff = 0};
        setsockopt(connection->fds[CLIENT], SOL_SOCKET, SO_LINGER, &in_order, sizeof(in_order));
        setsockopt(connection->fds[SERVER], SOL_SOCKET, SO_LINGER, &in_order, sizeof(in_order));
        connection->is_over = true;
    }
}

/* ---- the thread ---- */

/* What poll is to watch of an end. */
static short events_of(const struct fault_proxy *proxy, const struct connection *connection,
                       int end)
{
    const struct lane *lane = &connection->lanes[end];
    if (!connection->is_connected) {
        return end == SERVER ? POLLOUT : 0;
    }
    bool reads = !lane->has_ended && lane->held < HELD_MAX;
    return (short)((reads ? POLLIN : 0) | (may_give(proxy, connection, !end) ? POLLOUT : 0));
}

/* An end that waits for nothing is left out: poll tells hang-ups unasked. */
static size_t fill_polls(const struct fault_proxy *proxy, struct pollfd *polls)
{
    size_t count = 0;
    bool has_room = proxy->connection_count < MAX_CONNECTIONS;
    polls[count++] = (struct pollfd){.fd = proxy->wake_fd, .events = POLLIN};
    polls[count++] = (struct pollfd){.fd = has_room ? proxy->listening_fd : -1, .events = POLLIN};
    for (struct connection *each = proxy->connections; each; each = each->next) {
        for (int end = 0; end < ENDS; end++) {
            short events = events_of(proxy, each, end);
            polls[count++] = (struct pollfd){.fd = events ? each->fds[end] : -1, .events = events};
        }
    }
    return count;
}

/* Until the next delayed chunk is due. */
static int wait_ms(const struct fault_proxy *proxy)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t wait = INT_MAX;
    for (struct connection *each = proxy->connections; each; each = each->next) {
        for (int from = 0; from < ENDS; from++) {
            const struct chunk *first = each->lanes[from].first;
            if (first && first->due_ms > now_ms && first->due_ms - now_ms < wait) {
                wait = first->due_ms - now_ms;
            }
        }
    }
    return wait == INT_MAX ? -1 : (int)wait;
}

static void serve(struct fault_proxy *proxy, struct connection *connection,
                  const struct pollfd polls[ENDS])
{
    if (!connection->is_connected) {
        if (polls[SERVER].revents) {
            see_how_connect_went(connection);
        }
        return;
    }
    for (int from = 0; from < ENDS && !connection->is_over; from++) {
        if (polls[from].events & POLLIN && polls[from].revents & ~POLLOUT) {
            take(proxy, connection, from);
        }
        give(proxy, connection, from);
    }
}

static void sweep(struct fault_proxy *proxy)
{
    struct connection **link = &proxy->connections;
    while (*link) {
        struct connection *connection = *link;
        bool is_lone = connection->fds[SERVER] < 0 && !connection->is_babble;
        if (!connection->is_over && is_lone && !proxy->orders.is_silent) {
            connect_to_server(proxy, connection);
        }
        if (connection->is_over) {
            *link = connection->next;
            connection_free(connection);
            proxy->connection_count--;
        } else {
            link = &connection->next;
        }
    }
}

static int obey(struct fault_proxy *proxy)
{
    int err = 0;
    accept_all(proxy);
    if (proxy->orders.refuses && proxy->listening_fd >= 0) {
        close(proxy->listening_fd);
        proxy->listening_fd = -1;
    } else if (!proxy->orders.refuses && proxy->listening_fd < 0) {
        err = begin_listening(proxy);
    }
    for (struct connection *each = proxy->connections; each; each = each->next) {
        each->is_spared = (each->is_spared || proxy->orders.spares) && !proxy->orders.heals;
        each->is_over |= proxy->orders.resets && !each->is_spared;
        each->is_over |= proxy->orders.heals && each->is_babble;
    }
    sweep(proxy);
    return err;
}

static void take_orders(struct fault_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    uint64_t asked = proxy->asked;
    proxy->orders = proxy->asked_orders;
    pthread_mutex_unlock(&proxy->lock);
    int err = obey(proxy);
    pthread_mutex_lock(&proxy->lock);
    proxy->asked_orders.resets = proxy->asked_orders.spares = proxy->asked_orders.heals = false;
    proxy->done = asked;
    proxy->heal_err = err;
    pthread_cond_broadcast(&proxy->obeyed);
    pthread_mutex_unlock(&proxy->lock);
}

static void *run(void *arg)
{
    struct fault_proxy *proxy = arg;
    static const size_t max_polls = 2 + ENDS * MAX_CONNECTIONS;
    struct pollfd *polls = calloc(max_polls, sizeof(*polls));
    ASSERT(polls);
    while (!proxy->orders.stops) {
        poll(polls, fill_polls(proxy, polls), wait_ms(proxy));
        size_t at = 2;
        for (struct connection *each = proxy->connections; each; each = each->next) {
            serve(proxy, each, polls + at);
            at += ENDS;
        }
        eventfd_t ignored;
        bool is_asked = polls[0].revents && eventfd_read(proxy->wake_fd, &ignored) == 0;
        accept_all(proxy);
        sweep(proxy);
        if (is_asked) {
            take_orders(proxy);
        }
    }
    free(polls);
    return NULL;
}

/* ---- what the test calls ---- */

static int ask(struct fault_proxy *proxy, const struct orders *orders)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->asked_orders = *orders;
    uint64_t mine = ++proxy->asked;
    eventfd_write(proxy->wake_fd, 1);
    while (proxy->done < mine) {
        pthread_cond_wait(&proxy->obeyed, &proxy->lock);
    }
    int err = proxy->heal_err;
    pthread_mutex_unlock(&proxy->lock);
    return err;
}

static struct orders orders_now(struct fault_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    struct orders orders = proxy->asked_orders;
    pthread_mutex_unlock(&proxy->lock);
    return orders;
}

static int set_addr(struct sockaddr_in *out, const char *host, uint16_t port)
{
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    return inet_pton(AF_INET, host, &out->sin_addr) == 1 ? 0 : -EINVAL;
}

static void fault_proxy_free(struct fault_proxy *proxy)
{
    if (proxy->listening_fd >= 0) {
        close(proxy->listening_fd);
    }
    if (proxy->wake_fd >= 0) {
        close(proxy->wake_fd);
    }
    pthread_mutex_destroy(&proxy->lock);
    pthread_cond_destroy(&proxy->obeyed);
    free(proxy);
}

int fault_proxy_start(struct fault_proxy **out_proxy, const char *host, uint16_t port,
                      const char *server_host, uint16_t server_port)
{
    struct fault_proxy *proxy = calloc(1, sizeof(*proxy));
    ASSERT(proxy);
    pthread_mutex_init(&proxy->lock, NULL);
    pthread_cond_init(&proxy->obeyed, NULL);
    proxy->listening_fd = -1;
    proxy->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int err = proxy->wake_fd < 0 ? -errno : set_addr(&proxy->here, host, port);
    err = err ? err : set_addr(&proxy->server, server_host, server_port);
    err = err ? err : begin_listening(proxy);
    err = err ? err : -pthread_create(&proxy->thread, NULL, run, proxy);
    if (err) {
        fault_proxy_free(proxy);
        return err;
    }
    *out_proxy = proxy;
    return 0;
}

void fault_proxy_stop(struct fault_proxy *proxy)
{
    if (proxy) {
        ask(proxy, &(struct orders){.stops = true, .refuses = true, .resets = true});
        pthread_join(proxy->thread, NULL);
        fault_proxy_free(proxy);
    }
}

uint16_t fault_proxy_port(const struct fault_proxy *proxy)
{
    return ntohs(proxy->here.sin_port);
}

uint64_t fault_proxy_accepted(struct fault_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    uint64_t accepted = proxy->accepted;
    pthread_mutex_unlock(&proxy->lock);
    return accepted;
}

void fault_proxy_refuse(struct fault_proxy *proxy)
{
    struct orders orders = orders_now(proxy);
    orders.refuses = true;
    ask(proxy, &orders);
}

void fault_proxy_silence(struct fault_proxy *proxy)
{
    struct orders orders = orders_now(proxy);
    orders.is_silent = true;
    ask(proxy, &orders);
}

void fault_proxy_drop(struct fault_proxy *proxy, bool to_server, bool to_client)
{
    struct orders orders = orders_now(proxy);
    orders.drops[CLIENT] = to_server;
    orders.drops[SERVER] = to_client;
    ask(proxy, &orders);
}

void fault_proxy_babble(struct fault_proxy *proxy)
{
    struct orders orders = orders_now(proxy);
    orders.babbles = true;
    ask(proxy, &orders);
}

void fault_proxy_reset(struct fault_proxy *proxy)
{
    struct orders orders = orders_now(proxy);
    orders.resets = true;
    ask(proxy, &orders);
}

void fault_proxy_spare(struct fault_proxy *proxy)
{
    struct orders orders = orders_now(proxy);
    orders.spares = true;
    ask(proxy, &orders);
}

void fault_proxy_delay(struct fault_proxy *proxy, uint32_t delay_ms)
{
    struct orders orders = orders_now(proxy);
    orders.delay_ms = delay_ms;
    ask(proxy, &orders);
}

int fault_proxy_heal(struct fault_proxy *proxy)
{
    return ask(proxy, &(struct orders){.heals = true});
}
