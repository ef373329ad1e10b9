#include "bus/zookeeper_test_help.h"

enum { BATCH = 300 };

static struct zk_test_server server;
static struct zk_test_node *a;
static struct zk_test_node *b;
static struct zk_test_hand hand;
static struct zk_test_publish publish;

/* Each test has a path of its own. */
static struct zk_test_node *node_on(const char *path)
{
    struct zk_test_node *node = zk_test_node_create(server.port);
    node->values[ZK_PATH].text = str_of(path);
    return node;
}

static int close_nodes(void **state)
{
    zk_test_node_destroy(a);
    zk_test_node_destroy(b);
    a = b = NULL;
    return 0;
}

static void open_both(const char *path, uint64_t bucket_records)
{
    a = node_on(path);
    b = node_on(path);
    a->values[ZK_BUCKET_RECORDS].number = b->values[ZK_BUCKET_RECORDS].number = bucket_records;
    zk_test_node_open(a);
    zk_test_node_open(b);
    ZK_TEST_UNTIL(a->up && b->up, a, b);
}

static void accept_one(struct zk_test_node *node, const char *text)
{
    zk_test_publish(node, &publish, 0, text, 10000);
    ZK_TEST_UNTIL(publish.done, node);
    assert_int_equal(publish.err, 0);
}

/* ---- the whole path ---- */

static void what_one_node_publishes_every_node_gets(void **state)
{
    open_both("/first", 2000);
    assert_string_equal(a->epoch, b->epoch);
    assert_int_equal(zk_test_entry(a, 's', 1, 0)->pos.hi, 0);
    zk_test_publish(a, &publish, 1, "hello", 5000);
    ZK_TEST_UNTIL(publish.done && zk_test_count(a, 'r', 1) == 1 && zk_test_count(b, 'r', 1) == 1, a,
                  b);
    assert_int_equal(publish.err, 0);
    const struct zk_test_entry *entry = zk_test_entry(b, 'r', 1, 0);
    assert_string_equal(entry->text, "hello");
    assert_int_equal(bus_pos_compare(entry->pos, publish.pos), 0);
    assert_true(entry->wall_ms + 10000 > clock_wall_ms());
}

/* What was accepted of one sender: position and text. */
struct sender {
    struct zk_test_node *node;
    struct zk_test_publish publish;
    char name;
    int sent;
    struct bus_pos acknowledged[BATCH];
};

static bool send_on(struct sender *sender)
{
    if (sender->sent > 0 && !sender->publish.done) {
        return false;
    }
    if (sender->sent > 0) {
        assert_int_equal(sender->publish.err, 0);
        sender->acknowledged[sender->sent - 1] = sender->publish.pos;
    }
    if (sender->sent == BATCH) {
        return true;
    }
    char text[24];
    snprintf(text, sizeof(text), "%c%d", sender->name, sender->sent++);
    zk_test_publish(sender->node, &sender->publish, 0, text, 15000);
    return false;
}

static void assert_same_order(struct zk_test_node *x, struct zk_test_node *y, int count)
{
    struct bus_pos last = {0, 0};
    for (int i = 0; i < count; i++) {
        const struct zk_test_entry *entry = zk_test_entry(x, 'r', 0, i);
        assert_string_equal(entry->text, zk_test_entry(y, 'r', 0, i)->text);
        assert_int_equal(bus_pos_compare(entry->pos, zk_test_entry(y, 'r', 0, i)->pos), 0);
        assert_true(bus_pos_compare(entry->pos, last) > 0);
        last = entry->pos;
    }
}

static void assert_is_at(struct zk_test_node *node, const struct sender *sender)
{
    int found = 0;
    for (int i = 0; i < node->count; i++) {
        const struct zk_test_entry *entry = &node->log[i];
        if (entry->kind == 'r' && entry->text[0] == sender->name) {
            int number = atoi(entry->text + 1);
            assert_int_equal(number, found++);
            assert_int_equal(bus_pos_compare(entry->pos, sender->acknowledged[number]), 0);
        }
    }
    assert_int_equal(found, BATCH);
}

static void two_that_publish_at_once_agree_on_the_order_through_many_buckets(void **state)
{
    open_both("/order", 16);
    struct sender one = {.node = a, .name = 'a'};
    struct sender two = {.node = b, .name = 'b'};
    ZK_TEST_UNTIL(send_on(&one) & send_on(&two), a, b);
    ZK_TEST_UNTIL(zk_test_count(a, 'r', 0) == 2 * BATCH && zk_test_count(b, 'r', 0) == 2 * BATCH, a,
                  b);
    assert_same_order(a, b, 2 * BATCH);
    assert_is_at(a, &one);
    assert_is_at(a, &two);
    assert_true(zk_test_entry(a, 'r', 0, 2 * BATCH - 1)->pos.hi >> 31 > 10);
    assert_int_equal(zk_test_count(a, 'h', 0) + zk_test_count(a, 'x', 0), 0);
    assert_int_equal(a->bus->stats.retries + b->bus->stats.retries, 0);
}

static void who_comes_later_reads_what_is_there_and_is_up_then(void **state)
{
    a = node_on("/later");
    a->values[ZK_BUCKET_RECORDS].number = 10;
    zk_test_node_open(a);
    ZK_TEST_UNTIL(a->up, a);
    for (int i = 0; i < 35; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i);
        accept_one(a, text);
    }
    ZK_TEST_UNTIL(zk_test_count(a, 'r', 0) == 35, a);
    b = node_on("/later");
    zk_test_node_open(b);
    ZK_TEST_UNTIL(b->up, b);
    assert_int_equal(zk_test_count(b, 'r', 0), 35);
    assert_same_order(a, b, 35);
    assert_int_equal(zk_test_entry(b, 's', 0, 0)->pos.hi, 0);
}

static void a_start_reads_back_as_far_as_the_window_and_no_further(void **state)
{
    a = node_on("/age");
    a->values[ZK_BUCKET_RECORDS].number = 10;
    zk_test_node_open(a);
    ZK_TEST_UNTIL(a->up, a);
    for (int i = 0; i < 15; i++) {
        accept_one(a, "old");
    }
    uint64_t begin = clock_monotonic_ms();
    ZK_TEST_UNTIL(clock_monotonic_ms() - begin > 300, a);
    accept_one(a, "young");
    b = node_on("/age");
    b->options.window_age_ms = clock_monotonic_ms() - begin;
    zk_test_node_open(b);
    ZK_TEST_UNTIL(b->up, b);
    assert_int_equal(zk_test_count(b, 'r', 0), 1);
    assert_string_equal(zk_test_entry(b, 'r', 0, 0)->text, "young");
    uint64_t from = zk_test_entry(b, 's', 0, 0)->pos.hi;
    assert_int_equal(from, zk_test_entry(a, 'r', 0, 14)->pos.hi);
}

static void a_record_as_long_as_allowed_passes_and_a_longer_one_does_not(void **state)
{
    open_both("/long", 2000);
    size_t max = a->bus->max_record;
    char *bytes = malloc(max + 1);
    memset(bytes, 'x', max + 1);
    publish = (struct zk_test_publish){.publish = {.on_done = zk_test_on_done}};
    publish.publish.record = str_make(bytes, max + 1);
    assert_int_equal(bus_publish(a->bus, &publish.publish), ERR_TOO_LARGE);
    publish.publish.record.len = max;
    assert_int_equal(bus_publish(a->bus, &publish.publish), 0);
    bus_flush(a->bus);
    ZK_TEST_UNTIL(publish.done && zk_test_count(b, 'r', 0) == 1, a, b);
    assert_int_equal(publish.err, 0);
    assert_int_equal(zk_test_entry(b, 'r', 0, 0)->len, max);
    free(bytes);
}

static void the_end_cancels_what_is_under_way(void **state)
{
    struct zk_test_publish two[2];
    a = node_on("/end");
    zk_test_node_open(a);
    ZK_TEST_UNTIL(a->up, a);
    zk_test_publish(a, &two[0], 0, "x", 0);
    zk_test_publish(a, &two[1], 1, "y", 0);
    bus_destroy(a->bus);
    a->bus = NULL;
    assert_int_equal(two[0].err, ERR_CANCELED);
    assert_int_equal(two[1].err, ERR_CANCELED);
}

/* ---- what others do to the nodes ---- */

static void nodes_of_somebody_else_and_what_is_no_record_are_skipped(void **state)
{
    open_both("/poison", 2000);
    zk_test_hand_open(&hand, server.port);
    accept_one(a, "one");
    char *bytes = malloc(1 << 20);
    memset(bytes, 'x', 1 << 20);
    assert_int_equal(zk_test_hand_create(&hand, "/poison/q0/b0000000000/junk", "?", 1), ZOK);
    assert_int_equal(zk_test_hand_append(&hand, "/poison/q0/b0000000000/e", NULL, -1), ZOK);
    assert_int_equal(zk_test_hand_append(&hand, "/poison/q0/b0000000000/e", bytes, 1040000), ZOK);
    assert_int_equal(zk_test_hand_append(&hand, "/poison/q0/b0000000000/other", "?", 1), ZOK);
    free(bytes);
    accept_one(a, "two");
    ZK_TEST_UNTIL(zk_test_count(a, 'r', 0) == 2 && zk_test_count(b, 'r', 0) == 2, a, b);
    assert_string_equal(zk_test_entry(b, 'r', 0, 1)->text, "two");
    assert_int_equal(zk_test_count(b, 'x', 0), 4);
    assert_int_equal(b->bus->stats.skipped, 4);
    assert_int_equal(zk_test_count(b, 'h', 0), 0);
    zk_test_hand_close(&hand);
}

static void a_name_that_is_taken_ends_the_bucket_not_the_queue(void **state)
{
    open_both("/taken", 2000);
    zk_test_hand_open(&hand, server.port);
    accept_one(a, "one");
    assert_int_equal(zk_test_hand_create(&hand, "/taken/q0/b0000000000/e0000000002", "?", 1), ZOK);
    accept_one(a, "two");
    accept_one(b, "three");
    ZK_TEST_UNTIL(zk_test_count(a, 'r', 0) >= 3 && zk_test_count(b, 'r', 0) >= 3, a, b);
    assert_int_equal(publish.pos.hi >> 31, 1);
    zk_test_hand_close(&hand);
}

static void records_that_are_gone_before_they_were_read_are_told(void **state)
{
    open_both("/gone", 2000);
    zk_test_hand_open(&hand, server.port);
    accept_one(a, "one");
    ZK_TEST_UNTIL(zk_test_count(b, 'r', 0) == 1 && zk_test_is_quiet(b, 0), a, b);
    accept_one(a, "two"); /* b does not turn meanwhile */
    accept_one(a, "three");
    accept_one(a, "four");
    assert_int_equal(zk_test_hand_delete(&hand, "/gone/q0/b0000000000/e0000000001"), ZOK);
    assert_int_equal(zk_test_hand_delete(&hand, "/gone/q0/b0000000000/e0000000002"), ZOK);
    ZK_TEST_UNTIL(zk_test_count(b, 'r', 0) == 2, a, b);
    const struct zk_test_entry *hole = zk_test_entry(b, 'h', 0, 0);
    assert_int_equal(hole->why, BUS_HOLE_EXPIRED);
    assert_int_equal(hole->pos.hi, 1);
    assert_int_equal(hole->to.hi, 4);
    assert_string_equal(zk_test_entry(b, 'r', 0, 1)->text, "four");
    assert_int_equal(zk_test_count(a, 'h', 0), 0);
    zk_test_hand_close(&hand);
}

static void buckets_that_are_gone_before_they_were_read_are_told(void **state)
{
    open_both("/leap", 10);
    zk_test_hand_open(&hand, server.port);
    ZK_TEST_UNTIL(zk_test_is_quiet(b, 0), a, b);
    for (int i = 0; i < 35; i++) {
        accept_one(a, "x"); /* b does not turn meanwhile */
    }
    zk_test_hand_delete_tree(&hand, "/leap/q0/b0000000000");
    zk_test_hand_delete_tree(&hand, "/leap/q0/b0000000001");
    accept_one(a, "last");
    ZK_TEST_UNTIL(zk_test_count(b, 'r', 0) == 16, a, b);
    const struct zk_test_entry *hole = zk_test_entry(b, 'h', 0, 0);
    assert_int_equal(hole->why, BUS_HOLE_EXPIRED);
    assert_int_equal(hole->to.hi, zk_pos(2, 0).hi);
    zk_test_hand_close(&hand);
}

static void a_path_that_is_made_anew_is_another_history(void **state)
{
    open_both("/anew/path", 2000);
    char epoch[BUS_EPOCH_MAX + 1];
    memcpy(epoch, a->epoch, sizeof(epoch));
    accept_one(a, "one");
    ZK_TEST_UNTIL(zk_test_count(b, 'r', 0) == 1, a, b);
    zk_test_hand_open(&hand, server.port);
    zk_test_hand_delete_tree(&hand, "/anew/path");
    ZK_TEST_UNTIL(a->epochs == 2 && b->epochs == 2, a, b);
    ZK_TEST_UNTIL(zk_test_count(a, 's', 0) >= 2 && zk_test_count(b, 's', 0) >= 2, a, b);
    accept_one(a, "two");
    ZK_TEST_UNTIL(zk_test_count(b, 'r', 0) == 2, a, b);
    assert_string_not_equal(a->epoch, epoch);
    assert_string_equal(a->epoch, b->epoch);
    assert_int_equal(zk_test_entry(b, 'h', 0, 0)->why, BUS_HOLE_EPOCH);
    assert_int_equal(zk_test_entry(b, 'r', 0, 1)->pos.hi, 1);
    assert_true(a->up && b->up);
    zk_test_hand_close(&hand);
}

static void what_is_older_than_the_window_is_removed(void **state)
{
    a = node_on("/clean");
    a->values[ZK_BUCKET_RECORDS].number = 10;
    a->options.window_age_ms = 300;
    zk_test_node_open(a);
    ZK_TEST_UNTIL(a->up, a);
    for (int i = 0; i < 35; i++) {
        accept_one(a, "x");
    }
    zk_test_hand_open(&hand, server.port);
    ZK_TEST_UNTIL(zk_test_hand_children(&hand, "/clean/q0") == 1, a);
    ZK_TEST_UNTIL(zk_test_hand_children(&hand, "/clean/q0/b0000000003") == 0, a);
    assert_int_equal(zk_test_count(a, 'r', 0), 35);
    accept_one(a, "y");
    ZK_TEST_UNTIL(zk_test_count(a, 'r', 0) == 36, a);
    assert_int_equal(zk_test_count(a, 'h', 0), 0);
    b = node_on("/clean");
    zk_test_node_open(b);
    ZK_TEST_UNTIL(b->up, b);
    assert_true(zk_test_entry(b, 's', 0, 0)->pos.hi >= zk_pos(3, 4).hi);
    zk_test_hand_close(&hand);
}

/* ---- who may ---- */

static void with_auth_the_path_is_closed_to_others(void **state)
{
    a = node_on("/closed");
    a->values[ZK_AUTH].text = STR("digest:tidegate:secret");
    zk_test_node_open(a);
    ZK_TEST_UNTIL(a->up, a);
    accept_one(a, "one");
    b = node_on("/closed");
    b->values[ZK_AUTH].text = STR("digest:tidegate:wrong");
    zk_test_node_open(b);
    ZK_TEST_UNTIL(strstr(b->reason, "no permission"), a, b);
    assert_false(b->up);
    assert_null(strstr(b->reason, "wrong"));
    zk_test_node_destroy(b);
    b = node_on("/closed");
    b->values[ZK_AUTH].text = STR("digest:tidegate:secret");
    zk_test_node_open(b);
    ZK_TEST_UNTIL(b->up, a, b);
    assert_int_equal(zk_test_count(b, 'r', 0), 1);
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

#define TEST(function) cmocka_unit_test_teardown(function, close_nodes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_one_node_publishes_every_node_gets),
        TEST(two_that_publish_at_once_agree_on_the_order_through_many_buckets),
        TEST(who_comes_later_reads_what_is_there_and_is_up_then),
        TEST(a_start_reads_back_as_far_as_the_window_and_no_further),
        TEST(a_record_as_long_as_allowed_passes_and_a_longer_one_does_not),
        TEST(the_end_cancels_what_is_under_way),
        TEST(nodes_of_somebody_else_and_what_is_no_record_are_skipped),
        TEST(a_name_that_is_taken_ends_the_bucket_not_the_queue),
        TEST(records_that_are_gone_before_they_were_read_are_told),
        TEST(buckets_that_are_gone_before_they_were_read_are_told),
        TEST(a_path_that_is_made_anew_is_another_history),
        TEST(what_is_older_than_the_window_is_removed),
        TEST(with_auth_the_path_is_closed_to_others),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
