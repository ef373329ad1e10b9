#include "api/alert_sender.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/alert_test_help.h"
#include "base/clock.h"
#include "base/log.h"

/* A receiver on a thread of its own: it keeps the last request and answers with `status`. */
static struct {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int status, requests;
    char request[8192];
} there;

static bool is_whole(const char *request, size_t len)
{
    const char *body = strstr(request, "\r\n\r\n");
    const char *field = strstr(request, "Content-Length: ");
    return body && field &&
           len >= (size_t)(body + 4 - request) + (size_t)strtoul(field + 16, NULL, 10);
}

static void answer(int fd)
{
    char text[96];
    size_t len = 0;
    ssize_t got;
    while ((got = recv(fd, there.request + len, sizeof(there.request) - 1 - len, 0)) > 0) {
        len += (size_t)got;
        there.request[len] = '\0';
        if (is_whole(there.request, len)) {
            int size = snprintf(text, sizeof(text),
                                "HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                                atomic_load(&there.status));
            atomic_fetch_add(&there.requests, 1);
            (void)!send(fd, text, (size_t)size, MSG_NOSIGNAL);
            return;
        }
    }
}

static void *serve(void *arg)
{
    int fd;
    while ((fd = accept(there.fd, NULL, NULL)) >= 0) {
        answer(fd);
        close(fd);
    }
    return NULL;
}

static int begin_there(void **state)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(here);
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_ERROR);
    there.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(there.fd, (struct sockaddr *)&here, len), 0);
    assert_int_equal(listen(there.fd, 16), 0);
    assert_int_equal(getsockname(there.fd, (struct sockaddr *)&here, &len), 0);
    there.port = ntohs(here.sin_port);
    return pthread_create(&there.thread, NULL, serve, NULL);
}

static int end_there(void **state)
{
    shutdown(there.fd, SHUT_RDWR);
    pthread_join(there.thread, NULL);
    close(there.fd);
    return 0;
}

static char url[64];
static struct settings_receiver receivers[2];
static struct settings_alerts settings = {
    .enabled = true, .interval_ms = 5000, .receivers = receivers};
static struct alert_site site = {STR("c"), STR("gw-1"), &settings};
static struct loop *loop;
static struct fetcher *fetcher;
static struct alert_sender *sender;

static int setup(void **state)
{
    alert_test_setup(state);
    atomic_store(&there.status, 200);
    atomic_store(&there.requests, 0);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/am/", there.port);
    receivers[0] = (struct settings_receiver){.url = str_of(url), .timeout_ms = 5000};
    settings.receiver_count = 1;
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(fetcher_create(&fetcher, loop, NULL, NULL), 0);
    assert_int_equal(alert_sender_create(&sender, loop, fetcher, &alert_test.book, &site), 0);
    return 0;
}

static int teardown(void **state)
{
    alert_sender_destroy(sender);
    fetcher_destroy(fetcher);
    loop_destroy(loop);
    return alert_test_teardown(state);
}

static int64_t counted(const char *result)
{
    return metric_value(SERIES(alert_notices_total, result));
}

static void turn_until(int64_t (*value)(const char *), const char *arg, int64_t wanted)
{
    uint64_t give_up_ms = clock_monotonic_ms() + 10000;
    while (value(arg) < wanted && clock_monotonic_ms() < give_up_ms) {
        assert_int_equal(loop_turn(loop, 10), 0);
    }
    assert_int_equal(value(arg), wanted);
}

static void begin_firing(void)
{
    alert_test_bus(0, 0);
    alert_test_bus(30000, 0);
    alert_sender_pump(sender);
}

static void an_alertmanager_is_posted_to_its_api(void **state)
{
    int64_t before = counted("2xx");
    receivers[0].secret.material = STR("open sesame");
    begin_firing();
    turn_until(counted, "2xx", before + 1);
    assert_non_null(strstr(there.request, "POST /am/api/v2/alerts HTTP/1.1\r\n"));
    assert_non_null(strstr(there.request, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(there.request, "Authorization: Bearer open sesame\r\n"));
    assert_non_null(strstr(there.request, "\"alertname\":\"TidegateBusDown\""));
    alert_sender_pump(sender); /* it knows */
    assert_int_equal(loop_turn(loop, 10), 0);
    assert_int_equal(atomic_load(&there.requests), 1);
}

static void a_webhook_is_posted_to_its_url_with_a_password(void **state)
{
    int64_t before = counted("2xx");
    receivers[0].kind = SETTINGS_RECEIVER_WEBHOOK;
    receivers[0].user = STR("Aladdin");
    receivers[0].secret.material = STR("open sesame");
    begin_firing();
    turn_until(counted, "2xx", before + 1);
    assert_non_null(strstr(there.request, "POST /am/ HTTP/1.1\r\n"));
    assert_non_null(strstr(there.request, "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"));
    assert_non_null(strstr(there.request, "{\"version\":\"4\""));
}

static void a_receiver_that_fails_rests_and_is_told_again(void **state)
{
    int64_t refused = counted("4xx");
    int64_t taken = counted("2xx");
    atomic_store(&there.status, 400);
    begin_firing();
    turn_until(counted, "4xx", refused + 1);
    atomic_store(&there.status, 200);
    for (int i = 0; i < 5; i++) {
        alert_sender_pump(sender); /* nothing is sent while it rests */
        assert_int_equal(loop_turn(loop, 1), 0);
    }
    assert_int_equal(atomic_load(&there.requests), 1);
    turn_until(counted, "2xx", taken + 1); /* by its timer */
}

static void one_that_nobody_answers_for_is_counted(void **state)
{
    int64_t before = counted("unreachable");
    receivers[0].url = STR("http://127.0.0.1:1");
    begin_firing();
    turn_until(counted, "unreachable", before + 1);
}

static void the_same_receivers_keep_what_they_know(void **state)
{
    int64_t before = counted("2xx");
    begin_firing();
    turn_until(counted, "2xx", before + 1);
    alert_sender_set_receivers(sender);
    alert_sender_pump(sender);
    assert_int_equal(loop_turn(loop, 10), 0);
    assert_int_equal(atomic_load(&there.requests), 1);
    struct settings_receiver others[1] = {receivers[0]};
    others[0].kind = SETTINGS_RECEIVER_WEBHOOK;
    struct settings_alerts changed = settings;
    changed.receivers = others;
    site.settings = &changed;
    alert_sender_set_receivers(sender);
    alert_sender_pump(sender);
    turn_until(counted, "2xx", before + 2);
    site.settings = &settings;
    alert_sender_set_receivers(sender);
}

static void what_is_under_way_at_the_end_is_given_up(void **state)
{
    begin_firing();
    assert_true(alert_test_find("TidegateBusDown")->told[0].sending_ms > 0);
    settings.receiver_count = 0;
    alert_sender_set_receivers(sender);
    assert_int_equal(alert_test_find("TidegateBusDown")->told[0].sending_ms, 0);
    alert_sender_pump(sender);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_alertmanager_is_posted_to_its_api),
        TEST(a_webhook_is_posted_to_its_url_with_a_password),
        TEST(a_receiver_that_fails_rests_and_is_told_again),
        TEST(one_that_nobody_answers_for_is_counted),
        TEST(the_same_receivers_keep_what_they_know),
        TEST(what_is_under_way_at_the_end_is_given_up),
    };
    return cmocka_run_group_tests(tests, begin_there, end_there);
}
