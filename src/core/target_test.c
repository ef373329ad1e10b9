#include "core/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bus/bus.h"

static const struct target_space space = {.keys = {11, 22}, .open = {33, 44}};

static uint64_t key_of(uint32_t app, enum target_kind kind, const char *name)
{
    return target_key(&space, app, kind, str_of(name));
}

static void a_key_depends_on_app_kind_and_name(void **state)
{
    uint64_t plain = key_of(1, TARGET_USER, "42");
    assert_true(plain == key_of(1, TARGET_USER, "42"));
    assert_true(plain != key_of(2, TARGET_USER, "42"));
    assert_true(plain != key_of(1, TARGET_GROUP, "42"));
    assert_true(plain != key_of(1, TARGET_USER, "43"));
}

static void a_key_depends_on_the_clusters_secret(void **state)
{
    const struct target_space other = {.keys = {11, 23}, .open = {33, 44}};
    assert_true(target_key(&other, 1, TARGET_USER, STR("42")) != key_of(1, TARGET_USER, "42"));
}

static void apps_and_queues_stay_while_secrets_are_rotated(void **state)
{
    const struct target_space other = {.keys = {11, 23}, .open = {33, 44}};
    assert_int_equal(target_app_hash(&other, STR("demo")), target_app_hash(&space, STR("demo")));
    for (uint32_t app = 0; app < 100; app++) {
        assert_int_equal(target_queue(&other, app, TARGET_USER, STR("42"), 8),
                         target_queue(&space, app, TARGET_USER, STR("42"), 8));
    }
}

static void a_key_is_never_0(void **state)
{
    for (uint32_t app = 0; app < 10000; app++) {
        assert_true(key_of(app, TARGET_ALL, "") != 0);
    }
}

static void every_queue_gets_its_share_of_the_keys(void **state)
{
    for (uint32_t queues = 1; queues <= BUS_MAX_QUEUES; queues++) {
        uint32_t counts[BUS_MAX_QUEUES] = {0};
        for (uint32_t app = 0; app < 200 * queues; app++) {
            uint32_t queue = target_queue(&space, app, TARGET_USER, STR("u"), queues);
            assert_true(queue < queues);
            counts[queue]++;
        }
        for (uint32_t q = 0; q < queues; q++) {
            assert_in_range(counts[q], 100, 300);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_depends_on_app_kind_and_name),
        cmocka_unit_test(a_key_depends_on_the_clusters_secret),
        cmocka_unit_test(apps_and_queues_stay_while_secrets_are_rotated),
        cmocka_unit_test(a_key_is_never_0),
        cmocka_unit_test(every_queue_gets_its_share_of_the_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
