/* A queue over TLS: what the library has encrypted must come again, whatever happens to the rest.
 */
#include <string.h>

#include "net/tls_conn.h"
#include "net/tls_test_help.h"
#include "server/out_queue.h"

enum { BIG = 12000, FRAMES = 200 };

static struct {
    struct identity identity;
    struct tls_context *context;
    struct tls_conn *tls;
    struct tls_peer peer;
    struct out_pool pool;
    struct out_queue *queue;
    uint32_t written;
    int fd;
} t;

static int start(void **state)
{
    int fds[2];
    memset(&t, 0, sizeof(t));
    identity_make(&t.identity, "server", NULL, NULL, 86400);
    t.context = identity_context(&t.identity);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    t.fd = fds[0];
    tls_peer_init(&t.peer, fds[1], 0);
    assert_int_equal(tls_conn_create(&t.tls, t.context, t.fd), 0);
    for (int i = 0; i < 10 && !tls_conn_is_open(t.tls); i++) {
        tls_peer_step(&t.peer);
        tls_conn_handshake(t.tls);
    }
    assert_true(tls_conn_is_open(t.tls));
    t.queue = out_queue_create(&t.pool);
    return 0;
}

static int stop(void **state)
{
    out_queue_destroy(&t.pool, t.queue);
    out_pool_fini(&t.pool);
    tls_conn_destroy(t.tls);
    tls_peer_fini(&t.peer);
    tls_context_unref(t.context);
    identity_fini(&t.identity);
    close(t.fd);
    close(t.peer.fd);
    return 0;
}

static void add(char letter, size_t len)
{
    static char text[BIG];
    memset(text, letter, len);
    struct frame *frame = frame_of_bytes(text, len);
    assert_int_equal(out_queue_add(&t.pool, t.queue, frame, 0, 7), 0);
    frame_unref(frame);
}

static int send_out(void)
{
    struct out_sent sent;
    int done = out_queue_send(&t.pool, t.queue, t.fd, t.tls, &sent);
    t.written += sent.frames;
    return done;
}

static void fill_socket(void)
{
    int done = 1;
    for (int i = 0; i < FRAMES && done == 1; i++) {
        add('x', BIG);
        done = send_out();
    }
    assert_int_equal(done, 0);
    assert_true(tls_conn_held(t.tls) > 0);
}

static void send_all(void)
{
    for (int i = 0; i < 1000 && send_out() == 0; i++) {
        tls_peer_step(&t.peer);
    }
    tls_peer_step(&t.peer);
    assert_null(t.queue->first);
    assert_int_equal(t.queue->bytes, 0);
    assert_int_equal(t.queue->frames, 0);
}

static size_t heard_of(char letter)
{
    size_t count = 0;
    for (size_t i = 0; i < t.peer.got.len; i++) {
        count += t.peer.got.data[i] == letter;
    }
    return count;
}

static void frames_that_wait_leave_together_and_in_order(void **state)
{
    add('a', 10);
    add('b', BIG);
    add('c', BIG);
    assert_int_equal(send_out(), 1);
    assert_int_equal(t.written, 3);
    tls_peer_step(&t.peer);
    assert_int_equal(t.peer.got.len, 10 + 2 * BIG);
    assert_int_equal(t.peer.got.data[9], 'a');
    assert_int_equal(t.peer.got.data[10], 'b');
    assert_int_equal(t.peer.got.data[10 + BIG], 'c');
}

static void a_pong_waits_behind_what_is_encrypted(void **state)
{
    fill_socket();
    add('y', 100);
    t.queue->pong = frame_of_bytes("P", 1);
    send_all();
    assert_int_equal(heard_of('P'), 1);
    assert_int_equal(heard_of('y'), 100);
    assert_int_equal(heard_of('x') % BIG, 0);
    assert_true(t.peer.got.data[t.peer.got.len - 101] == 'P'); /* between two frames */
}

static void a_trim_keeps_what_is_encrypted(void **state)
{
    fill_socket();
    size_t held = tls_conn_held(t.tls);
    uint32_t before = t.queue->frames;
    for (int i = 0; i < 10; i++) {
        add('y', BIG);
    }
    uint32_t lost = out_queue_trim(&t.pool, t.queue, held, RECEIPT_SLOW);
    assert_int_equal(lost + t.queue->frames, before + 10);
    assert_in_range(t.queue->bytes, held, held + BIG);
    add('z', 5);
    send_all();
    assert_int_equal(heard_of('y'), 0);
    assert_int_equal(heard_of('z'), 5);
    assert_int_equal(heard_of('x') % BIG, 0); /* whole frames */
    assert_false(t.peer.failed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_that_wait_leave_together_and_in_order),
        TEST(a_pong_waits_behind_what_is_encrypted),
        TEST(a_trim_keeps_what_is_encrypted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
