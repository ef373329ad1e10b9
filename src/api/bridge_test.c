#include "api/bridge.h"

#include <sched.h>

#include "api/gateway_test_help.h"
#include "server/http_listen.h"

/* The gateway of the fixture, its questions going to a listener on the main loop that hands each to
 * the bridge. */
struct bridge_test {
    struct gateway_test base;
    struct bridge *bridge;
    struct http_service *http;
    struct listener *listener;
    struct api_caller caller;
    uint64_t session;
    uint8_t receive_buffer[16384];
};

static const struct http_pair HEADERS[] = {{STR("Cache-Control"), STR("no-store")}};

static void on_request(void *owner, struct http_exchange *exchange)
{
    struct bridge_test *test = owner;
    bridge_call(test->bridge, exchange, exchange->request->path, &test->caller, test->session);
}

static int begin_with(void **state,
                      void (*handle)(struct worker *worker, struct http_exchange *exchange,
                                     const struct api_caller *caller))
{
    struct bridge_test *test = calloc(1, sizeof(*test));
    struct addr addr;
    assert_non_null(test);
    gateway_test_begin(&test->base, NULL);
    test->caller = (struct api_caller){.name = STR("ops"), .scopes = SETTINGS_SCOPE_MONITOR};
    struct bridge_options options = {test->base.gateway, handle, HEADERS, 1};
    assert_int_equal(bridge_create(&test->bridge, &options), 0);
    struct http_service_options http = {.loop = test->base.loop,
                                        .name = "admin",
                                        .listener = HTTP_LISTENER_ADMIN,
                                        .settings = test->base.settings,
                                        .receive_buffer = test->receive_buffer,
                                        .receive_buffer_len = sizeof(test->receive_buffer),
                                        .owner = test,
                                        .on_request = on_request};
    assert_int_equal(http_service_create(&test->http, &http), 0);
    assert_int_equal(addr_parse(&addr, STR("127.0.0.1:0")), 0);
    assert_int_equal(http_listen(&test->listener, test->http, &addr), 0);
    test->base.port = addr.port;
    *state = test;
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, api_on_request_as);
}

static int end(void **state)
{
    struct bridge_test *test = *state;
    listener_destroy(test->listener);
    http_service_destroy(test->http);
    bridge_destroy(test->bridge);
    gateway_test_end(&test->base);
    free(test);
    return 0;
}

static void an_answer_of_the_api_comes_back_whole(void **state)
{
    struct bridge_test *test = *state;
    assert_int_equal(gateway_test_ask(&test->base, NULL, "GET /v1/nodes?app=shop", NULL), 200);
    gateway_test_says(&test->base, "\"nodes\":[{");
    gateway_test_has_header(&test->base, "Content-Type: application/json");
    gateway_test_has_header(&test->base, "Cache-Control: no-store");
    assert_int_equal(gateway_test_ask(&test->base, NULL, "PUT /v1/nodes", ""), 405);
    gateway_test_has_header(&test->base, "Allow: GET, HEAD");
    assert_int_equal(gateway_test_ask(&test->base, NULL, "GET /v1/nothing", NULL), 404);
    gateway_test_says_code(&test->base, "not_found");
    assert_int_equal(gateway_test_ask(&test->base, NULL, "HEAD /v1/nodes?app=shop", NULL), 200);
    assert_string_equal(test->base.body, "");
}

static void the_caller_may_what_its_scopes_say_in_the_app_it_names(void **state)
{
    struct bridge_test *test = *state;
    const char *push = "POST /v1/users/42/messages?app=other&wait=routed&wait_ms=9000";
    assert_int_equal(gateway_test_ask(&test->base, NULL, push, "1"), 403);
    gateway_test_says_code(&test->base, "scope_missing");
    test->caller.scopes = UINT32_MAX;
    struct gateway_test_client client;
    uint16_t port = test->base.port;
    gateway_test_open(&test->base, &client, "other", "42", "[]");
    test->base.port = port;
    assert_int_equal(gateway_test_ask(&test->base, NULL, push, "{\"n\":1}"), 200);
    gateway_test_says(&test->base, "\"matched\":1");
    assert_true(gateway_test_next(&client));
    assert_non_null(strstr(client.text, "\"data\":{\"n\":1}"));
    gateway_test_close(&client);
}

static void without_an_app_in_the_query_it_is_the_callers_own(void **state)
{
    struct bridge_test *test = *state;
    assert_int_equal(gateway_test_ask(&test->base, NULL, "GET /v1/users/42", NULL), 400);
    gateway_test_says_code(&test->base, "app_required");
    test->caller.app = STR("shop");
    assert_int_equal(gateway_test_ask(&test->base, NULL, "GET /v1/users/42", NULL), 200);
    assert_int_equal(gateway_test_ask(&test->base, NULL, "GET /v1/users/42?app=gone", NULL), 400);
}

/* ---- a handler that waits ---- */

static struct {
    atomic_uint waiting, gone;
    _Atomic(struct http_exchange *) exchange;
} waits;

static void on_waiter_gone(struct http_exchange *exchange)
{
    assert_true(exchange->is_gone);
    assert_null(exchange->request);
    atomic_fetch_add(&waits.gone, 1);
    http_answer_json(exchange, 200, STR("{}"));
}

static void wait(struct worker *worker, struct http_exchange *exchange,
                 const struct api_caller *caller)
{
    assert_true(str_equal(caller->name, STR("ops")));
    exchange->on_gone = on_waiter_gone;
    atomic_store(&waits.exchange, exchange);
    atomic_fetch_add(&waits.waiting, 1);
}

static int begin_waiting(void **state)
{
    atomic_store(&waits.waiting, 0);
    atomic_store(&waits.gone, 0);
    return begin_with(state, wait);
}

static void turn_until(struct bridge_test *test, const atomic_uint *count, unsigned wanted)
{
    uint64_t ends_ms = clock_monotonic_ms() + GATEWAY_TEST_WAIT_MS;
    while (atomic_load(count) < wanted) {
        assert_true(clock_monotonic_ms() < ends_ms);
        assert_int_equal(loop_turn(test->base.loop, 1), 0);
    }
}

static void start(struct bridge_test *test, int *fds, unsigned count)
{
    unsigned before = atomic_load(&waits.waiting);
    for (unsigned i = 0; i < count; i++) {
        fds[i] = gateway_test_connect(test->base.port);
        gateway_test_send(fds[i], STR("GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }
    turn_until(test, &waits.waiting, before + count);
}

static void a_browser_that_goes_ends_what_waits_for_it(void **state)
{
    struct bridge_test *test = *state;
    int fd;
    start(test, &fd, 1);
    close(fd);
    turn_until(test, &waits.gone, 1);
}

static void over_the_limit_of_calls_it_is_503_at_the_limit_it_waits(void **state)
{
    struct bridge_test *test = *state;
    int fds[BRIDGE_CALLS_MAX];
    start(test, fds, BRIDGE_CALLS_MAX);
    assert_int_equal(gateway_test_ask(&test->base, NULL, "GET /v1/x", NULL), 503);
    gateway_test_says_code(&test->base, "overloaded");
    for (int i = 0; i < BRIDGE_CALLS_MAX; i++) {
        close(fds[i]);
    }
    turn_until(test, &waits.gone, BRIDGE_CALLS_MAX);
}

static void a_session_has_its_share_and_leaves_the_others_theirs(void **state)
{
    struct bridge_test *test = *state;
    int fds[BRIDGE_CALLS_OF_SESSION + 1];
    test->session = 7;
    start(test, fds, BRIDGE_CALLS_OF_SESSION);
    assert_int_equal(gateway_test_ask(&test->base, NULL, "GET /v1/x", NULL), 429);
    gateway_test_says_code(&test->base, "rate_limited");
    test->session = 8;
    start(test, &fds[BRIDGE_CALLS_OF_SESSION], 1);
    for (int i = 0; i <= BRIDGE_CALLS_OF_SESSION; i++) {
        close(fds[i]);
    }
    turn_until(test, &waits.gone, BRIDGE_CALLS_OF_SESSION + 1);
    test->session = 7;
    start(test, fds, 1); /* and what has ended counts no more */
    close(fds[0]);
    turn_until(test, &waits.gone, BRIDGE_CALLS_OF_SESSION + 2);
}

/* The listener goes first, then the gateway: what still waits is answered to nobody. */
static void the_end_finds_calls_under_way(void **state)
{
    struct bridge_test *test = *state;
    int fd;
    start(test, &fd, 1);
    http_service_destroy(test->http);
    test->http = NULL;
    uint64_t ends_ms = clock_monotonic_ms() + GATEWAY_TEST_WAIT_MS;
    while (atomic_load(&waits.gone) == 0) { /* the loop may not turn any more */
        assert_true(clock_monotonic_ms() < ends_ms);
        sched_yield();
    }
    close(fd);
}

static void a_worker_that_has_ended_answers_503(void **state)
{
    struct bridge_test *test = *state;
    int fd = gateway_test_connect(test->base.port);
    gateway_test_send(fd, STR("GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\n"
                              "Connection: close\r\n\r\n"));
    for (uint32_t i = 0; i < test->base.gateway->worker_count; i++) {
        worker_stop(&test->base.gateway->workers[i]);
    }
    for (int turn = 0; turn < 3; turn++) { /* accepts, reads and posts */
        assert_int_equal(loop_turn(test->base.loop, 20), 0);
    }
    gateway_destroy(test->base.gateway);
    test->base.gateway = NULL;
    buf_clear(&test->base.answer);
    while (gateway_test_read(&test->base, fd, &test->base.answer)) {
    }
    assert_non_null(strstr(buf_cstr(&test->base.answer), "HTTP/1.1 503 "));
    close(fd);
}

#define BRIDGE_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
#define WAITING_TEST(name) cmocka_unit_test_setup_teardown(name, begin_waiting, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BRIDGE_TEST(an_answer_of_the_api_comes_back_whole),
        BRIDGE_TEST(the_caller_may_what_its_scopes_say_in_the_app_it_names),
        BRIDGE_TEST(without_an_app_in_the_query_it_is_the_callers_own),
        WAITING_TEST(a_browser_that_goes_ends_what_waits_for_it),
        WAITING_TEST(over_the_limit_of_calls_it_is_503_at_the_limit_it_waits),
        WAITING_TEST(a_session_has_its_share_and_leaves_the_others_theirs),
        WAITING_TEST(the_end_finds_calls_under_way),
        WAITING_TEST(a_worker_that_has_ended_answers_503),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
