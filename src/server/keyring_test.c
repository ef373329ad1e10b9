#include "server/keyring.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/listener.h"

#define ED(kid)                                                 \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"" kid "\"," \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define OK_SET(keys) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"keys\":[" keys "]}"

enum { PATIENCE_MS = 20000 }; /* before a test that waits for an event gives up */

/* An app with a static key and a key set on a server of ours, which gives one answer. */
struct fixture {
    struct loop *loop;
    struct mailbox mailbox;
    struct fetcher *fetcher;
    struct listener *listener;
    struct loop_watch watch;
    const char *answer; /* NULL: silence */
    int asked;
    char url[64];
    struct settings_jwt_key keys[2];
    struct settings_app app;
    struct keyring_options options;
    struct keyring *keyring;
};

static void drop_connection(struct fixture *fixture)
{
    int fd = fixture->watch.fd;
    if (fd >= 0) {
        loop_unwatch(fixture->loop, &fixture->watch);
        close(fd);
    }
}

/* The requests here are small enough to come in one piece. */
static void on_request(struct loop_watch *watch, unsigned events)
{
    struct fixture *fixture = MAIL_OWNER(watch, struct fixture, watch);
    char request[2048];
    ssize_t len = read(watch->fd, request, sizeof(request));
    if (len > 0) {
        fixture->asked++;
        if (!fixture->answer) {
            return;
        }
        assert_true(send(watch->fd, fixture->answer, strlen(fixture->answer), MSG_NOSIGNAL) > 0);
    }
    drop_connection(fixture);
}

static void on_accept(void *owner, int fd, const struct addr *peer)
{
    struct fixture *fixture = owner;
    drop_connection(fixture);
    assert_int_equal(loop_watch(fixture->loop, &fixture->watch, fd, LOOP_READABLE), 0);
}

static int setup(void **state)
{
    struct fixture *fixture = mem_zalloc(sizeof(*fixture));
    struct addr addr;
    *state = fixture;
    log_set_level(LOG_LEVEL_ERROR);
    fixture->watch = (struct loop_watch){.on_ready = on_request, .fd = -1};
    if (addr_parse(&addr, STR("127.0.0.1:0")) || loop_create(&fixture->loop) ||
        mailbox_init(&fixture->mailbox, fixture->loop) ||
        fetcher_create(&fixture->fetcher, fixture->loop, NULL, NULL) ||
        listener_create(&fixture->listener, fixture->loop, &addr, 0, on_accept, fixture)) {
        return -1;
    }
    listener_addr(fixture->listener, &addr);
    snprintf(fixture->url, sizeof(fixture->url), "http://127.0.0.1:%u/keys", addr.port);
    fixture->keys[0] = (struct settings_jwt_key){
        .kind = SETTINGS_KEY_SECRET,
        .kid = STR("static"),
        .material = STR("01234567890123456789012345678901")};
    fixture->keys[1] = (struct settings_jwt_key){
        .kind = SETTINGS_KEY_JWKS_URL, .url = str_of(fixture->url), .refresh_ms = 3600000};
    fixture->app.name = STR("demo");
    fixture->app.auth.jwt.keys = fixture->keys;
    fixture->app.auth.jwt.key_count = 2;
    fixture->options = (struct keyring_options){.loop = fixture->loop,
                                                .fetcher = fixture->fetcher,
                                                .mailbox = &fixture->mailbox,
                                                .app = &fixture->app};
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    keyring_destroy(fixture->keyring);
    drop_connection(fixture);
    listener_destroy(fixture->listener);
    fetcher_destroy(fixture->fetcher);
    mailbox_fini(&fixture->mailbox);
    loop_destroy(fixture->loop);
    mem_free(fixture);
    return 0;
}

static size_t key_count(struct fixture *fixture)
{
    struct keyset *keyset = keyring_get(fixture->keyring);
    size_t count = keyset_count(keyset);
    keyset_unref(keyset);
    return count;
}

static void start(struct fixture *fixture, const char *answer)
{
    fixture->answer = answer;
    assert_int_equal(keyring_create(&fixture->keyring, &fixture->options), 0);
}

static void turn_until_keys(struct fixture *fixture, size_t count)
{
    uint64_t end_ms = loop_now_ms(fixture->loop) + PATIENCE_MS;
    while (key_count(fixture) != count && loop_now_ms(fixture->loop) < end_ms) {
        loop_turn(fixture->loop, 10);
    }
    assert_int_equal(key_count(fixture), count);
}

static void turn_until_asked(struct fixture *fixture, int times)
{
    uint64_t end_ms = loop_now_ms(fixture->loop) + PATIENCE_MS;
    while (fixture->asked < times && loop_now_ms(fixture->loop) < end_ms) {
        loop_turn(fixture->loop, 10);
    }
    assert_int_equal(fixture->asked, times);
}

static void turn_for_ms(struct fixture *fixture, uint64_t span_ms)
{
    uint64_t end_ms = loop_now_ms(fixture->loop) + span_ms;
    while (loop_now_ms(fixture->loop) < end_ms) {
        loop_turn(fixture->loop, 10);
    }
}

static void static_keys_are_there_at_once_and_fetched_ones_join_them(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, OK_SET(ED("a") "," ED("b")));
    assert_int_equal(key_count(fixture), 1);
    assert_false(keyring_is_complete(fixture->keyring));
    turn_until_keys(fixture, 3);
    assert_true(keyring_is_complete(fixture->keyring));
}

static void a_set_is_fetched_again_when_its_time_has_come(void **state)
{
    struct fixture *fixture = *state;
    fixture->keys[1].refresh_ms = 30;
    start(fixture, OK_SET(ED("a")));
    turn_until_keys(fixture, 2);
    fixture->answer = OK_SET(ED("a") "," ED("b") "," ED("c"));
    turn_until_keys(fixture, 4);
    fixture->answer = OK_SET(ED("d"));
    turn_until_keys(fixture, 2);
}

static void a_bad_answer_leaves_the_old_set_and_is_asked_for_again(void **state)
{
    static const char *const bad[] = {
        "HTTP/1.1 500 No\r\nConnection: close\r\n\r\n{\"keys\":[" ED("x") "," ED("y") "]}",
        "HTTP/1.1 302 Away\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nnot json",
        OK_SET(""),
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        "garbage\r\n\r\n",
    };
    struct fixture *fixture = *state;
    fixture->options.retry_ms = 10;
    fixture->options.refetch_ms = 20;
    fixture->keys[1].refresh_ms = 20;
    start(fixture, OK_SET(ED("a")));
    turn_until_keys(fixture, 2);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fixture->answer = bad[i];
        turn_until_asked(fixture, fixture->asked + 2);
        assert_int_equal(key_count(fixture), 2);
    }
    fixture->answer = OK_SET(ED("a") "," ED("b"));
    turn_until_keys(fixture, 3);
}

static void unknown_keys_cause_one_fetch_in_a_while(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.refetch_ms = 200;
    start(fixture, OK_SET(ED("a")));
    turn_until_keys(fixture, 2);
    uint64_t first_ms = loop_now_ms(fixture->loop);
    fixture->answer = OK_SET(ED("a") "," ED("b"));
    for (int i = 0; i < 1000; i++) {
        keyring_want_refresh(fixture->keyring);
    }
    loop_turn(fixture->loop, 0);
    assert_int_equal(fixture->asked, 1);
    turn_until_keys(fixture, 3);
    assert_true(loop_now_ms(fixture->loop) - first_ms >= 150);
    assert_int_equal(fixture->asked, 2);

    turn_for_ms(fixture, 220); /* nobody asked: nothing happens */
    assert_int_equal(fixture->asked, 2);
    keyring_want_refresh(fixture->keyring);
    turn_until_asked(fixture, 3);
}

static void a_key_that_is_none_is_an_error_at_once(void **state)
{
    struct fixture *fixture = *state;
    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    fixture->keys[0].material = STR("short");
    assert_int_equal(keyring_create(&fixture->keyring, &fixture->options), ERR_UNSUPPORTED);
    assert_null(fixture->keyring);
    fixture->keys[0].kind = SETTINGS_KEY_PEM;
    assert_int_equal(keyring_create(&fixture->keyring, &fixture->options), ERR_SYNTAX);
    assert_int_equal(fixture->asked, 0);
}

static void an_app_without_keys_has_an_empty_set(void **state)
{
    struct fixture *fixture = *state;
    fixture->app.auth.jwt.key_count = 0;
    start(fixture, NULL);
    assert_int_equal(key_count(fixture), 0);
    assert_true(keyring_is_complete(fixture->keyring));
    keyring_want_refresh(fixture->keyring);
    loop_turn(fixture->loop, 0);
}

static void it_may_end_while_a_fetch_and_a_mail_are_under_way(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, NULL);
    turn_until_asked(fixture, 1);
    keyring_want_refresh(fixture->keyring);
    struct keyset *kept = keyring_get(fixture->keyring);
    keyring_destroy(fixture->keyring);
    fixture->keyring = NULL;
    loop_turn(fixture->loop, 0);
    assert_int_equal(keyset_count(kept), 1);
    keyset_unref(kept);
}

struct reader {
    struct keyring *keyring;
    atomic_bool stop;
};

static void *read_keys(void *arg)
{
    struct reader *reader = arg;
    size_t seen = 0;
    while (!atomic_load_explicit(&reader->stop, memory_order_relaxed)) {
        struct keyset *keyset = keyring_get(reader->keyring);
        seen += keyset_count(keyset);
        keyring_want_refresh(reader->keyring);
        keyset_unref(keyset);
    }
    return seen > 0 ? reader : NULL;
}

static void threads_may_read_while_sets_change(void **state)
{
    struct fixture *fixture = *state;
    fixture->keys[1].refresh_ms = 10;
    fixture->options.refetch_ms = 10;
    start(fixture, OK_SET(ED("a")));
    struct reader reader = {.keyring = fixture->keyring};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_keys, &reader), 0);
    }
    turn_until_keys(fixture, 2);
    fixture->answer = OK_SET(ED("a") "," ED("b"));
    turn_until_keys(fixture, 3);
    turn_until_asked(fixture, fixture->asked + 5);
    atomic_store(&reader.stop, true);
    for (int i = 0; i < 2; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        assert_non_null(result);
    }
}

static void each_allocation_may_fail(void **state)
{
    struct fixture *fixture = *state;
    fixture->answer = OK_SET(ED("a"));
    fixture->options.retry_ms = 10;
    fixture->options.refetch_ms = 20;
    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    int err = ERR_NO_MEMORY;
    for (unsigned long nth = 1; err; nth++) {
        assert_int_equal(err, ERR_NO_MEMORY);
        mem_fail_nth(nth);
        err = keyring_create(&fixture->keyring, &fixture->options);
        mem_fail_nth(0);
    }
    for (unsigned long nth = 1; nth < 12; nth++) { /* the fetch and what follows it */
        mem_fail_nth(nth);
        turn_until_asked(fixture, fixture->asked + 1);
        mem_fail_nth(0);
        keyring_want_refresh(fixture->keyring);
    }
    turn_until_keys(fixture, 2);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(static_keys_are_there_at_once_and_fetched_ones_join_them),
        CASE(a_set_is_fetched_again_when_its_time_has_come),
        CASE(a_bad_answer_leaves_the_old_set_and_is_asked_for_again),
        CASE(unknown_keys_cause_one_fetch_in_a_while),
        CASE(a_key_that_is_none_is_an_error_at_once),
        CASE(an_app_without_keys_has_an_empty_set),
        CASE(it_may_end_while_a_fetch_and_a_mail_are_under_way),
        CASE(threads_may_read_while_sets_change),
        CASE(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
