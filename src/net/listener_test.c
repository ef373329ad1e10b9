#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"

enum { FDS_MAX = 64 };

struct server {
    struct loop *loop;
    struct listener *listener;
    struct addr addr;
    int accepted[FDS_MAX];
    int count;
    bool pauses; /* after each connection */
};

static void on_accept(void *owner, int fd, const struct addr *peer)
{
    struct server *server = owner;
    assert_true(addr_is_loopback(peer));
    server->accepted[server->count++] = fd;
    if (server->pauses) {
        listener_pause(server->listener);
    }
}

static void server_init(struct server *server, const char *where)
{
    struct addr addr;
    memset(server, 0, sizeof(*server));
    assert_int_equal(addr_parse(&addr, str_of(where)), 0);
    assert_int_equal(loop_create(&server->loop), 0);
    assert_int_equal(listener_create(&server->listener, server->loop, &addr, 0, on_accept, server),
                     0);
    listener_addr(server->listener, &server->addr);
    assert_int_not_equal(server->addr.port, 0);
}

static void server_drop(struct server *server)
{
    while (server->count > 0) {
        close(server->accepted[--server->count]);
    }
}

static void server_fini(struct server *server)
{
    server_drop(server);
    listener_destroy(server->listener);
    loop_destroy(server->loop);
}

static int connect_to(const struct addr *addr)
{
    struct sockaddr_storage name;
    socklen_t len = addr_to_sockaddr(addr, &name);
    int fd = socket(name.ss_family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, len), 0);
    return fd;
}

/* Turns the loop, and the clock with it, until so many connections are there. */
static void turn_until(struct server *server, int count)
{
    uint64_t end_ms = loop_now_ms(server->loop) + 20000;
    while (server->count < count && loop_now_ms(server->loop) < end_ms) {
        loop_turn(server->loop, 10);
    }
    assert_int_equal(server->count, count);
}

static rlim_t lower_descriptor_limit(rlim_t soft)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = soft;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

static int lowest_free_fd(void)
{
    int fd = dup(0);
    assert_true(fd >= 0);
    close(fd);
    return fd;
}

static void a_connection_arrives_nonblocking_closed_on_exec_and_without_delay(void **state)
{
    struct server server;
    server_init(&server, "127.0.0.1:0");
    int client = connect_to(&server.addr);
    turn_until(&server, 1);
    int fd = server.accepted[0];
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    int no_delay = 0;
    socklen_t len = sizeof(no_delay);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &len), 0);
    assert_int_equal(no_delay, 1);
    assert_int_equal(listener_shortages(server.listener), 0);
    close(client);
    server_fini(&server);
}

static void two_listeners_may_share_an_address(void **state)
{
    struct server server;
    struct listener *second = NULL;
    server_init(&server, "127.0.0.1:0");
    assert_int_equal(listener_create(&second, server.loop, &server.addr, 16, on_accept, &server),
                     0);
    int clients[8];
    for (int i = 0; i < 8; i++) {
        clients[i] = connect_to(&server.addr);
    }
    turn_until(&server, 8);
    for (int i = 0; i < 8; i++) {
        close(clients[i]);
    }
    listener_destroy(second);
    server_fini(&server);
}

static void all_addresses_take_ipv4_and_show_it_as_such(void **state)
{
    struct server server;
    struct addr v4;
    server_init(&server, ":0");
    assert_true(addr_is_any(&server.addr));
    assert_int_equal(addr_parse(&v4, STR("127.0.0.1:0")), 0);
    v4.port = server.addr.port;
    int client = connect_to(&v4);
    turn_until(&server, 1);
    struct addr local;
    assert_int_equal(addr_of_local(&local, server.accepted[0]), 0);
    assert_true(addr_equal_ip(&local, &v4));
    close(client);
    server_fini(&server);
}

static void a_paused_listener_leaves_connections_in_the_backlog(void **state)
{
    struct server server;
    server_init(&server, "127.0.0.1:0");
    server.pauses = true;
    int a = connect_to(&server.addr);
    int b = connect_to(&server.addr);
    turn_until(&server, 1);
    loop_turn(server.loop, 0);
    assert_int_equal(server.count, 1);
    listener_resume(server.listener);
    turn_until(&server, 2);
    close(a);
    close(b);
    server_fini(&server);
}

static void a_rest_ends_by_itself_and_a_pause_lasts_on_behind_it(void **state)
{
    struct server server;
    server_init(&server, "127.0.0.1:0");
    int a = connect_to(&server.addr);
    listener_rest(server.listener, 50);
    uint64_t begun_ms = loop_now_ms(server.loop);
    turn_until(&server, 1);
    assert_true(loop_now_ms(server.loop) - begun_ms >= 50);
    listener_rest(server.listener, 1);
    listener_pause(server.listener);
    int b = connect_to(&server.addr);
    for (int i = 0; i < 5; i++) {
        loop_turn(server.loop, 5);
    }
    assert_int_equal(server.count, 1);
    listener_resume(server.listener);
    turn_until(&server, 2);
    close(a);
    close(b);
    server_fini(&server);
}

/* Counts turns that do not wait although nothing can be accepted. */
static int turns_in_ms(struct loop *loop, uint64_t span_ms)
{
    int turns = 0;
    uint64_t end_ms = loop_now_ms(loop) + span_ms;
    while (loop_now_ms(loop) < end_ms) {
        loop_turn(loop, (int)span_ms);
        turns++;
    }
    return turns;
}

static void
without_descriptors_peers_are_turned_away_without_spinning_until_some_return(void **state)
{
    struct server server;
    server_init(&server, "127.0.0.1:0");
    int clients[4];
    for (int i = 0; i < 4; i++) {
        clients[i] = connect_to(&server.addr);
    }
    rlim_t before = lower_descriptor_limit((rlim_t)lowest_free_fd() + 2);
    turn_until(&server, 2);
    loop_turn(server.loop, 0);
    assert_int_equal(listener_shortages(server.listener), 1);
    char byte;
    assert_true(recv(clients[2], &byte, 1, 0) <= 0); /* closed, not left hanging */
    assert_true(recv(clients[3], &byte, 1, 0) <= 0);
    assert_true(turns_in_ms(server.loop, 150) < 20);

    lower_descriptor_limit(before);
    int late = connect_to(&server.addr);
    lower_descriptor_limit((rlim_t)lowest_free_fd());
    uint64_t end_ms = loop_now_ms(server.loop) + 20000;
    while (listener_shortages(server.listener) < 2 && loop_now_ms(server.loop) < end_ms) {
        loop_turn(server.loop, 10);
    }
    assert_int_equal(listener_shortages(server.listener), 2);
    assert_true(recv(late, &byte, 1, 0) <= 0);

    server_drop(&server);
    lower_descriptor_limit(before);
    int again = connect_to(&server.addr);
    turn_until(&server, 1);
    for (int i = 0; i < 4; i++) {
        close(clients[i]);
    }
    close(late);
    close(again);
    server_fini(&server);
}

static void the_last_descriptors_can_be_kept_for_others(void **state)
{
    struct server server;
    server_init(&server, "127.0.0.1:0");
    listener_keep_free(server.listener, 5);
    int client = connect_to(&server.addr);
    int second = connect_to(&server.addr);
    rlim_t before = lower_descriptor_limit((rlim_t)lowest_free_fd() + 6);
    turn_until(&server, 1);
    loop_turn(server.loop, 0);
    assert_int_equal(listener_shortages(server.listener), 1);
    char byte;
    assert_true(recv(second, &byte, 1, 0) <= 0);
    int spare = dup(0);
    assert_true(spare >= 0);
    close(spare);
    lower_descriptor_limit(before);
    close(client);
    close(second);
    server_fini(&server);
}

static void an_address_in_use_or_not_ours_is_an_error(void **state)
{
    struct loop *loop = NULL;
    struct listener *listener = NULL;
    struct addr addr;
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(addr_parse(&addr, STR("192.0.2.1:0")), 0); /* RFC 5737: nobody's */
    assert_int_equal(listener_create(&listener, loop, &addr, 0, on_accept, NULL), -EADDRNOTAVAIL);
    assert_null(listener);
    loop_destroy(loop);
}

static void a_failed_create_leaks_nothing(void **state)
{
    struct loop *loop = NULL;
    struct listener *listener = NULL;
    struct addr addr;
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(addr_parse(&addr, STR("127.0.0.1:0")), 0);
    mem_fail_nth(1);
    assert_int_equal(listener_create(&listener, loop, &addr, 0, on_accept, NULL), -ENOMEM);

    int lowest = lowest_free_fd();
    for (rlim_t room = 0; room < 2; room++) {
        rlim_t before = lower_descriptor_limit((rlim_t)lowest + room);
        assert_int_equal(listener_create(&listener, loop, &addr, 0, on_accept, NULL), -EMFILE);
        lower_descriptor_limit(before);
        assert_int_equal(lowest_free_fd(), lowest);
    }
    listener_destroy(NULL);
    loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_arrives_nonblocking_closed_on_exec_and_without_delay),
        cmocka_unit_test(two_listeners_may_share_an_address),
        cmocka_unit_test(all_addresses_take_ipv4_and_show_it_as_such),
        cmocka_unit_test(a_paused_listener_leaves_connections_in_the_backlog),
        cmocka_unit_test(a_rest_ends_by_itself_and_a_pause_lasts_on_behind_it),
        cmocka_unit_test(
            without_descriptors_peers_are_turned_away_without_spinning_until_some_return),
        cmocka_unit_test(the_last_descriptors_can_be_kept_for_others),
        cmocka_unit_test(an_address_in_use_or_not_ours_is_an_error),
        cmocka_unit_test(a_failed_create_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
