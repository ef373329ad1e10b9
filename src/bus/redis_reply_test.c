#include "bus/redis_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

enum { MAX_BYTES = 1024 * 1024 };

static int setup(void **state)
{
    struct redis_reader *reader;
    int err = redis_reader_create(&reader, MAX_BYTES);
    *state = reader;
    return err;
}

static int teardown(void **state)
{
    redis_reader_destroy(*state);
    return mem_accounted(MEM_BUS) != 0;
}

static const struct redis_reply *next(struct redis_reader *reader)
{
    const struct redis_reply *reply = NULL;
    assert_int_equal(redis_reader_next(reader, &reply), 0);
    return reply;
}

static const struct redis_reply *read_whole(struct redis_reader *reader, const char *wire)
{
    assert_int_equal(redis_reader_feed(reader, str_of(wire)), 0);
    const struct redis_reply *reply = next(reader);
    assert_non_null(reply);
    return reply;
}

static void each_type_is_read(void **state)
{
    const struct redis_reply *reply = read_whole(*state, "+OK\r\n");
    assert_int_equal(reply->type, REDIS_REPLY_IS_TEXT);
    assert_true(str_equal(reply->text, STR("OK")));
    reply = read_whole(*state, ":-7\r\n");
    assert_int_equal(reply->type, REDIS_REPLY_IS_INTEGER);
    assert_int_equal(reply->integer, -7);
    reply = read_whole(*state, "$-1\r\n");
    assert_int_equal(reply->type, REDIS_REPLY_IS_NIL);
    reply = read_whole(*state, "*-1\r\n");
    assert_int_equal(reply->type, REDIS_REPLY_IS_NIL);
    reply = read_whole(*state, "*0\r\n");
    assert_int_equal(reply->type, REDIS_REPLY_IS_ARRAY);
    assert_int_equal(reply->count, 0);
    reply = read_whole(*state, "$5\r\na\r\nbc\r\n");
    assert_true(str_equal(reply->text, STR("a\r\nbc")));
    assert_int_equal(redis_reader_reply_bytes(*state), 5);
}

static const char tree[] = "*2\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\nr\r\n$2\r\nxy\r\n:9\r\n";

static void assert_tree(const struct redis_reply *reply)
{
    const struct redis_reply *entry = redis_reply_item(reply, 0);
    const struct redis_reply *fields = redis_reply_item(entry, 1);
    assert_int_equal(reply->count, 2);
    assert_true(str_equal(redis_reply_item(entry, 0)->text, STR("1-2")));
    assert_true(str_equal(redis_reply_item(fields, 1)->text, STR("xy")));
    assert_int_equal(redis_reply_item(reply, 1)->integer, 9);
}

static void a_tree_comes_whole_however_it_is_cut(void **state)
{
    for (size_t cut = 1; cut < sizeof(tree) - 1; cut++) {
        assert_int_equal(redis_reader_feed(*state, str_make(tree, cut)), 0);
        assert_null(next(*state));
        assert_int_equal(redis_reader_feed(*state, str_make(tree + cut, sizeof(tree) - 1 - cut)),
                         0);
        assert_tree(next(*state));
    }
}

static void several_replies_come_one_after_the_other(void **state)
{
    assert_int_equal(redis_reader_feed(*state, STR("+a\r\n+b\r\n+c")), 0);
    assert_true(str_equal(next(*state)->text, STR("a")));
    assert_true(str_equal(next(*state)->text, STR("b")));
    assert_null(next(*state));
}

static void what_is_not_there_is_nil(void **state)
{
    const struct redis_reply *reply = read_whole(*state, "*1\r\n:1\r\n");
    assert_int_equal(redis_reply_item(reply, 1)->type, REDIS_REPLY_IS_NIL);
    assert_int_equal(redis_reply_item(redis_reply_item(reply, 0), 0)->type, REDIS_REPLY_IS_NIL);
}

static void an_error_is_known_by_its_word(void **state)
{
    const struct redis_reply *reply = read_whole(*state, "-OOM command not allowed\r\n");
    assert_true(redis_reply_is_error(reply, STR("OOM")));
    assert_false(redis_reply_is_error(reply, STR("OO")));
    assert_false(redis_reply_is_error(reply, STR("OOM command not allowed at all")));
    assert_false(redis_reply_is_error(read_whole(*state, "+OOM\r\n"), STR("OOM")));
}

static int error_of(struct redis_reader *reader, const char *wire)
{
    const struct redis_reply *reply;
    int err = redis_reader_feed(reader, str_of(wire));
    return err ? err : redis_reader_next(reader, &reply);
}

static void a_bad_one(void **state, const char *wire, int err)
{
    struct redis_reader *reader;
    assert_int_equal(redis_reader_create(&reader, MAX_BYTES), 0);
    assert_int_equal(error_of(reader, wire), err);
    redis_reader_destroy(reader);
}

static void what_is_no_reply_is_refused(void **state)
{
    a_bad_one(state, "HTTP/1.1 400 Bad Request\r\n", ERR_PROTOCOL);
    a_bad_one(state, "$-5\r\n", ERR_PROTOCOL);
    a_bad_one(state, "*-5\r\n", ERR_PROTOCOL);
    a_bad_one(state, ":12a\r\n", ERR_PROTOCOL);
    a_bad_one(state, "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", ERR_PROTOCOL);
    a_bad_one(state, "*2000000000\r\n", ERR_TOO_LARGE);
    a_bad_one(state, "*131073\r\n", ERR_TOO_LARGE);
}

static void the_items_of_all_levels_count(void **state)
{
    assert_int_equal(redis_reader_feed(*state, STR("*100000\r\n*100000\r\n")), 0);
    const struct redis_reply *reply;
    assert_int_equal(redis_reader_next(*state, &reply), ERR_TOO_LARGE);
}

static void a_long_text_is_taken_up_to_the_limit(void **state)
{
    char *text = calloc(1, MAX_BYTES);
    assert_int_equal(redis_reader_feed(*state, STR("$1000000\r\n")), 0);
    assert_int_equal(redis_reader_feed(*state, str_make(text, 1000000)), 0);
    assert_int_equal(redis_reader_feed(*state, STR("\r\n")), 0);
    assert_int_equal(next(*state)->text.len, 1000000);
    assert_int_equal(redis_reader_feed(*state, STR("$2000000\r\n")), 0);
    assert_int_equal(redis_reader_feed(*state, str_make(text, 1000000)), 0);
    assert_null(next(*state));
    assert_int_equal(redis_reader_feed(*state, str_make(text, 100000)), ERR_TOO_LARGE);
    free(text);
}

static void a_line_without_end_is_refused(void **state)
{
    char *text = malloc(70000);
    memset(text, 'x', 70000);
    text[0] = '+';
    const struct redis_reply *reply;
    assert_int_equal(redis_reader_feed(*state, str_make(text, 70000)), 0);
    assert_int_equal(redis_reader_next(*state, &reply), ERR_TOO_LARGE);
    free(text);
}

static void without_memory_it_says_so(void **state)
{
    struct redis_reader *reader = NULL;
    mem_fail_nth(1);
    assert_int_equal(redis_reader_create(&reader, MAX_BYTES), ERR_NO_MEMORY);
    assert_int_equal(redis_reader_create(&reader, MAX_BYTES), 0);
    mem_fail_nth(1);
    assert_int_equal(error_of(reader, "+OK\r\n"), ERR_NO_MEMORY);
    redis_reader_destroy(reader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_type_is_read),
        TEST(a_tree_comes_whole_however_it_is_cut),
        TEST(several_replies_come_one_after_the_other),
        TEST(what_is_not_there_is_nil),
        TEST(an_error_is_known_by_its_word),
        TEST(what_is_no_reply_is_refused),
        TEST(the_items_of_all_levels_count),
        TEST(a_long_text_is_taken_up_to_the_limit),
        TEST(a_line_without_end_is_refused),
        TEST(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
