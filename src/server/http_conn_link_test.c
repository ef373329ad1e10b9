/* HTTP over TLS: the handshake and its deadline, requests, ends. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/tls_conn.h"
#include "net/tls_test_help.h"
#include "server/http_conn.h"

enum { RECEIVE_BYTES = 64 * 1024, SHORT_MS = 80, LARGE = 200000 };

static struct {
    struct identity identity;
    struct tls_context *context;
    struct loop *loop;
    struct settings *settings;
    struct http_service *service;
    struct tls_peer peer;
    struct http_taken taken;
    char refused[64];
    unsigned requests;
    char client[ADDR_TEXT_MAX]; /* of the last request, or refusal */
    bool was_secure;
    uint8_t receive_buffer[RECEIVE_BYTES];
    char large[LARGE + 1];
} t;

static void answer(struct http_exchange *exchange, struct str body)
{
    struct http_response response = {.status = 200, .body = body};
    http_answer(exchange, &response);
}

static void on_request(void *owner, struct http_exchange *exchange)
{
    struct str path = exchange->request->path;
    t.requests++;
    t.was_secure = exchange->is_secure;
    addr_format(&exchange->peer, t.client);
    if (str_equal(path, STR("/take"))) {
        assert_true(http_take_socket(exchange, 101, &t.taken));
    } else if (str_equal(path, STR("/large"))) {
        answer(exchange, str_make(t.large, LARGE));
    } else {
        answer(exchange, path);
    }
}

static void on_refused(void *owner, const struct addr *peer, int status, const char *reason)
{
    snprintf(t.refused, sizeof(t.refused), "%s", reason);
    addr_format(peer, t.client);
}

static int start(void **state)
{
    memset(&t, 0, sizeof(t));
    memset(t.large, 'x', LARGE);
    identity_make(&t.identity, "server", NULL, "DNS:server.test", 86400);
    t.context = identity_context(&t.identity);
    assert_int_equal(loop_create(&t.loop), 0);
    assert_int_equal(loop_turn(t.loop, 0), 0);
    assert_int_equal(settings_create_default(&t.settings), 0);
    struct http_service_options options = {.loop = t.loop,
                                           .name = "test",
                                           .settings = t.settings,
                                           .tls = t.context,
                                           .receive_buffer = t.receive_buffer,
                                           .receive_buffer_len = RECEIVE_BYTES,
                                           .on_request = on_request,
                                           .on_refused = on_refused};
    assert_int_equal(http_service_create(&t.service, &options), 0);
    return 0;
}

static int stop(void **state)
{
    http_service_destroy(t.service);
    loop_destroy(t.loop);
    settings_unref(t.settings);
    if (t.peer.fd) {
        close(t.peer.fd);
        tls_peer_fini(&t.peer);
    }
    tls_context_unref(t.context);
    identity_fini(&t.identity);
    assert_int_equal(mem_accounted(MEM_HTTP), 0);
    assert_int_equal(mem_accounted(MEM_TLS), 0);
    return 0;
}

static void accept_peer(void)
{
    int pair[2];
    struct addr addr;
    assert_int_equal(addr_parse(&addr, STR("10.0.0.5:1234")), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    if (t.peer.fd) {
        close(t.peer.fd);
        tls_peer_fini(&t.peer);
    }
    tls_peer_init(&t.peer, pair[0], 0);
    http_service_accept(t.service, pair[1], &addr);
}

static void turn(int times)
{
    for (int i = 0; i < times; i++) {
        tls_peer_step(&t.peer);
        assert_int_equal(loop_turn(t.loop, 0), 0);
    }
    tls_peer_take_in(&t.peer);
}

static void say(const char *text)
{
    for (int i = 0; i < 20 && !SSL_is_init_finished(t.peer.ssl); i++) {
        turn(1);
    }
    tls_peer_write(&t.peer, text, strlen(text));
    turn(5);
}

static bool heard(const char *word)
{
    return t.peer.got.len && memmem(t.peer.got.data, t.peer.got.len, word, strlen(word));
}

static bool is_closed(void)
{
    char byte;
    return recv(t.peer.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 || errno == ECONNRESET;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static void requests_are_answered_over_tls(void **state)
{
    accept_peer();
    say(GET("/first"));
    assert_true(heard("/first"));
    assert_true(t.was_secure);
    say(GET("/second") GET("/third"));
    assert_true(heard("/second"));
    assert_true(heard("/third"));
    assert_int_equal(mem_accounted(MEM_TLS), TLS_CONN_BYTES);
}

static void it_may_come_in_small_slices(void **state)
{
    accept_peer();
    t.peer.slice = 3; /* of single bytes an AF_UNIX socket holds too few */
    for (int i = 0; i < 3000 && !SSL_is_init_finished(t.peer.ssl); i++) {
        turn(1);
    }
    tls_peer_write(&t.peer, GET("/slow"), strlen(GET("/slow")));
    turn(500);
    assert_true(heard("/slow"));
}

static void a_large_answer_arrives_whole(void **state)
{
    int small = 1;
    accept_peer();
    setsockopt(t.peer.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    say(GET("/large"));
    turn(500);
    assert_true(t.peer.got.len > LARGE);
    assert_int_equal(t.peer.got.data[t.peer.got.len - 1], 'x');
    assert_false(t.peer.failed);
}

static void the_end_begins_with_a_good_bye(void **state)
{
    accept_peer();
    say("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(heard("/last"));
    assert_true(t.peer.is_ended);
    assert_true(is_closed()); /* our half; theirs is still read */
    assert_int_equal(http_service_connections(t.service), 1);
    shutdown(t.peer.fd, SHUT_WR);
    turn(3);
    assert_int_equal(http_service_connections(t.service), 0);
}

static void a_peer_that_ends_its_side_gets_its_answer(void **state)
{
    accept_peer();
    say("");
    tls_peer_write(&t.peer, GET("/half"), strlen(GET("/half")));
    SSL_shutdown(t.peer.ssl);
    tls_peer_give_out(&t.peer);
    shutdown(t.peer.fd, SHUT_WR);
    turn(5);
    assert_true(heard("/half"));
    assert_int_equal(http_service_connections(t.service), 0);
}

static void half_a_handshake_has_its_time(void **state)
{
    t.settings->limits.header_timeout_ms = SHORT_MS;
    http_service_set_settings(t.service, t.settings);
    accept_peer();
    t.peer.slice = 1;
    turn(20);
    assert_int_equal(http_service_connections(t.service), 1);
    assert_int_equal(mem_accounted(MEM_TLS), 0); /* for half a hello no session is made */
    uint64_t end = clock_monotonic_ms() + 20 * SHORT_MS;
    while (http_service_connections(t.service) && clock_monotonic_ms() < end) {
        assert_int_equal(loop_turn(t.loop, 5), 0);
    }
    assert_int_equal(http_service_connections(t.service), 0);
    assert_string_equal(t.refused, "tls_timeout");
}

static void who_sends_nothing_has_the_same_time_and_costs_no_session(void **state)
{
    t.settings->limits.header_timeout_ms = SHORT_MS;
    http_service_set_settings(t.service, t.settings);
    accept_peer();
    assert_int_equal(loop_turn(t.loop, 0), 0);
    assert_int_equal(mem_accounted(MEM_TLS), 0);
    uint64_t end = clock_monotonic_ms() + 20 * SHORT_MS;
    while (http_service_connections(t.service) && clock_monotonic_ms() < end) {
        assert_int_equal(loop_turn(t.loop, 5), 0);
    }
    assert_string_equal(t.refused, "no_request");
}

static void a_handshake_that_stops_half_way_has_the_same_time(void **state)
{
    t.settings->limits.header_timeout_ms = SHORT_MS;
    http_service_set_settings(t.service, t.settings);
    accept_peer();
    tls_peer_step(&t.peer);
    assert_int_equal(loop_turn(t.loop, 0), 0);
    assert_int_equal(mem_accounted(MEM_TLS), TLS_HANDSHAKE_BYTES);
    uint64_t end = clock_monotonic_ms() + 20 * SHORT_MS;
    while (http_service_connections(t.service) && clock_monotonic_ms() < end) {
        assert_int_equal(loop_turn(t.loop, 5), 0);
    }
    assert_string_equal(t.refused, "tls_timeout");
}

static void without_memory_no_handshake_begins(void **state)
{
    t.settings->limits.memory_bytes = 1024;
    http_service_set_settings(t.service, t.settings);
    mem_account(MEM_SESSIONS, 1024);
    accept_peer();
    tls_peer_step(&t.peer);
    assert_int_equal(loop_turn(t.loop, 0), 0);
    mem_account(MEM_SESSIONS, -1024);
    assert_string_equal(t.refused, "memory");
    assert_int_equal(http_service_connections(t.service), 0);
}

static void plain_http_gets_an_answer_that_it_can_read(void **state)
{
    char text[1024] = "";
    accept_peer();
    assert_int_equal(send(t.peer.fd, GET("/"), strlen(GET("/")), 0), strlen(GET("/")));
    assert_int_equal(loop_turn(t.loop, 0), 0);
    assert_true(recv(t.peer.fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
    assert_non_null(strstr(text, "HTTP/1.1 400"));
    assert_non_null(strstr(text, "tls_required"));
    assert_string_equal(t.refused, "tls_required");
    assert_true(is_closed()); /* our half: a reset must not overtake the answer */
    assert_int_equal(http_service_connections(t.service), 1);
    shutdown(t.peer.fd, SHUT_WR);
    assert_int_equal(loop_turn(t.loop, 0), 0);
    assert_int_equal(http_service_connections(t.service), 0);
}

static void a_refusal_is_heard_although_more_was_said(void **state)
{
    accept_peer();
    assert_int_equal(SSL_set_cipher_list(t.peer.ssl, "ECDHE-ECDSA-AES256-SHA"), 1);
    SSL_set_max_proto_version(t.peer.ssl, TLS1_2_VERSION);
    tls_peer_step(&t.peer);
    assert_int_equal(send(t.peer.fd, "more", 4, 0), 4);
    assert_int_equal(loop_turn(t.loop, 0), 0);
    tls_peer_take_in(&t.peer);
    assert_true(t.peer.failed); /* the alert */
    assert_string_equal(t.refused, "tls_cipher");
    assert_int_equal(mem_accounted(MEM_TLS), 0);
    assert_int_equal(loop_turn(t.loop, 0), 0);
    assert_int_equal(http_service_connections(t.service), 1);
}

static void many_handshakes_share_a_loop_with_others(void **state)
{
    enum { MANY = 40 };
    int fds[MANY];
    struct addr addr = {0};
    for (int i = 0; i < MANY; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        assert_int_equal(send(pair[0], "\x16\x03\x01\x00\x01\x01", 6, 0),
                         6); /* a record of one byte */
        http_service_accept(t.service, pair[1], &addr);
        fds[i] = pair[0];
    }
    assert_int_equal(loop_turn(t.loop, 0), 0);
    int64_t first = mem_accounted(MEM_TLS) / TLS_HANDSHAKE_BYTES;
    assert_in_range(first, 1, MANY - 1);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(loop_turn(t.loop, 0), 0);
    }
    assert_int_equal(mem_accounted(MEM_TLS), MANY * TLS_HANDSHAKE_BYTES);
    for (int i = 0; i < MANY; i++) {
        close(fds[i]);
    }
}

static void a_taken_socket_takes_its_session_along(void **state)
{
    struct iovec part = {"hello", 5};
    accept_peer();
    say(GET("/take") "rest");
    assert_non_null(t.taken.tls);
    assert_int_equal(http_service_connections(t.service), 0);
    assert_int_equal(tls_conn_write(t.taken.tls, &part, 1), 5);
    tls_peer_step(&t.peer);
    assert_true(heard("hello"));
    tls_conn_destroy(t.taken.tls);
    close(t.taken.fd);
}

static void new_connections_are_what_the_service_is_told(void **state)
{
    accept_peer();
    say(GET("/old"));
    http_service_set_tls(t.service, NULL);
    say(GET("/still"));
    assert_true(heard("/still"));
    accept_peer();
    assert_int_equal(send(t.peer.fd, GET("/"), strlen(GET("/")), 0), strlen(GET("/")));
    assert_int_equal(loop_turn(t.loop, 0), 0);
    assert_false(t.was_secure);
}

static void a_drain_lets_go_of_handshakes(void **state)
{
    accept_peer();
    t.peer.slice = 1;
    turn(5);
    http_service_drain(t.service);
    turn(3);
    shutdown(t.peer.fd, SHUT_WR);
    turn(3);
    assert_int_equal(http_service_connections(t.service), 0);
}

/* ---- the PROXY header ---- */

static void expect_header_from(const char *prefix, struct tls_context *tls)
{
    static struct str from[1];
    from[0] = str_of(prefix);
    t.settings->proxy_protocol.client = (struct settings_proxies){from, 1};
    http_service_set_tls(t.service, tls);
    accept_peer();
}

static void say_plainly(const char *text)
{
    assert_int_equal(send(t.peer.fd, text, strlen(text), 0), strlen(text));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop_turn(t.loop, 0), 0);
    }
}

#define PROXY_LINE "PROXY TCP4 192.0.2.7 10.0.0.1 5678 443\r\n"

static void the_header_tells_who_connects(void **state)
{
    expect_header_from("10.0.0.0/8", NULL);
    say_plainly(PROXY_LINE GET("/"));
    assert_int_equal(t.requests, 1);
    assert_string_equal(t.client, "192.0.2.7:5678");
    assert_false(t.was_secure);
}

static void the_header_may_be_cut_anywhere(void **state)
{
    const char *text = PROXY_LINE GET("/");
    expect_header_from("10.0.0.0/8", NULL);
    for (size_t i = 0; i < strlen(text); i++) {
        char byte[2] = {text[i]};
        say_plainly(byte);
    }
    assert_int_equal(t.requests, 1);
    assert_string_equal(t.client, "192.0.2.7:5678");
}

static void it_comes_before_tls_and_takes_nothing_of_it(void **state)
{
    expect_header_from("10.0.0.5", t.context);
    assert_int_equal(send(t.peer.fd, PROXY_LINE, strlen(PROXY_LINE), 0), strlen(PROXY_LINE));
    say(GET("/over-tls"));
    assert_true(heard("/over-tls"));
    assert_true(t.was_secure);
    assert_string_equal(t.client, "192.0.2.7:5678");
}

static void the_proxys_own_connections_keep_their_address(void **state)
{
    static const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0";
    expect_header_from("10.0.0.0/8", NULL);
    assert_int_equal(send(t.peer.fd, local, sizeof(local), 0), 16);
    say_plainly(GET("/"));
    assert_string_equal(t.client, "10.0.0.5:1234");
    accept_peer();
    say_plainly("PROXY UNKNOWN\r\n" GET("/"));
    assert_string_equal(t.client, "10.0.0.5:1234");
    assert_int_equal(t.requests, 2);
}

static void without_the_header_nothing_is_read(void **state)
{
    expect_header_from("10.0.0.0/8", NULL);
    say_plainly(GET("/"));
    assert_int_equal(t.requests, 0);
    assert_string_equal(t.refused, "proxy_header");
    assert_int_equal(http_service_connections(t.service), 0);
}

static void from_others_the_header_is_not_read(void **state)
{
    char text[512] = "";
    expect_header_from("10.0.1.0/24", NULL);
    say_plainly(PROXY_LINE GET("/"));
    assert_int_equal(t.requests, 0);
    assert_true(recv(t.peer.fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
    assert_non_null(strstr(text, "HTTP/1.1 400"));
    assert_string_equal(t.client, "10.0.0.5:1234");
}

static void half_a_header_has_its_time(void **state)
{
    t.settings->limits.header_timeout_ms = SHORT_MS;
    expect_header_from("10.0.0.0/8", NULL);
    say_plainly("PROXY TCP4 192.0.2.7");
    uint64_t end = clock_monotonic_ms() + 20 * SHORT_MS;
    while (http_service_connections(t.service) && clock_monotonic_ms() < end) {
        assert_int_equal(loop_turn(t.loop, 5), 0);
    }
    assert_int_equal(http_service_connections(t.service), 0);
    assert_string_equal(t.refused, "proxy_header");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_are_answered_over_tls),
        TEST(it_may_come_in_small_slices),
        TEST(a_large_answer_arrives_whole),
        TEST(the_end_begins_with_a_good_bye),
        TEST(a_peer_that_ends_its_side_gets_its_answer),
        TEST(half_a_handshake_has_its_time),
        TEST(who_sends_nothing_has_the_same_time_and_costs_no_session),
        TEST(a_handshake_that_stops_half_way_has_the_same_time),
        TEST(without_memory_no_handshake_begins),
        TEST(plain_http_gets_an_answer_that_it_can_read),
        TEST(a_refusal_is_heard_although_more_was_said),
        TEST(many_handshakes_share_a_loop_with_others),
        TEST(a_taken_socket_takes_its_session_along),
        TEST(new_connections_are_what_the_service_is_told),
        TEST(a_drain_lets_go_of_handshakes),
        TEST(the_header_tells_who_connects),
        TEST(the_header_may_be_cut_anywhere),
        TEST(it_comes_before_tls_and_takes_nothing_of_it),
        TEST(the_proxys_own_connections_keep_their_address),
        TEST(without_the_header_nothing_is_read),
        TEST(from_others_the_header_is_not_read),
        TEST(half_a_header_has_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
