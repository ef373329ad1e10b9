#include "net/fetch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mail.h"
#include "base/mem.h"
#include "net/listener.h"

/* A server of one answer, on the loop of the fetcher: collects the request up to `want` behind its
 * head, then writes the answer and closes. An answer of NULL keeps silent. */
struct server {
    struct loop *loop;
    struct listener *listener;
    struct loop_watch watch;
    struct buf request;
    struct str want; /* the request is complete when it ends so */
    struct str answer;
    bool repeats; /* the answer goes on for ever */
    char url[128];
    struct fetcher *fetcher;
};

struct result {
    int calls;
    int err;
    int status;
    char body[64];
    char content_type[64];
    bool has_detail;
    bool address_refused;
    uint64_t retry_after_ms;
};

static void drop_connection(struct server *server)
{
    int fd = server->watch.fd;
    if (fd >= 0) {
        loop_unwatch(server->loop, &server->watch);
        close(fd);
    }
}

static void on_server_ready(struct loop_watch *watch, unsigned events)
{
    struct server *server = MAIL_OWNER(watch, struct server, watch);
    uint8_t chunk[4096];
    ssize_t len = read(watch->fd, chunk, sizeof(chunk));
    if (len == 0 || (len < 0 && errno != EAGAIN)) {
        drop_connection(server);
        return;
    }
    if (len > 0) {
        buf_append(&server->request, chunk, (size_t)len);
    }
    if (!server->answer.ptr || !str_ends_with(buf_str(&server->request), server->want)) {
        return;
    }
    ssize_t sent = send(watch->fd, server->answer.ptr, server->answer.len, MSG_NOSIGNAL);
    if (server->repeats && sent >= 0) {
        loop_rewatch(server->loop, watch, LOOP_READABLE | LOOP_WRITABLE);
    } else if (!server->repeats) {
        drop_connection(server);
    }
}

static void on_accept(void *owner, int fd, const struct addr *peer)
{
    struct server *server = owner;
    drop_connection(server);
    buf_clear(&server->request);
    assert_int_equal(loop_watch(server->loop, &server->watch, fd, LOOP_READABLE), 0);
}

static void server_init(struct server *server, const char *answer)
{
    struct addr addr;
    memset(server, 0, sizeof(*server));
    server->watch = (struct loop_watch){.on_ready = on_server_ready, .fd = -1};
    server->want = STR("\r\n\r\n");
    server->answer = str_of(answer);
    assert_int_equal(addr_parse(&addr, STR("127.0.0.1:0")), 0);
    assert_int_equal(loop_create(&server->loop), 0);
    assert_int_equal(listener_create(&server->listener, server->loop, &addr, 0, on_accept, server),
                     0);
    listener_addr(server->listener, &addr);
    snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u/path?q=1", addr.port);
    assert_int_equal(fetcher_create(&server->fetcher, server->loop, NULL, NULL), 0);
}

static void server_fini(struct server *server)
{
    fetcher_destroy(server->fetcher);
    drop_connection(server);
    listener_destroy(server->listener);
    buf_fini(&server->request);
    loop_destroy(server->loop);
}

static void on_done(void *owner, int err, const struct fetch_response *response)
{
    struct result *result = owner;
    result->calls++;
    result->err = err;
    result->status = response->status;
    result->has_detail = response->detail[0] != '\0';
    result->address_refused = response->address_refused;
    result->retry_after_ms = response->retry_after_ms;
    snprintf(result->body, sizeof(result->body), "%.*s", STR_ARG(response->body));
    snprintf(result->content_type, sizeof(result->content_type), "%.*s",
             STR_ARG(response->content_type));
}

static struct fetch_request request_for(const struct server *server)
{
    return (struct fetch_request){
        .url = str_of(server->url), .timeout_ms = 10000, .response_bytes = 1000};
}

static void turn_until_done(struct server *server, const struct result *result)
{
    uint64_t end_ms = loop_now_ms(server->loop) + 20000;
    while (result->calls == 0 && loop_now_ms(server->loop) < end_ms) {
        loop_turn(server->loop, 10);
    }
    assert_int_equal(result->calls, 1);
}

static void run(struct server *server, const struct fetch_request *request, struct result *result)
{
    *result = (struct result){.calls = 0};
    assert_int_equal(fetch_start(NULL, server->fetcher, request, on_done, result), 0);
    assert_int_equal(result->calls, 0);
    turn_until_done(server, result);
}

static bool was_sent(const struct server *server, const char *part)
{
    return memmem(server->request.data, server->request.len, part, strlen(part)) != NULL;
}

static void a_get_brings_status_type_and_body(void **state)
{
    struct server server;
    struct result result;
    server_init(&server, "HTTP/1.1 203 Fine\r\nContent-Type: text/x\r\nContent-Length: 5\r\n\r\n"
                         "hello");
    struct str headers[] = {STR("X-One: 1"), STR("X-Two: 2")};
    struct fetch_request request = request_for(&server);
    request.headers = headers;
    request.header_count = 2;
    run(&server, &request, &result);
    assert_int_equal(result.err, 0);
    assert_int_equal(result.status, 203);
    assert_string_equal(result.body, "hello");
    assert_string_equal(result.content_type, "text/x");
    assert_true(was_sent(&server, "GET /path?q=1 HTTP/1.1\r\n"));
    assert_true(was_sent(&server, "\r\nX-One: 1\r\nX-Two: 2\r\n"));
    server_fini(&server);
}

static void a_post_sends_its_body_without_waiting_for_leave(void **state)
{
    struct server server;
    struct result result;
    server_init(&server, "HTTP/1.1 204 Done\r\n\r\n");
    server.want = STR("{\"a\":1}");
    struct str type = STR("Content-Type: application/json");
    struct fetch_request request = request_for(&server);
    request.is_post = true;
    request.body = server.want;
    request.headers = &type;
    request.header_count = 1;
    run(&server, &request, &result);
    assert_int_equal(result.err, 0);
    assert_int_equal(result.status, 204);
    assert_true(was_sent(&server, "POST /path"));
    assert_true(was_sent(&server, "Content-Length: 7\r\n"));
    assert_false(was_sent(&server, "Expect"));
    server_fini(&server);
}

static void a_redirect_is_an_answer_and_not_followed(void **state)
{
    struct server server;
    struct result result;
    server_init(&server, "HTTP/1.1 302 Away\r\nLocation: http://127.0.0.1:1/\r\n"
                         "Content-Length: 0\r\n\r\n");
    struct fetch_request request = request_for(&server);
    run(&server, &request, &result);
    assert_int_equal(result.err, 0);
    assert_int_equal(result.status, 302);
    server_fini(&server);
}

static void what_an_answer_asks_to_wait_is_told(void **state)
{
    static const struct {
        const char *answer;
        uint64_t least_ms, most_ms;
    } cases[] = {
        {"HTTP/1.1 503 Later\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n", 120000, 120000},
        {"HTTP/1.1 503 Later\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", 0, 0},
        {"HTTP/1.1 503 Later\r\nRetry-After: -7\r\nContent-Length: 0\r\n\r\n", 0, 0},
        {"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n", 0, 0},
    };
    struct server server;
    struct result result;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        server_init(&server, cases[i].answer);
        struct fetch_request request = request_for(&server);
        run(&server, &request, &result);
        assert_int_equal(result.status, 503);
        assert_in_range(result.retry_after_ms, cases[i].least_ms, cases[i].most_ms);
        assert_false(result.address_refused);
        server_fini(&server);
    }
}

static void an_answer_over_the_limit_is_cut_off(void **state)
{
    struct server server;
    struct result result;
    server_init(&server, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    struct fetch_request request = request_for(&server);
    request.response_bytes = 999;
    run(&server, &request, &result);
    assert_int_equal(result.err, ERR_TOO_LARGE);
    server_fini(&server);

    server_init(&server, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789");
    request = request_for(&server);
    request.response_bytes = 9;
    run(&server, &request, &result);
    assert_int_equal(result.err, ERR_TOO_LARGE);
    request.response_bytes = 10;
    run(&server, &request, &result);
    assert_int_equal(result.err, 0);
    server_fini(&server);
}

static void endless_headers_are_cut_off(void **state)
{
    struct server server;
    struct result result;
    server_init(&server, "HTTP/1.1 100 Continue\r\nX: 1234567890\r\n\r\n");
    server.repeats = true;
    struct fetch_request request = request_for(&server);
    run(&server, &request, &result);
    assert_int_equal(result.err, ERR_TOO_LARGE);
    server_fini(&server);
}

static void a_silent_server_runs_into_the_time_out(void **state)
{
    struct server server;
    struct result result;
    server_init(&server, NULL);
    struct fetch_request request = request_for(&server);
    request.timeout_ms = 30;
    run(&server, &request, &result);
    assert_int_equal(result.err, ERR_TIMEOUT);
    assert_int_equal(result.status, 0);
    assert_true(result.has_detail);
    server_fini(&server);
}

static void a_closed_port_garbage_and_early_ends_are_failures(void **state)
{
    static const char *const answers[] = {"garbage\r\n\r\n", "",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"};
    struct server server;
    struct result result;
    for (size_t i = 0; i < 3; i++) {
        server_init(&server, answers[i]);
        struct fetch_request request = request_for(&server);
        run(&server, &request, &result);
        assert_int_equal(result.err, ERR_UNAVAILABLE);
        listener_destroy(server.listener);
        server.listener = NULL;
        run(&server, &request, &result);
        assert_int_equal(result.err, ERR_UNAVAILABLE);
        server_fini(&server);
    }
}

static void what_is_no_web_address_is_refused(void **state)
{
    static const char *const bad[] = {"file:///etc/passwd", "ftp://127.0.0.1/", "http", "",
                                      "gopher://127.0.0.1:1/"};
    struct server server;
    struct result result;
    server_init(&server, "");
    struct fetch_request request = request_for(&server);
    request.url = STR("http://[::");
    run(&server, &request, &result);
    assert_int_equal(result.err, ERR_SYNTAX);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        request.url = str_of(bad[i]);
        assert_int_equal(fetch_start(NULL, server.fetcher, &request, on_done, &result), ERR_SYNTAX);
    }
    request.url = STR("http://127.0.0.1/\0x");
    assert_int_equal(fetch_start(NULL, server.fetcher, &request, on_done, &result), ERR_SYNTAX);
    struct str header = STR("X: 1\r\nY: 2");
    request = request_for(&server);
    request.headers = &header;
    request.header_count = 1;
    assert_int_equal(fetch_start(NULL, server.fetcher, &request, on_done, &result), ERR_SYNTAX);
    assert_int_equal(result.calls, 1);
    server_fini(&server);
}

static bool refuse_loopback(void *owner, const struct addr *addr)
{
    (*(int *)owner)++;
    return !addr_is_loopback(addr);
}

static void an_address_that_may_not_be_reached_is_not_connected_to(void **state)
{
    struct server server;
    struct result result;
    int asked = 0;
    server_init(&server, "HTTP/1.1 200 OK\r\n\r\n");
    fetcher_destroy(server.fetcher);
    assert_int_equal(fetcher_create(&server.fetcher, server.loop, refuse_loopback, &asked), 0);
    struct fetch_request request = request_for(&server);
    run(&server, &request, &result);
    assert_int_equal(result.err, ERR_DENIED);
    assert_true(result.address_refused);
    assert_true(asked > 0);
    assert_int_equal(server.watch.fd, -1);
    server_fini(&server);
}

static void canceling_and_tearing_down_keep_the_promise(void **state)
{
    struct server server;
    struct result results[3] = {{.calls = 0}};
    struct fetch *fetch = NULL;
    server_init(&server, NULL);
    listener_pause(server.listener); /* the kernel takes connections, nobody answers */
    struct fetch_request request = request_for(&server);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fetch_start(&fetch, server.fetcher, &request, on_done, &results[i]), 0);
        loop_turn(server.loop, 10);
        loop_turn(server.loop, 10);
    }
    fetch_cancel(fetch);
    fetch_cancel(NULL);
    assert_int_equal(results[2].calls, 1);
    assert_int_equal(results[2].err, ERR_CANCELED);
    server_fini(&server);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(results[i].calls, 1);
        assert_int_equal(results[i].err, ERR_CANCELED);
    }
}

struct chain {
    struct server *server;
    struct result *result;
};

static void start_next(void *owner, int err, const struct fetch_response *response)
{
    struct chain *chain = owner;
    assert_int_equal(err, 0);
    struct fetch_request request = request_for(chain->server);
    assert_int_equal(fetch_start(NULL, chain->server->fetcher, &request, on_done, chain->result),
                     0);
}

static void an_answer_may_start_the_next_request(void **state)
{
    struct server server;
    struct result result = {.calls = 0};
    struct chain chain = {&server, &result};
    server_init(&server, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx");
    struct fetch_request request = request_for(&server);
    assert_int_equal(fetch_start(NULL, server.fetcher, &request, start_next, &chain), 0);
    turn_until_done(&server, &result);
    assert_int_equal(result.err, 0);
    server_fini(&server);
}

static void each_allocation_may_fail_and_the_promise_holds(void **state)
{
    struct server server;
    struct result result;
    bool is_over = false;
    server_init(&server, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx");
    struct str header = STR("X: 1");
    struct fetch_request request = request_for(&server);
    request.headers = &header;
    request.header_count = 1;
    request.timeout_ms = 50;
    for (unsigned long nth = 1; nth < 50 && !is_over; nth++) {
        result = (struct result){.calls = 0};
        mem_fail_nth(nth);
        if (fetch_start(NULL, server.fetcher, &request, on_done, &result) == 0) {
            turn_until_done(&server, &result);
        }
        is_over = mem_fail_pending();
        mem_fail_nth(0);
    }
    assert_true(is_over);
    assert_int_equal(result.err, 0);
    server_fini(&server);

    struct fetcher *fetcher = NULL;
    mem_fail_nth(1);
    assert_int_equal(fetcher_create(&fetcher, NULL, NULL, NULL), ERR_NO_MEMORY);
    fetcher_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_brings_status_type_and_body),
        cmocka_unit_test(a_post_sends_its_body_without_waiting_for_leave),
        cmocka_unit_test(a_redirect_is_an_answer_and_not_followed),
        cmocka_unit_test(what_an_answer_asks_to_wait_is_told),
        cmocka_unit_test(an_answer_over_the_limit_is_cut_off),
        cmocka_unit_test(endless_headers_are_cut_off),
        cmocka_unit_test(a_silent_server_runs_into_the_time_out),
        cmocka_unit_test(a_closed_port_garbage_and_early_ends_are_failures),
        cmocka_unit_test(what_is_no_web_address_is_refused),
        cmocka_unit_test(an_address_that_may_not_be_reached_is_not_connected_to),
        cmocka_unit_test(canceling_and_tearing_down_keep_the_promise),
        cmocka_unit_test(an_answer_may_start_the_next_request),
        cmocka_unit_test(each_allocation_may_fail_and_the_promise_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
