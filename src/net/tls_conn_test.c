#include "net/tls_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/link.h"
#include "net/tls_test_help.h"

enum { STEPS_MAX = 200000 };

static struct {
    struct identity authority, server, other, client, stranger;
    struct tls_context *context;
} made;

static int make_all(void **state)
{
    identity_make(&made.authority, "authority", NULL, NULL, 86400);
    identity_make(&made.stranger, "stranger", NULL, NULL, 86400);
    identity_make(&made.server, "server", &made.authority, "DNS:server.test", 86400);
    identity_make(&made.other, "other", &made.authority, "DNS:other.test,DNS:*.wild.test", 86400);
    identity_make(&made.client, "client", &made.authority, NULL, 86400);
    made.context = identity_context(&made.server);
    return 0;
}

static int remove_all(void **state)
{
    tls_context_unref(made.context);
    identity_fini(&made.authority);
    identity_fini(&made.stranger);
    identity_fini(&made.server);
    identity_fini(&made.other);
    identity_fini(&made.client);
    return 0;
}

/* A server's end and a client's. */
struct ends {
    struct tls_peer peer;
    struct tls_conn *conn;
    int fd;
};

static void ends_init(struct ends *ends, struct tls_context *context, int version)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    ends->fd = fds[0];
    tls_peer_init(&ends->peer, fds[1], version);
    assert_int_equal(tls_conn_create(&ends->conn, context, ends->fd), 0);
}

static void ends_fini(struct ends *ends)
{
    int fd = ends->peer.fd;
    tls_conn_destroy(ends->conn);
    tls_peer_fini(&ends->peer);
    close(ends->fd);
    if (fd >= 0) {
        close(fd);
    }
    assert_int_equal(mem_accounted(MEM_TLS), 0);
}

static int shake_hands(struct ends *ends)
{
    int err = -EAGAIN;
    for (int i = 0; i < STEPS_MAX && err == -EAGAIN; i++) {
        tls_peer_step(&ends->peer);
        err = tls_conn_handshake(ends->conn);
    }
    tls_peer_step(&ends->peer);
    return err;
}

static void open_ends(struct ends *ends, int version)
{
    ends_init(ends, made.context, version);
    assert_int_equal(shake_hands(ends), 0);
    assert_true(tls_conn_is_open(ends->conn));
    assert_false(ends->peer.failed);
}

static void assert_refused(struct ends *ends, const char *reason)
{
    assert_true(shake_hands(ends) < 0);
    assert_false(tls_conn_is_open(ends->conn));
    assert_string_equal(tls_conn_reason(ends->conn), reason);
    ends_fini(ends);
}

static ssize_t write_text(struct ends *ends, const char *text)
{
    struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    return tls_conn_write(ends->conn, &part, 1);
}

static void a_session_begins_with_a_whole_record(void **state)
{
    static const char *const cases[] = {"\x16\x03\x01\x00\x02xy", "\x16\x03\x01\xff\xffx", "G"};
    static const size_t lens[] = {7, 5, 1}; /* the bytes that are enough */
    uint8_t room[TLS_RECORD_BYTES];
    for (size_t i = 0; i < 3; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        assert_int_equal(tls_conn_may_begin(fds[0], room, sizeof(room)), -EAGAIN);
        for (size_t at = 0; at < lens[i]; at++) {
            assert_int_equal(send(fds[1], cases[i] + at, 1, 0), 1);
            int may = tls_conn_may_begin(fds[0], room, sizeof(room));
            assert_int_equal(may, at + 1 == lens[i] ? 1 : -EAGAIN);
        }
        assert_int_equal(recv(fds[0], room, sizeof(room), 0), lens[i]); /* all is still there */
        assert_int_equal(send(fds[1], "\x16", 1, 0), 1);
        close(fds[1]);
        assert_int_equal(tls_conn_may_begin(fds[0], room, sizeof(room)), ERR_CLOSED);
        assert_int_equal(recv(fds[0], room, sizeof(room), 0), 1);
        assert_int_equal(tls_conn_may_begin(fds[0], room, sizeof(room)), 0);
        close(fds[0]);
    }
}

static void bytes_go_both_ways_in_each_version(void **state)
{
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    char got[64];
    for (size_t i = 0; i < 2; i++) {
        struct ends ends;
        open_ends(&ends, versions[i]);
        assert_int_equal(SSL_version(ends.peer.ssl), versions[i]);
        assert_int_equal(tls_conn_read(ends.conn, got, sizeof(got)), -EAGAIN);
        tls_peer_write(&ends.peer, "hello", 5);
        tls_peer_step(&ends.peer);
        assert_int_equal(tls_conn_read(ends.conn, got, sizeof(got)), 5);
        assert_memory_equal(got, "hello", 5);
        assert_int_equal(write_text(&ends, "world"), 5);
        tls_peer_step(&ends.peer);
        assert_true(str_equal(buf_str(&ends.peer.got), STR("world")));
        ends_fini(&ends);
    }
}

static void it_may_arrive_in_slices_of_any_size(void **state)
{
    const size_t sizes[] = {1, 2, 3, 5, 7, 64, 100, 517};
    char got[64];
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ends ends;
        ends_init(&ends, made.context, i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
        ends.peer.slice = sizes[i];
        assert_int_equal(shake_hands(&ends), 0);
        tls_peer_write(&ends.peer, "hello", 5);
        ssize_t len = -EAGAIN;
        for (int step = 0; step < STEPS_MAX && len == -EAGAIN; step++) {
            tls_peer_step(&ends.peer);
            len = tls_conn_read(ends.conn, got, sizeof(got));
        }
        assert_int_equal(len, 5);
        ends_fini(&ends);
    }
}

/* With a level-triggered loop, what the library kept would never be seen. */
static void one_read_of_a_records_size_leaves_nothing_inside(void **state)
{
    static uint8_t data[3 * TLS_RECORD_BYTES];
    static uint8_t got[TLS_RECORD_BYTES];
    struct ends ends;
    open_ends(&ends, TLS1_3_VERSION);
    int large = 1 << 20;
    setsockopt(ends.peer.fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    tls_peer_write(&ends.peer, data, sizeof(data));
    size_t sum = 0;
    for (int i = 0; i < STEPS_MAX && sum < sizeof(data); i++) {
        int unread = 0;
        tls_peer_step(&ends.peer);
        ssize_t len = tls_conn_read(ends.conn, got, sizeof(got));
        sum += len > 0 ? (size_t)len : 0;
        assert_true(recv(ends.fd, &unread, 1, MSG_PEEK | MSG_DONTWAIT) == 1 ||
                    sum + ends.peer.pending.len >= sizeof(data));
    }
    assert_int_equal(sum, sizeof(data));
    ends_fini(&ends);
}

static void small_parts_leave_in_one_record(void **state)
{
    struct ends ends;
    struct iovec parts[] = {{"a", 1}, {"bc", 2}, {"", 0}, {"def", 3}};
    uint8_t wire[256];
    open_ends(&ends, TLS1_3_VERSION);
    assert_int_equal(tls_conn_write(ends.conn, parts, 4), 6);
    ssize_t len = recv(ends.peer.fd, wire, sizeof(wire), MSG_PEEK);
    assert_int_equal(len, 5 + (wire[3] << 8 | wire[4])); /* RFC 8446 5.1: one header, one length */
    tls_peer_step(&ends.peer);
    assert_true(str_equal(buf_str(&ends.peer.got), STR("abcdef")));
    ends_fini(&ends);
}

/* What is encrypted can't be taken back: the same bytes come again, whatever is behind them. */
static void a_full_socket_holds_what_must_come_again(void **state)
{
    static uint8_t data[TLS_RECORD_BYTES + 100];
    struct ends ends;
    size_t sent = 0;
    memset(data, 'x', sizeof(data));
    open_ends(&ends, TLS1_3_VERSION);
    struct iovec parts[] = {{data, 10}, {data, sizeof(data)}};
    ssize_t len;
    while ((len = tls_conn_write(ends.conn, parts, 2)) > 0) {
        assert_int_equal(len, TLS_RECORD_BYTES);
        sent += (size_t)len;
    }
    assert_int_equal(len, -EAGAIN);
    assert_true(tls_conn_wants_write(ends.conn));
    assert_int_equal(tls_conn_held(ends.conn), TLS_RECORD_BYTES);
    for (int i = 0; i < STEPS_MAX && ends.peer.got.len < sent + TLS_RECORD_BYTES; i++) {
        tls_peer_step(&ends.peer);
        if (tls_conn_held(ends.conn)) {
            len = tls_conn_write(ends.conn, parts, 2);
        }
    }
    assert_int_equal(len, TLS_RECORD_BYTES);
    assert_int_equal(ends.peer.got.len, sent + TLS_RECORD_BYTES);
    ends_fini(&ends);
}

static void the_good_bye_is_said_once_and_heard(void **state)
{
    struct ends ends;
    char got[8];
    open_ends(&ends, TLS1_3_VERSION);
    tls_conn_end_output(ends.conn);
    tls_peer_step(&ends.peer);
    assert_true(ends.peer.is_ended);
    assert_int_equal(SSL_shutdown(ends.peer.ssl) >= 0, 1);
    tls_peer_give_out(&ends.peer);
    assert_int_equal(tls_conn_read(ends.conn, got, sizeof(got)), 0);
    ends_fini(&ends);
}

static void an_end_without_good_bye_is_an_end(void **state)
{
    struct ends ends;
    char got[8];
    open_ends(&ends, TLS1_2_VERSION);
    shutdown(ends.peer.fd, SHUT_WR);
    assert_int_equal(tls_conn_read(ends.conn, got, sizeof(got)), 0);
    ends_fini(&ends);
}

static void old_versions_and_weak_suites_are_refused(void **state)
{
    struct ends ends;
    ends_init(&ends, made.context, TLS1_1_VERSION);
    assert_refused(&ends, "tls_version");
    ends_init(&ends, made.context, TLS1_2_VERSION);
    assert_int_equal(SSL_set_cipher_list(ends.peer.ssl, "ECDHE-ECDSA-AES256-SHA"), 1);
    assert_refused(&ends, "tls_cipher");
}

static void what_is_no_tls_is_refused(void **state)
{
    struct ends ends;
    ends_init(&ends, made.context, 0);
    assert_int_equal(send(ends.peer.fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    assert_int_equal(tls_conn_handshake(ends.conn), ERR_PROTOCOL);
    assert_string_equal(tls_conn_reason(ends.conn), "tls_required");
    ends_fini(&ends);
    ends_init(&ends, made.context, 0);
    assert_int_equal(send(ends.peer.fd, "SSH-2.0-OpenSSH_9.2\r\n", 21, 0), 21);
    assert_int_equal(tls_conn_handshake(ends.conn), ERR_PROTOCOL);
    assert_string_equal(tls_conn_reason(ends.conn), "tls_protocol");
    ends_fini(&ends);
}

static void an_end_in_the_handshake_is_told(void **state)
{
    struct ends ends;
    ends_init(&ends, made.context, 0);
    ends.peer.slice = 20;
    tls_peer_step(&ends.peer);
    assert_int_equal(tls_conn_handshake(ends.conn), -EAGAIN);
    close(ends.peer.fd);
    ends.peer.fd = -1;
    assert_true(tls_conn_handshake(ends.conn) < 0);
    assert_string_equal(tls_conn_reason(ends.conn), "tls_closed");
    ends_fini(&ends);
}

static const char *common_name(const struct ends *ends, char out[64])
{
    X509 *cert = SSL_get1_peer_certificate(ends->peer.ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, out, 64);
    X509_free(cert);
    return out;
}

static void the_name_chooses_the_certificate(void **state)
{
    static const char *const cases[][2] = {
        {NULL, "server"},        {"server.test", "server"}, {"other.test", "other"},
        {"OTHER.test", "other"}, {"a.wild.test", "other"},  {"a.b.wild.test", "server"},
        {"wild.test", "server"}, {"nobody.test", "server"},
    };
    struct tls_certificate certificates[] = {identity_certificate(&made.server),
                                             identity_certificate(&made.other)};
    struct tls_context_options options = {.certificates = certificates, .count = 2};
    struct tls_context *context;
    const char *problem;
    assert_int_equal(tls_context_create(&context, &options, &problem), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ends ends;
        char name[64];
        ends_init(&ends, context, 0);
        if (cases[i][0]) {
            SSL_set_tlsext_host_name(ends.peer.ssl, cases[i][0]);
        }
        assert_int_equal(shake_hands(&ends), 0);
        assert_string_equal(common_name(&ends, name), cases[i][1]);
        ends_fini(&ends);
    }
    tls_context_unref(context);
}

static struct tls_context *context_for_clients(void)
{
    struct tls_certificate certificate = identity_certificate(&made.server);
    struct tls_context_options options = {
        .certificates = &certificate, .count = 1, .client_ca = str_of(made.authority.cert_pem)};
    struct tls_context *context;
    const char *problem;
    assert_int_equal(tls_context_create(&context, &options, &problem), 0);
    return context;
}

static void show(struct ends *ends, const struct identity *identity)
{
    SSL_use_certificate(ends->peer.ssl, identity->cert);
    SSL_use_PrivateKey(ends->peer.ssl, identity->key);
}

static void clients_show_their_certificate_where_one_is_asked_for(void **state)
{
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct tls_context *context = context_for_clients();
    for (size_t i = 0; i < 2; i++) {
        struct ends ends;
        ends_init(&ends, context, versions[i]);
        show(&ends, &made.client);
        assert_int_equal(shake_hands(&ends), 0);
        ends_fini(&ends);
        ends_init(&ends, context, versions[i]);
        assert_refused(&ends, "tls_client_certificate");
        ends_init(&ends, context, versions[i]);
        show(&ends, &made.stranger);
        assert_refused(&ends, "tls_client_certificate");
    }
    tls_context_unref(context);
}

static int resumes(struct tls_context *context, int version)
{
    struct ends ends;
    ends_init(&ends, context, version);
    show(&ends, &made.client);
    assert_int_equal(shake_hands(&ends), 0);
    SSL_SESSION *session = SSL_get1_session(ends.peer.ssl);
    SSL_set_shutdown(ends.peer.ssl, SSL_SENT_SHUTDOWN); /* else the library forgets it */
    ends_fini(&ends);
    ends_init(&ends, context, version);
    show(&ends, &made.client);
    SSL_set_session(ends.peer.ssl, session);
    assert_int_equal(shake_hands(&ends), 0);
    int resumed = tls_conn_is_resumed(ends.conn);
    SSL_SESSION_free(session);
    ends_fini(&ends);
    return resumed;
}

static void a_ticket_resumes_unless_clients_show_certificates(void **state)
{
    struct tls_context *context = context_for_clients();
    assert_true(resumes(made.context, TLS1_3_VERSION));
    assert_true(resumes(made.context, TLS1_2_VERSION));
    assert_false(resumes(context, TLS1_3_VERSION));
    assert_false(resumes(context, TLS1_2_VERSION));
    tls_context_unref(context);
}

static void http_1_1_is_the_one_protocol(void **state)
{
    struct ends ends;
    const unsigned char *chosen;
    unsigned len;
    ends_init(&ends, made.context, 0);
    SSL_set_alpn_protos(ends.peer.ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    assert_int_equal(shake_hands(&ends), 0);
    SSL_get0_alpn_selected(ends.peer.ssl, &chosen, &len);
    assert_true(str_equal(str_make(chosen, len), STR("http/1.1")));
    ends_fini(&ends);
    ends_init(&ends, made.context, 0);
    SSL_set_alpn_protos(ends.peer.ssl, (const unsigned char *)"\x02h2", 3);
    assert_refused(&ends, "tls_protocol");
}

static ssize_t read_until_error(struct ends *ends)
{
    char got[64];
    for (int i = 0; i < STEPS_MAX; i++) {
        tls_peer_step(&ends->peer);
        ssize_t len = tls_conn_read(ends->conn, got, sizeof(got));
        if (len != -EAGAIN) {
            return len;
        }
        if (ends->peer.pending.len == 0) {
            return 0;
        }
    }
    return 1;
}

static void update_keys(struct ends *ends, int times)
{
    for (int i = 0; i < times; i++) {
        SSL_key_update(ends->peer.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        SSL_do_handshake(ends->peer.ssl);
    }
}

static void updates_of_keys_are_taken_but_not_without_end(void **state)
{
    struct ends ends;
    open_ends(&ends, TLS1_3_VERSION);
    update_keys(&ends, 200);
    assert_int_equal(read_until_error(&ends), 0);
    update_keys(&ends, 200);
    assert_int_equal(read_until_error(&ends), ERR_PROTOCOL);
    assert_string_equal(tls_conn_reason(ends.conn), "tls_renegotiation");
    ends_fini(&ends);
}

static void renegotiation_is_refused(void **state)
{
    struct ends ends;
    open_ends(&ends, TLS1_2_VERSION);
    SSL_renegotiate(ends.peer.ssl);
    SSL_do_handshake(ends.peer.ssl); /* its hello is on its way */
    assert_int_equal(read_until_error(&ends), 0);
    tls_peer_step(&ends.peer);
    assert_true(ends.peer.failed); /* no_renegotiation */
    ends_fini(&ends);
}

static int trims;

/* Instead of libc's. */
int malloc_trim(size_t pad)
{
    trims++;
    return 1;
}

/* As after a storm of handshakes that is over. */
static void storm(void)
{
    struct ends ends;
    enum { STORM_BYTES = 32 * 1024 * 1024 };
    mem_account(MEM_TLS, STORM_BYTES);
    ends_init(&ends, made.context, 0);
    mem_account(MEM_TLS, -STORM_BYTES);
    ends_fini(&ends);
}

static void memory_goes_back_to_the_system_not_each_time(void **state)
{
    trims = 0;
    storm();
    assert_int_equal(trims, 1);
    storm();
    storm();
    assert_int_equal(trims, 1);
}

static void memory_that_fails_is_told(void **state)
{
    struct tls_conn *conn;
    mem_fail_nth(1);
    assert_int_equal(tls_conn_create(&conn, made.context, 0), ERR_NO_MEMORY);
    mem_fail_nth(0);
    assert_int_equal(mem_accounted(MEM_TLS), 0);
}

/* mallinfo2 doesn't see what a sanitizer's allocator gives. */
static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void an_idle_session_costs_what_the_accounts_say(void **state)
{
    enum { SESSIONS = 50 };
    static struct ends ends[SESSIONS];
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        size_t before = 0;
        for (int i = 0; i < SESSIONS; i++) {
            before = i == 10 ? allocated() : before; /* the first ones fill the library's caches */
            open_ends(&ends[i], version);
            assert_int_equal(write_text(&ends[i], "hello"), 5);
            tls_peer_fini(&ends[i].peer);
        }
        size_t each = (allocated() - before) / (SESSIONS - 10);
        if (before) {
            assert_in_range(each, TLS_CONN_BYTES * 3 / 4, TLS_CONN_BYTES + 512);
        }
        for (int i = 0; i < SESSIONS; i++) {
            tls_conn_destroy(ends[i].conn);
            close(ends[i].fd);
            close(ends[i].peer.fd);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_begins_with_a_whole_record),
        cmocka_unit_test(bytes_go_both_ways_in_each_version),
        cmocka_unit_test(it_may_arrive_in_slices_of_any_size),
        cmocka_unit_test(one_read_of_a_records_size_leaves_nothing_inside),
        cmocka_unit_test(small_parts_leave_in_one_record),
        cmocka_unit_test(a_full_socket_holds_what_must_come_again),
        cmocka_unit_test(the_good_bye_is_said_once_and_heard),
        cmocka_unit_test(an_end_without_good_bye_is_an_end),
        cmocka_unit_test(old_versions_and_weak_suites_are_refused),
        cmocka_unit_test(what_is_no_tls_is_refused),
        cmocka_unit_test(an_end_in_the_handshake_is_told),
        cmocka_unit_test(the_name_chooses_the_certificate),
        cmocka_unit_test(clients_show_their_certificate_where_one_is_asked_for),
        cmocka_unit_test(a_ticket_resumes_unless_clients_show_certificates),
        cmocka_unit_test(http_1_1_is_the_one_protocol),
        cmocka_unit_test(updates_of_keys_are_taken_but_not_without_end),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(memory_goes_back_to_the_system_not_each_time),
        cmocka_unit_test(memory_that_fails_is_told),
        cmocka_unit_test(an_idle_session_costs_what_the_accounts_say),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
