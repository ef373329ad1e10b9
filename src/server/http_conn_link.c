/* What is under HTTP: a socket, plain or TLS. */
#include <errno.h>

#include "base/err.h"
#include "net/link.h"
#include "server/http_conn_private.h"

/* Each step of a handshake may cost a signature (a millisecond with RSA), and thousands come at
 * once when a node has died: the others of this loop are served between them. */
enum { HANDSHAKES_A_TURN = 16 };

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

static bool refuse_link(struct http_conn *conn)
{
    const char *reason = tls_conn_reason(conn->tls);
    if (str_equal(str_of(reason), STR("tls_required"))) {
        answer_plainly(conn);
    }
    http_conn_give_up(conn, reason);
    return false;
}

/* Who connects and goes, as probes do, is not worth a session. */
static bool begin_tls(struct http_conn *conn)
{
    uint8_t first;
    ssize_t got = recv(conn->watch.fd, &first, 1, MSG_DONTWAIT | MSG_PEEK);
    if (got <= 0) {
        conn->dead = got == 0 || errno != EAGAIN;
        return false;
    }
    if (tls_conn_create(&conn->tls, conn->service->tls, conn->watch.fd)) {
        conn->dead = true;
        return false;
    }
    return true;
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
    return err ? refuse_link(conn) : true;
}

bool http_conn_open_link(struct http_conn *conn)
{
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
