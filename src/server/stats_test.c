#include "server/stats.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "server/test_gateway.h"
#include "server/ws_session.h"

static struct test_gateway t;

static int start(void **state)
{
    test_gateway_init(&t);
    test_gateway_start(&t, NULL);
    return 0;
}

static int stop(void **state)
{
    test_gateway_stop(&t);
    return 0;
}

/* The value of a line of the exposition; -1: there is no such line. */
static double value_of(const char *series)
{
    struct buf text = {0};
    double value = -1;
    assert_int_equal(metrics_render(&text), 0);
    char line[256];
    snprintf(line, sizeof(line), "\n%s ", series);
    const char *at = strstr(buf_cstr(&text), line);
    if (at) {
        value = strtod(at + strlen(line), NULL);
    }
    buf_fini(&text);
    return value;
}

static void a_session_is_counted_while_it_is_there(void **state)
{
    double opened = value_of("tidegate_sessions_opened_total{app=\"demo\",transport=\"raw\"}");
    struct test_client *client = test_connect(&t, "/v1/ws?group=room:1", "");
    assert_true(value_of("tidegate_connections{app=\"demo\",transport=\"raw\"}") == 1);
    assert_true(value_of("tidegate_sessions_opened_total{app=\"demo\",transport=\"raw\"}") ==
                (opened < 0 ? 0 : opened) + 1);
    double written = value_of("tidegate_messages_written_total{app=\"demo\"}");
    double bytes = value_of("tidegate_sent_bytes_total");
    test_push(&t, TARGET_GROUP, "room:1", STR("hello"));
    assert_true(value_of("tidegate_messages_written_total{app=\"demo\"}") == written + 1);
    assert_true(value_of("tidegate_sent_bytes_total") == bytes + 7);
    test_client_send(client, WS_CLOSE, "");
    assert_true(value_of("tidegate_sessions_closed_total{app=\"demo\",reason=\"client\"}") >= 1);
    assert_true(value_of("tidegate_connections{app=\"demo\",transport=\"raw\"}") == 0);
    test_client_destroy(client);
}

static void each_close_code_has_a_reason_of_its_own(void **state)
{
    static const struct {
        uint16_t code;
        const char *reason;
    } reasons[] = {
        {WS_CLOSE_ABORT, "connection_lost"}, {WS_CLOSE_PROTOCOL, "protocol_error"},
        {WS_CLOSE_BAD_DATA, "bad_data"},     {WS_CLOSE_TOO_LARGE, "too_large"},
        {WS_CLOSE_KICKED, "kicked"},         {WS_CLOSE_REPLACED, "replaced"},
        {WS_CLOSE_BAD_FRAME, "bad_frame"},   {WS_CLOSE_FORBIDDEN, "forbidden"},
        {WS_CLOSE_SLOW, "slow_consumer"},    {WS_CLOSE_NO_PONG, "no_pong"},
        {WS_CLOSE_DRAIN, "drain"},           {WS_CLOSE_EXPIRED, "token_expired"},
        {WS_CLOSE_REVOKED, "revoked"},       {4999, "other"},
    };
    struct session session = {.app = 0};
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        char series[128];
        snprintf(series, sizeof(series),
                 "tidegate_sessions_closed_total{app=\"demo\",reason=\"%s\"}", reasons[i].reason);
        double before = value_of(series);
        stats_session_closed(t.worker, &session, reasons[i].code);
        assert_true(value_of(series) == (before < 0 ? 0 : before) + 1);
    }
}

static void apps_beyond_the_table_are_other_wherever_they_are_counted(void **state)
{
    static const char *const series[] = {
        "tidegate_messages_refused_total{app=\"other\",reason=\"bad_target\"}",
        "tidegate_tickets_total{app=\"other\",event=\"created\"}",
        "tidegate_tickets_refused_total{app=\"other\",reason=\"busy\"}",
    };
    for (uint16_t id = 68; id < 70; id++) {
        struct tenant tenant = {.name = "far", .id = id};
        stats_push_refused(&tenant, "bad_target");
        stats_ticket(&tenant, STATS_TICKET_CREATED);
        stats_ticket_refused(&tenant, "busy");
    }
    for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++) {
        assert_true(value_of(series[i]) == 2);
    }
}

/* More than are kept at hand, twice: what finds no place is counted all the same. */
static void each_reason_is_counted_by_itself(void **state)
{
    enum { REASONS = 60 };
    static char reasons[REASONS][8];
    struct tenant tenant = {.name = "many", .id = 62};
    for (int i = 0; i < 2 * REASONS; i++) {
        snprintf(reasons[i % REASONS], sizeof(reasons[0]), "r%d", i % REASONS);
        stats_push_refused(&tenant, reasons[i % REASONS]);
    }
    for (int i = 0; i < REASONS; i++) {
        char series[128];
        snprintf(series, sizeof(series),
                 "tidegate_messages_refused_total{app=\"many\",reason=\"r%d\"}", i);
        assert_true(value_of(series) == 2);
    }
}

static void a_request_is_counted_by_its_route_and_class(void **state)
{
    struct http_exchange exchange = {.route = "/v1/test", .status = 204, .started_us = 100};
    stats_request("api", &exchange, 1100);
    exchange.status = 404;
    stats_request("api", &exchange, 1100);
    assert_true(value_of("tidegate_http_requests_total{route=\"/v1/test\",status=\"2xx\"}") == 1);
    assert_true(value_of("tidegate_http_requests_total{route=\"/v1/test\",status=\"4xx\"}") == 1);
    assert_true(value_of("tidegate_http_request_seconds_count{route=\"/v1/test\"}") == 2);
}

static void readers_are_there_as_long_as_the_gateway(void **state)
{
    stats_attach(t.gateway);
    assert_true(value_of("tidegate_bus_up{bus=\"memory\"}") == 1);
    assert_true(value_of("tidegate_bus_queue_up{bus=\"memory\",queue=\"7\"}") == 1);
    assert_true(value_of("tidegate_bus_queue_up{bus=\"memory\",queue=\"8\"}") < 0);
    assert_true(value_of("tidegate_bus_queue_failed_over{bus=\"memory\",queue=\"0\"}") == 0);
    assert_true(value_of("tidegate_bus_links{bus=\"memory\"}") == 0);
    assert_true(value_of("tidegate_bus_reconnects_total{bus=\"memory\"}") == 0);
    atomic_store(&t.gateway->bus->stats.bytes_in, 7);
    assert_true(value_of("tidegate_bus_bytes_total{bus=\"memory\",direction=\"in\"}") == 7);
    assert_true(value_of("tidegate_bus_bytes_total{bus=\"memory\",direction=\"out\"}") == 0);
    assert_true(value_of("tidegate_memory_bytes{owner=\"sessions\"}") >= 0);
    struct test_client *client = test_connect(&t, "/v1/ws?group=room:1", "");
    assert_true(value_of("tidegate_groups{app=\"demo\"}") == 1);
    assert_true(value_of("tidegate_bus_up{bus=\"memory\"}") == 1);
    assert_true(value_of("tidegate_group_members") == 1);
    test_client_destroy(client);
    assert_true(value_of("tidegate_groups{app=\"demo\"}") == 0);
    stats_detach();
    assert_true(value_of("tidegate_groups{app=\"demo\"}") <= 0);
}

static void a_records_way_to_the_bus_is_observed(void **state)
{
    stats_bus_published(1500);
    assert_true(value_of("tidegate_bus_publish_seconds_count{bus=\"memory\"}") <= 0);
    stats_name_bus("memory");
    stats_bus_published(1500);
    assert_true(value_of("tidegate_bus_publish_seconds_count{bus=\"memory\"}") == 1);
}

enum { MANY = 100000, SCRAPES = 5, SCRAPE_MS = 50 };

/* Sessions of as many users without sockets, in the worker's own tables. */
static void make_many(void)
{
    for (uint32_t i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u%u", i);
        struct session *session = shard_session_create(t.worker->shard, 0, WS_TRANSPORT);
        assert_non_null(session);
        assert_int_equal(shard_session_set_user(t.worker->shard, session, str_of(name)), 0);
    }
}

static void free_many(void)
{
    for (uint32_t slot = 1; slot < shard_slot_limit(t.worker->shard); slot++) {
        struct session *session = shard_session_at(t.worker->shard, slot);
        if (session->state != SESSION_FREE) {
            shard_session_free(t.worker->shard, session);
        }
    }
}

static uint64_t scrape_us(void)
{
    uint64_t fastest = UINT64_MAX;
    for (int i = 0; i < SCRAPES; i++) {
        struct buf text = {0};
        uint64_t started_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        assert_int_equal(metrics_render(&text), 0);
        uint64_t took_us = (clock_ns(CLOCK_THREAD_CPUTIME_ID) - started_ns) / 1000;
        fastest = took_us < fastest ? took_us : fastest;
        buf_fini(&text);
    }
    return fastest;
}

/* No reader walks over sessions or users. */
static void a_scrape_with_100000_sessions_takes_under_50_ms(void **state)
{
    stats_attach(t.gateway);
    uint64_t empty_us = scrape_us();
    make_many();
    test_gateway_turn(&t, 3);
    assert_true(value_of("tidegate_users{app=\"demo\"}") == MANY);
    uint64_t full_us = scrape_us();
    print_message("a scrape: %u us without sessions, %u us with %u\n", (unsigned)empty_us,
                  (unsigned)full_us, (unsigned)MANY);
    assert_true(full_us < SCRAPE_MS * 1000);
    free_many();
    test_gateway_turn(&t, 3);
    stats_detach();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_is_counted_while_it_is_there),
        TEST(each_close_code_has_a_reason_of_its_own),
        TEST(a_request_is_counted_by_its_route_and_class),
        TEST(apps_beyond_the_table_are_other_wherever_they_are_counted),
        TEST(each_reason_is_counted_by_itself),
        TEST(a_records_way_to_the_bus_is_observed),
        TEST(readers_are_there_as_long_as_the_gateway),
        TEST(a_scrape_with_100000_sessions_takes_under_50_ms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
