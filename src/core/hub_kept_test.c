/* Nodes on one bus that tell each other again what outlives the window (60 s here). */
#include "core/cluster_test_help.h"

enum { THIRD_MS = 20000 };

static uint32_t parts[NET_NODES];       /* that reached the node's worker */
static uint32_t parts_again[NET_NODES]; /* of these, told again */

static void count_part(struct net_node *node, const struct message *message)
{
    if (message->event.kind == EVENT_PART || message->event.kind == EVENT_REVOCATION) {
        parts[node->index]++;
        parts_again[node->index] += (message->event.header.flags & EVENT_IS_AGAIN) != 0;
    }
}

static int start(void **state)
{
    memset(parts, 0, sizeof(parts));
    memset(parts_again, 0, sizeof(parts_again));
    net_open(3);
    net.on_message = count_part;
    return 0;
}

static int stop(void **state)
{
    net_close();
    return 0;
}

static void on_done(struct publish *publish)
{
    int *err = publish->owner;
    *err = publish->verdict == PUBLISH_ACCEPTED ? 0 : publish->err;
    publish_destroy(publish);
}

static int publish_kept(struct net_node *node, enum event_kind kind, const char *id,
                        uint32_t ttl_ms)
{
    const char *target = kind == EVENT_PART ? "g:room" : "*";
    static int err;
    struct publish *publish = publish_create(1);
    struct event event = event_test_make(0, "1");
    event.kind = kind;
    event.header.ttl_ms = ttl_ms;
    event.id = str_of(id);
    event.subject = STR("42");
    event.time_ms = net.now_ms;
    event.header.origin = node->boot;
    event_test_encode(&publish->parts[0].event, &event, &target, 1);
    publish->parts[0].queue = 1;
    publish->worker = HUB_NO_WORKER;
    publish->deadline_ms = net.now_ms + 5000;
    publish->keeps = true;
    publish->owner = &err;
    publish->on_done = on_done;
    err = 1;
    hub_publish(node->hub, publish, net.now_ms);
    net_run(NET_STEP_MS);
    return err;
}

static int publish_part(struct net_node *node, const char *id)
{
    return publish_kept(node, EVENT_PART, id, 0);
}

/* Of all that the bus has; *out_origin: the last one's. */
static uint32_t told_again(uint32_t *out_origin)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < net.count[1]; i++) {
        struct str rest = buf_str(&net.log[1][i].bytes);
        struct event event;
        size_t skip;
        while (rest.len) {
            ssize_t len = event_decode(&event, (const uint8_t *)rest.ptr, rest.len, &skip);
            assert_true(len > 0);
            rest = str_make(rest.ptr + len, rest.len - (size_t)len);
            count += event.kind == EVENT_AGAIN;
            *out_origin = event.kind == EVENT_AGAIN ? event.header.origin : *out_origin;
        }
    }
    return count;
}

/* As one that reads back from here on. */
static struct net_node *start_late(uint32_t index, const uint32_t from[NET_QUEUES])
{
    struct net_node *node = net_start(index);
    memcpy(node->read, from, sizeof(node->read));
    return node;
}

static uint64_t revocations(const struct net_node *node)
{
    return kept_get_stats(node->hub->kept)->entries[KEPT_REVOCATION];
}

static void the_first_node_tells_again_each_third_and_nobody_takes_it_twice(void **state)
{
    uint32_t origin = 0;
    assert_int_equal(publish_part(&net.nodes[2], "p1"), 0);
    assert_int_equal(told_again(&origin), 0);
    net_run(THIRD_MS + 1000);
    assert_int_equal(told_again(&origin), 1);
    assert_int_equal(origin, net.nodes[0].boot);
    net_run(THIRD_MS + 1000);
    assert_int_equal(told_again(&origin), 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(revocations(&net.nodes[i]), 1);
        assert_int_equal(parts[i], 1);
        assert_int_equal(parts_again[i], 0);
    }
}

static void a_node_that_starts_later_than_the_window_knows_it(void **state)
{
    uint32_t from[NET_QUEUES];
    publish_part(&net.nodes[2], "p1");
    memcpy(from, net.count, sizeof(from)); /* behind the first */
    net_run(THIRD_MS + 1000);
    struct net_node *late = start_late(3, from);
    net_run(1000);
    assert_int_equal(revocations(late), 1);
    assert_int_equal(parts_again[3], 1);
    net_run(2 * THIRD_MS);
    assert_int_equal(parts[3], 1); /* once */
}

/* All were down for a while: it tells at once what the window has long had. */
static void what_a_start_reads_back_is_as_old_as_its_copy(void **state)
{
    static const uint32_t from[NET_QUEUES];
    uint32_t origin = 0;
    publish_part(&net.nodes[2], "p1");
    for (int i = 0; i < 3; i++) {
        net_kill(&net.nodes[i]);
    }
    net_run(THIRD_MS + 1000);
    struct net_node *late = start_late(3, from);
    hub_set_wall_offset(late->hub, 1);
    hub_set_now(late->hub, net.now_ms, net.now_ms * 1000);
    late->hub->reading_back = UINT64_MAX; /* net_start says too early that all is read */
    net_run(3000);
    net_run(3000);
    assert_int_equal(revocations(late), 1);
    assert_int_equal(told_again(&origin), 1);
    net_run(THIRD_MS / 2);
    assert_int_equal(told_again(&origin), 1);
}

static void the_next_node_does_it_when_the_first_is_gone(void **state)
{
    uint32_t origin = 0;
    publish_part(&net.nodes[0], "p1");
    net_kill(&net.nodes[0]);
    net_run(THIRD_MS + 8000);
    assert_int_equal(told_again(&origin), 1);
    assert_int_equal(origin, net.nodes[1].boot);
}

static void others_do_it_late_where_the_first_does_not_know_it(void **state)
{
    uint32_t origin = 0;
    publish_part(&net.nodes[2], "p1");
    uint64_t key = event_test_key_of(TARGET_GROUP, "room");
    struct kept *kept = net.nodes[0].hub->kept;
    kept_drop(kept, kept_find(kept, KEPT_REVOCATION, key, STR("p1"))); /* memory was out */
    net_run(THIRD_MS + 1000);
    assert_int_equal(told_again(&origin), 0);
    net_run(THIRD_MS + 1000);
    assert_true(told_again(&origin) >= 1);
    assert_int_not_equal(origin, net.nodes[0].boot);
    assert_int_equal(revocations(&net.nodes[0]), 1);
}

/* So much that the window, of 1 MiB, holds but a second. */
static void flood(struct net_node *node)
{
    static const char *const target = "u:somebody";
    static char data[60000];
    memset(data, '1', sizeof(data) - 1);
    for (int i = 0; i < 2; i++) {
        struct publish *publish = publish_create(1);
        struct event event = event_test_make(0, data);
        event.header.origin = node->boot;
        event_test_encode(&publish->parts[0].event, &event, &target, 1);
        publish->worker = HUB_NO_WORKER;
        publish->on_done = publish_destroy;
        hub_publish(node->hub, publish, net.now_ms);
    }
}

static void a_window_that_is_full_is_told_again_as_often_as_its_real_age_asks(void **state)
{
    uint32_t origin = 0;
    assert_int_equal(publish_part(&net.nodes[2], "p1"), 0);
    for (uint64_t end = net.now_ms + 4000; net.now_ms < end; net_step()) {
        flood(&net.nodes[1]);
    }
    assert_true(window_age_ms(net.nodes[0].hub->window, net.now_ms) < 1500);
    assert_in_range(told_again(&origin), 4, 14);
    assert_int_equal(origin, net.nodes[0].boot);
    assert_int_equal(parts[2], 1);
}

static void over_the_budget_a_publish_is_refused_and_counted(void **state)
{
    struct hub *hub = net.nodes[1].hub;
    assert_true(kept_reserve(hub->kept, KEPT_OTHERS, EVENT_TEST_APP, KEPT_OTHER_BYTES));
    assert_int_equal(publish_part(&net.nodes[1], "p1"), ERR_TOO_MANY);
    kept_release(hub->kept, KEPT_OTHERS, EVENT_TEST_APP, KEPT_OTHER_BYTES);
    assert_int_equal(kept_get_stats(hub->kept)->refused[KEPT_OTHERS], 1);
    assert_int_equal(publish_part(&net.nodes[1], "p1"), 0);
    assert_true(kept_reserve(hub->kept, KEPT_OTHERS, EVENT_TEST_APP,
                             KEPT_OTHER_BYTES - kept_get_stats(hub->kept)->bytes[KEPT_OTHERS]));
    kept_release(hub->kept, KEPT_OTHERS, EVENT_TEST_APP,
                 KEPT_OTHER_BYTES - kept_get_stats(hub->kept)->bytes[KEPT_OTHERS]);
}

static void what_makes_no_sense_is_counted_and_passed_over(void **state)
{
    static const char *const bodies[] = {"", "short", "0123456789abcdef", "0123456789abcdefg"};
    struct net_node *node = &net.nodes[0];
    uint64_t before = hub_get_stats(node->hub)->events_bad;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(cluster_tell_again(node->cluster, 0, str_of(bodies[i]), net.now_ms + 5000,
                                            publish_destroy, NULL),
                         0);
    }
    net_run(NET_STEP_MS);
    assert_int_equal(hub_get_stats(node->hub)->events_bad, before + 4);
}

static void a_revocation_is_known_to_who_starts_late_until_it_expires(void **state)
{
    uint32_t origin;
    assert_int_equal(publish_kept(&net.nodes[1], EVENT_REVOCATION, "r1", 8 * THIRD_MS), 0);
    net_run(4 * THIRD_MS);
    uint32_t behind[NET_QUEUES];
    memcpy(behind, net.count, sizeof(behind));
    net_run(THIRD_MS + 1000);
    struct net_node *late = start_late(3, behind);
    net_run(5000);
    assert_int_equal(revocations(late), 1);
    assert_int_equal(parts[3], 1);
    assert_int_equal(parts_again[3], 1);
    net_run(3 * THIRD_MS);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(revocations(&net.nodes[i]), 0);
    }
    uint32_t told = told_again(&origin);
    net_run(2 * THIRD_MS);
    assert_int_equal(told_again(&origin), told);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_node_tells_again_each_third_and_nobody_takes_it_twice),
        TEST(a_revocation_is_known_to_who_starts_late_until_it_expires),
        TEST(a_node_that_starts_later_than_the_window_knows_it),
        TEST(what_a_start_reads_back_is_as_old_as_its_copy),
        TEST(the_next_node_does_it_when_the_first_is_gone),
        TEST(others_do_it_late_where_the_first_does_not_know_it),
        TEST(a_window_that_is_full_is_told_again_as_often_as_its_real_age_asks),
        TEST(over_the_budget_a_publish_is_refused_and_counted),
        TEST(what_makes_no_sense_is_counted_and_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
