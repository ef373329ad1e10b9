#include "proto/rocketmq_route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"

static void assert_quoted(struct str body, struct str expected)
{
    struct buf out = {0};
    assert_int_equal(rocketmq_route_quote_keys(&out, body), 0);
    assert_true(str_equal(buf_str(&out), expected));
    buf_fini(&out);
}

static const struct str route = STR(
    "{\"brokerDatas\":[{\"brokerAddrs\":{\"1\":\"10.0.0.9:1\",\"0\":\"127.0.0.1:10911\"},"
    "\"brokerName\":\"broker-a\",\"cluster\":\"DefaultCluster\",\"enableActingMaster\":false},"
    "{\"brokerAddrs\":{\"1\":\"10.0.0.9:1\"},\"brokerName\":\"slave-only\"},"
    "{\"brokerAddrs\":{\"0\":\"nowhere\"},\"brokerName\":\"bad\"},"
    "{\"brokerAddrs\":{\"0\":\"[::1]:7\"},\"brokerName\":\"broker-b\"}],"
    "\"filterServerTable\":{},\"queueDatas\":[{\"brokerName\":\"broker-a\",\"perm\":6,"
    "\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":3}]}");

static void a_topics_route(void **state)
{
    struct rocketmq_route_broker broker;
    assert_int_equal(rocketmq_route_find(&broker, route, STR("broker-a")), 0);
    assert_true(str_equal(broker.host, STR("127.0.0.1")));
    assert_int_equal(broker.port, 10911);
    assert_true(broker.has_topic);
    assert_int_equal(broker.read_queues, 4);
    assert_int_equal(broker.write_queues, 3);
    assert_int_equal(broker.perm, ROCKETMQ_PERM_READ | ROCKETMQ_PERM_WRITE);

    assert_int_equal(rocketmq_route_find(&broker, route, STR("broker-b")), 0);
    assert_true(str_equal(broker.host, STR("::1")));
    assert_false(broker.has_topic);
}

static void a_broker_without_a_master_is_not_there(void **state)
{
    struct rocketmq_route_broker broker;
    assert_int_equal(rocketmq_route_find(&broker, route, STR("slave-only")), ERR_NOT_FOUND);
    assert_int_equal(rocketmq_route_find(&broker, route, STR("unheard-of")), ERR_NOT_FOUND);
    assert_int_equal(rocketmq_route_find(&broker, route, STR("bad")), ERR_PROTOCOL);
    assert_int_equal(rocketmq_route_find(&broker, STR("{}"), STR("broker-a")), ERR_NOT_FOUND);
}

static void a_body_cut_anywhere_is_refused(void **state)
{
    struct rocketmq_route_broker broker;
    for (size_t len = 0; len < route.len; len++) {
        assert_int_equal(rocketmq_route_find(&broker, str_make(route.ptr, len), STR("broker-a")),
                         ERR_PROTOCOL);
    }
}

static void queues_that_are_no_numbers_are_refused(void **state)
{
    struct rocketmq_route_broker broker;
    struct str body = STR("{\"brokerDatas\":[{\"brokerName\":\"a\",\"brokerAddrs\":{\"0\":\"h:1\"}}"
                          "],\"queueDatas\":[{\"brokerName\":\"a\",\"perm\":-6,\"readQueueNums\":4,"
                          "\"writeQueueNums\":4}]}");
    assert_int_equal(rocketmq_route_find(&broker, body, STR("a")), ERR_PROTOCOL);
}

static void a_cluster_has_bare_keys(void **state)
{
    struct str body = STR("{\"brokerAddrTable\":{\"broker-a\":{\"brokerAddrs\":{0:\"127.0.0.1:29146"
                          "\"},\"brokerName\":\"broker-a\"}},\"clusterAddrTable\":{}}");
    struct buf out = {0};
    struct rocketmq_route_broker broker;
    assert_int_equal(rocketmq_route_find_in_cluster(&broker, body, STR("broker-a")), ERR_PROTOCOL);
    assert_int_equal(rocketmq_route_quote_keys(&out, body), 0);
    assert_int_equal(rocketmq_route_find_in_cluster(&broker, buf_str(&out), STR("broker-a")), 0);
    assert_int_equal(broker.port, 29146);
    assert_false(broker.has_topic);
    assert_int_equal(rocketmq_route_find_in_cluster(&broker, buf_str(&out), STR("broker")),
                     ERR_NOT_FOUND);
    buf_fini(&out);
}

static void only_numbers_that_are_keys_get_quotes(void **state)
{
    assert_quoted(STR("{0:\"a\",12 :[1,2],\"3\":4}"), STR("{\"0\":\"a\",\"12\" :[1,2],\"3\":4}"));
    assert_quoted(STR("{\"a 1:\\\"2:\":1}"), STR("{\"a 1:\\\"2:\":1}"));
    assert_quoted(STR("\"1:"), STR("\"1:"));
    assert_quoted(STR("\"1\\"), STR("\"1\\"));
    assert_quoted(STR("7"), STR("7"));
    assert_quoted(STR(""), STR(""));
}

static void a_body_over_the_limit_is_refused(void **state)
{
    struct buf out = {0};
    assert_int_equal(rocketmq_route_quote_keys(&out, str_make("", ROCKETMQ_ROUTE_MAX + 1)),
                     ERR_TOO_LARGE);
    buf_fini(&out);
}

static void assert_address(struct str text, struct str host, uint16_t port)
{
    struct str got_host;
    uint16_t got_port;
    assert_int_equal(rocketmq_address_parse(text, &got_host, &got_port), 0);
    assert_true(str_equal(got_host, host));
    assert_int_equal(got_port, port);
}

static void addresses(void **state)
{
    assert_address(STR("mq.example:9876"), STR("mq.example"), 9876);
    assert_address(STR("127.0.0.1:1"), STR("127.0.0.1"), 1);
    assert_address(STR("[fe80::1]:65535"), STR("fe80::1"), 65535);
    assert_address(STR("fe80::1:80"), STR("fe80::1"), 80);
    const char *const wrong[] = {"",         "a",     ":1",   "a:",    "a:0",
                                 "a:65536",  "a:-1",  "a:1x", "[]:1",  "[a:1",
                                 "http://a", "a b:1", "a]:1", "a/b:1", "\x80:1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct str host;
        uint16_t port;
        assert_int_equal(rocketmq_address_parse(str_of(wrong[i]), &host, &port), ERR_SYNTAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topics_route),
        cmocka_unit_test(a_broker_without_a_master_is_not_there),
        cmocka_unit_test(a_body_cut_anywhere_is_refused),
        cmocka_unit_test(queues_that_are_no_numbers_are_refused),
        cmocka_unit_test(a_cluster_has_bare_keys),
        cmocka_unit_test(only_numbers_that_are_keys_get_quotes),
        cmocka_unit_test(a_body_over_the_limit_is_refused),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
