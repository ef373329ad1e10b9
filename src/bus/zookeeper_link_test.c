/* What a server, or the network, can do to the link. */
#include "bus/zookeeper_test_help.h"

enum { MANY = 200 };

static struct zk_test_server server;
static struct zk_test_node *a;
static struct zk_test_node *b;
static struct zk_test_publish publish;

static int setup(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    zk_test_server_start(&server);
    a = zk_test_node_create(server.port);
    b = zk_test_node_create(server.port);
    return 0;
}

static int teardown(void **state)
{
    zk_test_node_destroy(a);
    zk_test_node_destroy(b);
    a = b = NULL;
    zk_test_server_stop(&server);
    return 0;
}

static void open_both(void)
{
    zk_test_node_open(a);
    zk_test_node_open(b);
    ZK_TEST_UNTIL(a->up && b->up, a, b);
}

static void accept_one(const char *text)
{
    zk_test_publish(a, &publish, 0, text, 15000);
    ZK_TEST_UNTIL(publish.done, a, b);
    assert_int_equal(publish.err, 0);
}

static bool has_text(const struct zk_test_node *node, const char *text)
{
    for (int i = 0; i < node->count; i++) {
        if (node->log[i].kind == 'r' && strcmp(node->log[i].text, text) == 0) {
            return true;
        }
    }
    return false;
}

static uint64_t session_of(const struct zk_test_node *node)
{
    return (uint64_t)((struct zk_bus *)node->bus)->link.session.client_id;
}

static void a_server_that_is_not_there_is_told_and_found_when_it_comes(void **state)
{
    zk_test_server_kill(&server);
    zk_test_node_open(a);
    ZK_TEST_UNTIL(strstr(a->reason, "refused"), a);
    assert_false(a->up);
    zk_test_publish(a, &publish, 0, "early", 200);
    ZK_TEST_UNTIL(publish.done, a);
    assert_int_equal(publish.err, ERR_UNAVAILABLE);
    zk_test_server_run(&server);
    ZK_TEST_UNTIL(a->up, a);
    assert_false(has_text(a, "early"));
}

/* Sends one after the other; what was accepted has to come. */
static bool send_many(struct zk_test_node *node, int *sent)
{
    char text[24];
    if (*sent > 0 && !publish.done) {
        return false;
    }
    assert_true(*sent == 0 || publish.err == 0);
    if (*sent == MANY) {
        return true;
    }
    snprintf(text, sizeof(text), "m%d", (*sent)++);
    zk_test_publish(node, &publish, 0, text, 60000);
    return false;
}

static void a_killed_server_loses_nothing_that_was_accepted(void **state)
{
    int sent = 0;
    a->values[ZK_SESSION_TIMEOUT].number = b->values[ZK_SESSION_TIMEOUT].number = 30000;
    open_both();
    ZK_TEST_UNTIL(send_many(a, &sent) || sent == MANY / 2, a, b);
    uint64_t session = session_of(a);
    zk_test_server_kill(&server);
    ZK_TEST_UNTIL(!a->up && !b->up && !a->queue_up[0], a, b);
    zk_test_server_run(&server);
    ZK_TEST_UNTIL(send_many(a, &sent), a, b);
    assert_true(a->up);
    for (int i = 0; i < MANY; i++) {
        char text[24];
        snprintf(text, sizeof(text), "m%d", i);
        ZK_TEST_UNTIL(has_text(a, text) && has_text(b, text), a, b);
    }
    assert_int_equal(zk_test_count(a, 'h', 0) + zk_test_count(b, 'h', 0), 0);
    assert_int_equal(a->bus->stats.reconnects, 1);
    assert_int_equal(session_of(a), session);
    assert_int_equal(a->epochs, 1);
}

static void a_server_that_hangs_is_given_up_and_an_unknown_outcome_is_told(void **state)
{
    open_both();
    accept_one("before");
    ZK_TEST_UNTIL(has_text(a, "before"), a, b); /* else the next one would not even be sent */
    kill(server.pid, SIGSTOP);
    zk_test_publish(a, &publish, 0, "during", 3000);
    ZK_TEST_UNTIL(!a->up, a, b);
    assert_false(publish.done);
    ZK_TEST_UNTIL(publish.done, a, b);
    assert_int_equal(publish.err, ERR_TIMEOUT);
    kill(server.pid, SIGCONT);
    ZK_TEST_UNTIL(a->up && b->up, a, b);
    accept_one("after");
    ZK_TEST_UNTIL(has_text(a, "after") && has_text(b, "after"), a, b);
    assert_int_equal(has_text(a, "during"), has_text(b, "during"));
    assert_int_equal(zk_test_count(a, 'h', 0) + zk_test_count(b, 'h', 0), 0);
}

static void a_node_that_slept_longer_than_its_session_misses_nothing(void **state)
{
    open_both();
    accept_one("before");
    uint64_t session = session_of(b);
    uint64_t begin = clock_monotonic_ms();
    int sent = 0;
    ZK_TEST_UNTIL(send_many(a, &sent) && clock_monotonic_ms() - begin > 2 * ZK_TEST_SESSION_MS, a);
    struct zk_test_publish late;
    zk_test_publish(b, &late, 1, "late", 10000);
    ZK_TEST_UNTIL(has_text(b, "m199") && late.done, a, b);
    assert_int_equal(late.err, 0);
    assert_true(session_of(b) != session);
    assert_int_equal(zk_test_count(b, 'r', 0), 1 + MANY);
    assert_int_equal(zk_test_count(b, 'h', 0), 0);
    assert_int_equal(b->epochs, 1);
    assert_true(b->up);
}

static void an_ensemble_that_was_set_up_anew_is_another_history(void **state)
{
    open_both();
    char epoch[BUS_EPOCH_MAX + 1];
    memcpy(epoch, a->epoch, sizeof(epoch));
    accept_one("one");
    accept_one("two");
    ZK_TEST_UNTIL(has_text(a, "two") && has_text(b, "two"), a, b);
    zk_test_server_kill(&server);
    char data[128];
    snprintf(data, sizeof(data), "%s/data", server.dir);
    nftw(data, zk_test_remove, 16, FTW_DEPTH | FTW_PHYS);
    zk_test_server_run(&server);
    ZK_TEST_UNTIL(a->epochs == 2 && b->epochs == 2 && a->up && b->up, a, b);
    assert_string_not_equal(a->epoch, epoch);
    assert_string_equal(a->epoch, b->epoch);
    ZK_TEST_UNTIL(zk_test_count(a, 's', 0) == 2 && zk_test_count(b, 's', 0) == 2, a, b);
    accept_one("three");
    ZK_TEST_UNTIL(has_text(b, "three"), a, b);
    assert_int_equal(zk_test_entry(b, 'h', 0, 0)->why, BUS_HOLE_EPOCH);
    assert_int_equal(publish.pos.hi, 1);
}

/* ---- servers that are none ---- */

static int listen_on(int *out_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(name);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    assert_int_equal(listen(fd, 8), 0);
    *out_port = ntohs(name.sin_port);
    return fd;
}

/* Answers the next connection with some bytes, then keeps it. */
static int answer(int listener, const char *bytes, size_t len)
{
    int fd;
    ZK_TEST_UNTIL((fd = accept(listener, NULL, NULL)) >= 0, a);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    return fd;
}

static void assert_told_about(const char *bytes, size_t len, const char *reason)
{
    int port;
    int listener = listen_on(&port);
    struct zk_test_node *before = a;
    a = zk_test_node_create(port);
    zk_test_node_open(a);
    int fd = answer(listener, bytes, len);
    ZK_TEST_UNTIL(strstr(a->reason, reason), a);
    assert_false(a->up);
    zk_test_node_destroy(a);
    a = before;
    close(fd);
    close(listener);
}

static const char greeting[41] = "\0\0\0\x25\0\0\0\0\0\0\x07\xd0"
                                 "12345678\0\0\0\x10"
                                 "passwordpassword";

static void what_is_not_zookeeper_is_told_and_never_believed(void **state)
{
    char html[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nServer: something\r\n\r\n";
    assert_told_about(html, sizeof(html), "not ZooKeeper");
    char forever[41];
    memcpy(forever, greeting, sizeof(forever));
    memset(forever + 8, 0x7f, 4); /* a session that lasts for days */
    assert_told_about(forever, sizeof(forever), "not ZooKeeper");
    char huge[41 + 8];
    memcpy(huge, greeting, sizeof(greeting));
    memcpy(huge + 41, "\x7f\xff\xff\xff\0\0\0\1", 8);
    assert_told_about(huge, sizeof(huge), "not ZooKeeper");
    char negative[41 + 8];
    memcpy(negative, greeting, sizeof(greeting));
    memcpy(negative + 41, "\xff\xff\xff\xff\0\0\0\1", 8);
    assert_told_about(negative, sizeof(negative), "not ZooKeeper");
}

static void a_frame_that_only_begins_costs_next_to_nothing(void **state)
{
    struct timespec begin;
    struct timespec end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    assert_told_about(greeting, 3, "does not answer");
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    assert_true((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 < 300);
}

static void who_accepts_and_is_silent_is_given_up(void **state)
{
    assert_told_about("", 0, "does not answer");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_server_that_is_not_there_is_told_and_found_when_it_comes),
        TEST(a_killed_server_loses_nothing_that_was_accepted),
        TEST(a_server_that_hangs_is_given_up_and_an_unknown_outcome_is_told),
        TEST(a_node_that_slept_longer_than_its_session_misses_nothing),
        TEST(an_ensemble_that_was_set_up_anew_is_another_history),
        TEST(what_is_not_zookeeper_is_told_and_never_believed),
        TEST(a_frame_that_only_begins_costs_next_to_nothing),
        TEST(who_accepts_and_is_silent_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
