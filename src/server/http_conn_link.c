/* What is under HTTP: a socket, plain or TLS, maybe with a PROXY header before all else. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "net/link.h"
#include "proto/proxy_protocol.h"
#include "server/admission.h"
#include "server/http_conn_private.h"

/* Each step of a handshake may cost a signature (a millisecond with RSA), and thousands come at
 * once when a node has died: the others of this loop are served between them. */
enum { HANDSHAKES_A_TURN = 16 };

/* ---- the PROXY header ---- */

static const struct settings_proxies *proxies_of(const struct http_service *service)
{
    const struct settings_proxy_protocol *all = &service->settings->proxy_protocol;
    switch (service->options.listener) {
    case HTTP_LISTENER_API: return &all->api;
    case HTTP_LISTENER_ADMIN: return &all->admin;
    default: return &all->client;
    }
}

bool http_conn_has_opening(struct http_conn *conn)
{
    const struct settings_proxies *proxies = proxies_of(conn->service);
    conn->awaits_proxy = addr_is_among(&conn->peer, proxies->from, proxies->from_count);
    return conn->awaits_proxy || conn->service->tls;
}

/* Out of the socket: bytes that were looked at before. */
static bool consume(struct http_conn *conn, uint8_t *room, size_t len)
{
    bool is_whole = recv(conn->watch.fd, room, len, MSG_DONTWAIT) == (ssize_t)len;
    conn->dead = conn->dead || !is_whole;
    return is_whole;
}

static bool keep_part(struct http_conn *conn, const uint8_t *data, size_t len)
{
    conn->dead = conn->dead || buf_append(&conn->in, data, len);
    return false;
}

static bool refuse_proxy(struct http_conn *conn)
{
    http_conn_give_up(conn, "proxy_header");
    return false;
}

/* What is behind the header may be for the TLS library: the socket is only looked at until it is
 * known where the header ends. `in` holds what came of it before. */
static bool take_proxy_header(struct http_conn *conn)
{
    uint8_t room[PROXY_HEADER_MAX];
    size_t had = conn->in.len;
    if (had > 0) {
        memcpy(room, conn->in.data, had);
    }
    ssize_t got = recv(conn->watch.fd, room + had, sizeof(room) - had, MSG_DONTWAIT | MSG_PEEK);
    if (got <= 0) {
        conn->dead = got == 0 || (errno != EAGAIN && errno != EINTR);
        return false;
    }
    struct proxy_header header;
    ssize_t size = proxy_header_read(&header, room, had + (size_t)got);
    size_t taken = size > 0 ? (size_t)size - had : (size_t)got;
    if (size < 0) {
        return refuse_proxy(conn);
    }
    if (!consume(conn, room + had, taken) || size == 0) {
        return keep_part(conn, room + had, taken);
    }
    if (header.has_source) {
        memcpy(conn->peer.ip, header.ip, sizeof(conn->peer.ip));
        conn->peer.port = header.port;
    }
    buf_fini(&conn->in);
    conn->awaits_proxy = false;
    return true;
}

/* ---- TLS ---- */

/* Plain HTTP where TLS is spoken is somebody's slip: it gets an answer that it can read. */
static void answer_plainly(struct http_conn *conn)
{
    struct buf out = {0};
    struct http_problem problem = {.status = 400,
                                   .code = STR("tls_required"),
                                   .detail = STR("This port speaks TLS: use https or wss.")};
    struct http_response response = {.close = true};
    if (http_problem_write(&out, &problem, &response) == 0) {
        (void)!send(conn->watch.fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    buf_fini(&out);
}

static void tell_handshake(const struct http_conn *conn, const char *result)
{
    const struct http_service_options *options = &conn->service->options;
    if (options->on_handshake) {
        options->on_handshake(options->owner, result);
    }
}

/* An alert or an answer is on its way, and bytes of the peer may be unread: closing at once would
 * reset the connection before it has read them. */
static bool refuse_link(struct http_conn *conn, int err)
{
    const char *reason = tls_conn_reason(conn->tls);
    if (str_equal(str_of(reason), STR("tls_required"))) {
        answer_plainly(conn);
    }
    tell_handshake(conn, reason);
    http_conn_give_up(conn, reason);
    conn->dead = err != ERR_PROTOCOL;
    conn->closing = true;
    tls_conn_destroy(conn->tls);
    conn->tls = NULL;
    return false;
}

/* Who connects and goes, as probes do, or says half a word, is not worth a session. */
static bool begin_tls(struct http_conn *conn)
{
    const struct http_service_options *options = &conn->service->options;
    int fd = conn->watch.fd;
    int ready = tls_conn_may_begin(fd, options->receive_buffer, options->receive_buffer_len);
    if (ready == ERR_CLOSED) {
        tell_handshake(conn, "tls_closed");
        http_conn_give_up(conn, "tls_closed");
    }
    if (ready <= 0) {
        conn->dead = ready != -EAGAIN;
        return false;
    }
    if (admission_memory_is_short(http_conn_limits(conn)->memory_bytes)) {
        tell_handshake(conn, "memory");
        http_conn_give_up(conn, "memory");
        return false;
    }
    conn->dead = tls_conn_create(&conn->tls, conn->service->tls, fd) != 0;
    return !conn->dead;
}

static bool shake_hands(struct http_conn *conn)
{
    struct http_service *service = conn->service;
    if (service->handshakes++ >= HANDSHAKES_A_TURN) {
        return false; /* its descriptor stays ready */
    }
    if (!conn->tls && !begin_tls(conn)) {
        return false;
    }
    int err = tls_conn_handshake(conn->tls);
    if (err == -EAGAIN) {
        return false;
    }
    if (err) {
        return refuse_link(conn, err);
    }
    tell_handshake(conn, tls_conn_is_resumed(conn->tls) ? "resumed" : "full");
    return true;
}

void http_conn_give_up_link(struct http_conn *conn)
{
    if (conn->awaits_proxy && conn->in.len > 0) {
        http_conn_give_up(conn, "proxy_header");
        return;
    }
    int unread = 0;
    bool has_begun = conn->tls || (ioctl(conn->watch.fd, FIONREAD, &unread) == 0 && unread > 0);
    if (has_begun) {
        tell_handshake(conn, "tls_timeout");
    }
    http_conn_give_up(conn, has_begun ? "tls_timeout" : "no_request");
}

bool http_conn_open_link(struct http_conn *conn)
{
    if (conn->awaits_proxy && !take_proxy_header(conn)) {
        return false;
    }
    if ((conn->tls || conn->service->tls) && !shake_hands(conn)) {
        return false;
    }
    conn->phase = PHASE_FIRST; /* the time for it has run since the accept */
    return true;
}

ssize_t http_conn_receive(struct http_conn *conn, void *data, size_t len)
{
    struct tls_conn *tls = conn->phase == PHASE_LINGER ? NULL : conn->tls;
    return link_read(conn->watch.fd, tls, data, len);
}

const char *http_conn_link_reason(const struct http_conn *conn, ssize_t err)
{
    return conn->tls && err == ERR_PROTOCOL ? tls_conn_reason(conn->tls) : NULL;
}

ssize_t http_conn_transmit(struct http_conn *conn, const void *data, size_t len)
{
    struct iovec part = {(void *)(uintptr_t)data, len};
    return link_write(conn->watch.fd, conn->tls, &part, 1);
}
