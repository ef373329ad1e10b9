/* Questions to other nodes, and their answers. */
#include "core/cluster_test_help.h"

static int open_three(void **state)
{
    net_open(3);
    return 0;
}

static int close_all(void **state)
{
    net_close();
    return 0;
}

struct asked {
    struct cluster_question question;
    uint32_t done;
};

static void ask_of(struct asked *asked, struct net_node *node, uint8_t kind, uint32_t only,
                   struct str payload)
{
    *asked = (struct asked){.question = {.only = only,
                                         .limit_ms = 1000,
                                         .kind = kind,
                                         .payload = payload,
                                         .owner = &asked->done,
                                         .on_done = net_count_done}};
    cluster_ask(node->cluster, &asked->question, net.now_ms);
}

static void ask(struct asked *asked, struct net_node *node, uint32_t only, const char *payload)
{
    ask_of(asked, node, 7, only, str_of(payload));
}

static void assert_outcome(const struct asked *asked, uint32_t expected, uint32_t replied,
                           bool is_complete)
{
    assert_int_equal(asked->done, 1);
    assert_int_equal(asked->question.expected, expected);
    assert_int_equal(asked->question.replied, replied);
    assert_int_equal(asked->question.is_complete, is_complete);
}

static void every_other_node_answers(void **state)
{
    struct asked asked;
    ask(&asked, &net.nodes[0], 0, "who?");
    net_run(300);
    assert_outcome(&asked, 2, 2, true);
    uint64_t boots = 0;
    for (struct cluster_reply *reply = asked.question.replies; reply; reply = reply->next) {
        assert_int_equal(reply->counts[0], reply->boot);
        assert_true(str_equal(reply->text, STR("who?")));
        boots += reply->boot;
    }
    assert_int_equal(boots, 1001 + 1002);
    assert_int_equal(net.nodes[0].asked, 0); /* not itself */
    assert_int_equal(net.nodes[1].cluster->ask_count, 0);
    cluster_question_drop_replies(&asked.question);
}

static void one_node_can_be_asked_alone(void **state)
{
    struct asked asked;
    ask(&asked, &net.nodes[0], 1002, "");
    net_run(300);
    assert_outcome(&asked, 1, 1, true);
    assert_int_equal(asked.question.replies->boot, 1002);
    assert_int_equal(net.nodes[1].asked, 0);
    cluster_question_drop_replies(&asked.question);
}

static void a_node_that_is_gone_is_not_asked(void **state)
{
    struct asked asked;
    ask(&asked, &net.nodes[0], 4711, "");
    assert_int_equal(asked.done, 0); /* never inside the call */
    net_run(100);
    assert_outcome(&asked, 0, 0, true);
}

static void a_node_that_does_not_answer_in_time_is_left_out(void **state)
{
    struct asked asked;
    net.nodes[1].answers = false;
    ask(&asked, &net.nodes[0], 0, "");
    net_run(800);
    assert_int_equal(asked.done, 0);
    net_run(400);
    assert_outcome(&asked, 2, 1, false);
    cluster_question_drop_replies(&asked.question);
}

static void a_node_that_dies_is_not_waited_for(void **state)
{
    struct asked asked;
    net_kill(&net.nodes[1]);
    net_run(4000);
    ask(&asked, &net.nodes[0], 0, "");
    asked.question.until_ms = net.now_ms + 60000;
    net_run(2000);
    assert_outcome(&asked, 2, 1, false);
    cluster_question_drop_replies(&asked.question);
}

static void an_answer_that_comes_late_or_twice_finds_nobody(void **state)
{
    struct asked asked;
    net.nodes[1].is_deaf = true;
    ask(&asked, &net.nodes[0], 0, "");
    net_run(1300);
    assert_outcome(&asked, 2, 1, false);
    net.nodes[1].is_deaf = false;
    net_run(500);
    assert_int_equal(asked.question.replied, 1);
    assert_int_equal(asked.done, 1);
    cluster_question_drop_replies(&asked.question);
}

static void what_comes_from_no_node_is_bad_and_nothing_else(void **state)
{
    static const enum event_kind kinds[] = {EVENT_BEACON, EVENT_ASK, EVENT_REPLY, EVENT_REPORT};
    struct cluster *cluster = net.nodes[0].cluster;
    struct buf body = {0};
    struct asked asked;
    net.nodes[1].answers = net.nodes[2].answers = false;
    ask(&asked, &net.nodes[0], 0, "");
    struct cluster_reply_body reply = {.id = asked.question.id, .text = STR("{}")};
    assert_int_equal(cluster_write_reply(&body, &reply), 0);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct event event = {.kind = kinds[i], .data = buf_str(&body)};
        event.target_bytes = str_make("\x06\0\0", 3); /* all nodes */
        cluster_on_event(cluster, 0, &event);
        assert_int_equal(cluster_get_stats(cluster)->bad, i + 1);
    }
    assert_int_equal(asked.question.replied, 0);
    assert_int_equal(cluster_get_stats(cluster)->replies_in, 0);
    assert_null(cluster->asks);
    net_run(1300);
    assert_outcome(&asked, 2, 0, false);
    buf_fini(&body);
}

static void without_the_bus_the_answer_is_incomplete(void **state)
{
    struct asked asked;
    net.down = 7;
    ask(&asked, &net.nodes[0], 0, "");
    net_run(1300);
    assert_outcome(&asked, 2, 0, false);
    net_run(8000);
    ask(&asked, &net.nodes[0], 0, ""); /* nothing is current any more */
    net_run(1300);
    assert_int_equal(asked.done, 1);
    assert_false(asked.question.is_complete);
    ask(&asked, &net.nodes[0], 4711, "");
    net_run(1300);
    assert_int_equal(asked.done, 1);
    assert_false(asked.question.is_complete);
}

static void an_answer_that_is_cut_is_incomplete(void **state)
{
    struct asked asked;
    struct buf big = {0};
    while (big.len < CLUSTER_REPLY_BYTES + 1) {
        buf_append_str(&big, STR("0123456789abcdef"));
    }
    net_kill(&net.nodes[2]);
    net_run(6000);
    ask(&asked, &net.nodes[0], 0, buf_cstr(&big));
    net_run(300);
    assert_outcome(&asked, 1, 1, false);
    assert_int_equal(asked.question.replies->text.len, 0);
    assert_int_equal(asked.question.replies->counts[0], 1001);
    cluster_question_drop_replies(&asked.question);
    big.len = CLUSTER_REPLY_BYTES;
    ask(&asked, &net.nodes[0], 0, buf_cstr(&big));
    net_run(300);
    assert_outcome(&asked, 1, 1, true);
    cluster_question_drop_replies(&asked.question);
    buf_fini(&big);
}

static void questions_that_are_open_at_the_end_come_back(void **state)
{
    struct asked asked[3];
    net.nodes[1].answers = false;
    for (int i = 0; i < 3; i++) {
        ask(&asked[i], &net.nodes[0], 0, "");
    }
    net_run(300);
    net_kill(&net.nodes[0]);
    for (int i = 0; i < 3; i++) {
        assert_outcome(&asked[i], 2, 1, false);
        cluster_question_drop_replies(&asked[i].question);
    }
}

static void a_question_for_which_there_is_no_memory_is_incomplete(void **state)
{
    for (unsigned long nth = 1; nth < 4; nth++) {
        struct asked asked;
        mem_fail_nth(nth);
        ask(&asked, &net.nodes[0], 0, "");
        bool failed = !mem_fail_pending();
        mem_fail_nth(0);
        net_run(300);
        assert_int_equal(asked.done, 1);
        assert_int_equal(asked.question.is_complete, !failed);
        cluster_question_drop_replies(&asked.question);
    }
}

static void a_question_that_the_bus_does_not_take_is_incomplete_at_once(void **state)
{
    struct asked asked;
    struct net_node *node = &net.nodes[0];
    node->bus.max_record = 10;
    ask(&asked, node, 0, "too large");
    net_step();
    assert_outcome(&asked, 2, 0, false);
    assert_null(node->cluster->questions);
}

static void a_question_that_the_bus_fails_later_is_incomplete_then(void **state)
{
    struct asked asked;
    struct net_node *node = &net.nodes[0];
    net.down = 7;
    ask(&asked, node, 0, "");
    net_step();
    assert_int_equal(asked.done, 0);
    hub_fail_all(node->hub, ERR_CANCELED);
    net_step();
    assert_outcome(&asked, 2, 0, false);
}

/* ---- what a peer can make grow ---- */

static void be_asked_of(struct net_node *node, uint8_t kind, uint32_t count, size_t bytes)
{
    struct buf body = {0};
    struct buf payload = {0};
    while (payload.len < bytes) {
        buf_append_char(&payload, 'x');
    }
    struct cluster_ask_body text = {.within_ms = 1000, .kind = kind, .payload = buf_str(&payload)};
    assert_int_equal(cluster_write_ask(&body, &text), 0);
    for (uint32_t i = 0; i < count; i++) {
        asks_on_ask(node->cluster, 0, 1001, buf_str(&body));
    }
    buf_fini(&payload);
    buf_fini(&body);
}

static void be_asked(struct net_node *node, uint32_t count, size_t bytes)
{
    be_asked_of(node, 7, count, bytes);
}

static void only_so_many_questions_of_others_wait(void **state)
{
    struct net_node *node = &net.nodes[0];
    int64_t before = mem_accounted(MEM_BUS);
    be_asked(node, MAX_ASKS + 3, 0);
    assert_int_equal(node->cluster->ask_count, MAX_ASKS);
    assert_int_equal(cluster_get_stats(node->cluster)->asks_dropped, 3);
    assert_true(mem_accounted(MEM_BUS) > before);
    asks_drop_pending(node->cluster);
    assert_int_equal(node->cluster->ask_bytes, 0);
    assert_int_equal(mem_accounted(MEM_BUS), before);
}

static void they_have_only_so_many_bytes(void **state)
{
    struct net_node *node = &net.nodes[0];
    size_t half = MAX_ASKS_BYTES / 2 - sizeof(struct cluster_ask);
    be_asked(node, 3, half);
    assert_int_equal(node->cluster->ask_count, 2);
    assert_int_equal(node->cluster->ask_bytes, MAX_ASKS_BYTES);
    assert_int_equal(cluster_get_stats(node->cluster)->asks_dropped, 1);
    asks_drop_pending(node->cluster);
    be_asked(node, 1, half); /* there is room again */
    assert_int_equal(node->cluster->ask_count, 1);
    node->answers = false;
    net_step();
    assert_int_equal(node->cluster->ask_bytes, 0);
}

static void only_so_many_questions_are_open(void **state)
{
    static struct asked asked[MAX_QUESTIONS + 1];
    struct net_node *node = &net.nodes[0];
    net.down = 7;
    for (uint32_t i = 0; i < MAX_QUESTIONS + 1; i++) {
        ask(&asked[i], node, 0, "");
    }
    hub_flush(node->hub, net.now_ms, net.now_ms * 1000);
    assert_outcome(&asked[MAX_QUESTIONS], 0, 0, false);
    assert_true(asked[MAX_QUESTIONS].question.is_refused);
    assert_int_equal(asked[0].done, 0);
    assert_int_equal(node->cluster->question_count, MAX_QUESTIONS);
    assert_int_equal(cluster_get_stats(node->cluster)->questions_short, 1);
    net_run(1300);
    assert_outcome(&asked[0], 2, 0, false);
    assert_int_equal(node->cluster->question_count, 0);
}

static void clients_of_others_have_a_quarter_of_the_room(void **state)
{
    struct net_node *node = &net.nodes[0];
    size_t half = MAX_ASKS_BYTES / 8 - sizeof(struct cluster_ask);
    be_asked_of(node, CLUSTER_KIND_OF_CLIENTS, MAX_ASKS, 0);
    assert_int_equal(node->cluster->ask_count, MAX_ASKS / 4);
    be_asked(node, 3, 0); /* others find room */
    assert_int_equal(node->cluster->ask_count, MAX_ASKS / 4 + 3);
    asks_drop_pending(node->cluster);
    be_asked_of(node, CLUSTER_KIND_OF_CLIENTS, 3, half);
    assert_int_equal(node->cluster->ask_count, 2);
    be_asked(node, 3, half);
    assert_int_equal(node->cluster->ask_count, 5);
    asks_drop_pending(node->cluster);
    assert_int_equal(node->cluster->asks_of_clients.count, 0);
    assert_int_equal(node->cluster->asks_of_clients.bytes, 0);
}

static void clients_ask_with_a_quarter_of_the_room(void **state)
{
    enum { SHARE = MAX_QUESTIONS / 4 };
    static struct asked asked[SHARE + 1];
    struct asked other;
    struct net_node *node = &net.nodes[0];
    net.down = 7;
    for (uint32_t i = 0; i < SHARE + 1; i++) {
        ask_of(&asked[i], node, CLUSTER_KIND_OF_CLIENTS, 1001, STR(""));
    }
    ask(&other, node, 0, "");
    hub_flush(node->hub, net.now_ms, net.now_ms * 1000);
    assert_outcome(&asked[SHARE], 0, 0, false);
    assert_true(asked[SHARE].question.is_refused);
    assert_int_equal(asked[SHARE - 1].done, 0);
    assert_int_equal(other.done, 0);
    net_run(1300);
    assert_int_equal(asked[0].done, 1);
    assert_false(asked[0].question.is_refused);
    assert_int_equal(node->cluster->of_clients.count, 0);
}

static void clients_ask_with_a_quarter_of_the_bytes(void **state)
{
    enum { FIT = 16 };
    static char text[MAX_ASKS_BYTES / 4 / FIT];
    static struct asked asked[FIT + 2];
    struct net_node *node = &net.nodes[0];
    net.down = 7;
    node->hub->options.backlog_bytes = 2ull * MAX_ASKS_BYTES;
    for (uint32_t i = 0; i < FIT + 2; i++) {
        uint8_t kind = i <= FIT ? CLUSTER_KIND_OF_CLIENTS : 7;
        ask_of(&asked[i], node, kind, 1001, str_make(text, sizeof(text)));
    }
    hub_flush(node->hub, net.now_ms, net.now_ms * 1000);
    assert_int_equal(asked[FIT - 1].done, 0);
    assert_true(asked[FIT].done && asked[FIT].question.is_refused);
    assert_int_equal(asked[FIT + 1].done, 0);
    net_run(1300);
    assert_int_equal(node->cluster->of_clients.bytes, 0);
}

static void what_clients_ask_is_refused_where_a_push_is(void **state)
{
    struct asked asked[2];
    struct net_node *node = &net.nodes[0];
    net.down = 7;
    node->hub->options.backlog_bytes = node->hub->waiting_bytes;
    ask_of(&asked[0], node, CLUSTER_KIND_OF_CLIENTS, 1001, STR(""));
    ask(&asked[1], node, 1001, "");
    hub_flush(node->hub, net.now_ms, net.now_ms * 1000);
    assert_true(asked[0].done && asked[0].question.is_refused);
    assert_int_equal(asked[1].done, 0);
    net_run(1300);
    assert_false(asked[1].question.is_refused);
}

static void take_big_reply(struct net_node *node, const struct asked *asked, uint32_t boot)
{
    static char text[CLUSTER_REPLY_BYTES];
    struct buf body = {0};
    struct cluster_reply_body reply = {.id = asked->question.id,
                                       .text = str_make(text, sizeof(text))};
    assert_int_equal(cluster_write_reply(&body, &reply), 0);
    asks_on_reply(node->cluster, boot, buf_str(&body));
    buf_fini(&body);
}

static void answers_to_open_questions_have_only_so_many_bytes(void **state)
{
    enum { FIT = MAX_REPLIES_BYTES / (CLUSTER_REPLY_BYTES + sizeof(struct cluster_reply)) };
    static struct asked asked[FIT + 1];
    struct net_node *node = &net.nodes[0];
    int64_t before = mem_accounted(MEM_HTTP);
    net.nodes[1].is_deaf = net.nodes[2].is_deaf = true;
    for (uint32_t i = 0; i < FIT + 1; i++) {
        ask(&asked[i], node, 0, "");
        take_big_reply(node, &asked[i], 1001);
    }
    assert_in_range(mem_accounted(MEM_HTTP) - before, FIT * CLUSTER_REPLY_BYTES, MAX_REPLIES_BYTES);
    assert_int_equal(cluster_get_stats(node->cluster)->questions_short, 1);
    net_run(1300);
    assert_outcome(&asked[0], 2, 1, false);
    assert_outcome(&asked[FIT], 2, 0, false);
    assert_int_equal(node->cluster->reply_bytes, 0);
    for (uint32_t i = 0; i < FIT + 1; i++) {
        cluster_question_drop_replies(&asked[i].question);
    }
    assert_int_equal(mem_accounted(MEM_HTTP), before);
}

static void answers_that_the_bus_does_not_take_have_only_so_many_bytes(void **state)
{
    struct net_node *node = &net.nodes[0];
    struct cluster *cluster = node->cluster;
    net.down = 7;
    for (uint32_t i = 0; i < 2 * MAX_REPLIES_BYTES / CLUSTER_REPLY_BYTES; i++) {
        be_asked(node, 1, CLUSTER_REPLY_BYTES);
        asks_dispatch(cluster);
    }
    assert_in_range(cluster->answer_bytes, MAX_REPLIES_BYTES - 2 * CLUSTER_REPLY_BYTES,
                    MAX_REPLIES_BYTES + 1024);
    assert_true(cluster_get_stats(cluster)->asks_dropped > 0);
    assert_int_equal(cluster->ask_bytes, 0);
    net_run(1300); /* nobody waits for them any more */
    assert_int_equal(cluster->answer_bytes, 0);
}

#define NET_TEST(name) cmocka_unit_test_setup_teardown(name, open_three, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(every_other_node_answers),
        NET_TEST(one_node_can_be_asked_alone),
        NET_TEST(a_node_that_is_gone_is_not_asked),
        NET_TEST(a_node_that_does_not_answer_in_time_is_left_out),
        NET_TEST(a_node_that_dies_is_not_waited_for),
        NET_TEST(an_answer_that_comes_late_or_twice_finds_nobody),
        NET_TEST(what_comes_from_no_node_is_bad_and_nothing_else),
        NET_TEST(without_the_bus_the_answer_is_incomplete),
        NET_TEST(an_answer_that_is_cut_is_incomplete),
        NET_TEST(questions_that_are_open_at_the_end_come_back),
        NET_TEST(a_question_that_the_bus_does_not_take_is_incomplete_at_once),
        NET_TEST(a_question_that_the_bus_fails_later_is_incomplete_then),
        NET_TEST(only_so_many_questions_of_others_wait),
        NET_TEST(they_have_only_so_many_bytes),
        NET_TEST(only_so_many_questions_are_open),
        NET_TEST(clients_of_others_have_a_quarter_of_the_room),
        NET_TEST(clients_ask_with_a_quarter_of_the_room),
        NET_TEST(clients_ask_with_a_quarter_of_the_bytes),
        NET_TEST(what_clients_ask_is_refused_where_a_push_is),
        NET_TEST(answers_to_open_questions_have_only_so_many_bytes),
        NET_TEST(answers_that_the_bus_does_not_take_have_only_so_many_bytes),
        NET_TEST(a_question_for_which_there_is_no_memory_is_incomplete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
