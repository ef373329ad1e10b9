/* Tickets on three nodes with one bus: each node's sessions are played by what they were told. */
#include "core/cluster_test_help.h"
#include "core/sid.h"
#include "core/ticket_id.h"

enum { QUEUE = 2, LIFE_MS = 90000, THIRD_MS = 20000, TOLD = 64 };

static const struct siphash_key id_key = {3, 4};
static const struct siphash_key sid_key = {7, 8}; /* of the nodes */

/* What sessions were told, as it came. A session's generation names it, and its slot the node. */
static struct told {
    enum ticket_news_kind kind;
    uint32_t slot, generation;
    char data[16];
} told[TOLD];
static uint32_t told_count;
static char id[TICKET_ID_LEN + 1];
static char target[TICKET_ID_LEN + 3];
static uint64_t key;

static void take_news(struct mail *mail)
{
    struct ticket_news *news = MAIL_OWNER(mail, struct ticket_news, mail);
    struct told *now = &told[told_count++];
    assert_true(told_count < TOLD);
    *now = (struct told){.kind = news->kind, .slot = news->slot, .generation = news->generation};
    if (news->message) {
        struct str data = news->message->event.data;
        memcpy(now->data, data.ptr, data.len);
        ticket_news_report(news, true, true);
    }
    ticket_news_destroy(news);
}

static struct hub_callbacks callbacks;

static struct net_node *listen_to(struct net_node *node)
{
    callbacks = net_hub_callbacks;
    callbacks.run_ticket_news = take_news;
    node->hub->callbacks = &callbacks;
    return node;
}

static void make_ticket(uint64_t life_ms)
{
    ticket_id_format(id, &id_key, EVENT_TEST_APP, net.now_ms + life_ms, (const uint8_t *)"1234567");
    snprintf(target, sizeof(target), "t:%s", id);
    key = event_test_key_of(TARGET_TICKET, id);
}

static int start(void **state)
{
    told_count = 0;
    net_open(3);
    for (int i = 0; i < 3; i++) {
        listen_to(&net.nodes[i]);
    }
    make_ticket(LIFE_MS);
    return 0;
}

static int stop(void **state)
{
    net_close();
    return 0;
}

/* ---- what sessions and pushers do ---- */

static int last_err;

static void on_done(struct publish *publish)
{
    last_err = publish->verdict == PUBLISH_ACCEPTED ? 0 : publish->err;
    publish_destroy(publish);
}

static int publish(struct net_node *node, struct event event)
{
    const char *targets = target;
    struct publish *made = publish_create(1);
    event.header.app = EVENT_TEST_APP;
    event.header.origin = node->boot;
    event.parts = 1;
    event.time_ms = net.now_ms;
    event.data_kind = EVENT_DATA_BINARY;
    event_test_encode(&made->parts[0].event, &event, &targets, 1);
    made->parts[0].queue = QUEUE;
    made->worker = HUB_NO_WORKER;
    made->keeps = event.kind != EVENT_TICKET_END;
    made->deadline_ms = net.now_ms + 5000;
    made->on_done = on_done;
    last_err = 1;
    hub_publish(node->hub, made, net.now_ms);
    return last_err;
}

static void claim(struct net_node *node, uint32_t session, const char *claim)
{
    char sid[SID_LEN + 1];
    sid_format(sid, &sid_key, &(struct sid){node->boot, 0, node->index + 1, session});
    publish(node, (struct event){.kind = EVENT_CLAIM,
                                 .id = str_of(sid),
                                 .subject = str_of(sid),
                                 .data = str_of(claim)});
}

static int push(struct net_node *node, const char *data, uint8_t flags)
{
    return publish(node, (struct event){.kind = EVENT_MESSAGE,
                                        .header = {.flags = flags},
                                        .id = str_of(data),
                                        .data = str_of(data)});
}

static void cancel(struct net_node *node, const char *message)
{
    publish(node,
            (struct event){.kind = EVENT_REVOKE, .id = STR("cancel"), .subject = str_of(message)});
}

static void end(struct net_node *node)
{
    publish(node, (struct event){.kind = EVENT_TICKET_END, .id = STR("end")});
}

static void be_ready(struct net_node *node, uint32_t session)
{
    struct ticket_holder holder = {key, 0, node->index + 1, session};
    hub_ticket_ready(node->hub, &holder);
}

static void step(void)
{
    net_run(2 * NET_STEP_MS);
}

static void claim_and_be_ready(struct net_node *node, uint32_t session)
{
    claim(node, session, "a");
    step();
    be_ready(node, session);
    step();
}

/* ---- what is checked ---- */

static uint32_t count_told(uint32_t session, enum ticket_news_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < told_count; i++) {
        count += told[i].generation == session && told[i].kind == kind;
    }
    return count;
}

/* All messages that the session got, one behind the other. */
static const char *got(uint32_t session)
{
    static char all[256];
    all[0] = '\0';
    for (uint32_t i = 0; i < told_count; i++) {
        if (told[i].generation == session && told[i].kind == TICKET_MESSAGE) {
            strcat(all, told[i].data);
        }
    }
    return all;
}

static void assert_state(enum ticket_state state, uint32_t messages)
{
    for (int i = 0; i < NET_NODES; i++) {
        struct ticket_look look;
        if (!net.nodes[i].hub) {
            continue;
        }
        hub_ticket_look(net.nodes[i].hub, key, &look);
        assert_int_equal(look.state, state);
        assert_int_equal(look.messages, messages);
    }
}

/* ---- claims ---- */

static void of_claims_at_the_same_time_one_wins_and_all_nodes_agree(void **state)
{
    for (uint32_t i = 0; i < 9; i++) {
        char own[2] = {(char)('a' + i), '\0'};
        claim(&net.nodes[i % 3], 100 + i, own);
    }
    step();
    uint32_t winner = 0;
    for (uint32_t i = 0; i < 9; i++) {
        uint32_t won = count_told(100 + i, TICKET_WON);
        assert_int_equal(won + count_told(100 + i, TICKET_USED), 1);
        winner = won ? 100 + i : winner;
    }
    assert_true(winner >= 100);
    assert_state(TICKET_IS_CLAIMED, 0);
    uint32_t before = count_told(winner, TICKET_REPLACED);
    char own[2] = {(char)('a' + winner - 100), '\0'};
    claim(&net.nodes[(winner + 1) % 3], 200, own); /* the winner's claim, elsewhere */
    step();
    assert_int_equal(count_told(200, TICKET_WON), 1);
    assert_int_equal(count_told(winner, TICKET_REPLACED), before + 1);
}

static void the_empty_claim_is_a_claim_too(void **state)
{
    claim(&net.nodes[0], 1, "");
    step();
    claim(&net.nodes[1], 2, "a");
    claim(&net.nodes[1], 3, "");
    step();
    assert_int_equal(count_told(2, TICKET_USED), 1);
    assert_int_equal(count_told(3, TICKET_WON), 1);
    assert_int_equal(count_told(1, TICKET_REPLACED), 1);
}

/* It reads back from behind the first claim, so the one that lost is the first that it sees. */
static void a_node_that_starts_late_corrects_itself_before_it_serves(void **state)
{
    uint32_t from[NET_QUEUES];
    claim(&net.nodes[0], 1, "first");
    step();
    memcpy(from, net.count, sizeof(from));
    claim(&net.nodes[1], 2, "second");
    net_run(THIRD_MS + 1000);
    struct net_node *late = listen_to(net_start(3));
    memcpy(late->read, from, sizeof(from));
    net_run(3000);
    assert_true(cluster_may_serve(late->cluster));
    claim(late, 3, "second");
    step();
    assert_int_equal(count_told(3, TICKET_USED), 1);
    claim(late, 4, "first");
    step();
    assert_int_equal(count_told(4, TICKET_WON), 1);
}

/* ---- messages ---- */

static void what_came_before_goes_to_the_session_that_is_ready_then_what_comes(void **state)
{
    push(&net.nodes[1], "1", 0);
    push(&net.nodes[1], "2", 0);
    step();
    claim(&net.nodes[0], 1, "a");
    step();
    push(&net.nodes[2], "3", 0);
    step();
    assert_string_equal(got(1), "");
    be_ready(&net.nodes[0], 1);
    step();
    assert_string_equal(got(1), "123");
    push(&net.nodes[2], "4", 0);
    step();
    assert_string_equal(got(1), "1234");
    assert_state(TICKET_IS_CLAIMED, 4);
}

static void who_comes_again_gets_everything_again_and_the_older_nothing_more(void **state)
{
    claim_and_be_ready(&net.nodes[0], 1);
    push(&net.nodes[1], "1", 0);
    step();
    claim_and_be_ready(&net.nodes[2], 2);
    push(&net.nodes[1], "2", 0);
    step();
    assert_string_equal(got(1), "1");
    assert_string_equal(got(2), "12");
    be_ready(&net.nodes[0], 1); /* late: it is not the holder any more */
    step();
    assert_string_equal(got(1), "1");
}

static void behind_the_final_message_nothing_comes(void **state)
{
    push(&net.nodes[0], "1", EVENT_IS_FINAL);
    push(&net.nodes[0], "2", 0); /* it was on its way already */
    step();
    assert_state(TICKET_IS_WAITING, 1);
    assert_int_equal(push(&net.nodes[1], "3", 0), ERR_CLOSED);
    claim_and_be_ready(&net.nodes[1], 1);
    assert_string_equal(got(1), "1");
}

static void what_is_cancelled_is_never_handed_over_and_who_has_it_is_told(void **state)
{
    push(&net.nodes[0], "1", 0);
    push(&net.nodes[0], "2", 0);
    step();
    cancel(&net.nodes[1], "1");
    step();
    claim_and_be_ready(&net.nodes[2], 1);
    assert_string_equal(got(1), "2");
    cancel(&net.nodes[1], "2");
    step();
    assert_int_equal(count_told(1, TICKET_MESSAGE), 2);
    assert_state(TICKET_IS_CLAIMED, 0);
    push(&net.nodes[0], "1", 0); /* as if another node told it again */
    step();
    assert_state(TICKET_IS_CLAIMED, 0);
}

static void the_end_frees_what_waits_and_is_remembered(void **state)
{
    claim_and_be_ready(&net.nodes[0], 1);
    push(&net.nodes[1], "1", 0);
    step();
    end(&net.nodes[0]);
    step();
    assert_int_equal(count_told(1, TICKET_ENDED), 1);
    assert_state(TICKET_IS_DONE, 0);
    assert_int_equal(push(&net.nodes[2], "2", 0), ERR_CLOSED);
    claim(&net.nodes[2], 2, "a");
    step();
    assert_int_equal(count_told(2, TICKET_USED), 1);
    for (int i = 0; i < 3; i++) {
        struct kept_stats *stats = hub_get_kept_stats(net.nodes[i].hub);
        assert_int_equal(stats->entries[KEPT_RESULT], 0);
        assert_int_equal(stats->entries[KEPT_CLAIM], 0);
        assert_int_equal(stats->entries[KEPT_END], 1);
    }
}

static void a_node_that_starts_late_has_what_waits_in_order_and_hands_it_over(void **state)
{
    push(&net.nodes[0], "1", 0);
    push(&net.nodes[1], "2", 0);
    step();
    uint32_t from[NET_QUEUES];
    memcpy(from, net.count, sizeof(from));
    net_run(THIRD_MS + 1000);
    push(&net.nodes[2], "3", 0);
    step();
    struct net_node *late = listen_to(net_start(3));
    memcpy(late->read, from, sizeof(from));
    net_run(3000);
    claim_and_be_ready(late, 1);
    assert_string_equal(got(1), "123");
    net_run(2 * THIRD_MS);
    assert_string_equal(got(1), "123"); /* told again by the bus, not by us */
}

static void it_is_forgotten_when_it_expires(void **state)
{
    claim_and_be_ready(&net.nodes[0], 1);
    push(&net.nodes[1], "1", 0);
    net_run(LIFE_MS + 1000);
    for (int i = 0; i < 3; i++) {
        struct hub *hub = net.nodes[i].hub;
        assert_int_equal(hub->tickets.count, 0);
        assert_int_equal(hub_get_kept_stats(hub)->bytes[KEPT_RESULTS], 0);
    }
    claim(&net.nodes[0], 2, "a");
    step();
    assert_int_equal(count_told(2, TICKET_EXPIRED), 1);
}

static void over_the_budget_a_push_is_refused(void **state)
{
    struct kept *kept = net.nodes[0].hub->kept;
    assert_true(kept_reserve(kept, KEPT_RESULTS, EVENT_TEST_APP, KEPT_RESULT_BYTES));
    assert_int_equal(push(&net.nodes[0], "1", 0), ERR_TOO_MANY);
    kept_release(kept, KEPT_RESULTS, EVENT_TEST_APP, KEPT_RESULT_BYTES);
    push(&net.nodes[0], "1", 0);
    step();
    assert_int_equal(last_err, 0);
}

/* As if other nodes had published up to twice the budget: not another end has room. */
static void fill_tickets(struct net_node *node)
{
    const char *targets = target;
    struct kept_stats *stats = hub_get_kept_stats(node->hub);
    struct event event = {.kind = EVENT_MESSAGE,
                          .header = {.app = EVENT_TEST_APP},
                          .parts = 1,
                          .id = STR("fill"),
                          .data_kind = EVENT_DATA_BINARY};
    struct buf encoded = {0};
    size_t skip;
    event_test_encode(&encoded, &event, &targets, 1);
    size_t len = 2 * KEPT_TICKET_BYTES - stats->bytes[KEPT_TICKETS] - kept_bytes(encoded.len) - 60;
    void *data = mem_zalloc(len);
    event.data = str_make(data, len);
    buf_fini(&encoded);
    event_test_encode(&encoded, &event, &targets, 1);
    assert_true(event_decode(&event, encoded.data, encoded.len, &skip) > 0);
    struct kept_entry *entry;
    struct kept_offer offer = {.encoded = buf_str(&encoded),
                               .event = &event,
                               .kind = KEPT_VOID,
                               .expires_ms = net.now_ms + LIFE_MS,
                               .now_ms = net.now_ms,
                               .wall_ms = net.now_ms};
    assert_int_equal(kept_take(node->hub->kept, &offer, &entry), KEPT_NEW);
    buf_fini(&encoded);
    mem_free(data);
}

static void an_end_that_cant_be_kept_ends_nothing(void **state)
{
    push(&net.nodes[0], "1", 0);
    step();
    for (int i = 0; i < 3; i++) {
        fill_tickets(&net.nodes[i]);
    }
    end(&net.nodes[0]);
    step();
    assert_state(TICKET_IS_WAITING, 1);
}

static void an_end_has_the_room_of_the_claim(void **state)
{
    claim_and_be_ready(&net.nodes[0], 1);
    push(&net.nodes[1], "1", 0);
    step();
    for (int i = 0; i < 3; i++) {
        fill_tickets(&net.nodes[i]);
    }
    end(&net.nodes[0]);
    step();
    assert_state(TICKET_IS_DONE, 0);
    assert_int_equal(count_told(1, TICKET_ENDED), 1);
}

static void as_many_messages_as_it_may_have_wait_for_a_ticket_and_its_final_one(void **state)
{
    char data[8];
    for (uint32_t i = 0; i < HUB_TICKET_MESSAGES; i++) {
        snprintf(data, sizeof(data), "%u.", i);
        push(&net.nodes[i % 3], data, 0);
        step();
        assert_int_equal(last_err, 0);
    }
    for (int i = 0; i < 3; i++) {
        struct kept_stats *stats = hub_get_kept_stats(net.nodes[i].hub);
        assert_int_equal(push(&net.nodes[i], "more", 0), ERR_TOO_MANY);
        assert_int_equal(stats->refused[KEPT_RESULTS], 1);
    }
    cancel(&net.nodes[1], "7.");
    step();
    push(&net.nodes[0], "another", 0);
    push(&net.nodes[0], "final", EVENT_IS_FINAL);
    step();
    assert_int_equal(last_err, 0);
    assert_state(TICKET_IS_WAITING, HUB_TICKET_MESSAGES + 1);
    net_run(LIFE_MS + 1000); /* all at once */
    assert_int_equal(net.nodes[0].hub->tickets.count, 0);
}

static void what_goes_from_the_middle_or_the_end_leaves_the_others_in_order(void **state)
{
    push(&net.nodes[0], "1", 0);
    push(&net.nodes[0], "2", 0);
    push(&net.nodes[0], "3", 0);
    push(&net.nodes[0], "4", 0);
    step();
    cancel(&net.nodes[1], "2");
    cancel(&net.nodes[1], "4");
    step();
    claim_and_be_ready(&net.nodes[1], 1);
    assert_string_equal(got(1), "13");
    cancel(&net.nodes[1], "3"); /* the last that it has */
    push(&net.nodes[0], "5", 0);
    step();
    claim_and_be_ready(&net.nodes[2], 2);
    assert_string_equal(got(2), "15");
}

static void a_reload_needs_no_room_and_a_first_claim_takes_none_of_revocations(void **state)
{
    struct kept *kept = net.nodes[0].hub->kept;
    claim_and_be_ready(&net.nodes[0], 1);
    assert_int_equal(kept_get_stats(kept)->bytes[KEPT_OTHERS], 0);
    uint64_t rest = KEPT_TICKET_BYTES - kept_get_stats(kept)->bytes[KEPT_TICKETS];
    assert_true(kept_reserve(kept, KEPT_TICKETS, EVENT_TEST_APP, rest));
    claim(&net.nodes[0], 2, "a");
    step();
    assert_int_equal(last_err, 0);
    assert_int_equal(count_told(2, TICKET_WON), 1);
    kept_release(kept, KEPT_TICKETS, EVENT_TEST_APP, rest);
}

static void without_room_for_a_claim_it_is_refused(void **state)
{
    struct kept *kept = net.nodes[0].hub->kept;
    assert_true(kept_reserve(kept, KEPT_TICKETS, EVENT_TEST_APP, KEPT_TICKET_BYTES));
    claim(&net.nodes[0], 1, "a");
    assert_int_equal(last_err, ERR_TOO_MANY);
    kept_release(kept, KEPT_TICKETS, EVENT_TEST_APP, KEPT_TICKET_BYTES);
}

static void show_row(void *arg, const struct ticket_row *row)
{
    buf_printf(arg, "%.*s %u %d;", STR_ARG(row->id), row->messages, row->claimed_ms > 0);
}

/* What each node lists, a place at a time. */
static void assert_listed(uint32_t app, const char *wanted)
{
    for (int i = 0; i < 3; i++) {
        struct buf out = {0};
        const struct hub *hub = net.nodes[i].hub;
        for (size_t at = hub_ticket_places(hub); at;) {
            at = hub_ticket_walk(hub, app, at, 1, show_row, &out);
        }
        assert_string_equal(buf_cstr(&out), wanted);
        buf_fini(&out);
    }
}

static void those_that_are_claimed_or_waited_for_are_listed(void **state)
{
    char wanted[64];
    assert_listed(EVENT_TEST_APP, "");
    push(&net.nodes[0], "one", 0);
    step();
    snprintf(wanted, sizeof(wanted), "%s 1 0;", id);
    assert_listed(EVENT_TEST_APP, wanted);
    claim_and_be_ready(&net.nodes[1], 1);
    snprintf(wanted, sizeof(wanted), "%s 1 1;", id);
    assert_listed(EVENT_TEST_APP, wanted);
    assert_listed(EVENT_TEST_APP + 1, "");
    end(&net.nodes[2]);
    step();
    assert_listed(EVENT_TEST_APP, "");
}

static void what_memory_did_not_allow_is_handed_over_at_the_next_tick(void **state)
{
    push(&net.nodes[0], "1", 0);
    push(&net.nodes[0], "2", 0);
    claim(&net.nodes[0], 1, "a");
    step();
    mem_fail_nth(1);
    be_ready(&net.nodes[0], 1);
    assert_false(mem_fail_pending());
    assert_string_equal(got(1), "");
    step();
    assert_string_equal(got(1), "12");
}

static void a_push_that_waits_counts_the_page_that_has_it(void **state)
{
    struct net_push counted;
    const char *targets[] = {target};
    claim_and_be_ready(&net.nodes[1], 1);
    net_push_to(&counted, &net.nodes[0], QUEUE, targets, 1, 1000);
    step();
    assert_int_equal(counted.delivered, 1);
    assert_int_equal(counted.receipt->matched, 1);
    assert_int_equal(counted.receipt->written, 1);
    net_end_push(&counted);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(of_claims_at_the_same_time_one_wins_and_all_nodes_agree),
        TEST(the_empty_claim_is_a_claim_too),
        TEST(a_node_that_starts_late_corrects_itself_before_it_serves),
        TEST(what_came_before_goes_to_the_session_that_is_ready_then_what_comes),
        TEST(who_comes_again_gets_everything_again_and_the_older_nothing_more),
        TEST(behind_the_final_message_nothing_comes),
        TEST(what_is_cancelled_is_never_handed_over_and_who_has_it_is_told),
        TEST(the_end_frees_what_waits_and_is_remembered),
        TEST(a_node_that_starts_late_has_what_waits_in_order_and_hands_it_over),
        TEST(it_is_forgotten_when_it_expires),
        TEST(over_the_budget_a_push_is_refused),
        TEST(an_end_that_cant_be_kept_ends_nothing),
        TEST(an_end_has_the_room_of_the_claim),
        TEST(as_many_messages_as_it_may_have_wait_for_a_ticket_and_its_final_one),
        TEST(what_goes_from_the_middle_or_the_end_leaves_the_others_in_order),
        TEST(a_reload_needs_no_room_and_a_first_claim_takes_none_of_revocations),
        TEST(without_room_for_a_claim_it_is_refused),
        TEST(those_that_are_claimed_or_waited_for_are_listed),
        TEST(what_memory_did_not_allow_is_handed_over_at_the_next_tick),
        TEST(a_push_that_waits_counts_the_page_that_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
