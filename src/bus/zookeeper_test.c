#include "bus/zookeeper_test_help.h"

static struct zk_test_server server;

static void what_one_node_publishes_every_node_gets(void **state)
{
    struct zk_test_node *a = zk_test_node_create(server.port);
    struct zk_test_node *b = zk_test_node_create(server.port);
    struct zk_test_publish publish;
    zk_test_node_open(a);
    zk_test_node_open(b);
    ZK_TEST_UNTIL(a->up && b->up, a, b);
    assert_string_equal(a->epoch, b->epoch);
    zk_test_publish(a, &publish, 1, "hello", 5000);
    ZK_TEST_UNTIL(publish.done && zk_test_count(a, 'r', 1) == 1 && zk_test_count(b, 'r', 1) == 1, a,
                  b);
    assert_int_equal(publish.err, 0);
    const struct zk_test_entry *entry = zk_test_entry(b, 'r', 1, 0);
    assert_string_equal(entry->text, "hello");
    assert_int_equal(bus_pos_compare(entry->pos, publish.pos), 0);
    assert_true(entry->wall_ms + 10000 > clock_wall_ms());
    zk_test_node_destroy(a);
    zk_test_node_destroy(b);
}

static int setup(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    zk_test_server_start(&server);
    return 0;
}

static int teardown(void **state)
{
    zk_test_server_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_node_publishes_every_node_gets),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
