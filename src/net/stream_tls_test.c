#include <limits.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/stream_test_help.h"
#include "net/tls_test_help.h"

/* ---- certificates, made once, in a directory that goes when the tests end ---- */

static struct {
    char dir[64];
    struct identity authority;
    struct identity stranger; /* an authority that nobody trusts */
    struct identity server;   /* server.test and 127.0.0.1 */
    struct identity expired;
    struct identity client;
} made;

static void make_filed(struct identity *identity, const char *name, struct identity *issuer,
                       const char *alt_names, long valid_s)
{
    identity_make(identity, name, issuer, alt_names, valid_s);
    identity_write(identity, made.dir, name);
}

static int make_all(void **state)
{
    const char *alt_names = "DNS:server.test,IP:127.0.0.1";
    snprintf(made.dir, sizeof(made.dir), "/tmp/tidegate-tls-XXXXXX");
    assert_non_null(mkdtemp(made.dir));
    make_filed(&made.authority, "authority", NULL, NULL, 86400);
    make_filed(&made.stranger, "stranger", NULL, NULL, 86400);
    make_filed(&made.server, "server", &made.authority, alt_names, 86400);
    make_filed(&made.expired, "expired", &made.authority, alt_names, -3600);
    make_filed(&made.client, "client", &made.authority, NULL, 86400);
    return 0;
}

static int remove_all(void **state)
{
    identity_fini(&made.authority);
    identity_fini(&made.stranger);
    identity_fini(&made.server);
    identity_fini(&made.expired);
    identity_fini(&made.client);
    rmdir(made.dir);
    return 0;
}

/* ---- a TLS server that the test turns; its bytes go through memory, so that it can slice them
 * ---- */

struct server {
    struct pair pair;
    SSL_CTX *context;
    SSL *ssl;
    struct buf pending; /* ciphertext on its way to the client */
    size_t slice;       /* bytes a step; 0: all */
    struct buf got;
    bool failed;
    bool is_deaf; /* does not read */
};

static void server_init(struct server *server, const struct identity *identity)
{
    *server = (struct server){.context = SSL_CTX_new(TLS_server_method())};
    pair_listen(&server->pair);
    fcntl(server->pair.listening, F_SETFL, O_NONBLOCK);
    SSL_CTX_use_certificate(server->context, identity->cert);
    SSL_CTX_use_PrivateKey(server->context, identity->key);
}

static void server_start(struct server *server)
{
    server->ssl = SSL_new(server->context);
    SSL_set_bio(server->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(server->ssl);
}

static void server_fini(struct server *server)
{
    stream_tls_unref(server->pair.options.tls);
    pair_fini(&server->pair);
    SSL_free(server->ssl);
    SSL_CTX_free(server->context);
    buf_fini(&server->pending);
    buf_fini(&server->got);
    ERR_clear_error();
}

static void trust(struct server *server, const struct identity *authority, bool verify,
                  const struct identity *own)
{
    const char *problem = "";
    int err = stream_tls_create(&server->pair.options.tls, str_of(authority->cert_file), verify,
                                own ? str_of(own->cert_file) : STR(""),
                                own ? str_of(own->key_file) : STR(""), &problem);
    assert_string_equal(problem, "");
    assert_int_equal(err, 0);
}

static void server_take_in(struct server *server)
{
    uint8_t chunk[16384];
    ssize_t got = server->is_deaf ? -1 : recv(server->pair.fd, chunk, sizeof(chunk), 0);
    if (got > 0) {
        BIO_write(SSL_get_rbio(server->ssl), chunk, (int)got);
    }
    int result = SSL_read(server->ssl, chunk, sizeof(chunk)); /* and the handshake */
    while (result > 0) {
        buf_append(&server->got, chunk, (size_t)result);
        result = SSL_read(server->ssl, chunk, sizeof(chunk));
    }
    server->failed |= SSL_get_error(server->ssl, result) == SSL_ERROR_SSL;
    ERR_clear_error(); /* the client is on this thread too */
}

static void server_give_out(struct server *server)
{
    uint8_t chunk[16384];
    int len;
    while ((len = BIO_read(SSL_get_wbio(server->ssl), chunk, sizeof(chunk))) > 0) {
        buf_append(&server->pending, chunk, (size_t)len);
    }
    size_t now = server->pending.len;
    if (server->slice && now > server->slice) {
        now = server->slice;
    }
    ssize_t sent = now ? send(server->pair.fd, server->pending.data, now, MSG_NOSIGNAL) : 0;
    if (sent > 0) {
        buf_consume(&server->pending, (size_t)sent);
    }
}

static void server_step(struct server *server)
{
    if (server->pair.fd < 0) {
        server->pair.fd = accept4(server->pair.listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    if (server->pair.fd >= 0) {
        server_take_in(server);
        server_give_out(server);
    }
    assert_int_equal(loop_turn(server->pair.client.loop, 0), 0);
}

#define step_until(server, condition)                            \
    do {                                                         \
        uint64_t end_ms_ = clock_monotonic_ms() + PATIENCE_MS;   \
        while (!(condition) && clock_monotonic_ms() < end_ms_) { \
            server_step(server);                                 \
        }                                                        \
        assert_true(condition);                                  \
    } while (0)

static void start_client(struct server *server)
{
    server_start(server);
    assert_int_equal(client_open(&server->pair.client, &server->pair.options), 0);
}

static void assert_refused(struct server *server, int err, const char *part)
{
    struct client *client = &server->pair.client;
    start_client(server);
    step_until(server, client->closes == 1);
    assert_int_equal(client->opens, 0);
    if (client->err != err || !strstr(client->detail, part)) {
        fail_msg("%d, %s", client->err, client->detail);
    }
    server_fini(server);
}

/* ---- the tests ---- */

static void talk(struct server *server, size_t big)
{
    struct client *client = &server->pair.client;
    uint8_t *data = mem_zalloc(big);
    memset(data, 'x', big);
    client->greeting = "world";
    start_client(server);
    assert_int_equal(stream_write(client->stream, "hello ", 6), 0);
    step_until(server, server->got.len == 11);
    assert_true(str_equal(buf_str(&server->got), STR("hello world")));
    buf_clear(&server->got);
    struct str pieces[] = {str_make(data, big / 2), STR(""), str_make(data, big - big / 2)};
    assert_int_equal(stream_writev(client->stream, pieces, 3), 0);
    assert_int_equal(SSL_write(server->ssl, data, (int)big), big);
    step_until(server, server->got.len == big && client->got.len == big);
    assert_memory_equal(server->got.data, data, big);
    assert_memory_equal(client->got.data, data, big);
    assert_int_equal(stream_queued(client->stream), 0);
    mem_free(data);
}

static void bytes_go_both_ways_in_each_version(void **state)
{
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        struct server server;
        server_init(&server, &made.server);
        SSL_CTX_set_min_proto_version(server.context, versions[i]);
        SSL_CTX_set_max_proto_version(server.context, versions[i]);
        trust(&server, &made.authority, true, NULL);
        talk(&server, 3000000);
        assert_string_equal(SSL_get_servername(server.ssl, TLSEXT_NAMETYPE_host_name) ?: "none",
                            "none"); /* an address is no name to send */
        server_fini(&server);
    }
}

static void it_may_arrive_byte_by_byte(void **state)
{
    struct server server;
    server_init(&server, &made.server);
    server.slice = 1;
    server.pair.options.host = STR("server.test");
    trust(&server, &made.authority, true, NULL);
    talk(&server, 1000);
    assert_string_equal(SSL_get_servername(server.ssl, TLSEXT_NAMETYPE_host_name), "server.test");
    server_fini(&server);
}

static void a_certificate_is_refused_for_each_reason(void **state)
{
    struct server server;
    server_init(&server, &made.server);
    trust(&server, &made.stranger, true, NULL);
    assert_refused(&server, ERR_DENIED, "local issuer");

    server_init(&server, &made.expired);
    trust(&server, &made.authority, true, NULL);
    assert_refused(&server, ERR_DENIED, "expired");

    server_init(&server, &made.server);
    trust(&server, &made.authority, true, NULL);
    server.pair.options.host = STR("second.test");
    assert_refused(&server, ERR_DENIED, "ostname mismatch");

    server_init(&server, &made.client);
    trust(&server, &made.authority, true, NULL);
    assert_refused(&server, ERR_DENIED, "IP address mismatch");

    server_init(&server, &made.stranger);
    trust(&server, &made.authority, true, NULL);
    assert_refused(&server, ERR_DENIED, "self-signed");
}

static void any_certificate_is_taken_when_told_so(void **state)
{
    struct server server;
    server_init(&server, &made.stranger);
    trust(&server, &made.authority, false, NULL);
    server.pair.options.host = STR("second.test");
    talk(&server, 1000);
    server_fini(&server);
}

static void ask_for_certificate(struct server *server, int version)
{
    SSL_CTX_set_max_proto_version(server->context, version);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(server->context), made.authority.cert);
    SSL_CTX_set_verify(server->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static void the_client_shows_its_certificate(void **state)
{
    struct server server;
    server_init(&server, &made.server);
    ask_for_certificate(&server, TLS1_3_VERSION);
    trust(&server, &made.authority, true, &made.client);
    talk(&server, 1000);
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(server.ssl), made.client.cert), 0);
    server_fini(&server);
}

/* In TLS 1.3 the client hears of it when it is open already. */
static void a_client_without_its_certificate_learns_why(void **state)
{
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        struct server server;
        server_init(&server, &made.server);
        ask_for_certificate(&server, versions[i]);
        trust(&server, &made.authority, true, i ? NULL : &made.stranger);
        server.pair.client.greeting = "hello";
        start_client(&server);
        step_until(&server, server.pair.client.closes == 1);
        assert_int_equal(server.pair.client.err, ERR_DENIED);
        server_fini(&server);
    }
}

static void old_versions_are_refused(void **state)
{
    struct server server;
    server_init(&server, &made.server);
    SSL_CTX_set_security_level(server.context, 0);
    SSL_CTX_set_min_proto_version(server.context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(server.context, TLS1_1_VERSION);
    trust(&server, &made.authority, true, NULL);
    assert_refused(&server, ERR_PROTOCOL, "version");
}

static void a_renegotiation_is_refused(void **state)
{
    struct server server;
    server_init(&server, &made.server);
    SSL_CTX_set_max_proto_version(server.context, TLS1_2_VERSION);
    trust(&server, &made.authority, true, NULL);
    talk(&server, 1000);
    SSL_renegotiate(server.ssl);
    SSL_do_handshake(server.ssl);
    step_until(&server, server.failed); /* no_renegotiation is the client's answer */
    server_fini(&server);
}

static void the_servers_good_bye_is_the_end(void **state)
{
    struct server server;
    server_init(&server, &made.server);
    trust(&server, &made.authority, true, NULL);
    talk(&server, 1000);
    SSL_shutdown(server.ssl);
    step_until(&server, server.pair.client.closes == 1);
    assert_int_equal(server.pair.client.err, 0);
    server_fini(&server);
}

static void the_client_says_good_bye(void **state)
{
    struct server server;
    server_init(&server, &made.server);
    trust(&server, &made.authority, true, NULL);
    talk(&server, 1000);
    stream_close(server.pair.client.stream);
    server.pair.client.stream = NULL;
    step_until(&server, SSL_get_shutdown(server.ssl) & SSL_RECEIVED_SHUTDOWN);
    server_fini(&server);
}

static void an_end_without_a_good_bye_is_an_end_too(void **state)
{
    struct server server;
    server_init(&server, &made.server);
    trust(&server, &made.authority, true, NULL);
    talk(&server, 1000);
    shutdown(server.pair.fd, SHUT_WR);
    step_until(&server, server.pair.client.closes == 1);
    assert_int_equal(server.pair.client.err, 0);
    server_fini(&server);
}

/* ---- servers that are none ---- */

static void open_to_bare_server(struct server *server)
{
    server_init(server, &made.server);
    trust(server, &made.authority, true, NULL);
    assert_int_equal(client_open(&server->pair.client, &server->pair.options), 0);
    turn_until(&server->pair.client, pair_has_caller(&server->pair));
    pair_accept(&server->pair);
}

static void assert_closed(struct server *server, int err)
{
    turn_until(&server->pair.client, server->pair.client.closes == 1);
    if (server->pair.client.err != err) {
        fail_msg("%d, %s", server->pair.client.err, server->pair.client.detail);
    }
    assert_int_equal(server->pair.client.opens, 0);
    server_fini(server);
}

static void a_server_without_tls_is_told_so(void **state)
{
    struct server server;
    open_to_bare_server(&server);
    server_send(&server.pair, "-ERR unknown command\r\n", 22);
    assert_closed(&server, ERR_PROTOCOL);
}

static void a_silent_server_costs_no_more_than_the_timeout(void **state)
{
    struct server server;
    server_init(&server, &made.server);
    trust(&server, &made.authority, true, NULL);
    server.pair.options.connect_timeout_ms = 50;
    assert_int_equal(client_open(&server.pair.client, &server.pair.options), 0);
    turn_until(&server.pair.client, server.pair.client.closes == 1);
    assert_non_null(strstr(server.pair.client.detail, "TLS"));
    assert_closed(&server, ERR_TIMEOUT);
}

static void an_end_in_the_handshake_is_a_failure(void **state)
{
    struct server server;
    open_to_bare_server(&server);
    shutdown(server.pair.fd, SHUT_WR);
    assert_closed(&server, ERR_CLOSED);
}

static void a_reset_in_the_handshake_is_a_failure(void **state)
{
    struct server server;
    open_to_bare_server(&server);
    reset(server.pair.fd);
    server.pair.fd = -1;
    assert_closed(&server, -ECONNRESET);
}

/* ---- files ---- */

static const char *problem_of(const char *ca_file, const char *cert_file, const char *key_file)
{
    struct stream_tls *tls;
    const char *problem = NULL;
    int err = stream_tls_create(&tls, str_of(ca_file), true, str_of(cert_file), str_of(key_file),
                                &problem);
    assert_int_equal(err, ERR_SYNTAX);
    assert_int_equal(ERR_peek_error(), 0);
    return problem;
}

static void bad_files_are_told_apart(void **state)
{
    char encrypted[PATH_MAX];
    snprintf(encrypted, sizeof(encrypted), "%s/encrypted.key", made.dir);
    FILE *file = fopen(encrypted, "w");
    PEM_write_PrivateKey(file, made.client.key, EVP_aes_128_cbc(), NULL, 0, NULL, "secret");
    fclose(file);
    const char *cert = made.client.cert_file;
    assert_non_null(strstr(problem_of("/nonexistent", "", ""), "authorities"));
    assert_non_null(strstr(problem_of(made.client.key_file, "", ""), "authorities"));
    assert_non_null(strstr(problem_of("", cert, ""), "together"));
    assert_non_null(strstr(problem_of("", "", made.client.key_file), "together"));
    assert_non_null(strstr(problem_of("", "/nonexistent", made.client.key_file), "certificate's"));
    assert_non_null(strstr(problem_of("", cert, "/nonexistent"), "key's file"));
    assert_non_null(strstr(problem_of("", cert, made.server.key_file), "not the certificate's"));
    assert_non_null(strstr(problem_of("", cert, encrypted), "password"));
    unlink(encrypted);
}

/* Whatever allocation of ours fails: stream_open says so, or on_close does, once, or nothing needed
 * it. */
static void without_memory_it_closes_once(void **state)
{
    for (unsigned long n = 1;; n++) {
        struct server server;
        server_init(&server, &made.server);
        trust(&server, &made.authority, true, NULL);
        server_start(&server);
        struct client *client = &server.pair.client;
        client->take_whole = 100;
        client->greeting = NULL;
        mem_fail_nth(n);
        int err = client_open(client, &server.pair.options);
        for (int i = 0; !err && client->closes + client->opens == 0 && i < 100000; i++) {
            server_step(&server);
        }
        bool was_pending = mem_fail_pending();
        mem_fail_nth(0);
        if (err) {
            assert_int_equal(err, ERR_NO_MEMORY);
            assert_int_equal(client->closes + client->opens, 0);
        }
        server_fini(&server);
        if (was_pending) {
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_in_each_version),
        cmocka_unit_test(it_may_arrive_byte_by_byte),
        cmocka_unit_test(a_certificate_is_refused_for_each_reason),
        cmocka_unit_test(any_certificate_is_taken_when_told_so),
        cmocka_unit_test(the_client_shows_its_certificate),
        cmocka_unit_test(a_client_without_its_certificate_learns_why),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(a_renegotiation_is_refused),
        cmocka_unit_test(the_servers_good_bye_is_the_end),
        cmocka_unit_test(the_client_says_good_bye),
        cmocka_unit_test(an_end_without_a_good_bye_is_an_end_too),
        cmocka_unit_test(a_server_without_tls_is_told_so),
        cmocka_unit_test(a_silent_server_costs_no_more_than_the_timeout),
        cmocka_unit_test(an_end_in_the_handshake_is_a_failure),
        cmocka_unit_test(a_reset_in_the_handshake_is_a_failure),
        cmocka_unit_test(bad_files_are_told_apart),
        cmocka_unit_test(without_memory_it_closes_once),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
