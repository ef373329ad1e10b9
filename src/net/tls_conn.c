#include "net/tls_conn.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/tls_library.h"

/* Records of the handshake's kind after it, in all: renegotiation that is refused (TLS 1.2) and
 * updates of keys (TLS 1.3), which honest clients make once in millions of records. */
enum { LATE_HANDSHAKES_MAX = 256, GIVE_BACK_FROM = 8 * 1024 * 1024, GIVE_BACK_MS = 2000 };

struct tls_conn {
    SSL *ssl;
    struct tls_context *context; /* a reference, for choosing the certificate; NULL after that */
    const char *reason;
    uint16_t held; /* bytes of a record that the kernel has not taken whole */
    uint16_t late_handshakes;
    bool is_open;
    bool is_broken; /* no good-bye then: the library refuses it after a fatal error */
    bool is_ended;  /* the good-bye is said */
};

/* ---- its memory ---- */

static _Atomic int64_t peak;              /* of all sessions' since memory was given back last */
static _Atomic uint64_t may_give_back_ms; /* not before */

/* It takes long, with the allocator's locks held, and strangers can bring it about. */
static bool is_time_to_give_back(void)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t due_ms = atomic_load_explicit(&may_give_back_ms, memory_order_relaxed);
    return now_ms >= due_ms &&
           atomic_compare_exchange_strong(&may_give_back_ms, &due_ms, now_ms + GIVE_BACK_MS);
}

/* The library's blocks are small, and the allocator keeps them: after a storm of handshakes, or
 * when a node's sessions are gone, they go back to the system. */
static void give_back(int64_t now)
{
    int64_t before = atomic_load_explicit(&peak, memory_order_relaxed);
    if (before >= GIVE_BACK_FROM && now <= before / 4 && is_time_to_give_back()) {
        atomic_store_explicit(&peak, now, memory_order_relaxed);
        malloc_trim(0);
    }
}

static void account(int64_t delta)
{
    mem_account(MEM_TLS, delta);
    int64_t now = mem_accounted(MEM_TLS);
    if (delta < 0) {
        give_back(now);
    } else if (now > atomic_load_explicit(&peak, memory_order_relaxed)) {
        atomic_store_explicit(&peak, now, memory_order_relaxed); /* about right is enough */
    }
}

/* The library would answer for ever, inside one read: so the socket is taken from it. */
static void on_late_handshake(struct tls_conn *conn)
{
    if (++conn->late_handshakes > LATE_HANDSHAKES_MAX) {
        conn->reason = "tls_renegotiation";
        BIO_set_fd(SSL_get_rbio(conn->ssl), -1, BIO_NOCLOSE);
    }
}

/* SSL_CTX_set_msg_callback(3). A record says its type in its header, or inside (TLS 1.3). */
static void on_message(int is_write, int version, int content_type, const void *data, size_t len,
                       SSL *ssl, void *owner)
{
    struct tls_conn *conn = owner;
    bool says_type = content_type == SSL3_RT_HEADER || content_type == SSL3_RT_INNER_CONTENT_TYPE;
    if (!is_write && conn->is_open && says_type && *(const uint8_t *)data == SSL3_RT_HANDSHAKE) {
        on_late_handshake(conn);
    }
}

int tls_conn_create(struct tls_conn **out_conn, struct tls_context *context, int fd)
{
    struct tls_conn *conn = mem_zalloc(sizeof(*conn));
    SSL *ssl = conn ? tls_context_session(context) : NULL;
    if (!ssl || SSL_set_fd(ssl, fd) != 1) {
        ERR_clear_error();
        SSL_free(ssl);
        mem_free(conn);
        return ERR_NO_MEMORY;
    }
    conn->ssl = ssl;
    conn->context = tls_context_ref(context);
    conn->reason = "tls_protocol";
    SSL_set_accept_state(ssl);
    SSL_set_msg_callback(ssl, on_message);
    SSL_set_msg_callback_arg(ssl, conn);
    account(TLS_HANDSHAKE_BYTES);
    *out_conn = conn;
    return 0;
}

void tls_conn_end_output(struct tls_conn *conn)
{
    if (conn->is_open && !conn->is_broken && !conn->is_ended && conn->held == 0) {
        ERR_clear_error();
        SSL_shutdown(conn->ssl);
        conn->is_ended = true;
    }
}

void tls_conn_destroy(struct tls_conn *conn)
{
    if (!conn) {
        return;
    }
    tls_conn_end_output(conn);
    SSL_free(conn->ssl);
    ERR_clear_error();
    tls_context_unref(conn->context);
    int64_t held = conn->is_open ? TLS_CONN_BYTES : TLS_HANDSHAKE_BYTES;
    mem_free(conn);
    account(-held);
}

/* ---- what went wrong ---- */

static const char *reason_of(int reason)
{
    switch (reason) {
    case SSL_R_HTTP_REQUEST: return "tls_required";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_WRONG_SSL_VERSION: return "tls_version";
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM: return "tls_cipher";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_CERTIFICATE_VERIFY_FAILED: return "tls_client_certificate";
    default: return reason > SSL_AD_REASON_OFFSET ? "tls_alert" : "tls_protocol";
    }
}

static int fail(struct tls_conn *conn, int err, const char *reason)
{
    conn->is_broken = true;
    if (conn->late_handshakes <= LATE_HANDSHAKES_MAX) {
        conn->reason = reason;
    }
    return err;
}

static int fail_of_library(struct tls_conn *conn)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    int err = reason == ERR_R_MALLOC_FAILURE ? ERR_NO_MEMORY : ERR_PROTOCOL;
    return fail(conn, err, reason_of(reason));
}

/* Why a call of the library gave nothing. err: errno of that call. */
static int explain(struct tls_conn *conn, int result, int err)
{
    switch (SSL_get_error(conn->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN: return ERR_CLOSED;
    case SSL_ERROR_SYSCALL: return fail(conn, err ? -err : ERR_CLOSED, "tls_closed");
    default: return fail_of_library(conn);
    }
}

static void begin_call(void)
{
    ERR_clear_error(); /* SSL_get_error looks at what others have left there too */
    errno = 0;
}

const char *tls_conn_reason(const struct tls_conn *conn)
{
    return conn->reason;
}

/* ---- handshake ---- */

enum { HEADER_BYTES = 5 };

/* RFC 8446 5.1. What is no handshake needs no more to be refused. */
static size_t first_record_len(const uint8_t *data, size_t len)
{
    if (data[0] != SSL3_RT_HANDSHAKE) {
        return 1;
    }
    if (len < HEADER_BYTES) {
        return HEADER_BYTES;
    }
    size_t body = (size_t)data[3] << 8 | data[4];
    return body > TLS_RECORD_BYTES - HEADER_BYTES ? HEADER_BYTES : HEADER_BYTES + body;
}

static void wait_for_bytes(int fd, size_t count)
{
    int bytes = (int)count;
    setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

/* The rest will never come, and the socket stays ready. */
static bool has_ended(int fd)
{
    struct pollfd watched = {.fd = fd, .events = POLLRDHUP};
    return poll(&watched, 1, 0) == 1;
}

int tls_conn_may_begin(int fd, uint8_t *room, size_t len)
{
    ssize_t got = recv(fd, room, len, MSG_DONTWAIT | MSG_PEEK);
    if (got <= 0) {
        return got < 0 ? -errno : 0;
    }
    size_t wanted = first_record_len(room, (size_t)got);
    bool is_whole = (size_t)got >= wanted;
    wait_for_bytes(fd, is_whole ? 1 : wanted);
    return is_whole ? 1 : has_ended(fd) ? ERR_CLOSED : -EAGAIN;
}

int tls_conn_handshake(struct tls_conn *conn)
{
    begin_call();
    int result = SSL_do_handshake(conn->ssl);
    if (result != 1) {
        int err = explain(conn, result, errno);
        return err == ERR_CLOSED ? fail(conn, err, "tls_closed") : err;
    }
    conn->is_open = true;
    account(TLS_CONN_BYTES - TLS_HANDSHAKE_BYTES);
    tls_context_unref(conn->context);
    conn->context = NULL;
    return 0;
}

bool tls_conn_is_open(const struct tls_conn *conn)
{
    return conn->is_open;
}

bool tls_conn_wants_write(const struct tls_conn *conn)
{
    return SSL_want_write(conn->ssl);
}

bool tls_conn_is_resumed(const struct tls_conn *conn)
{
    return SSL_session_reused(conn->ssl);
}

/* ---- bytes ---- */

/* A read that waits to write has to answer an update of keys, and the peer takes nothing: it might
 * ask for thousands. */
static int explain_read(struct tls_conn *conn, int result, int err)
{
    int code = explain(conn, result, err);
    bool is_stuck = code == -EAGAIN && SSL_want_write(conn->ssl);
    return is_stuck ? fail(conn, ERR_PROTOCOL, "tls_renegotiation") : code;
}

ssize_t tls_conn_read(struct tls_conn *conn, void *data, size_t len)
{
    size_t got = 0;
    begin_call();
    int result = SSL_read_ex(conn->ssl, data, len, &got);
    if (conn->late_handshakes > LATE_HANDSHAKES_MAX) {
        return fail(conn, ERR_PROTOCOL, conn->reason);
    }
    if (result == 1) {
        return (ssize_t)got;
    }
    int err = explain_read(conn, result, errno);
    return err == ERR_CLOSED ? 0 : err;
}

/* One record's worth of the parts: as they lie when the first fills it, else gathered. */
static struct str gather(const struct iovec *parts, size_t count, size_t most)
{
    static _Thread_local uint8_t record[TLS_RECORD_BYTES];
    if (count == 1 || parts[0].iov_len >= most) {
        return str_make(parts[0].iov_base, parts[0].iov_len < most ? parts[0].iov_len : most);
    }
    size_t len = 0;
    for (size_t i = 0; i < count && len < most; i++) {
        size_t room = most - len;
        size_t part = parts[i].iov_len < room ? parts[i].iov_len : room;
        memcpy(record + len, parts[i].iov_base, part);
        len += part;
    }
    return str_make(record, len);
}

ssize_t tls_conn_write(struct tls_conn *conn, const struct iovec *parts, size_t count)
{
    size_t sent = 0;
    struct str record = gather(parts, count, conn->held ? conn->held : TLS_RECORD_BYTES);
    ASSERT(record.len >= conn->held); /* else the library would refuse it, or take other bytes */
    begin_call();
    int result = SSL_write_ex(conn->ssl, record.ptr, record.len, &sent);
    if (result == 1) {
        conn->held = 0;
        return (ssize_t)sent;
    }
    int err = explain(conn, result, errno);
    conn->held = err == -EAGAIN ? (uint16_t)record.len : 0;
    return err == ERR_CLOSED ? -EPIPE : err;
}

size_t tls_conn_held(const struct tls_conn *conn)
{
    return conn->held;
}
