#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "api/export_private.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/resolve_test_help.h"
#include "server/families.h"

static const struct metric_family pushes = {
    .kind = METRIC_COUNTER, .name = "test_pushes_total", .help = "Pushes.", .more = ""};

static struct {
    struct loop *loop;
    struct statsd *statsd;
    struct settings *settings;
    int fd; /* the server's */
    struct sockaddr_in here;
} test;

static int64_t result(const char *name)
{
    return metric_value(SERIES(export_requests_total, "statsd", name));
}

static void listen_here(void)
{
    socklen_t len = sizeof(test.here);
    test.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(test.fd, (struct sockaddr *)&test.here, len), 0);
    assert_int_equal(getsockname(test.fd, (struct sockaddr *)&test.here, &len), 0);
}

static int begin(void **state)
{
    char address[64];
    log_set_level(LOG_LEVEL_ERROR);
    test.here = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    listen_here();
    snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(test.here.sin_port));
    assert_int_equal(loop_create(&test.loop), 0);
    assert_int_equal(settings_create_default(&test.settings), 0);
    test.settings->metrics.statsd.address = settings_copy(test.settings, str_of(address));
    test.settings->metrics.statsd.interval_ms = 20;
    return statsd_create(&test.statsd, test.loop, "n1");
}

static int end(void **state)
{
    statsd_destroy(test.statsd);
    loop_destroy(test.loop);
    settings_unref(test.settings);
    close(test.fd);
    return 0;
}

/* Turns until a datagram has the text. */
static void must_arrive(const char *text)
{
    char datagram[2048];
    for (;;) {
        ssize_t len = recv(test.fd, datagram, sizeof(datagram) - 1, MSG_DONTWAIT);
        if (len >= 0) {
            datagram[len] = '\0';
            if (strstr(datagram, text)) {
                return;
            }
        } else {
            assert_int_equal(loop_turn(test.loop, 1000), 0);
        }
    }
}

static void turn_until(const char *name, int64_t before)
{
    while (result(name) == before) {
        metric_add(metric_series(&pushes), 1); /* something to tell in each round */
        assert_int_equal(loop_turn(test.loop, 1000), 0);
    }
}

static void rounds_go_to_the_server(void **state)
{
    metric_add(metric_series(&pushes), 7); /* before: not told */
    statsd_set_settings(test.statsd, test.settings);
    metric_add(metric_series(&pushes), 2);
    must_arrive("test_pushes_total.node.n1:2|c");
    metric_add(metric_series(&pushes), 3);
    statsd_set_settings(test.statsd, test.settings); /* a reload: nothing is lost or told twice */
    must_arrive("test_pushes_total.node.n1:3|c");
    metric_add(metric_series(&pushes), 4);
    statsd_flush(test.statsd);
    must_arrive("test_pushes_total.node.n1:4|c");
}

static void a_server_that_is_away_is_counted(void **state)
{
    int64_t before = result("unreachable");
    test.settings->metrics.statsd.address = STR("127.0.0.1:1");
    statsd_set_settings(test.statsd, test.settings);
    turn_until("unreachable", before);
}

/* The first datagram is lost, which the system says when the next one is to leave. */
static void what_the_system_did_not_take_is_said_later(void **state)
{
    metric_add(metric_series(&pushes), 1);
    statsd_set_settings(test.statsd, test.settings);
    metric_add(metric_series(&pushes), 2);
    must_arrive("test_pushes_total.node.n1:2|c");
    close(test.fd);
    int64_t before = result("unreachable");
    while (result("unreachable") == before) {
        metric_add(metric_series(&pushes), 3);
        statsd_flush(test.statsd);
    }
    listen_here();
    metric_add(metric_series(&pushes), 4);
    statsd_flush(test.statsd);
    must_arrive("test_pushes_total.node.n1:7|c");
}

static void a_name_that_nobody_has_is_counted(void **state)
{
    int64_t before = result("no_name");
    test.settings->metrics.statsd.address = STR("none.test:8125");
    statsd_set_settings(test.statsd, test.settings);
    turn_until("no_name", before);
}

/* 127.0.0.2, where nobody listens, and 127.0.0.1. */
static void of_several_addresses_each_gets_its_turn(void **state)
{
    char address[64];
    struct str known = test.settings->metrics.statsd.address;
    snprintf(address, sizeof(address), "second.test%s", strchr(known.ptr, ':'));
    test.settings->metrics.statsd.address = str_of(address);
    statsd_set_settings(test.statsd, test.settings);
    int64_t before = result("unreachable");
    turn_until("unreachable", before);
    metric_add(metric_series(&pushes), 1);
    must_arrive("test_pushes_total.node.n1:");
}

static void without_an_address_nothing_is_sent(void **state)
{
    char byte;
    statsd_set_settings(test.statsd, test.settings);
    test.settings->metrics.statsd.address = STR("");
    statsd_set_settings(test.statsd, test.settings);
    statsd_flush(test.statsd);
    assert_int_equal(loop_turn(test.loop, 60), 0);
    assert_int_equal(recv(test.fd, &byte, 1, MSG_DONTWAIT), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rounds_go_to_the_server, begin, end),
        cmocka_unit_test_setup_teardown(a_server_that_is_away_is_counted, begin, end),
        cmocka_unit_test_setup_teardown(what_the_system_did_not_take_is_said_later, begin, end),
        cmocka_unit_test_setup_teardown(a_name_that_nobody_has_is_counted, begin, end),
        cmocka_unit_test_setup_teardown(of_several_addresses_each_gets_its_turn, begin, end),
        cmocka_unit_test_setup_teardown(without_an_address_nothing_is_sent, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
