#include "fault_proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"

enum { PATIENCE_MS = 20000, SILENCE_MS = 100 /* how long nothing must come */ };

struct ends {
    struct fault_proxy *proxy;
    int listening;
    int near; /* the client's end of a connection, and the server's */
    int far;
};

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
}

/* 0 or errno. */
static int try_connect(const struct ends *ends, int *out_fd)
{
    struct sockaddr_in name = loopback(fault_proxy_port(ends->proxy));
    *out_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(*out_fd, (struct sockaddr *)&name, sizeof(name)) < 0 ? errno : 0;
}

static int hears_within(int fd, int wait_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, wait_ms) == 1;
}

static int connect_client(const struct ends *ends)
{
    int fd;
    assert_int_equal(try_connect(ends, &fd), 0);
    return fd;
}

static int accept_server(const struct ends *ends)
{
    assert_true(hears_within(ends->listening, PATIENCE_MS));
    return accept4(ends->listening, NULL, NULL, SOCK_CLOEXEC);
}

static int setup(void **state)
{
    static struct ends ends;
    struct sockaddr_in name = loopback(0);
    socklen_t len = sizeof(name);
    ends.listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(ends.listening, (struct sockaddr *)&name, len), 0);
    assert_int_equal(listen(ends.listening, 64), 0);
    assert_int_equal(getsockname(ends.listening, (struct sockaddr *)&name, &len), 0);
    assert_int_equal(
        fault_proxy_start(&ends.proxy, "127.0.0.1", 0, "127.0.0.1", ntohs(name.sin_port)), 0);
    ends.near = connect_client(&ends);
    ends.far = accept_server(&ends);
    *state = &ends;
    return 0;
}

static int teardown(void **state)
{
    struct ends *ends = *state;
    fault_proxy_stop(ends->proxy);
    close(ends->near);
    close(ends->far);
    close(ends->listening);
    return 0;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void assert_hears(int fd, const char *text)
{
    char heard[100] = "";
    size_t len = 0;
    while (len < strlen(text)) {
        assert_true(hears_within(fd, PATIENCE_MS));
        ssize_t got = recv(fd, heard + len, strlen(text) - len, 0);
        assert_true(got > 0);
        len += (size_t)got;
    }
    assert_string_equal(heard, text);
}

static void assert_hears_nothing(int fd)
{
    assert_false(hears_within(fd, SILENCE_MS));
}

static void assert_ended(int fd, int expected_errno)
{
    char byte;
    assert_true(hears_within(fd, PATIENCE_MS));
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_int_equal(got, expected_errno ? -1 : 0);
    if (expected_errno) {
        assert_int_equal(errno, expected_errno);
    }
}

static void it_carries_both_ways_and_the_end_too(void **state)
{
    struct ends *ends = *state;
    say(ends->near, "there");
    assert_hears(ends->far, "there");
    say(ends->far, "back");
    assert_hears(ends->near, "back");
    shutdown(ends->near, SHUT_WR);
    assert_ended(ends->far, 0);
    say(ends->far, "last");
    assert_hears(ends->near, "last");
    shutdown(ends->far, SHUT_WR);
    assert_ended(ends->near, 0);
    assert_int_equal(fault_proxy_accepted(ends->proxy), 1);
}

static void what_is_dropped_comes_when_it_heals(void **state)
{
    struct ends *ends = *state;
    for (int ways = 1; ways <= 3; ways++) {
        bool to_server = ways & 1;
        bool to_client = ways & 2;
        fault_proxy_drop(ends->proxy, to_server, to_client);
        say(ends->near, "up");
        say(ends->far, "down");
        to_server ? assert_hears_nothing(ends->far) : assert_hears(ends->far, "up");
        to_client ? assert_hears_nothing(ends->near) : assert_hears(ends->near, "down");
        assert_int_equal(fault_proxy_heal(ends->proxy), 0);
        if (to_server) {
            assert_hears(ends->far, "up");
        }
        if (to_client) {
            assert_hears(ends->near, "down");
        }
    }
}

static void an_end_waits_behind_a_fault_too(void **state)
{
    struct ends *ends = *state;
    fault_proxy_drop(ends->proxy, false, true);
    say(ends->far, "last");
    shutdown(ends->far, SHUT_WR);
    assert_hears_nothing(ends->near);
    assert_int_equal(fault_proxy_heal(ends->proxy), 0);
    assert_hears(ends->near, "last");
    assert_ended(ends->near, 0);
}

static void refused_are_new_connections_alone(void **state)
{
    struct ends *ends = *state;
    int late;
    uint16_t port = fault_proxy_port(ends->proxy);
    fault_proxy_refuse(ends->proxy);
    assert_int_equal(try_connect(ends, &late), ECONNREFUSED);
    close(late);
    say(ends->near, "still");
    assert_hears(ends->far, "still");
    assert_int_equal(fault_proxy_heal(ends->proxy), 0);
    assert_int_equal(fault_proxy_port(ends->proxy), port);
    close(connect_client(ends));
}

static void silent_are_new_connections_until_it_heals(void **state)
{
    struct ends *ends = *state;
    fault_proxy_silence(ends->proxy);
    int late = connect_client(ends);
    say(late, "hello");
    assert_hears_nothing(late);
    assert_hears_nothing(ends->listening);
    say(ends->near, "still");
    assert_hears(ends->far, "still");
    assert_int_equal(fault_proxy_heal(ends->proxy), 0);
    int late_far = accept_server(ends);
    assert_hears(late_far, "hello");
    close(late);
    close(late_far);
}

static void a_reset_ends_all_connections_on_both_sides(void **state)
{
    struct ends *ends = *state;
    fault_proxy_silence(ends->proxy);
    int waiting = connect_client(ends);
    fault_proxy_reset(ends->proxy);
    assert_ended(ends->near, ECONNRESET);
    assert_ended(ends->far, ECONNRESET);
    assert_ended(waiting, ECONNRESET);
    close(waiting);
    assert_int_equal(fault_proxy_heal(ends->proxy), 0);
    int near = connect_client(ends);
    int far = accept_server(ends);
    say(near, "new");
    assert_hears(far, "new");
    close(near);
    close(far);
}

static void a_delay_keeps_the_order(void **state)
{
    struct ends *ends = *state;
    fault_proxy_delay(ends->proxy, 100);
    uint64_t start_ms = clock_monotonic_ms();
    for (const char *each = "abcdefghij"; *each; each++) {
        say(ends->near, (char[]){*each, '\0'});
    }
    assert_hears(ends->far, "abcdefghij");
    assert_true(clock_monotonic_ms() - start_ms >= 100);
    fault_proxy_delay(ends->proxy, PATIENCE_MS * 10);
    assert_int_equal(fault_proxy_heal(ends->proxy), 0);
    say(ends->far, "quick");
    assert_hears(ends->near, "quick");
}

static void without_a_server_the_client_is_reset(void **state)
{
    struct ends *ends = *state;
    int late;
    close(ends->listening);
    ends->listening = -1;
    if (try_connect(ends, &late) == 0) { /* else it was reset before connect returned */
        assert_ended(late, ECONNRESET);
    }
    close(late);
}

static void more_than_it_holds_is_carried_too(void **state)
{
    enum { TOTAL = 64 * 1000 * 1000 }; /* more than all buffers on the way */
    struct ends *ends = *state;
    static uint8_t chunk[65536];
    size_t sent = 0;
    size_t heard = 0;
    fault_proxy_drop(ends->proxy, true, false);
    while (heard < TOTAL) {
        if (sent < TOTAL) {
            ssize_t now = send(ends->near, chunk, sizeof(chunk), MSG_NOSIGNAL | MSG_DONTWAIT);
            sent += now > 0 ? (size_t)now : 0;
            if (now < 0 && heard == 0) { /* it is full, and so is everything before it */
                fault_proxy_drop(ends->proxy, false, false);
            }
        }
        ssize_t got = recv(ends->far, chunk, sizeof(chunk), MSG_DONTWAIT);
        heard += got > 0 ? (size_t)got : 0;
    }
}

static void a_port_that_is_taken_is_told(void **state)
{
    struct ends *ends = *state;
    struct fault_proxy *other;
    uint16_t port = fault_proxy_port(ends->proxy);
    assert_int_equal(fault_proxy_start(&other, "127.0.0.1", port, "127.0.0.1", 1), -EADDRINUSE);
    assert_int_equal(fault_proxy_start(&other, "nowhere", 0, "127.0.0.1", 1), -EINVAL);
}

static void who_is_spared_stays_connected_until_it_heals(void **state)
{
    struct ends *ends = *state;
    fault_proxy_spare(ends->proxy);
    int near = connect_client(ends);
    int far = accept_server(ends);
    fault_proxy_drop(ends->proxy, true, true);
    say(ends->near, "mine");
    assert_hears(ends->far, "mine");
    say(near, "held");
    assert_hears_nothing(far);
    fault_proxy_reset(ends->proxy);
    assert_ended(near, ECONNRESET);
    say(ends->far, "still");
    assert_hears(ends->near, "still");
    assert_int_equal(fault_proxy_heal(ends->proxy), 0);
    fault_proxy_reset(ends->proxy);
    assert_ended(ends->near, ECONNRESET);
    close(near);
    close(far);
}

static void babble_comes_from_no_server_and_ends_when_it_heals(void **state)
{
    struct ends *ends = *state;
    fault_proxy_babble(ends->proxy);
    say(ends->near, "mine");
    assert_hears(ends->far, "mine");
    int near = connect_client(ends);
    char junk[4096];
    assert_int_equal(recv(near, junk, sizeof(junk), MSG_WAITALL), sizeof(junk));
    assert_hears_nothing(ends->listening);
    assert_int_equal(fault_proxy_heal(ends->proxy), 0);
    assert_ended(near, ECONNRESET);
    close(near);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        EACH(it_carries_both_ways_and_the_end_too),
        EACH(what_is_dropped_comes_when_it_heals),
        EACH(an_end_waits_behind_a_fault_too),
        EACH(refused_are_new_connections_alone),
        EACH(silent_are_new_connections_until_it_heals),
        EACH(a_reset_ends_all_connections_on_both_sides),
        EACH(a_delay_keeps_the_order),
        EACH(without_a_server_the_client_is_reset),
        EACH(more_than_it_holds_is_carried_too),
        EACH(a_port_that_is_taken_is_told),
        EACH(who_is_spared_stays_connected_until_it_heals),
        EACH(babble_comes_from_no_server_and_ends_when_it_heals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
