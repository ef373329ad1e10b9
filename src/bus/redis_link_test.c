#include "bus/redis_link.h"

#include "bus/redis_test_help.h"

enum { SHORT_MS = 100 };

static struct {
    struct fake_server server;
    struct fake_link far;
    struct redis_link *link;
    int readies, closes, messages;
    int err;
    char reason[700];
    char answers[200]; /* "tag:text " each */
    bool close_in_answer;
} test;

static void on_ready(void *owner)
{
    assert_ptr_equal(owner, &test);
    test.readies++;
}

static void on_message(void *owner, const struct redis_reply *message)
{
    test.messages++;
    assert_true(str_equal(redis_reply_item(message, 2)->text, STR("hi")));
}

static void on_close(void *owner, int err, const char *reason)
{
    test.closes++;
    test.err = err;
    snprintf(test.reason, sizeof(test.reason), "%s", reason);
    test.link = NULL;
}

static const struct redis_link_callbacks callbacks = {on_ready, on_message, on_close};

static void on_answer(void *owner, uint32_t tag, const struct redis_reply *reply)
{
    size_t len = strlen(test.answers);
    snprintf(test.answers + len, sizeof(test.answers) - len, "%u:%.*s ", tag, STR_ARG(reply->text));
    if (test.close_in_answer) {
        redis_link_close(test.link);
        test.link = NULL;
    }
}

static int setup(void **state)
{
    struct loop *loop;
    memset(&test, 0, sizeof(test));
    assert_int_equal(loop_create(&loop), 0);
    fake_server_init(&test.server, loop);
    return 0;
}

static int teardown(void **state)
{
    redis_link_close(test.link);
    fake_close(&test.far);
    close(test.server.listening);
    loop_destroy(test.server.loop);
    return mem_accounted(MEM_BUS) != 0;
}

static struct redis_link_options options(void)
{
    struct redis_link_options options = {.address = {.host = "127.0.0.1"},
                                         .client_name = STR("me"),
                                         .must_be_master = true,
                                         .timeout_ms = PATIENCE_MS,
                                         .max_reply = 1024 * 1024};
    options.address.port = test.server.port;
    return options;
}

static void open_with(const struct redis_link_options *with)
{
    assert_int_equal(redis_link_open(&test.link, test.server.loop, with, &callbacks, &test), 0);
}

static void turn_while(const int *counter)
{
    uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (*counter == 0) {
        fake_turn(&test.server, end_ms);
    }
}

static void open_ready(void)
{
    struct redis_link_options with = options();
    open_with(&with);
    fake_sign_in(&test.server, &test.far);
    turn_while(&test.readies);
}

static void assert_closed(int err, const char *part)
{
    turn_while(&test.closes);
    assert_int_equal(test.closes, 1);
    assert_int_equal(test.err, err);
    assert_non_null(strstr(test.reason, "127.0.0.1:"));
    if (!strstr(test.reason, part)) {
        fail_msg("%s", test.reason);
    }
    assert_null(strstr(test.reason, "secret"));
}

static void assert_word(size_t i, const char *text)
{
    assert_true(str_equal(test.far.words[i], str_of(text)));
}

static void it_signs_in_in_one_go(void **state)
{
    struct redis_link_options with = options();
    with.user = STR("gw");
    with.password = STR("secret");
    with.db = 3;
    open_with(&with);
    fake_accept(&test.server, &test.far);
    fake_expect(&test.server, &test.far, "AUTH");
    assert_word(1, "gw");
    assert_word(2, "secret");
    fake_expect(&test.server, &test.far, "SELECT");
    assert_word(1, "3");
    fake_expect(&test.server, &test.far, "CLIENT");
    assert_word(2, "me");
    fake_expect(&test.server, &test.far, "ROLE");
    assert_int_equal(test.readies, 0);
    fake_send(&test.far, "+OK\r\n+OK\r\n-NOPERM no names\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    turn_while(&test.readies);
    assert_int_equal(test.readies, 1);
}

static void the_default_user_needs_no_name(void **state)
{
    struct redis_link_options with = options();
    with.password = STR("secret");
    with.must_be_master = false;
    with.client_name = STR("");
    open_with(&with);
    fake_accept(&test.server, &test.far);
    fake_expect(&test.server, &test.far, "AUTH");
    assert_int_equal(test.far.count, 2);
    fake_expect(&test.server, &test.far, "PING");
    fake_send(&test.far, "+OK\r\n+PONG\r\n");
    turn_while(&test.readies);
}

static void refuse_with(const char *wire, int err, const char *part)
{
    struct redis_link_options with = options();
    test.closes = 0;
    with.password = STR("secret");
    open_with(&with);
    fake_accept(&test.server, &test.far);
    fake_expect(&test.server, &test.far, "AUTH");
    fake_send(&test.far, wire);
    assert_closed(err, part);
    fake_close(&test.far);
}

static void why_it_was_refused_is_said_without_the_password(void **state)
{
    refuse_with("-WRONGPASS invalid\r\n", ERR_DENIED, "user name or password is wrong");
    refuse_with("-ERR unknown command `AUTH`, with args beginning with: `secret`\r\n", ERR_DENIED,
                "refuses the password");
    refuse_with("-ERR max number of clients reached\r\n", ERR_DENIED, "takes no more clients");
    refuse_with("-LOADING Redis is loading\r\n", ERR_DENIED, "loads its data");
    refuse_with("+OK\r\n+OK\r\n-NOAUTH x\r\n", ERR_DENIED, "wants a password");
    refuse_with("+OK\r\n+OK\r\n*5\r\n$5\r\nslave\r\n:1\r\n:1\r\n:1\r\n:1\r\n", ERR_UNAVAILABLE,
                "a replica");
    refuse_with("+OK\r\n+OK\r\n+what\r\n", ERR_PROTOCOL, "what Redis does not answer");
    refuse_with("HTTP/1.1 200 OK\r\n", ERR_PROTOCOL, "does not speak");
    refuse_with("*2000000000\r\n", ERR_TOO_LARGE, "over the limit");
}

static void send_get(uint32_t tag)
{
    struct str words[] = {STR("GET"), STR("\r\n\0")};
    assert_int_equal(redis_link_send(test.link, words, 2, on_answer, tag, 0), 0);
}

static void answers_come_in_the_order_of_requests(void **state)
{
    open_ready();
    send_get(7);
    send_get(8);
    redis_link_flush(test.link);
    fake_expect(&test.server, &test.far, "GET");
    assert_int_equal(test.far.words[1].len, 3);
    fake_expect(&test.server, &test.far, "GET");
    fake_send(&test.far, "+a\r\n-ERR b\r\n");
    while (strlen(test.answers) < 10) {
        fake_turn(&test.server, UINT64_MAX);
    }
    assert_string_equal(test.answers, "7:a 8:ERR b ");
}

static void a_message_is_no_answer(void **state)
{
    open_ready();
    send_get(7);
    redis_link_flush(test.link);
    fake_send(&test.far, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n+a\r\n");
    while (strlen(test.answers) < 4) {
        fake_turn(&test.server, UINT64_MAX);
    }
    assert_int_equal(test.messages, 1);
    assert_string_equal(test.answers, "7:a ");
}

static void what_comes_unasked_ends_it(void **state)
{
    open_ready();
    fake_send(&test.far, "-ERR you are not liked\r\n");
    assert_closed(ERR_DENIED, "it says: ERR you are not liked");
}

static void a_server_that_is_silent_is_left(void **state)
{
    struct redis_link_options with = options();
    with.timeout_ms = SHORT_MS;
    open_with(&with);
    assert_closed(ERR_TIMEOUT, "does not answer");
}

static void a_server_that_ends_it(void **state)
{
    open_ready();
    send_get(1);
    redis_link_flush(test.link);
    fake_close(&test.far);
    turn_while(&test.closes);
    assert_string_equal(test.answers, "");
}

static void it_may_be_closed_in_an_answer(void **state)
{
    test.close_in_answer = true;
    open_ready();
    send_get(1);
    send_get(2);
    redis_link_flush(test.link);
    fake_send(&test.far, "+a\r\n+b\r\n");
    while (test.link) {
        fake_turn(&test.server, UINT64_MAX);
    }
    assert_string_equal(test.answers, "1:a ");
    assert_int_equal(test.closes, 0);
}

static void too_many_requests_are_refused(void **state)
{
    struct str words[] = {STR("PING")};
    open_ready();
    for (int i = 0; i < REDIS_LINK_MAX_PENDING; i++) {
        send_get(1);
    }
    assert_int_equal(redis_link_send(test.link, words, 1, on_answer, 0, 0), ERR_UNAVAILABLE);
}

static void without_memory_there_is_none(void **state)
{
    struct redis_link_options with = options();
    for (unsigned long nth = 1; nth < 20; nth++) {
        mem_fail_nth(nth);
        int err = redis_link_open(&test.link, test.server.loop, &with, &callbacks, &test);
        if (mem_fail_pending()) {
            mem_fail_nth(0);
            return;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
    }
    fail_msg("it always fails");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(it_signs_in_in_one_go),
        TEST(the_default_user_needs_no_name),
        TEST(why_it_was_refused_is_said_without_the_password),
        TEST(answers_come_in_the_order_of_requests),
        TEST(a_message_is_no_answer),
        TEST(what_comes_unasked_ends_it),
        TEST(a_server_that_is_silent_is_left),
        TEST(a_server_that_ends_it),
        TEST(it_may_be_closed_in_an_answer),
        TEST(too_many_requests_are_refused),
        TEST(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
