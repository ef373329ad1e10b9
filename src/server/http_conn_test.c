#include "server/http_conn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

enum { LATE_MAX = 2048, RECEIVE_BYTES = 64 * 1024, TEXT_MAX = 4 * 1024 * 1024, SHORT_MS = 80 };

/* A service whose handler does what the path says, and a peer on the other end of a socket. */
static struct {
    struct loop *loop;
    struct settings *settings;
    struct settings_limits *limits;
    struct http_service *service;
    struct http_exchange *late[LATE_MAX];
    unsigned late_count;
    unsigned requests, heads, refusals, answered;
    char refused[64];
    char body[64 * 1024 + 1]; /* of the last request */
    size_t body_len;
    int taken_fd;
    char rest[256];
    int peer;
    char *text; /* what the peer has read */
    size_t text_len;
    atomic_uint_fast64_t connections;
    uint8_t receive_buffer[RECEIVE_BYTES];
    char large[20000];
} t;

static void answer_text(struct http_exchange *exchange, const char *text)
{
    struct http_response response = {.status = 200, .body = str_of(text)};
    http_answer(exchange, &response);
}

static int atoi_of(struct str text)
{
    uint64_t number = 0;
    (void)str_to_u64(text, 100000, &number);
    return (int)number;
}

static void keep_body(struct str body)
{
    assert_true(body.len < sizeof(t.body));
    if (body.len) {
        memcpy(t.body, body.ptr, body.len);
    }
    t.body[body.len] = '\0';
    t.body_len = body.len;
}

static void take(struct http_exchange *exchange)
{
    struct http_taken taken;
    if (http_take_socket(exchange, 101, &taken)) {
        t.taken_fd = taken.fd;
        snprintf(t.rest, sizeof(t.rest), "%.*s", STR_ARG(taken.rest));
    } else {
        answer_text(exchange, "not taken");
    }
}

static void on_request(void *owner, struct http_exchange *exchange)
{
    struct str path = exchange->request->path;
    t.requests++;
    keep_body(exchange->body);
    if (str_equal(path, STR("/late"))) {
        assert_true(t.late_count < LATE_MAX);
        t.late[t.late_count++] = exchange;
        exchange->user = (void *)(intptr_t)atoi_of(exchange->request->query);
    } else if (str_equal(path, STR("/take"))) {
        take(exchange);
    } else if (str_equal(path, STR("/large"))) {
        answer_text(exchange, t.large);
    } else {
        char text[128];
        snprintf(text, sizeof(text), "[%.*s]", STR_ARG(path));
        answer_text(exchange, text);
    }
}

static void on_head(void *owner, struct http_exchange *exchange)
{
    t.heads++;
    if (str_starts_with(exchange->request->path, STR("/closed"))) {
        http_answer_problem(exchange, 401, "unauthorized", "No.");
    }
}

static void on_answered(void *owner, const struct http_exchange *exchange)
{
    t.answered++;
}

static void on_refused(void *owner, const struct addr *peer, int status, const char *reason)
{
    t.refusals++;
    snprintf(t.refused, sizeof(t.refused), "%s", reason);
}

static int start(void **state)
{
    memset(&t, 0, sizeof(t));
    memset(t.large, 'x', sizeof(t.large) - 1);
    t.peer = -1;
    t.taken_fd = -1;
    t.text = test_malloc(TEXT_MAX);
    t.text[0] = '\0';
    assert_int_equal(loop_create(&t.loop), 0);
    assert_int_equal(loop_turn(t.loop, 0), 0); /* sets the clock */
    assert_int_equal(settings_create_default(&t.settings), 0);
    t.limits = &t.settings->limits;
    struct http_service_options options = {.loop = t.loop,
                                           .name = "test",
                                           .settings = t.settings,
                                           .receive_buffer = t.receive_buffer,
                                           .receive_buffer_len = RECEIVE_BYTES,
                                           .connections = &t.connections,
                                           .on_head = on_head,
                                           .on_request = on_request,
                                           .on_answered = on_answered,
                                           .on_refused = on_refused};
    assert_int_equal(http_service_create(&t.service, &options), 0);
    return 0;
}

static int stop(void **state)
{
    http_service_destroy(t.service);
    while (t.late_count > 0) {
        answer_text(t.late[--t.late_count], "too late");
    }
    loop_destroy(t.loop);
    settings_unref(t.settings);
    test_free(t.text);
    close(t.peer);
    close(t.taken_fd);
    assert_int_equal(mem_accounted(MEM_HTTP), 0);
    assert_int_equal(t.connections, 0);
    return 0;
}

static void turn(int times)
{
    for (int i = 0; i < times; i++) {
        assert_int_equal(loop_turn(t.loop, 0), 0);
    }
}

static void connect_peer(void)
{
    int pair[2];
    struct addr addr = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    close(t.peer);
    t.peer = pair[0];
    http_service_accept(t.service, pair[1], &addr);
}

static void connect_peer_that_takes_little(void)
{
    int small = 1;
    int pair[2];
    struct addr addr = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    t.peer = pair[0];
    http_service_accept(t.service, pair[1], &addr);
}

static void say_bytes(const char *bytes, size_t len)
{
    if (len > 0) {
        assert_int_equal(send(t.peer, bytes, len, MSG_NOSIGNAL), len);
    }
}

static void say(const char *text)
{
    say_bytes(text, strlen(text));
    turn(3);
}

/* What the peer was told since the last call. */
static const char *heard(void)
{
    t.text_len = 0;
    for (;;) {
        ssize_t got = recv(t.peer, t.text + t.text_len, TEXT_MAX - 1 - t.text_len, 0);
        if (got <= 0) {
            break;
        }
        t.text_len += (size_t)got;
        turn(2);
    }
    t.text[t.text_len] = '\0';
    return t.text;
}

static unsigned count(const char *text, const char *word)
{
    unsigned found = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) {
        found++;
    }
    return found;
}

/* Turns until the time has passed, on the loop's own timers. */
static void turn_for(uint64_t ms)
{
    uint64_t end = clock_monotonic_ms() + ms;
    while (clock_monotonic_ms() < end) {
        assert_int_equal(loop_turn(t.loop, 5), 0);
    }
}

static bool is_closed(void)
{
    char byte;
    ssize_t got = recv(t.peer, &byte, 1, MSG_PEEK);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

/* ---- requests ---- */

static void a_request_is_answered_and_the_connection_kept(void **state)
{
    connect_peer();
    say(GET("/a"));
    assert_non_null(strstr(heard(), "[/a]"));
    assert_null(strstr(t.text, "close"));
    say(GET("/b"));
    assert_non_null(strstr(heard(), "[/b]"));
    assert_int_equal(http_service_connections(t.service), 1);
    assert_int_equal(http_service_open_exchanges(t.service), 0);
}

static void answers_keep_the_order_of_the_requests(void **state)
{
    connect_peer();
    say(GET("/late") GET("/late") GET("/now") GET("/late"));
    assert_string_equal(heard(), "");
    answer_text(t.late[2], "third");
    answer_text(t.late[1], "second");
    turn(2);
    assert_string_equal(heard(), "");
    answer_text(t.late[0], "first");
    turn(2);
    heard();
    const char *first = strstr(t.text, "first");
    const char *second = strstr(t.text, "second");
    const char *now = strstr(t.text, "[/now]");
    const char *third = strstr(t.text, "third");
    assert_true(first && second && now && third);
    assert_true(first < second && second < now && now < third);
    t.late_count = 0;
}

static void say_split(const char *text, size_t at)
{
    say_bytes(text, at);
    turn(2);
    say_bytes(text + at, strlen(text) - at);
    turn(2);
}

static void check_every_split(const char *text, const char *body)
{
    connect_peer();
    for (size_t at = 0; at <= strlen(text); at++) {
        t.requests = 0;
        say_split(text, at);
        assert_int_equal(t.requests, 2);
        assert_string_equal(t.body, "");
        assert_int_equal(count(heard(), "200 OK"), 2);
    }
    say_bytes(text, strlen(text) - strlen(GET("/n")));
    turn(2);
    assert_string_equal(t.body, body);
    heard();
}

static void a_body_cut_at_any_byte_reads_the_same(void **state)
{
    check_every_split("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" GET("/n"),
                      "hello");
}

static void a_chunked_body_cut_at_any_byte_reads_the_same(void **state)
{
    check_every_split("POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                      "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n" GET("/n"),
                      "hello");
}

static void byte_by_byte_reads_the_same(void **state)
{
    const char *text = "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                       "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    connect_peer();
    for (size_t i = 0; i < strlen(text); i++) {
        say_bytes(text + i, 1);
        turn(1);
    }
    turn(2);
    assert_string_equal(t.body, "hello");
    assert_int_equal(count(heard(), "200 OK"), 1);
}

static void a_thousand_pipelined_are_answered_in_order_to_a_peer_that_reads_late(void **state)
{
    static char text[64 * 1000];
    size_t len = 0;
    connect_peer();
    for (int i = 0; i < 1000; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, GET("/%d"), i);
    }
    t.limits->pipeline_bytes = 4096;
    int small = 1;
    setsockopt(t.peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    say_bytes(text, len);
    turn(5);
    assert_true(t.requests < 1000);
    heard();
    assert_int_equal(t.requests, 1000);
    const char *at = t.text;
    for (int i = 0; i < 1000; i++) {
        char word[16];
        snprintf(word, sizeof(word), "[/%d]", i);
        at = strstr(at, word);
        assert_non_null(at);
    }
}

static void parsing_pauses_while_too_much_is_unsent(void **state)
{
    connect_peer_that_takes_little();
    for (int i = 0; i < 100; i++) {
        say_bytes(GET("/large"), strlen(GET("/large")));
    }
    turn(20);
    unsigned most = (unsigned)(t.limits->pipeline_bytes / sizeof(t.large)) + 3;
    assert_in_range(t.requests, 1, most);
    assert_int_equal(count(heard(), "200 OK"), 100);
    assert_int_equal(t.requests, 100);
}

static void a_request_handled_at_the_turns_end_brings_another_turn(void **state)
{
    connect_peer_that_takes_little();
    for (int i = 0; i < 10; i++) {
        say_bytes(GET("/large"), strlen(GET("/large")));
    }
    turn(5);
    unsigned before = t.requests;
    while (t.requests == before) {
        char some[4096];
        assert_true(recv(t.peer, some, sizeof(some), 0) > 0);
        turn(1);
    }
    uint64_t started = clock_monotonic_ms();
    assert_int_equal(loop_turn(t.loop, 10000), 0);
    assert_true(clock_monotonic_ms() - started < 5000);
}

/* What waits behind an answer that is late counts as unsent. */
static void parsing_pauses_while_too_much_is_held(void **state)
{
    connect_peer();
    say(GET("/late"));
    for (int i = 0; i < 100; i++) {
        say_bytes(GET("/large"), strlen(GET("/large")));
    }
    turn(20);
    assert_in_range(t.requests, 2, 2 + t.limits->pipeline_bytes / sizeof(t.large) + 1);
    assert_true(mem_accounted(MEM_HTTP) < (int64_t)t.limits->pipeline_bytes + 100000);
    answer_text(t.late[0], "at last");
    t.late_count = 0;
    turn(5);
    turn(200);
    assert_int_equal(count(heard(), "200 OK"), 101);
}

static void what_a_peer_has_taken_is_not_kept(void **state)
{
    char some[3000];
    connect_peer_that_takes_little();
    for (int i = 0; i < 1000; i++) {
        ssize_t sent = send(t.peer, GET("/large"), strlen(GET("/large")), MSG_NOSIGNAL);
        assert_true(sent > 0 || errno == EAGAIN);
        for (int k = 0; k < 5; k++) {
            (void)!recv(t.peer, some, sizeof(some), 0);
            turn(1);
        }
        assert_true(mem_accounted(MEM_HTTP) < 600 * 1024);
    }
    assert_true(t.requests > 500);
}

/* ---- limits ---- */

static void say_head_of(size_t bytes)
{
    static char text[32 * 1024];
    size_t len = (size_t)snprintf(text, sizeof(text), "GET /a HTTP/1.1\r\nHost: a\r\n");
    while (bytes - len - 4 > 1000) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "X: %0*d\r\n", 900, 0);
    }
    len += (size_t)snprintf(text + len, sizeof(text) - len, "X: %0*d\r\n\r\n",
                            (int)(bytes - len - 7), 0);
    assert_int_equal(len, bytes);
    say(text);
}

static void a_head_at_the_limit_passes_and_one_byte_more_is_431(void **state)
{
    connect_peer();
    say_head_of(t.limits->header_bytes);
    assert_non_null(strstr(heard(), "200 OK"));
    say_head_of(t.limits->header_bytes + 1);
    assert_non_null(strstr(heard(), "431"));
    assert_non_null(strstr(t.text, "Connection: close"));
    assert_true(is_closed());
    assert_int_equal(t.refusals, 1);
}

static void say_body_of(size_t bytes, bool chunked)
{
    char head[256];
    static char body[64 * 1024];
    memset(body, 'b', sizeof(body));
    if (chunked) {
        snprintf(head, sizeof(head),
                 "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n", bytes);
    } else {
        snprintf(head, sizeof(head), "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
                 bytes);
    }
    say(head);
    say_bytes(body, bytes);
    turn(2);
    if (chunked) {
        say("\r\n0\r\n\r\n");
    }
}

static void a_body_at_the_limit_passes_and_one_byte_more_is_413(void **state)
{
    t.limits->body_bytes = 1000;
    for (int chunked = 0; chunked < 2; chunked++) {
        connect_peer();
        say_body_of(1000, chunked);
        assert_non_null(strstr(heard(), "200 OK"));
        assert_int_equal(t.body_len, 1000);
        char head[128];
        snprintf(head, sizeof(head), "POST /p HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s",
                 chunked ? "Transfer-Encoding: chunked" : "Content-Length: 1001",
                 chunked ? "3e9\r\n" : "");
        t.requests = 0;
        say(head);
        assert_non_null(strstr(heard(), "413"));
        assert_true(is_closed());
        assert_int_equal(t.requests, 0);
    }
}

static void a_length_that_no_number_holds_is_400(void **state)
{
    connect_peer();
    say("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n");
    assert_non_null(strstr(heard(), "400"));
    assert_int_equal(t.requests, 0);
}

static void a_connection_over_the_limit_is_turned_away(void **state)
{
    t.limits->api_connections = 1;
    connect_peer();
    int first = t.peer;
    t.peer = -1;
    connect_peer();
    assert_non_null(strstr(heard(), "503"));
    assert_true(is_closed());
    assert_string_equal(t.refused, "connection_limit");
    close(first);
    turn(2);
    assert_int_equal(t.connections, 0);
    connect_peer();
    say(GET("/a"));
    assert_non_null(strstr(heard(), "[/a]"));
}

/* ---- time ---- */

static void shorten_times(void)
{
    t.limits->header_timeout_ms = SHORT_MS;
    t.limits->body_timeout_ms = SHORT_MS;
    http_service_set_settings(t.service, t.settings);
}

static void a_peer_that_says_nothing_is_closed(void **state)
{
    shorten_times();
    connect_peer();
    turn_for(3 * SHORT_MS);
    assert_true(is_closed());
    assert_string_equal(t.refused, "no_request");
}

static void a_slow_head_is_408(void **state)
{
    shorten_times();
    connect_peer();
    say("GET /a HTTP/1.1\r\nHo");
    turn_for(3 * SHORT_MS);
    assert_non_null(strstr(heard(), "408"));
    assert_string_equal(t.refused, "header_timeout");
}

static void a_slow_body_is_408(void **state)
{
    shorten_times();
    connect_peer();
    say("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell");
    turn_for(3 * SHORT_MS);
    assert_non_null(strstr(heard(), "408"));
    assert_string_equal(t.refused, "body_timeout");
    assert_int_equal(t.requests, 0);
}

static void a_slow_head_behind_an_owed_answer_costs_it_nothing(void **state)
{
    shorten_times();
    connect_peer();
    say(GET("/late") "GET /a HT");
    turn_for(3 * SHORT_MS);
    assert_string_equal(heard(), "");
    answer_text(t.late[0], "owed");
    t.late_count = 0;
    turn(2);
    heard();
    assert_non_null(strstr(t.text, "owed"));
    assert_true(strstr(t.text, "408") > strstr(t.text, "owed"));
}

/* Its reads end in the middle of a head again and again. */
static void a_peer_that_always_sends_is_never_late(void **state)
{
    t.limits->header_timeout_ms = 6 * SHORT_MS;
    http_service_set_settings(t.service, t.settings);
    connect_peer();
    say("GET /a HTTP/1.1\r\n");
    uint64_t end = clock_monotonic_ms() + 9 * SHORT_MS;
    while (clock_monotonic_ms() < end) {
        say("Host: a\r\n\r\nGET /a HTTP/1.1\r\n");
        assert_int_equal(loop_turn(t.loop, 5), 0);
        assert_null(strstr(heard(), "408"));
        assert_non_null(strstr(t.text, "200 OK"));
    }
}

static void a_peer_that_takes_nothing_is_closed(void **state)
{
    t.limits->write_stall_ms = SHORT_MS;
    http_service_set_settings(t.service, t.settings);
    connect_peer_that_takes_little();
    say(GET("/large") GET("/large"));
    assert_int_equal(http_service_connections(t.service), 1);
    turn_for(3 * SHORT_MS);
    assert_int_equal(http_service_connections(t.service), 0);
    assert_string_equal(t.refused, "write_stall");
}

static void a_refusal_that_is_not_taken_is_not_followed_by_another(void **state)
{
    shorten_times();
    connect_peer_that_takes_little();
    say(GET("/large") "nonsense\r\n\r\n");
    turn_for(4 * SHORT_MS);
    assert_int_equal(count(heard(), "HTTP/1.1 "), 2);
    assert_int_equal(t.refusals, 1);
}

static void a_paused_body_is_not_late(void **state)
{
    shorten_times();
    t.limits->pipeline_bytes = 10;
    connect_peer();
    say(GET("/late") GET("/now") "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    turn_for(3 * SHORT_MS);
    say("lo");
    answer_text(t.late[0], "late");
    t.late_count = 0;
    turn(3);
    assert_int_equal(count(heard(), "200 OK"), 3);
}

/* ---- refusals ---- */

static void a_head_is_refused_before_its_body_is_read(void **state)
{
    connect_peer();
    say("POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n");
    assert_non_null(strstr(heard(), "401"));
    assert_non_null(strstr(t.text, "Connection: close"));
    assert_true(is_closed());
    assert_int_equal(t.requests, 0);
}

static void a_head_that_passes_is_asked_about_once(void **state)
{
    connect_peer();
    say("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n1");
    say("2");
    say("3");
    assert_int_equal(t.heads, 1);
    assert_int_equal(t.requests, 1);
    assert_string_equal(t.body, "123");
    heard();
}

static void a_request_that_is_whole_is_not_asked_about(void **state)
{
    connect_peer();
    say("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n123");
    assert_int_equal(t.heads, 0);
    assert_int_equal(t.requests, 1);
}

static void a_refused_head_behind_others_waits_for_its_turn(void **state)
{
    connect_peer();
    say(GET("/late") "POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n" GET("/now"));
    assert_string_equal(heard(), "");
    answer_text(t.late[0], "first");
    t.late_count = 0;
    turn(2);
    heard();
    assert_true(strstr(t.text, "401") > strstr(t.text, "first"));
    assert_null(strstr(t.text, "[/now]"));
    assert_int_equal(t.requests, 1);
}

static void a_client_that_waits_is_told_to_continue(void **state)
{
    connect_peer();
    say("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_string_equal(heard(), "HTTP/1.1 100 Continue\r\n\r\n");
    say("hi");
    assert_non_null(strstr(heard(), "200 OK"));
    say("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: wonders\r\n\r\n");
    assert_non_null(strstr(heard(), "417"));
    assert_true(is_closed());
}

/* ---- the peer goes ---- */

static void answering_a_peer_that_has_gone_does_no_harm(void **state)
{
    connect_peer();
    say(GET("/late") GET("/late"));
    answer_text(t.late[1], "in front of nobody");
    close(t.peer);
    t.peer = -1;
    turn(2);
    assert_int_equal(http_service_connections(t.service), 0);
    assert_int_equal(http_service_open_exchanges(t.service), 1);
    assert_null(t.late[0]->conn);
    answer_text(t.late[0], "nobody");
    t.late_count = 0;
    assert_int_equal(http_service_open_exchanges(t.service), 0);
    assert_int_equal(t.answered, 2);
}

static void a_peer_that_only_listens_any_more_gets_all_its_answers(void **state)
{
    connect_peer();
    say(GET("/late") GET("/late"));
    shutdown(t.peer, SHUT_WR);
    turn(2);
    answer_text(t.late[0], "first");
    turn(2);
    assert_non_null(strstr(heard(), "first"));
    assert_null(strstr(t.text, "close")); /* there is another behind it */
    answer_text(t.late[1], "second");
    t.late_count = 0;
    turn(2);
    assert_non_null(strstr(heard(), "second"));
    assert_non_null(strstr(t.text, "Connection: close"));
    assert_int_equal(http_service_connections(t.service), 0);
}

static void on_gone(struct http_exchange *exchange)
{
    assert_null(exchange->on_gone);
    answer_text(exchange, "early");
}

/* The second is answered first, so that the answer of the first takes both out of the line. */
static void who_waits_is_told_that_the_peer_has_ended_its_side(void **state)
{
    connect_peer();
    say(GET("/late") GET("/late") GET("/late"));
    turn(2);
    answer_text(t.late[1], "second");
    t.late[0]->on_gone = on_gone;
    t.late[2]->on_gone = on_gone;
    shutdown(t.peer, SHUT_WR);
    turn(2);
    const char *first = strstr(heard(), "early");
    assert_non_null(first);
    const char *second = strstr(first, "second");
    assert_non_null(second);
    assert_non_null(strstr(second, "early"));
    t.late_count = 0;
}

static void who_waits_is_told_that_the_peer_is_gone(void **state)
{
    connect_peer();
    say(GET("/late") GET("/late"));
    turn(2);
    t.late[0]->on_gone = on_gone;
    struct linger linger = {.l_onoff = 1}; /* a reset */
    assert_int_equal(setsockopt(t.peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(t.peer);
    t.peer = -1;
    turn(2);
    assert_int_equal(http_service_open_exchanges(t.service), 1);
    answer_text(t.late[1], "nobody");
    t.late_count = 0;
}

static void keep_answer(void *owner, const struct http_response *response)
{
    int *status = owner;
    *status = response->status;
}

static void an_exchange_without_a_connection_gives_its_answer_to_who_made_it(void **state)
{
    struct http_request request = {.method = HTTP_METHOD_GET};
    int status = 0;
    struct http_exchange *exchange = http_exchange_detached(t.service, &request, STR("body"),
                                                            keep_answer, &status);
    assert_non_null(exchange);
    assert_int_equal(http_service_open_exchanges(t.service), 1);
    http_answer_problem(exchange, 404, "not_found", NULL);
    assert_int_equal(status, 404);
    assert_int_equal(http_service_open_exchanges(t.service), 0);
}

static void a_client_that_asks_for_it_is_closed_after_the_answer(void **state)
{
    connect_peer();
    say("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/b"));
    assert_non_null(strstr(heard(), "[/a]"));
    assert_null(strstr(t.text, "[/b]"));
    assert_true(is_closed());
    assert_int_equal(t.requests, 1);
}

static void an_exchange_outlives_its_service(void **state)
{
    connect_peer();
    say(GET("/late") GET("/late"));
    assert_int_equal(t.late_count, 2); /* answered by stop(), behind the service's end */
}

static void a_drain_closes_behind_the_last_answer(void **state)
{
    connect_peer();
    say(GET("/late") GET("/late"));
    http_service_drain(t.service);
    answer_text(t.late[0], "first");
    turn(2);
    assert_null(strstr(heard(), "close"));
    answer_text(t.late[1], "last");
    t.late_count = 0;
    turn(2);
    assert_non_null(strstr(heard(), "Connection: close"));
    assert_true(is_closed());
}

static void a_drain_answers_what_has_arrived_and_lets_the_idle_go(void **state)
{
    connect_peer();
    say(GET("/a"));
    heard();
    say_bytes(GET("/b"), strlen(GET("/b"))); /* the loop has not seen it yet */
    http_service_drain(t.service);
    turn(2);
    assert_non_null(strstr(heard(), "[/b]"));
    assert_non_null(strstr(t.text, "Connection: close"));
    connect_peer();
    http_service_drain(t.service);
    turn(2);
    assert_true(is_closed());
}

/* ---- taking the socket ---- */

static void a_taken_socket_comes_with_the_bytes_behind_the_request(void **state)
{
    connect_peer();
    say(GET("/take") "more");
    assert_true(t.taken_fd >= 0);
    assert_string_equal(t.rest, "more");
    assert_int_equal(http_service_connections(t.service), 0);
    assert_int_equal(http_service_open_exchanges(t.service), 0);
    assert_int_equal(send(t.taken_fd, "hello", 5, 0), 5);
    assert_string_equal(heard(), "hello");
}

static void a_socket_is_not_taken_behind_an_owed_answer(void **state)
{
    connect_peer();
    say(GET("/late") GET("/take"));
    assert_int_equal(t.taken_fd, -1);
    answer_text(t.late[0], "first");
    t.late_count = 0;
    turn(2);
    assert_non_null(strstr(heard(), "not taken"));
}

static void a_socket_is_taken_from_a_request_that_came_in_pieces(void **state)
{
    connect_peer();
    say_split(GET("/take") "more", 10);
    assert_true(t.taken_fd >= 0);
    assert_string_equal(t.rest, "more");
}

/* ---- memory ---- */

static void go_through_much(void)
{
    static const char post[] = "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "5\r\nhello\r\n0\r\n\r\n";
    connect_peer();
    (void)!send(t.peer, post, 20, MSG_NOSIGNAL);
    turn(1);
    (void)!send(t.peer, post + 20, strlen(post) - 20, MSG_NOSIGNAL);
    turn(1);
    const char *some = GET("/late") GET("/now") GET("/late") "nonsense\r\n\r\n";
    (void)!send(t.peer, some, strlen(some), MSG_NOSIGNAL);
    turn(1);
    while (t.late_count > 0) {
        http_answer_retry(t.late[--t.late_count], 503, "overloaded", "No.", 1);
    }
    turn(2);
    close(t.peer);
    t.peer = -1;
    turn(2);
}

static void memory_may_be_out_at_any_moment(void **state)
{
    go_through_much();
    for (unsigned long n = 1;; n++) {
        mem_fail_nth(n);
        go_through_much();
        bool went_through = mem_fail_pending();
        mem_fail_nth(0);
        turn(2);
        assert_int_equal(http_service_open_exchanges(t.service), 0);
        assert_int_equal(http_service_connections(t.service), 0);
        if (went_through) {
            assert_true(n > 5);
            break;
        }
    }
}

/* ---- at random ---- */

static uint64_t seed;

static unsigned draw(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

/* One request of some kind; its answer will hold [/number] or [late number]. */
static size_t write_some(char *to, size_t room, int number)
{
    switch (draw(5)) {
    case 0: return (size_t)snprintf(to, room, "GET /late?%d HTTP/1.1\r\nHost: a\r\n\r\n", number);
    case 1:
        return (size_t)snprintf(
            to, room, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nsomethi", number);
    case 2:
        return (size_t)snprintf(to, room,
                                "POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                                "\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
                                number);
    default: return (size_t)snprintf(to, room, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", number);
    }
}

/* In an order of its own. */
static void answer_one_late(void)
{
    if (t.late_count > 0) {
        char text[32];
        unsigned at = draw(t.late_count);
        struct http_exchange *exchange = t.late[at];
        t.late[at] = t.late[--t.late_count];
        snprintf(text, sizeof(text), "[/%d]", (int)(intptr_t)exchange->user);
        answer_text(exchange, text);
    }
}

static void read_little(size_t most)
{
    ssize_t got = recv(t.peer, t.text + t.text_len, draw((unsigned)most) + 1, 0);
    t.text_len += got > 0 ? (size_t)got : 0;
}

static void check_answers(int requests)
{
    const char *at = t.text;
    t.text[t.text_len] = '\0';
    for (int i = 0; i < requests; i++) {
        char word[16];
        snprintf(word, sizeof(word), "[/%d]", i);
        at = strstr(at, "[/");
        assert_non_null(at);
        assert_memory_equal(at, word, strlen(word));
        at++;
    }
    assert_null(strstr(at, "[/"));
}

static void exchange_at_random(void)
{
    static char text[32 * 1024];
    enum { REQUESTS = 100 };
    size_t len = 0;
    for (int i = 0; i < REQUESTS; i++) {
        len += write_some(text + len, sizeof(text) - len, i);
    }
    t.text_len = 0;
    for (size_t at = 0; at < len || t.late_count > 0 ||
                        http_service_open_exchanges(t.service) > 0 ||
                        count(t.text, "]") < REQUESTS;) {
        size_t some = draw(draw(4) ? 40 : 4000) + 1;
        some = some > len - at ? len - at : some;
        ssize_t sent = some ? send(t.peer, text + at, some, MSG_NOSIGNAL) : 0;
        at += sent > 0 ? (size_t)sent : 0;
        turn((int)draw(3));
        read_little(draw(4) ? 100 : 5000);
        t.text[t.text_len] = '\0';
        if (draw(2)) {
            answer_one_late();
        }
    }
    check_answers(REQUESTS);
}

static void whatever_comes_whenever_it_is_answered_in_order(void **state)
{
    for (uint64_t run = 0; run < 60; run++) {
        seed = run + 1;
        t.limits->pipeline_bytes = 1 + draw(3000);
        if (draw(2)) {
            connect_peer();
        } else {
            connect_peer_that_takes_little();
        }
        exchange_at_random();
        close(t.peer);
        t.peer = -1;
        turn(2);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_and_the_connection_kept),
        TEST(answers_keep_the_order_of_the_requests),
        TEST(a_body_cut_at_any_byte_reads_the_same),
        TEST(a_chunked_body_cut_at_any_byte_reads_the_same),
        TEST(byte_by_byte_reads_the_same),
        TEST(a_thousand_pipelined_are_answered_in_order_to_a_peer_that_reads_late),
        TEST(parsing_pauses_while_too_much_is_unsent),
        TEST(a_request_handled_at_the_turns_end_brings_another_turn),
        TEST(parsing_pauses_while_too_much_is_held),
        TEST(what_a_peer_has_taken_is_not_kept),
        TEST(a_head_at_the_limit_passes_and_one_byte_more_is_431),
        TEST(a_body_at_the_limit_passes_and_one_byte_more_is_413),
        TEST(a_length_that_no_number_holds_is_400),
        TEST(a_connection_over_the_limit_is_turned_away),
        TEST(a_peer_that_says_nothing_is_closed),
        TEST(a_slow_head_is_408),
        TEST(a_slow_body_is_408),
        TEST(a_slow_head_behind_an_owed_answer_costs_it_nothing),
        TEST(a_peer_that_always_sends_is_never_late),
        TEST(a_peer_that_takes_nothing_is_closed),
        TEST(a_refusal_that_is_not_taken_is_not_followed_by_another),
        TEST(a_paused_body_is_not_late),
        TEST(a_head_is_refused_before_its_body_is_read),
        TEST(a_head_that_passes_is_asked_about_once),
        TEST(a_request_that_is_whole_is_not_asked_about),
        TEST(a_refused_head_behind_others_waits_for_its_turn),
        TEST(a_client_that_waits_is_told_to_continue),
        TEST(answering_a_peer_that_has_gone_does_no_harm),
        TEST(a_peer_that_only_listens_any_more_gets_all_its_answers),
        TEST(who_waits_is_told_that_the_peer_has_ended_its_side),
        TEST(who_waits_is_told_that_the_peer_is_gone),
        TEST(an_exchange_without_a_connection_gives_its_answer_to_who_made_it),
        TEST(a_client_that_asks_for_it_is_closed_after_the_answer),
        TEST(an_exchange_outlives_its_service),
        TEST(a_drain_closes_behind_the_last_answer),
        TEST(a_drain_answers_what_has_arrived_and_lets_the_idle_go),
        TEST(a_taken_socket_comes_with_the_bytes_behind_the_request),
        TEST(a_socket_is_not_taken_behind_an_owed_answer),
        TEST(a_socket_is_taken_from_a_request_that_came_in_pieces),
        TEST(memory_may_be_out_at_any_moment),
        TEST(whatever_comes_whenever_it_is_answered_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
