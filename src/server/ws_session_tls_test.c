/* Sessions over TLS: what is pushed arrives, ends are told, and nothing is left when memory fails.
 */
#include "net/tls_conn.h"
#include "net/tls_test_help.h"
#include "server/test_gateway.h"
#include "server/ws_session.h"

static struct {
    struct test_gateway base;
    struct identity identity;
    struct tls_context *context;
    struct tls_peer peer;
} t;

static int start(void **state)
{
    memset(&t, 0, sizeof(t));
    identity_make(&t.identity, "server", NULL, NULL, 86400);
    t.context = identity_context(&t.identity);
    test_gateway_init(&t.base);
    test_gateway_start(&t.base, NULL);
    http_service_set_tls(t.base.worker->client_http, t.context);
    return 0;
}

static int stop(void **state)
{
    test_gateway_stop(&t.base);
    assert_int_equal(mem_accounted(MEM_TLS), 0);
    tls_context_unref(t.context);
    identity_fini(&t.identity);
    return 0;
}

static void turn(int times)
{
    for (int i = 0; i < times; i++) {
        tls_peer_step(&t.peer);
        test_gateway_turn(&t.base, 1);
    }
    tls_peer_take_in(&t.peer);
}

static void connect_peer(void)
{
    struct sockaddr_storage to;
    socklen_t len = addr_to_sockaddr(&t.base.gateway->client_addr, &to);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, len), 0);
    tls_peer_init(&t.peer, fd, 0);
    for (int i = 0; i < 50 && !SSL_is_init_finished(t.peer.ssl); i++) {
        turn(1);
    }
}

static void disconnect_peer(void)
{
    close(t.peer.fd);
    tls_peer_fini(&t.peer);
    test_gateway_turn(&t.base, TEST_TURNS);
}

static void say(const void *bytes, size_t len)
{
    if (SSL_write(t.peer.ssl, bytes, (int)len) > 0) {
        turn(TEST_TURNS);
    }
    ERR_clear_error();
}

static void upgrade(const char *protocol)
{
    char request[512];
    int len = snprintf(request, sizeof(request),
                       "GET /v1/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                       "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                       protocol);
    say(request, (size_t)len);
}

static bool heard(const char *word)
{
    return t.peer.got.len && memmem(t.peer.got.data, t.peer.got.len, word, strlen(word));
}

static void a_raw_session_gets_what_is_pushed(void **state)
{
    connect_peer();
    upgrade("");
    assert_true(heard("101 Switching"));
    assert_int_equal(mem_accounted(MEM_TLS), TLS_CONN_BYTES);
    test_push(&t.base, TARGET_ALL, "", STR("over tls"));
    turn(2);
    assert_true(heard("over tls"));
    disconnect_peer();
    assert_int_equal(admission_sessions(&t.base.gateway->admission), 0);
}

/* RFC 6455 5.2: masked with zeros, the bytes are what they are. */
static void frames_of_the_client_are_read(void **state)
{
    static const char hello[] = "\x81\x96\0\0\0\0{\"t\":\"hello\",\"v\":1   }";
    connect_peer();
    upgrade("Sec-WebSocket-Protocol: tidegate.v1.json\r\n");
    say(hello, sizeof(hello) - 1);
    assert_true(heard("\"t\":\"welcome\""));
    disconnect_peer();
}

static void a_close_is_answered_and_then_the_good_bye_is_said(void **state)
{
    static const char close_frame[] = "\x88\x82\0\0\0\0\x03\xe8";
    connect_peer();
    upgrade("");
    buf_clear(&t.peer.got);
    say(close_frame, sizeof(close_frame) - 1);
    assert_true(t.peer.got.len >= 4);
    assert_memory_equal(t.peer.got.data, "\x88\x02\x03\xe8", 4);
    assert_true(t.peer.is_ended);
    assert_int_equal(admission_sessions(&t.base.gateway->admission), 0);
    disconnect_peer();
}

/* Blocked in the middle of a record: the close frame waits behind what the library has. */
static void a_slow_session_is_closed_behind_what_is_on_its_way(void **state)
{
    static char large[60000];
    memset(large, 'x', sizeof(large));
    t.base.settings->limits.session_queue_bytes = 4 * sizeof(large);
    connect_peer();
    upgrade("");
    buf_clear(&t.peer.got);
    for (int i = 0; i < 500 && t.base.worker->doomed_count == 0; i++) {
        test_push(&t.base, TARGET_ALL, "", str_make(large, sizeof(large)));
    }
    for (int i = 0; i < 2000 && !t.peer.is_ended; i++) {
        turn(1);
    }
    assert_false(t.peer.failed);
    const uint8_t *end = t.peer.got.data + t.peer.got.len - 4;
    assert_memory_equal(end, "\x88\x02\x10\x05", 4);                 /* 4101 */
    assert_int_equal((t.peer.got.len - 4) % (sizeof(large) + 4), 0); /* whole frames before it */
    disconnect_peer();
}

static struct session *only_session(void)
{
    struct shard *shard = t.base.worker->shard;
    for (uint32_t slot = 1; slot < shard_slot_limit(shard); slot++) {
        struct session *session = shard_session_at(shard, slot);
        if (session->state != SESSION_FREE) {
            return session;
        }
    }
    return NULL;
}

static void send_until_memory_fails(struct session *session, struct str text, unsigned long nth)
{
    bool has_failed = false;
    while (!has_failed) {
        out_pool_fini(&t.base.worker->pool);
        mem_fail_nth(nth);
        ws_session_send(t.base.worker, session, WS_TEXT, text);
        has_failed = !mem_fail_pending();
        mem_fail_nth(0);
    }
}

/* Of one record the library holds all that the kernel did not take, of a larger frame a part has
 * left. What is missing finds no memory, and no close frame can take its place. */
static void what_can_not_wait_ends_the_session_at_once(void **state)
{
    static char text[60000];
    static const size_t sizes[] = {15000, sizeof(text)};
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < 4; i++) {
        unsigned long nth = i < 2 ? 2 : 3; /* 1: the frame, 2: the queue, 3: its node */
        connect_peer();
        upgrade("");
        buf_clear(&t.peer.got);
        send_until_memory_fails(only_session(), str_make(text, sizes[i % 2]), nth);
        test_gateway_turn(&t.base, 1);
        assert_int_equal(admission_sessions(&t.base.gateway->admission), 0);
        turn(TEST_TURNS);
        assert_int_equal(t.peer.got.data[t.peer.got.len - 1], 'x');
        disconnect_peer();
    }
}

/* Some of the allocations are the peer's own: those of the gateway are among them all the same. */
static void memory_that_fails_leaves_nothing(void **state)
{
    bool went_through = false;
    for (unsigned long nth = 1; !went_through; nth++) {
        assert_in_range(nth, 1, 200);
        connect_peer();
        mem_fail_nth(nth);
        upgrade("");
        went_through = mem_fail_pending();
        mem_fail_nth(0);
        disconnect_peer();
        test_gateway_turn(&t.base, TEST_TURNS);
        assert_int_equal(admission_sessions(&t.base.gateway->admission), 0);
        assert_int_equal(mem_accounted(MEM_TLS), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_raw_session_gets_what_is_pushed),
        TEST(frames_of_the_client_are_read),
        TEST(a_close_is_answered_and_then_the_good_bye_is_said),
        TEST(a_slow_session_is_closed_behind_what_is_on_its_way),
        TEST(what_can_not_wait_ends_the_session_at_once),
        TEST(memory_that_fails_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
