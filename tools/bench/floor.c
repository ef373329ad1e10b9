#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench_util.h"

struct floor_conn {
    bool is_session;
    uint32_t user;
    uint8_t *input; /* FLOOR_MAX_REQUEST bytes, made when a request first arrives in pieces */
    size_t input_len;
};

static struct floor_conn
    conns[FLOOR_MAX_DESCRIPTORS]; /* by descriptor; untouched pages cost nothing */
static uint8_t shared_input[FLOOR_MAX_REQUEST];
static uint8_t answers[256 * 1024];
static size_t answers_len;
static const struct floor_hooks *hooks;
static bool deflate_on;
static int epoll_fd;

static const char upgrade_answer[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                     "Upgrade: websocket\r\n"
                                     "Connection: Upgrade\r\n"
                                     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
static const char deflate_answer[] = "Sec-WebSocket-Extensions: permessage-deflate; "
                                     "server_no_context_takeover; client_no_context_takeover\r\n";
static const char accepted_answer[] = "HTTP/1.1 202 Accepted\r\n"
                                      "Content-Type: application/json\r\n"
                                      "Content-Length: 10\r\n"
                                      "\r\n"
                                      "{\"id\":\"1\"}";

void floor_send(int fd, const void *data, size_t len)
{
    ssize_t sent = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != (ssize_t)len) {
        bench_die("a socket took %zd of %zu bytes: %s", sent, len, strerror(errno));
    }
}

size_t floor_frame_header(uint8_t out[FLOOR_MAX_FRAME_HEADER], size_t payload_len, bool compressed)
{
    out[0] = (uint8_t)(0x81 | (compressed ? 0x40 : 0));
    if (payload_len < 126) {
        out[1] = (uint8_t)payload_len;
        return 2;
    }
    if (payload_len > UINT16_MAX) {
        bench_die("a payload of %zu bytes is more than a floor sends", payload_len);
    }
    out[1] = 126;
    out[2] = (uint8_t)(payload_len >> 8);
    out[3] = (uint8_t)payload_len;
    return 4;
}

struct floor_span floor_next_data(struct floor_span text, size_t *at)
{
    static const char label[] = "\"data\":{";
    char *found = memmem(text.text + *at, text.len - *at, label, sizeof(label) - 1);
    if (!found) {
        return (struct floor_span){NULL, 0};
    }
    const char *start = found + sizeof(label) - 2;
    const char *end = memchr(start, '}', text.len - (size_t)(start - text.text));
    if (!end) {
        return (struct floor_span){NULL, 0};
    }
    *at = (size_t)(end + 1 - text.text);
    return (struct floor_span){start, (size_t)(end + 1 - start)};
}

struct floor_span floor_payload(struct floor_span path, struct floor_span body)
{
    static const char json_path[] = "/v1/messages";
    if (path.len < sizeof(json_path) - 1 ||
        memcmp(path.text, json_path, sizeof(json_path) - 1) != 0) {
        return body;
    }
    size_t at = 0;
    return floor_next_data(body, &at);
}

static void close_conn(int fd)
{
    struct floor_conn *conn = &conns[fd];
    if (conn->is_session) {
        hooks->on_session_closed(fd, conn->user);
    }
    free(conn->input);
    *conn = (struct floor_conn){0};
    close(fd);
}

static void flush_answers(int fd)
{
    if (answers_len) {
        floor_send(fd, answers, answers_len);
        answers_len = 0;
    }
}

static void answer(int fd, const char *text, size_t len)
{
    if (answers_len + len > sizeof(answers)) {
        flush_answers(fd);
    }
    memcpy(answers + answers_len, text, len);
    answers_len += len;
}

/* The value of a header, found by walking the lines as any parser must. */
static struct floor_span header_value(struct floor_span head, const char *name)
{
    size_t name_len = strlen(name);
    const char *end = head.text + head.len;
    const char *line = memchr(head.text, '\n', head.len);
    while (line && ++line < end) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if ((size_t)(end - line) > name_len && line[name_len] == ':' &&
            strncasecmp(line, name, name_len) == 0) {
            const char *value = line + name_len + 1;
            return (struct floor_span){value, (size_t)((next ? next : end) - value)};
        }
        line = next;
    }
    return (struct floor_span){NULL, 0};
}

static void become_session(int fd, struct floor_span head)
{
    struct floor_conn *conn = &conns[fd];
    struct floor_span user = header_value(head, "X-User-Id");
    const char *digits = user.text ? memchr(user.text, 'u', user.len) : NULL;
    uint64_t number = 0;
    if (digits) {
        bench_get_u64(digits + 1, user.text + user.len, &number);
    }
    conn->is_session = true;
    conn->user = (uint32_t)number;
    answer(fd, upgrade_answer, sizeof(upgrade_answer) - 1);
    if (deflate_on && header_value(head, "Sec-WebSocket-Extensions").text) {
        answer(fd, deflate_answer, sizeof(deflate_answer) - 1);
    }
    answer(fd, "\r\n", 2);
    hooks->on_session(fd, conn->user);
}

/* Takes one request off the front; returns its length, 0 when it is not all here. */
static size_t take_request(int fd, const char *data, size_t len)
{
    const char *head_end = memmem(data, len, "\r\n\r\n", 4);
    if (!head_end) {
        return 0;
    }
    struct floor_span head = {data, (size_t)(head_end + 4 - data)};
    if (data[0] == 'G') {
        become_session(fd, head);
        return len;
    }
    uint64_t body_len = 0;
    struct floor_span length = header_value(head, "Content-Length");
    if (length.text) {
        bench_get_u64(length.text + (length.text[0] == ' '), length.text + length.len, &body_len);
    }
    const char *path = memchr(data, ' ', head.len);
    const char *path_end = path ? memchr(path + 1, ' ', head.len - (size_t)(path + 1 - data))
                                : NULL;
    if (!path_end || body_len > FLOOR_MAX_REQUEST - head.len) {
        bench_die("a request that a floor can't take");
    }
    if (len < head.len + body_len) {
        return 0;
    }
    hooks->on_request((struct floor_span){path + 1, (size_t)(path_end - path - 1)},
                      (struct floor_span){data + head.len, body_len});
    answer(fd, accepted_answer, sizeof(accepted_answer) - 1);
    return head.len + body_len;
}

static void keep_rest(struct floor_conn *conn, const uint8_t *rest, size_t len)
{
    if (len && !conn->input) {
        conn->input = bench_zalloc(1, FLOOR_MAX_REQUEST);
    }
    if (len && conn->input != rest) {
        memmove(conn->input, rest, len);
    }
    conn->input_len = len;
}

static void on_readable(int fd)
{
    struct floor_conn *conn = &conns[fd];
    uint8_t *data = conn->input ? conn->input : shared_input;
    ssize_t got = recv(fd, data + conn->input_len, FLOOR_MAX_REQUEST - conn->input_len, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) {
            close_conn(fd);
        }
        return;
    }
    if (conn->is_session) {
        return; /* pongs and the like */
    }
    size_t len = conn->input_len + (size_t)got;
    size_t used = 0;
    while (used < len) {
        size_t taken = take_request(fd, (const char *)data + used, len - used);
        if (!taken) {
            break;
        }
        used += taken;
    }
    flush_answers(fd);
    keep_rest(conn, data + used, len - used);
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 65535) != 0) {
        bench_die("listen on port %u: %s", port, strerror(errno));
    }
    return fd;
}

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        bench_die("epoll_ctl: %s", strerror(errno));
    }
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= FLOOR_MAX_DESCRIPTORS) {
            bench_die("more than %d descriptors", FLOOR_MAX_DESCRIPTORS);
        }
        bench_set_nodelay(fd);
        watch(fd);
    }
}

void floor_serve(uint16_t port, bool deflate, const struct floor_hooks *the_hooks)
{
    signal(SIGPIPE, SIG_IGN);
    bench_raise_descriptors();
    hooks = the_hooks;
    deflate_on = deflate;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on(port);
    watch(listener);
    for (;;) {
        struct epoll_event events[512];
        int count = epoll_wait(epoll_fd, events, 512, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) {
                accept_all(listener);
            } else {
                on_readable(events[i].data.fd);
            }
        }
    }
}
