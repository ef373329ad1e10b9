#include "server/police.h"

#include "server/test_gateway.h"
#include "server/token_mint.h"

static struct test_gateway t;

static void start(uint64_t per_user, uint64_t per_device, enum settings_on_excess on_excess)
{
    test_gateway_init(&t);
    t.apps[0].sessions = (struct settings_sessions){per_user, per_device, on_excess};
    test_gateway_start(&t, NULL);
    test_gateway_turn(&t, TEST_TURNS);
}

static void stop(void)
{
    test_gateway_turn(&t, TEST_TURNS);
    assert_int_equal(admission_sessions(&t.gateway->admission), 0);
    test_gateway_stop(&t);
}

static const char *hello_of(const char *user, const char *device)
{
    static char text[2048];
    struct buf token = {0};
    struct token_claims claims = {.sub = str_of(user), .exp_s = clock_wall_ms() / 1000 + 3600};
    assert_int_equal(token_mint(&token, STR(TEST_SECRET), STR(""), &claims), 0);
    snprintf(text, sizeof(text), "{\"t\":\"hello\",\"v\":1,\"device\":\"%s\",\"token\":\"%s\"}",
             device, buf_cstr(&token));
    buf_fini(&token);
    return text;
}

/* One that is welcomed. */
static struct test_client *come(const char *device)
{
    struct test_client *client = test_connect_v1(&t, hello_of("a", device));
    test_client_expect(client, "\"t\":\"welcome\"");
    return client;
}

static void expect_refused(const char *device)
{
    struct test_client *client = test_connect_v1(&t, hello_of("a", device));
    assert_int_equal(test_client_next(client), WS_CLOSE); /* and no welcome before */
    assert_int_equal((uint8_t)client->text[0] << 8 | (uint8_t)client->text[1],
                     WS_CLOSE_SESSION_LIMIT);
    test_client_destroy(client);
}

static void one_too_many_sees_its_close_code_and_nothing_else(void **state)
{
    start(2, 0, SETTINGS_EXCESS_REJECT);
    struct test_client *first = come("");
    struct test_client *second = come("");
    expect_refused("");
    test_client_destroy(second);
    second = come("");
    expect_refused("");
    test_client_destroy(first);
    test_client_destroy(second);
    stop();
}

static void the_oldest_is_replaced(void **state)
{
    start(2, 0, SETTINGS_EXCESS_OLDEST);
    struct test_client *first = come("");
    struct test_client *second = come("");
    assert_int_equal(test_client_next(first), -1);
    struct test_client *third = come("");
    assert_int_equal(test_client_close_code(first), WS_CLOSE_REPLACED);
    assert_int_equal(test_client_next(second), -1);
    test_client_destroy(first);
    test_client_destroy(second);
    test_client_destroy(third);
    stop();
}

static void a_device_replaces_itself(void **state)
{
    start(1, 0, SETTINGS_EXCESS_SAME_DEVICE);
    struct test_client *first = come("tv");
    expect_refused("phone");
    struct test_client *second = come("tv");
    assert_int_equal(test_client_close_code(first), WS_CLOSE_REPLACED);
    test_client_destroy(first);
    test_client_destroy(second);
    stop();
}

static void what_is_pushed_meanwhile_comes_behind_the_welcome(void **state)
{
    start(1, 0, SETTINGS_EXCESS_REJECT);
    struct test_client *client = test_connect(&t, "/v1/ws", "tidegate.v1.json");
    struct session *session = shard_session_at(t.worker->shard, 1);
    test_client_send(client, WS_TEXT, hello_of("a", ""));
    assert_int_equal(ws_session_hold_back(t.worker, session), 0); /* as before the verdict */
    test_push(&t, TARGET_USER, "a", STR("early"));
    test_client_expect(client, "\"t\":\"welcome\"");
    assert_int_equal(test_client_next(client), -1);
    ws_session_let_out(t.worker, session);
    test_client_expect(client, "early");
    test_client_destroy(client);
    stop();
}

static void one_that_is_held_back_for_too_much_is_slow(void **state)
{
    static char big[60 * 1024];
    start(1, 0, SETTINGS_EXCESS_REJECT);
    struct test_client *client = come("");
    struct session *session = shard_session_at(t.worker->shard, 1);
    assert_int_equal(ws_session_hold_back(t.worker, session), 0);
    memset(big, 'x', sizeof(big));
    for (int i = 0; i < 6; i++) {
        test_push(&t, TARGET_USER, "a", str_make(big, sizeof(big)));
    }
    assert_int_equal(test_client_close_code(client), WS_CLOSE_SLOW);
    test_client_destroy(client);
    stop();
}

static void a_word_that_is_under_way_at_the_end_is_freed(void **state)
{
    start(1, 0, SETTINGS_EXCESS_REJECT);
    struct test_client *client = test_connect(&t, "/v1/ws", "tidegate.v1.json");
    struct session *session = shard_session_at(t.worker->shard, 1);
    assert_int_equal(shard_session_set_user(t.worker->shard, session, STR("a")), 0);
    police_begin(t.worker, session);
    test_gateway_stop(&t);
    close(client->fd);
    test_free(client);
    test_gateway_holds_nothing(&t);
}

/* Whatever fails: it is welcomed, or closed, and nothing stays behind. */
static void without_memory_a_session_is_let_in_or_closed(void **state)
{
    bool has_failed = true;
    start(2, 0, SETTINGS_EXCESS_OLDEST);
    for (unsigned long nth = 1; has_failed; nth++) {
        struct test_client *client = test_connect(&t, "/v1/ws", "tidegate.v1.json");
        const char *hello = hello_of("a", "tv");
        mem_fail_nth(nth);
        test_client_send(client, WS_TEXT, hello);
        has_failed = !mem_fail_pending();
        mem_fail_nth(0);
        test_gateway_turn(&t, TEST_TURNS);
        int opcode = test_client_next(client);
        assert_true(opcode == WS_TEXT || opcode == WS_CLOSE);
        test_client_destroy(client);
    }
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_too_many_sees_its_close_code_and_nothing_else),
        cmocka_unit_test(the_oldest_is_replaced),
        cmocka_unit_test(a_device_replaces_itself),
        cmocka_unit_test(what_is_pushed_meanwhile_comes_behind_the_welcome),
        cmocka_unit_test(one_that_is_held_back_for_too_much_is_slow),
        cmocka_unit_test(a_word_that_is_under_way_at_the_end_is_freed),
        cmocka_unit_test(without_memory_a_session_is_let_in_or_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
