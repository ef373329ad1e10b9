#include "cli/conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

static uint64_t soon(void)
{
    return clock_monotonic_ms() + 30000;
}

static struct conn *make_pair(int *out_peer)
{
    int ends[2];
    struct conn *conn = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(conn_adopt(&conn, ends[0]), 0);
    *out_peer = ends[1];
    return conn;
}

/* Bound to a free port of 127.0.0.1; not listening yet. */
static int bind_free_port(uint16_t *out_port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *out_port = ntohs(address.sin_port);
    return fd;
}

static struct url make_url(const char *scheme, uint16_t port)
{
    char text[64];
    struct url url;
    const char *reason;
    snprintf(text, sizeof(text), "%s://127.0.0.1:%u", scheme, port);
    assert_int_equal(url_parse(&url, text, &reason), 0);
    url.target = (struct str){NULL, 0};
    return url;
}

static void bytes_go_both_ways_until_the_peer_ends(void **state)
{
    int peer;
    char data[8];
    struct conn *conn = make_pair(&peer);
    assert_int_equal(write(peer, "hello", 5), 5);
    assert_int_equal(conn_read(conn, data, sizeof(data), soon()), 5);
    assert_int_equal(conn_write(conn, "abc", 3, soon()), 0);
    assert_int_equal(read(peer, data, sizeof(data)), 3);
    close(peer);
    assert_int_equal(conn_read(conn, data, sizeof(data), soon()), 0);
    assert_int_equal(conn_write(conn, "abc", 3, soon()), -EPIPE);
    conn_close(conn);
}

static void a_silent_or_stuck_peer_ends_in_a_time_out(void **state)
{
    int peer;
    char data[8];
    static char much[4 << 20];
    struct conn *conn = make_pair(&peer);
    assert_int_equal(conn_read(conn, data, sizeof(data), 0), ERR_TIMEOUT);
    assert_int_equal(conn_write(conn, much, sizeof(much), 0), ERR_TIMEOUT);
    close(peer);
    conn_close(conn);
    conn_close(NULL);
}

static void a_connection_is_opened_or_refused(void **state)
{
    uint16_t port;
    int listener = bind_free_port(&port);
    struct url url = make_url("http", port);
    struct conn *conn = NULL;
    assert_int_equal(conn_open(&conn, &url, NULL, soon()), -ECONNREFUSED);
    assert_null(conn);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(conn_open(&conn, &url, NULL, soon()), 0);
    conn_close(conn);
    close(listener);
}

static void a_failed_allocation_is_reported(void **state)
{
    uint16_t port;
    int listener = bind_free_port(&port);
    assert_int_equal(listen(listener, 1), 0);
    struct url url = make_url("http", port);
    struct conn *conn = NULL;
    mem_fail_nth(1);
    assert_int_equal(conn_open(&conn, &url, NULL, soon()), ERR_NO_MEMORY);
    mem_fail_nth(0);
    close(listener);
}

static void each_failure_has_its_own_advice(void **state)
{
    assert_non_null(strstr(conn_advice(-ECONNREFUSED), "is the gateway running"));
    assert_non_null(strstr(conn_advice(ERR_NOT_FOUND), "no such host"));
    assert_non_null(strstr(conn_advice(ERR_TIMEOUT), "does not answer"));
    assert_non_null(strstr(conn_advice(ERR_DENIED), "--ca"));
    assert_non_null(strstr(conn_advice(ERR_PROTOCOL), "does not speak TLS"));
    assert_non_null(strstr(conn_advice(-EHOSTUNREACH), "network"));
}

/* --- A TLS server on a thread: accepts once, and echoes one read. --- */

static EVP_PKEY *key;
static X509 *certificate;
static char certificate_path[] = "/tmp/tidegate-cert-XXXXXX";

static void make_certificate(void)
{
    key = EVP_EC_gen("P-256");
    certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    X509_EXTENSION *alt = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(certificate, alt, -1);
    X509_EXTENSION_free(alt);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);

    int fd = mkstemp(certificate_path);
    FILE *file = fdopen(fd, "w");
    PEM_write_X509(file, certificate);
    fclose(file);
}

static int prepare_tls(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    make_certificate();
    return 0;
}

static int forget_tls(void **state)
{
    unlink(certificate_path);
    unsetenv("SSL_CERT_FILE");
    EVP_PKEY_free(key);
    X509_free(certificate);
    return 0;
}

static void *serve_tls(void *arg)
{
    int fd = accept(*(int *)arg, NULL, NULL);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(context, certificate);
    SSL_CTX_use_PrivateKey(context, key);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    char data[16];
    int got = SSL_accept(ssl) == 1 ? SSL_read(ssl, data, sizeof(data)) : 0;
    if (got > 0) {
        SSL_write(ssl, data, got);
        SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    return NULL;
}

static int open_tls(struct conn **out_conn, pthread_t *out_thread, const char *ca_file)
{
    static int listener;
    uint16_t port;
    listener = bind_free_port(&port);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(pthread_create(out_thread, NULL, serve_tls, &listener), 0);
    struct url url = make_url("https", port);
    return conn_open(out_conn, &url, ca_file, soon());
}

static void a_certificate_that_nobody_vouches_for_is_denied(void **state)
{
    struct conn *conn = NULL;
    pthread_t thread;
    unsetenv("SSL_CERT_FILE");
    assert_int_equal(open_tls(&conn, &thread, NULL), ERR_DENIED);
    pthread_join(thread, NULL);
}

static void bytes_go_over_tls_to_a_server_with_a_good_certificate(void **state)
{
    struct conn *conn = NULL;
    pthread_t thread;
    char data[16];
    setenv("SSL_CERT_FILE", certificate_path, 1);
    assert_int_equal(open_tls(&conn, &thread, NULL), 0);
    assert_int_equal(conn_write(conn, "hello", 5, soon()), 0);
    assert_int_equal(conn_read(conn, data, sizeof(data), soon()), 5);
    assert_memory_equal(data, "hello", 5);
    assert_int_equal(conn_read(conn, data, sizeof(data), soon()), 0);
    pthread_join(thread, NULL);
    conn_close(conn);
}

static void authorities_of_a_file_are_trusted_in_place_of_the_systems(void **state)
{
    struct conn *conn = NULL;
    pthread_t thread;
    unsetenv("SSL_CERT_FILE");
    assert_int_equal(open_tls(&conn, &thread, certificate_path), 0);
    assert_int_equal(conn_write(conn, "x", 1, soon()), 0);
    pthread_join(thread, NULL);
    conn_close(conn);
    assert_int_equal(open_tls(&conn, &thread, "/dev/null"), ERR_SYNTAX);
    pthread_join(thread, NULL);
    assert_non_null(strstr(conn_advice(ERR_SYNTAX), "--ca"));
}

static void a_server_that_stays_silent_on_tls_is_a_time_out(void **state)
{
    uint16_t port;
    int listener = bind_free_port(&port);
    assert_int_equal(listen(listener, 1), 0);
    struct url url = make_url("https", port);
    struct conn *conn = NULL;
    /* Silent: the backlog accepts, nobody answers. */
    assert_int_equal(conn_open(&conn, &url, NULL, clock_monotonic_ms() + 20), ERR_TIMEOUT);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_until_the_peer_ends),
        cmocka_unit_test(a_silent_or_stuck_peer_ends_in_a_time_out),
        cmocka_unit_test(a_connection_is_opened_or_refused),
        cmocka_unit_test(a_failed_allocation_is_reported),
        cmocka_unit_test(each_failure_has_its_own_advice),
        cmocka_unit_test(a_certificate_that_nobody_vouches_for_is_denied),
        cmocka_unit_test(bytes_go_over_tls_to_a_server_with_a_good_certificate),
        cmocka_unit_test(authorities_of_a_file_are_trusted_in_place_of_the_systems),
        cmocka_unit_test(a_server_that_stays_silent_on_tls_is_a_time_out),
    };
    return cmocka_run_group_tests(tests, prepare_tls, forget_tls);
}
