#include "bus/zookeeper_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct zk_names names = {.root = "/tidegate"};

static void nodes_are_named_below_the_path(void **state)
{
    char out[ZK_NODE_MAX];
    assert_string_equal(zk_name_queue(out, &names, 3), "/tidegate/q3");
    assert_string_equal(zk_name_bucket(out, &names, 3, 7), "/tidegate/q3/b0000000007");
    assert_string_equal(zk_name_record(out, &names, 3, 7, 41),
                        "/tidegate/q3/b0000000007/e0000000041");
    assert_string_equal(zk_name_new_record(out, &names, 63, UINT32_MAX),
                        "/tidegate/q63/b4294967295/e");
    assert_string_equal(zk_name_cleaner(out, &names), "/tidegate/cleaner");
}

static void the_longest_path_leaves_room_for_every_name(void **state)
{
    struct zk_names longest = {0};
    char out[ZK_NODE_MAX];
    memset(longest.root, 'x', ZK_ROOT_MAX);
    zk_name_record(out, &longest, BUS_MAX_QUEUES - 1, UINT32_MAX, INT32_MAX);
    assert_true(str_ends_with(str_of(out), STR("/e2147483647")));
}

static void a_number_is_read_from_names_of_our_form_alone(void **state)
{
    uint64_t number = 0;
    assert_true(zk_name_number(STR("e0000000041"), 'e', &number));
    assert_int_equal(number, 41);
    assert_true(zk_name_number(STR("b2147483647"), 'b', &number));
    assert_int_equal(number, INT32_MAX);
    const char *const others[] = {"",
                                  "e",
                                  "e41",
                                  "e00000000041",
                                  "b000000004",
                                  "x0000000041",
                                  "e-000000041",
                                  "e000000004x",
                                  "e4000000000",
                                  "E0000000041",
                                  "e 000000041",
                                  "junk"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(zk_name_number(str_of(others[i]), 'e', &number));
    }
}

static void positions_ascend_through_buckets_and_none_is_before_everything(void **state)
{
    assert_int_equal(zk_pos_before(0, 0).hi, 0);
    assert_int_equal(zk_pos(0, 0).hi, 1);
    assert_int_equal(zk_pos_before(5, 3).hi, zk_pos(5, 2).hi);
    assert_true(bus_pos_compare(zk_pos(0, INT32_MAX - 1), zk_pos(1, 0)) < 0);
    assert_true(bus_pos_compare(zk_pos_before(1, 0), zk_pos(1, 0)) < 0);
}

static void what_a_node_had_in_all_is_told_by_its_changes_and_its_children(void **state)
{
    assert_int_equal(zk_creates(0, 0), 0);
    assert_int_equal(zk_creates(3, 3), 3);  /* three made */
    assert_int_equal(zk_creates(5, 1), 3);  /* and two removed */
    assert_int_equal(zk_creates(6, 0), 3);  /* and the third */
    assert_int_equal(zk_creates(-9, 1), 0); /* no server says this */
}

static void assert_path(const char *path, bool is_good)
{
    const char *problem = "unset";
    assert_int_equal(zk_path_check(str_of(path), &problem), is_good);
    assert_int_equal(problem == NULL, is_good);
}

static void a_path_is_absolute_and_names_a_node_of_its_own(void **state)
{
    assert_path("/tidegate", true);
    assert_path("/a/b.c/..d", true);
    assert_path("", false);
    assert_path("/", false);
    assert_path("tidegate", false);
    assert_path("/tidegate/", false);
    assert_path("//tidegate", false);
    assert_path("/a/./b", false);
    assert_path("/a/..", false);
    assert_path("/zookeeper", false);
    assert_path("/zookeeper/quota", false);
    assert_path("/zookeepers", true);
    assert_path("/a\x01"
                "b",
                false);
    assert_path("/m\xc3\xbcll", false);
    char longest[ZK_ROOT_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    longest[ZK_ROOT_MAX] = '\0';
    assert_path(longest, true);
    longest[ZK_ROOT_MAX] = 'x';
    longest[ZK_ROOT_MAX + 1] = '\0';
    assert_path(longest, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_named_below_the_path),
        cmocka_unit_test(the_longest_path_leaves_room_for_every_name),
        cmocka_unit_test(a_number_is_read_from_names_of_our_form_alone),
        cmocka_unit_test(positions_ascend_through_buckets_and_none_is_before_everything),
        cmocka_unit_test(what_a_node_had_in_all_is_told_by_its_changes_and_its_children),
        cmocka_unit_test(a_path_is_absolute_and_names_a_node_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
