#include "api/tickets.h"

#include "api/gateway_test_help.h"

static const char key_ticket[] = "tg_ticket";

static void add_key(struct settings *settings)
{
    gateway_test_add_key(settings, &settings->apps[0], key_ticket, SETTINGS_SCOPE_TICKET);
}

static int setup(void **state)
{
    return gateway_test_setup_tuned(state, add_key);
}

static void add_key_to_one_worker(struct settings *settings)
{
    add_key(settings);
    settings->workers = 1;
}

static int setup_one_worker(void **state)
{
    return gateway_test_setup_tuned(state, add_key_to_one_worker);
}

/* The id of a new ticket. */
static const char *make(struct gateway_test *test)
{
    static char id[64];
    assert_int_equal(gateway_test_ask(test, key_ticket, "POST /v1/tickets", "{\"scene\":\"x\"}"),
                     201);
    gateway_test_says(test, "{\"ticket\":\"");
    gateway_test_says(test, "\"expires_at\":1");
    assert_int_equal(sscanf(strstr(test->body, "\"id\":\""), "\"id\":\"%63[^\"]", id), 1);
    return id;
}

static int ask(struct gateway_test *test, const char *key, const char *method, const char *id,
               const char *end, const char *body)
{
    char line[512];
    snprintf(line, sizeof(line), "%s /v1/tickets/%s%s", method, id, end);
    return gateway_test_ask(test, key, line, body);
}

static void a_ticket_waits_with_what_is_pushed_to_it_until_it_is_ended(void **state)
{
    struct gateway_test *test = *state;
    const char *id = make(test);
    assert_int_equal(ask(test, key_ticket, "GET", id, "", NULL), 200);
    gateway_test_says(test, "\"state\":\"waiting\",\"messages\":0");
    assert_int_equal(ask(test, KEY_PUSH, "POST", id, "/messages", "1"), 202);
    assert_int_equal(ask(test, KEY_PUSH, "POST", id, "/messages?final=true&wait=routed", "2"), 200);
    assert_int_equal(ask(test, key_ticket, "GET", id, "", NULL), 200);
    gateway_test_says(test, "\"messages\":2");
    assert_int_equal(ask(test, KEY_PUSH, "POST", id, "/messages", "3"), 410);
    gateway_test_says_code(test, "ticket_done");
    assert_int_equal(ask(test, key_ticket, "DELETE", id, "", NULL), 200);
    gateway_test_says(test, "{\"state\":\"done\"}");
    assert_int_equal(ask(test, key_ticket, "GET", id, "", NULL), 200);
    gateway_test_says(test, "\"state\":\"done\",\"messages\":0");
}

static void each_call_needs_its_scope(void **state)
{
    struct gateway_test *test = *state;
    const char *id = make(test);
    assert_int_equal(gateway_test_ask(test, KEY_ALL, "POST /v1/tickets", "{}"), 403);
    assert_int_equal(ask(test, KEY_READ, "GET", id, "", NULL), 403);
    assert_int_equal(ask(test, KEY_ALL, "DELETE", id, "", NULL), 403);
    assert_int_equal(ask(test, key_ticket, "POST", id, "/messages", "1"), 403);
}

static void a_ticket_of_another_app_is_none(void **state)
{
    struct gateway_test *test = *state;
    const char *id = make(test);
    assert_int_equal(ask(test, KEY_OTHER, "POST", id, "/messages", "1"), 404);
    gateway_test_says_code(test, "ticket_not_found");
    assert_int_equal(ask(test, KEY_PUSH, "POST", id, "/messages", "1"), 202);
}

static void a_wish_that_cannot_be_meant_is_refused_with_its_reason(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *code;
    } cases[] = {
        {"", 400, "bad_json"},
        {"[]", 422, "invalid_ticket"},
        {"{\"ttl_ms\":1,\"ttl_ms\":1}", 422, "invalid_ticket"},
        {"{\"ttl\":1}", 422, "invalid_ticket"},
        {"{\"ttl_ms\":3600001}", 422, "invalid_ttl_ms"},
        {"{\"ttl_ms\":-1}", 422, "invalid_ttl_ms"},
        {"{\"scene\":\"\"}", 422, "invalid_scene"},
        {"{\"user\":\"a\\nb\"}", 422, "invalid_user"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(gateway_test_ask(*state, key_ticket, "POST /v1/tickets", cases[i].body),
                         cases[i].status);
        gateway_test_says_code(*state, cases[i].code);
    }
}

static void tickets_that_wait_are_listed_a_page_at_a_time(void **state)
{
    struct gateway_test *test = *state;
    char ids[3][64];
    char line[256];
    for (int i = 0; i < 3; i++) {
        snprintf(ids[i], sizeof(ids[i]), "%s", make(test));
        assert_int_equal(ask(test, KEY_PUSH, "POST", ids[i], "/messages?wait=routed", "1"), 200);
    }
    qsort(ids, 3, sizeof(ids[0]), (int (*)(const void *, const void *))strcmp);
    assert_int_equal(gateway_test_ask(test, key_ticket, "GET /v1/tickets?limit=2", NULL), 200);
    snprintf(line, sizeof(line),
             "{\"tickets\":[{\"id\":\"%s\",\"state\":\"waiting\",\"messages\":1,", ids[0]);
    gateway_test_says(test, line);
    snprintf(line, sizeof(line), "\"next\":\"%s\",\"as_of\":1", ids[1]);
    gateway_test_says(test, line);
    assert_null(strstr(test->body, ids[2]));
    snprintf(line, sizeof(line), "GET /v1/tickets?limit=1&after=%s", ids[1]);
    assert_int_equal(gateway_test_ask(test, key_ticket, line, NULL), 200);
    gateway_test_says(test, ids[2]);
    assert_null(strstr(test->body, "next"));
    assert_int_equal(ask(test, key_ticket, "DELETE", ids[2], "", NULL), 200);
    assert_int_equal(gateway_test_ask(test, key_ticket, line, NULL), 200);
    gateway_test_says(test, "{\"tickets\":[],\"as_of\":1");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, line, NULL), 403);
    assert_int_equal(gateway_test_ask(test, key_ticket, "GET /v1/tickets?limit=0", NULL), 422);
    gateway_test_says_code(test, "invalid_limit");
}

static void every_failed_allocation_of_a_ticket_is_survived(void **state)
{
    char body[128];
    snprintf(body, sizeof(body), "{\"to\":{\"users\":[\"42\"],\"tickets\":[\"%s\"]},\"data\":1}",
             make(*state));
    gateway_test_survives(*state, "POST /v1/messages", body, 202);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_ticket_waits_with_what_is_pushed_to_it_until_it_is_ended),
        TEST(tickets_that_wait_are_listed_a_page_at_a_time),
        TEST(each_call_needs_its_scope),
        TEST(a_ticket_of_another_app_is_none),
        TEST(a_wish_that_cannot_be_meant_is_refused_with_its_reason),
        cmocka_unit_test_setup_teardown(every_failed_allocation_of_a_ticket_is_survived,
                                        setup_one_worker, gateway_test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
