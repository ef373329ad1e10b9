/* For tests: a WebSocket server on a thread that plays a script, one connection after the other. */
#ifndef TIDEGATE_CLI_TEST_WS_SERVER_H
#define TIDEGATE_CLI_TEST_WS_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "proto/ws_frame.h"
#include "proto/ws_handshake.h"

enum { TEST_TEXT_MAX = 4096 };

struct test_server {
    int listener;
    char url[64];
    void (*script)(int fd, int round); /* after the upgrade; then the connection is closed */
    int rounds;
    const char *refusal;         /* instead of the 101 of each round */
    char request[TEST_TEXT_MAX]; /* the last upgrade request */
    pthread_t thread;
};

static inline void test_server_send(int fd, enum ws_opcode opcode, const char *text)
{
    struct buf frame = {0};
    ws_frame_append(&frame, opcode, false, str_of(text));
    send(fd, frame.data, frame.len, MSG_NOSIGNAL);
    buf_fini(&frame);
}

static inline void test_server_send_close(int fd, uint16_t code)
{
    uint8_t frame[WS_CONTROL_MAX + 2];
    send(fd, frame, ws_close_frame_write(frame, code, STR("")), MSG_NOSIGNAL);
}

static inline bool test_server_read(int fd, void *data, size_t len)
{
    return len == 0 || recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

/* The next frame of the client, which must be short; its payload goes to text. -1 at the end. */
static inline int test_server_take(int fd, char text[TEST_TEXT_MAX])
{
    uint8_t head[2], length[2], mask[4];
    if (!test_server_read(fd, head, 2)) {
        return -1;
    }
    size_t len = head[1] & 0x7f;
    if (len == 126 && test_server_read(fd, length, 2)) {
        len = (size_t)length[0] << 8 | length[1];
    }
    if (len >= TEST_TEXT_MAX || !test_server_read(fd, mask, 4) ||
        !test_server_read(fd, text, len)) {
        return -1;
    }
    ws_unmask((uint8_t *)text, len, mask, 0);
    text[len] = '\0';
    return head[0] & 0x0f;
}

/* Takes frames until a close frame, whose body is then in text, or the end. */
static inline void test_server_await_close(int fd, char text[TEST_TEXT_MAX])
{
    for (int opcode = 0; opcode >= 0 && opcode != WS_CLOSE;) {
        opcode = test_server_take(fd, text);
    }
}

/* Reads byte by byte up to the empty line, so that nothing behind it is taken. */
static inline bool test_server_upgrade(struct test_server *server, int fd)
{
    struct http_request request;
    const struct http_limits limits = HTTP_LIMITS_DEFAULT;
    char answer[WS_HANDSHAKE_RESPONSE_MAX];
    size_t len = 0;
    while (len < TEST_TEXT_MAX - 1 && recv(fd, server->request + len, 1, 0) == 1) {
        server->request[++len] = '\0';
        if (len >= 4 && memcmp(server->request + len - 4, "\r\n\r\n", 4) == 0) {
            break;
        }
    }
    if (http_request_parse(&request, &limits, (uint8_t *)server->request, len, NULL) <= 0 ||
        ws_handshake_check(&request)) {
        return false;
    }
    if (server->refusal) {
        send(fd, server->refusal, strlen(server->refusal), MSG_NOSIGNAL);
        return false;
    }
    const struct str ours[] = {STR("tidegate.v1.json")};
    ssize_t size = ws_handshake_write(answer, sizeof(answer), &request,
                                      ws_handshake_pick_protocol(&request, ours, 1), STR(""));
    return size > 0 && send(fd, answer, (size_t)size, MSG_NOSIGNAL) == size;
}

static inline void *test_server_serve(void *arg)
{
    struct test_server *server = arg;
    for (int round = 0; round < server->rounds; round++) {
        int fd = accept(server->listener, NULL, NULL);
        if (test_server_upgrade(server, fd)) {
            server->script(fd, round);
        }
        close(fd);
    }
    return NULL;
}

static inline void test_server_start(struct test_server *server, int rounds,
                                     void (*script)(int fd, int round))
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    *server = (struct test_server){.listener = socket(AF_INET, SOCK_STREAM, 0),
                                   .script = script,
                                   .rounds = rounds,
                                   .refusal = server->refusal};
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(listen(server->listener, 4), 0);
    snprintf(server->url, sizeof(server->url), "ws://127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server->thread, NULL, test_server_serve, server), 0);
}

static inline void test_server_join(struct test_server *server)
{
    pthread_join(server->thread, NULL);
    close(server->listener);
}

#endif
