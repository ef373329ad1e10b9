#include "net/stream.h"

#include "base/mem.h"
#include "net/stream_socket.h"
#include "net/stream_test_help.h"

static bool client_got(const struct client *client, const char *text)
{
    return str_equal(buf_str(&client->got), str_of(text));
}

/* Everything the server can read while the loop turns, until want bytes are there. */
static void server_receive(struct pair *pair, struct buf *out, size_t want)
{
    uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (out->len < want && clock_monotonic_ms() < end_ms) {
        size_t rest = want - out->len < 65536 ? want - out->len : 65536;
        ssize_t got = recv(pair->fd, buf_reserve(out, rest), rest, 0);
        out->len += got > 0 ? (size_t)got : 0;
        assert_int_equal(loop_turn(pair->client.loop, 0), 0);
    }
    assert_int_equal(out->len, want);
}

static void what_is_written_before_it_is_open_arrives_first(void **state)
{
    struct pair pair;
    struct buf arrived = {0};
    pair_listen(&pair);
    pair.client.greeting = "two";
    assert_int_equal(client_open(&pair.client, &pair.options), 0);
    assert_int_equal(stream_write(pair.client.stream, "one ", 4), 0);
    assert_int_equal(stream_queued(pair.client.stream), 4);
    assert_false(stream_is_open(pair.client.stream));
    assert_int_equal(pair.client.opens, 0);
    turn_until(&pair.client, pair.client.opens == 1);
    assert_true(stream_is_open(pair.client.stream));
    pair_accept(&pair);
    server_receive(&pair, &arrived, 7);
    assert_true(str_equal(buf_str(&arrived), STR("one two")));
    buf_fini(&arrived);
    pair_fini(&pair);
}

static void what_is_left_comes_again_with_what_follows(void **state)
{
    struct pair pair;
    pair_listen(&pair);
    pair_open(&pair);
    pair.client.take_whole = 4;
    const char *text = "abcdefghij";
    for (size_t i = 0; i < 10; i++) {
        int calls = pair.client.data_calls;
        server_send(&pair, text + i, 1);
        turn_until(&pair.client, pair.client.data_calls > calls);
        assert_int_equal(pair.client.seen, i % 4 + 1);
    }
    assert_true(client_got(&pair.client, "abcdefgh"));
    pair_fini(&pair);
}

static void the_end_of_the_peer_closes_without_an_error(void **state)
{
    struct pair pair;
    pair_listen(&pair);
    pair_open(&pair);
    server_send(&pair, "bye", 3);
    close(pair.fd);
    pair.fd = -1;
    turn_until(&pair.client, pair.client.closes == 1);
    assert_int_equal(pair.client.err, 0);
    assert_true(client_got(&pair.client, "bye"));
    pair_fini(&pair);
}

/* ---- connecting ---- */

static void assert_fails(struct pair *pair, int err, const char *part)
{
    struct client *client = &pair->client;
    assert_int_equal(client_open(client, &pair->options), 0);
    assert_int_equal(client->closes, 0);
    turn_until(client, client->closes == 1);
    assert_int_equal(client->opens, 0);
    if (client->err != err || !strstr(client->detail, part)) {
        fail_msg("%d, %s", client->err, client->detail);
    }
    pair_fini(pair);
}

static void each_address_of_a_name_is_tried(void **state)
{
    struct pair pair;
    pair_listen(&pair);
    pair.options.host = STR("second.test");
    pair_open(&pair);
    pair_fini(&pair);
}

static void the_last_address_says_why_none_was_good(void **state)
{
    struct pair pair;
    pair_listen(&pair);
    close(pair.listening);
    pair.listening = -1;
    pair.options.host = STR("second.test");
    assert_fails(&pair, -ECONNREFUSED, "connect to 127.0.0.1:");
}

/* A listener whose queue is full drops what knocks: the other end hears nothing. */
static int listen_silently(const char *ip, uint16_t port, int fillers[2])
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &name.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 2; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&name, sizeof(name));
    }
    return fd;
}

static void an_address_that_is_silent_leaves_time_for_the_next(void **state)
{
    struct pair pair;
    int fillers[2];
    pair_listen(&pair);
    int silent = listen_silently("127.0.0.2", pair.options.port, fillers);
    pair.options.host = STR("second.test");
    pair.options.connect_timeout_ms = 1000;
    uint64_t start_ms = clock_monotonic_ms();
    pair_open(&pair);
    assert_true(clock_monotonic_ms() - start_ms >= 500);
    close(fillers[0]);
    close(fillers[1]);
    close(silent);
    pair_fini(&pair);
}

static void a_silent_address_is_given_up_in_time(void **state)
{
    struct pair pair;
    int fillers[2];
    pair_listen(&pair);
    int silent = listen_silently("127.0.0.2", pair.options.port, fillers);
    pair.options.host = STR("127.0.0.2");
    pair.options.connect_timeout_ms = 40;
    assert_fails(&pair, ERR_TIMEOUT, "connect to 127.0.0.2:");
    close(fillers[0]);
    close(fillers[1]);
    close(silent);
}

static void an_unknown_name_is_a_failure(void **state)
{
    struct pair pair;
    pair_listen(&pair);
    pair.options.host = STR("unknown.test");
    assert_fails(&pair, ERR_NOT_FOUND, "look-up of unknown.test: ");
}

static void a_look_up_that_hangs_is_given_up_in_time(void **state)
{
    struct pair pair;
    struct client *client = &pair.client;
    pair_listen(&pair);
    names_hold(true);
    pair.options.host = STR("server.test");
    pair.options.connect_timeout_ms = 30;
    assert_int_equal(client_open(client, &pair.options), 0);
    turn_until(client, client->closes == 1);
    names_hold(false);
    assert_int_equal(client->err, ERR_TIMEOUT);
    assert_non_null(strstr(client->detail, "look-up"));
    pair_fini(&pair);
}

static void too_many_look_ups_that_hang_are_told_later(void **state)
{
    struct pair pairs[RESOLVE_MAX_THREADS + 1];
    struct client *refused = &pairs[RESOLVE_MAX_THREADS].client;
    names_hold(true);
    for (int i = 0; i <= RESOLVE_MAX_THREADS; i++) {
        pair_listen(&pairs[i]);
        pairs[i].options.host = STR("server.test");
        assert_int_equal(client_open(&pairs[i].client, &pairs[i].options), 0);
    }
    assert_int_equal(refused->closes, 0);
    assert_int_equal(stream_write(refused->stream, "lost", 4), 0);
    turn_until(refused, refused->closes == 1);
    assert_int_equal(refused->err, ERR_UNAVAILABLE);
    names_hold(false);
    for (int i = 0; i <= RESOLVE_MAX_THREADS; i++) {
        pair_fini(&pairs[i]);
    }
}

static void closed_at_any_turn_of_opening_nothing_is_called(void **state)
{
    for (int turns = 0; turns < 4; turns++) {
        struct pair pair;
        pair_listen(&pair);
        pair.options.host = STR("second.test");
        assert_int_equal(client_open(&pair.client, &pair.options), 0);
        for (int i = 0; i < turns && pair.client.opens == 0; i++) {
            assert_int_equal(loop_turn(pair.client.loop, 5), 0);
        }
        int opens = pair.client.opens;
        stream_close(pair.client.stream);
        pair.client.stream = NULL;
        assert_true(names_all_quiet());
        assert_int_equal(loop_turn(pair.client.loop, 0), 0);
        assert_int_equal(pair.client.opens, opens);
        assert_int_equal(pair.client.closes, 0);
        pair_fini(&pair);
    }
}

static void a_socket_that_met_itself_counts_as_refused(void **state)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(name);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, len), 0);
    assert_int_equal(stream_socket_result(fd), -ECONNREFUSED);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, len), 0); /* the port is free at once */
    close(fd);
}

/* ---- closing ---- */

static void it_may_be_closed_in_each_callback(void **state)
{
    const enum close_in places[] = {CLOSE_IN_OPEN, CLOSE_IN_DATA, CLOSE_IN_CLOSE};
    for (size_t i = 0; i < 3; i++) {
        struct pair pair;
        pair_listen(&pair);
        pair.client.close_in = places[i];
        pair.client.greeting = "hello";
        pair_open(&pair);
        server_send(&pair, "data", 4);
        close(pair.fd);
        pair.fd = -1;
        turn_until(&pair.client, !pair.client.stream);
        for (int turns = 0; turns < 3; turns++) {
            loop_turn(pair.client.loop, 0);
        }
        assert_int_equal(pair.client.data_calls, places[i] == CLOSE_IN_OPEN ? 0 : 1);
        assert_int_equal(pair.client.closes, places[i] == CLOSE_IN_CLOSE ? 1 : 0);
        pair_fini(&pair);
    }
}

static void an_error_of_on_data_closes_with_it(void **state)
{
    struct pair pair;
    pair_listen(&pair);
    pair_open(&pair);
    pair.client.data_err = ERR_PROTOCOL;
    server_send(&pair, "junk", 4);
    turn_until(&pair.client, pair.client.closes == 1);
    assert_int_equal(pair.client.err, ERR_PROTOCOL);
    assert_int_equal(pair.client.data_calls, 1);
    pair_fini(&pair);
}

static void a_reset_closes_with_it(void **state)
{
    struct pair pair;
    pair_listen(&pair);
    pair_open(&pair);
    reset(pair.fd);
    pair.fd = -1;
    turn_until(&pair.client, pair.client.closes == 1);
    assert_int_equal(pair.client.err, -ECONNRESET);
    pair_fini(&pair);
}

static void writing_to_a_peer_that_is_gone_fails_later(void **state)
{
    struct pair pair;
    pair_listen(&pair);
    pair_open(&pair);
    server_send(&pair, "-ERR go away", 12);
    reset(pair.fd);
    pair.fd = -1;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(stream_write(pair.client.stream, "more", 4), 0);
        assert_int_equal(pair.client.closes, 0);
    }
    turn_until(&pair.client, pair.client.closes == 1);
    assert_true(pair.client.err < 0);
    assert_true(client_got(&pair.client, "-ERR go away"));
    pair_fini(&pair);
}

/* ---- limits ---- */

static void more_than_may_stay_unconsumed_closes(void **state)
{
    struct pair pair;
    char data[1001] = {0};
    pair_listen(&pair);
    pair_open(&pair);
    stream_set_max_unconsumed(pair.client.stream, 1000);
    pair.client.take_whole = 5000;
    server_send(&pair, data, 1000);
    turn_until(&pair.client, pair.client.seen == 1000);
    assert_int_equal(pair.client.closes, 0);
    server_send(&pair, data, 1);
    turn_until(&pair.client, pair.client.closes == 1);
    assert_int_equal(pair.client.err, ERR_TOO_LARGE);
    pair_fini(&pair);
}

static void server_send_all(struct pair *pair, const uint8_t *data, size_t len)
{
    uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (len > 0 && clock_monotonic_ms() < end_ms) {
        ssize_t sent = send(pair->fd, data, len, MSG_NOSIGNAL);
        data += sent > 0 ? sent : 0;
        len -= sent > 0 ? (size_t)sent : 0;
        assert_int_equal(loop_turn(pair->client.loop, 0), 0);
    }
    assert_int_equal(len, 0);
}

static uint8_t *make_pattern(size_t len)
{
    uint8_t *data = mem_alloc(len);
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)(i * 7 + i / 251);
    }
    return data;
}

static void a_long_message_comes_in_one_piece(void **state)
{
    struct pair pair;
    size_t len = 8 * 1000 * 1000;
    uint8_t *data = make_pattern(len);
    pair_listen(&pair);
    pair_open(&pair);
    pair.client.take_whole = len;
    server_send_all(&pair, data, len);
    turn_until(&pair.client, pair.client.got.len == len);
    assert_int_equal(pair.client.seen, len);
    assert_memory_equal(pair.client.got.data, data, len);
    mem_free(data);
    pair_fini(&pair);
}

static void messages_cut_anywhere_come_whole(void **state)
{
    struct pair pair;
    size_t len = 997 * 3000;
    uint8_t *data = make_pattern(len);
    pair_listen(&pair);
    pair_open(&pair);
    pair.client.take_whole = 997;
    server_send_all(&pair, data, len);
    turn_until(&pair.client, pair.client.got.len == len);
    assert_memory_equal(pair.client.got.data, data, len);
    mem_free(data);
    pair_fini(&pair);
}

static void what_the_kernel_does_not_take_waits_in_order(void **state)
{
    struct pair pair;
    struct buf arrived = {0};
    size_t len = 20 * 1000 * 1000;
    size_t at = 0;
    uint8_t *data = make_pattern(len);
    pair_listen(&pair);
    pair_open(&pair);
    while (at < len) {
        struct str pieces[200]; /* more than one call of the system takes */
        for (int i = 0; i < 200; i++) {
            pieces[i] = str_make(data + at, 1000);
            at += 1000;
        }
        assert_int_equal(stream_writev(pair.client.stream, pieces, 200), 0);
        if (at == len / 2) {
            server_receive(&pair, &arrived, 3000000);
        }
    }
    assert_true(stream_queued(pair.client.stream) > 0);
    server_receive(&pair, &arrived, len);
    assert_memory_equal(arrived.data, data, len);
    assert_int_equal(stream_queued(pair.client.stream), 0);
    buf_fini(&arrived);
    mem_free(data);
    pair_fini(&pair);
}

static void over_the_limit_a_write_takes_nothing(void **state)
{
    struct pair pair;
    struct buf arrived = {0};
    char data[1000] = {0};
    size_t total = 0;
    pair_listen(&pair);
    pair.options.max_queued = 10000;
    assert_int_equal(client_open(&pair.client, &pair.options), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(stream_write(pair.client.stream, data, 1000), 0);
    }
    assert_int_equal(stream_write(pair.client.stream, data, 1), ERR_TOO_LARGE);
    assert_int_equal(stream_queued(pair.client.stream), 10000);
    turn_until(&pair.client, stream_queued(pair.client.stream) == 0);
    pair_accept(&pair);
    for (total = 10000; stream_write(pair.client.stream, data, 1000) == 0;) {
        total += 1000;
    }
    size_t queued = stream_queued(pair.client.stream);
    assert_true(queued > 9000 && queued <= 10000);
    server_receive(&pair, &arrived, total);
    buf_fini(&arrived);
    pair_fini(&pair);
}

/* ---- memory ---- */

/* Whatever allocation fails, in opening, writing and reading: on_close is called once, or nothing
 * was lost. */
static bool runs_without_allocation(unsigned long n)
{
    struct pair pair;
    struct client *client = &pair.client;
    uint8_t data[100000] = {0};
    pair_listen(&pair);
    pair.options.host = STR("second.test");
    client->take_whole = sizeof(data);
    buf_reserve(&client->got, sizeof(data)); /* the test's own shall not fail */
    mem_fail_nth(n);
    int opened = client_open(client, &pair.options);
    int wrote = opened ? opened : stream_write(client->stream, "early", 5);
    for (uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
         !opened && client->opens + client->closes == 0 && clock_monotonic_ms() < end_ms;) {
        loop_turn(client->loop, 10);
    }
    if (client->opens && !client->closes) {
        pair_accept(&pair);
        server_send(&pair, data, sizeof(data));
        turn_until(client, client->got.len == sizeof(data) || client->closes == 1);
    }
    bool was_pending = mem_fail_pending();
    mem_fail_nth(0);
    if (client->closes || opened || wrote) {
        assert_false(was_pending);
        assert_int_equal(opened ? opened : wrote ? wrote : client->err, ERR_NO_MEMORY);
    }
    pair_fini(&pair);
    return !was_pending;
}

static void without_memory_it_closes_once(void **state)
{
    unsigned long n = 1;
    while (runs_without_allocation(n)) {
        n++;
    }
    assert_true(n > 5);
}

/* Half of a message is out: what comes behind it would be taken for its rest. */
static void a_write_that_is_cut_by_no_memory_closes(void **state)
{
    struct pair pair;
    size_t len = 20 * 1000 * 1000;
    uint8_t *data = make_pattern(len);
    pair_listen(&pair);
    pair_open(&pair);
    mem_fail_nth(1);
    assert_int_equal(stream_write(pair.client.stream, data, len), 0);
    assert_false(mem_fail_pending());
    turn_until(&pair.client, pair.client.closes == 1);
    assert_int_equal(pair.client.err, ERR_NO_MEMORY);
    mem_free(data);
    pair_fini(&pair);
}

static void a_write_that_finds_no_memory_takes_nothing(void **state)
{
    struct pair pair;
    pair_listen(&pair);
    assert_int_equal(client_open(&pair.client, &pair.options), 0);
    mem_fail_nth(1);
    assert_int_equal(stream_write(pair.client.stream, "lost", 4), ERR_NO_MEMORY);
    assert_int_equal(stream_queued(pair.client.stream), 0);
    assert_int_equal(stream_write(pair.client.stream, "kept", 4), 0);
    assert_int_equal(stream_queued(pair.client.stream), 4);
    pair_fini(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_before_it_is_open_arrives_first),
        cmocka_unit_test(what_is_left_comes_again_with_what_follows),
        cmocka_unit_test(the_end_of_the_peer_closes_without_an_error),
        cmocka_unit_test(each_address_of_a_name_is_tried),
        cmocka_unit_test(the_last_address_says_why_none_was_good),
        cmocka_unit_test(an_address_that_is_silent_leaves_time_for_the_next),
        cmocka_unit_test(a_silent_address_is_given_up_in_time),
        cmocka_unit_test(an_unknown_name_is_a_failure),
        cmocka_unit_test(a_look_up_that_hangs_is_given_up_in_time),
        cmocka_unit_test(too_many_look_ups_that_hang_are_told_later),
        cmocka_unit_test(closed_at_any_turn_of_opening_nothing_is_called),
        cmocka_unit_test(a_socket_that_met_itself_counts_as_refused),
        cmocka_unit_test(it_may_be_closed_in_each_callback),
        cmocka_unit_test(an_error_of_on_data_closes_with_it),
        cmocka_unit_test(a_reset_closes_with_it),
        cmocka_unit_test(writing_to_a_peer_that_is_gone_fails_later),
        cmocka_unit_test(more_than_may_stay_unconsumed_closes),
        cmocka_unit_test(a_long_message_comes_in_one_piece),
        cmocka_unit_test(messages_cut_anywhere_come_whole),
        cmocka_unit_test(what_the_kernel_does_not_take_waits_in_order),
        cmocka_unit_test(over_the_limit_a_write_takes_nothing),
        cmocka_unit_test(without_memory_it_closes_once),
        cmocka_unit_test(a_write_that_is_cut_by_no_memory_closes),
        cmocka_unit_test(a_write_that_finds_no_memory_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
