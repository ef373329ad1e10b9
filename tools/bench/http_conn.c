#include "http_conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench_util.h"

void http_conn_open(struct http_conn *conn, uint16_t port, unsigned depth)
{
    struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *conn = (struct http_conn){.depth = depth};
    buf_init(&conn->out, 0);
    conn->sent_ns = bench_zalloc(depth, sizeof(*conn->sent_ns));
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&server, sizeof(server)) != 0) {
        bench_die("connect to the API on port %u: %s", port, strerror(errno));
    }
    bench_set_nodelay(conn->fd);
    fcntl(conn->fd, F_SETFL, O_NONBLOCK);
}

void http_conn_close(struct http_conn *conn)
{
    if (conn->fd >= 0) {
        close(conn->fd);
    }
    conn->fd = -1;
    buf_fini(&conn->out);
    free(conn->sent_ns);
    conn->sent_ns = NULL;
}

void http_conn_note_request(struct http_conn *conn, uint64_t sent_ns)
{
    conn->sent_ns[(conn->oldest + conn->in_flight++) % conn->depth] = sent_ns;
}

bool http_conn_flush(struct http_conn *conn)
{
    if (conn->fd < 0 || conn->out.len == 0) {
        return true;
    }
    ssize_t sent = send(conn->fd, conn->out.data, conn->out.len, MSG_NOSIGNAL);
    if (sent == (ssize_t)conn->out.len) {
        buf_clear(&conn->out);
        return true;
    }
    if (sent > 0) {
        buf_consume(&conn->out, (size_t)sent);
    }
    return false; /* an error shows again when the connection is read */
}

static uint64_t take_oldest(struct http_conn *conn)
{
    uint64_t sent_ns = conn->sent_ns[conn->oldest];
    conn->oldest = (conn->oldest + 1) % conn->depth;
    conn->in_flight--;
    return sent_ns;
}

static void end(struct http_conn *conn, http_conn_answer_cb on_answer, void *owner)
{
    close(conn->fd);
    conn->fd = -1;
    while (conn->in_flight) {
        on_answer(owner, conn, 0, take_oldest(conn), "the server closed the connection");
    }
}

/* The head is complete and ends with a NUL: the length of the body behind it. */
static uint64_t body_length(const char *head)
{
    static const char label[] = "\r\nContent-Length:";
    const char *at = strcasestr(head, label);
    return at ? strtoull(at + sizeof(label) - 1, NULL, 10) : 0;
}

static bool head_is_complete(const struct http_conn *conn)
{
    return conn->head_len >= 4 && memcmp(conn->head + conn->head_len - 4, "\r\n\r\n", 4) == 0;
}

/* Moves bytes into the head, not beyond its end; returns the bytes used. */
static size_t fill_head(struct http_conn *conn, const char *data, size_t len)
{
    size_t used = 0;
    if (conn->head_len == 0) { /* most heads arrive whole */
        const char *end = memmem(data, len, "\r\n\r\n", 4);
        used = end ? (size_t)(end + 4 - data) : len;
        used = used < HTTP_CONN_HEAD_MAX ? used : HTTP_CONN_HEAD_MAX;
        memcpy(conn->head, data, used);
        conn->head_len = used;
    }
    while (used < len && !head_is_complete(conn)) {
        if (conn->head_len == HTTP_CONN_HEAD_MAX) {
            bench_die("an answer's head is longer than %d bytes", HTTP_CONN_HEAD_MAX);
        }
        conn->head[conn->head_len++] = data[used++];
    }
    conn->head[conn->head_len] = '\0';
    return used;
}

/* Takes bytes of one answer; returns how many. */
static size_t take_answer(struct http_conn *conn, const char *data, size_t len,
                          http_conn_answer_cb on_answer, void *owner)
{
    size_t used = 0;
    if (!head_is_complete(conn)) {
        used = fill_head(conn, data, len);
        if (!head_is_complete(conn)) {
            return used;
        }
        conn->body_left = body_length(conn->head);
    }
    size_t body = len - used < conn->body_left ? len - used : conn->body_left;
    conn->body_left -= body;
    if (conn->body_left == 0) {
        conn->head_len = 0;
        on_answer(owner, conn, atoi(conn->head + 9), take_oldest(conn), conn->head);
    }
    return used + body;
}

void http_conn_on_readable(struct http_conn *conn, http_conn_answer_cb on_answer, void *owner)
{
    static char input[256 * 1024]; /* one publisher thread */
    ssize_t got = recv(conn->fd, input, sizeof(input), 0);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        end(conn, on_answer, owner);
        return;
    }
    for (size_t used = 0; used < (size_t)got;) {
        if (conn->in_flight == 0) {
            bench_die("an answer to no request: %.80s", input + used);
        }
        used += take_answer(conn, input + used, (size_t)got - used, on_answer, owner);
    }
}
