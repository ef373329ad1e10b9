#include "cli/tail_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static struct tail_state *state;
static struct tail_sink sink;

static int make(void **unused)
{
    state = mem_zalloc(sizeof(*state));
    return tail_state_init(state);
}

static int forget(void **unused)
{
    tail_sink_fini(&sink);
    mem_free(state);
    return 0;
}

static void take(const char *text)
{
    tail_sink_fini(&sink);
    assert_int_equal(tail_state_on_text(state, str_of(text), &sink), 0);
}

static const char *out(void)
{
    return buf_cstr(&sink.out);
}

static void assert_hello(const char *expected)
{
    struct buf hello = {0};
    assert_int_equal(tail_state_write_hello(state, &hello, NULL, 0), 0);
    assert_string_equal(buf_cstr(&hello), expected);
    buf_fini(&hello);
}

static const char welcome[] =
    "{\"t\":\"welcome\",\"sid\":\"s_9\",\"user\":\"42\",\"epoch\":\"e7\",\"resumed\":\"none\","
    "\"pos\":{\"2\":\"81723.0\",\"5\":\"11.3\"},\"ping_ms\":1000,\"retry\":{\"base_ms\":5,\"max_ms\":60}}";

static void the_first_hello_has_nothing_to_resume(void **unused)
{
    struct buf hello = {0};
    const char *groups[] = {"room:1", "a\"b"};
    assert_hello("{\"t\":\"hello\",\"v\":1}");
    assert_int_equal(tail_state_write_hello(state, &hello, groups, 2), 0);
    assert_string_equal(buf_cstr(&hello),
                        "{\"t\":\"hello\",\"v\":1,\"groups\":[\"room:1\",\"a\\\"b\"]}");
    buf_fini(&hello);
}

static void a_welcome_sets_what_the_connection_needs(void **unused)
{
    take(welcome);
    assert_true(state->welcomed);
    assert_int_equal(state->ping_ms, 1000);
    assert_int_equal(state->retry_base_ms, 5);
    assert_int_equal(state->retry_max_ms, 60);
    assert_string_equal(buf_cstr(&sink.words), "connected: session s_9, user 42, resumed none\n");
    assert_string_equal(out(), "");
    tail_state_reset_connection(state);
    assert_false(state->welcomed);
    assert_int_equal(state->ping_ms, 25000);
}

static void a_resume_names_the_last_position_of_each_queue(void **unused)
{
    take(welcome);
    take("{\"t\":\"msg\",\"id\":\"a\",\"pos\":\"2:81724.0\",\"data\":1}");
    take("{\"t\":\"pos\",\"pos\":{\"5\":\"12.0\",\"7\":\"1.0\"}}");
    assert_hello("{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e7\",\"pos\":{\"2\":\"81724.0\","
                 "\"5\":\"12.0\",\"7\":\"1.0\"}}}");
}

static void another_epoch_forgets_the_positions_of_the_old_one(void **unused)
{
    take(welcome);
    take(
        "{\"t\":\"gap\",\"q\":\"5\",\"from\":\"11.3\",\"to\":\"2.0\",\"why\":\"epoch\",\"epoch\":\"e7b\"}");
    assert_hello(
        "{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e7b\",\"pos\":{\"2\":\"81723.0\","
        "\"5\":\"2.0\"}}}");
    take("{\"t\":\"welcome\",\"epoch\":\"e8\",\"pos\":{\"2\":\"1.0\"}}");
    assert_hello("{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e8\",\"pos\":{\"2\":\"1.0\"}}}");
    take("{\"t\":\"pos\",\"epoch\":\"e9\",\"pos\":{\"3\":\"4.0\"}}");
    assert_hello("{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e9\",\"pos\":{\"3\":\"4.0\"}}}");
    take("{\"t\":\"welcome\",\"epoch\":\"e9\",\"resumed\":\"none\",\"pos\":{\"2\":\"1.0\"}}");
    assert_hello("{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e9\",\"pos\":{\"2\":\"1.0\"}}}");
}

static void messages_are_lines_of_four_columns(void **unused)
{
    take(
        "{\"t\":\"msg\",\"id\":\"cmt-7\",\"pos\":\"2:1.0\",\"type\":\"comment.created\",\"g\":\"room:1\","
        "\"data\":{\"id\":7,\n \"text\":\"h\\ti\"}}");
    assert_string_equal(out(), "cmt-7\tcomment.created\troom:1\t{\"id\":7,  \"text\":\"h\\ti\"}\n");
    take("{\"t\":\"msg\",\"data\":null}");
    assert_string_equal(out(), "-\t-\t-\tnull\n");
    take("{\"t\":\"msg\",\"type\":\"a\\u001b[2J\\t\"}");
    assert_string_equal(out(), "-\ta\\u001b[2J\\t\t-\t-\n");
    take("{\"t\":\"msg\",\"data_base64\":\"AAE=\"}");
    assert_string_equal(out(), "-\t-\t-\t\"AAE=\"\n");
    assert_int_equal(state->messages, 4);
}

static void json_gives_every_frame_as_it_came(void **unused)
{
    state->as_json = true;
    take(
        "[{\"t\":\"msg\",\"id\":\"a\",\n\"data\":1.0},{\"t\":\"ok\",\"re\":1},{\"t\":\"new-kind\"}]");
    assert_string_equal(
        out(),
        "{\"t\":\"msg\",\"id\":\"a\", \"data\":1.0}\n{\"t\":\"ok\",\"re\":1}\n{\"t\":\"new-kind\"}\n");
}

static void a_repeat_is_shown_once_but_acknowledged_again(void **unused)
{
    take("{\"t\":\"msg\",\"id\":\"a\",\"ack\":1,\"data\":1}");
    assert_string_equal(buf_cstr(&sink.answer), "{\"t\":\"ack\",\"ids\":[\"a\"]}");
    take(
        "[{\"t\":\"msg\",\"id\":\"a\",\"ack\":1,\"data\":1},{\"t\":\"msg\",\"id\":\"b\",\"ack\":1,\"data\":2},"
        "{\"t\":\"msg\",\"id\":\"c\",\"ack\":0,\"data\":3}]");
    assert_string_equal(out(), "b\t-\t-\t2\nc\t-\t-\t3\n");
    assert_string_equal(buf_cstr(&sink.answer), "{\"t\":\"ack\",\"ids\":[\"a\",\"b\"]}");
    assert_int_equal(state->messages, 3);
}

static void a_count_stops_within_a_frame_and_acknowledges_no_more(void **unused)
{
    state->limit = 2;
    take(
        "[{\"t\":\"msg\",\"id\":\"a\",\"data\":1},{\"t\":\"msg\",\"id\":\"b\",\"ack\":1,\"data\":2},"
        "{\"t\":\"msg\",\"id\":\"c\",\"ack\":1,\"data\":3}]");
    assert_string_equal(out(), "a\t-\t-\t1\nb\t-\t-\t2\n");
    assert_string_equal(buf_cstr(&sink.answer), "{\"t\":\"ack\",\"ids\":[\"b\"]}");
    assert_true(tail_state_is_done(state));
}

static void ids_are_forgotten_only_after_many(void **unused)
{
    char text[80];
    for (int i = 0; i < TAIL_SEEN_IDS; i++) {
        snprintf(text, sizeof(text), "{\"t\":\"msg\",\"id\":\"m%d\"}", i);
        take(text);
    }
    take("{\"t\":\"msg\",\"id\":\"m0\"}");
    assert_string_equal(out(), "");
    assert_int_equal(state->messages, TAIL_SEEN_IDS);
}

static void trouble_is_told_in_words(void **unused)
{
    take("{\"t\":\"gap\",\"q\":\"2\",\"from\":1,\"to\":2,\"why\":\"expired\"}");
    assert_string_equal(buf_cstr(&sink.words),
                        "messages may be missing (expired); fetch the present state anew\n");
    take("{\"t\":\"err\",\"re\":1,\"code\":\"forbidden\",\"title\":\"No such\"}");
    assert_string_equal(buf_cstr(&sink.words),
                        "the gateway refused a request: No such (forbidden)\n");
    take("{\"t\":\"goaway\",\"slot_ms\":4200,\"window_ms\":20000,\"why\":\"drain\"}");
    assert_true(state->going_away);
    assert_int_equal(state->slot_ms, 4200);
    take("{\"t\":\"expiring\",\"in_ms\":30000}");
    assert_true(state->token_expiring);
    assert_string_equal(buf_cstr(&sink.words), "the token expires in 30 s\n");
}

static void what_is_not_a_frame_is_refused(void **unused)
{
    const char *bad[] = {"", "hello", "1", "\"msg\"", "null", "{\"t\":\"msg\"", "{} {}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(tail_state_on_text(state, str_of(bad[i]), &sink), ERR_SYNTAX);
    }
    take("[]");
    take("[1,null,{\"t\":7}]");
    assert_string_equal(out(), "");
}

static void what_is_too_long_or_too_much_is_left_out(void **unused)
{
    char text[400];
    take("{\"t\":\"welcome\",\"epoch\":\"e\",\"pos\":{}}");
    for (int i = 0; i < TAIL_QUEUES_MAX + 10; i++) {
        snprintf(text, sizeof(text), "{\"t\":\"pos\",\"pos\":{\"q%d\":\"1\"}}", i);
        take(text);
    }
    assert_int_equal(state->position_count, TAIL_QUEUES_MAX);
    char name[200];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(text, sizeof(text), "{\"t\":\"welcome\",\"epoch\":\"%s\"}", name);
    take(text);
    assert_string_equal(state->epoch, "e");
    snprintf(text, sizeof(text), "{\"t\":\"msg\",\"pos\":\"q0:%s\"}", name);
    take(text);
    take("{\"t\":\"msg\",\"pos\":\"q0\\u0000:2\"}");
    take("{\"t\":\"msg\",\"pos\":\"without-colon\"}");
    assert_string_equal(state->positions[0].position, "1");
}

static void a_revoke_is_told_and_has_a_position(void **unused)
{
    take("{\"t\":\"welcome\",\"epoch\":\"e\",\"pos\":{\"2\":\"7.0\"}}");
    buf_clear(&sink.words);
    take("{\"t\":\"revoke\",\"id\":\"cmt-7\",\"pos\":\"2:8.0\"}");
    assert_string_equal(buf_cstr(&sink.words), "the message cmt-7 was cancelled\n");
    assert_string_equal(state->positions[0].position, "8.0");
    assert_string_equal(out(), "");
}

static void a_refresh_carries_the_new_token(void **unused)
{
    struct buf out_buf = {0};
    assert_int_equal(tail_state_write_refresh(&out_buf, "a.b.c"), 0);
    assert_string_equal(buf_cstr(&out_buf), "{\"t\":\"refresh\",\"re\":1,\"token\":\"a.b.c\"}");
    buf_fini(&out_buf);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_hello_has_nothing_to_resume),
        TEST(a_welcome_sets_what_the_connection_needs),
        TEST(a_resume_names_the_last_position_of_each_queue),
        TEST(another_epoch_forgets_the_positions_of_the_old_one),
        TEST(messages_are_lines_of_four_columns),
        TEST(json_gives_every_frame_as_it_came),
        TEST(a_repeat_is_shown_once_but_acknowledged_again),
        TEST(a_count_stops_within_a_frame_and_acknowledges_no_more),
        TEST(ids_are_forgotten_only_after_many),
        TEST(trouble_is_told_in_words),
        TEST(what_is_not_a_frame_is_refused),
        TEST(what_is_too_long_or_too_much_is_left_out),
        TEST(a_revoke_is_told_and_has_a_position),
        TEST(a_refresh_carries_the_new_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
