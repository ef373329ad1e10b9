#include "server/ws_ticket.h"

#include "core/hub_private.h"
#include "server/test_gateway.h"

static struct test_gateway t;
static char id[TICKET_ID_LEN + 1];
static struct buf text;

static void make_ticket(uint64_t expires_ms)
{
    const struct cluster_keys *keys = &t.gateway->keys;
    ticket_id_format(id, &keys->ticket_id_keys[0], shard_app_hash(t.worker->shard, 0), expires_ms,
                     (const uint8_t *)"1234567");
    struct ticket ticket = {.app = STR("demo"),
                            .id = str_of(id),
                            .scene = STR("x"),
                            .user = STR(""),
                            .expires_ms = expires_ms,
                            .issued_ms = clock_wall_ms()};
    buf_clear(&text);
    assert_int_equal(ticket_write(&text, keys->ticket_keys[0], &ticket), 0);
}

static int start(void **state)
{
    test_gateway_init(&t);
    t.settings->limits.hello_timeout_ms = 300;
    test_gateway_start(&t, NULL);
    test_gateway_turn(&t, 4);
    make_ticket(clock_wall_ms() + 60000);
    return 0;
}

static int stop(void **state)
{
    test_gateway_stop(&t);
    buf_fini(&text);
    assert_int_equal(mem_accounted_total(), 0);
    return 0;
}

static struct test_client *come(const char *protocol)
{
    char target[1024];
    snprintf(target, sizeof(target), "/v1/ws?ticket=%s", buf_cstr(&text));
    return test_connect(&t, target, protocol);
}

static struct test_client *come_with(const char *claim)
{
    char hello[128];
    struct test_client *client = come("tidegate.v1.json");
    snprintf(hello, sizeof(hello), "{\"t\":\"hello\",\"v\":1,\"claim\":\"%s\"}", claim);
    test_client_send(client, WS_TEXT, hello);
    return client;
}

static void the_first_claim_is_welcomed_and_another_is_4006(void **state)
{
    struct test_client *first = come_with("a");
    test_client_expect(first, "\"t\":\"welcome\"");
    struct test_client *other = come_with("b");
    assert_int_equal(test_client_close_code(other), WS_CLOSE_TICKET_DONE);
    struct test_client *none = come_with("");
    assert_int_equal(test_client_close_code(none), WS_CLOSE_TICKET_DONE);
    assert_int_equal(test_client_next(first), -1);
    test_client_destroy(other);
    test_client_destroy(none);
    test_client_destroy(first);
}

static void the_same_claim_takes_the_place_and_gets_everything_again(void **state)
{
    struct test_client *older = come_with("a");
    test_client_expect(older, "\"t\":\"welcome\"");
    test_push(&t, TARGET_TICKET, id, STR("result"));
    test_client_expect(older, "\"data\":\"result\"");
    assert_null(strstr(older->text, "\"pos\""));
    struct test_client *newer = come_with("a");
    assert_int_equal(test_client_close_code(older), WS_CLOSE_REPLACED);
    test_client_expect(newer, "\"t\":\"welcome\"");
    test_client_expect(newer, "\"data\":\"result\"");
    test_client_destroy(older);
    test_client_destroy(newer);
}

static void a_frame_before_the_welcome_is_4002(void **state)
{
    struct test_client *client = come("tidegate.v1.json");
    test_client_send(client, WS_TEXT,
                     "[{\"t\":\"hello\",\"v\":1},{\"t\":\"join\",\"re\":1,\"g\":\"room:1\"}]");
    assert_int_equal(test_client_close_code(client), WS_CLOSE_BAD_FRAME);
    test_client_destroy(client);
}

static void a_claim_that_does_not_come_back_is_4100(void **state)
{
    struct test_client *client = come_with("a");
    test_client_expect(client, "\"t\":\"welcome\"");
    test_client_destroy(client);
    for (int q = 0; q < BUS_MAX_QUEUES; q++) {
        t.gateway->hub->queues[q].under_way = true; /* the bus is silent */
    }
    client = come_with("a");
    test_gateway_turn_for(&t, 500);
    for (int q = 0; q < BUS_MAX_QUEUES; q++) {
        t.gateway->hub->queues[q].under_way = false;
    }
    assert_int_equal(test_client_close_code(client), WS_CLOSE_OVERLOADED);
    test_client_destroy(client);
}

static void it_ends_with_its_time(void **state)
{
    make_ticket(clock_wall_ms() + 200);
    struct test_client *client = come_with("a");
    test_client_expect(client, "\"t\":\"welcome\"");
    test_gateway_turn_for(&t, 300);
    assert_int_equal(test_client_close_code(client), WS_CLOSE_TICKET_DONE);
    test_client_destroy(client);
}

static void a_raw_session_begins_when_its_claim_is_back(void **state)
{
    struct test_client *client = come("");
    test_push(&t, TARGET_TICKET, id, STR("plain"));
    test_client_expect(client, "plain");
    assert_int_equal(client->len, 5);
    struct test_client *other = come_with("a");
    assert_int_equal(test_client_close_code(other), WS_CLOSE_TICKET_DONE);
    test_client_destroy(other);
    test_client_destroy(client);
}

static void every_failed_allocation_of_a_claim_is_survived(void **state)
{
    for (unsigned long n = 1; n < 60; n++) {
        make_ticket(clock_wall_ms() + 60000 + n);
        struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
        char target[1024];
        snprintf(target, sizeof(target), "/v1/ws?ticket=%s", buf_cstr(&text));
        mem_fail_nth(n);
        int status = test_client_upgrade(client, target, "tidegate.v1.json", "");
        if (status == 101) {
            test_client_send(client, WS_TEXT, "{\"t\":\"hello\",\"v\":1,\"claim\":\"a\"}");
        }
        mem_fail_nth(0);
        test_gateway_turn(&t, 8);
        test_client_destroy(client);
    }
    struct test_client *client = come_with("a"); /* all is well again */
    assert_int_equal(test_client_next(client), WS_TEXT);
    test_client_destroy(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_claim_is_welcomed_and_another_is_4006),
        TEST(the_same_claim_takes_the_place_and_gets_everything_again),
        TEST(a_frame_before_the_welcome_is_4002),
        TEST(a_claim_that_does_not_come_back_is_4100),
        TEST(it_ends_with_its_time),
        TEST(a_raw_session_begins_when_its_claim_is_back),
        TEST(every_failed_allocation_of_a_claim_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
