/* For tests of TLS: certificates made on the spot, and a client over OpenSSL whose bytes reach the
 * socket in slices as small as a test likes. All on one thread. */
#ifndef TIDEGATE_NET_TLS_TEST_HELP_H
#define TIDEGATE_NET_TLS_TEST_HELP_H

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "net/tls_context.h"

struct identity {
    EVP_PKEY *key;
    X509 *cert;
    char cert_pem[4096];
    char key_pem[1024];
    char cert_file[PATH_MAX]; /* once it is written */
    char key_file[PATH_MAX];
};

static inline void identity_add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
}

static inline void identity_take_text(BIO *bio, char *out, size_t size)
{
    int len = BIO_read(bio, out, (int)size - 1);
    assert_in_range(len, 1, size - 2);
    out[len] = '\0';
    BIO_free(bio);
}

static inline void identity_make_texts(struct identity *identity)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, identity->cert);
    identity_take_text(bio, identity->cert_pem, sizeof(identity->cert_pem));
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, identity->key, NULL, NULL, 0, NULL, NULL);
    identity_take_text(bio, identity->key_pem, sizeof(identity->key_pem));
}

/* issuer NULL: an authority, which signs itself. */
static inline void identity_make(struct identity *identity, const char *name,
                                 struct identity *issuer, const char *alt_names, long valid_s)
{
    static long serial;
    *identity = (struct identity){.key = EVP_EC_gen("P-256"), .cert = X509_new()};
    struct identity *by = issuer ? issuer : identity;
    X509 *cert = identity->cert;
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), valid_s);
    X509_set_pubkey(cert, identity->key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(by->cert));
    if (alt_names) {
        identity_add_extension(cert, by->cert, NID_subject_alt_name, alt_names);
    }
    identity_add_extension(cert, by->cert, NID_basic_constraints,
                           issuer ? "CA:FALSE" : "critical,CA:TRUE");
    assert_true(X509_sign(cert, by->key, EVP_sha256()) > 0);
    identity_make_texts(identity);
}

static inline void identity_write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static inline void identity_write(struct identity *identity, const char *dir, const char *name)
{
    snprintf(identity->cert_file, PATH_MAX, "%s/%s.pem", dir, name);
    snprintf(identity->key_file, PATH_MAX, "%s/%s.key", dir, name);
    identity_write_file(identity->cert_file, identity->cert_pem);
    identity_write_file(identity->key_file, identity->key_pem);
}

static inline void identity_fini(struct identity *identity)
{
    if (identity->cert_file[0]) {
        unlink(identity->cert_file);
        unlink(identity->key_file);
    }
    X509_free(identity->cert);
    EVP_PKEY_free(identity->key);
}

static inline struct tls_certificate identity_certificate(const struct identity *identity)
{
    return (struct tls_certificate){str_of(identity->cert_pem), str_of(identity->key_pem)};
}

/* A context of one certificate, or one that says why not. */
static inline struct tls_context *identity_context(const struct identity *identity)
{
    struct tls_certificate certificate = identity_certificate(identity);
    struct tls_context_options options = {.certificates = &certificate, .count = 1};
    struct tls_context *context;
    const char *problem = "";
    int err = tls_context_create(&context, &options, &problem);
    assert_string_equal(problem, "");
    assert_int_equal(err, 0);
    return context;
}

/* A client on one end of a socket; the other end is the test's. */
struct tls_peer {
    SSL_CTX *context;
    SSL *ssl;
    int fd;
    struct buf pending; /* ciphertext on its way */
    size_t slice;       /* bytes a step; 0: all */
    struct buf got;
    bool is_ended; /* close_notify has come */
    bool failed;
};

/* version: TLS1_2_VERSION, …; 0: any. */
static inline void tls_peer_init(struct tls_peer *peer, int fd, int version)
{
    signal(SIGPIPE, SIG_IGN);
    *peer = (struct tls_peer){.fd = fd, .context = SSL_CTX_new(TLS_client_method())};
    SSL_CTX_set_security_level(peer->context, 0); /* for versions that are refused */
    SSL_CTX_set_min_proto_version(peer->context, version);
    SSL_CTX_set_max_proto_version(peer->context, version);
    peer->ssl = SSL_new(peer->context);
    SSL_set_bio(peer->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(peer->ssl);
}

static inline void tls_peer_fini(struct tls_peer *peer)
{
    SSL_free(peer->ssl);
    SSL_CTX_free(peer->context);
    buf_fini(&peer->pending);
    buf_fini(&peer->got);
    ERR_clear_error();
}

static inline void tls_peer_take_in(struct tls_peer *peer)
{
    uint8_t chunk[16384];
    ssize_t got;
    while ((got = recv(peer->fd, chunk, sizeof(chunk), MSG_DONTWAIT)) > 0) {
        BIO_write(SSL_get_rbio(peer->ssl), chunk, (int)got);
    }
    int result;
    while ((result = SSL_read(peer->ssl, chunk, sizeof(chunk))) > 0) { /* and the handshake */
        buf_append(&peer->got, chunk, (size_t)result);
    }
    int error = SSL_get_error(peer->ssl, result);
    peer->is_ended |= error == SSL_ERROR_ZERO_RETURN;
    peer->failed |= error == SSL_ERROR_SSL;
    ERR_clear_error(); /* the server is on this thread too */
}

static inline void tls_peer_give_out(struct tls_peer *peer)
{
    uint8_t chunk[16384];
    int len;
    while ((len = BIO_read(SSL_get_wbio(peer->ssl), chunk, sizeof(chunk))) > 0) {
        buf_append(&peer->pending, chunk, (size_t)len);
    }
    size_t now = peer->pending.len;
    now = peer->slice && now > peer->slice ? peer->slice : now;
    ssize_t sent = now ? send(peer->fd, peer->pending.data, now, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    if (sent > 0) {
        buf_consume(&peer->pending, (size_t)sent);
    }
}

static inline void tls_peer_step(struct tls_peer *peer)
{
    tls_peer_take_in(peer);
    tls_peer_give_out(peer);
}

static inline void tls_peer_write(struct tls_peer *peer, const void *data, size_t len)
{
    assert_int_equal(SSL_write(peer->ssl, data, (int)len), len);
    ERR_clear_error();
}

#endif
