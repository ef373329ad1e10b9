#include "api/push.h"

#include <stdlib.h>

#include "api/gateway_test_help.h"
#include "base/err.h"
#include "base/metrics.h"

#define PUSH "POST /v1/messages"

/* Three sessions on two workers: 42 (both), 43; 42's first and 43 are in room:1. */
struct three {
    struct gateway_test_client a, b, c;
};

static void open_three(struct gateway_test *test, struct three *three)
{
    gateway_test_open_on(test, &three->a, 0, "42", "[\"room:1\"]");
    gateway_test_open_on(test, &three->b, 1, "42", "[]");
    gateway_test_open_on(test, &three->c, 1, "43", "[\"room:1\"]");
}

static void close_three(struct three *three)
{
    gateway_test_close(&three->a);
    gateway_test_close(&three->b);
    gateway_test_close(&three->c);
}

/* The text of a member of the last answer, up to its quote. */
static void text_of(const struct gateway_test *test, const char *name, char out[64])
{
    char start[32];
    snprintf(start, sizeof(start), "\"%s\":\"", name);
    const char *at = strstr(test->body, start);
    assert_non_null(at);
    at += strlen(start);
    snprintf(out, 64, "%.*s", (int)strcspn(at, "\""), at);
}

/* ---- outcomes, without a gateway ---- */

static void a_status_says_what_became_of_a_push(void **state)
{
    const struct {
        struct push_outcome outcome;
        int status;
        const char *code;
    } cases[] = {
        {{.verdict = PUBLISH_ACCEPTED}, 202, NULL},
        {{.verdict = PUBLISH_ACCEPTED, .has_receipt = true}, 202, NULL},
        {{.verdict = PUBLISH_ACCEPTED, .has_receipt = true, .is_complete = true}, 200, NULL},
        {{.verdict = PUBLISH_REPLAYED, .has_receipt = true, .is_complete = true}, 202, NULL},
        {{.verdict = PUBLISH_CONFLICT}, 422, "id_conflict"},
        {{.verdict = PUBLISH_FAILED, .err = ERR_TIMEOUT, .parts = 2}, 503, "bus_unavailable"},
        {{.verdict = PUBLISH_FAILED, .parts = 2, .accepted_parts = 1}, 503, "bus_partial"},
        {{.verdict = PUBLISH_FAILED, .err = ERR_TOO_LARGE, .parts = 1}, 413, "too_large_for_bus"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *code = "none";
        const char *detail = "none";
        assert_int_equal(push_status(&cases[i].outcome, &code, &detail), cases[i].status);
        assert_true(cases[i].code ? strcmp(code, cases[i].code) == 0 : !code);
        assert_int_equal(detail != NULL, cases[i].code != NULL);
    }
}

static void check_answer(const struct push_task *task, const struct push_outcome *outcome,
                         const char *expected)
{
    struct buf out = {0};
    push_write_answer(&out, task, outcome);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

static void an_answer_has_id_positions_and_the_receipt(void **state)
{
    struct publish *publish = publish_create(2);
    struct push_task task = {.publish = publish, .id = STR("cmt-\"7\"")};
    publish->parts[0].queue = 2;
    publish->parts[1].queue = 5;
    check_answer(&task, &(struct push_outcome){.verdict = PUBLISH_ACCEPTED},
                 "\"id\":\"cmt-\\\"7\\\"\",\"pos\":[\"2:0.0\",\"5:0.0\"]");
    publish->part_count = 1;
    check_answer(&task, &(struct push_outcome){.verdict = PUBLISH_REPLAYED, .has_receipt = true},
                 "\"id\":\"cmt-\\\"7\\\"\",\"pos\":\"2:0.0\",\"replayed\":true");
    struct push_outcome outcome = {.has_receipt = true,
                                   .is_complete = true,
                                   .nodes_expected = 3,
                                   .nodes_reported = 3,
                                   .users_online = 1,
                                   .matched = 4,
                                   .written = 2,
                                   .acked = 1,
                                   .dropped = 2};
    check_answer(&task, &outcome,
                 "\"id\":\"cmt-\\\"7\\\"\",\"pos\":\"2:0.0\",\"receipt\":{\"complete\":true,"
                 "\"nodes\":{\"expected\":3,\"reported\":3},\"users_online\":1,\"sessions\":"
                 "{\"matched\":4,\"written\":2,\"acked\":1,\"dropped\":2}}");
    outcome.is_complete = false;
    outcome.nodes_reported = 2;
    outcome.matched = 0;
    check_answer(&task, &outcome,
                 "\"id\":\"cmt-\\\"7\\\"\",\"pos\":\"2:0.0\",\"receipt\":{\"complete\":false,"
                 "\"nodes\":{\"expected\":3,\"reported\":2},\"users_online\":1,\"sessions\":"
                 "{\"matched\":0,\"written\":2,\"acked\":1,\"dropped\":2}}");
    publish_destroy(publish);
}

/* ---- accepted ---- */

static void a_push_without_an_id_gets_one_of_its_own(void **state)
{
    struct gateway_test *test = *state;
    char first[64];
    char second[64];
    assert_int_equal(
        gateway_test_ask(test, KEY_PUSH, PUSH, "{\"to\":{\"users\":[\"42\"]},\"data\":1}"), 202);
    text_of(test, "id", first);
    assert_int_equal(
        gateway_test_ask(test, KEY_PUSH, PUSH, "{\"to\":{\"users\":[\"42\"]},\"data\":1}"), 202);
    text_of(test, "id", second);
    assert_int_equal(strlen(first), 26);
    assert_int_equal(first[0], 'm');
    assert_string_not_equal(first, second);
}

static void each_push_to_a_target_has_a_later_position(void **state)
{
    struct gateway_test *test = *state;
    unsigned long queue[2];
    unsigned long long offset[2];
    for (int i = 0; i < 2; i++) {
        char pos[64];
        assert_int_equal(
            gateway_test_ask(test, KEY_PUSH, PUSH, "{\"to\":{\"users\":[\"42\"]},\"data\":1}"),
            202);
        text_of(test, "pos", pos);
        assert_int_equal(sscanf(pos, "%lu:%llu.", &queue[i], &offset[i]), 2);
    }
    assert_int_equal(queue[0], queue[1]);
    assert_true(offset[1] > offset[0]);
}

static void a_push_to_many_targets_has_a_position_for_each_queue(void **state)
{
    struct gateway_test *test = *state;
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH,
                                      "{\"to\":{\"users\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\","
                                      "\"7\",\"8\",\"9\"],\"groups\":[\"a\",\"b\",\"c\",\"d\","
                                      "\"e\",\"f\",\"g\"]},\"data\":1}"),
                     202);
    gateway_test_says(test, "\"pos\":[\"");
}

static void a_session_gets_a_message_of_several_targets_once(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    open_three(test, &three);
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH,
                                      "{\"to\":{\"users\":[\"42\",\"43\"],\"groups\":[\"room:1\"],"
                                      "\"all\":true},\"id\":\"one\",\"type\":\"t\","
                                      "\"data\":{\"n\":1},\"wait\":\"written\",\"wait_ms\":9000}"),
                     200);
    gateway_test_says(test, "\"sessions\":{\"matched\":3,\"written\":3,\"acked\":0,\"dropped\":0}");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "POST /v1/broadcast", "\"end\""), 202);
    struct gateway_test_client *clients[] = {&three.a, &three.b, &three.c};
    for (int i = 0; i < 3; i++) {
        gateway_test_gets(clients[i], "{\"t\":\"msg\",\"id\":\"one\",\"pos\":\"");
        assert_non_null(strstr(clients[i]->text, "\"type\":\"t\""));
        assert_non_null(strstr(clients[i]->text, "\"data\":{\"n\":1}}"));
        gateway_test_gets(clients[i], "\"data\":\"end\"}");
    }
    close_three(&three);
}

static void who_is_excepted_does_not_get_it(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    char body[256];
    open_three(test, &three);
    snprintf(body, sizeof(body),
             "{\"to\":{\"users\":[\"42\"]},\"except\":{\"sessions\":[\"%s\"]},\"data\":1,"
             "\"wait\":\"routed\",\"wait_ms\":9000}",
             three.a.sid);
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH, body), 200);
    gateway_test_says(test, "\"matched\":1,");
    gateway_test_gets(&three.b, "\"data\":1}");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH,
                                      "{\"to\":{\"all\":true},\"except\":{\"origin\":\"page-1\"},"
                                      "\"data\":2,\"wait\":\"routed\",\"wait_ms\":9000}"),
                     200);
    gateway_test_says(test, "\"matched\":0,");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "POST /v1/broadcast", "3"), 202);
    gateway_test_gets(&three.a, "\"data\":3}");
    close_three(&three);
}

/* ---- waiting ---- */

static void routed_counts_users_and_sessions_of_all_workers(void **state)
{
    struct gateway_test *test = *state;
    struct three three;
    open_three(test, &three);
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH,
                                      "{\"to\":{\"users\":[\"42\"]},\"data\":1,"
                                      "\"wait\":\"routed\",\"wait_ms\":9000}"),
                     200);
    gateway_test_says(test, "\"receipt\":{\"complete\":true,\"nodes\":{\"expected\":1,"
                            "\"reported\":1},");
    gateway_test_says(test, "\"sessions\":{\"matched\":2,");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH,
                                      "{\"to\":{\"groups\":[\"room:1\"]},\"data\":1,"
                                      "\"wait\":\"written\",\"wait_ms\":9000}"),
                     200);
    gateway_test_says(test, "\"sessions\":{\"matched\":2,\"written\":2,\"acked\":0,\"dropped\":0}");
    close_three(&three);
}

static void nobody_there_is_complete_with_zeros(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, PUSH,
                                      "{\"to\":{\"users\":[\"42\"]},\"data\":1,"
                                      "\"wait\":\"written\",\"wait_ms\":9000}"),
                     200);
    gateway_test_says(*state, "\"users_online\":0,\"sessions\":{\"matched\":0,\"written\":0,");
}

static void without_a_wait_there_is_no_receipt(void **state)
{
    struct gateway_test *test = *state;
    assert_int_equal(
        gateway_test_ask(test, KEY_PUSH, PUSH, "{\"to\":{\"users\":[\"42\"]},\"data\":1}"), 202);
    assert_null(strstr(test->body, "receipt"));
}

static double count_of_api_to_bus(void)
{
    static const char series[] = "tidegate_delivery_seconds_count{stage=\"api_to_bus\"} ";
    struct buf text = {0};
    assert_int_equal(metrics_render(&text), 0);
    const char *at = strstr(buf_cstr(&text), series);
    double count = at ? strtod(at + strlen(series), NULL) : 0;
    buf_fini(&text);
    return count;
}

/* A member that joins goes over the bus too, and is no message. */
static void messages_alone_are_timed_on_their_way_to_the_bus(void **state)
{
    double before = count_of_api_to_bus();
    gateway_test_ask(*state, KEY_PUSH, PUSH, "{\"to\":{\"users\":[\"42\"]},\"data\":1}");
    assert_true(count_of_api_to_bus() == before + 1);
    assert_int_equal(gateway_test_ask(*state, KEY_ALL, "PUT /v1/groups/room:1/users/42", NULL),
                     200);
    assert_true(count_of_api_to_bus() == before + 1);
}

/* ---- ids ---- */

#define SAY(id, data) "{\"to\":{\"users\":[\"42\"]},\"id\":\"" id "\",\"data\":" data "}"

static void the_same_id_and_body_is_answered_again_and_sent_once(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    char pos[64];
    char again[64];
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH, SAY("one", "1")), 202);
    assert_null(strstr(test->body, "replayed"));
    text_of(test, "pos", pos);
    for (int i = 0; i < 4; i++) { /* by whichever worker */
        assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH, SAY("one", "1")), 202);
        gateway_test_says(test, "{\"id\":\"one\",");
        gateway_test_says(test, "\"replayed\":true}");
        text_of(test, "pos", again);
        assert_string_equal(pos, again);
    }
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH, SAY("two", "2")), 202);
    gateway_test_gets(&client, "\"data\":1}");
    gateway_test_gets(&client, "\"data\":2}");
    gateway_test_close(&client);
}

static void the_same_id_with_another_body_is_a_conflict(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, PUSH, SAY("one", "1")), 202);
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, PUSH, SAY("one", "2")), 422);
    gateway_test_says_code(*state, "id_conflict");
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, PUSH,
                                      "{\"to\":{\"users\":[\"42\"]},\"id\":\"one\",\"data\":1,"
                                      "\"type\":\"other\"}"),
                     422);
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, PUSH,
                                      "{\"to\":{\"users\":[\"42\"]},\"id\":\"one\",\"data\":1,"
                                      "\"ttl_ms\":5}"),
                     422);
}

static void how_long_the_caller_waits_is_not_part_of_the_body(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, PUSH, SAY("one", "1")), 202);
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, PUSH,
                                      "{\"to\":{\"users\":[\"42\"]},\"id\":\"one\",\"data\":1,"
                                      "\"wait\":\"routed\",\"wait_ms\":9000}"),
                     202);
    gateway_test_says(*state, "\"replayed\":true}");
}

static void an_id_belongs_to_its_app(void **state)
{
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, PUSH, SAY("one", "1")), 202);
    assert_int_equal(gateway_test_ask(*state, KEY_OTHER, PUSH, SAY("one", "2")), 202);
}

/* ---- the bus and memory ---- */

static void no_backlog(struct settings *settings)
{
    settings->bus.backlog_bytes = 1;
}

static int setup_no_backlog(void **state)
{
    return gateway_test_setup_tuned(state, no_backlog);
}

static void what_the_bus_does_not_take_is_503_and_not_delivered(void **state)
{
    struct gateway_test *test = *state;
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH, SAY("one", "1")), 503);
    gateway_test_says_code(test, "bus_unavailable");
    gateway_test_has_header(test, "Retry-After: 1");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH,
                                      "{\"to\":{\"users\":[\"42\"]},\"data\":1,"
                                      "\"wait\":\"written\",\"wait_ms\":9000}"),
                     503);
}

static void one_worker(struct settings *settings)
{
    settings->workers = 1;
}

static int setup_one_worker(void **state)
{
    return gateway_test_setup_tuned(state, one_worker);
}

static void every_failed_allocation_of_a_push_is_survived(void **state)
{
    gateway_test_survives(*state, PUSH, "{\"to\":{\"users\":[\"42\"]},\"data\":1}", 202);
    gateway_test_survives(*state, PUSH, "{\"to\":{\"users\":[\"1\",\"2\",\"3\",\"4\"]},\"data\":1}",
                          202);
    gateway_test_survives(*state, PUSH,
                          "{\"to\":{\"users\":[\"42\"]},\"data\":1,\"wait\":\"written\","
                          "\"wait_ms\":9000}",
                          200);
    gateway_test_survives(*state, PUSH, SAY("one", "1"), 202);
}

#define TUNED(name, setup) cmocka_unit_test_setup_teardown(name, setup, gateway_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_says_what_became_of_a_push),
        cmocka_unit_test(an_answer_has_id_positions_and_the_receipt),
        GATEWAY_TEST(a_push_without_an_id_gets_one_of_its_own),
        GATEWAY_TEST(each_push_to_a_target_has_a_later_position),
        GATEWAY_TEST(a_push_to_many_targets_has_a_position_for_each_queue),
        GATEWAY_TEST(a_session_gets_a_message_of_several_targets_once),
        GATEWAY_TEST(who_is_excepted_does_not_get_it),
        GATEWAY_TEST(routed_counts_users_and_sessions_of_all_workers),
        GATEWAY_TEST(nobody_there_is_complete_with_zeros),
        GATEWAY_TEST(without_a_wait_there_is_no_receipt),
        GATEWAY_TEST(messages_alone_are_timed_on_their_way_to_the_bus),
        GATEWAY_TEST(the_same_id_and_body_is_answered_again_and_sent_once),
        GATEWAY_TEST(the_same_id_with_another_body_is_a_conflict),
        GATEWAY_TEST(how_long_the_caller_waits_is_not_part_of_the_body),
        GATEWAY_TEST(an_id_belongs_to_its_app),
        TUNED(what_the_bus_does_not_take_is_503_and_not_delivered, setup_no_backlog),
        TUNED(every_failed_allocation_of_a_push_is_survived, setup_one_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
