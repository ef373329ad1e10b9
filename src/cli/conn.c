#include "cli/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "cli/interrupt.h"

struct conn {
    int fd; /* does not block */
    SSL *ssl;
    SSL_CTX *context;
};

static int wait_for(const struct conn *conn, short events, uint64_t deadline_ms)
{
    struct pollfd watched = {.fd = conn->fd, .events = events};
    int ready = interrupt_poll(&watched, 1, deadline_ms);
    return ready == 0 ? ERR_TIMEOUT : ready < 0 ? ready : 0;
}

/* --- TLS --- */

/* Why an SSL call gave nothing: waits when that helps (returns 1: call again), else the code. The
 * clean end of the stream is 0. */
static int tls_settle(struct conn *conn, int result, uint64_t deadline_ms)
{
    int err;
    switch (SSL_get_error(conn->ssl, result)) {
    case SSL_ERROR_WANT_READ: err = wait_for(conn, POLLIN, deadline_ms); return err ? err : 1;
    case SSL_ERROR_WANT_WRITE: err = wait_for(conn, POLLOUT, deadline_ms); return err ? err : 1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: return errno ? -errno : -ECONNRESET;
    default: return ERR_PROTOCOL;
    }
}

static int tls_prepare(struct conn *conn, const struct url *url, const char *ca_file)
{
    conn->context = SSL_CTX_new(TLS_client_method());
    if (!conn->context) {
        return ERR_NO_MEMORY;
    }
    SSL_CTX_set_min_proto_version(conn->context, TLS1_2_VERSION);
    if (!ca_file) {
        SSL_CTX_set_default_verify_paths(conn->context);
    } else if (SSL_CTX_load_verify_file(conn->context, ca_file) != 1) {
        return ERR_SYNTAX;
    }
    SSL_CTX_set_verify(conn->context, SSL_VERIFY_PEER, NULL);
    conn->ssl = SSL_new(conn->context);
    if (!conn->ssl || SSL_set_fd(conn->ssl, conn->fd) != 1) {
        return ERR_NO_MEMORY;
    }
    X509_VERIFY_PARAM *check = SSL_get0_param(conn->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(check, url->host) == 1) {
        return 0; /* an address: no SNI (RFC 6066 section 3) */
    }
    bool ok = SSL_set1_host(conn->ssl, url->host) == 1 &&
              SSL_set_tlsext_host_name(conn->ssl, url->host) == 1;
    return ok ? 0 : ERR_NO_MEMORY;
}

static void tell_tls(const struct conn *conn, struct conn_story *story)
{
    X509 *certificate = SSL_get0_peer_certificate(conn->ssl);
    int days = 0, seconds = 0;
    snprintf(story->tls_version, sizeof(story->tls_version), "%s", SSL_get_version(conn->ssl));
    if (certificate &&
        ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) == 1) {
        story->certificate_days = days;
    }
}

static int tls_start(struct conn *conn, const struct url *url, const char *ca_file,
                     uint64_t deadline_ms, struct conn_story *story)
{
    int err = tls_prepare(conn, url, ca_file);
    if (err) {
        return err;
    }
    do {
        ERR_clear_error();
        errno = 0;
        int result = SSL_connect(conn->ssl);
        if (result == 1) {
            tell_tls(conn, story);
            return 0;
        }
        err = tls_settle(conn, result, deadline_ms);
    } while (err == 1);
    long verdict = SSL_get_verify_result(conn->ssl);
    bool denied = verdict != X509_V_OK;
    story->tls_problem = denied ? X509_verify_cert_error_string(verdict) : NULL;
    return denied ? ERR_DENIED : err ? err : ERR_PROTOCOL;
}

/* --- Opening --- */

static int make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int conn_adopt(struct conn **out_conn, int fd)
{
    int err = make_nonblocking(fd);
    struct conn *conn = err ? NULL : mem_zalloc(sizeof(*conn));
    if (!conn) {
        return err ? err : ERR_NO_MEMORY;
    }
    conn->fd = fd;
    *out_conn = conn;
    return 0;
}

static int finish_connect(const struct conn *conn, uint64_t deadline_ms)
{
    int err = wait_for(conn, POLLOUT, deadline_ms);
    int failure = 0;
    socklen_t len = sizeof(failure);
    if (!err && getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &failure, &len)) {
        return -errno;
    }
    return err ? err : -failure;
}

static int connect_to(struct conn **out_conn, const struct addrinfo *info, uint64_t deadline_ms)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    struct conn *conn;
    int err = conn_adopt(&conn, fd);
    if (err) {
        close(fd);
        return err;
    }
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    if (connect(fd, info->ai_addr, info->ai_addrlen)) {
        err = errno == EINPROGRESS ? finish_connect(conn, deadline_ms) : -errno;
    }
    if (err) {
        conn_close(conn);
        return err;
    }
    *out_conn = conn;
    return 0;
}

static void tell_address(const struct addrinfo *info, struct conn_story *story)
{
    char host[48];
    char port[8];
    if (getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        snprintf(story->address, sizeof(story->address), "%s port %s", host, port);
    }
}

static int connect_to_host(struct conn **out_conn, const struct url *url, uint64_t deadline_ms,
                           struct conn_story *story)
{
    char port[8];
    snprintf(port, sizeof(port), "%u", url->port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all;
    int found = getaddrinfo(url->host, port, &hints, &all);
    if (found) {
        return found == EAI_MEMORY ? ERR_NO_MEMORY : ERR_NOT_FOUND;
    }
    int err = ERR_NOT_FOUND;
    story->step = CONN_CONNECT;
    for (struct addrinfo *one = all; one; one = one->ai_next) {
        story->addresses++;
    }
    for (struct addrinfo *one = all; one && err != 0 && err != ERR_CANCELED; one = one->ai_next) {
        tell_address(one, story);
        err = connect_to(out_conn, one, deadline_ms);
    }
    freeaddrinfo(all);
    return err;
}

int conn_open_telling(struct conn **out_conn, const struct url *url, const char *ca_file,
                      uint64_t deadline_ms, struct conn_story *out_story)
{
    struct conn *conn = NULL;
    uint64_t began_ms = clock_monotonic_ms();
    *out_story = (struct conn_story){0};
    int err = connect_to_host(&conn, url, deadline_ms, out_story);
    if (err) {
        return err;
    }
    out_story->step = CONN_TLS;
    out_story->connected_ms = clock_monotonic_ms() - began_ms;
    err = url->is_secure ? tls_start(conn, url, ca_file, deadline_ms, out_story) : 0;
    if (err) {
        conn_close(conn);
        return err;
    }
    out_story->step = CONN_DONE;
    out_story->secured_ms = clock_monotonic_ms() - began_ms - out_story->connected_ms;
    *out_conn = conn;
    return 0;
}

int conn_open(struct conn **out_conn, const struct url *url, const char *ca_file,
              uint64_t deadline_ms)
{
    struct conn_story ignored;
    return conn_open_telling(out_conn, url, ca_file, deadline_ms, &ignored);
}

const char *conn_advice(int err)
{
    switch (err) {
    case -ECONNREFUSED: return "nothing listens there; is the gateway running, and is --url right?";
    case ERR_NOT_FOUND: return "there is no such host; check --url";
    case ERR_TIMEOUT: return "the host does not answer; check --url, the network and firewalls";
    case ERR_DENIED:
        return "its certificate is not trusted; --ca names the file of your own authority's";
    case ERR_SYNTAX: return "the file of --ca can't be read, or holds no certificate in PEM";
    case ERR_PROTOCOL:
        return "it does not speak TLS there; check the port, or use http:// or ws://";
    default: return "check --url and the network";
    }
}

void conn_close(struct conn *conn)
{
    if (!conn) {
        return;
    }
    if (conn->ssl && SSL_is_init_finished(conn->ssl)) {
        SSL_shutdown(conn->ssl);
    }
    SSL_free(conn->ssl);
    SSL_CTX_free(conn->context);
    close(conn->fd);
    mem_free(conn);
}

/* --- Bytes --- */

/* 0, 1 (waited: call again) or the error. */
static int plain_settle(const struct conn *conn, ssize_t result, short events, uint64_t deadline_ms)
{
    if (result >= 0) {
        return 0;
    }
    if (errno == EAGAIN || errno == EINTR) {
        int err = wait_for(conn, events, deadline_ms);
        return err ? err : 1;
    }
    return -errno;
}

static int read_some(struct conn *conn, void *data, size_t cap, size_t *out_got,
                     uint64_t deadline_ms)
{
    if (conn->ssl) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_read_ex(conn->ssl, data, cap, out_got);
        return result == 1 ? 0 : tls_settle(conn, result, deadline_ms);
    }
    ssize_t got = recv(conn->fd, data, cap, 0);
    *out_got = got > 0 ? (size_t)got : 0;
    return plain_settle(conn, got, POLLIN, deadline_ms);
}

static int write_some(struct conn *conn, const void *data, size_t len, size_t *out_sent,
                      uint64_t deadline_ms)
{
    if (conn->ssl) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_write_ex(conn->ssl, data, len, out_sent);
        return result == 1 ? 0 : tls_settle(conn, result, deadline_ms);
    }
    ssize_t sent = send(conn->fd, data, len, MSG_NOSIGNAL);
    *out_sent = sent > 0 ? (size_t)sent : 0;
    return plain_settle(conn, sent, POLLOUT, deadline_ms);
}

ssize_t conn_read(struct conn *conn, void *data, size_t cap, uint64_t deadline_ms)
{
    for (;;) {
        size_t got = 0;
        int err = read_some(conn, data, cap, &got, deadline_ms);
        if (err != 1) {
            return err ? err : (ssize_t)got;
        }
    }
}

int conn_write(struct conn *conn, const void *data, size_t len, uint64_t deadline_ms)
{
    const char *at = data;
    while (len > 0) {
        size_t sent = 0;
        int err = write_some(conn, at, len, &sent, deadline_ms);
        if (err < 0) {
            return err;
        }
        if (err == 0 && sent == 0) {
            return -EPIPE;
        }
        at += err == 0 ? sent : 0;
        len -= err == 0 ? sent : 0;
    }
    return 0;
}
