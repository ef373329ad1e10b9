#include "net/stream_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/stream.h"
#include "net/tls_library.h"

enum { DETAIL_MAX = 192, NAME_MAX_LEN = 256 };

struct stream_tls {
    atomic_int refs;
    SSL_CTX *context;
    bool verify;
};

struct stream_tls_session {
    SSL *ssl;
    unsigned wants;
    bool is_broken; /* no good-bye then: the library refuses it after a fatal error */
    char detail[DETAIL_MAX];
};

/* ---- what sessions share ---- */

static const char *load_authorities(SSL_CTX *context, const char *ca_file)
{
    if (ca_file[0] == '\0') {
        return SSL_CTX_set_default_verify_paths(context) == 1
                   ? NULL
                   : "the system's authorities cannot be read";
    }
    return SSL_CTX_load_verify_file(context, ca_file) == 1
               ? NULL
               : "the authorities' file cannot be read, or holds no certificate";
}

static const char *load_own(SSL_CTX *context, const char *cert_file, const char *key_file)
{
    if ((cert_file[0] == '\0') != (key_file[0] == '\0')) {
        return "a certificate and a key go together";
    }
    if (cert_file[0] == '\0') {
        return NULL;
    }
    if (SSL_CTX_use_certificate_chain_file(context, cert_file) != 1) {
        return "the certificate's file cannot be read, or holds none";
    }
    if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1) {
        return ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH
                   ? "the key is not the certificate's"
                   : "the key's file cannot be read, or holds none without a password";
    }
    return NULL;
}

int stream_tls_create(struct stream_tls **out_tls, struct str ca_file, bool verify,
                      struct str cert_file, struct str key_file, const char **out_problem)
{
    struct stream_tls *tls = mem_zalloc(sizeof(*tls));
    if (!tls) {
        return ERR_NO_MEMORY;
    }
    *tls = (struct stream_tls){.refs = 1, .context = SSL_CTX_new(TLS_client_method())};
    tls->verify = verify;
    if (!tls->context) {
        stream_tls_unref(tls);
        return ERR_NO_MEMORY;
    }
    tls_library_set_up(tls->context);
    SSL_CTX_set_verify(tls->context, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    const char *problem = verify ? load_authorities(tls->context, ca_file.ptr) : NULL;
    if (!problem) {
        problem = load_own(tls->context, cert_file.ptr, key_file.ptr);
    }
    ERR_clear_error();
    if (problem) {
        stream_tls_unref(tls);
        *out_problem = problem;
        return ERR_SYNTAX;
    }
    *out_tls = tls;
    return 0;
}

struct stream_tls *stream_tls_ref(struct stream_tls *tls)
{
    atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
    return tls;
}

void stream_tls_unref(struct stream_tls *tls)
{
    if (tls && atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) == 1) {
        SSL_CTX_free(tls->context);
        mem_free(tls);
    }
}

/* ---- one session ---- */

/* RFC 6066 3: an address is no host name for the server to choose by. */
static bool expect_host(SSL *ssl, const char *host, bool verify)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1) {
        return true;
    }
    char name[NAME_MAX_LEN];
    size_t len = strlen(host);
    len -= len > 0 && host[len - 1] == '.'; /* the root's dot is not in certificates */
    snprintf(name, sizeof(name), "%.*s", (int)len, host);
    return SSL_set_tlsext_host_name(ssl, name) == 1 && (!verify || SSL_set1_host(ssl, name) == 1);
}

int stream_tls_session_create(struct stream_tls_session **out_session, struct stream_tls *tls,
                              int fd, const char *host)
{
    struct stream_tls_session *session = mem_zalloc(sizeof(*session));
    if (!session) {
        return ERR_NO_MEMORY;
    }
    session->ssl = SSL_new(tls->context);
    bool ok = session->ssl && SSL_set_fd(session->ssl, fd) == 1 &&
              expect_host(session->ssl, host, tls->verify);
    ERR_clear_error();
    if (!ok) {
        stream_tls_session_destroy(session);
        return ERR_NO_MEMORY;
    }
    SSL_set_connect_state(session->ssl);
    *out_session = session;
    return 0;
}

void stream_tls_session_destroy(struct stream_tls_session *session)
{
    if (!session) {
        return;
    }
    if (session->ssl && SSL_is_init_finished(session->ssl) && !session->is_broken) {
        SSL_shutdown(session->ssl);
    }
    SSL_free(session->ssl);
    ERR_clear_error();
    mem_free(session);
}

static int tell_library_error(struct stream_tls_session *session)
{
    unsigned long error = ERR_peek_error();
    int reason = ERR_GET_REASON(error);
    long verdict = SSL_get_verify_result(session->ssl);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        snprintf(session->detail, sizeof(session->detail), "the server's certificate: %s",
                 X509_verify_cert_error_string(verdict));
        return ERR_DENIED;
    }
    const char *text = ERR_reason_error_string(error);
    snprintf(session->detail, sizeof(session->detail), "TLS: %s", text ? text : "failed");
    if (reason == ERR_R_MALLOC_FAILURE) {
        return ERR_NO_MEMORY;
    }
    return tls_library_is_about_certificates(reason) ? ERR_DENIED : ERR_PROTOCOL;
}

static int tell_system_error(struct stream_tls_session *session, int err)
{
    int code = err ? -err : ERR_CLOSED;
    snprintf(session->detail, sizeof(session->detail), "%s%s", err_str(code),
             SSL_is_init_finished(session->ssl) ? "" : " in the TLS handshake");
    return code;
}

/* Why a call of the library gave nothing. errno is of that call. */
static int explain(struct stream_tls_session *session, int result, int err)
{
    switch (SSL_get_error(session->ssl, result)) {
    case SSL_ERROR_WANT_READ: session->wants = LOOP_READABLE; return -EAGAIN;
    case SSL_ERROR_WANT_WRITE: session->wants = LOOP_WRITABLE; return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN: return tell_system_error(session, 0);
    case SSL_ERROR_SYSCALL: err = tell_system_error(session, err); break;
    default: err = tell_library_error(session);
    }
    session->is_broken = true;
    return err;
}

int stream_tls_session_handshake(struct stream_tls_session *session)
{
    ERR_clear_error(); /* SSL_get_error looks at what others have left there too */
    errno = 0;
    int result = SSL_do_handshake(session->ssl);
    return result == 1 ? 0 : explain(session, result, errno);
}

ssize_t stream_tls_session_read(struct stream_tls_session *session, void *data, size_t len)
{
    size_t got = 0;
    ERR_clear_error();
    errno = 0;
    int result = SSL_read_ex(session->ssl, data, len, &got);
    if (result == 1) {
        return (ssize_t)got;
    }
    int err = explain(session, result, errno);
    return err == ERR_CLOSED ? 0 : err;
}

ssize_t stream_tls_session_write(struct stream_tls_session *session, const void *data, size_t len)
{
    size_t sent = 0;
    ERR_clear_error();
    errno = 0;
    int result = SSL_write_ex(session->ssl, data, len, &sent);
    return result == 1 ? (ssize_t)sent : explain(session, result, errno);
}

unsigned stream_tls_session_wants(const struct stream_tls_session *session)
{
    return session->wants;
}

const char *stream_tls_session_detail(const struct stream_tls_session *session)
{
    return session->detail;
}
