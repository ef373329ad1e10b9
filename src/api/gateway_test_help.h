/* For tests: a whole gateway in this process (the memory bus, worker threads, listeners on loopback
 * ports that the system picks), and a small client that asks it over sockets. Waiting ends at a
 * deadline with a failed test; meanwhile the main loop turns, so that what lives there (the admin
 * listener, a reload) is served, too. */
#ifndef TIDEGATE_API_GATEWAY_TEST_HELP_H
#define TIDEGATE_API_GATEWAY_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/api.h"
#include "api/push.h"
#include "api/sampler.h"
#include "api/up.h"
#include "base/clock.h"
#include "base/mem.h"
#include "bus/bus.h"
#include "core/sid.h"
#include "proto/digest.h"
#include "proto/json.h"
#include "proto/ws_frame.h"
#include "server/stats.h"

enum { GATEWAY_TEST_WAIT_MS = 30000, GATEWAY_TEST_HEAD_MAX = 16384 };

/* The API keys: all but the last belong to the app "shop", that to "other". */
#define KEY_ALL "tg_all"
#define KEY_PUSH "tg_push"
#define KEY_READ "tg_read"
#define KEY_MONITOR "tg_monitor"
#define KEY_ADMIN "tg_admin"
#define KEY_OTHER "tg_other"

struct gateway_test {
    struct loop *loop;
    struct mailbox mailbox;
    struct settings *settings;
    struct tenants *tenants;
    struct sampler *sampler;
    struct gateway *gateway;
    uint16_t port; /* where gateway_test_ask goes: the API listener's */

    struct buf answer; /* the last one, with a NUL behind it */
    const char *head;
    const char *body;
};

/* Changes the settings before the gateway is made; may be NULL. */
typedef void (*gateway_test_tune)(struct settings *settings);

/* ---- the gateway ---- */

static inline void gateway_test_add_key(struct settings *settings, struct settings_app *app,
                                        const char *text, uint32_t scopes)
{
    struct settings_api_key *keys = settings_array(settings, app->api_key_count + 1, sizeof(*keys));
    if (app->api_key_count) {
        memcpy(keys, app->api_keys, app->api_key_count * sizeof(*keys));
    }
    struct settings_api_key *key = &keys[app->api_key_count++];
    key->name = settings_copy(settings, str_of(text));
    key->scopes = scopes;
    digest_sha256(key->hash, text, strlen(text));
    app->api_keys = keys;
}

static inline void gateway_test_fill_app(struct settings *settings, struct settings_app *app,
                                         const char *name)
{
    static struct str patterns[] = {STR("room:*")};
    static struct str proxies[] = {STR("127.0.0.0/8")};
    app->name = settings_copy(settings, str_of(name));
    app->auth.anonymous = true;
    app->auth.trusted_header.name = STR("X-User");
    app->auth.trusted_header.from = proxies;
    app->auth.trusted_header.from_count = 1;
    app->join_patterns = patterns;
    app->join_pattern_count = 1;
}

/* Two workers, two apps. */
static inline struct settings *gateway_test_settings(gateway_test_tune tune)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    settings->workers = 2;
    settings->window.max_bytes = 4 << 20;
    settings->apps = settings_array(settings, 2, sizeof(*settings->apps));
    settings->app_count = 2;
    gateway_test_fill_app(settings, &settings->apps[0], "shop");
    gateway_test_fill_app(settings, &settings->apps[1], "other");
    uint32_t all = SETTINGS_SCOPE_PUSH | SETTINGS_SCOPE_READ | SETTINGS_SCOPE_KICK;
    gateway_test_add_key(settings, &settings->apps[0], KEY_ALL, all);
    gateway_test_add_key(settings, &settings->apps[0], KEY_PUSH, SETTINGS_SCOPE_PUSH);
    gateway_test_add_key(settings, &settings->apps[0], KEY_READ, SETTINGS_SCOPE_READ);
    gateway_test_add_key(settings, &settings->apps[0], KEY_MONITOR, SETTINGS_SCOPE_MONITOR);
    gateway_test_add_key(settings, &settings->apps[0], KEY_ADMIN, SETTINGS_SCOPE_ADMIN);
    gateway_test_add_key(settings, &settings->apps[1], KEY_OTHER, all);
    if (tune) {
        tune(settings);
    }
    return settings;
}

static inline void gateway_test_make_tenants(struct gateway_test *test, struct tenants **out)
{
    struct tenants_options options = {
        .settings = test->settings, .loop = test->loop, .mailbox = &test->mailbox};
    assert_int_equal(tenants_create(out, &options), 0);
}

static inline void gateway_test_on_client(struct worker *worker, struct http_exchange *exchange)
{
    if (!up_on_request(worker, exchange)) {
        http_answer_problem(exchange, 404, "not_found", NULL);
    }
}

static inline void gateway_test_begin(struct gateway_test *test, gateway_test_tune tune)
{
    const char *problem;
    *test = (struct gateway_test){.settings = gateway_test_settings(tune)};
    stats_init();
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(loop_create(&test->loop), 0);
    assert_int_equal(mailbox_init(&test->mailbox, test->loop), 0);
    gateway_test_make_tenants(test, &test->tenants);
    assert_int_equal(sampler_create(&test->sampler, test->loop), 0);
    struct gateway_options options = {.settings = test->settings,
                                      .engine = bus_engine_find(STR("memory")),
                                      .hooks = {.on_api_head = api_on_head,
                                                .on_api_request = api_on_request,
                                                .on_client_request = gateway_test_on_client,
                                                .on_worker_end = push_free_scratch},
                                      .main_mailbox = &test->mailbox,
                                      .sampler = test->sampler,
                                      .has_client = true,
                                      .has_api = true};
    assert_int_equal(addr_parse(&options.client, STR("127.0.0.1:0")), 0);
    assert_int_equal(addr_parse(&options.api, STR("127.0.0.1:0")), 0);
    assert_int_equal(gateway_create(&test->gateway, &options, test->tenants, &problem), 0);
    assert_int_equal(gateway_start(test->gateway), 0);
    test->port = test->gateway->api_addr.port;
}

static inline void gateway_test_end(struct gateway_test *test)
{
    gateway_destroy(test->gateway);
    sampler_destroy(test->sampler);
    tenants_destroy(test->tenants);
    mailbox_fini(&test->mailbox);
    loop_destroy(test->loop);
    settings_unref(test->settings);
    buf_fini(&test->answer);
}

/* ---- sockets ---- */

struct gateway_test_wait {
    struct loop_watch watch;
    bool is_ready;
};

static inline void gateway_test_on_ready(struct loop_watch *watch, unsigned events)
{
    ((struct gateway_test_wait *)watch)->is_ready = true;
}

static inline void gateway_test_wait_for(struct gateway_test *test, int fd)
{
    uint64_t ends_ms = clock_monotonic_ms() + GATEWAY_TEST_WAIT_MS;
    struct gateway_test_wait wait = {.watch = {.on_ready = gateway_test_on_ready, .fd = -1}};
    assert_int_equal(loop_watch(test->loop, &wait.watch, fd, LOOP_READABLE), 0);
    while (!wait.is_ready) {
        if (clock_monotonic_ms() >= ends_ms) {
            fail_msg("nothing came within %d ms", GATEWAY_TEST_WAIT_MS);
        }
        assert_int_equal(loop_turn(test->loop, 100), 0);
    }
    loop_unwatch(test->loop, &wait.watch);
}

/* Appends what comes next; false at the end of the stream. */
static inline bool gateway_test_read(struct gateway_test *test, int fd, struct buf *in)
{
    gateway_test_wait_for(test, fd);
    uint8_t *room = buf_reserve(in, 4096);
    assert_non_null(room);
    ssize_t len = recv(fd, room, 4096, 0);
    in->len += len > 0 ? (size_t)len : 0;
    return len > 0;
}

static inline int gateway_test_connect(uint16_t port)
{
    struct addr addr;
    struct sockaddr_storage sockaddr;
    assert_int_equal(addr_parse(&addr, STR("127.0.0.1:0")), 0);
    addr.port = port;
    socklen_t len = addr_to_sockaddr(&addr, &sockaddr);
    int fd = socket(sockaddr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sockaddr, len), 0);
    return fd;
}

/* A refusal may end the connection before all was taken, so how much was sent doesn't matter. */
static inline void gateway_test_send(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return;
        }
        bytes = str_make(bytes.ptr + sent, bytes.len - (size_t)sent);
    }
}

/* ---- HTTP: a connection for each request ---- */

/* Sends the bytes as they are, and takes what comes until the end of the connection. Returns the
 * status, 0 when there was no answer. */
static inline int gateway_test_exchange(struct gateway_test *test, struct str request)
{
    int fd = gateway_test_connect(test->port);
    gateway_test_send(fd, request);
    buf_clear(&test->answer);
    while (gateway_test_read(test, fd, &test->answer)) {
    }
    close(fd);
    test->head = buf_cstr(&test->answer);
    const char *end = strstr(test->head, "\r\n\r\n");
    test->body = end ? end + 4 : "";
    int status = 0;
    return sscanf(test->head, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

/* line: "GET /v1/users/42"; key: NULL for none; headers: each with its CRLF; body: NULL for none.
 */
static inline int gateway_test_ask_with(struct gateway_test *test, const char *key,
                                        const char *line, const char *headers, const char *body)
{
    struct buf request = {0};
    buf_printf(&request, "%s HTTP/1.1\r\nConnection: close\r\n%s", line, headers);
    if (!strstr(headers, "Host:")) {
        buf_append_str(&request, STR("Host: localhost\r\n"));
    }
    if (key) {
        buf_printf(&request, "Authorization: Bearer %s\r\n", key);
    }
    if (body) {
        buf_printf(&request, "Content-Length: %zu\r\n", strlen(body));
    }
    buf_append_str(&request, STR("\r\n"));
    buf_append_str(&request, str_of(body ? body : ""));
    assert_int_equal(buf_err(&request), 0);
    int status = gateway_test_exchange(test, buf_str(&request));
    buf_fini(&request);
    return status;
}

static inline int gateway_test_ask(struct gateway_test *test, const char *key, const char *line,
                                   const char *body)
{
    return gateway_test_ask_with(test, key, line, "", body);
}

/* The last answer's body has this part; its head has this line. */
static inline void gateway_test_says(const struct gateway_test *test, const char *part)
{
    if (!strstr(test->body, part)) {
        fail_msg("expected: %s\ngot: %s", part, test->head);
    }
}

static inline void gateway_test_has_header(const struct gateway_test *test, const char *line)
{
    const char *found = strstr(test->head, line);
    if (!found || found >= test->body || memcmp(found + strlen(line), "\r\n", 2) != 0) {
        fail_msg("expected the line: %s\ngot: %s", line, test->head);
    }
}

/* The last answer is a problem with this code. */
static inline void gateway_test_says_code(const struct gateway_test *test, const char *code)
{
    char part[128];
    snprintf(part, sizeof(part), "\"code\":\"%s\"", code);
    gateway_test_says(test, part);
    gateway_test_has_header(test, "Content-Type: application/problem+json");
}

/* ---- WebSocket: tidegate.v1.json ---- */

struct gateway_test_client {
    struct gateway_test *test;
    int fd;
    struct buf in;
    char sid[SID_LEN + 1];
    char text[8192];     /* the last text frame */
    uint16_t close_code; /* once the gateway has closed */
};

/* The next frame of data in client->text, or false and the close code. Frames that only move the
 * positions on come when they like and are passed over. */
static inline bool gateway_test_next(struct gateway_test_client *client)
{
    for (;;) {
        struct ws_frame_header header;
        ssize_t head = ws_frame_header_read(&header, client->in.data, client->in.len, false);
        assert_true(head >= 0);
        if (head == 0 || client->in.len < (size_t)head + header.payload_len) {
            if (!gateway_test_read(client->test, client->fd, &client->in)) {
                client->close_code = 1006;
                return false;
            }
            continue;
        }
        const uint8_t *payload = client->in.data + head;
        assert_in_range(header.payload_len, 0, sizeof(client->text) - 1);
        memcpy(client->text, payload, header.payload_len);
        client->text[header.payload_len] = '\0';
        buf_consume(&client->in, (size_t)head + header.payload_len);
        if (header.opcode == WS_CLOSE) {
            client->close_code = (uint16_t)((uint8_t)client->text[0] << 8 |
                                            (uint8_t)client->text[1]);
            return false;
        }
        bool is_data = header.opcode == WS_TEXT || header.opcode == WS_BINARY;
        if (is_data && !str_starts_with(str_of(client->text), STR("{\"t\":\"pos\","))) {
            return true;
        }
    }
}

/* The next text frame has this part. */
static inline void gateway_test_gets(struct gateway_test_client *client, const char *part)
{
    if (!gateway_test_next(client)) {
        fail_msg("expected: %s\nclosed with %d", part, client->close_code);
    }
    if (!strstr(client->text, part)) {
        fail_msg("expected: %s\ngot: %s", part, client->text);
    }
}

static inline void gateway_test_tell(struct gateway_test_client *client, const char *json)
{
    struct buf frame = {0};
    const uint8_t mask[4] = {1, 2, 3, 4};
    assert_int_equal(ws_frame_append_masked(&frame, WS_TEXT, false, str_of(json), mask), 0);
    gateway_test_send(client->fd, buf_str(&frame));
    buf_fini(&frame);
}

static inline void gateway_test_upgrade(struct gateway_test_client *client, const char *app,
                                        const char *user)
{
    char request[512];
    int len = snprintf(request, sizeof(request),
                       "GET /v1/ws?app=%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nX-User: %s\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                       "Sec-WebSocket-Protocol: tidegate.v1.json\r\n\r\n",
                       app, user);
    gateway_test_send(client->fd, str_make(request, (size_t)len));
    const char *end = NULL;
    while (!end) {
        assert_true(gateway_test_read(client->test, client->fd, &client->in));
        end = strstr(buf_cstr(&client->in), "\r\n\r\n");
    }
    assert_memory_equal(client->in.data, "HTTP/1.1 101", 12);
    buf_consume(&client->in, (size_t)(end + 4 - (const char *)client->in.data));
}

/* A session of that user, in these groups (a JSON array), once it is welcome. */
static inline void gateway_test_open(struct gateway_test *test, struct gateway_test_client *client,
                                     const char *app, const char *user, const char *groups)
{
    char hello[512];
    *client = (struct gateway_test_client){.test = test};
    client->fd = gateway_test_connect(test->gateway->client_addr.port);
    gateway_test_upgrade(client, app, user);
    snprintf(hello, sizeof(hello),
             "{\"t\":\"hello\",\"v\":1,\"device\":\"d1\",\"attrs\":{\"platform\":\"web\"},"
             "\"origin\":\"page-1\",\"groups\":%s}",
             groups);
    gateway_test_tell(client, hello);
    gateway_test_gets(client, "\"t\":\"welcome\"");
    const char *sid = strstr(client->text, "\"sid\":\"");
    assert_non_null(sid);
    snprintf(client->sid, sizeof(client->sid), "%s", sid + 7);
}

static inline void gateway_test_close(struct gateway_test_client *client)
{
    close(client->fd);
    buf_fini(&client->in);
}

static inline unsigned gateway_test_worker_of(const struct gateway_test_client *client)
{
    struct sid sid;
    assert_true(sid_parse(&sid, &client->test->gateway->keys.sid_keys[0], str_of(client->sid)));
    return sid.worker;
}

/* The same on a worker of one's choice: the system spreads connections by chance. */
static inline void gateway_test_open_on(struct gateway_test *test,
                                        struct gateway_test_client *client, unsigned worker,
                                        const char *user, const char *groups)
{
    for (int tries = 0; tries < 200; tries++) {
        gateway_test_open(test, client, "shop", user, groups);
        if (gateway_test_worker_of(client) == worker) {
            return;
        }
        char line[128];
        snprintf(line, sizeof(line), "DELETE /v1/sessions/%s", client->sid);
        assert_int_equal(gateway_test_ask(test, KEY_ALL, line, NULL), 200);
        gateway_test_close(client);
    }
    fail_msg("no connection came to worker %u", worker);
}

/* ---- on a worker ---- */

struct gateway_test_job {
    struct mail mail;
    struct gateway_test *test;
    void (*run)(struct gateway_test_job *job, struct worker *worker);
    struct worker *worker;
    void *user;
    bool is_done;
};

static inline void gateway_test_job_done(struct mail *mail)
{
    MAIL_OWNER(mail, struct gateway_test_job, mail)->is_done = true;
}

/* Inside run, or later: gateway_test_run returns. */
static inline void gateway_test_job_end(struct gateway_test_job *job)
{
    job->mail.run = gateway_test_job_done;
    mailbox_post(&job->test->mailbox, &job->mail);
}

static inline void gateway_test_job_start(struct mail *mail)
{
    struct gateway_test_job *job = MAIL_OWNER(mail, struct gateway_test_job, mail);
    job->run(job, job->worker);
}

/* Runs something on a worker's thread, until it calls gateway_test_job_end. */
static inline void gateway_test_run(struct gateway_test *test, unsigned worker,
                                    void (*run)(struct gateway_test_job *, struct worker *),
                                    void *user)
{
    uint64_t ends_ms = clock_monotonic_ms() + GATEWAY_TEST_WAIT_MS;
    struct gateway_test_job job = {.mail = {.run = gateway_test_job_start},
                                   .test = test,
                                   .run = run,
                                   .worker = &test->gateway->workers[worker],
                                   .user = user};
    worker_post(job.worker, &job.mail);
    while (!job.is_done) {
        assert_true(clock_monotonic_ms() < ends_ms);
        assert_int_equal(loop_turn(test->loop, 100), 0);
    }
}

/* ---- memory ---- */

static inline void gateway_test_set_failure(struct gateway_test_job *job, struct worker *worker)
{
    unsigned long *nth = job->user;
    bool was_pending = mem_fail_pending();
    mem_fail_nth(*nth);
    *nth = was_pending;
    gateway_test_job_end(job);
}

/* The nth allocation of the worker from now fails; 0: none. Returns whether the failure that was
 * asked for before is still to come. */
static inline bool gateway_test_fail_nth(struct gateway_test *test, unsigned worker,
                                         unsigned long nth)
{
    gateway_test_run(test, worker, gateway_test_set_failure, &nth);
    return nth != 0;
}

/* Each allocation that one worker makes for a request fails once: the answer is the good one, 202
 * (accepted, but not counted), 503, or none at all, and the next request is answered as if nothing
 * had been. */
static inline void gateway_test_survives(struct gateway_test *test, const char *line,
                                         const char *body, int good_status)
{
    unsigned long nth = 0;
    unsigned refused = 0;
    bool was_enough = false;
    while (!was_enough) {
        assert_in_range(++nth, 1, 500);
        gateway_test_fail_nth(test, 0, nth);
        int status = gateway_test_ask(test, KEY_ALL, line, body);
        was_enough = gateway_test_fail_nth(test, 0, 0);
        refused += status != good_status;
        if (status && status != good_status && status != 202 && status != 503) {
            fail_msg("allocation %lu of %s failed: %s", nth, line, test->head);
        }
        assert_int_equal(gateway_test_ask(test, KEY_ALL, line, body), good_status);
    }
    assert_true(refused > 0);
}

/* ---- cmocka ---- */

/* A test with a gateway of its own, in *state. */
#define GATEWAY_TEST(name) \
    cmocka_unit_test_setup_teardown(name, gateway_test_setup, gateway_test_teardown)

static inline int gateway_test_setup_tuned(void **state, gateway_test_tune tune)
{
    struct gateway_test *test = malloc(sizeof(*test));
    assert_non_null(test);
    gateway_test_begin(test, tune);
    *state = test;
    return 0;
}

static inline int gateway_test_setup(void **state)
{
    return gateway_test_setup_tuned(state, NULL);
}

static inline int gateway_test_teardown(void **state)
{
    gateway_test_end(*state);
    free(*state);
    return 0;
}

#endif
