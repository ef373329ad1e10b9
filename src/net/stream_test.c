#include "net/stream.h"

#include "base/mem.h"
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
        uint8_t *to = buf_reserve(out, 65536);
        ssize_t got = recv(pair->fd, to, 65536, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_before_it_is_open_arrives_first),
        cmocka_unit_test(what_is_left_comes_again_with_what_follows),
        cmocka_unit_test(the_end_of_the_peer_closes_without_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
