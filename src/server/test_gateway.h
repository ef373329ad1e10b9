/* For tests: a gateway of one worker that runs on the test's thread, turn by turn, and clients that
 * talk to it over loopback. Nothing sleeps; memory failures of the thread hit all of it. */
#ifndef TIDEGATE_SERVER_TEST_GATEWAY_H
#define TIDEGATE_SERVER_TEST_GATEWAY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "bus/bus.h"
#include "core/publish.h"
#include "proto/ws_frame.h"
#include "server/stats.h"
#include "server/worker.h"

#define TEST_SECRET "a secret of thirty-two bytes, ok"

enum { TEST_APPS = 2, TEST_TURNS = 8 };

struct test_gateway {
    struct settings *settings;
    struct settings_app apps[TEST_APPS];
    struct settings_jwt_key key;
    struct str patterns[1];
    struct tenants *tenants;
    struct gateway *gateway;
    int64_t held_before[MEM_OWNERS]; /* memory, at the init */
    struct worker *worker;
};

struct test_client {
    struct test_gateway *test;
    int fd;
    uint8_t in[256 * 1024]; /* no allocation here: those of the gateway are to fail */
    size_t in_len;
    char text[128 * 1024]; /* payload of the last frame, or the last answer's bytes */
    size_t len;
};

static inline void test_ignore_exchange(struct worker *worker, struct http_exchange *exchange)
{
}

static inline void test_answer_404(struct worker *worker, struct http_exchange *exchange)
{
    http_answer_problem(exchange, 404, "not_found", NULL);
}

static inline void test_end_worker(void)
{
}

/* Settings to change before test_gateway_start. One app, "demo": anonymous sessions and HS256
 * tokens, groups room:* open. */
static inline void test_gateway_init(struct test_gateway *test)
{
    static bool has_series;
    if (!has_series) {
        stats_init();
        has_series = true;
    }
    *test = (struct test_gateway){0};
    for (enum mem_owner owner = 0; owner < MEM_OWNERS; owner++) {
        test->held_before[owner] = mem_accounted(owner);
    }
    assert_int_equal(settings_create_default(&test->settings), 0);
    test->key = (struct settings_jwt_key){
        .kind = SETTINGS_KEY_SECRET, .alg = SETTINGS_ALG_HS256, .material = STR(TEST_SECRET)};
    test->patterns[0] = STR("room:*");
    test->apps[0] = (struct settings_app){
        .name = STR("demo"),
        .auth = {.anonymous = true, .jwt = {.keys = &test->key, .key_count = 1}},
        .join_patterns = test->patterns,
        .join_pattern_count = 1};
    test->apps[1] = (struct settings_app){.name = STR("other")};
    test->settings->apps = test->apps;
    test->settings->app_count = 1;
    test->settings->workers = 1;
    test->settings->window.max_bytes = 1024 * 1024;
}

/* hooks NULL: there is no API, and the client listener knows nothing but /v1/ws. */
static inline void test_gateway_start(struct test_gateway *test, const struct gateway_hooks *hooks)
{
    const char *problem;
    struct tenants_options tenants = {.settings = test->settings};
    struct gateway_options options = {
        .settings = test->settings, .engine = bus_engine_find(STR("memory")), .has_client = true};
    options.hooks = (struct gateway_hooks){.on_api_head = test_ignore_exchange,
                                           .on_api_request = test_answer_404,
                                           .on_client_request = test_answer_404,
                                           .on_worker_end = test_end_worker};
    if (hooks) {
        options.hooks = *hooks;
        options.has_api = true;
    }
    assert_int_equal(addr_parse(&options.client, STR("127.0.0.1:0")), 0);
    options.api = options.client;
    assert_int_equal(tenants_create(&test->tenants, &tenants), 0);
    assert_int_equal(gateway_create(&test->gateway, &options, test->tenants, &problem), 0);
    test->worker = &test->gateway->workers[0];
}

static inline void test_gateway_turn(struct test_gateway *test, int times)
{
    for (int i = 0; i < times; i++) {
        assert_int_equal(worker_turn(test->worker, 0), 0);
        assert_int_equal(loop_turn(test->gateway->hub_loop, 0), 0);
    }
}

/* On the loop's own timers. */
static inline void test_gateway_turn_for(struct test_gateway *test, uint64_t ms)
{
    uint64_t end = clock_monotonic_ms() + ms;
    while (clock_monotonic_ms() < end) {
        assert_int_equal(worker_turn(test->worker, 5), 0);
        assert_int_equal(loop_turn(test->gateway->hub_loop, 0), 0);
    }
}

/* All memory is as it was at the init. */
static inline void test_gateway_holds_nothing(const struct test_gateway *test)
{
    for (enum mem_owner owner = 0; owner < MEM_OWNERS; owner++) {
        assert_int_equal(mem_accounted(owner), test->held_before[owner]);
    }
}

static inline void test_gateway_stop(struct test_gateway *test)
{
    gateway_destroy(test->gateway);
    tenants_destroy(test->tenants);
    settings_unref(test->settings);
    test_gateway_holds_nothing(test);
}

/* ---- clients ---- */

static inline struct test_client *test_client_create(struct test_gateway *test,
                                                     const struct addr *addr)
{
    struct test_client *client = test_calloc(1, sizeof(*client));
    struct sockaddr_storage to;
    socklen_t len = addr_to_sockaddr(addr, &to);
    client->test = test;
    client->fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    int on = 1; /* what is written is there in the next turn */
    assert_int_equal(setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&to, len), 0);
    test_gateway_turn(test, 2);
    return client;
}

static inline void test_client_destroy(struct test_client *client)
{
    close(client->fd);
    test_gateway_turn(client->test, TEST_TURNS);
    test_free(client);
}

static inline void test_client_write(struct test_client *client, const void *data, size_t len)
{
    (void)!send(client->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    test_gateway_turn(client->test, TEST_TURNS);
}

/* Takes what has come so far. */
static inline void test_client_read(struct test_client *client)
{
    while (client->in_len < sizeof(client->in) / 2) {
        ssize_t got = recv(client->fd, client->in + client->in_len,
                           sizeof(client->in) - 1 - client->in_len, MSG_DONTWAIT);
        if (got <= 0) {
            break;
        }
        client->in_len += (size_t)got;
        test_gateway_turn(client->test, 1);
    }
}

static inline void test_client_keep(struct test_client *client, size_t skip, size_t len)
{
    assert_true(len < sizeof(client->text));
    memcpy(client->text, client->in + skip, len);
    client->text[len] = '\0';
    client->len = len;
    client->in_len -= skip + len;
    memmove(client->in, client->in + skip + len, client->in_len);
}

/* Sends a request; returns the status of the answer (0: none), whose bytes are in text. */
static inline int test_client_ask(struct test_client *client, const char *request)
{
    int status = 0;
    test_client_write(client, request, strlen(request));
    test_client_read(client);
    client->in[client->in_len] = '\0';
    sscanf((const char *)client->in, "HTTP/1.1 %d", &status);
    const uint8_t *end = memmem(client->in, client->in_len, "\r\n\r\n", 4);
    size_t len = end && status == 101 ? (size_t)(end + 4 - client->in) : client->in_len;
    test_client_keep(client, 0, len);
    return status;
}

/* The upgrade; protocol "": a raw session. headers: whole lines, or "". Returns the status. */
static inline int test_client_upgrade(struct test_client *client, const char *target,
                                      const char *protocol, const char *headers)
{
    char request[4096];
    snprintf(request, sizeof(request),
             "GET %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
             "%s%s%s%s\r\n",
             target, *protocol ? "Sec-WebSocket-Protocol: " : "", protocol, *protocol ? "\r\n" : "",
             headers);
    return test_client_ask(client, request);
}

static inline struct test_client *test_connect(struct test_gateway *test, const char *target,
                                               const char *protocol)
{
    struct test_client *client = test_client_create(test, &test->gateway->client_addr);
    assert_int_equal(test_client_upgrade(client, target, protocol, ""), 101);
    return client;
}

static inline void test_client_send(struct test_client *client, enum ws_opcode opcode,
                                    const char *text)
{
    static uint8_t frame[64 * 1024 + WS_HEADER_MAX];
    struct ws_frame_header header = {.fin = true,
                                     .masked = true,
                                     .opcode = opcode,
                                     .mask_key = {9, 8, 7, 6},
                                     .payload_len = strlen(text)};
    size_t head = ws_frame_header_write(frame, &header);
    assert_true(head + strlen(text) <= sizeof(frame));
    memcpy(frame + head, text, strlen(text));
    ws_unmask(frame + head, strlen(text), header.mask_key, 0);
    test_client_write(client, frame, head + strlen(text));
}

static inline struct test_client *test_connect_v1(struct test_gateway *test, const char *hello)
{
    struct test_client *client = test_connect(test, "/v1/ws", "tidegate.v1.json");
    test_client_send(client, WS_TEXT, hello);
    return client;
}

/* The next frame's opcode, its payload in text; -1: there is none. */
static inline int test_client_next(struct test_client *client)
{
    struct ws_frame_header header;
    test_client_read(client);
    ssize_t head = ws_frame_header_read(&header, client->in, client->in_len, true);
    assert_true(head >= 0);
    if (head == 0 || client->in_len - (size_t)head < header.payload_len) {
        return -1;
    }
    test_client_keep(client, (size_t)head, header.payload_len);
    return (int)header.opcode;
}

static inline void test_client_expect(struct test_client *client, const char *part)
{
    assert_int_equal(test_client_next(client), WS_TEXT);
    if (!strstr(client->text, part)) {
        print_error("expected %s in %s\n", part, client->text);
        fail();
    }
}

/* The close code, skipping what comes before; 0: no close frame. */
static inline unsigned test_client_close_code(struct test_client *client)
{
    int opcode;
    while ((opcode = test_client_next(client)) >= 0) {
        if (opcode == WS_CLOSE) {
            return client->len < 2
                       ? 1005
                       : (unsigned)((uint8_t)client->text[0] << 8 | (uint8_t)client->text[1]);
        }
    }
    return 0;
}

/* Sends a text message to one target, past the API. Without memory it is given up. */
static inline void test_push_done(struct publish *publish)
{
    publish_destroy(publish);
}

static inline void test_push(struct test_gateway *test, enum target_kind kind, const char *name,
                             struct str data)
{
    struct shard *shard = test->worker->shard;
    struct target target = {kind, str_of(name)};
    struct event event = {.kind = EVENT_MESSAGE,
                          .parts = 1,
                          .data_kind = EVENT_DATA_TEXT,
                          .key_tag = test->gateway->keys.space.tag,
                          .time_ms = clock_wall_ms(),
                          .id = STR("m1"),
                          .data = data};
    event.header.app = shard_app_hash(shard, 0);
    event.header.origin = test->gateway->boot;
    uint64_t key = target_key(&test->gateway->keys.space, event.header.app, kind, target.name);
    struct publish *publish = publish_create(1);
    if (!publish || event_encode(&publish->parts[0].event, &event, &target, &key, 1, NULL, 0)) {
        publish_destroy(publish);
        return;
    }
    publish->parts[0].queue = target_queue(&test->gateway->keys.space, event.header.app, kind,
                                           target.name, shard_get_options(shard)->queues);
    publish->on_done = test_push_done;
    publish->deadline_ms = clock_monotonic_ms() + 1000;
    gateway_publish(test->worker, publish);
    test_gateway_turn(test, TEST_TURNS);
}

#endif
