/* For the tests of streams: an owner that keeps what it was told, and a server's side that the test
 * plays by hand, all on one thread. */
#ifndef TIDEGATE_NET_STREAM_TEST_HELP_H
#define TIDEGATE_NET_STREAM_TEST_HELP_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "net/loop.h"
#include "net/resolve_test_help.h"
#include "net/stream.h"

enum { PATIENCE_MS = 20000 };

enum close_in { CLOSE_NOWHERE, CLOSE_IN_OPEN, CLOSE_IN_DATA, CLOSE_IN_CLOSE };

struct client {
    struct loop *loop;
    struct stream *stream;
    int opens;
    int closes;
    int err;
    char detail[200];
    struct buf got;     /* what was consumed */
    size_t seen;        /* the length on_data was shown last */
    int data_calls;     /* of on_data */
    size_t take_whole;  /* consume multiples of it only; 0: all */
    ptrdiff_t data_err; /* what on_data returns when it is not 0 */
    enum close_in close_in;
    const char *greeting; /* what on_open writes */
};

static inline void client_close_if(struct client *client, enum close_in here)
{
    if (client->close_in == here) {
        stream_close(client->stream);
        client->stream = NULL;
    }
}

static inline void client_on_open(void *owner)
{
    struct client *client = owner;
    assert_int_equal(client->data_calls, 0);
    client->opens++;
    if (client->greeting) {
        assert_int_equal(stream_write(client->stream, client->greeting, strlen(client->greeting)),
                         0);
    }
    client_close_if(client, CLOSE_IN_OPEN);
}

static inline ptrdiff_t client_on_data(void *owner, struct str data)
{
    struct client *client = owner;
    assert_int_equal(client->opens, 1);
    assert_true(data.len > 0);
    client->data_calls++;
    client->seen = data.len;
    if (client->data_err) {
        return client->data_err;
    }
    size_t used = client->take_whole ? data.len / client->take_whole * client->take_whole
                                     : data.len;
    buf_append(&client->got, data.ptr, used);
    client_close_if(client, CLOSE_IN_DATA);
    return (ptrdiff_t)used;
}

static inline void client_on_close(void *owner, int err, const char *detail)
{
    struct client *client = owner;
    client->closes++;
    client->err = err;
    snprintf(client->detail, sizeof(client->detail), "%s", detail);
    client_close_if(client, CLOSE_IN_CLOSE);
    client->stream = NULL;
}

static const struct stream_callbacks client_callbacks = {client_on_open, client_on_data,
                                                         client_on_close};

static inline void client_init(struct client *client)
{
    signal(SIGPIPE, SIG_IGN);
    *client = (struct client){.closes = 0};
    assert_int_equal(loop_create(&client->loop), 0);
}

static inline void client_fini(struct client *client)
{
    stream_close(client->stream);
    buf_fini(&client->got);
    assert_true(names_all_quiet());
    loop_destroy(client->loop);
}

static inline struct stream_options options_for(const char *host, uint16_t port)
{
    return (struct stream_options){
        .host = str_of(host), .port = port, .connect_timeout_ms = PATIENCE_MS};
}

static inline int client_open(struct client *client, const struct stream_options *options)
{
    return stream_open(&client->stream, client->loop, options, &client_callbacks, client);
}

/* Turns the loop until the condition holds. */
#define turn_until(client, condition)                            \
    do {                                                         \
        uint64_t end_ms_ = clock_monotonic_ms() + PATIENCE_MS;   \
        while (!(condition) && clock_monotonic_ms() < end_ms_) { \
            assert_int_equal(loop_turn((client)->loop, 10), 0);  \
        }                                                        \
        assert_true(condition);                                  \
    } while (0)

/* ---- the server's side ---- */

/* Listens on a free port of 127.0.0.1. */
static inline int server_listen(uint16_t *out_port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(name);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    *out_port = ntohs(name.sin_port);
    return fd;
}

static inline void reset(int fd)
{
    struct linger none = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(fd);
}

/* A client that is open and the server's end of it, non-blocking. */
struct pair {
    struct client client;
    int listening;
    int fd;
    struct stream_options options;
};

static inline void pair_listen(struct pair *pair)
{
    uint16_t port;
    client_init(&pair->client);
    pair->fd = -1;
    pair->listening = server_listen(&port);
    pair->options = options_for("127.0.0.1", port);
}

static inline bool pair_has_caller(const struct pair *pair)
{
    struct pollfd listening = {.fd = pair->listening, .events = POLLIN};
    return poll(&listening, 1, 0) == 1;
}

static inline void pair_accept(struct pair *pair)
{
    pair->fd = accept4(pair->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(pair->fd >= 0);
}

static inline void pair_open(struct pair *pair)
{
    assert_int_equal(client_open(&pair->client, &pair->options), 0);
    turn_until(&pair->client, pair->client.opens == 1);
    pair_accept(pair);
}

static inline void pair_fini(struct pair *pair)
{
    client_fini(&pair->client);
    close(pair->listening);
    if (pair->fd >= 0) {
        close(pair->fd);
    }
}

static inline void server_send(struct pair *pair, const void *data, size_t len)
{
    assert_int_equal(send(pair->fd, data, len, MSG_NOSIGNAL), len);
}

#endif
