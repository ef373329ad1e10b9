#include "ws_client.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench_util.h"

#define PERMESSAGE_DEFLATE                             \
    "permessage-deflate; server_no_context_takeover; " \
    "client_no_context_takeover"

enum {
    INPUT_SIZE = 256 * 1024,
    MAX_FRAME = 128 * 1024, /* what is kept incomplete, and a new read, fit INPUT_SIZE */
    OPCODE_CONTINUATION = 0,
    OPCODE_BINARY = 2,
    OPCODE_CLOSE = 8,
    OPCODE_PING = 9,
    OPCODE_PONG = 10,
};

static uint16_t port_of(const struct ws_client *client)
{
    return bench_ports_turn(&client->config->ports, client->index);
}

static uint8_t input[INPUT_SIZE]; /* one thread receives */

SSL_CTX *ws_client_tls_create(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

static void release(struct ws_client *client)
{
    SSL_free(client->ssl);
    client->ssl = NULL;
    close(client->fd);
    free(client->kept);
    client->fd = -1;
    client->kept = NULL;
    client->kept_len = 0;
    client->state = WS_CLIENT_CLOSED;
}

static void lose(struct ws_client *client, const char *why)
{
    bool was_ready = client->state == WS_CLIENT_READY;
    release(client);
    client->config->on_lost(client->config->owner, client, was_ready, why);
}

void ws_client_close(struct ws_client *client, bool abort)
{
    if (client->state == WS_CLIENT_CLOSED) {
        return;
    }
    if (abort) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    release(client);
}

static int bind_source(int fd, uint32_t source)
{
    int one = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(0x7f000101u + source)};
    return bind(fd, (struct sockaddr *)&address, sizeof(address));
}

void ws_client_connect(struct ws_client *client)
{
    const struct ws_client_config *config = client->config;
    struct sockaddr_in server = {.sin_family = AF_INET,
                                 .sin_port = htons(port_of(client)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = client->index};
    client->deflated = false;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) {
        bench_die("socket: %s", strerror(errno));
    }
    bench_set_nodelay(client->fd);
    client->state = WS_CLIENT_CONNECTING;
    if (bind_source(client->fd, client->index % config->sources) != 0) {
        lose(client, "bind");
        return;
    }
    if (connect(client->fd, (struct sockaddr *)&server, sizeof(server)) != 0 &&
        errno != EINPROGRESS) {
        lose(client, strerror(errno));
        return;
    }
    epoll_ctl(config->epoll_fd, EPOLL_CTL_ADD, client->fd, &event);
}

static bool send_all(struct ws_client *client, const void *data, size_t len)
{
    ssize_t sent = client->ssl ? SSL_write(client->ssl, data, (int)len)
                               : send(client->fd, data, len, MSG_NOSIGNAL);
    if (sent == (ssize_t)len) {
        return true;
    }
    lose(client, "a send was short");
    return false;
}

/* RFC 6455 5.3 wants the client's frames masked; a mask of zeros leaves the bytes as they are. */
static bool send_frame(struct ws_client *client, uint8_t opcode, const void *data, size_t len)
{
    uint8_t frame[8 + 512] = {(uint8_t)(0x80 | opcode)};
    size_t header_len = 6;
    if (len > 512) {
        bench_die("a frame of %zu bytes", len);
    }
    frame[1] = (uint8_t)(0x80 | len);
    if (len > 125) {
        frame[1] = 0x80 | 126;
        frame[2] = (uint8_t)(len >> 8);
        frame[3] = (uint8_t)len;
        header_len = 8;
    }
    memcpy(frame + header_len, data, len);
    return send_all(client, frame, header_len + len);
}

static void send_upgrade(struct ws_client *client)
{
    const struct ws_client_config *config = client->config;
    char head[1024];
    int len = snprintf(head, sizeof(head),
                       "GET /v1/ws?app=%s HTTP/1.1\r\n"
                       "Host: 127.0.0.1:%u\r\n"
                       "Upgrade: websocket\r\n"
                       "Connection: Upgrade\r\n"
                       "Sec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                       "%s%s"
                       "X-User-Id: u%u\r\n"
                       "\r\n",
                       config->app, port_of(client),
                       config->json ? "Sec-WebSocket-Protocol: tidegate.v1.json\r\n" : "",
                       config->deflate ? "Sec-WebSocket-Extensions: " PERMESSAGE_DEFLATE "\r\n"
                                       : "",
                       ws_client_user(client));
    client->state = WS_CLIENT_UPGRADING;
    send_all(client, head, (size_t)len);
}

static void become_ready(struct ws_client *client)
{
    client->state = WS_CLIENT_READY;
    client->config->on_ready(client->config->owner, client);
}

static void say_hello(struct ws_client *client)
{
    const char *group = client->config->group;
    char hello[512];
    int len = group ? snprintf(hello, sizeof(hello),
                               "{\"t\":\"hello\",\"v\":1,\"groups\":[\"%s\"]}", group)
                    : snprintf(hello, sizeof(hello), "{\"t\":\"hello\",\"v\":1}");
    client->state = WS_CLIENT_GREETING;
    send_frame(client, 1, hello, (size_t)len);
}

/* Reads the server's answer; returns the bytes used, 0 when the head is incomplete or bad. */
static size_t take_upgrade(struct ws_client *client, char *data, size_t len)
{
    char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end) {
        return 0;
    }
    *end = '\0';
    if (strncmp(data, "HTTP/1.1 101", 12) != 0) {
        char why[80];
        snprintf(why, sizeof(why), "%.60s", data);
        why[strcspn(why, "\r")] = '\0';
        lose(client, why);
        return 0;
    }
    if (!strstr(data, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) {
        lose(client, "a wrong Sec-WebSocket-Accept");
        return 0;
    }
    client->deflated = strcasestr(data, "permessage-deflate") != NULL;
    if (client->config->json) {
        say_hello(client);
    } else {
        become_ready(client);
    }
    return (size_t)(end + 4 - data);
}

static void take_data(struct ws_client *client, const uint8_t *data, size_t len, bool compressed)
{
    if (client->state == WS_CLIENT_GREETING) {
        if (compressed || memmem(data, len, "\"t\":\"welcome\"", 13)) {
            become_ready(client);
        } else if (memmem(data, len, "\"t\":\"err\"", 9)) {
            lose(client, "the hello was refused");
        }
        return;
    }
    client->config->on_message(client->config->owner, client, data, len, compressed);
}

static void take_close(struct ws_client *client, const uint8_t *payload, size_t len)
{
    char why[48];
    unsigned code = len >= 2 ? (unsigned)(payload[0] << 8 | payload[1]) : 1005;
    snprintf(why, sizeof(why), "closed with %u", code);
    lose(client, why);
}

/* Reads the header of the frame at data. Returns its length, 0 when incomplete. */
static size_t read_frame_header(const uint8_t *data, size_t len, uint64_t *out_payload_len)
{
    if (len < 2) {
        return 0;
    }
    unsigned short_len = data[1] & 0x7f;
    unsigned extra = short_len == 126 ? 2 : short_len == 127 ? 8 : 0;
    if (len < 2 + extra) {
        return 0;
    }
    uint64_t payload_len = extra ? 0 : short_len;
    for (unsigned i = 0; i < extra; i++) {
        payload_len = payload_len << 8 | data[2 + i];
    }
    *out_payload_len = payload_len;
    return 2 + extra;
}

/* Takes one frame off the front; returns its length, 0 when it is incomplete or ended the session.
 */
static size_t take_frame(struct ws_client *client, const uint8_t *data, size_t len)
{
    uint64_t payload_len = 0;
    size_t header_len = read_frame_header(data, len, &payload_len);
    uint8_t opcode = data[0] & 15;
    if (!header_len) {
        return 0;
    }
    if (payload_len > MAX_FRAME || (data[1] & 0x80) || !(data[0] & 0x80) ||
        opcode == OPCODE_CONTINUATION) {
        lose(client, "a frame that is masked, fragmented or too long");
        return 0;
    }
    if (len < header_len + payload_len) {
        return 0;
    }
    const uint8_t *payload = data + header_len;
    if (opcode == OPCODE_PING) {
        send_frame(client, OPCODE_PONG, payload, payload_len);
    } else if (opcode == OPCODE_CLOSE) {
        take_close(client, payload, payload_len);
    } else if (opcode <= OPCODE_BINARY) {
        take_data(client, payload, payload_len, (data[0] & 0x40) != 0);
    }
    return client->state == WS_CLIENT_CLOSED ? 0 : header_len + payload_len;
}

static void keep(struct ws_client *client, const uint8_t *rest, size_t len)
{
    free(client->kept);
    client->kept = len ? bench_copy(rest, len) : NULL;
    client->kept_len = (uint32_t)len;
}

static void take_input(struct ws_client *client, uint8_t *data, size_t len)
{
    size_t used = 0;
    if (client->state == WS_CLIENT_UPGRADING) {
        used = take_upgrade(client, (char *)data, len);
    }
    while (client->state >= WS_CLIENT_GREETING && used < len) {
        size_t taken = take_frame(client, data + used, len - used);
        if (!taken) {
            break;
        }
        used += taken;
    }
    if (client->state != WS_CLIENT_CLOSED && (client->kept || used < len)) {
        keep(client, data + used, len - used);
    }
}

/* As recv, errno included. */
static ssize_t receive(struct ws_client *client, uint8_t *data, size_t room)
{
    if (!client->ssl) {
        return recv(client->fd, data, room, 0);
    }
    ERR_clear_error();
    int got = SSL_read(client->ssl, data, (int)room);
    if (got > 0) {
        return got;
    }
    int error = SSL_get_error(client->ssl, got);
    errno = error == SSL_ERROR_WANT_READ ? EAGAIN : EPROTO;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static void shake_hands(struct ws_client *client)
{
    ERR_clear_error();
    int result = SSL_connect(client->ssl);
    int error = SSL_get_error(client->ssl, result);
    if (result == 1) {
        send_upgrade(client);
    } else if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        lose(client, "the TLS handshake failed");
    }
}

static void begin_tls(struct ws_client *client)
{
    client->ssl = SSL_new(client->config->tls);
    if (!client->ssl || SSL_set_fd(client->ssl, client->fd) != 1) {
        bench_die("no memory for a TLS session");
    }
    client->state = WS_CLIENT_SHAKING;
    shake_hands(client);
}

/* Returns whether there may be more: edge-triggered, a read that filled the buffer is repeated. */
static bool read_once(struct ws_client *client)
{
    size_t kept_len = client->kept_len;
    if (kept_len) {
        memcpy(input, client->kept, kept_len);
    }
    size_t room = sizeof(input) - kept_len;
    ssize_t got = receive(client, input + kept_len, room);
    if (got < 0 && errno == EAGAIN) {
        return false;
    }
    if (got <= 0) {
        lose(client, got == 0 ? "the server hung up" : strerror(errno));
        return false;
    }
    take_input(client, input, kept_len + (size_t)got);
    return (client->ssl || (size_t)got == room) && client->state != WS_CLIENT_CLOSED;
}

void ws_client_on_event(struct ws_client *client, uint32_t events)
{
    if (client->state == WS_CLIENT_CONNECTING && !(events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
        if (client->config->tls) {
            begin_tls(client);
        } else {
            send_upgrade(client);
        }
        return;
    }
    if (client->state == WS_CLIENT_SHAKING) {
        shake_hands(client);
        return;
    }
    if (client->state != WS_CLIENT_CLOSED && (events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
        while (read_once(client)) {
        }
    }
}
