/* One WebSocket session of the load generator: connects, upgrades, says hello, then hands every
 * text message to its owner. Answers pings. Holds a buffer only while a frame is incomplete.
 *
 * A raw session asks for no subprotocol and is ready with the 101; a tidegate.v1.json session is
 * ready when its welcome came. The key of the handshake is always RFC 6455's example, so that the
 * answer is known. */
#ifndef TIDEGATE_BENCH_WS_CLIENT_H
#define TIDEGATE_BENCH_WS_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench_util.h"

struct ws_client;
struct ssl_st;     /* OpenSSL's SSL */
struct ssl_ctx_st; /* and SSL_CTX */

enum ws_client_state {
    WS_CLIENT_CLOSED,
    WS_CLIENT_CONNECTING,
    WS_CLIENT_SHAKING,   /* hands, for TLS */
    WS_CLIENT_UPGRADING, /* the 101 is awaited */
    WS_CLIENT_GREETING,  /* hello is sent, the welcome is awaited */
    WS_CLIENT_READY,
};

/* The same for all sessions. Strings are borrowed. */
struct ws_client_config {
    struct bench_ports ports; /* session i goes to the one of its turn */
    unsigned sources; /* source addresses, 127.0.1.1 and up: each has ports for 28,000 sessions */
    unsigned users;   /* session i belongs to user u(i mod users) */
    const char *app;
    const char *group;      /* joined in the hello; NULL: none */
    bool json;              /* tidegate.v1.json, else raw */
    struct ssl_ctx_st *tls; /* NULL: plain; the certificate is not looked at */
    bool deflate;           /* offer permessage-deflate without context */
    int epoll_fd; /* sessions register here, edge-triggered, with their index as data.u32 */

    void (*on_ready)(void *owner, struct ws_client *client);
    /* data holds until it returns. compressed: still deflated. */
    void (*on_message)(void *owner, struct ws_client *client, const uint8_t *data, size_t len,
                       bool compressed);
    /* Once for each session that ends otherwise than by ws_client_close; why is a short phrase. */
    void (*on_lost)(void *owner, struct ws_client *client, bool was_ready, const char *why);
    void *owner;
};

struct ws_client {
    const struct ws_client_config *config;
    int fd;
    struct ssl_st *ssl; /* NULL: plain */
    uint32_t index;
    enum ws_client_state state;
    bool deflated;     /* the server accepted the offer */
    uint32_t next_seq; /* the owner's: the sequence number of the next payload */
    uint8_t *kept;     /* an incomplete frame or head, NULL when there is none */
    uint32_t kept_len;
};

static inline uint32_t ws_client_user(const struct ws_client *client)
{
    return client->index % client->config->users;
}

/* For config.tls: what all sessions share; freed at the end of the process. */
struct ssl_ctx_st *ws_client_tls_create(void);

/* Starts to connect; on_ready or on_lost follows (on_lost perhaps at once). */
void ws_client_connect(struct ws_client *client);

/* To be called for each event of the session's descriptor. */
void ws_client_on_event(struct ws_client *client, uint32_t events);

/* Silent; abort resets the connection, so that no TIME_WAIT stays behind. */
void ws_client_close(struct ws_client *client, bool abort);

#endif
