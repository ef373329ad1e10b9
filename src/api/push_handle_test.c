#include "api/push.h"

#include "api/gateway_test_help.h"

#define PUSH "POST /v1/messages"
#define BATCH "POST /v1/messages:batch"
#define USER "POST /v1/users/42/messages"

struct refused {
    const char *line;
    const char *body;
    int status;
    const char *code;
};

static void check_refusals(struct gateway_test *test, const struct refused *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int status = gateway_test_ask(test, KEY_PUSH, cases[i].line, cases[i].body);
        if (status != cases[i].status) {
            fail_msg("%s %s: %d, %s", cases[i].line, cases[i].body, status, test->body);
        }
        gateway_test_says_code(test, cases[i].code);
    }
}

/* ---- one message ---- */

static void a_message_that_cannot_be_meant_is_refused_with_its_reason(void **state)
{
    const struct refused cases[] = {
        {PUSH, "", 400, "bad_json"},
        {PUSH, "{\"to\":{\"users\":[\"42\"]},\"data\":1}x", 400, "bad_json"},
        {PUSH, "[]", 422, "invalid_message"},
        {PUSH, "{\"data\":1}", 422, "invalid_to"},
        {PUSH, "{\"to\":{\"users\":[]},\"data\":1}", 422, "invalid_to"},
        {PUSH, "{\"to\":{\"users\":[\"42\"]}}", 422, "invalid_data"},
        {PUSH, "{\"to\":{\"tickets\":[\"t\"]},\"data\":1}", 404, "ticket_not_found"},
        {PUSH, "{\"to\":{\"all\":true},\"data\":1,\"more\":1}", 422, "unknown_field"},
        {PUSH, "{\"to\":{\"all\":true},\"data\":1,\"wait\":\"ever\"}", 422, "invalid_wait"},
        {PUSH, "{\"to\":{\"all\":true},\"data\":1,\"wait_ms\":10001}", 422, "invalid_wait_ms"},
        {PUSH, "{\"to\":{\"all\":true},\"data_base64\":\"*\"}", 422, "invalid_data_base64"},
    };
    check_refusals(*state, cases, sizeof(cases) / sizeof(cases[0]));
}

static void idempotency_key_is_another_way_to_give_the_id(void **state)
{
    struct gateway_test *test = *state;
    const char *body = "{\"to\":{\"users\":[\"42\"]},\"data\":1}";
    const char *same = "{\"to\":{\"users\":[\"42\"]},\"data\":1,\"id\":\"one\"}";
    const char *key = "Idempotency-Key: one\r\n";
    assert_int_equal(gateway_test_ask_with(test, KEY_PUSH, PUSH, key, body), 202);
    gateway_test_says(test, "{\"id\":\"one\",");
    assert_int_equal(gateway_test_ask_with(test, KEY_PUSH, PUSH, key, same), 202);
    gateway_test_says(test, "\"replayed\":true}");
    assert_int_equal(gateway_test_ask_with(test, KEY_PUSH, USER, key, "1"), 202);
    gateway_test_says(test, "{\"id\":\"one\",");
}

static void idempotency_key_that_is_none_is_422(void **state)
{
    const char *const headers[] = {"Idempotency-Key: two\r\n", /* the body says one */
                                   "Idempotency-Key:\r\n",
                                   "Idempotency-Key: one\r\nIdempotency-Key: one\r\n",
                                   "Idempotency-Key: a\tb\r\n"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(
            gateway_test_ask_with(*state, KEY_PUSH, PUSH, headers[i],
                                  "{\"to\":{\"users\":[\"42\"]},\"data\":1,\"id\":\"one\"}"),
            422);
        gateway_test_says_code(*state, "invalid_id");
    }
}

static void small_quota(struct settings *settings)
{
    settings->apps[0].quotas = (struct settings_quotas){.pushes_per_second = 1, .push_burst = 4};
}

static int setup_small_quota(void **state)
{
    return gateway_test_setup_tuned(state, small_quota);
}

static void an_app_over_its_quota_gets_429_and_the_others_go_on(void **state)
{
    struct gateway_test *test = *state;
    const char *message = "{\"to\":{\"users\":[\"x\"]},\"data\":1}";
    char batch[512];
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "POST /v1/messages", message), 202);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "POST /v1/broadcast", "1"), 202);
    snprintf(batch, sizeof(batch), "[%s,%s,%s,%s,%s,%s]", message, message, message, message,
             message, message);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "POST /v1/messages:batch", batch), 200);
    gateway_test_says(test, "{\"status\":429,\"code\":\"quota_exceeded\"");
    const char *first_refused = strstr(test->body, "429");
    assert_true(first_refused > strstr(test->body, "202"));
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "POST /v1/users/x/messages", "1"), 429);
    gateway_test_says_code(test, "quota_exceeded");
    gateway_test_has_header(test, "Retry-After: 1");
    assert_int_equal(gateway_test_ask(test, KEY_OTHER, "POST /v1/messages", message), 202);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "GET /v1/users/x", NULL), 200);
}

static void large_messages(struct settings *settings)
{
    settings->limits.body_bytes = 4 << 20;
    settings->limits.message_bytes = 2 << 20;
}

static int setup_large_messages(void **state)
{
    return gateway_test_setup_tuned(state, large_messages);
}

static void data_at_the_limit_is_taken_above_it_is_413(void **state)
{
    struct gateway_test *test = *state;
    size_t limit = test->settings->limits.message_bytes;
    char *body = malloc(limit + 2);
    assert_non_null(body);
    memset(body, '1', limit + 1);
    body[limit + 1] = '\0';
    assert_int_equal(
        gateway_test_ask_with(test, KEY_PUSH, USER, "Content-Type: text/plain\r\n", body), 413);
    gateway_test_says_code(test, "message_too_large");
    assert_int_equal(
        gateway_test_ask_with(test, KEY_PUSH, USER, "Content-Type: text/plain\r\n", body + 1), 202);
    free(body);
}

/* Messages are packed into records of up to 1 MiB. */
static void a_message_larger_than_a_record_is_routed_all_the_same(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    size_t len = test->settings->limits.message_bytes;
    char *body = malloc(len + 1);
    assert_non_null(body);
    memset(body, '1', len);
    body[len] = '\0';
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(gateway_test_ask_with(test, KEY_PUSH, USER "?wait=routed&wait_ms=9000",
                                           "Content-Type: text/plain\r\n", body),
                     200);
    gateway_test_says(test, "\"matched\":1,");
    gateway_test_close(&client);
    free(body);
}

/* ---- raw bodies ---- */

static void a_raw_body_goes_to_the_target_of_its_path(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    char line[128];
    gateway_test_open(test, &client, "shop", "42", "[\"room:1\"]");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, USER, "{\"n\":1}"), 202);
    gateway_test_gets(&client, "\"data\":{\"n\":1}}");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "POST /v1/groups/room:1/messages", "2"), 202);
    gateway_test_gets(&client, "\"g\":\"room:1\"");
    assert_non_null(strstr(client.text, "\"data\":2}"));
    snprintf(line, sizeof(line), "POST /v1/sessions/%s/messages", client.sid);
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, line, "3"), 202);
    gateway_test_gets(&client, "\"data\":3}");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "POST /v1/broadcast", "4"), 202);
    gateway_test_gets(&client, "\"data\":4}");
    gateway_test_close(&client);
}

static void options_stand_in_the_query(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH,
                                      USER "?type=a+b&id=%6fne&ttl_ms=60000&wait=written"
                                           "&wait_ms=9000",
                                      "1"),
                     200);
    gateway_test_says(test, "{\"id\":\"one\",");
    gateway_test_says(test, "\"written\":1,");
    gateway_test_gets(&client, "\"id\":\"one\"");
    assert_non_null(strstr(client.text, "\"type\":\"a b\""));
    assert_int_equal(
        gateway_test_ask(test, KEY_PUSH, USER "?origin=page-1&wait=routed&wait_ms=9000", "1"), 200);
    gateway_test_says(test, "\"matched\":0,");
    gateway_test_close(&client);
}

static void what_is_not_json_is_text_or_binary_by_its_type(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, USER, "hi \"you\""), 202);
    gateway_test_gets(&client, "\"data\":\"hi \\\"you\\\"\"}");
    assert_int_equal(
        gateway_test_ask_with(test, KEY_PUSH, USER, "Content-Type: text/plain\r\n", "{}"), 202);
    gateway_test_gets(&client, "\"data\":\"{}\"}");
    assert_int_equal(
        gateway_test_ask_with(test, KEY_PUSH, USER, "Content-Type: image/png\r\n", "\x01\xff"),
        202);
    gateway_test_gets(&client, "\"data_base64\":\"Af8=\"}");
    assert_int_equal(
        gateway_test_ask_with(test, KEY_PUSH, USER, "Content-Type: application/json\r\n", "hi"),
        400);
    gateway_test_says_code(test, "bad_json");
    assert_int_equal(
        gateway_test_ask_with(test, KEY_PUSH, USER, "Content-Type: text/plain\r\n", "\xff"), 400);
    gateway_test_says_code(test, "bad_text");
    gateway_test_close(&client);
}

static void options_that_are_none_are_refused(void **state)
{
    const struct refused cases[] = {
        {USER "?colour=red", "1", 422, "unknown_option"},
        {USER "?id=", "1", 422, "invalid_id"},
        {USER "?type=%0a", "1", 422, "invalid_type"},
        {USER "?origin=", "1", 422, "invalid_except"},
        {USER "?collapse=", "1", 422, "invalid_collapse"},
        {USER "?ttl_ms=0", "1", 422, "invalid_ttl_ms"},
        {USER "?ttl_ms=-1", "1", 422, "invalid_ttl_ms"},
        {USER "?wait=x", "1", 422, "invalid_wait"},
        {USER "?wait_ms=10001", "1", 422, "invalid_wait_ms"},
        {USER "?id=%4", "1", 400, "bad_query"},
    };
    check_refusals(*state, cases, sizeof(cases) / sizeof(cases[0]));
}

/* ---- batches ---- */

static void a_batch_has_a_result_for_each_message_in_order(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(
        gateway_test_ask(test, KEY_PUSH, BATCH,
                         "{\"messages\":[{\"to\":{\"users\":[\"42\"]},\"id\":\"a\",\"data\":1},"
                         "{\"to\":{\"users\":[]},\"data\":2},"
                         "{\"to\":{\"users\":[\"42\"]},\"id\":\"a\",\"data\":3},"
                         "7,"
                         "{\"to\":{\"users\":[\"42\"]},\"id\":\"b\",\"data\":4,"
                         "\"wait\":\"written\",\"wait_ms\":9000}]}"),
        200);
    const char *at = strstr(test->body, "{\"results\":[{\"status\":202,\"id\":\"a\",\"pos\":\"");
    assert_ptr_equal(at, test->body);
    at = strstr(at, "},{\"status\":422,\"code\":\"invalid_to\",\"detail\":\"");
    assert_non_null(at);
    at = strstr(at, "},{\"status\":422,\"code\":\"id_conflict\",\"detail\":\"");
    assert_non_null(at);
    at = strstr(at, "},{\"status\":422,\"code\":\"invalid_message\",\"detail\":\"");
    assert_non_null(at);
    at = strstr(at, "},{\"status\":200,\"id\":\"b\",\"pos\":\"");
    assert_non_null(at);
    assert_non_null(strstr(at, "\"written\":1,"));
    gateway_test_gets(&client, "\"data\":1}");
    gateway_test_gets(&client, "\"data\":4}");
    gateway_test_close(&client);
}

static void a_batch_may_be_a_bare_array_and_empty(void **state)
{
    struct gateway_test *test = *state;
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, BATCH, "[]"), 200);
    assert_string_equal(test->body, "{\"results\":[]}");
    assert_int_equal(
        gateway_test_ask(test, KEY_PUSH, BATCH, "[{\"to\":{\"all\":true},\"data\":1}]"), 200);
    gateway_test_says(test, "{\"results\":[{\"status\":202,\"id\":\"m");
}

static void a_batch_that_is_none_is_refused_whole(void **state)
{
    const struct refused cases[] = {
        {BATCH, "", 400, "bad_json"},
        {BATCH, "[{]", 400, "bad_json"},
        {BATCH, "{}", 422, "invalid_messages"},
        {BATCH, "7", 422, "invalid_messages"},
        {BATCH, "{\"messages\":{}}", 422, "invalid_messages"},
        {BATCH, "{\"messages\":[],\"more\":1}", 422, "invalid_messages"},
    };
    check_refusals(*state, cases, sizeof(cases) / sizeof(cases[0]));
}

static void batches_of_three(struct settings *settings)
{
    settings->limits.batch = 3;
}

static int setup_batches_of_three(void **state)
{
    return gateway_test_setup_tuned(state, batches_of_three);
}

static void a_batch_over_the_limit_is_refused_at_the_limit_it_is_taken(void **state)
{
#define ONE "{\"to\":{\"all\":true},\"data\":1}"
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, BATCH, "[" ONE "," ONE "," ONE "]"), 200);
    assert_int_equal(gateway_test_ask(*state, KEY_PUSH, BATCH, "[" ONE "," ONE "," ONE "," ONE "]"),
                     422);
    gateway_test_says_code(*state, "too_many_messages");
#undef ONE
}

/* ---- memory ---- */

static void one_worker(struct settings *settings)
{
    settings->workers = 1;
}

static int setup_one_worker(void **state)
{
    return gateway_test_setup_tuned(state, one_worker);
}

static void every_failed_allocation_of_a_raw_push_or_a_batch_is_survived(void **state)
{
    gateway_test_survives(*state, USER "?type=a%20b", "{\"n\":1}", 202);
    gateway_test_survives(*state, BATCH,
                          "[{\"to\":{\"users\":[\"1\",\"2\",\"3\"]},\"data\":1},7,"
                          "{\"to\":{\"all\":true},\"data\":1}]",
                          200);
}

#define TUNED(name, setup) cmocka_unit_test_setup_teardown(name, setup, gateway_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(a_message_that_cannot_be_meant_is_refused_with_its_reason),
        GATEWAY_TEST(idempotency_key_is_another_way_to_give_the_id),
        GATEWAY_TEST(idempotency_key_that_is_none_is_422),
        TUNED(an_app_over_its_quota_gets_429_and_the_others_go_on, setup_small_quota),
        GATEWAY_TEST(data_at_the_limit_is_taken_above_it_is_413),
        TUNED(a_message_larger_than_a_record_is_routed_all_the_same, setup_large_messages),
        GATEWAY_TEST(a_raw_body_goes_to_the_target_of_its_path),
        GATEWAY_TEST(options_stand_in_the_query),
        GATEWAY_TEST(what_is_not_json_is_text_or_binary_by_its_type),
        GATEWAY_TEST(options_that_are_none_are_refused),
        GATEWAY_TEST(a_batch_has_a_result_for_each_message_in_order),
        GATEWAY_TEST(a_batch_may_be_a_bare_array_and_empty),
        GATEWAY_TEST(a_batch_that_is_none_is_refused_whole),
        TUNED(a_batch_over_the_limit_is_refused_at_the_limit_it_is_taken, setup_batches_of_three),
        TUNED(every_failed_allocation_of_a_raw_push_or_a_batch_is_survived, setup_one_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
